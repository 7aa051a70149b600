"""From what a caller passes to a checked, C-contiguous numpy array, and back to the caller's kind.

numpy arrays, torch tensors and anything with ``__array__`` or ``__dlpack__`` are accepted. torch is never
imported here: a tensor can only arrive where its owner has imported it already.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    ArrayLike: TypeAlias = npt.ArrayLike | torch.Tensor
else:
    ArrayLike: TypeAlias = Any


def is_tensor(value: object) -> bool:
    """Whether `value` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def device_of(value: object) -> str:
    """Return the device that holds `value`: ``"cpu"`` for everything but a tensor elsewhere."""
    return str(value.device) if is_tensor(value) else "cpu"  # type: ignore[attr-defined]


def on_cuda(value: object) -> TypeGuard[torch.Tensor]:
    """Whether `value` is a tensor on a CUDA device."""
    return device_of(value).startswith("cuda")


def to_numpy(name: str, value: object) -> npt.NDArray[Any]:
    """View `value` as a numpy array, without a copy where its owner allows.

    Raises
    ------
    TypeError
        `value` is none of the accepted kinds.
    ValueError
        `value` is a tensor that does not lie in the CPU's memory.
    """
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if is_tensor(value):
        if device_of(value) != "cpu":
            raise ValueError(
                f"{name} lies on {device_of(value)}; this operation runs on the CPU: pass {name}.cpu()"
            )
        return np.asarray(value.detach().numpy())  # type: ignore[attr-defined]
    if hasattr(value, "__array__"):
        return np.asarray(value)
    if hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)
    raise TypeError(f"{name} must be a numpy array or a torch tensor, got {type(value).__name__}")


def as_codes(name: str, value: object, n_bytes: int | None = None) -> npt.NDArray[np.uint8]:
    """Check packed binary codes: C-contiguous uint8 of shape ``(n, n_bytes)``.

    Parameters
    ----------
    name
        The argument's name, for the messages.
    value
        The codes as the caller passed them.
    n_bytes
        The width that is wanted, where it is known.

    Raises
    ------
    TypeError
        The dtype is not uint8.
    ValueError
        The rank is not 2, or the width is zero or not `n_bytes`.
    """
    array = to_numpy(name, value)
    _check_codes(name, array.dtype, array.shape, n_bytes)
    return np.ascontiguousarray(array)


def as_device_codes(name: str, value: torch.Tensor, n_bytes: int | None = None) -> torch.Tensor:
    """Check packed binary codes as `as_codes` does, and leave them where they lie."""
    _check_codes(name, value.dtype, tuple(value.shape), n_bytes)
    return value.detach().contiguous()


def _check_codes(name: str, dtype: object, shape: tuple[int, ...], n_bytes: int | None) -> None:
    if _dtype_name(dtype) != "uint8":
        raise TypeError(
            f"{name} must be packed codes of dtype uint8, got {_dtype_name(dtype)}; pack_bits makes them"
        )
    if len(shape) != 2:
        raise ValueError(f"{name} must have shape (n, n_bytes), got {shape}")
    if shape[1] == 0:
        raise ValueError(f"{name} must have at least one byte a code, got shape {shape}")
    if n_bytes is not None and shape[1] != n_bytes:
        raise ValueError(f"{name} must have {n_bytes} bytes a code, got {shape[1]}")


@lru_cache
def _dtype_name(dtype: object) -> str:  # which numpy takes several µs to write
    return str(dtype).removeprefix("torch.")


def as_features(
    name: str, value: object, shapes: Sequence[str] = ("n, d",)
) -> npt.NDArray[np.float32] | npt.NDArray[np.float64]:
    """Check real-valued vectors: finite, C-contiguous, shape ``(n, d)``, float32 (float64 stays float64).

    Parameters
    ----------
    name, value
        The argument and its name, for the messages.
    shapes
        The shapes that are wanted, by their letters; the last dimension are the features.

    Raises
    ------
    TypeError
        The dtype is not a float or an integer.
    ValueError
        The rank is another one, ``d`` is 0, or an entry is NaN or infinite.
    """
    array = np.asarray(value) if isinstance(value, (list, tuple)) else to_numpy(name, value)
    array = convert(array, features_dtype(name, array, shapes))
    if not _is_finite(array):
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array


def convert(array: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return `array` C-contiguous in `dtype`, itself if it is that already.

    torch, where it is loaded, converts half precision to float32 some seven times as fast as numpy.
    """
    torch = sys.modules.get("torch")
    if torch is not None and array.dtype == np.float16 and dtype == np.float32:
        writable = np.array(array, order="C")  # torch warns of what is not, such as a mapped file
        return np.asarray(torch.from_numpy(writable).float())
    return np.ascontiguousarray(array, dtype=dtype)


def features_dtype(
    name: str, array: npt.NDArray[Any], shapes: Sequence[str] = ("n, d",)
) -> type[np.float32] | type[np.float64]:
    """Check kind and shape of features as `as_features` does, and return the dtype to compute them in."""
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be floating point or integer, got {array.dtype}")
    if array.ndim not in [shape.count(",") + 1 for shape in shapes]:
        wanted = " or ".join(f"({shape})" for shape in shapes)
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}")
    if 0 in array.shape[1:]:
        raise ValueError(f"{name} must have at least one feature, got shape {array.shape}")
    return np.float64 if array.dtype.itemsize >= 8 and array.dtype.kind == "f" else np.float32


def _is_finite(array: npt.NDArray[Any]) -> bool:
    """Whether no entry is NaN or infinite: their sum of squares, the fastest pass, mostly tells it."""
    flat = array.reshape(-1)
    with np.errstate(all="ignore"):
        if np.isfinite(np.dot(flat, flat)):
            return True
    return bool(np.isfinite(array).all())


def as_mask(name: str, value: object, n: int) -> npt.NDArray[np.bool_] | npt.NDArray[np.uint8]:
    """Check which of `n` items may be returned: bool ``(n,)``, or its `packbits`, uint8 ``(ceil(n / 8),)``.

    Raises
    ------
    TypeError
        The dtype is neither bool nor uint8.
    ValueError
        The shape does not fit `n`, or a padding bit is set.
    """
    array = to_numpy(name, value)
    _check_mask(name, array.dtype, array.shape, n)
    if array.dtype == np.uint8 and n % 8 and array[-1] & (0xFF >> n % 8):
        raise ValueError(f"{name} must have zero padding bits after item {n}")
    return np.ascontiguousarray(array)


def as_device_mask(name: str, value: torch.Tensor, n: int) -> torch.Tensor:
    """Check a mask as `as_mask` does, but for its padding bits, and leave it where it lies."""
    _check_mask(name, value.dtype, tuple(value.shape), n)
    return value.detach().contiguous()


def _check_mask(name: str, dtype: object, shape: tuple[int, ...], n: int) -> None:
    kind = _dtype_name(dtype)
    if kind not in ("bool", "uint8"):
        raise TypeError(f"{name} must be bool, or packed bits of dtype uint8, got {kind}")
    wanted = (n,) if kind == "bool" else ((n + 7) // 8,)
    if shape != wanted:
        described = "bool" if kind == "bool" else "packed, uint8"
        raise ValueError(f"{name} ({described}) of {n} items must have shape {wanted}, got {shape}")


def like(reference: object, array: npt.NDArray[Any]) -> Any:
    """Return `array` as the kind of `reference`: a tensor on its device if that is a tensor, else numpy."""
    if not is_tensor(reference):
        return array
    return sys.modules["torch"].from_numpy(array).to(reference.device)  # type: ignore[attr-defined]


def same_device(first_name: str, first: object, second_name: str, second: object) -> None:
    """Raise ``ValueError`` where two arguments lie on different devices."""
    devices = device_of(first), device_of(second)
    if devices[0] != devices[1]:
        raise ValueError(
            f"{first_name} and {second_name} must lie on one device, got {devices[0]} and {devices[1]}"
        )


def as_count(name: str, value: object, *, minimum: int = 1, maximum: int | None = None) -> int:
    """Check an integer argument such as ``k`` or ``n_bits``.

    Raises
    ------
    TypeError
        `value` is not an integer (bool is not one).
    ValueError
        `value` is below `minimum` or above `maximum`.
    """
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    count = int(value.__index__())
    if count < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {count}")
    if maximum is not None and count > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {count}")
    return count
