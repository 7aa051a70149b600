"""The quality benchmark's results as tables, methods by bits: for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sdc_search.benchmarks.quality_data import PROTOCOL
from sdc_search.quality_cells import Summary

if TYPE_CHECKING:
    from rich.table import Table

CAPTION = (
    f"mAP@{PROTOCOL.at}: ties in expectation, divided by the relevant items among the first"
    f" {PROTOCOL.at:,}; mean ± standard deviation over the seeds. fit: wall time. collapse: the share of all"
    " pairs of items that lie at the commonest distance."
)
_ABSENT = "-"


def _score(summary: Summary) -> str:
    name = "mean_average_precision"
    spread = f" ± {100 * summary.spread[name]:.1f}" if summary.spread else ""
    return f"{100 * summary.mean[name]:.1f}{spread}"


_TABLES: dict[str, Callable[[Summary], str]] = {
    f"mAP@{PROTOCOL.at}, %": _score,
    "fit, s": lambda summary: f"{summary.mean['fit_seconds']:.3g}",
    "encode, thousand items/s": lambda summary: f"{summary.mean['encode_rate'] / 1e3:,.0f}",
    "collapse, %": lambda summary: f"{100 * summary.mean['collapse']:.1f}",
}


def grids(
    summaries: Sequence[Summary], references: Mapping[str, float]
) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Lay out one table a measure: title → headings and rows; the references stand in the first."""
    lengths = sorted({summary.n_bits for summary in summaries})
    methods = list(dict.fromkeys(summary.method for summary in summaries))
    cells = {(summary.method, summary.n_bits): summary for summary in summaries}
    headings = ["method", *(f"{n_bits} bits" for n_bits in lengths)]
    tables = {}
    for title, show in _TABLES.items():
        rows = [
            [method, *(show(cells[method, n]) if (method, n) in cells else _ABSENT for n in lengths)]
            for method in methods
        ]
        if show is _score:
            rows += [[name, *[f"{100 * value:.1f}"] * len(lengths)] for name, value in references.items()]
        tables[title] = (headings, rows)
    return tables


def rich_tables(summaries: Sequence[Summary], references: Mapping[str, float]) -> list[Table]:
    """Return the tables for the terminal."""
    from rich.table import Table

    tables = []
    for title, (headings, rows) in grids(summaries, references).items():
        table = Table(title=title, title_justify="left")
        for heading in headings:
            table.add_column(heading, justify="left" if heading == "method" else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        tables.append(table)
    return tables


def markdown(
    machine: Mapping[str, Any],
    heading: str,
    summaries: Sequence[Summary],
    references: Mapping[str, float],
    failures: Sequence[str],
) -> str:
    """Return the tables as Markdown, below what was measured and on what."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    parts = [f"{heading}.", "", f"{machine['cpu']}; {versions}."]
    for title, (headings, rows) in grids(summaries, references).items():
        rule = ["---", *["---:"] * (len(headings) - 1)]
        parts += ["", f"### {title}", ""]
        parts += [f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows)]
    parts += ["", CAPTION, *(f"\nNot measured: {failure}" for failure in failures), ""]
    return "\n".join(parts)
