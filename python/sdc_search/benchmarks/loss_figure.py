"""The figure of the losses' suite: the time over the numbers, and the memory over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdc_search.benchmarks import losses
from sdc_search.benchmarks.cases import Result
from sdc_search.benchmarks.line_plots import Series, draw_lines, panels
from sdc_search.plots.style import LineStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES = {
    losses.OURS: LineStyle("#0072B2", "solid", "o"),
    losses.TORCH: LineStyle("#D55E00", "dashed", "s"),
}


def loss_figure(results: Sequence[Result], *, caption: str) -> Figure | None:
    """Draw the calibration loss's time over its numbers, and the memory of all pairs over the batch.

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
    times, memory = _times(results), _memory(results)
    count = bool(times) + bool(memory)
    if count == 0:
        return None
    figure, axes = panels(count, caption)
    if times:
        ax = axes.pop(0)
        title = "Calibration loss, forward and backward"
        draw_lines(ax, times, _STYLES, title, "numbers", "ms for a step")
        ax.set_xscale("log", subs=[])
    if memory:
        ax = axes.pop(0)
        draw_lines(ax, memory, _STYLES, "SDCLoss, all pairs", "rows in a batch", "extra memory, MB")
        batches = sorted({x for line in memory.values() for x, _ in line})
        ax.set_xscale("log", base=2, subs=[])
        ax.set_xticks(batches, [f"{x:,}" for x in batches], minor=False)
    return figure


def _times(results: Sequence[Result]) -> Series:
    series: Series = {}
    for result in results:
        if result.group == losses.CALIBRATION:
            for name, seconds in result.seconds.items():
                series.setdefault(name, []).append((int(result.parameters["n"]), 1e3 * seconds))
    return series


def _memory(results: Sequence[Result]) -> Series:
    series: Series = {}
    for result in results:
        if result.group == losses.ALL_PAIRS:
            for name, fact in losses.MEMORY.items():
                if fact in result.facts:
                    series.setdefault(name, []).append((int(result.parameters["batch"]), result.facts[fact]))
    return series
