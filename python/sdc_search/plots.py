"""Figures: what a code retrieves, and how its similarities are distributed.

Every function returns a matplotlib ``Figure`` made without pyplot, so there is no global state and no window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sdc_search.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#222222"
FAINT = "#6b6b6b"
# Bluish green and vermillion stay apart under the common colour deficiencies (Okabe & Ito 2008); darker
# than theirs, for small text.
RIGHT = "#00875f"
WRONG = "#d0440b"
BAR = "#a9c6de"
BAR_SAME_CLASS = "#1f5c8b"
CALIBRATION = "#d0440b"


def require_matplotlib(purpose: str) -> None:
    """Raise `MissingExtraError` where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("matplotlib", "demo", purpose) from error


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
    query_images: npt.NDArray[np.uint8],
    query_labels: npt.NDArray[Any],
    database_images: npt.NDArray[np.uint8],
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
        uint8, shapes ``(q, height, width)`` and ``(n, height, width)``, drawn dark on light.
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
    axes.imshow(
        image, cmap="gray_r", vmin=0, vmax=255, extent=(x, x + side, y + side, y), interpolation="antialiased"
    )


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
        axes.set_title(representation.title, size=12, color=INK)
        axes.set_xlabel("similarity of a pair", size=10.5, color=INK)
        axes.set_xlim(-1.0, 1.0)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1], ["\N{MINUS SIGN}1", "\N{MINUS SIGN}0.5", "0", "0.5", "1"])
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=9.5)
    panels[0].set_ylabel("density", size=10.5, color=INK)
    figure.suptitle(caption, size=10.5, color=FAINT)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=10.5)
    return figure


def png_bytes(figure: Figure, *, dpi: int = 150) -> bytes:
    """Render a figure as PNG; the same figure gives the same bytes."""
    from io import BytesIO

    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
