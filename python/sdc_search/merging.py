"""One ranking from those of several shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import as_count, is_tensor, same_device

if TYPE_CHECKING:
    import torch

_NO_DISTANCE = 2**31 - 1
_Arrays: TypeAlias = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]


@overload
def merge_topk(
    parts: Sequence[tuple[torch.Tensor, torch.Tensor]], k: int
) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def merge_topk(parts: Sequence[_Arrays], k: int) -> _Arrays: ...
def merge_topk(parts: Sequence[tuple[Any, Any]], k: int) -> Any:
    """Merge what `hamming_topk` found in several parts of a database into what it would find in the whole.

    Parameters
    ----------
    parts
        ``(distances, ids)`` of each part, int32 and int64 of shape ``(q, k_i)``, numpy arrays or tensors of
        one device. The ids are those of the whole, so that a part's rows come with its first row added; -1 is
        none. Each part must hold its own `k` best, or all it has.
    k
        Neighbours a query, at least 1; it may exceed what the parts hold.

    Returns
    -------
    distances : int32, shape ``(q, k)``
    ids : int64, shape ``(q, k)``
        Ordered by ``(distance, id)``; where the parts hold fewer than `k`, the rest is ``id = -1`` and
        ``distance = 2**31 - 1``.

    Raises
    ------
    TypeError
        A dtype is another one, or `k` is not an integer.
    ValueError
        There is no part, a shape does not fit the others, `k` is below 1, or tensors lie on different
        devices.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import hamming_topk, merge_topk
    >>> codes = np.array([[0b1111], [0b0000], [0b0011], [0b0111]], dtype=np.uint8)
    >>> distances, ids = hamming_topk(codes[2:], codes[:1], k=2)
    >>> merge_topk([hamming_topk(codes[:2], codes[:1], k=2), (distances, ids + 2)], k=2)
    (array([[0, 1]], dtype=int32), array([[0, 3]]))
    """
    k = as_count("k", k, maximum=_NO_DISTANCE)
    if not parts:
        raise ValueError("parts must hold at least one part")
    first = parts[0][0]
    for i, (distances, ids) in enumerate(parts):
        for name, array, dtype in ((f"parts[{i}][0]", distances, "int32"), (f"parts[{i}][1]", ids, "int64")):
            if str(array.dtype).removeprefix("torch.") != dtype:
                raise TypeError(f"{name} must be {dtype}, got {array.dtype}")
            if array.ndim != 2 or len(array) != len(first) or array.shape != distances.shape:
                raise ValueError(f"{name} must have shape ({len(first)}, k_i), got {tuple(array.shape)}")
            same_device("parts[0][0]", first, name, array)
    if is_tensor(first):
        return _merge_tensors(parts, k)
    distances = np.concatenate([part[0] for part in parts], axis=1)
    ids = np.concatenate([part[1] for part in parts], axis=1)
    order = np.lexsort((ids, distances), axis=1)[:, :k]
    missing = ((0, 0), (0, k - order.shape[1]))
    return (
        np.pad(np.take_along_axis(distances, order, axis=1), missing, constant_values=_NO_DISTANCE),
        np.pad(np.take_along_axis(ids, order, axis=1), missing, constant_values=-1),
    )


def _merge_tensors(
    parts: Sequence[tuple[torch.Tensor, torch.Tensor]], k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    distances = torch.cat([part[0] for part in parts], dim=1)
    ids, by_id = torch.cat([part[1] for part in parts], dim=1).sort(dim=1)
    distances, by_distance = distances.gather(1, by_id).sort(dim=1, stable=True)
    ids = ids.gather(1, by_distance)
    missing = (0, max(k - ids.shape[1], 0))
    return (
        torch.nn.functional.pad(distances[:, :k], missing, value=_NO_DISTANCE),
        torch.nn.functional.pad(ids[:, :k], missing, value=-1),
    )
