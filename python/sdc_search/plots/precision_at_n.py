"""Precision over the number of items retrieved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sdc_search.plots.curves import Curve, draw_curves, name_in_legend
from sdc_search.plots.style import CAPTION_SIZE, FAINT, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def precision_at_n_figure(curves: Sequence[Curve], *, title: str = "", caption: str = "") -> Figure:
    """Draw the precision of the first N items over N.

    Parameters
    ----------
    curves
        `x` is N ≥ 1 and `y` the precision in [0, 1].
    title, caption
        Lines above and below.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    figure = new_figure("precision_at_n_figure", 7.6, 4.8)
    axes = figure.subplots()
    draw_curves(axes, curves, scale=100.0)
    smallest = min(float(np.min(np.asarray(curve.x))) for curve in curves)
    largest = max(float(np.max(np.asarray(curve.x))) for curve in curves)
    if largest >= 50 * smallest:  # what matters to who looks at a page of hits would else be a vertical line
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    dress(axes, title=title, x_label="N, items retrieved", y_label="precision@N, %")
    name_in_legend(figure, axes, curves)
    figure.supxlabel(caption, size=CAPTION_SIZE, color=FAINT)
    return figure
