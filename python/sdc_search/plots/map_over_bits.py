"""The mean average precision over the length of the codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sdc_search.plots.curves import Curve, curve_ends, draw_curves, name_ends
from sdc_search.plots.style import CAPTION_SIZE, FAINT, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_REFERENCE_DASHES = ((0, (1, 2)), (0, (6, 2, 1, 2)))


def map_over_bits_figure(
    curves: Sequence[Curve],
    *,
    references: Mapping[str, float] | None = None,
    measure: str = "mAP@1000",
    caption: str = "",
) -> Figure:
    """Draw one line a method, with bars of a standard deviation.

    Parameters
    ----------
    curves
        At least one; `x` are bits, `y` the measure in [0, 1].
    references
        Name → value in [0, 1] of what has no bits: horizontal lines.
    measure
        What the axis is called.
    caption
        A line below the axes.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.

    Examples
    --------
    >>> from sdc_search.plots import Curve, map_over_bits_figure
    >>> figure = map_over_bits_figure([Curve("LSH", [16, 32, 64], [0.24, 0.30, 0.38])])
    >>> figure.axes[0].get_ylabel()
    'mAP@1000, %'
    """
    height = 5.2
    figure = new_figure("map_over_bits_figure", 7.6, height)
    axes = figure.subplots()
    draw_curves(axes, curves, scale=100.0)
    axes.set_xscale("log", base=2)
    lengths = np.unique(np.concatenate([np.asarray(curve.x) for curve in curves]))
    axes.set_xticks(lengths, [f"{n_bits:g}" for n_bits in lengths])
    right = lengths[-1] * 1.12
    axes.set_xlim(lengths[0] / 1.12, right)
    ends = curve_ends(curves, scale=100.0)
    for place, (name, value) in enumerate((references or {}).items()):
        style = _REFERENCE_DASHES[place % len(_REFERENCE_DASHES)]
        axes.axhline(100 * value, color=FAINT, linewidth=1.2, linestyle=style, zorder=0)
        ends.append((name, FAINT, right, 100 * value))
    dress(axes, x_label="bits of a code", y_label=f"{measure}, %")
    name_ends(axes, ends, height=0.8 * height)
    figure.supxlabel(caption, size=CAPTION_SIZE, color=FAINT)
    return figure
