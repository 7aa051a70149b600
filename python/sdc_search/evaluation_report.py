"""The report of one ranking by Hamming distance: mAP, precision of the first items, precision over recall."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import ArrayLike, to_numpy
from sdc_search.atomic_files import atomic_file
from sdc_search.metrics import precision_at, recall_at
from sdc_search.plots import Curve, precision_at_n_figure, precision_recall_figure
from sdc_search.protocols import Evaluation
from sdc_search.report import Block, Measure, Report, ReportFigure, Row, html, percent

_CURVE_POINTS = 60


def write_evaluation(
    path: Path,
    evaluation: Evaluation,
    *,
    database_codes: ArrayLike,
    database_labels: ArrayLike,
    query_codes: ArrayLike,
    query_labels: ArrayLike,
    name: str,
    command: str = "",
) -> None:
    """Write a page, whole or not at all; see `evaluation_report`."""
    arrays = database_codes, database_labels, query_codes, query_labels
    page = html(evaluation_report(evaluation, *arrays, name=name, command=command))
    with atomic_file(path) as file:
        file.write(page.encode())


def evaluation_report(
    evaluation: Evaluation,
    database_codes: ArrayLike,
    database_labels: ArrayLike,
    query_codes: ArrayLike,
    query_labels: ArrayLike,
    *,
    name: str,
    command: str = "",
) -> Report:
    """Add to an evaluation the precision and recall of its codes over the number of items retrieved.

    Parameters
    ----------
    evaluation
        What was found for these codes; its protocol also decides the treatment of ties.
    database_codes, query_codes
        uint8, shapes ``(n, n_bytes)`` and ``(q, n_bytes)``.
    database_labels, query_labels
        As for the evaluation.
    name
        What the codes are called.
    command
        What one types to make it again.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    arrays = database_codes, database_labels, query_codes, query_labels
    protocol = evaluation.protocol
    n_items, n_bytes = to_numpy("database_codes", database_codes).shape
    ranks = _ranks(n_items)
    precision = precision_at(*arrays, ranks, ties=protocol.ties)
    recall = recall_at(*arrays, ranks, ties=protocol.ties)
    cut = n_items if protocol.at == -1 else min(protocol.at, n_items)
    at_cut = float(precision_at(*arrays, cut, ties=protocol.ties)[0])
    measures = [
        Measure("map", "mAP, %" if protocol.at == -1 else f"mAP@{protocol.at:,}, %", percent),
        Measure("precision", f"precision@{cut:,}, %", percent),
    ]
    values = {"map": (evaluation.mean_average_precision, None), "precision": (at_cut, None)}
    without = f"{evaluation.n_without_hit:.4g}"
    return Report(
        title=f"Retrieval with {name}",
        command=command,
        blocks=[
            Block(
                title=f"{n_items:,} items, {evaluation.n_queries:,} queries",
                paragraphs=[protocol.text, f"Queries without a relevant item among these ranks: {without}."],
                measures=measures,
                rows=[Row(name, "measured", {8 * n_bytes: values})],
            )
        ],
        figures=[
            ReportFigure(
                "precision-at-n",
                "Precision of the first N items, a mean over the queries.",
                precision_at_n_figure([Curve(name, ranks, precision)]),
            ),
            ReportFigure(
                "precision-recall",
                "Precision over recall as N grows, means over the queries.",
                precision_recall_figure([Curve(name, recall, precision)]),
            ),
        ],
    )


def _ranks(n_items: int) -> npt.NDArray[np.int64]:
    """Return 1, n_items and what lies between at even steps of the logarithm."""
    return np.unique(np.geomspace(1, n_items, min(_CURVE_POINTS, n_items)).round().astype(np.int64))
