"""Arrays in files that other tools write: ``.npy``, ``.npz`` and ``.safetensors``.

The hasher files of this package are safetensors too, but their header is checked and belongs to `storage`;
here any tensor of any such file may be read. Nothing is unpickled.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdc_search.errors import CorruptFileError

SUFFIXES = (".npy", ".npz", ".safetensors")

# The rest (bfloat16, in which text and image encoders are often saved, float8) is read by torch.
_NUMPY_DTYPES = frozenset(("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64"))


class ArrayKeyError(ValueError):
    """A file holds no array of the wanted key, or several and none was named; the message lists them."""


def read_array(path: Path, key: str | None = None) -> npt.NDArray[Any]:
    """Read one array.

    Parameters
    ----------
    path
        A file whose suffix is one of `SUFFIXES`.
    key
        Which array of an ``.npz`` or ``.safetensors`` file; may be left out where there is only one.

    Returns
    -------
    The array as stored: an ``.npy`` file memory-mapped and read-only,
    and what numpy has no dtype for (bfloat16, float8) as float32.

    Raises
    ------
    ArrayKeyError
        `key` names no array, or is missing where it is needed.
    CorruptFileError
        The content is not what the suffix says, is cut short, or would need pickle.
    ValueError
        The suffix is none of `SUFFIXES`.
    OSError
        The file cannot be opened.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        if key is not None:
            raise ArrayKeyError(f"{path} is an .npy file, which holds one array without a key")
        return _read_npy(path)
    if suffix == ".npz":
        return _read_npz(path, key)
    if suffix == ".safetensors":
        return _read_safetensors(path, key)
    raise ValueError(f"{path} must end in one of {', '.join(SUFFIXES)}")


def _read_npy(path: Path) -> npt.NDArray[Any]:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise CorruptFileError(f"{path} is not a readable .npy file: {error}") from error


def _read_npz(path: Path, key: str | None) -> npt.NDArray[Any]:
    # np.load judges by the content: it would take an .npy file, and call anything unknown a pickle.
    with path.open("rb") as file:
        try:
            with np.lib.npyio.NpzFile(file) as archive:
                return np.asarray(archive[_choose(path, archive.files, key)])
        except (ArrayKeyError, CorruptFileError):
            raise
        except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
            raise CorruptFileError(f"{path} is not a readable .npz file: {error}") from error


def _read_safetensors(path: Path, key: str | None) -> npt.NDArray[Any]:
    from safetensors import SafetensorError, safe_open

    with path.open("rb"):
        pass  # safetensors reports a missing or forbidden file without its name
    try:
        with safe_open(path, framework="numpy") as file:
            name = _choose(path, list(file.keys()), key)
            if file.get_slice(name).get_dtype() in _NUMPY_DTYPES:
                return np.asarray(file.get_tensor(name))
        with safe_open(path, framework="pt") as file:
            return np.asarray(file.get_tensor(name).float().numpy())
    except SafetensorError as error:
        raise CorruptFileError(f"{path} is not a readable .safetensors file: {error}") from error


def _choose(path: Path, names: list[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key in names:
        return str(key)
    if not names:
        raise CorruptFileError(f"{path} holds no array")
    if key is None:
        raise ArrayKeyError(f"{path} holds several arrays: {', '.join(names)}")
    raise ArrayKeyError(f"{path} holds no array {key!r}, only {', '.join(names)}")
