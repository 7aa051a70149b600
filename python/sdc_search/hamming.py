"""Exact Hamming search over codes, without an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import ArrayLike, as_codes, as_count, like, same_device
from sdc_search.native import core
from sdc_search.runtime import thread_count

if TYPE_CHECKING:
    import torch

_INT32_MAX = 2**31 - 1


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
    codes: ArrayLike, queries: torch.Tensor, k: int, *, num_threads: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def hamming_topk(
    codes: ArrayLike, queries: npt.ArrayLike, k: int, *, num_threads: int | None = None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
def hamming_topk(codes: ArrayLike, queries: ArrayLike, k: int, *, num_threads: int | None = None) -> Any:
    """Find each query's `k` nearest codes by Hamming distance, exactly.

    Parameters
    ----------
    codes
        The database: packed codes, uint8 of shape ``(n, n_bytes)``, ``n_bytes`` from 1 to 256.
    queries
        Packed codes, uint8 of shape ``(q, n_bytes)``. Their kind decides the results' kind.
    k
        Neighbours a query, at least 1; it may exceed ``n``.
    num_threads
        Threads to use; None for the default (see `set_num_threads`).

    Returns
    -------
    distances : int32, shape ``(q, k)``
    ids : int64, shape ``(q, k)``
        Rows of `codes`. Both are ordered by ``(distance, id)``, also where a tie falls on the cut, whatever
        the number of threads. Where ``k > n`` the rest is ``id = -1`` and ``distance = 2**31 - 1``.

    Raises
    ------
    TypeError
        Codes or queries are not uint8, or `k` is not an integer.
    ValueError
        A shape or width does not fit, `k` is below 1, or codes and queries lie on different devices.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import hamming_topk
    >>> codes = np.array([[0b1111], [0b0000], [0b0011]], dtype=np.uint8)
    >>> distances, ids = hamming_topk(codes, codes[:1], k=2)
    >>> distances, ids
    (array([[0, 2]], dtype=int32), array([[0, 2]]))
    """
    database, wanted = _codes_and_queries(codes, queries)
    k = as_count("k", k, maximum=_INT32_MAX)
    distances, ids = core.hamming_topk(database, wanted, k, thread_count(num_threads))
    return like(queries, distances), like(queries, ids)


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
    database, wanted = _codes_and_queries(codes, queries)
    return like(queries, core.hamming_distance(database, wanted, thread_count(num_threads)))
