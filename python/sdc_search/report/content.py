"""What a report says, in whatever format."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sdc_search.plots import png_bytes, svg_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Measure:
    """What a table shows.

    Parameters
    ----------
    key
        Its name in `Row.values`, in JSON and in CSV.
    title
        Above its table, with the unit: ``mAP@1000, %``.
    format
        Turns a value, and its spread alike, into text.
    higher_is_better
        Which measured row is marked as the best of its column, and which way a first click sorts; None marks
        nothing.
    """

    key: str
    title: str
    format: Callable[[float], str]
    higher_is_better: bool | None = True


@dataclass(frozen=True)
class Row:
    """One method in a block's tables.

    Parameters
    ----------
    method
        Its name; any text.
    source
        ``"paper"`` for published figures, which every format of the report marks as such.
    values
        bits → key of a measure → (mean, spread over the seeds, or None). What is absent is shown as a dash.
    note
        A few words beside the name, such as the backbone of a published row.
    """

    method: str
    source: Literal["measured", "paper"]
    values: Mapping[int, Mapping[str, tuple[float, float | None]]]
    note: str = ""


@dataclass(frozen=True)
class Block:
    """Rows that one protocol makes comparable.

    Parameters
    ----------
    title
        The data and the features.
    paragraphs
        What one needs to know to compare: the protocol, how items were split, what the features are.
    measures
        One table each, the most important first.
    rows
        In the order of the tables.
    references
        Name → value of the first measure that does not depend on bits: chance, the features' own ranking.
    """

    title: str
    paragraphs: Sequence[str]
    measures: Sequence[Measure]
    rows: Sequence[Row]
    references: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReportFigure:
    """A figure, written as ``name.png`` and ``name.svg``; `name` is of letters, digits, ``-``, ``_``."""

    name: str
    caption: str
    figure: Figure

    # Rendering takes longer than all the rest of a report, and both the files and the page want it.

    @cached_property
    def png(self) -> bytes:
        """The figure as PNG, rendered at the first use."""
        return png_bytes(self.figure)

    @cached_property
    def svg(self) -> bytes:
        """The figure as SVG, rendered at the first use."""
        return svg_bytes(self.figure)


@dataclass(frozen=True, eq=False)
class Ranking:
    """What one method found with codes of one length.

    Parameters
    ----------
    method, n_bits
        What made the codes.
    items
        Places in `RetrievalExamples.images`, best first, shape ``(q, k)``.
    right
        bool of that shape: the item shares a label with the query.
    distances
        Hamming distances of that shape.
    """

    method: str
    n_bits: int
    items: npt.NDArray[np.int64]
    right: npt.NDArray[np.bool_]
    distances: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class RetrievalExamples:
    """A few queries and what methods found for them at several lengths.

    Parameters
    ----------
    query_images
        One uint8 array a query, ``(height, width)`` or ``(height, width, 3)``, shown as it is (0 is black).
    query_labels
        A text for each.
    images, labels
        The same of all the items that a ranking names, each once.
    rankings
        One a method and length.
    caption
        How queries were chosen, out of how many items.
    """

    query_images: Sequence[npt.NDArray[np.uint8]]
    query_labels: Sequence[str]
    images: Sequence[npt.NDArray[np.uint8]]
    labels: Sequence[str]
    rankings: Sequence[Ranking]
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Report:
    """All that a report says.

    Parameters
    ----------
    title
        One line.
    paragraphs
        Below the title.
    command
        What one types to make it again; empty where there is none.
    machine
        What it ran on, as `sdc_search.benchmarks.machine.describe` says it.
    blocks, figures, retrieval
        The content.
    notes
        What is missing, and why: a sentence each, at the end.
    """

    title: str
    paragraphs: Sequence[str] = ()
    command: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    blocks: Sequence[Block] = ()
    figures: Sequence[ReportFigure] = ()
    retrieval: RetrievalExamples | None = None
    notes: Sequence[str] = ()


def percent(value: float) -> str:
    """Format a share for a measure whose title says ``%``: ``percent(0.4567)`` is ``"45.7"``."""
    return f"{100 * value:.1f}"


PAPER_NOTE = (
    "Rows marked “paper” are figures published by Ng et al., BMVC 2023 (arXiv 2302.07669), table 1; they were"
    " not measured here."
)
ABSENT = "\N{EN DASH}"


def has_published_rows(blocks: Sequence[Block]) -> bool:
    """Say whether a note on published figures is due."""
    return any(row.source == "paper" for block in blocks for row in block.rows)


def lengths(block: Block) -> list[int]:
    """Return the lengths in bits that a block's tables have columns for, ascending."""
    return sorted({n_bits for row in block.rows for n_bits in row.values})


def rows_of(block: Block, measure: Measure) -> list[Row]:
    """Return the rows of a measure's table: those that have it at any length."""
    return [row for row in block.rows if any(cell(row, n, measure) is not None for n in row.values)]


def cell(row: Row, n_bits: int, measure: Measure) -> tuple[float, float | None] | None:
    """Return a table's mean and spread, None where there is no finite mean."""
    mean, spread = row.values.get(n_bits, {}).get(measure.key, (math.nan, None))
    return (float(mean), spread) if math.isfinite(mean) else None


def best_rows(block: Block, n_bits: int, measure: Measure) -> list[Row]:
    """Return the measured rows whose text is the best of a column, where there are two rows to compare."""
    found = [
        (value[0], row)
        for row in block.rows
        if row.source == "measured" and (value := cell(row, n_bits, measure)) is not None
    ]
    if measure.higher_is_better is None or len(found) < 2:
        return []
    best = (max if measure.higher_is_better else min)(value for value, _ in found)
    return [row for value, row in found if measure.format(value) == measure.format(best)]


def flat_machine(machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what it ran on as pairs of texts, nested ones joined by commas."""
    return [(name.replace("_", " "), _text(value)) for name, value in machine.items() if value is not None]


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items() if item is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
