"""Exact Hamming search over codes, without an index.

Codes on a CUDA device are searched there (see `hamming_cuda`), with the same results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import ArrayLike, as_codes, as_count, as_mask, like, on_cuda, same_device
from sdc_search.native import core
from sdc_search.runtime import thread_count

if TYPE_CHECKING:
    import torch

_INT32_MAX = 2**31 - 1
_GRAPH_BLOCK = 16_384  # codes searched at once, which bounds the memory beyond the graph itself


def _codes_and_queries(
    codes: ArrayLike, queries: ArrayLike
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    same_device("codes", codes, "queries", queries)
    database = as_codes("codes", codes)
    if database.shape[1] > core.MAX_CODE_BYTES:
        raise ValueError(
            f"codes must have at most {core.MAX_CODE_BYTES} bytes a code, got {database.shape[1]}"
        )
    return database, as_codes("queries", queries, database.shape[1])


@overload
def hamming_topk(
    codes: ArrayLike,
    queries: torch.Tensor,
    k: int,
    *,
    mask: ArrayLike | None = None,
    num_threads: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def hamming_topk(
    codes: ArrayLike,
    queries: npt.ArrayLike,
    k: int,
    *,
    mask: ArrayLike | None = None,
    num_threads: int | None = None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
def hamming_topk(
    codes: ArrayLike,
    queries: ArrayLike,
    k: int,
    *,
    mask: ArrayLike | None = None,
    num_threads: int | None = None,
) -> Any:
    """Find each query's `k` nearest codes by Hamming distance, exactly.

    Parameters
    ----------
    codes
        The database: packed codes, uint8 of shape ``(n, n_bytes)``, ``n_bytes`` from 1 to 256.
    queries
        Packed codes, uint8 of shape ``(q, n_bytes)``. Their kind decides the results' kind.
    k
        Neighbours a query, at least 1; it may exceed ``n``.
    mask
        Which codes may be returned (True = may): bool ``(n,)``, or packed as `numpy.packbits` packs that.
        On a CUDA device it must lie there too; its padding bits are then ignored unchecked.
    num_threads
        Threads to use on the CPU; None for the default (see `set_num_threads`).

    Returns
    -------
    distances : int32, shape ``(q, k)``
    ids : int64, shape ``(q, k)``
        Rows of `codes`. Both are ordered by ``(distance, id)``, also where a tie falls on the cut, whatever
        the number of threads. Where fewer than `k` codes may be returned, the rest is ``id = -1`` and
        ``distance = 2**31 - 1``.

    Raises
    ------
    TypeError
        Codes or queries are not uint8, `k` is not an integer, or the mask is neither bool nor uint8.
    ValueError
        A shape or width does not fit, `k` is below 1, or codes and queries lie on different devices.
    RuntimeError
        The codes lie on a CUDA device that cannot be used: the message says why.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import hamming_topk
    >>> codes = np.array([[0b1111], [0b0000], [0b0011]], dtype=np.uint8)
    >>> distances, ids = hamming_topk(codes, codes[:1], k=2)
    >>> distances, ids
    (array([[0, 2]], dtype=int32), array([[0, 2]]))
    """
    if on_cuda(codes):
        from sdc_search import hamming_cuda

        return hamming_cuda.topk(codes, queries, as_count("k", k, maximum=_INT32_MAX), mask)
    database, wanted = _codes_and_queries(codes, queries)
    k = as_count("k", k, maximum=_INT32_MAX)
    allowed = None if mask is None else as_mask("mask", mask, len(database))
    distances, ids = core.hamming_topk(database, wanted, k, allowed, None, thread_count(num_threads))
    return like(queries, distances), like(queries, ids)


@overload
def hamming_range(
    codes: ArrayLike,
    queries: torch.Tensor,
    radius: int,
    *,
    mask: ArrayLike | None = None,
    num_threads: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]: ...
@overload
def hamming_range(
    codes: ArrayLike,
    queries: npt.ArrayLike,
    radius: int,
    *,
    mask: ArrayLike | None = None,
    num_threads: int | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
def hamming_range(
    codes: ArrayLike,
    queries: ArrayLike,
    radius: int,
    *,
    mask: ArrayLike | None = None,
    num_threads: int | None = None,
) -> Any:
    """Find each query's codes within a Hamming distance, exactly.

    Parameters
    ----------
    codes
        The database: packed codes, uint8 of shape ``(n, n_bytes)``, ``n_bytes`` from 1 to 256.
    queries
        Packed codes, uint8 of shape ``(q, n_bytes)``. Their kind decides the results' kind.
    radius
        The largest distance that is still returned, at least 0.
    mask
        Which codes may be returned (True = may): bool ``(n,)``, or packed as `numpy.packbits` packs that.
        On a CUDA device it must lie there too; its padding bits are then ignored unchecked.
    num_threads
        Threads to use on the CPU; None for the default (see `set_num_threads`).

    Returns
    -------
    lims : int64, shape ``(q + 1,)``
        The hits of query ``i`` are those from ``lims[i]`` to ``lims[i + 1]``.
    distances : int32, shape ``(lims[-1],)``
    ids : int64, shape ``(lims[-1],)``
        Rows of `codes`. Each query's hits are ordered by ``(distance, id)``, whatever the number of threads.

    Raises
    ------
    TypeError
        Codes or queries are not uint8, `radius` is not an integer, or the mask is neither bool nor uint8.
    ValueError
        A shape or width does not fit, `radius` is negative, or codes and queries lie on different devices.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import hamming_range
    >>> codes = np.array([[0b1111], [0b0000], [0b0011]], dtype=np.uint8)
    >>> lims, distances, ids = hamming_range(codes, codes[:2], radius=2)
    >>> [ids[lims[i] : lims[i + 1]].tolist() for i in range(2)]
    [[0, 2], [1, 2]]
    """
    if on_cuda(codes):
        from sdc_search import hamming_cuda

        radius = as_count("radius", radius, minimum=0, maximum=_INT32_MAX)
        return hamming_cuda.search_range(codes, queries, radius, mask)
    database, wanted = _codes_and_queries(codes, queries)
    radius = as_count("radius", radius, minimum=0, maximum=_INT32_MAX)
    allowed = None if mask is None else as_mask("mask", mask, len(database))
    hits = core.hamming_range(database, wanted, radius, allowed, None, thread_count(num_threads))
    return tuple(like(queries, array) for array in hits)


@overload
def hamming_distance(
    codes: ArrayLike, queries: torch.Tensor, *, num_threads: int | None = None
) -> torch.Tensor: ...
@overload
def hamming_distance(
    codes: ArrayLike, queries: npt.ArrayLike, *, num_threads: int | None = None
) -> npt.NDArray[np.int32]: ...
def hamming_distance(codes: ArrayLike, queries: ArrayLike, *, num_threads: int | None = None) -> Any:
    """Compute the Hamming distance of every query to every code.

    Parameters
    ----------
    codes
        Packed codes, uint8 of shape ``(n, n_bytes)``, ``n_bytes`` from 1 to 256.
    queries
        Packed codes, uint8 of shape ``(q, n_bytes)``. Their kind decides the result's kind.
    num_threads
        Threads to use; None for the default (see `set_num_threads`).

    Returns
    -------
    int32, shape ``(q, n)``: the number of differing bits.

    Raises
    ------
    TypeError
        Codes or queries are not uint8.
    ValueError
        A shape or width does not fit, or codes and queries lie on different devices.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import hamming_distance
    >>> hamming_distance(np.array([[3], [4]], dtype=np.uint8), np.array([[7]], dtype=np.uint8))
    array([[1, 2]], dtype=int32)
    """
    if on_cuda(codes):
        from sdc_search import hamming_cuda

        return hamming_cuda.distance(codes, queries)
    database, wanted = _codes_and_queries(codes, queries)
    return like(queries, core.hamming_distance(database, wanted, thread_count(num_threads)))


@overload
def knn_graph(
    codes: torch.Tensor, k: int, *, num_threads: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def knn_graph(
    codes: npt.ArrayLike, k: int, *, num_threads: int | None = None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
def knn_graph(codes: ArrayLike, k: int, *, num_threads: int | None = None) -> Any:
    """Find each code's `k` nearest other codes, exactly.

    Parameters
    ----------
    codes
        Packed codes, uint8 of shape ``(n, n_bytes)``, ``n_bytes`` from 1 to 256. Their kind decides the
        results' kind.
    k
        Neighbours a code, at least 1; it may exceed ``n - 1``.
    num_threads
        Threads to use; None for the default (see `set_num_threads`).

    Returns
    -------
    distances : int32, shape ``(n, k)``
    ids : int64, shape ``(n, k)``
        Rows of `codes` other than the row itself (an equal code elsewhere counts), ordered by
        ``(distance, id)``. Where ``k >= n`` the rest is ``id = -1`` and ``distance = 2**31 - 1``.

    Raises
    ------
    TypeError
        The codes are not uint8, or `k` is not an integer.
    ValueError
        A shape does not fit, or `k` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import knn_graph
    >>> distances, ids = knn_graph(np.array([[0b1111], [0b0000], [0b0011]], dtype=np.uint8), k=1)
    >>> distances.ravel(), ids.ravel()
    (array([2, 2, 2], dtype=int32), array([2, 2, 0]))
    """
    if on_cuda(codes):
        from sdc_search import hamming_cuda

        return hamming_cuda.knn_graph(codes, as_count("k", k, maximum=_INT32_MAX - 1))
    database, _ = _codes_and_queries(codes, codes)
    k = as_count("k", k, maximum=_INT32_MAX - 1)
    threads = thread_count(num_threads)
    distances = np.empty((len(database), k), dtype=np.int32)
    ids = np.empty((len(database), k), dtype=np.int64)
    for first in range(0, len(database), _GRAPH_BLOCK):
        block = slice(first, first + _GRAPH_BLOCK)
        found_distances, found = core.hamming_topk(database, database[block], k + 1, None, None, threads)
        others = found != np.arange(first, first + len(found))[:, None]
        # More than k equal codes of smaller rows push a code out of its own list: then the last is too many.
        others[others.all(axis=1), -1] = False
        distances[block] = found_distances[others].reshape(-1, k)
        ids[block] = found[others].reshape(-1, k)
    return like(codes, distances), like(codes, ids)
