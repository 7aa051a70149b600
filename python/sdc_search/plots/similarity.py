"""Similarities of pairs before and after hashing, over the distribution that codes are calibrated to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sdc_search.plots.style import (
    BAR,
    BAR_SAME_CLASS,
    CALIBRATION,
    FAINT,
    INK,
    LABEL_SIZE,
    dress,
    require_matplotlib,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Similarities:
    """Similarities in [−1, 1] of the same pairs of items, as one representation sees them."""

    title: str
    values: npt.NDArray[Any]


def similarity_figure(
    representations: Sequence[Similarities],
    same_class: npt.NDArray[np.bool_],
    *,
    n_bits: int,
    alpha: float = 5.0,
    beta: float = 5.0,
    caption: str = "",
) -> Figure:
    """Draw histograms of pair similarities over the calibration distribution.

    Parameters
    ----------
    representations
        One panel each, side by side; of codes the similarity is ``1 − 2d/n_bits``.
    same_class
        bool of the values' shape: pairs of one class, drawn as the darker part of every bar.
    n_bits
        Bars are centred on the ``n_bits + 1`` values that a code similarity can take.
    alpha, beta
        The Beta distribution, stretched to [−1, 1], that SDC calibrates to.
    caption
        A line above the panels.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    require_matplotlib("similarity_figure")
    from matplotlib.figure import Figure
    from scipy.stats import beta as beta_distribution

    centres = np.linspace(-1.0, 1.0, n_bits + 1)
    edges = np.append(centres - 1.0 / n_bits, 1.0 + 1.0 / n_bits)
    grid = np.linspace(-1.0, 1.0, 401)
    target = beta_distribution.pdf((grid + 1.0) / 2.0, alpha, beta) / 2.0

    figure = Figure(figsize=(3.1 * len(representations), 3.5), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1)  # or the outermost tick labels of two panels touch
    panels = figure.subplots(1, len(representations), sharex=True, sharey=True, squeeze=False)[0]
    for axes, representation in zip(panels, representations, strict=True):
        values = representation.values.ravel()
        scale = n_bits / (2.0 * len(values))
        every = np.histogram(values, edges)[0] * scale
        same = np.histogram(values[same_class.ravel()], edges)[0] * scale
        axes.bar(centres, every, 2.0 / n_bits, color=BAR, edgecolor="white", linewidth=0.3, label="all pairs")
        axes.bar(
            centres,
            same,
            2.0 / n_bits,
            color=BAR_SAME_CLASS,
            edgecolor="white",
            linewidth=0.3,
            label="of these, pairs of one class",
        )
        axes.plot(
            grid,
            target,
            color=CALIBRATION,
            linestyle=(0, (4, 1.5)),
            linewidth=1.8,
            label=f"calibration target: Beta({alpha:g}, {beta:g})",
        )
        dress(axes, title=representation.title, x_label="similarity of a pair", grid=False)
        axes.set_xlim(-1.0, 1.0)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1], ["\N{MINUS SIGN}1", "\N{MINUS SIGN}0.5", "0", "0.5", "1"])
    panels[0].set_ylabel("density", size=LABEL_SIZE, color=INK)
    figure.suptitle(caption, size=LABEL_SIZE, color=FAINT)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=LABEL_SIZE)
    return figure
