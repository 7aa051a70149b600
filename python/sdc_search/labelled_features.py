"""Features with labels, which rows are learnt from, and which rows judge the codes by which protocol."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from sdc_search.protocols import Protocol

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class QuerySet:
    """What codes are judged by.

    Parameters
    ----------
    title
        Tells it from the other query_sets of the same features.
    database, query
        Rows of the features, int64.
    protocol
        What is computed.
    text
        How the rows were chosen, for a report.
    """

    title: str
    database: Rows
    query: Rows
    protocol: Protocol
    text: str = ""


@dataclass(frozen=True, eq=False)
class LabelledFeatures:
    """What hash functions learn from and are measured on.

    Parameters
    ----------
    title
        Heads the tables.
    features
        Shape ``(n, d)``, floating point; may be memory-mapped.
    labels
        Of all rows, as for `sdc_search.mean_average_precision`; they serve the measurement alone.
    train
        Rows that are learnt from, int64.
    query_sets
        At least one.
    """

    title: str
    features: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    train: Rows
    query_sets: tuple[QuerySet, ...]

    @cached_property
    def features_digest(self) -> str:
        """A hash of the features' content."""
        return array_digest(self.features)

    def query_set_digest(self, queries: QuerySet) -> str:
        """Return a hash of all that a score depends on beside the codes."""
        parts = [array_digest(a) for a in (queries.database, queries.query, self.labels)]
        parts.append(json.dumps(asdict(queries.protocol), sort_keys=True))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def train_rows(self, count: int | None, seed: int) -> Rows:
        """Return the rows to learn from: all of `train`, or a draw of `count` that `seed` decides."""
        if count is None:
            return self.train
        return np.sort(np.random.default_rng(seed).choice(self.train, count, replace=False))


def array_digest(array: npt.NDArray[Any]) -> str:
    """Return a hash of an array's dtype, shape and content."""
    digest = xxhash.xxh3_128(f"{array.dtype.str}{array.shape}".encode())
    step = max(1, (1 << 24) // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        digest.update(np.ascontiguousarray(array[start : start + step]).data)
    return digest.hexdigest()
