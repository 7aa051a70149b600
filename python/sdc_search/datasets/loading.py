"""Data sets by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdc_search.datasets.splits import Split

if TYPE_CHECKING:
    from sdc_search.datasets.dataset import Dataset
    from sdc_search.datasets.landmark_dataset import LandmarkDataset

# Name -> module and function.
_DATASETS = {
    "cifar10": ("cifar10", "load_cifar10"),
    "coco": ("coco", "load_coco"),
    "fashion-mnist": ("fashion_mnist", "load_fashion_mnist"),
    "folder": ("folder", "load_folder"),
    "imagenet100": ("imagenet100", "load_imagenet100"),
    "list": ("table", "load_table"),
    "nuswide": ("nuswide", "load_nuswide"),
}
_LANDMARKS = {
    "gldv2": ("gldv2", "load_gldv2"),
    "roxford": ("revisited", "load_roxford"),
    "rparis": ("revisited", "load_rparis"),
}

DATASET_NAMES = tuple(_DATASETS)
LANDMARK_NAMES = tuple(_LANDMARKS)


def load_dataset(
    name: str, root: str | Path, *, seed: int = 0, split: str | Path | None = None, **options: Any
) -> Dataset:
    """Load a data set with class labels from files that the user has; nothing is downloaded.

    Parameters
    ----------
    name
        One of ``"cifar10"``, ``"coco"``, ``"fashion-mnist"``, ``"folder"``, ``"imagenet100"``, ``"list"``,
        ``"nuswide"``.
    root
        Where its files lie; for ``"list"`` the CSV or parquet file.
    seed
        Of the split, where that is not published.
    split
        An index file that `Split.save` wrote: the rows come from there.
    options
        Those of the data set: the keyword arguments of its function, such as
        ``sdc_search.datasets.fashion_mnist.load_fashion_mnist``.

    Raises
    ------
    FileNotFoundError
        A file is missing; the message names it and says what is expected.
    CorruptFileError
        A file is damaged, or not the published one.
    TypeError
        The data set has no such option.
    ValueError
        `name` is unknown; an option does not fit the data.
    """
    dataset: Dataset = _loader(name, _DATASETS)(Path(root), seed=seed, **options)
    if split is None:
        return dataset
    return dataset.with_split(Split.load(Path(split), dataset.content_digest))


def load_landmarks(name: str, root: str | Path, **options: Any) -> LandmarkDataset:
    """Load a data set whose ground truth lists the relevant images of each query.

    Parameters
    ----------
    name
        One of ``"gldv2"``, ``"roxford"``, ``"rparis"``.
    root
        Where its files lie.
    options
        Those of the data set.

    Raises
    ------
    FileNotFoundError, CorruptFileError, TypeError, ValueError
        As `load_dataset`.
    """
    dataset: LandmarkDataset = _loader(name, _LANDMARKS)(Path(root), **options)
    return dataset


def _loader(name: str, table: Mapping[str, tuple[str, str]]) -> Any:
    if name not in table:
        raise ValueError(f"name must be one of {', '.join(table)}, got {name!r}")
    module, function = table[name]
    return getattr(import_module(f"sdc_search.datasets.{module}"), function)
