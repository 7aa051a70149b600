"""Every operation again, slowly and obviously: what the fast ones are tested against."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def hamming_distance(codes: npt.NDArray[np.uint8], queries: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Count the differing bits of every query and code: ``(q, n)`` int32."""
    differing: npt.NDArray[np.int32] = np.bitwise_count(queries[:, None, :] ^ codes).sum(
        axis=2, dtype=np.int32
    )
    return differing


def hamming_topk(
    codes: npt.NDArray[np.uint8], queries: npt.NDArray[np.uint8], k: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Sort the codes of each query by ``(distance, row)`` and keep `k`, filled up with (2**31 - 1, -1)."""
    all_distances = hamming_distance(codes, queries)
    order = np.argsort(all_distances, axis=1, kind="stable")[:, :k]
    distances = np.full((len(queries), k), 2**31 - 1, dtype=np.int32)
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    distances[:, : order.shape[1]] = np.take_along_axis(all_distances, order, axis=1)
    ids[:, : order.shape[1]] = order
    return distances, ids
