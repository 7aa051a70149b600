"""Hamming search by what a user would install instead, behind one signature.

Importing this module loads the peers, so that a limit on the threads of all libraries reaches theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import faiss
import numpy as np
import numpy.typing as npt
from usearch.index import MetricKind, ScalarKind, search

Codes: TypeAlias = npt.NDArray[np.uint8]
TopK: TypeAlias = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]
Search: TypeAlias = Callable[[Codes, int], TopK]

DISTRIBUTIONS = ("faiss-cpu", "usearch")


def faiss_flat(codes: Codes, *, use_heap: bool = True) -> Search:
    """``IndexBinaryFlat``: exact, by a heap a query (faiss's default) or by counting distances."""
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.use_heap = use_heap
    index.add(codes)
    return lambda queries, k: index.search(queries, k)


def faiss_range(codes: Codes) -> Callable[[Codes, int], tuple[Any, Any, Any]]:
    """``IndexBinaryFlat.range_search`` with an inclusive radius; hits of one query in no order."""
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    return lambda queries, radius: index.range_search(queries, radius + 1)


def faiss_multi_hash(codes: Codes, *, n_tables: int = 4) -> Any:
    """``IndexBinaryMultiHash``: approximate, by `n_tables` parts of the code; ``nflip`` is the caller's."""
    n_bits = 8 * codes.shape[1]
    index = faiss.IndexBinaryMultiHash(n_bits, n_tables, n_bits // n_tables)
    index.add(codes)
    return index


def usearch_exact(codes: Codes, *, threads: int) -> Search:
    """``usearch.index.search(exact=True)`` on bits."""

    def run(queries: Codes, k: int) -> TopK:
        matches = search(
            codes, queries, k, MetricKind.Hamming, exact=True, threads=threads, dtype=ScalarKind.B1
        )
        return matches.distances, matches.keys

    return run


def numpy_exact(codes: Codes) -> Search:
    """Search as one would without a library: ``bitwise_count`` of the words' XOR, then ``argpartition``."""
    columns = np.ascontiguousarray(words(codes).T)

    def run(queries: Codes, k: int) -> TopK:
        ids = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.int32)
        for row, query in enumerate(words(queries)):
            every = np.zeros(len(codes), np.uint16)
            for column, word in zip(columns, query, strict=True):
                every += np.bitwise_count(column ^ word)
            nearest = np.argpartition(every, k - 1)[:k]
            ids[row] = nearest[np.argsort(every[nearest])]
            distances[row] = every[ids[row]]
        return distances, ids

    return run


def words(codes: Codes) -> npt.NDArray[Any]:
    """View codes as the widest words that divide them."""
    width = next(width for width in (8, 4, 2, 1) if codes.shape[1] % width == 0)
    return codes.view(f"u{width}")
