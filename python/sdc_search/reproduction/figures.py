"""The figures of a run, drawn from the codes that its cells keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdc_search.datasets import Images
from sdc_search.hamming import hamming_distance, hamming_topk
from sdc_search.labelled_features import LabelledFeatures, QuerySet, Rows
from sdc_search.metrics import precision_at, precision_recall_curve
from sdc_search.plots import (
    Curve,
    MappedCodes,
    Retrieval,
    Similarities,
    code_map_figure,
    map_over_bits_figure,
    precision_at_n_figure,
    precision_recall_figure,
    retrieval_figure,
    similarity_figure,
    training_collapse_figure,
)
from sdc_search.published_figures import PublishedRow
from sdc_search.quality_cells import Cell, Codes, Summary, read_codes
from sdc_search.report import Ranking, ReportFigure, RetrievalExamples

_PAIR_ITEMS = 600
_MAP_ITEMS = 1000
_EXAMPLE_QUERIES = 4
_EXAMPLE_ITEMS = 10
_EXAMPLE_SIDE = 96  # pixels
_TOP = 1000
_SEED = 0
# Drawn where all methods would be too many, the first three that were measured: the shallow one that is hard
# to beat, one that copies cosines, and the paper's own.
_SHOWN = ("ITQ", "GreedyHash", "SDC", "BiHalf", "LSH", "GraphSDC")
# The same of what is trained. An epoch of GraphSDC is so short that its hundreds would hide the others'.
_TRACED = ("SDC", "GreedyHash", "BiHalf", "CIBHash", "NSH", "WCH", "SSDH", "TBH", "GraphSDC")


@dataclass(frozen=True, eq=False)
class Material:
    """What the figures of one block show: the first seed's cells, and the data."""

    slug: str
    data: LabelledFeatures
    images: Images
    class_names: Sequence[str]
    codes: Mapping[tuple[str, int], Codes]  # by the method's label and the bits

    @property
    def n_bits(self) -> int:
        """Length of the codes in figures that show one length: the longest."""
        return max(n_bits for _, n_bits in self.codes)

    @property
    def fewest_queries(self) -> QuerySet:
        """The set of queries that curves are averaged over."""
        return min(self.data.query_sets, key=lambda queries: len(queries.query))

    def longest(self) -> dict[str, npt.NDArray[np.uint8]]:
        """Return the longest codes of each method that has any, by its label."""
        return {label: each.codes for (label, n), each in self.codes.items() if n == self.n_bits}

    def shown(self, order: Sequence[str] = _SHOWN) -> list[str]:
        """Return the labels of up to three methods, the first of `order`, as the tables arrange them."""
        labels = list(self.longest())
        rank = {name: place for place, name in enumerate(order)}
        few = sorted(labels, key=lambda label: rank.get(label.partition(":")[0], len(rank)))[:3]
        return [label for label in labels if label in few]


def read_material(
    slug: str,
    data: LabelledFeatures,
    images: Images,
    class_names: Sequence[str],
    cells: Sequence[Cell],
    folder: Path,
) -> Material:
    """Collect the codes of the first seed."""
    codes = {
        (cell.method.label, cell.n_bits): found
        for cell in cells
        if cell.seed == 0 and (found := read_codes(cell, folder)) is not None
    }
    return Material(slug, data, images, class_names, codes)


def draw(
    material: Material,
    summaries: Mapping[str, Sequence[Summary]],
    references: Mapping[str, Mapping[str, float]],
    published: Sequence[PublishedRow] = (),
) -> list[ReportFigure]:
    """Draw all figures of a block.

    Parameters
    ----------
    material
        With the codes of at least one cell.
    summaries, references
        Of each set of queries, by its title.
    published
        Drawn beside what was measured.
    """
    figures = [
        *_scores_over_bits(material, summaries, references, published),
        *_curves(material),
        _similarities(material),
        *_collapse(material),
    ]
    if material.data.labels.ndim == 1:
        figures += [_code_map(material), _retrieval(material)]
    return figures


def _scores_over_bits(
    material: Material,
    summaries: Mapping[str, Sequence[Summary]],
    references: Mapping[str, Mapping[str, float]],
    published: Sequence[PublishedRow],
) -> list[ReportFigure]:
    name = "mean_average_precision"
    papers = [
        Curve(f"{row.method} (paper)", list(row.scores), list(row.scores.values()), published=True)
        for row in published
    ]
    figures = []
    for place, queries in enumerate(material.data.query_sets):
        lines: dict[str, list[Summary]] = {}
        for summary in sorted(summaries[queries.title], key=lambda s: s.n_bits):
            lines.setdefault(summary.method, []).append(summary)
        curves = [
            Curve(
                method,
                [s.n_bits for s in line],
                [s.mean[name] for s in line],
                [s.spread.get(name, 0.0) for s in line],
            )
            for method, line in lines.items()
        ]
        measure = f"mAP@{queries.protocol.at}"
        caption = f"{measure} over the length of the codes: {material.data.title}, {queries.title}."
        # Not chance, which would press the curves together.
        levels = {key: value for key, value in references[queries.title].items() if key == "float cosine"}
        figure = map_over_bits_figure([*curves, *papers], references=levels, measure=measure)
        figures.append(ReportFigure(f"{material.slug}-map-{place + 1}", caption, figure))
    return figures


def _curves(material: Material) -> list[ReportFigure]:
    """Draw precision over recall within each radius, and over the number of items that are looked at."""
    data, queries = material.data, material.fewest_queries
    labels = data.labels[queries.database], data.labels[queries.query]
    ranks = np.unique(np.geomspace(1, min(_TOP, len(queries.database)), 40).round().astype(np.int64))
    recall_curves, rank_curves = [], []
    for label, codes in material.longest().items():
        given = codes[queries.database], labels[0], codes[queries.query], labels[1]
        curve = precision_recall_curve(*given)
        recall_curves.append(Curve(label, curve.recall, curve.precision))
        rank_curves.append(Curve(label, ranks, precision_at(*given, ranks)))
    what = f"{data.title}, {material.n_bits} bits, {queries.title}, seed 0"
    return [
        ReportFigure(
            f"{material.slug}-precision-recall",
            f"Precision over recall of the items within each Hamming radius: {what}.",
            precision_recall_figure(recall_curves),
        ),
        ReportFigure(
            f"{material.slug}-precision-at-n",
            f"Precision of the first N items, ties in expectation: {what}.",
            precision_at_n_figure(rank_curves),
        ),
    ]


def _similarities(material: Material) -> ReportFigure:
    data = material.data
    rows = _sample(data.query_sets[0].database, _PAIR_ITEMS)
    above = np.triu_indices(len(rows), 1)
    features = np.asarray(data.features[rows], np.float32)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(norms > 0, norms, 1)
    panels = [Similarities("features", (unit @ unit.T)[above])]
    longest = material.longest()
    for label in material.shown():
        distances = hamming_distance(longest[label][rows], longest[label][rows])
        panels.append(Similarities(label, 1 - 2 * distances[above] / material.n_bits))
    caption = (
        f"Similarities of pairs among {len(rows)} items of the database: cosines of the features, and"
        f" similarities of codes of {material.n_bits} bits. {data.title}, seed 0."
    )
    figure = similarity_figure(panels, _relevant(data.labels[rows])[above], n_bits=material.n_bits)
    return ReportFigure(f"{material.slug}-similarities", caption, figure)


def _relevant(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which pairs share a label."""
    if labels.ndim == 1:
        return np.asarray(labels[:, None] == labels)
    numbers = labels.astype(np.float32)
    return np.asarray(numbers @ numbers.T > 0)


def _collapse(material: Material) -> list[ReportFigure]:
    traces = {label: material.codes[label, material.n_bits].trace for label in material.shown(_TRACED)}
    curves = [
        Curve(label, [epoch for epoch, _ in trace], [share for _, share in trace])
        for label, trace in traces.items()
        if len(trace) > 1
    ]
    if not curves:
        return []
    caption = (
        f"The share of pairs of training items at the commonest Hamming distance, over the training:"
        f" {material.data.title}, {material.n_bits} bits, seed 0."
    )
    figure = training_collapse_figure(curves, n_bits=material.n_bits)
    return [ReportFigure(f"{material.slug}-collapse", caption, figure)]


def _code_map(material: Material) -> ReportFigure:
    rows = _sample(material.data.query_sets[0].database, _MAP_ITEMS)
    longest = material.longest()
    panels = [MappedCodes(label, longest[label][rows]) for label in material.shown()]
    caption = (
        f"Codes of {len(rows)} items of the database on the plane that keeps their distances best:"
        f" {material.data.title}, {material.n_bits} bits, seed 0."
    )
    figure = code_map_figure(panels, material.data.labels[rows], class_names=material.class_names)
    return ReportFigure(f"{material.slug}-code-map", caption, figure)


def _retrieval(material: Material) -> ReportFigure:
    queries = material.fewest_queries
    asked = _sample(queries.query, _EXAMPLE_QUERIES)
    longest = material.longest()
    labels = material.data.labels
    found = {
        label: hamming_topk(longest[label][queries.database], longest[label][asked], _EXAMPLE_ITEMS)[1]
        for label in material.shown()
    }
    items = np.unique(np.concatenate(list(found.values())))
    retrievals = [Retrieval(label, np.searchsorted(items, ids)) for label, ids in found.items()]
    figure = retrieval_figure(
        [_thumbnail(material.images, row) for row in asked],
        labels[asked],
        [_thumbnail(material.images, row) for row in queries.database[items]],
        labels[queries.database[items]],
        retrievals,
        class_names=material.class_names,
    )
    caption = (
        f"The first {_EXAMPLE_ITEMS} items for {len(asked)} queries drawn by a seed: {material.data.title},"
        f" {material.n_bits} bits, seed 0."
    )
    return ReportFigure(f"{material.slug}-retrieval", caption, figure)


def retrieval_examples(material: Material) -> RetrievalExamples:
    """Collect what a few methods find for a few queries, at every length."""
    queries = material.fewest_queries
    asked = _sample(queries.query, _EXAMPLE_QUERIES)
    labels = material.data.labels
    shown = material.shown()
    found = {
        key: hamming_topk(each.codes[queries.database], each.codes[asked], _EXAMPLE_ITEMS)
        for key, each in material.codes.items()
        if key[0] in shown
    }
    items = np.unique(np.concatenate([ids for _, ids in found.values()]))
    rows = queries.database[items]
    rankings = [
        Ranking(
            label,
            n_bits,
            np.searchsorted(items, ids),
            _share_a_label(labels[asked], labels[queries.database[ids]]),
            distances,
        )
        for (label, n_bits), (distances, ids) in sorted(found.items(), key=lambda entry: entry[0][1])
    ]
    return RetrievalExamples(
        [_thumbnail(material.images, row) for row in asked],
        [_names(labels[row], material.class_names) for row in asked],
        [_thumbnail(material.images, row) for row in rows],
        [_names(labels[row], material.class_names) for row in rows],
        rankings,
        caption=f"Queries drawn by a seed, out of {len(queries.query):,}: {material.data.title}, seed 0.",
    )


def _share_a_label(queries: npt.NDArray[Any], found: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if queries.ndim == 1:
        return np.asarray(queries[:, None] == found)
    return np.asarray((queries[:, None] & found).any(axis=2))


def _names(label: Any, class_names: Sequence[str]) -> str:
    if np.ndim(label) == 0:
        return str(class_names[label])
    return ", ".join(name for name, has in zip(class_names, label, strict=True) if has)


def _thumbnail(images: Images, row: int) -> npt.NDArray[np.uint8]:
    image = images[int(row)]
    image.thumbnail((_EXAMPLE_SIDE, _EXAMPLE_SIDE))
    return np.asarray(image)


def _sample(rows: Rows, count: int) -> Rows:
    return np.sort(np.random.default_rng(_SEED).permutation(rows)[:count])
