"""The report of a run: ours beside the paper's, and all that one needs to know to compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sdc_search.labelled_features import LabelledFeatures, QuerySet
from sdc_search.published_figures import published_rows
from sdc_search.quality_cells import Summary
from sdc_search.report import Block, Measure, Row, percent

_MAP = "mean_average_precision"
# Of the fit alone: the same by every set of queries, so shown with the first.
_OF_THE_FIT = (
    Measure("fit_seconds", "time to learn, s", lambda value: f"{value:.3g}", higher_is_better=False),
    Measure("encode_rate", "items encoded in a second", lambda value: f"{value:,.0f}"),
)


def block(
    dataset: str,
    backbone: str,
    data: LabelledFeatures,
    queries: QuerySet,
    summaries: Sequence[Summary],
    references: Mapping[str, float],
    description: Mapping[str, Any],
) -> Block:
    """Lay out what one set of queries says of one block's codes.

    Parameters
    ----------
    dataset, backbone
        Which of the paper's rows stand beside the measured ones.
    data, queries
        What was measured.
    summaries, references
        The figures.
    description
        Of the features, as their extraction wrote it.
    """
    seeds = max((len(summary.seeds) for summary in summaries), default=0)
    spread = "; ± is the standard deviation over them" if seeds > 1 else ""
    sizes = (
        f"{len(queries.database):,} items in the database, {len(queries.query):,} queries,"
        f" {len(data.train):,} rows to learn from. Seeds: {seeds}{spread}."
    )
    paragraphs = [queries.protocol.text, queries.text, features_text(description), sizes]
    measures = [
        Measure(_MAP, f"mAP@{queries.protocol.at}, %", percent),
        Measure("collapse", "pairs of items at the commonest distance, %", percent, higher_is_better=False),
        Measure(
            "n_without_hit", "queries without a hit", lambda value: f"{value:.1f}", higher_is_better=None
        ),
        *(_OF_THE_FIT if queries is data.query_sets[0] else ()),
    ]
    title = f"{data.title}, {queries.title}"
    return Block(title, paragraphs, measures, _rows(dataset, backbone, summaries), references)


def _rows(dataset: str, backbone: str, summaries: Sequence[Summary]) -> list[Row]:
    """Return a row for each method, followed by the paper's of the same, and in the end its others."""
    values: dict[str, dict[int, dict[str, tuple[float, float | None]]]] = {}
    for summary in summaries:
        figures = {name: (mean, summary.spread.get(name)) for name, mean in summary.mean.items()}
        values.setdefault(summary.method, {})[summary.n_bits] = figures
    published: dict[str, list[Row]] = {}
    for each in published_rows(dataset, backbone):
        scores = {n_bits: {_MAP: (score, None)} for n_bits, score in each.scores.items()}
        note = "reported by its authors" if each.reported_by_authors else ""
        published.setdefault(each.hasher, []).append(Row(each.method, "paper", scores, note))
    rows = []
    for method, by_bits in values.items():
        rows.append(Row(method, "measured", by_bits))
        rows += published.pop(method.partition(":")[0], [])
    return [*rows, *(row for left in published.values() for row in left)]


def features_text(description: Mapping[str, Any]) -> str:
    """Say what the features are, from what their extraction wrote."""
    weights = description["weights"]
    made = (description["backbone"], description["output"], description["transform"]["text"])
    parts = [f"Features: {'; '.join(made)}; {description['shape'][-1]} numbers an image"]
    if weights:
        parts.append("weights: " + ", ".join(f"{key} {value}" for key, value in weights.items()))
    unreadable = len(description["unreadable"])
    if unreadable:
        parts.append(f"{unreadable:,} images could not be read and have features of zero")
    return "; ".join(parts) + "."
