"""Figures as bytes and as files; the same figure gives the same bytes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdc_search.atomic_files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What each format would otherwise write of the moment it is made.
_METADATA: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def png_bytes(figure: Figure, *, dpi: int = 150) -> bytes:
    """Render a figure as PNG."""
    return _render(figure, "png", dpi)


def svg_bytes(figure: Figure) -> bytes:
    """Render a figure as SVG; its text is outlines, so that it looks alike wherever it is shown."""
    return _render(figure, "svg", 150)


def save_figure(figure: Figure, path: Path, *, dpi: int = 150) -> None:
    """Write a figure whole or not at all, in the format of the file's suffix.

    Parameters
    ----------
    figure
        What a function of `sdc_search.plots` returns.
    path
        Ends in ``.png``, or in ``.svg`` or ``.pdf`` for a vector graphic.
    dpi
        Pixels an inch of PNG, and of the images within the others.

    Raises
    ------
    ValueError
        Another suffix.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _METADATA:
        raise ValueError(f"path must end in .png, .svg or .pdf, got {path.name}")
    content = _render(figure, kind, dpi)
    with atomic_file(path) as file:
        file.write(content)


def _render(figure: Figure, kind: str, dpi: int) -> bytes:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        # Each drawing lays out anew from where the last one ended; names beside the axes take two to settle.
        for _ in range(2):
            figure.draw_without_rendering()
        figure.set_layout_engine("none")
    buffer = BytesIO()
    with rc_context({"svg.hashsalt": "sdc-search"}):  # else the ids within an SVG are drawn by lot
        FigureCanvasAgg(figure).print_figure(buffer, format=kind, dpi=dpi, metadata=_METADATA[kind])
    return buffer.getvalue()
