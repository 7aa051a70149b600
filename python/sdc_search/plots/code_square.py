"""Codes of two bits as the corners of a square, and the similarities that they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sdc_search.plots.style import (
    BAR,
    BAR_SAME_CLASS,
    COLORS,
    FAINT,
    INK,
    LABEL_SIZE,
    MARKERS,
    dress,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class CodeSquare:
    """What one method made of a toy.

    Parameters
    ----------
    title
        Above the square.
    labels
        Classes of the items, from 0, shape ``(n,)``.
    cosines
        Of the features, one value for each pair of items.
    projections
        What the signs are taken of, shape ``(n, 2)``.
    """

    title: str
    labels: npt.NDArray[Any]
    cosines: npt.NDArray[Any]
    projections: npt.NDArray[Any]


def code_square_figure(squares: Sequence[CodeSquare]) -> Figure:
    """Draw a column for each: the projections, divided by their largest, above the pairs' similarities.

    A corner of the square is a code; a point belongs to the corner of its quadrant.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    figure = new_figure("code_square_figure", 3.5 * len(squares), 6.6)
    upper, lower = figure.subplots(2, len(squares), sharey="row", squeeze=False)
    for axes, square in zip(upper, squares, strict=True):
        points = square.projections / max(float(np.abs(square.projections).max()), 1e-12)
        for label in np.unique(square.labels):
            x, y = points[square.labels == label].T
            axes.scatter(
                x,
                y,
                s=16,
                color=COLORS[label % len(COLORS)],
                marker=MARKERS[label % len(MARKERS)],
                alpha=0.5,
                label=f"class {label + 1}",
            )
        axes.scatter([-1, -1, 1, 1], [-1, 1, -1, 1], s=90, facecolors="none", edgecolors=INK)
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.axvline(0, color=FAINT, linewidth=0.8)
        axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal", xticks=[], yticks=[])
        axes.set_title(square.title, size=11, color=INK)
    edges = np.linspace(-1.025, 1.025, 42)  # bars are centred on what similarities of two bits can be
    for axes, square in zip(lower, squares, strict=True):
        signs = np.where(square.projections > 0, 1.0, -1.0)
        similarities = (signs @ signs.T / 2)[np.triu_indices(len(signs), 1)]
        for values, color, width, name in (
            (square.cosines, BAR, 1.0, "features, cosine"),
            (similarities, BAR_SAME_CLASS, 0.5, "codes"),
        ):
            share = np.full(len(values), 100.0 / len(values))
            axes.hist(values, edges, weights=share, color=color, rwidth=width, label=name)
        dress(axes, x_label="similarity of a pair", grid=False)
        axes.set(xlim=(-1.1, 1.1), ylim=(0, 102))
        axes.set_xticks([-1, 0, 1], ["\N{MINUS SIGN}1", "0", "1"])
    lower[0].set_ylabel("share of all pairs, %", size=LABEL_SIZE, color=INK)
    handles = [axes.get_legend_handles_labels() for axes in (upper[0], lower[0])]
    figure.legend(
        [handle for group, _ in handles for handle in group],
        [text for _, group in handles for text in group],
        loc="outside lower center",
        ncols=6 if len(squares) > 1 else 3,
        frameon=False,
        fontsize=LABEL_SIZE,
    )
    return figure
