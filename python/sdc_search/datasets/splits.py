"""Which images are queries, which form the database, which are trained on: seeded rules and index files.

The rules order images by a hash of seed and name, not by a random generator: they give the same split with
every version of every library, whatever the order in which the images were found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import as_count
from sdc_search.atomic_files import atomic_file
from sdc_search.errors import CorruptFileError

Rows = npt.NDArray[np.int64]

_FORMAT = "sdc-search split"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a data set's images: rising int64 arrays.

    Parameters
    ----------
    query, database
        They share no row.
    train
        Usually rows of the database; never queries.
    text
        How the rows were chosen, for a report.

    Raises
    ------
    ValueError
        Rows repeat, are negative, or are a query's and the database's or the training's at once.
    """

    query: Rows
    database: Rows
    train: Rows
    text: str

    def __post_init__(self) -> None:
        for name in ("query", "database", "train"):
            rows = np.asarray(getattr(self, name))
            if rows.ndim != 1 or (rows.dtype.kind not in "iu" and rows.size):
                raise ValueError(f"{name} must be integers of shape (n,), got {rows.dtype} of {rows.shape}")
            rows = np.sort(rows).astype(np.int64)
            if rows.size and rows[0] < 0:
                raise ValueError(f"{name} must hold rows from 0, got {rows[0]}")
            if (rows[1:] == rows[:-1]).any():
                raise ValueError(f"{name} holds row {rows[1:][rows[1:] == rows[:-1]][0]} more than once")
            object.__setattr__(self, name, rows)
        for name in ("database", "train"):
            shared = np.intersect1d(self.query, getattr(self, name), assume_unique=True)
            if shared.size:
                raise ValueError(f"query and {name} must share no row, but both hold {shared[0]}")

    def save(self, path: Path, content_digest: str) -> None:
        """Write an index file.

        Parameters
        ----------
        path
            A JSON file, written whole or not at all.
        content_digest
            Of the images and labels whose rows these are: `Dataset.content_digest`.
        """
        document = {
            "format": _FORMAT,
            "version": _VERSION,
            "content_sha256": content_digest,
            "text": self.text,
            **{name: getattr(self, name).tolist() for name in ("query", "database", "train")},
        }
        with atomic_file(path) as file:
            file.write(json.dumps(document).encode() + b"\n")

    @classmethod
    def load(cls, path: Path, content_digest: str) -> Split:
        """Read what `save` wrote.

        Raises
        ------
        CorruptFileError
            The file is no index file, or indexes other images or labels than those of `content_digest`.
        OSError
            It cannot be read.
        """
        try:
            document: Any = json.loads(path.read_bytes())
            if document["format"] != _FORMAT or document["version"] != _VERSION:
                raise KeyError("format")
            indexed = document["content_sha256"]
            query, database, train = (
                np.array(document[name], dtype=np.int64) for name in ("query", "database", "train")
            )
            split = cls(query, database, train, str(document["text"]))
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise CorruptFileError(f"{path} is not an index file of a split: {error}") from error
        if indexed != content_digest:
            raise CorruptFileError(
                f"{path} indexes images and labels with the SHA-256 {indexed}, these have {content_digest}"
            )
        return split


def seeded_order(names: Sequence[str], seed: int) -> Rows:
    """Order images by the SHA-256 of ``"{seed}/{name}"``.

    Examples
    --------
    >>> from sdc_search.datasets.splits import seeded_order
    >>> seeded_order(["a.jpg", "b.jpg", "c.jpg"], seed=0).tolist()
    [2, 1, 0]
    """
    seed = as_count("seed", seed, minimum=0)
    keys = [hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in names]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def order_text(seed: int) -> str:
    """Describe `seeded_order` for a report."""
    return f'"First" means in the order of the SHA-256 of "{seed}/" and the image\'s name.'


def first_of_each_class(order: Rows, labels: npt.NDArray[np.int64], count: int, names: Sequence[str]) -> Rows:
    """Take of each class the first `count` rows.

    Parameters
    ----------
    order
        The rows to choose from, first ones first.
    labels
        Of all rows, shape ``(n,)``.
    count
        How many of each class.
    names
        Of the classes, for the message.

    Raises
    ------
    ValueError
        A class has fewer.
    """
    of_order = labels[order]
    available = np.bincount(of_order, minlength=len(names))
    if count > available.min():
        short = int(np.argmin(available))
        raise ValueError(
            f"class {names[short]!r} has {available[short]} images to choose from, {count} are wanted"
        )
    by_class = np.argsort(of_order, kind="stable")
    starts = np.cumsum(available) - available
    chosen: Rows = order[by_class[(starts[:, None] + np.arange(count)).ravel()]]
    return chosen


def first_of_each_concept(
    order: Rows, labels: npt.NDArray[np.bool_], count: int, names: Sequence[str]
) -> Rows:
    """Take for each concept the first `count` rows that have it and were not taken before.

    The rarest concept of all `labels` chooses first, so that the others leave it enough; among equally rare
    ones the first column does.

    Parameters
    ----------
    order, labels, count, names
        As in `first_of_each_class`, with `labels` of shape ``(n, C)``.

    Raises
    ------
    ValueError
        A concept has fewer left.
    """
    free = np.ones(len(order), dtype=np.bool_)
    of_order = labels[order]
    for concept in np.argsort(labels.sum(axis=0), kind="stable"):
        places = np.flatnonzero(free & of_order[:, concept])
        if len(places) < count:
            raise ValueError(
                f"concept {names[concept]!r} has {len(places)} images to choose from, {count} are wanted"
            )
        free[places[:count]] = False
    return order[~free]


def rows_without(n: int, rows: Rows) -> Rows:
    """Return the rows of `n` that are not among `rows`."""
    left = np.ones(n, dtype=np.bool_)
    left[rows] = False
    return np.flatnonzero(left)


def per_class(name: str, total: int, n_classes: int) -> int:
    """Divide a number of images evenly among classes.

    Raises
    ------
    ValueError
        It is below 1, or `n_classes` does not divide it.
    """
    total = as_count(name, total)
    if total % n_classes:
        raise ValueError(f"{name} must be a multiple of the {n_classes} classes, got {total}")
    return total // n_classes


def split_by_class(
    image_names: Sequence[str],
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    seed: int,
    queries_per_class: int | None = None,
    train_per_class: int | None = None,
) -> Split:
    """Split images with one label each, where no paper says how.

    Parameters
    ----------
    image_names, labels, class_names
        Of all images; of all classes.
    seed
        For `seeded_order`.
    queries_per_class
        None: a tenth of each class, but at least 1 and at most 100. The others form the database.
    train_per_class
        Rows of the database; None: all of it.

    Raises
    ------
    ValueError
        A class has fewer images than are wanted, or only one.
    """
    order = seeded_order(image_names, seed)
    if queries_per_class is None:
        counts = np.bincount(labels, minlength=len(class_names))
        if counts.min() < 2:
            short = int(np.argmin(counts))
            raise ValueError(
                f"class {class_names[short]!r} has {counts[short]} images, expected 2 or more: a query and "
                "what it can find"
            )
        tenth = np.clip(counts // 10, 1, 100)
        query = np.concatenate(
            [order[labels[order] == label][:count] for label, count in enumerate(tenth.tolist())]
        )
        query_text = "the first tenth of each class, at least 1 and at most 100 images"
    else:
        count = as_count("queries_per_class", queries_per_class)
        query = first_of_each_class(order, labels, count, class_names)
        query_text = f"the first {count} of each class"
    database = rows_without(len(labels), query)
    if train_per_class is None:
        train, train_text = database, "the database"
    else:
        count = as_count("train_per_class", train_per_class)
        left = order[np.isin(order, database)]
        train = first_of_each_class(left, labels, count, class_names)
        train_text = f"the first {count} of each class in the database"
    return Split(
        query,
        database,
        train,
        f"Queries: {query_text}. Database: all others. Training: {train_text}. {order_text(seed)}",
    )
