"""CIFAR10 (Krizhevsky, 2009): 60,000 colour images of 32 × 32 pixels, ten classes; in either version."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sdc_search.datasets.dataset import Dataset
from sdc_search.datasets.images import ArrayImages
from sdc_search.datasets.published_files import check_count, check_hash, find_file, find_folder
from sdc_search.datasets.restricted_pickle import load_restricted
from sdc_search.datasets.splits import (
    first_of_each_class,
    order_text,
    per_class,
    rows_without,
    seeded_order,
)
from sdc_search.errors import CorruptFileError
from sdc_search.protocols import Protocol

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

_N_IMAGES = 60_000
_N_PIXELS = 3 * 32 * 32
# The MD5 of the files of the Python version; of the binary version only the archive's is published.
_BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}

_Batch: TypeAlias = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def load_cifar10(
    root: Path, *, seed: int = 0, queries: int = 1000, train: int = 5000, verify: bool = True
) -> Dataset:
    """Load CIFAR10, split as SDC and most papers of unsupervised hashing do: 1,000 / 59,000 / 5,000.

    Parameters
    ----------
    root
        The folder that holds ``cifar-10-batches-py`` or ``cifar-10-batches-bin``, or one of these. Both
        give the same images under the same names, and so the same split.
    seed
        Of the choice of queries and training images.
    queries
        How many of all images, as many of each class. The others form the database.
    train
        How many images of the database are trained on, as many of each class.
    verify
        Whether the files must be those that were published: by MD5 for the Python version, by the number of
        images for the binary one.

    Raises
    ------
    FileNotFoundError, CorruptFileError
        A file is missing, cut short, of another format, or with `verify` not the published one; a pickle
        asks for more than arrays and lists.
    ValueError
        The numbers are no multiples of ten, or beyond what a class has.
    """
    folder = find_folder(
        Path(root),
        [f"{name}{suffix}" for suffix in ("", ".bin") for name in _BATCHES],
        "CIFAR10",
        ("cifar-10-batches-py", "cifar-10-batches-bin"),
    )
    batches = [_read_batch(folder, name, verify) for name in _BATCHES]
    labels = np.concatenate([batch_labels for _, batch_labels in batches])
    if verify:
        check_count(folder, "images", len(labels), _N_IMAGES)
    names = [
        f"{name}/{row:05d}"
        for name, (_, batch_labels) in zip(_BATCHES, batches, strict=True)
        for row in range(len(batch_labels))
    ]
    each_query = per_class("queries", queries, len(CLASSES))
    each_train = per_class("train", train, len(CLASSES))
    order = seeded_order(names, seed)
    query = first_of_each_class(order, labels, each_query, CLASSES)
    database = rows_without(len(labels), query)
    return Dataset(
        name="cifar10",
        images=ArrayImages(partial(_read_pixels, folder), names),
        labels=labels,
        class_names=CLASSES,
        query=query,
        database=database,
        train=first_of_each_class(order[np.isin(order, database)], labels, each_train, CLASSES),
        protocol=Protocol.cifar10_sdc(),
        split_text=(
            f"Queries: the first {each_query} images of each class, of both parts. Database: all "
            f"{len(database):,} others. Training: the first {each_train} of each class in the database. "
            f"{order_text(seed)}"
        ),
    )


def _read_pixels(folder: Path) -> npt.NDArray[np.uint8]:
    return np.concatenate([_read_batch(folder, name, verify=False)[0] for name in _BATCHES])


def _read_batch(folder: Path, name: str, verify: bool) -> _Batch:
    """Read pixels ``(n, 32, 32, 3)`` and labels ``(n,)``."""
    path = find_file(folder, [name, f"{name}.bin"])
    data = path.read_bytes()
    if verify and not path.suffix:
        check_hash(path, data, _BATCHES[name])
    planes, labels = _from_binary(path, data) if path.suffix else _from_pickle(path, data)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(CLASSES):
        raise CorruptFileError(f"{path} holds labels {labels.min()} to {labels.max()}, expected 0 to 9")
    return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _from_binary(path: Path, data: bytes) -> _Batch:
    record = 1 + _N_PIXELS
    if not data or len(data) % record:
        raise CorruptFileError(
            f"{path} holds {len(data):,} bytes, expected a multiple of {record:,}: a label and the pixels of "
            "each image"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, record)
    return records[:, 1:], records[:, 0].astype(np.int64)


def _from_pickle(path: Path, data: bytes) -> _Batch:
    batch: Any = load_restricted(path, data)
    try:
        planes, labels = np.asarray(batch["data"]), np.array(batch["labels"], dtype=np.int64)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(f"{path} is not a batch of CIFAR10: it lacks data or labels") from error
    if planes.dtype != np.uint8 or planes.shape != (len(labels), _N_PIXELS) or labels.ndim != 1:
        raise CorruptFileError(
            f"{path} is not a batch of CIFAR10: data are {planes.dtype} of shape {planes.shape}, expected "
            f"uint8 of shape (n, {_N_PIXELS}), and n labels, got {labels.shape}"
        )
    return planes, labels
