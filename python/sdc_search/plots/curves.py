"""What the figures of curves share: the curve, its style, its name at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sdc_search.plots.style import TICK_SIZE, LineStyle, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        Taken from the paper and not measured: drawn thin, with hollow markers and "(paper)" behind its name,
        in the colour of the measured curve of the same label, if there is one.
    """

    label: str
    x: npt.ArrayLike
    y: npt.ArrayLike
    spread: npt.ArrayLike | None = None
    published: bool = False

    @property
    def name(self) -> str:
        """What the figure calls it."""
        return f"{self.label} (paper)" if self.published else self.label


def draw_curves(axes: Axes, curves: Sequence[Curve], *, scale: float = 1.0, max_markers: int = 12) -> None:
    """Draw curves in the order given, `y` times `scale`; a long one has a marker only now and then."""
    for place, (curve, style) in enumerate(zip(curves, _styles(curves), strict=True)):
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
            label=curve.name,
        )


def _styles(curves: Sequence[Curve]) -> list[LineStyle]:
    labels = [curve.label for curve in sorted(curves, key=lambda curve: curve.published)]
    places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    return [line_style(places[curve.label]) for curve in curves]


def name_ends(axes: Axes, ends: Sequence[tuple[str, str, float, float]], *, height: float) -> None:
    """Write names to the right of the axes, as near to the height of their ends as there is room.

    Parameters
    ----------
    axes
        With its final limits of y.
    ends
        Name, colour, x and y of each.
    height
        Of the axes in inches, about: names are set two points apart.
    """
    from scipy.optimize import isotonic_regression

    ends = sorted(ends, key=lambda end: end[3])
    low, high = axes.get_ylim()
    wanted = (np.array([y for *_, y in ends]) - low) / (high - low)
    # The nearest positions, by least squares, that leave `pitch` between neighbours.
    pitch = (TICK_SIZE + 3.0) / 72.0 / height
    steps = pitch * np.arange(len(ends))
    positions = isotonic_regression(wanted - steps).x + steps
    for position, (name, color, x, y) in zip(positions, ends, strict=True):
        leader: dict[str, Any] = {
            "arrowstyle": "-",
            "color": color,
            "linewidth": 0.8,
            "relpos": (0, 0.5),
            "shrinkA": 1,
            "shrinkB": 3,
        }
        axes.annotate(
            name,
            xy=(x, y),
            xytext=(1.04, position),
            textcoords="axes fraction",
            size=TICK_SIZE,
            color=color,
            va="center",
            arrowprops=leader,
            annotation_clip=False,
        )


def curve_ends(curves: Sequence[Curve], *, scale: float = 1.0) -> list[tuple[str, str, float, float]]:
    """Return name, colour, x and y, times `scale`, of where curves end; none of one that is all NaN."""
    ends = []
    for curve, style in zip(curves, _styles(curves), strict=True):
        x, y = np.asarray(curve.x, np.float64), np.asarray(curve.y, np.float64) * scale
        if (there := np.flatnonzero(~np.isnan(y))).size:
            ends.append((curve.name, style.color, float(x[there[-1]]), float(y[there[-1]])))
    return ends


def name_in_legend(figure: Figure, axes: Axes, curves: Sequence[Curve]) -> None:
    """Write to the right the names of curves that meet at their ends, the highest on the whole first."""
    handles, _ = axes.get_legend_handles_labels()
    heights = [float(np.nanmean(np.asarray(curve.y, np.float64))) for curve in curves]
    order = np.argsort(heights)[::-1]
    figure.legend(
        [handles[place] for place in order],
        [curves[place].name for place in order],
        loc="outside right upper",
        frameon=False,
        fontsize=TICK_SIZE,
        handlelength=3.6,
    )
