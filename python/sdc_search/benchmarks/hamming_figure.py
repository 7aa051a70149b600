"""The figure of the Hamming suite: what a pair costs, and what a query costs as the database grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from sdc_search.benchmarks import hamming
from sdc_search.benchmarks.cases import Result
from sdc_search.plots import FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class _Style(NamedTuple):
    """Colour (Okabe & Ito 2008), dashes and marker: any one of them tells the lines apart."""

    color: str
    dashes: str | tuple[int, tuple[float, ...]]
    marker: str


_STYLES = {
    hamming.OURS: _Style("#0072B2", "solid", "o"),
    hamming.FAISS: _Style("#D55E00", "dashed", "s"),
    hamming.FAISS_COUNTING: _Style("#E69F00", "dashdot", "^"),
    hamming.USEARCH: _Style("#009E73", "dotted", "D"),
    hamming.NUMPY: _Style("#CC79A7", (0, (5, 1, 1, 1, 1, 1)), "v"),
    "limit": _Style(FAINT, (0, (1, 1.5)), ""),
    "sdc-search, tables, uniform codes": _Style("#56B4E9", "dotted", "^"),
    "sdc-search, tables, clustered codes": _Style(INK, "dashdot", "D"),
    "sdc-search, scan": _Style("#0072B2", "solid", "o"),
}

Series = dict[str, list[tuple[int, float]]]


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
    from matplotlib.figure import Figure

    pairs, growth = _pairs(results), _growth(results)
    panels = [series for series in (pairs, growth) if series]
    if not panels:
        return None
    figure = Figure(figsize=(5.6 * len(panels), 4.9), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.06)
    axes = list(figure.subplots(1, len(panels), squeeze=False)[0])
    if pairs:
        ax = axes.pop(0)
        _draw(ax, pairs, "bits of a code", "ns for a pair of query and code")
        bits = sorted({x for line in pairs.values() for x, _ in line})
        ax.set_xscale("log", base=2, subs=[])
        ax.set_xticks(bits, [str(x) for x in bits], minor=False)
        ax.set_title(_title(results, "batch-k10-"), size=11.5, color=INK)
    if growth:
        ax = axes.pop(0)
        _draw(ax, growth, "codes in the database", "ms for a query")
        ax.set_xscale("log", subs=[])
        ax.set_title(_title(results, "growth-"), size=11.5, color=INK)
    figure.supxlabel(caption, size=9, color=FAINT)
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


def _draw(axes: Axes, series: Series, x_label: str, y_label: str) -> None:
    from matplotlib.ticker import LogLocator

    for name, points in series.items():
        style = _STYLES[name]
        axes.plot(
            *zip(*sorted(points), strict=True),
            color=style.color,
            linestyle=style.dashes,
            marker=style.marker,
            markersize=5.5,
            linewidth=1.8,
            label=name,
        )
    values = [y for points in series.values() for _, y in points]
    steps = (1.0,) if max(values) > 100 * min(values) else (1.0, 2.0, 5.0)
    axes.set_yscale("log", subs=[])
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.set_xlabel(x_label, size=10.5, color=INK)
    axes.set_ylabel(y_label, size=10.5, color=INK)
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9.5)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=2,
        frameon=False,
        fontsize=9.5,
        handlelength=3.6,
    )
