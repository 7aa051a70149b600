"""The figure of the toy of collapse, with what was counted above each square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdc_search.benchmarks.collapse import N_CLASSES, CollapseRun
from sdc_search.plots import CodeSquare, code_square_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def collapse_figure(runs: Sequence[CollapseRun]) -> Figure:
    """Draw `sdc_search.plots.code_square_figure`, a column for each run."""
    return code_square_figure(
        [
            CodeSquare(
                f"{run.method.partition(':')[0]}: {run.classes_apart} of {N_CLASSES} classes apart\n"
                f"commonest distance: {100 * run.collapse:.0f} % of pairs",
                run.labels,
                run.cosines,
                run.projections,
            )
            for run in runs
        ]
    )
