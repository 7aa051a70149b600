"""The figure of the toy of collapse: where the classes lie on the code square, and their similarities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sdc_search.benchmarks.collapse import N_CLASSES, CollapseRun
from sdc_search.plots import BAR, BAR_SAME_CLASS, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe & Ito 2008
_MARKERS = "os^D"


def collapse_figure(runs: Sequence[CollapseRun]) -> Figure:
    """Draw a column for each run: the projections, divided by their largest, above the pairs' similarities.

    A corner of the square is a code; a point belongs to the corner of its quadrant.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.5 * len(runs), 6.6), facecolor="white", layout="constrained")
    squares, histograms = figure.subplots(2, len(runs), squeeze=False)
    for axes, run in zip(squares, runs, strict=True):
        points = run.projections / max(float(np.abs(run.projections).max()), 1e-12)
        for label in range(N_CLASSES):
            x, y = points[run.labels == label].T
            axes.scatter(
                x,
                y,
                s=16,
                color=_COLORS[label],
                marker=_MARKERS[label],
                alpha=0.5,
                label=f"class {label + 1}",
            )
        axes.scatter([-1, -1, 1, 1], [-1, 1, -1, 1], s=90, facecolors="none", edgecolors=INK)
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.axvline(0, color=FAINT, linewidth=0.8)
        axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal", xticks=[], yticks=[])
        axes.set_title(
            f"{run.method.partition(':')[0]}: {run.classes_apart} of {N_CLASSES} classes apart\n"
            f"commonest distance: {100 * run.collapse:.0f} % of pairs",
            size=11,
            color=INK,
        )
    edges = np.linspace(-1.05, 1.05, 43)
    for axes, run in zip(histograms, runs, strict=True):
        signs = np.where(run.projections > 0, 1.0, -1.0)
        similarities = (signs @ signs.T / 2)[np.triu_indices(len(signs), 1)]
        for values, color, name in (
            (similarities, BAR_SAME_CLASS, "codes"),
            (run.cosines, BAR, "features, cosine"),
        ):
            share = np.full(len(values), 1 / len(values))
            axes.hist(values, edges, weights=share, color=color, label=name)
        axes.set(xlim=(-1.1, 1.1), ylim=(0, 1.02), xticks=[-1, 0, 1])
        axes.set_xlabel("similarity of a pair", size=10, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
    histograms[0].set_ylabel("share of all pairs", size=10, color=INK)
    handles = [axes.get_legend_handles_labels() for axes in (squares[0], histograms[0])]
    figure.legend(
        [h for group, _ in handles for h in group],
        [text for _, group in handles for text in group],
        loc="outside lower center",
        ncols=6,
        frameon=False,
        fontsize=9.5,
    )
    return figure
