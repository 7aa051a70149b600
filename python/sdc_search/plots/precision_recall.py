"""Precision over recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sdc_search.plots.curves import Curve, draw_curves, name_in_legend
from sdc_search.plots.style import CAPTION_SIZE, FAINT, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def precision_recall_figure(curves: Sequence[Curve], *, title: str = "", caption: str = "") -> Figure:
    """Draw precision over recall, both in percent.

    Parameters
    ----------
    curves
        `x` is recall and `y` precision, both in [0, 1], in the order of growing radius or rank.
    title, caption
        Lines above and below.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    figure = new_figure("precision_recall_figure", 7.6, 4.8)
    axes = figure.subplots()
    percents = [replace(curve, x=100.0 * np.asarray(curve.x, np.float64)) for curve in curves]
    draw_curves(axes, percents, scale=100.0)
    axes.set(xlim=(-1, 101), ylim=(0, 102))
    dress(axes, title=title, x_label="recall, %", y_label="precision, %")
    name_in_legend(figure, axes, curves)
    figure.supxlabel(caption, size=CAPTION_SIZE, color=FAINT)
    return figure
