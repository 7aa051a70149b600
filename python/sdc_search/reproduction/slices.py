"""A part of a data set, drawn by a seed, for a run that is quick."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sdc_search.datasets import Dataset, Images
from sdc_search.labelled_features import QuerySet, Rows

if TYPE_CHECKING:
    from PIL.Image import Image

_SEED = 0


class ImageSubset(Images):
    """Some rows of other images."""

    def __init__(self, images: Images, rows: Rows) -> None:
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Image:
        return self._images[int(self._rows[row])]

    def name(self, row: int) -> str:
        """Return what one image is called."""
        return self._images.name(int(self._rows[row]))

    def digest(self) -> str:
        """Return a SHA-256 of the other images' and of the rows."""
        sha = hashlib.sha256(self._images.digest().encode())
        sha.update(self._rows.astype("<i8").tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, eq=False)
class Slice:
    """What is left of data sets that differ in their queries alone.

    Parameters
    ----------
    rows
        Of the data sets' images, rising: those that are kept.
    images, labels, train, query_sets
        Of these; rows count from the first that is kept.
    """

    rows: Rows
    images: Images
    labels: npt.NDArray[Any]
    train: Rows
    query_sets: tuple[QuerySet, ...]


def slice_datasets(datasets: Sequence[Dataset], fraction: float) -> Slice:
    """Draw a fraction of queries, database and rows to learn from, each at least one row.

    Parameters
    ----------
    datasets
        Of the same images, labels, database and rows to learn from.
    fraction
        In (0, 1]; 1 keeps everything.
    """
    first = datasets[0]
    train = _drawn(first.train, fraction)
    learnt = np.intersect1d(train, first.database)  # published lists may keep the two apart
    database = np.union1d(learnt, _drawn(np.setdiff1d(first.database, first.train), fraction))
    queries = [_drawn(dataset.query, fraction) for dataset in datasets]
    rows = np.unique(np.concatenate([train, database, *queries]))
    note = "" if fraction == 1 else f" Of all this, a seeded fraction of {fraction:g} is used."
    return Slice(
        rows,
        ImageSubset(first.images, rows) if len(rows) < len(first.images) else first.images,
        first.labels[rows],
        np.searchsorted(rows, train),
        tuple(
            QuerySet(
                f"{len(query):,} queries",
                np.searchsorted(rows, database),
                np.searchsorted(rows, query),
                dataset.protocol,
                dataset.split_text + note,
            )
            for dataset, query in zip(datasets, queries, strict=True)
        ),
    )


def _drawn(rows: Rows, fraction: float) -> Rows:
    count = min(len(rows), max(1, round(fraction * len(rows))))
    return np.sort(np.random.default_rng(_SEED).permutation(rows)[:count])
