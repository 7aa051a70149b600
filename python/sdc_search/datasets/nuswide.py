"""NUS-WIDE (Chua et al., CIVR 2009) with the 21 most frequent of its 81 concepts: 195,834 images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdc_search.datasets.dataset import Dataset
from sdc_search.datasets.image_lists import lists_folder, read_image_lists
from sdc_search.datasets.images import FileImages, repeated
from sdc_search.datasets.published_files import check_count, find_file
from sdc_search.datasets.splits import (
    first_of_each_concept,
    order_text,
    per_class,
    rows_without,
    seeded_order,
)
from sdc_search.errors import CorruptFileError
from sdc_search.protocols import Protocol

_N_CONCEPTS = 21
_N_ALL_CONCEPTS = 81
_N_IMAGES = 195_834
_PUBLISHED = (2_100, 193_734, 10_500)


def load_nuswide(
    root: Path,
    *,
    seed: int = 0,
    queries: int = 2100,
    train: int = 10500,
    lists: Path | None = None,
    verify: bool = True,
) -> Dataset:
    """Load NUS-WIDE-21: 2,100 / 193,734 / 10,500, by published lists or, without them, by a seeded rule.

    Parameters
    ----------
    root
        The folder with ``ImageList/Imagelist.txt``, ``Groundtruth/AllLabels/Labels_*.txt`` and the images, or
        with lists and images.
    seed
        Of the rule: each concept, the rarest first, takes its first images that no other has taken; likewise
        for training, of what is left.
    queries, train
        How many, as many for each concept; not used with lists.
    lists
        A folder with ``train.txt``, ``test.txt`` and ``database.txt``; None: they are used where `root` has
        them.
    verify
        Whether numbers of images and concepts must be those that were published.

    Raises
    ------
    FileNotFoundError
        A file or an image is missing.
    CorruptFileError
        A file is damaged, or with `verify` not the published one.
    ValueError
        `queries` or `train` is no multiple of 21, or beyond what a concept has.
    """
    root = Path(root)
    if (folder := lists_folder(root, lists)) is not None:
        listed = read_image_lists(folder, _PUBLISHED if verify else None, _N_CONCEPTS if verify else None)
        names, labels, split = listed.names, listed.labels, listed.split
        classes = tuple(f"concept {column}" for column in range(labels.shape[1]))
        query, database, train_rows, text = split.query, split.database, split.train, split.text
    else:
        names, labels, classes = _read_ground_truth(root, verify)
        each_query = per_class("queries", queries, _N_CONCEPTS)
        each_train = per_class("train", train, _N_CONCEPTS)
        order = seeded_order(names, seed)
        query = first_of_each_concept(order, labels, each_query, classes)
        database = rows_without(len(names), query)
        train_rows = first_of_each_concept(order[np.isin(order, database)], labels, each_train, classes)
        text = (
            f"The {len(names):,} images with any of the {_N_CONCEPTS} most frequent concepts. Queries: each "
            f"concept, the rarest first, takes the first {each_query} images that have it and are not taken. "
            f"Database: all {len(database):,} others. Training: {each_train} a concept of the database, in "
            f"the same way. {order_text(seed)}"
        )
    flat = [name.rpartition("/")[2] for name in names]
    layouts = [
        [f"{start}{name}" for name in some] for start in ("Flickr/", "images/", "") for some in (names, flat)
    ]
    return Dataset(
        name="nuswide",
        images=FileImages.in_layout(root, names, layouts),
        labels=labels,
        class_names=classes,
        query=query,
        database=database,
        train=train_rows,
        protocol=Protocol.nuswide_sdc(),
        split_text=text,
    )


def _read_ground_truth(root: Path, verify: bool) -> tuple[list[str], npt.NDArray[np.bool_], tuple[str, ...]]:
    """Read names, labels and concepts of the images that have any of the most frequent concepts."""
    image_list = find_file(root, ["ImageList/Imagelist.txt", "Imagelist.txt"])
    lines = image_list.read_text(encoding="utf-8").split("\n")
    all_names = [line.strip().replace("\\", "/") for line in lines if line.strip()]
    if (twice := repeated(all_names)) is not None:
        raise CorruptFileError(f"{image_list} lists {twice} more than once")
    folder = root / "Groundtruth" / "AllLabels"
    files = sorted(folder.glob("Labels_*.txt"))
    if len(files) < _N_CONCEPTS:
        raise FileNotFoundError(
            f"{folder} holds {len(files)} files Labels_*.txt, expected {_N_ALL_CONCEPTS}, one a concept"
        )
    if verify:
        check_count(folder, "files Labels_*.txt", len(files), _N_ALL_CONCEPTS)
    columns = np.stack([_read_column(path, len(all_names)) for path in files], axis=1)
    frequent = np.sort(np.argsort(-columns.sum(axis=0), kind="stable")[:_N_CONCEPTS])
    columns = columns[:, frequent]
    kept = columns.any(axis=1)
    if verify:
        check_count(folder, f"images with any of the {_N_CONCEPTS} concepts", int(kept.sum()), _N_IMAGES)
    concepts = tuple(files[column].stem.removeprefix("Labels_") for column in frequent)
    return [all_names[row] for row in np.flatnonzero(kept)], columns[kept], concepts


def _read_column(path: Path, n_images: int) -> npt.NDArray[np.bool_]:
    digits = path.read_bytes().translate(None, b" \t\r\n")
    if len(digits) != n_images or set(digits) - set(b"01"):
        raise CorruptFileError(
            f"{path} holds {len(digits)} digits, expected a 0 or 1 for each of the {n_images} images listed"
        )
    column: npt.NDArray[np.bool_] = np.frombuffer(digits, np.uint8) == ord("1")
    return column
