"""The data of the quality benchmark: a labelled database, queries, and the rows to learn from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdc_search.array_files import ArrayKeyError, read_array
from sdc_search.arrays import as_features
from sdc_search.demo import load_demo_data


@dataclass(frozen=True)
class QualityData:
    """What the hash functions learn from and are measured on.

    Parameters
    ----------
    name
        Heads the tables.
    database, query
        Features, float32 or float64, shapes ``(n, d)`` and ``(q, d)``.
    database_labels, query_labels
        As for `sdc_search.mean_average_precision`; they serve the measurement alone.
    train_rows
        Rows of the database that are learnt from, int64.
    """

    name: str
    database: npt.NDArray[Any]
    database_labels: npt.NDArray[Any]
    query: npt.NDArray[Any]
    query_labels: npt.NDArray[Any]
    train_rows: npt.NDArray[np.int64]

    def digest(self) -> str:
        """Return a hash of the content, which tells whether two files hold the same data."""
        digest = hashlib.sha256()
        for array in (
            self.database,
            self.database_labels,
            self.query,
            self.query_labels,
            self.train_rows,
        ):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def rows(self, count: int | None, seed: int) -> npt.NDArray[np.int64]:
        """Return the rows to learn from: all of `train_rows`, or a draw of `count` that `seed` decides."""
        if count is None:
            return self.train_rows
        return np.sort(np.random.default_rng(seed).choice(self.train_rows, count, replace=False))


def bundled_data() -> QualityData:
    """Return the demo's features; all of the database is learnt from."""
    data = load_demo_data()
    return QualityData(
        "Fashion-MNIST, EfficientNet-Lite0 features, PCA to 128 (bundled)",
        data.database,
        data.database_labels,
        data.query,
        data.query_labels,
        np.arange(len(data.database)),
    )


def read_data(path: Path) -> QualityData:
    """Read ``database``, ``database_labels``, ``query``, ``query_labels`` and, if there, ``train_rows``.

    Parameters
    ----------
    path
        An ``.npz`` or ``.safetensors`` file.

    Raises
    ------
    TypeError, ValueError
        An array is missing, of the wrong kind, or does not fit the others; the message names file and array.
    OSError
        The file cannot be opened.
    """
    database, query = (
        as_features(f"{path}: {name}", read_array(path, name)) for name in ("database", "query")
    )
    if query.shape[1] != database.shape[1]:
        raise ValueError(
            f"{path}: query must have {database.shape[1]} columns as database, got {query.shape[1]}"
        )
    labels = {}
    for name, features in (("database", database), ("query", query)):
        key = f"{name}_labels"
        labels[name] = read_array(path, key)
        if labels[name].ndim not in (1, 2) or len(labels[name]) != len(features) or len(features) == 0:
            raise ValueError(
                f"{path}: {key} must have one row for each of the {len(features)} rows of {name}, at least"
                f" one, got shape {labels[name].shape}"
            )
    try:
        rows = read_array(path, "train_rows")
    except ArrayKeyError:
        rows = np.arange(len(database))
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise TypeError(f"{path}: train_rows must be integers of shape (m,), got {rows.dtype} {rows.shape}")
    if len(rows) < 2 or rows.min() < 0 or rows.max() >= len(database) or len(np.unique(rows)) < len(rows):
        raise ValueError(
            f"{path}: train_rows must be at least 2 distinct rows of the {len(database)} of database"
        )
    return QualityData(path.name, database, labels["database"], query, labels["query"], rows.astype(np.int64))
