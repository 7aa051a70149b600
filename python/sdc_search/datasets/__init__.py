"""Data sets: images, labels and splits, read from files that the user has.

One file a data set or format; `load_dataset` and `load_landmarks` find them by name. Nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdc_search.lazy_names import lazy_names

if TYPE_CHECKING:
    from sdc_search.datasets.dataset import Dataset
    from sdc_search.datasets.images import ArrayImages, FileImages, Images
    from sdc_search.datasets.landmark_dataset import LandmarkDataset
    from sdc_search.datasets.loading import DATASET_NAMES, LANDMARK_NAMES, load_dataset, load_landmarks
    from sdc_search.datasets.splits import Split

_HOMES = {
    "DATASET_NAMES": "loading",
    "LANDMARK_NAMES": "loading",
    "ArrayImages": "images",
    "Dataset": "dataset",
    "FileImages": "images",
    "Images": "images",
    "LandmarkDataset": "landmark_dataset",
    "Split": "splits",
    "load_dataset": "loading",
    "load_landmarks": "loading",
}

__all__ = [
    "DATASET_NAMES",
    "LANDMARK_NAMES",
    "ArrayImages",
    "Dataset",
    "FileImages",
    "Images",
    "LandmarkDataset",
    "Split",
    "load_dataset",
    "load_landmarks",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
