"""The idx files of MNIST and its successors: a header of big-endian integers, then the values."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdc_search.errors import CorruptFileError

_UINT8 = 0x08


def gunzip(path: Path, data: bytes) -> bytes:
    """Decompress the content of a gzip file.

    Raises
    ------
    CorruptFileError
        It is cut short or damaged.
    """
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise CorruptFileError(f"{path} is not a whole gzip file: {error}") from error


def parse_idx(path: Path, data: bytes, n_dims: int) -> npt.NDArray[np.uint8]:
    """Read an array of bytes from `data`, the content of the idx file `path`.

    Raises
    ------
    CorruptFileError
        It is no idx file of bytes with `n_dims` dimensions, or shorter or longer than its header says.
    """
    header = 4 + 4 * n_dims
    magic = bytes((0, 0, _UINT8, n_dims))
    if data[:4] != magic or len(data) < header:
        raise CorruptFileError(
            f"{path} is not an idx file of bytes in {n_dims} dimensions: it must begin with {magic.hex()} "
            f"and {n_dims} sizes, but begins with {data[:4].hex()}"
        )
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", n_dims, offset=4))
    wanted = header + prod(shape)
    if len(data) != wanted:
        raise CorruptFileError(f"{path} holds {len(data):,} bytes, expected {wanted:,} for shape {shape}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
