"""Results as tables of ratios: for the terminal, for Markdown and for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sdc_search.benchmarks.cases import Result

if TYPE_CHECKING:
    from rich.table import Table

CAPTION = (
    "time, ns: of the first contender. Under another's name: how many times as fast as that one it is,"
    " the median of the rounds' ratios. limit: the share of the least possible time, which"
    " sdc_search.benchmarks.limits derives."
)


def document(machine: dict[str, Any], results: Sequence[Result], **settings: Any) -> dict[str, Any]:
    """Return everything for ``results.json``."""
    return {"machine": machine, **settings, "results": [result.document() for result in results]}


def rich_tables(results: Sequence[Result]) -> list[Table]:
    """Return one table for each group."""
    from rich.table import Table

    tables = []
    for group, members in groupby(results, key=lambda result: result.group):
        headings, rows = _cells(list(members))
        table = Table(title=group, title_justify="left")
        for heading in headings:
            is_text = heading in ("case", "notes")
            table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        tables.append(table)
    return tables


def markdown(machine: dict[str, Any], results: Sequence[Result]) -> str:
    """Return the same tables as Markdown, below a line about the machine."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    clock = f"{machine['clock_ghz']} GHz, " if machine["clock_ghz"] else ""
    parts = [f"{machine['cpu']}, {clock}{machine['isa']}; {versions}."]
    for group, members in groupby(results, key=lambda result: result.group):
        headings, rows = _cells(list(members))
        parts += ["", f"### {group}", "", _line(headings), _line("---" for _ in headings)]
        parts += [_line(row) for row in rows]
    return "\n".join([*parts, "", CAPTION, ""])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Lay out one group; a column that would be empty is left out."""
    parameters = list(dict.fromkeys(name for result in results for name in result.parameters))
    peers = list(dict.fromkeys(name for result in results for name in result.ratios))
    columns: dict[str, list[str]] = {"case": [result.name for result in results]}
    for name in parameters:
        columns[name] = [_quantity(result.parameters.get(name, "")) for result in results]
    columns["time"] = [duration(result.seconds[result.own]) for result in results]
    columns[f"ns a {results[0].item}"] = [_figure(result.ns_per_item[result.own]) for result in results]
    for peer in peers:
        columns[peer] = [_ratio(result.ratios.get(peer)) for result in results]
    columns["limit"] = [_percent(result.share_of_limit) for result in results]
    columns["target"] = [_target(result) for result in results]
    columns["met"] = [{True: "yes", False: "no", None: ""}[result.met] for result in results]
    columns["notes"] = [_notes(result) for result in results]
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    return list(kept), [list(row) for row in zip(*kept.values(), strict=True)]


def _quantity(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def duration(seconds: float) -> str:
    """Write a time with three digits and the unit that suits it."""
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{_figure(seconds / unit)} {name}"
    return f"{_figure(seconds / 1e-9)} ns"


def _figure(value: float) -> str:
    """Write three significant digits without an exponent."""
    for least, decimals in ((100, 0), (10, 1), (1, 2)):
        if value >= least:
            return f"{value:,.{decimals}f}"
    return f"{value:.3g}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{_figure(value)}x"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _target(result: Result) -> str:
    if result.target_rate is not None:
        return f"{result.target_rate / 1e6:g} M/s"
    return "" if result.target is None else f"{result.target:.3g}x {result.baseline}"


def _notes(result: Result) -> str:
    notes = [f"{name}: {value}" for name, value in result.facts.items()]
    if result.target_rate is not None:
        notes.insert(0, f"{result.rate / 1e6:.1f} M/s")
    return ", ".join(notes)
