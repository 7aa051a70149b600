"""Published splits as text files: one image a line, its path and a 0 or 1 for each class.

HashNet (Cao et al., ICCV 2017) publishes ImageNet100 and MS-COCO this way, in ``train.txt``, ``test.txt``
(the queries) and ``database.txt``; others publish NUS-WIDE so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdc_search.datasets.images import repeated
from sdc_search.datasets.published_files import check_count, find_file
from sdc_search.datasets.splits import Rows, Split
from sdc_search.errors import CorruptFileError

_FILES = {"query": "test.txt", "database": "database.txt", "train": "train.txt"}


@dataclass(frozen=True, eq=False)
class ListedImages:
    """The images of three lists.

    Parameters
    ----------
    names
        The last folder and the file, as in ``"image/n01440764_3.JPEG"``: what precedes them is where the
        authors had them.
    labels
        bool, shape ``(n, C)``.
    split
        Which list each is in.
    """

    names: list[str]
    labels: npt.NDArray[np.bool_]
    split: Split


def lists_folder(root: Path, lists: Path | None) -> Path | None:
    """Return the folder of the lists: `lists`, or `root` if any of the three is there, else None."""
    if lists is not None:
        return Path(lists)
    return root if any((root / name).exists() for name in _FILES.values()) else None


def read_image_lists(
    folder: Path, published: tuple[int, int, int] | None, n_classes: int | None
) -> ListedImages:
    """Read ``train.txt``, ``test.txt`` and ``database.txt``.

    Parameters
    ----------
    folder
        Where they lie.
    published
        How many queries, images of the database and images of the training there must be, or None.
    n_classes
        How many classes there must be, or None.

    Raises
    ------
    FileNotFoundError
        One is missing.
    CorruptFileError
        A line is not as expected, an image occurs twice in a list or with two sets of labels, or the numbers
        are not the published ones.
    """
    rows_of: dict[str, int] = {}
    parts: list[npt.NDArray[np.bool_]] = []
    rows: dict[str, Rows] = {}
    for (part, file_name), count in zip(_FILES.items(), published or (None,) * len(_FILES), strict=True):
        path = find_file(folder, [file_name])
        names, labels = _read_list(path)
        if n_classes is not None and labels.shape[1] != n_classes:
            raise CorruptFileError(f"{path} has {labels.shape[1]} classes, expected {n_classes}")
        if count is not None:
            check_count(path, "images", len(names), count)
        if parts and labels.shape[1] != parts[0].shape[1]:
            raise CorruptFileError(
                f"{path} has {labels.shape[1]} classes, but {_FILES['query']} beside it {parts[0].shape[1]}"
            )
        known = len(rows_of)
        if (twice := repeated(names)) is not None:
            raise CorruptFileError(f"{path} lists {twice} more than once")
        rows[part] = np.array([rows_of.setdefault(name, len(rows_of)) for name in names], dtype=np.int64)
        parts.append(labels[rows[part] >= known])
        differing = (np.concatenate(parts)[rows[part]] != labels).any(axis=1)
        if differing.any():
            raise CorruptFileError(
                f"{path} gives {names[int(np.argmax(differing))]} other labels than another list beside it"
            )
    try:
        split = Split(
            rows["query"],
            rows["database"],
            rows["train"],
            "Queries, database and training: the published lists "
            f"{', '.join(_FILES.values())} ({len(rows['query']):,}, {len(rows['database']):,} and "
            f"{len(rows['train']):,} images).",
        )
    except ValueError as error:
        raise CorruptFileError(f"{folder} holds lists that do not form a split: {error}") from error
    return ListedImages(list(rows_of), np.concatenate(parts), split)


def _read_list(path: Path) -> tuple[list[str], npt.NDArray[np.bool_]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{path} is not a text file: {error}") from error
    names: list[str] = []
    labels: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        full_name, _, bits = line.strip().partition(" ")
        if not bits or len(bits) % 2 == 0 or set(bits[::2]) - {"0", "1"} or set(bits[1::2]) - {" "}:
            raise CorruptFileError(
                f"{path}, line {number}: expected the path of an image and a 0 or 1 for each class, "
                f"separated by spaces, got {line[:60]!r}"
            )
        if labels and len(bits) != len(labels[0]):
            raise CorruptFileError(
                f"{path}, line {number}: expected {(len(labels[0]) + 1) // 2} zeros and ones as on the first "
                f"line, got {(len(bits) + 1) // 2}; is the file whole?"
            )
        names.append("/".join(full_name.split("/")[-2:]))
        labels.append(bits)
    if not names:
        raise CorruptFileError(f"{path} lists no images")
    matrix = np.frombuffer("".join(f"{bits} " for bits in labels).encode(), np.uint8).reshape(len(labels), -1)
    return names, matrix[:, ::2] == ord("1")
