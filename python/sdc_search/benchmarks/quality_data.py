"""The data of the quality benchmark: a labelled database, queries, and the rows to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdc_search.array_files import ArrayKeyError, read_array
from sdc_search.arrays import as_features
from sdc_search.demo import load_demo_data
from sdc_search.labelled_features import LabelledFeatures, QuerySet
from sdc_search.protocols import Protocol

# As `mean_average_precision` has it by default.
PROTOCOL = Protocol(name="quality", at=1000)


def bundled_data() -> LabelledFeatures:
    """Return the demo's features; all of the database is learnt from."""
    data = load_demo_data()
    return _data(
        "Fashion-MNIST, EfficientNet-Lite0 features, PCA to 128 (bundled)",
        data.database,
        data.database_labels,
        data.query,
        data.query_labels,
        np.arange(len(data.database)),
    )


def read_data(path: Path) -> LabelledFeatures:
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
    return _data(path.name, database, labels["database"], query, labels["query"], rows.astype(np.int64))


def _data(
    title: str,
    database: npt.NDArray[Any],
    database_labels: npt.NDArray[Any],
    query: npt.NDArray[Any],
    query_labels: npt.NDArray[Any],
    train: npt.NDArray[np.int64],
) -> LabelledFeatures:
    rows = np.arange(len(database) + len(query))
    return LabelledFeatures(
        title,
        np.concatenate((database, query)),
        np.concatenate((database_labels, query_labels)),
        train,
        (QuerySet("queries", rows[: len(database)], rows[len(database) :], PROTOCOL),),
    )
