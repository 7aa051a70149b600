"""Ordering candidates anew by the real-valued vectors that their codes stand for."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Metric: TypeAlias = Literal["cosine", "dot", "l2"]
METRICS: tuple[Metric, ...] = ("cosine", "dot", "l2")

_BLOCK_NUMBERS = 1 << 22  # float64 numbers gathered at once: 32 MB


def rerank_rows(
    queries: npt.NDArray[np.floating[Any]],
    candidates: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    vectors: npt.NDArray[Any],
    k: int,
    metric: Metric,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Score candidates against their queries and keep the `k` best of each.

    Only the candidates' vectors are read, so that `vectors` may be a mapped file.

    Parameters
    ----------
    queries
        Finite, shape ``(q, d)``.
    candidates
        Ids, shape ``(q, m)``; -1 is ignored, and an id that a query lists twice counts once.
    rows
        The rows of `vectors` that belong to `candidates`, of the same shape.
    vectors
        Shape ``(n, d)``, real.
    metric
        ``"cosine"`` (0 where a vector is zero), ``"dot"``, or ``"l2"``, the squared distance.

    Returns
    -------
    scores : float32, shape ``(q, k)``
        Computed in float64 and rounded once.
    ids : int64, shape ``(q, k)``
        Best score first, then the smaller id. Where fewer than `k` candidates remain, the rest is ``id = -1``
        with the worst score there is: ``-inf``, for ``"l2"`` ``inf``.

    Raises
    ------
    ValueError
        A candidate's vector is not finite.
    """
    sign = 1.0 if metric == "l2" else -1.0  # what is sorted rises from the best on
    # In the order of their ids, so that a stable sort by score leaves ties to the smaller id.
    by_id = np.argsort(candidates, axis=1, kind="stable")
    candidates = np.take_along_axis(candidates, by_id, axis=1)
    rows = np.take_along_axis(rows, by_id, axis=1)
    counted = candidates >= 0
    counted[:, 1:] &= candidates[:, 1:] != candidates[:, :-1]

    keys = np.full(candidates.shape, np.nan, dtype=np.float32)  # NaN comes after every number
    of_query, place = np.nonzero(counted)
    step = max(1, _BLOCK_NUMBERS // queries.shape[1])
    for first in range(0, len(of_query), step):
        pairs = of_query[first : first + step], place[first : first + step]
        keys[pairs] = sign * _scores(queries[pairs[0]], vectors, rows[pairs], metric)

    order = np.argsort(keys, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(counted, order, axis=1)
    scores = np.full((len(queries), k), sign * np.inf, dtype=np.float32)
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    scores[:, : order.shape[1]][kept] = sign * np.take_along_axis(keys, order, axis=1)[kept]
    ids[:, : order.shape[1]][kept] = np.take_along_axis(candidates, order, axis=1)[kept]
    return scores, ids


def _scores(
    queries: npt.NDArray[np.floating[Any]],
    vectors: npt.NDArray[Any],
    rows: npt.NDArray[np.int64],
    metric: Metric,
) -> npt.NDArray[np.float32]:
    """Score each query against its row of `vectors`: by einsum, since BLAS's order of adding varies."""
    gathered = vectors[rows].astype(np.float64)
    if not np.isfinite(gathered).all():
        row = int(rows[~np.isfinite(gathered).all(axis=1)][0])
        raise ValueError(f"vectors must be finite, got NaN or infinity in row {row}")
    wanted = queries.astype(np.float64)
    if metric == "l2":
        difference = gathered - wanted
        scores = np.einsum("ij,ij->i", difference, difference)
    else:
        scores = np.einsum("ij,ij->i", gathered, wanted)
        if metric == "cosine":
            norms = np.sqrt(np.einsum("ij,ij->i", gathered, gathered))
            norms *= np.sqrt(np.einsum("ij,ij->i", wanted, wanted))
            scores = np.divide(scores, norms, out=np.zeros_like(scores), where=norms > 0)
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
        return np.asarray(scores, dtype=np.float32)
