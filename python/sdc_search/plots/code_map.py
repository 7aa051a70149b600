"""Codes on a plane, by classical multidimensional scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sdc_search.plots.style import CAPTION_SIZE, COLORS, FAINT, LABEL_SIZE, MARKERS, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class MappedCodes:
    """One panel of a map of codes: packed codes of shape ``(n, n_bytes)`` under a title."""

    title: str
    codes: npt.NDArray[np.uint8]


def code_map_figure(
    panels: Sequence[MappedCodes],
    labels: npt.NDArray[Any],
    *,
    class_names: Sequence[str],
    caption: str = "",
) -> Figure:
    """Draw a sample of items, one panel for each of their codes, in the colours and markers of their classes.

    Parameters
    ----------
    panels
        Codes of the same items, a sample of some 1,000.
    labels
        One row of `class_names` an item, shape ``(n,)``.
    class_names
        The name of each label.
    caption
        A line below the panels.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    figure = new_figure("code_map_figure", max(4.4 * len(panels), 6.0), 5.4)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        points, share = scale_codes(panel.codes)
        for label, name in enumerate(class_names):
            x, y = points[labels == label].T
            axes.scatter(
                x,
                y,
                s=17,
                color=COLORS[label % len(COLORS)],
                marker=MARKERS[label % len(MARKERS)],
                alpha=0.65,
                linewidths=0,
                label=name,
            )
        dress(axes, title=panel.title, x_label=f"{100 * share:.0f} % of the variance shown", grid=False)
        axes.spines[:].set_visible(False)
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=min(5, len(names)),
        frameon=False,
        fontsize=LABEL_SIZE,
        markerscale=1.6,
    )
    figure.suptitle(caption, size=CAPTION_SIZE, color=FAINT)
    return figure


def scale_codes(codes: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float64], float]:
    """Place codes on a plane by classical multidimensional scaling (Torgerson 1952).

    The distances that it preserves best are the roots of the Hamming distances, which are Euclidean between
    vectors of bits. So the axes are the bits' principal components, and no matrix of distances is needed.

    Parameters
    ----------
    codes
        Packed, shape ``(n, n_bytes)``.

    Returns
    -------
    float64 of shape ``(n, 2)``, the first axis the longer; and which share of the codes' variance the two
    axes hold.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.plots import scale_codes
    >>> points, share = scale_codes(np.array([[0b000], [0b011], [0b111]], np.uint8))
    >>> np.round(np.sum((points[0] - points[1:]) ** 2, axis=1), 6).tolist(), round(share, 6)
    ([2.0, 3.0], 1.0)
    """
    bits = np.unpackbits(codes, axis=1).astype(np.float64)
    left, lengths, _ = np.linalg.svd(bits - bits.mean(axis=0), full_matrices=False)
    points = np.zeros((len(bits), 2))
    found = min(2, len(lengths))
    points[:, :found] = left[:, :found] * lengths[:found]
    # An axis' sign is free; this one is the same on every machine.
    points *= np.where(points[np.abs(points).argmax(axis=0), np.arange(2)] < 0, -1.0, 1.0)
    variance = float(np.sum(lengths**2))
    return points, float(np.sum(lengths[:2] ** 2)) / variance if variance > 0 else 1.0
