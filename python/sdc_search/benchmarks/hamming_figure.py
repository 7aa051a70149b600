"""The figure of the Hamming suite: what a pair costs, and what a query costs as the database grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdc_search.benchmarks import hamming
from sdc_search.benchmarks.cases import Result
from sdc_search.benchmarks.line_plots import Series, draw_lines, panels
from sdc_search.plots.style import FAINT, INK, LineStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_STYLES = {
    hamming.OURS: LineStyle("#0072B2", "solid", "o"),
    hamming.FAISS: LineStyle("#D55E00", "dashed", "s"),
    hamming.FAISS_COUNTING: LineStyle("#E69F00", "dashdot", "^"),
    hamming.USEARCH: LineStyle("#009E73", "dotted", "D"),
    hamming.NUMPY: LineStyle("#CC79A7", (0, (5, 1, 1, 1, 1, 1)), "v"),
    "limit": LineStyle(FAINT, (0, (1, 1.5)), ""),
    "sdc-search, tables, uniform codes": LineStyle("#56B4E9", "dotted", "^"),
    "sdc-search, tables, clustered codes": LineStyle(INK, "dashdot", "D"),
    "sdc-search, scan": LineStyle("#0072B2", "solid", "o"),
}


def hamming_figure(results: Sequence[Result], *, caption: str) -> Figure | None:
    """Draw the batch of 1,000 queries over the code's bits, and one query over the size of the database.

    Parameters
    ----------
    results
        Of the suite; a panel whose cases are not among them is left out.
    caption
        A line below the panels.

    Returns
    -------
    None where no panel is left.
    """
    pairs, growth = _pairs(results), _growth(results)
    count = bool(pairs) + bool(growth)
    if count == 0:
        return None
    figure, axes = panels(count, caption)
    if pairs:
        ax = axes.pop(0)
        title = _title(results, "batch-k10-")
        draw_lines(ax, pairs, _STYLES, title, "bits of a code", "ns for a pair of query and code")
        bits = sorted({x for line in pairs.values() for x, _ in line})
        ax.set_xscale("log", base=2, subs=[])
        ax.set_xticks(bits, [str(x) for x in bits], minor=False)
    if growth:
        ax = axes.pop(0)
        title = _title(results, "growth-")
        draw_lines(ax, growth, _STYLES, title, "codes in the database", "ms for a query")
        ax.set_xscale("log", subs=[])
    return figure


def _title(results: Sequence[Result], prefix: str) -> str:
    parameters = next(result.parameters for result in results if result.name.startswith(prefix))
    if prefix == "growth-":
        return f"One query at a time, k = {parameters['k']}, {parameters['bits']} bits"
    return f"{parameters['queries']:,} queries, k = {parameters['k']}, {parameters['n']:,} codes"


def _pairs(results: Sequence[Result]) -> Series:
    series: Series = {}
    for result in results:
        if result.name.startswith("batch-k10-"):
            bits = int(result.parameters["bits"])
            for name, value in result.ns_per_item.items():
                series.setdefault(name, []).append((bits, value))
            if result.share_of_limit is not None:
                limit = result.share_of_limit * result.ns_per_item[result.own]
                series.setdefault("limit", []).append((bits, limit))
    return series


def _growth(results: Sequence[Result]) -> Series:
    series: Series = {}
    for result in results:
        if result.group == hamming.GROWTH:
            n, kind = int(result.parameters["n"]), result.parameters["codes"]
            lines = {f"sdc-search, tables, {kind} codes": hamming.TABLES}
            if kind == "uniform":  # what reads all codes takes as long whatever they are
                lines = {hamming.FAISS: hamming.FAISS, "sdc-search, scan": hamming.SCAN, **lines}
            for label, name in lines.items():
                series.setdefault(label, []).append((n, 1e3 * result.seconds[name]))
    return series
