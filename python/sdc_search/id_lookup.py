"""Which row holds an id, and which id a row."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]


def ids_at(rows: Int64Array, ids: Int64Array) -> Int64Array:
    """Return the ids of rows; -1 stays."""
    named = ids.take(rows, mode="wrap")
    named[rows < 0] = -1
    return named


class IdLookup:
    """Finds the rows of distinct ids that stand in any order in an array that only grows.

    The ids lie in sorted runs, each at least twice as long as the next, beside their rows. An id that comes
    later costs O(log n) on average, where one sorted array would have to be moved at every addition. It takes
    16 bytes an id, from the first question on.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Int64Array, Int64Array]] = []
        self._covered = 0
        self._lock = threading.Lock()

    def find(self, ids: Int64Array, wanted: Int64Array) -> Int64Array:
        """Return the rows of `ids` that hold each of `wanted`, -1 where none does.

        `ids` is a prefix, of any length, of the growing array.
        """
        with self._lock:
            self._cover(ids)
            runs = self._runs
        order = np.argsort(wanted)  # searching for rising ids goes through a run once, in the order of memory
        rising = wanted[order]
        rows = np.full(wanted.shape, -1, dtype=np.int64)
        for run_ids, run_rows in runs:
            places = np.searchsorted(run_ids, rising)
            places[places == len(run_ids)] = 0
            found = run_ids[places] == rising
            rows[order[found]] = run_rows[places[found]]
        rows[rows >= len(ids)] = -1
        return rows

    def without(self, kept: npt.NDArray[np.bool_]) -> IdLookup:
        """Return the lookup of what `kept`, a flag for every id so far, leaves in the same order."""
        lookup = IdLookup()
        with self._lock:
            runs, lookup._covered = self._runs, int(np.count_nonzero(kept[: self._covered]))
        if runs:
            new_rows = np.cumsum(kept) - 1
            remaining = ((run_ids, run_rows, kept[run_rows]) for run_ids, run_rows in runs)
            lookup._runs = [(i[stays], new_rows[rows[stays]]) for i, rows, stays in remaining if stays.any()]
        return lookup

    def _cover(self, ids: Int64Array) -> None:
        if len(ids) <= self._covered:
            return
        tail = ids[self._covered :]
        order = np.argsort(tail)
        runs = [*self._runs, (tail[order], order + self._covered)]
        while len(runs) > 1 and len(runs[-2][0]) < 2 * len(runs[-1][0]):
            merged_ids = np.concatenate([runs[-2][0], runs[-1][0]])
            merged_rows = np.concatenate([runs[-2][1], runs[-1][1]])
            order = np.argsort(merged_ids, kind="stable")  # a merge sort, which is linear for two sorted runs
            runs[-2:] = [(merged_ids[order], merged_rows[order])]
        self._runs, self._covered = runs, len(ids)
