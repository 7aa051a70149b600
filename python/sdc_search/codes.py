"""Packing bits into codes and back.

A code is ``ceil(n_bits / 8)`` bytes, exactly ``numpy.packbits(h > 0, axis=1)``: the first bit is the most
significant one of the first byte, padding bits are zero, and a bit is 1 iff ``h > 0`` (so 0 gives 0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import ArrayLike, as_codes, as_count, like, to_numpy

if TYPE_CHECKING:
    import torch


def code_bytes(n_bits: int) -> int:
    """Bytes of one code of `n_bits` bits."""
    return (n_bits + 7) // 8


def check_padding(name: str, codes: npt.NDArray[np.uint8], n_bits: int) -> None:
    """Raise ``ValueError`` unless all the bits of `codes` beyond `n_bits` are zero."""
    padding = 8 * codes.shape[1] - n_bits
    if padding and (codes[:, -1] & ((1 << padding) - 1)).any():
        row = int(np.flatnonzero(codes[:, -1] & ((1 << padding) - 1))[0])
        raise ValueError(f"{name} must have zero padding bits after bit {n_bits}, got a one in row {row}")


@overload
def pack_bits(h: torch.Tensor) -> torch.Tensor: ...
@overload
def pack_bits(h: npt.ArrayLike) -> npt.NDArray[np.uint8]: ...
def pack_bits(h: ArrayLike) -> Any:
    """Pack signs into codes: bit = 1 iff ``h > 0``.

    Parameters
    ----------
    h
        Bool or real numbers, shape ``(n, n_bits)``.

    Returns
    -------
    uint8, shape ``(n, ceil(n_bits / 8))``; a tensor if `h` is one.

    Raises
    ------
    TypeError
        `h` is neither bool nor real.
    ValueError
        `h` is not of rank 2, has no columns, or holds NaN, which has no sign.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import pack_bits
    >>> pack_bits(np.array([[0.5, -1.0, 0.0, 2.0]]))
    array([[144]], dtype=uint8)
    """
    array = to_numpy("h", h)
    if array.dtype.kind not in "bfiu":
        raise TypeError(f"h must be bool or real, got {array.dtype}")
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"h must have shape (n, n_bits) with n_bits at least 1, got {array.shape}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError("h must not hold NaN")
    return like(h, np.packbits(array > 0, axis=1))


@overload
def unpack_bits(codes: torch.Tensor, n_bits: int) -> torch.Tensor: ...
@overload
def unpack_bits(codes: npt.ArrayLike, n_bits: int) -> npt.NDArray[np.bool_]: ...
def unpack_bits(codes: ArrayLike, n_bits: int) -> Any:
    """Unpack codes into one bool a bit, the inverse of `pack_bits`.

    Parameters
    ----------
    codes
        uint8, shape ``(n, ceil(n_bits / 8))``.
    n_bits
        Bits of a code; the rest of its last byte is padding and must be zero.

    Returns
    -------
    bool, shape ``(n, n_bits)``; a tensor if `codes` is one.

    Raises
    ------
    TypeError
        `codes` is not uint8, or `n_bits` not an integer.
    ValueError
        The width does not fit `n_bits`, or a padding bit is set.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import unpack_bits
    >>> unpack_bits(np.array([[144]], dtype=np.uint8), 4)
    array([[ True, False, False,  True]])
    """
    n_bits = as_count("n_bits", n_bits)
    array = as_codes("codes", codes, code_bytes(n_bits))
    check_padding("codes", array, n_bits)
    return like(codes, np.unpackbits(array, axis=1, count=n_bits).view(np.bool_))
