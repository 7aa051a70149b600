"""Fashion-MNIST (Xiao et al., 2017): 70,000 grey images of 28 × 28 pixels, ten kinds of clothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdc_search.datasets.dataset import Dataset
from sdc_search.datasets.idx import gunzip, parse_idx
from sdc_search.datasets.images import ArrayImages
from sdc_search.datasets.published_files import check_hash, find_file, find_folder
from sdc_search.datasets.splits import first_of_each_class, order_text, per_class, seeded_order
from sdc_search.errors import CorruptFileError
from sdc_search.protocols import Protocol

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_PARTS = ("train", "t10k")
# SHA-256 of the content without gzip, which every packager compresses otherwise.
_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def load_fashion_mnist(
    root: Path,
    *,
    seed: int = 0,
    queries: int | None = None,
    train: int = 5000,
    inverted: bool = False,
    verify: bool = True,
) -> Dataset:
    """Load Fashion-MNIST.

    Parameters
    ----------
    root
        The folder with the four idx files, gzipped or not.
    seed
        Of the choice of queries and training images.
    queries
        None: the whole test part. Else so many of it, as many of each class. The database is the train part.
    train
        How many images of the database are trained on, as many of each class.
    inverted
        Black on white, as photographs of clothing have it; else white on black, as published.
    verify
        Whether the files must be those that were published.

    Raises
    ------
    FileNotFoundError, CorruptFileError
        A file is missing, cut short, of another format, or with `verify` not the published one.
    ValueError
        The numbers are no multiples of ten, or beyond what a class has.
    """
    folder = find_folder(
        Path(root),
        [f"train-images-idx3-ubyte{suffix}" for suffix in ("", ".gz")],
        "Fashion-MNIST",
        ("FashionMNIST/raw", "fashion-mnist"),
    )
    pixels = [_read(folder, f"{part}-images-idx3-ubyte", 3, verify) for part in _PARTS]
    labels = [_read(folder, f"{part}-labels-idx1-ubyte", 1, verify).astype(np.int64) for part in _PARTS]
    for part, part_pixels, part_labels in zip(_PARTS, pixels, labels, strict=True):
        if len(part_pixels) != len(part_labels):
            raise CorruptFileError(
                f"{folder} holds {len(part_pixels)} {part} images, but {len(part_labels)} labels of them"
            )
    names = [f"{part}/{row:05d}" for part in _PARTS for row in range(len(labels[_PARTS.index(part)]))]
    n_train, n = len(labels[0]), len(names)
    all_labels = np.concatenate(labels)
    order = seeded_order(names, seed)
    if queries is None:
        query, query_text = np.arange(n_train, n), f"all {n - n_train:,} images of the test part"
    else:
        each = per_class("queries", queries, len(CLASSES))
        query = first_of_each_class(order[order >= n_train], all_labels, each, CLASSES)
        query_text = f"the first {each} images of each class in the test part"
    each_train = per_class("train", train, len(CLASSES))
    return Dataset(
        name="fashion-mnist",
        images=ArrayImages(partial(_read_pixels, folder, inverted), names),
        labels=all_labels,
        class_names=CLASSES,
        query=query,
        database=np.arange(n_train),
        train=first_of_each_class(order[order < n_train], all_labels, each_train, CLASSES),
        protocol=Protocol.fashion_mnist(),
        split_text=(
            f"Queries: {query_text}. Database: all {n_train:,} images of the train part. "
            f"Training: the first {each_train} of each class in the database. {order_text(seed)}"
        ),
    )


def _read_pixels(folder: Path, inverted: bool) -> npt.NDArray[np.uint8]:
    pixels = np.concatenate([_read(folder, f"{part}-images-idx3-ubyte", 3, False) for part in _PARTS])
    return 255 - pixels if inverted else pixels


def _read(folder: Path, name: str, n_dims: int, verify: bool) -> npt.NDArray[np.uint8]:
    path = find_file(folder, [name, f"{name}.gz"])
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gunzip(path, data)
    array = parse_idx(path, data, n_dims)
    if verify:
        check_hash(path, data, _SHA256[name])
    return array
