"""What methods retrieve for a few queries, hit by hit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sdc_search.plots.style import FAINT, INK, RIGHT, WRONG, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Retrieval:
    """What one method found for the queries of a figure.

    Parameters
    ----------
    title
        Written above the method's block.
    ids
        Rows of the database, best first, shape ``(q, k)``.
    """

    title: str
    ids: npt.NDArray[np.int64]


def retrieval_figure(
    query_images: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8],
    query_labels: npt.NDArray[Any],
    database_images: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8],
    database_labels: npt.NDArray[Any],
    retrievals: Sequence[Retrieval],
    *,
    class_names: Sequence[str],
    caption: str = "",
) -> Figure:
    """Draw a few queries, each with the first images that every method finds, side by side.

    A hit of the query's class has a solid green frame and a tick; any other a dashed red frame, a cross and
    the name of its class.

    Parameters
    ----------
    query_images, database_images
        One uint8 array an image, ``(height, width)`` or ``(height, width, 3)``, drawn as it is (0 is black),
        within a square; an array ``(n, height, width)`` will do.
    query_labels, database_labels
        One row of `class_names` each.
    retrievals
        One block of columns a method; every block holds its hits in two rows.
    class_names
        The name of each label.
    caption
        A line below the title.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    require_matplotlib("retrieval_figure")
    from matplotlib.figure import Figure

    # One axes whose unit is the side of a thumbnail: positions are exact, and nothing has to be laid out.
    lines = 2
    pitch_x, pitch_y, query_side, block_gap = 1.14, 1.36, 2.0, 0.75
    blocks = []
    width = query_side
    for retrieval in retrievals:
        columns = -(-retrieval.ids.shape[1] // lines)
        blocks.append((width + block_gap, columns))
        width += block_gap + columns * pitch_x - (pitch_x - 1.0)
    row_pitch = lines * pitch_y + 0.3
    height = row_pitch * len(query_images) - 0.3
    header = 0.75 + (0.45 if caption else 0.0)

    figure = Figure(
        figsize=(0.72 * (width + 0.3), 0.72 * (height + header + 0.1)),
        facecolor="white",
        layout="constrained",
    )
    axes = figure.add_subplot()
    axes.set_axis_off()
    for row, (image, label) in enumerate(zip(query_images, query_labels, strict=True)):
        top = row * row_pitch
        _draw_image(axes, image, 0.0, top, query_side)
        _draw_frame(axes, 0.0, top, query_side, color=INK, style="solid", width=1.0)
        axes.text(
            query_side / 2,
            top + query_side + 0.1,
            class_names[label],
            size=12,
            color=INK,
            ha="center",
            va="top",
        )
        for (left, columns), retrieval in zip(blocks, retrievals, strict=True):
            for rank, item in enumerate(retrieval.ids[row]):
                line, column = divmod(rank, columns)
                x, y = left + column * pitch_x, top + line * pitch_y
                _draw_image(axes, database_images[item], x, y, 1.0)
                _draw_verdict(axes, x, y, database_labels[item] == label, class_names[database_labels[item]])
    axes.text(query_side / 2, -0.2, "query", size=14, color=INK, ha="center", va="bottom")
    for (left, columns), retrieval in zip(blocks, retrievals, strict=True):
        middle = left + (columns * pitch_x - (pitch_x - 1.0)) / 2
        axes.text(middle, -0.2, retrieval.title, size=14, weight="bold", color=INK, ha="center", va="bottom")
    axes.text(width / 2, -0.85, caption, size=10.5, color=FAINT, ha="center", va="bottom")
    axes.set(xlim=(-0.1, width + 0.1), ylim=(height, -header), aspect="equal")
    return figure


def _draw_image(axes: Axes, image: npt.NDArray[np.uint8], x: float, y: float, side: float) -> None:
    height, width = image.shape[:2]
    scale = side / max(height, width)
    left, top = x + (side - scale * width) / 2, y + (side - scale * height) / 2
    extent = (left, left + scale * width, top + scale * height, top)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="antialiased")


def _draw_frame(axes: Axes, x: float, y: float, side: float, *, color: str, style: Any, width: float) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((x, y), side, side, fill=False, edgecolor=color, linestyle=style, linewidth=width)
    )


def _draw_verdict(axes: Axes, x: float, y: float, right: bool, name: str) -> None:
    color = RIGHT if right else WRONG
    _draw_frame(axes, x, y, 1.0, color=color, style="solid" if right else (0, (2.2, 1.3)), width=2.0)
    axes.text(
        x + 0.5,
        y + 1.05,
        "\N{CHECK MARK}" if right else f"\N{MULTIPLICATION X} {name}",
        size=8.5,
        color=color,
        ha="center",
        va="top",
    )
