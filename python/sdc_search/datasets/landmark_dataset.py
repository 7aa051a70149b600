"""A data set of landmarks: for each query the images of the database that show the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sdc_search.datasets.splits import Rows, Split

if TYPE_CHECKING:
    from sdc_search.datasets.images import Images
    from sdc_search.landmarks import LandmarkProtocol

Relevant: TypeAlias = Rows | Mapping[str, Rows]


@dataclass(frozen=True, eq=False)
class LandmarkDataset:
    """Images of landmarks, with what each query should find.

    Parameters
    ----------
    name
        As in `load_landmarks`.
    images
        Queries, database and training.
    query, database, train
        Rows of `images`, int64, rising; `train` may be empty.
    ground_truth
        For each query the *places in the database* of its relevant images (0 is the row ``database[0]``),
        int64; or such arrays by ``"easy"``, ``"hard"`` and ``"junk"``. As `landmark_map` and `revisited_map`
        take it.
    protocols
        How retrieval is measured on it.
    split_text
        Where the rows come from, for a report.

    Raises
    ------
    ValueError
        Rows or places do not exist; there is not one entry a query; queries and database share rows.
    """

    name: str
    images: Images
    query: Rows
    database: Rows
    train: Rows
    ground_truth: tuple[Relevant, ...]
    protocols: tuple[LandmarkProtocol, ...]
    split_text: str

    def __post_init__(self) -> None:
        split = Split(self.query, self.database, self.train, self.split_text)
        for part in ("query", "database", "train"):
            rows = getattr(split, part)
            if rows.size and rows[-1] >= len(self.images):
                raise ValueError(f"{part} must hold rows below {len(self.images)}, got {rows[-1]}")
            object.__setattr__(self, part, rows)
        if len(self.ground_truth) != len(self.query):
            raise ValueError(
                f"ground_truth must have one entry a query, {len(self.query)}, got {len(self.ground_truth)}"
            )
        for entry in self._entries():
            if entry.size and not 0 <= entry.min() <= entry.max() < len(self.database):
                raise ValueError(
                    f"ground_truth must hold places in the database, 0 to {len(self.database) - 1}, "
                    f"got {entry.min()} to {entry.max()}"
                )

    def digest(self) -> str:
        """Return the SHA-256 of images, rows and ground truth, in hexadecimal."""
        sha = hashlib.sha256(self.images.digest().encode())
        for rows in (self.query, self.database, self.train, *self._entries()):
            sha.update(len(rows).to_bytes(8, "little"))
            sha.update(rows.astype("<i8").data)
        return sha.hexdigest()

    def _entries(self) -> list[Rows]:
        entries: list[Rows] = []
        for relevant in self.ground_truth:
            entries += (
                [relevant]
                if isinstance(relevant, np.ndarray)
                else [relevant[key] for key in sorted(relevant)]
            )
        return entries
