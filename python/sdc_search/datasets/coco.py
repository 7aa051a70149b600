"""MS-COCO (Lin et al., ECCV 2014): the images that show any of 80 categories, 122,218 of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import as_count
from sdc_search.datasets.dataset import Dataset
from sdc_search.datasets.image_lists import lists_folder, read_image_lists
from sdc_search.datasets.images import FileImages
from sdc_search.datasets.published_files import check_count, find_file
from sdc_search.datasets.splits import order_text, rows_without, seeded_order
from sdc_search.errors import CorruptFileError
from sdc_search.protocols import Protocol

_PARTS = ("train", "val")
_YEARS = ("2014", "2017")  # the same images, in parts of other sizes
_N_IMAGES = 122_218
_N_CATEGORIES = 80
_PUBLISHED = (5_000, 117_218, 10_000)


def load_coco(
    root: Path,
    *,
    seed: int = 0,
    queries: int = 5000,
    train: int = 10000,
    lists: Path | None = None,
    verify: bool = True,
) -> Dataset:
    """Load MS-COCO: 5,000 / 117,218 / 10,000, by the lists of HashNet or, without them, by a seeded rule.

    Parameters
    ----------
    root
        The folder with ``annotations/instances_train2014.json`` and ``instances_val2014.json`` (or of 2017,
        the same images) and the folders ``train2014`` and ``val2014`` of images, or those in ``images/``.
    seed
        Of the rule. It goes by the images' numbers, and so gives the same split for 2014 and 2017.
    queries, train
        How many; not used with lists.
    lists
        A folder with ``train.txt``, ``test.txt`` and ``database.txt``, with images of 2014; None: they are
        used where `root` has them.
    verify
        Whether numbers of images and categories must be those that were published.

    Raises
    ------
    FileNotFoundError
        A file or an image is missing.
    CorruptFileError
        A file is damaged, or with `verify` not the published one.
    ValueError
        `queries` and `train` are more than there are images.
    """
    root = Path(root)
    if (folder := lists_folder(root, lists)) is not None:
        listed = read_image_lists(folder, _PUBLISHED if verify else None, _N_CATEGORIES if verify else None)
        names, paths, labels, split = listed.names, listed.names, listed.labels, listed.split
        classes = tuple(f"category {column}" for column in range(labels.shape[1]))
        query, database, train_rows, text = split.query, split.database, split.train, split.text
    else:
        names, paths, labels, classes = _read_annotations(root, verify)
        query_count, train_count = as_count("queries", queries), as_count("train", train)
        if query_count + train_count > len(names):
            raise ValueError(
                f"queries and train must be at most the {len(names):,} images together, got {query_count:,} "
                f"and {train_count:,}"
            )
        order = seeded_order(names, seed)
        query = order[:query_count]
        database = rows_without(len(names), query)
        train_rows = order[query_count : query_count + train_count]
        text = (
            f"The {len(names):,} images with any of the categories, of both parts. Queries: the first "
            f"{query_count:,}. Database: all {len(database):,} others. Training: the first {train_count:,} "
            f"of the database. {order_text(seed)} Names are the images' numbers, in 12 digits."
        )
    return Dataset(
        name="coco",
        images=FileImages.in_layout(root, names, [paths, [f"images/{path}" for path in paths]]),
        labels=labels,
        class_names=classes,
        query=query,
        database=database,
        train=train_rows,
        protocol=Protocol.coco_sdc(),
        split_text=text,
    )


def _read_annotations(
    root: Path, verify: bool
) -> tuple[list[str], list[str], npt.NDArray[np.bool_], tuple[str, ...]]:
    """Read names, paths, labels and categories of the images that show any category."""
    folder = root / "annotations"
    first = find_file(folder, [f"instances_{_PARTS[0]}{year}.json" for year in _YEARS])
    year = first.stem[-4:]
    paths: dict[int, str] = {}
    shown: dict[int, set[int]] = {}
    categories: dict[int, str] = {}
    for part in _PARTS:
        path = find_file(folder, [f"instances_{part}{year}.json"])
        try:
            document: Any = json.loads(path.read_bytes())
            of_part = {int(image["id"]): f"{part}{year}/{image['file_name']}" for image in document["images"]}
            of_file = {int(category["id"]): str(category["name"]) for category in document["categories"]}
            for annotation in document["annotations"]:
                if annotation["image_id"] not in of_part or annotation["category_id"] not in of_file:
                    raise KeyError(f"an annotation of image {annotation['image_id']}")
                shown.setdefault(int(annotation["image_id"]), set()).add(int(annotation["category_id"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptFileError(
                f"{path} is not a whole file of instances of MS-COCO: {type(error).__name__}: {error}"
            ) from error
        if categories and of_file != categories:
            raise CorruptFileError(f"{path} has other categories than {first.name}")
        paths |= of_part
        categories = of_file
    if verify:
        check_count(folder, "categories", len(categories), _N_CATEGORIES)
        check_count(folder, "images with a category", len(shown), _N_IMAGES)
    column = {number: place for place, number in enumerate(sorted(categories))}
    numbers = sorted(shown)
    labels = np.zeros((len(numbers), len(categories)), dtype=np.bool_)
    for row, number in enumerate(numbers):
        labels[row, [column[category] for category in shown[number]]] = True
    classes = tuple(categories[number] for number in sorted(categories))
    return [f"{number:012d}" for number in numbers], [paths[number] for number in numbers], labels, classes
