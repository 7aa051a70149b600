"""Files on disk: safetensors with a checked header, written so that no instant leaves half a file.

Every file carries one metadata entry, ``"sdc_search"``: a JSON object with ``format``, ``version``,
``n_bits``, ``bit_order``, one XXH64 checksum a tensor and one of the header itself. It is a single entry
because the safetensors library writes several in no fixed order, and the same content shall give the same
bytes. Reading goes through a small parser and ``numpy.memmap``, since the library's own reader copies.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
import xxhash
from safetensors import SafetensorError
from safetensors.numpy import save_file

from sdc_search.atomic_files import atomic_path
from sdc_search.errors import CorruptFileError

Tensors: TypeAlias = dict[str, npt.NDArray[Any]]

_KEY = "sdc_search"
_BIT_ORDER = "msb_first"
_CHECKSUM = "xxh64"
_HEADER_LIMIT = 100_000_000  # the safetensors library's own
_DTYPES: dict[str, np.dtype[Any]] = {
    "U8": np.dtype("u1"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def write(
    path: str | os.PathLike[str],
    format: str,  # noqa: A002 - the field's name in the file
    tensors: Mapping[str, npt.NDArray[Any]],
    metadata: Mapping[str, object],
    *,
    version: int,
    n_bits: int,
) -> None:
    """Write `tensors` to `path`: the whole file or nothing.

    The bytes go to a temporary file in the same directory, which is flushed to the disk and renamed. A
    failure or Ctrl-C on the way leaves no temporary file, and a file that was at `path` stays as it was.

    Parameters
    ----------
    path
        The file to create or replace.
    format, version
        What the tensors mean, such as ``"sdc_search.hasher"``, and the version of that meaning.
    tensors
        Arrays by name, of dtype uint8, uint32, int32, int64, float16, float32 or float64.
    metadata
        Further fields of the header: whatever JSON can hold.
    n_bits
        The length of the codes that the file holds or makes.

    Raises
    ------
    TypeError
        A tensor has another dtype.
    OSError
        The file cannot be written; the message names `path`.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sdc_search import storage
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory, "example.safetensors")
    ...     storage.write(path, "example", {"a": np.arange(3)}, {"note": "hello"}, version=1, n_bits=8)
    ...     tensors, header = storage.read(path, "example", version=1)
    >>> tensors["a"], header["note"]
    (array([0, 1, 2]), 'hello')
    """
    path = Path(path)
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    for name, array in arrays.items():
        if array.dtype not in _NAMES:
            raise TypeError(f"tensor {name!r} has dtype {array.dtype}, which the file format does not hold")
    header = {
        **metadata,
        "format": format,
        "version": version,
        "n_bits": n_bits,
        "bit_order": _BIT_ORDER,
        "checksum": _CHECKSUM,
        "tensors": {name: _checksum(array) for name, array in arrays.items()},
    }
    layout = {name: [_NAMES[array.dtype], list(array.shape)] for name, array in arrays.items()}
    header["header"] = _header_checksum(header, layout)

    with atomic_path(path) as temporary:
        try:
            save_file(arrays, temporary, {_KEY: _canonical_json(header)})
        except SafetensorError as error:
            raise OSError(f"cannot write {path}: {error}") from error


def read(
    path: str | os.PathLike[str],
    format: str,  # noqa: A002 - the field's name in the file
    *,
    version: int,
    verify: bool = True,
    mmap: bool = False,
) -> tuple[Tensors, dict[str, Any]]:
    """Read a file that `write` wrote.

    The header, its checksum and every size and offset are always checked.

    Parameters
    ----------
    path
        The file.
    format, version
        The format that is wanted, and its newest version that the caller understands.
    verify
        Whether to read the tensors' bytes once more and compare their checksums.
    mmap
        Whether the tensors are read-only views of the mapped file instead of copies in memory. They are
        aligned to their dtype either way.

    Returns
    -------
    The arrays by name, and the header's fields.

    Raises
    ------
    CorruptFileError
        The file is of another format, of a newer version, truncated or damaged.
    OSError
        The file cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        layout, header, start = _read_header(path, file)
        if header.get("format") != format:
            raise CorruptFileError(f"{path}: format: wanted {format!r}, got {header.get('format')!r}")
        found = header.get("version")
        if type(found) is not int or not 1 <= found <= version:
            raise CorruptFileError(f"{path}: version: this release reads up to {version}, got {found!r}")
        size = os.fstat(file.fileno()).st_size - start
        _check_layout(path, layout, size)
        _check_fields(path, header, layout)
        payload = _read_payload(path, file, start, size, mmap=mmap)

    tensors: Tensors = {}
    for name, entry in layout.items():
        begin, end = entry["data_offsets"]
        tensors[name] = payload[begin:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if verify and _checksum(tensors[name]) != header["tensors"][name]:
            raise CorruptFileError(
                f"{path}: tensor {name!r}: the file is damaged, its checksum does not match"
            )
    return tensors, header


def _checksum(array: npt.NDArray[Any]) -> str:
    return str(xxhash.xxh64_hexdigest(array.reshape(-1).view(np.uint8).data))


def _canonical_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _header_checksum(header: Mapping[str, object], layout: Mapping[str, object]) -> str:
    """XXH64 of all the fields but itself, and of what is said of the tensors outside of them."""
    fields = {name: value for name, value in header.items() if name != "header"}
    return str(xxhash.xxh64_hexdigest(_canonical_json([fields, layout]).encode()))


def _read_header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return the tensors' entries, our own fields, and where the payload starts."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    if len(prefix) < 8:
        raise CorruptFileError(f"{path}: header: the file is truncated, it holds only {size} bytes")
    length = int.from_bytes(prefix, "little")
    if length > _HEADER_LIMIT or length % 8:
        raise CorruptFileError(f"{path}: header: this is not a file of sdc-search")
    text = file.read(length)
    if len(text) < length:
        raise CorruptFileError(
            f"{path}: header: the file is truncated or of another format, {length} header bytes wanted"
            f" and {len(text)} there"
        )
    try:
        layout = json.loads(text)
        header = json.loads(layout.pop("__metadata__")[_KEY])
        if not isinstance(header, dict):
            raise TypeError("our fields are no JSON object")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptFileError(f"{path}: header: this is not a file of sdc-search") from error
    return layout, header, 8 + length


def _check_layout(path: Path, layout: dict[str, Any], size: int) -> None:
    """Check that the tensors lie aligned, side by side, and fill the payload of `size` bytes exactly."""
    position = 0
    for name, entry in sorted(layout.items(), key=lambda item: _offsets(path, *item)):
        begin, end = _offsets(path, name, entry)
        dtype, shape = _DTYPES.get(str(entry.get("dtype"))), entry.get("shape")
        if dtype is None:
            raise CorruptFileError(f"{path}: tensor {name!r}: unknown dtype {entry.get('dtype')!r}")
        if not isinstance(shape, list) or not all(type(extent) is int and extent >= 0 for extent in shape):
            raise CorruptFileError(f"{path}: tensor {name!r}: bad shape {shape!r}")
        wanted = dtype.itemsize
        for extent in shape:  # Python's integers cannot overflow
            wanted *= extent
        if begin != position or end - begin != wanted or begin % dtype.itemsize:
            raise CorruptFileError(
                f"{path}: tensor {name!r}: bytes {begin} to {end} do not fit shape {shape}"
            )
        position = end
    if position != size:
        raise CorruptFileError(f"{path}: payload: truncated or damaged, wanted {position} bytes, got {size}")


def _offsets(path: Path, name: str, entry: object) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(offset) is int and offset >= 0 for offset in offsets)
    ):
        raise CorruptFileError(f"{path}: tensor {name!r}: bad offsets {offsets!r}")
    return offsets[0], offsets[1]


def _check_fields(path: Path, header: dict[str, Any], layout: dict[str, Any]) -> None:
    shapes = {name: [entry["dtype"], entry["shape"]] for name, entry in layout.items()}
    if header.get("checksum") != _CHECKSUM:
        raise CorruptFileError(f"{path}: checksum: unknown algorithm {header.get('checksum')!r}")
    if header.get("header") != _header_checksum(header, shapes):
        raise CorruptFileError(f"{path}: header: the file is damaged, its checksum does not match")
    if header.get("bit_order") != _BIT_ORDER:
        raise CorruptFileError(f"{path}: bit_order: wanted {_BIT_ORDER!r}, got {header.get('bit_order')!r}")
    if type(header.get("n_bits")) is not int or header["n_bits"] < 1:
        raise CorruptFileError(f"{path}: n_bits: wanted a positive integer, got {header.get('n_bits')!r}")
    if not isinstance(header.get("tensors"), dict) or header["tensors"].keys() != layout.keys():
        raise CorruptFileError(f"{path}: tensors: not one checksum for each tensor")


def _read_payload(path: Path, file: BinaryIO, start: int, size: int, *, mmap: bool) -> npt.NDArray[np.uint8]:
    if size == 0:  # neither of the two readers takes nothing
        return np.empty(0, np.uint8)
    if mmap:
        return np.memmap(file, np.uint8, "r", offset=start, shape=(size,))
    payload = np.fromfile(file, np.uint8, count=size)
    if len(payload) < size:
        raise CorruptFileError(f"{path}: payload: the file shrank while it was read")
    return payload
