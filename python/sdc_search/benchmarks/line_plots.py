"""What the figures of all suites share: panels of lines over logarithmic axes, legends below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from sdc_search.plots import FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = dict[str, list[tuple[int, float]]]


class Style(NamedTuple):
    """Colour (Okabe & Ito 2008), dashes and marker: any one of them tells the lines apart."""

    color: str
    dashes: str | tuple[int, tuple[float, ...]]
    marker: str


def panels(count: int, caption: str) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels side by side above a caption."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * count, 4.9), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.06)
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    figure.supxlabel(caption, size=9, color=FAINT)
    return figure, axes


def draw_lines(
    axes: Axes, series: Series, styles: Mapping[str, Style], title: str, x_label: str, y_label: str
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
    axes.set_title(title, size=11.5, color=INK)
    axes.set_xlabel(x_label, size=10.5, color=INK)
    axes.set_ylabel(y_label, size=10.5, color=INK)
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9.5)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=2,
        frameon=False,
        fontsize=9.5,
        handlelength=3.6,
    )
