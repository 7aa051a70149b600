"""Reports of an evaluation: tables of measurements beside published ones, figures, retrieval examples.

A `Report` holds content alone. `write_report` writes it as Markdown, JSON, CSV and HTML, and `html` gives the
page, which loads nothing from anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

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
