"""Features of many images, written to a file as they come, so that a run goes on where another was cut off.

A folder holds ``features.npy`` at its full size from the start, and ``journal.json`` with the number of rows
that have safely reached the disk. Rows are flushed before the journal that counts them is replaced, and
``features.json``, the sign that all is done, comes last; so that a process may be killed, or the power fail,
at any instant.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from sdc_search.arrays import as_count
from sdc_search.atomic_files import atomic_file
from sdc_search.backbones import Backbone, Transform
from sdc_search.datasets.images import Images
from sdc_search.errors import CorruptFileError

_DATA, _DONE, _JOURNAL = "features.npy", "features.json", "journal.json"
_FORMAT = {"format": "sdc_search.features", "version": 1}
_CHECKPOINT_SECONDS = 5.0  # a flush takes some 10 ms, and a cut costs the work since the last one
_PREFETCHED = 3  # batches a worker process prepares ahead
# What Pillow and its decoders raise for a file that is missing, cut short or no image.
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error)


@dataclass(frozen=True, eq=False)
class Features:
    """What `extract_features` wrote.

    Parameters
    ----------
    array
        float16 of shape ``(n, d)``, or ``(n, P, d)`` of tokens, mapped and read-only. Rows of images that
        could not be read are zero.
    description
        Backbone, hash of its weights, transform, number and hash of the images: what decides the features;
        and under ``"unreadable"`` row, name and reason of each image that could not be read.
    """

    array: npt.NDArray[np.float16]
    description: dict[str, Any]

    @property
    def unreadable(self) -> npt.NDArray[np.int64]:
        """Rows of images that could not be read."""
        return np.array([image["row"] for image in self.description["unreadable"]], dtype=np.int64)


def open_features(folder: Path) -> Features:
    """Open what `extract_features` wrote to `folder`.

    Raises
    ------
    FileNotFoundError
        The folder holds no features, or an extraction that has not ended.
    CorruptFileError
        A file is damaged, or was not written by `extract_features`.
    """
    path = folder / _DONE
    try:
        description = _read_json(path)
    except FileNotFoundError:
        if (folder / _JOURNAL).exists():
            raise FileNotFoundError(
                f"{folder} holds an extraction that has not ended: start it again, and it goes on"
            ) from None
        raise FileNotFoundError(f"{folder} holds no features: there is no {_DONE}") from None
    return Features(_open_array(folder, description), description)


def extract_features(
    images: Images,
    backbone: Backbone,
    folder: Path,
    *,
    batch_size: int = 32,
    workers: int = 0,
    report: Callable[[str, int], None] | None = None,
) -> Features:
    """Compute the features of `images`, row by row, into files in `folder`.

    A call that was killed at any instant is repeated, and goes on; the result has the bytes of an
    uninterrupted one. Where `folder` holds the result already, it is opened.

    Parameters
    ----------
    images
        A row each.
    backbone
        From `load_backbone`.
    folder
        Created where it does not exist.
    batch_size
        Images that the network sees at once. A network's sums may round otherwise in batches of another size.
    workers
        Processes that read and prepare images while this one runs the network; 0: none.
    report
        Called after each batch with a text, such as ``"extracting, 120 images/s"``, and the number of rows
        that are done.

    Raises
    ------
    ValueError
        There are no images, or none that can be read; features are NaN or beyond float16; `folder` holds
        features of other images or another backbone (the message names what differs), or another process
        writes to it.
    CorruptFileError
        A file in `folder` is damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from sdc_search.backbones import load_backbone
    >>> from sdc_search.datasets import FileImages
    >>> from sdc_search.extraction import extract_features
    >>> with TemporaryDirectory() as directory:
    ...     for name in ("red", "blue"):
    ...         Image.new("RGB", (8, 6), name).save(Path(directory, f"{name}.png"))
    ...     images = FileImages.below(Path(directory))
    ...     backbone = load_backbone("pixels:rgb", image_size=1)
    ...     features = extract_features(images, backbone, Path(directory, "features"))
    ...     images.names(), features.array.tolist()
    (['blue.png', 'red.png'], [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    """
    batch_size = as_count("batch_size", batch_size)
    workers = as_count("workers", workers, minimum=0)
    n = len(images)
    if n == 0:
        raise ValueError("images must hold at least one image, got none")
    wanted = {
        **_FORMAT,
        **backbone.description,
        "shape": [n, *backbone.shape],
        "images": {"number": n, "sha256": images.digest()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if not (folder / _DONE).exists():
            _extract(images, backbone, folder, wanted, batch_size, workers, report)
        _check_same(folder / _DONE, _read_json(folder / _DONE), wanted)
        (folder / _JOURNAL).unlink(missing_ok=True)
    return open_features(folder)


def _extract(
    images: Images,
    backbone: Backbone,
    folder: Path,
    wanted: dict[str, Any],
    batch_size: int,
    workers: int,
    report: Callable[[str, int], None] | None,
) -> None:
    for left in folder.glob(".*.tmp"):  # of atomic_file, by a process that was killed
        left.unlink()
    if not (folder / _JOURNAL).exists():
        _begin(folder, wanted)
    journal = _read_json(folder / _JOURNAL)
    _check_same(folder / _JOURNAL, journal, wanted)
    done, unreadable = journal["done"], journal["unreadable"]
    array = _open_array(folder, wanted)
    first, row_bytes = done, array[0].nbytes
    with (folder / _DATA).open("r+b") as file:
        file.seek(array.offset + done * row_bytes)  # type: ignore[attr-defined]
        start = saved = time.monotonic()
        for pixels, failures in _batches(images, backbone.transform, first, batch_size, workers):
            rows = [row for row, _ in failures]
            unreadable += [{"row": row, "name": images.name(row), "reason": text} for row, text in failures]
            # All batches have all their rows: sums may round otherwise in a shorter one.
            features = _as_float16(backbone.forward(pixels), done, rows, images)
            file.write(features.data)
            done += len(features)
            now = time.monotonic()
            if report is not None:
                report(f"extracting, {(done - first) / max(now - start, 1e-9):,.0f} images/s", done)
            if now - saved >= _CHECKPOINT_SECONDS:
                _sync(file)
                _write_json(folder / _JOURNAL, {**wanted, "unreadable": unreadable, "done": done})
                saved = now
        _sync(file)
    if len(unreadable) == len(images):
        raise ValueError(
            f"none of the {len(images):,} images can be read; the first, {unreadable[0]['name']}: "
            f"{unreadable[0]['reason']}"
        )
    _write_json(folder / _DONE, {**wanted, "unreadable": unreadable})


def _begin(folder: Path, wanted: dict[str, Any]) -> None:
    """Create the file of the features at its full size, and then the journal."""
    with (folder / _DATA).open("wb") as file:
        shape = tuple(wanted["shape"])
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + 2 * int(np.prod(shape)))
        _sync(file)
    _write_json(folder / _JOURNAL, {**wanted, "unreadable": [], "done": 0})


class _Batches(Dataset[tuple[torch.Tensor, list[tuple[int, str]]]]):
    """Pixels of consecutive rows, with zeros for what cannot be read, and why it cannot."""

    def __init__(self, images: Images, transform: Transform, first: int, size: int) -> None:
        self._images, self._transform = images, transform
        self._starts = range(first, len(images), size)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, batch: int) -> tuple[torch.Tensor, list[tuple[int, str]]]:
        start = self._starts[batch]
        rows = range(start, min(start + self._starts.step, len(self._images)))
        pixels = torch.zeros((len(rows), *self._transform.shape), dtype=torch.uint8)
        failures = []
        for place, row in zip(pixels.numpy(), rows, strict=True):
            try:
                image = self._images[row]
            except _UNREADABLE as error:
                failures.append((row, " ".join(str(error).split())))
            else:
                place[...] = self._transform(image)
        return pixels, failures


def _batches(
    images: Images, transform: Transform, first: int, size: int, workers: int
) -> Iterator[tuple[torch.Tensor, list[tuple[int, str]]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about more processes than cores, which the caller asked for
        return iter(
            DataLoader(
                _Batches(images, transform, first, size),
                batch_size=None,
                collate_fn=_as_it_is,
                num_workers=workers,
                prefetch_factor=_PREFETCHED if workers else None,
            )
        )


def _as_it_is(batch: Any) -> Any:
    return batch


def _as_float16(
    features: npt.NDArray[np.float32], first: int, unreadable: list[int], images: Images
) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = features.astype("<f2")
    half[[row - first for row in unreadable]] = 0
    finite = np.isfinite(half).reshape(len(half), -1).all(axis=1)
    if not finite.all():
        place = int(np.argmin(finite))
        what = "NaN or infinite" if not np.isfinite(features[place]).all() else "beyond float16 (65,504)"
        raise ValueError(
            f"features of image {first + place}, {images.name(first + place)}, are {what}: the weights of "
            "the backbone, or its transform, are not what it was trained with"
        )
    return half


def _open_array(folder: Path, description: dict[str, Any]) -> npt.NDArray[np.float16]:
    path = folder / _DATA
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise CorruptFileError(f"{path} is not a readable .npy file: {error}") from error
    if array.dtype != np.float16 or list(array.shape) != description["shape"]:
        raise CorruptFileError(
            f"{path} must hold float16 of shape {tuple(description['shape'])}, as the file beside it says, "
            f"got {array.dtype} of shape {array.shape}; remove {folder} and extract again"
        )
    return array


def _check_same(path: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if stored.get(key) != value:
            raise ValueError(
                f"{path.parent} holds features of another extraction: its {key} is {stored.get(key)}, wanted "
                f"{value}; choose another folder, or remove this one"
            )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to `folder`; a process that is killed leaves no lock behind."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder} is being written to by another process") from None
        yield
    finally:
        os.close(descriptor)


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _write_json(path: Path, document: dict[str, Any]) -> None:
    with atomic_file(path) as file:
        file.write((json.dumps(document, indent=2) + "\n").encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise CorruptFileError(f"{path} is not a readable JSON file: {error}") from error
    if not isinstance(document, dict) or document.items() < _FORMAT.items():
        raise CorruptFileError(f"{path} was not written by extract_features of this version")
    return document
