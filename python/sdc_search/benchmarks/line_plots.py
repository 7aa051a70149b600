"""What the figures of all suites share: panels of lines over logarithmic axes, legends below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sdc_search.plots.style import CAPTION_SIZE, FAINT, TICK_SIZE, LineStyle, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = dict[str, list[tuple[int, float]]]


def panels(count: int, caption: str) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels side by side above a caption."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * count, 4.9), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.06)
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    figure.supxlabel(caption, size=CAPTION_SIZE, color=FAINT)
    return figure, axes


def draw_lines(
    axes: Axes, series: Series, styles: Mapping[str, LineStyle], title: str, x_label: str, y_label: str
) -> None:
    """Draw one line for each entry of `series`; the values' axis is logarithmic, the other the caller's."""
    from matplotlib.ticker import LogLocator

    for name, points in series.items():
        style = styles[name]
        axes.plot(
            *zip(*sorted(points), strict=True),
            color=style.color,
            linestyle=style.dashes,
            marker=style.marker,
            markersize=5.5,
            linewidth=1.8,
            label=name,
        )
    values = [y for points in series.values() for _, y in points]
    steps = (1.0,) if max(values) > 100 * min(values) else (1.0, 2.0, 5.0)
    axes.set_yscale("log", subs=[])
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    dress(axes, title=title, x_label=x_label, y_label=y_label)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=2,
        frameon=False,
        fontsize=TICK_SIZE,
        handlelength=3.6,
    )
