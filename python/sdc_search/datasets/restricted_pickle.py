"""Published files that are pickles, read without running what a pickle could ask for."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdc_search.errors import CorruptFileError

_KINDS = "biuf"


class RefusedPickleError(CorruptFileError):
    """A pickle asks for something other than containers, text, numbers and arrays of numbers."""


def load_restricted(path: Path, data: bytes) -> Any:
    """Unpickle dicts, lists, text, numbers and arrays of numbers, and nothing else.

    Parameters
    ----------
    path
        For the messages.
    data
        The pickle, of any protocol. Strings of Python 2 become str, byte for character.

    Returns
    -------
    What the pickle holds; arrays as `PickledArray`, which ``np.asarray`` takes.

    Raises
    ------
    RefusedPickleError
        It asks for another function or class, which is not run.
    CorruptFileError
        It is cut short, or no pickle.
    """
    from io import BytesIO

    try:
        return _Unpickler(path, BytesIO(data)).load()
    except CorruptFileError:
        raise
    # Damaged bytes make the unpickler fail in any way; MemoryError comes from a false length.
    except Exception as error:
        raise CorruptFileError(f"{path} is not a whole pickle: {type(error).__name__}: {error}") from error


class PickledArray:
    """An array of numbers, put together by this module, for numpy's own way trusts what the pickle says."""

    def __init__(self) -> None:
        self._array: npt.NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, values = state
        self._array = dtype.array(values).reshape(shape, order="F" if fortran else "C")

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self._array, dtype=dtype, copy=copy)


class _PickledDtype:
    """A dtype of numbers."""

    def __init__(self, code: str, *_: object) -> None:
        self._dtype = np.dtype(code) if isinstance(code, str) and code[:1] in _KINDS else None
        if self._dtype is None:
            raise ValueError(f"arrays must hold numbers, got dtype {code!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if self._dtype is not None and state[1] in ("<", ">"):
            self._dtype = self._dtype.newbyteorder(state[1])

    def array(self, values: object) -> npt.NDArray[Any]:
        raw = values.encode("latin1") if isinstance(values, str) else values
        if not isinstance(raw, (bytes, bytearray)):
            raise ValueError(f"an array's values must be bytes, got {type(raw).__name__}")
        return np.frombuffer(raw, self._dtype)


def _reconstruct(*_: object) -> PickledArray:
    return PickledArray()


def _scalar(dtype: _PickledDtype, value: object) -> Any:
    return dtype.array(value)[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes must be encoded as latin1, got {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


class _Function:
    """A function to be called and not, as a pickle could, given attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise ValueError("a function has no state")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    # How Python 3 writes bytes for Python 2: as text, or as a call where there are none.
    ("_codecs", "encode"): _Function(_encode),
    ("__builtin__", "bytes"): _Function(_no_bytes),
    ("numpy", "dtype"): _PickledDtype,
    ("numpy", "ndarray"): PickledArray,
    **{
        (f"numpy.{core}.multiarray", name): _Function(function)
        for core in ("core", "_core")
        for name, function in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, path: Path, file: Any) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise RefusedPickleError(
                f"{self._path} is refused: it asks for {module}.{name}, and a data set's pickle holds only "
                "text, numbers, arrays of numbers, and lists and dicts of them; nothing of it was run"
            ) from None
