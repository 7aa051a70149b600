"""Which items are relevant to which query, by the labels of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import ArrayLike, to_numpy
from sdc_search.native import core

if TYPE_CHECKING:
    from sdc_search._core import Relevance

_Words: TypeAlias = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Labels:
    """Checked labels as the native code wants them.

    Either one word each, relevant where equal: shapes ``(n,)`` and ``(q,)``. Or sets of labels, a bit each,
    relevant where they share any: ``(n, n_words)`` and ``(q, n_words)``.
    """

    items: _Words
    queries: _Words

    def relevance(self, rows: slice, *, counted: bool = False) -> Relevance:
        """Return the relevance of all items to these queries: yes or no, or how many labels they share."""
        queries = self.queries[rows]
        if self.items.ndim == 1:
            return core.Relevance.equal(self.items, queries)
        return core.Relevance.shared(self.items, queries, counted)

    def grades(self, rows: slice, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how many labels the items `ids` share with these queries, both ``(queries, k)``."""
        queries = self.queries[rows]
        if self.items.ndim == 1:
            return np.equal(self.items[ids], queries[:, None]).astype(np.int64)
        shared = np.zeros(ids.shape, dtype=np.int64)
        for item_word, query_word in zip(self.items.T, queries.T, strict=True):
            shared += np.bitwise_count(item_word[ids] & query_word[:, None])
        return shared


def as_labels(database_labels: ArrayLike, n_items: int, query_labels: ArrayLike, n_queries: int) -> Labels:
    """Check the labels of a database and its queries.

    Raises
    ------
    TypeError
        They are of no accepted kind, or not both of the same.
    ValueError
        A shape does not fit; a label of shape ``(n,)`` is negative, one of shape ``(n, C)`` neither 0 nor 1.
    """
    items = _checked("database_labels", database_labels, n_items)
    queries = _checked("query_labels", query_labels, n_queries)
    if items.shape[1:] != queries.shape[1:]:
        raise ValueError(
            "database_labels and query_labels must both have shape (n,), or (n, C) with the same C, "
            f"got {items.shape} and {queries.shape}"
        )
    if items.ndim == 2:
        return Labels(_bit_sets(items), _bit_sets(queries))
    if (items.dtype.kind == "U") != (queries.dtype.kind == "U"):
        raise TypeError(
            "database_labels and query_labels must both be integers or both strings, "
            f"got {items.dtype} and {queries.dtype}"
        )
    if items.dtype.kind == "U":
        numbers = np.unique(np.concatenate([items, queries]), return_inverse=True)[1].astype(np.uint64)
        return Labels(numbers[: len(items)], numbers[len(items) :])
    return Labels(*(np.ascontiguousarray(labels, dtype=np.uint64) for labels in (items, queries)))


def _checked(name: str, value: object, count: int) -> npt.NDArray[Any]:
    """Return integers from 0 or str, shape ``(count,)``, or bool, shape ``(count, C)``."""
    array = to_numpy(name, value)
    if array.dtype.kind in "OT" and all(isinstance(label, str) for label in array.flat):
        array = np.array(array.tolist(), dtype=np.str_)
    if array.ndim not in (1, 2) or len(array) != count or array.size == 0:
        raise ValueError(
            f"{name} must have one row a code, shape ({count},) or ({count}, C), got shape {array.shape}"
        )
    if array.ndim == 1:
        if array.dtype.kind not in "iuU":
            raise TypeError(f"{name} of shape (n,) must be integers or strings, got {array.dtype}")
        if array.dtype.kind == "i" and (least := array.min()) < 0:
            # By convention -1 is no class, whose items would be relevant to each other here.
            raise ValueError(
                f"{name} must not be negative, got {least}; number classes from 0, leave out what has none"
            )
        return array
    if array.dtype.kind not in "biu":
        raise TypeError(f"{name} of shape (n, C) must be bool or the integers 0 and 1, got {array.dtype}")
    if array.dtype.kind != "b" and (other := array[(array != 0) & (array != 1)]).size:
        raise ValueError(f"{name} of shape (n, C) must be 0 or 1, got {other[0]}; class numbers: shape (n,)")
    return array.astype(np.bool_, copy=False)


def _bit_sets(labels: npt.NDArray[np.bool_]) -> _Words:
    """Pack bools of shape ``(n, C)`` into 64-bit words, ``(n, ceil(C / 64))``."""
    packed = np.packbits(labels, axis=1)
    padded = np.zeros((len(labels), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return np.asarray(padded.view(np.uint64))
