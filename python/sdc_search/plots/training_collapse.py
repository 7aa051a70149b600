"""How far codes have collapsed, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdc_search.plots.curves import Curve, curve_ends, draw_curves, name_ends
from sdc_search.plots.style import CAPTION_SIZE, FAINT, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_collapse_figure(
    curves: Sequence[Curve], *, n_bits: int, title: str = "", caption: str = ""
) -> Figure:
    """Draw the share of pairs at the commonest Hamming distance over the epochs of a training.

    Parameters
    ----------
    curves
        `x` are epochs, `y` the shares in [0, 1] (`sdc_search.bit_statistics.commonest_distance_share`).
    n_bits
        Of the codes: independent fair bits give the dotted line, the largest binomial probability.
    title, caption
        Lines above and below.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    height = 4.6
    figure = new_figure("training_collapse_figure", 7.2, height)
    from scipy.stats import binom

    axes = figure.subplots()
    draw_curves(axes, curves, scale=100.0)
    fair = 100.0 * float(binom.pmf(n_bits // 2, n_bits, 0.5))
    axes.axhline(fair, color=FAINT, linewidth=1.2, linestyle=(0, (1, 2)), zorder=0)
    reference = (f"{n_bits} fair bits", FAINT, axes.get_xlim()[1], fair)
    axes.set_ylim(bottom=0)
    dress(axes, title=title, x_label="epoch", y_label="pairs at the commonest distance, %")
    name_ends(axes, [*curve_ends(curves, scale=100.0), reference], height=0.8 * height)
    figure.supxlabel(caption, size=CAPTION_SIZE, color=FAINT)
    return figure
