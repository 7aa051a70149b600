"""A data set with class labels: images, labels, and who asks whom under which protocol."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sdc_search.datasets.splits import Rows, Split

if TYPE_CHECKING:
    from sdc_search.datasets.images import Images
    from sdc_search.protocols import Protocol


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels, split into queries, database and training.

    Parameters
    ----------
    name
        As in `load_dataset`.
    images
        n of them.
    labels
        int64 of shape ``(n,)``: the number of the class; or bool of shape ``(n, C)``: whether the image has
        the label.
    class_names
        C of them.
    query, database, train
        Rows of `images`, int64, rising.
    protocol
        How retrieval on this split is measured.
    split_text
        How the rows were chosen, for a report.

    Raises
    ------
    TypeError
        Labels are of another dtype.
    ValueError
        Labels are of another length, negative or beyond the classes; a class has no images; a split is empty,
        holds rows that do not exist, or shares queries with the database.

    Examples
    --------
    >>> from sdc_search.datasets import load_dataset
    >>> data = load_dataset("fashion-mnist", "/data/fashion-mnist", queries=1000)  # doctest: +SKIP
    >>> len(data.query), len(data.database), len(data.train)  # doctest: +SKIP
    (1000, 60000, 5000)
    """

    name: str
    images: Images
    labels: npt.NDArray[Any]
    class_names: tuple[str, ...]
    query: Rows
    database: Rows
    train: Rows
    protocol: Protocol
    split_text: str

    def __post_init__(self) -> None:
        n, n_classes = len(self.images), len(self.class_names)
        check_labels(self.labels, n, self.class_names)
        if self.labels.ndim == 2 and self.labels.shape[1] != n_classes:
            raise ValueError(f"labels must have {n_classes} columns, one a class, got {self.labels.shape}")
        split = Split(self.query, self.database, self.train, self.split_text)
        for part in ("query", "database", "train"):
            rows = getattr(split, part)
            if not rows.size:
                raise ValueError(f"{part} must hold at least one row of {self.name}, got none")
            if rows[-1] >= n:
                raise ValueError(f"{part} must hold rows below {n}, the number of images, got {rows[-1]}")
            object.__setattr__(self, part, rows)

    @property
    def split(self) -> Split:
        """The three sets of rows, to be saved as an index file."""
        return Split(self.query, self.database, self.train, self.split_text)

    def with_split(self, split: Split) -> Dataset:
        """Return the same images and labels, split otherwise."""
        return replace(
            self, query=split.query, database=split.database, train=split.train, split_text=split.text
        )

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 of images, labels and class names: of what an index file of a split indexes."""
        sha = hashlib.sha256(self.images.digest().encode())
        sha.update("\0".join(self.class_names).encode())
        sha.update(np.ascontiguousarray(self.labels).data)
        return sha.hexdigest()

    def digest(self) -> str:
        """Return the SHA-256 of images, labels, class names and split, in hexadecimal."""
        sha = hashlib.sha256(self.content_digest.encode())
        for rows in (self.query, self.database, self.train):
            sha.update(len(rows).to_bytes(8, "little"))
            sha.update(rows.astype("<i8").data)
        return sha.hexdigest()


def check_labels(labels: npt.NDArray[Any], n: int, class_names: tuple[str, ...]) -> None:
    """Check labels of `n` images, as `Dataset` wants them."""
    if labels.shape[:1] != (n,) or labels.ndim not in (1, 2):
        raise ValueError(f"labels must have shape ({n},) or ({n}, C), one row an image, got {labels.shape}")
    wanted = np.dtype(np.int64 if labels.ndim == 1 else np.bool_)
    if labels.dtype != wanted:
        raise TypeError(f"labels of shape {labels.shape} must be {wanted}, got {labels.dtype}")
    if labels.ndim == 1:
        if n and (labels.min() < 0 or labels.max() >= len(class_names)):
            raise ValueError(
                f"labels must lie between 0 and {len(class_names) - 1}, got {labels.min()} to {labels.max()}"
            )
        counts = np.bincount(labels, minlength=len(class_names))
    else:
        counts = labels.sum(axis=0)
    if not counts.all():
        raise ValueError(f"class {class_names[int(np.argmin(counts))]!r} has no images")
