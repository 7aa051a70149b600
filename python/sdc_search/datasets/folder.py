"""A folder with one folder of images a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdc_search.datasets.dataset import Dataset
from sdc_search.datasets.images import FileImages
from sdc_search.datasets.splits import split_by_class
from sdc_search.protocols import Protocol


def load_folder(
    root: Path, *, seed: int = 0, queries_per_class: int | None = None, train_per_class: int | None = None
) -> Dataset:
    """Load a folder with one folder a class, named as the class; images may lie in folders further down.

    Parameters
    ----------
    root
        The folder of the folders. Those whose name begins with a dot are left out.
    seed
        Of the choice of queries and training images.
    queries_per_class
        None: a tenth of each class, but at least 1 and at most 100. The others form the database.
    train_per_class
        None: all of the database is trained on.

    Raises
    ------
    FileNotFoundError
        There is no such folder, no class in it, or a class without images.
    ValueError
        A class has fewer images than are wanted.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is not a folder; expected one with a folder of images for each class"
        )
    classes = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise FileNotFoundError(f"{root} holds no folders; expected a folder of images for each class")
    found = [FileImages.below(root / name).names() for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(names) for names in found])
    images = FileImages(
        root, [f"{name}/{path}" for name, paths in zip(classes, found, strict=True) for path in paths]
    )
    split = split_by_class(images.names(), labels, classes, seed, queries_per_class, train_per_class)
    return Dataset(
        name="folder",
        images=images,
        labels=labels,
        class_names=tuple(classes),
        query=split.query,
        database=split.database,
        train=split.train,
        protocol=Protocol("folder"),
        split_text=split.text,
    )
