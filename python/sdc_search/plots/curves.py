"""What the figures of curves share: the curve, its style, its name at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sdc_search.plots.style import TICK_SIZE, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Curve:
    """One method in a figure of curves.

    Parameters
    ----------
    label
        Its name.
    x, y
        Points, each of shape ``(m,)``; NaN in `y` is left out.
    spread
        Half the length of a bar at each point, shape ``(m,)``.
    published
        Taken from a publication and not measured: drawn thin and with hollow markers.
    """

    label: str
    x: npt.ArrayLike
    y: npt.ArrayLike
    spread: npt.ArrayLike | None = None
    published: bool = False


def draw_curves(axes: Axes, curves: Sequence[Curve], *, scale: float = 1.0, max_markers: int = 12) -> None:
    """Draw curves in the order given, `y` times `scale`; a long one has a marker only now and then."""
    for place, curve in enumerate(curves):
        style = line_style(place)
        x, y = np.asarray(curve.x, np.float64), np.asarray(curve.y, np.float64) * scale
        there = ~np.isnan(y)
        spread = None if curve.spread is None else np.asarray(curve.spread, np.float64)[there] * scale
        every = max(1, -(-int(there.sum()) // max_markers))
        axes.errorbar(
            x[there],
            y[there],
            spread,
            color=style.color,
            linestyle=(0, (1, 1.6)) if curve.published else style.dashes,
            linewidth=1.2 if curve.published else 1.8,
            marker=style.marker,
            # Staggered, or the markers of curves that lie together hide each other.
            markevery=(place % every, every),
            markersize=5.5,
            markerfacecolor="white" if curve.published else style.color,
            capsize=3,
            elinewidth=1.0,
            label=curve.label,
        )


def name_ends(axes: Axes, curves: Sequence[Curve], *, scale: float = 1.0, height: float) -> None:
    """Write each curve's name to the right of the axes, as near to the height of its end as there is room.

    Parameters
    ----------
    axes
        With its final limits of y.
    curves
        As `draw_curves` was given them.
    scale
        Of `y`, as there.
    height
        Of the axes in inches, about: names are set two points apart.
    """
    from scipy.optimize import isotonic_regression

    ends: list[tuple[float, float, Curve, str]] = []
    for place, curve in enumerate(curves):
        x, y = np.asarray(curve.x, np.float64), np.asarray(curve.y, np.float64) * scale
        if (there := np.flatnonzero(~np.isnan(y))).size:
            ends.append((float(y[there[-1]]), float(x[there[-1]]), curve, line_style(place).color))
    ends.sort(key=lambda end: end[0])
    if not ends:
        return
    low, high = axes.get_ylim()
    wanted = (np.array([end[0] for end in ends]) - low) / (high - low)
    # The nearest positions, by least squares, that leave `pitch` between neighbours.
    pitch = (TICK_SIZE + 3.0) / 72.0 / height
    steps = pitch * np.arange(len(ends))
    positions = isotonic_regression(wanted - steps).x + steps
    for position, (y_end, x_end, curve, color) in zip(positions, ends, strict=True):
        leader: dict[str, Any] = {
            "arrowstyle": "-",
            "color": color,
            "linewidth": 0.8,
            "relpos": (0, 0.5),
            "shrinkA": 1,
            "shrinkB": 3,
        }
        axes.annotate(
            curve.label,
            xy=(x_end, y_end),
            xytext=(1.04, position),
            textcoords="axes fraction",
            size=TICK_SIZE,
            color=color,
            va="center",
            arrowprops=leader,
            annotation_clip=False,
        )
