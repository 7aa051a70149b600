"""A list of images with labels, as a CSV or parquet file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import as_count
from sdc_search.datasets.dataset import Dataset
from sdc_search.datasets.images import FileImages, repeated
from sdc_search.datasets.splits import Split, order_text, rows_without, seeded_order, split_by_class
from sdc_search.errors import CorruptFileError, MissingExtraError
from sdc_search.protocols import Protocol

_PARTS = ("query", "database", "train")


@dataclass(frozen=True, eq=False)
class _Table:
    path: Path
    images: list[str]
    labels: list[list[str]]
    parts: list[str] | None
    multi_label: bool


def load_table(
    root: Path,
    *,
    seed: int = 0,
    images: Path | None = None,
    separator: str = ";",
    queries: int | None = None,
    queries_per_class: int | None = None,
    train_per_class: int | None = None,
) -> Dataset:
    """Load a list of images with labels.

    Its columns are ``image``, a path; ``label``, one class an image, or ``labels``, any number of them (in a
    CSV file joined by `separator`, in parquet a list or such text); and optionally ``split``, ``"query"``,
    ``"database"`` or ``"train"`` (in the database and trained on). Other columns are not read.

    Parameters
    ----------
    root
        The file, which ends in ``.csv`` or ``.parquet``.
    seed
        Of the split, where there is no such column.
    images
        The folder that the paths start from; None: the file's.
    separator
        Between labels.
    queries
        With ``labels`` and no column ``split``: how many; None: a tenth of all images, but at least 1 and at
        most 1,000. The others form the database, and all of it is trained on.
    queries_per_class, train_per_class
        With ``label`` and no column ``split``: as `load_folder`.

    Raises
    ------
    FileNotFoundError
        The file or an image is missing.
    MissingExtraError
        The file is parquet, and pyarrow is not installed.
    CorruptFileError
        The file is no whole CSV or parquet file, or lacks a column.
    ValueError
        It lists no images, one of them twice, a negative number as a label, no label or several in ``label``,
        another part in ``split``; an option does not fit its columns.
    """
    table = _read_table(Path(root), separator)
    named = sorted({label for labels in table.labels for label in labels}, key=_label_key)
    column = {name: place for place, name in enumerate(named)}
    matrix = np.zeros((len(table.images), len(named)), dtype=np.bool_)
    for row, labels in enumerate(table.labels):
        matrix[row, [column[label] for label in labels]] = True
    labels_of_all: npt.NDArray[Any] = matrix if table.multi_label else matrix.argmax(axis=1).astype(np.int64)
    given = {"queries": queries, "queries_per_class": queries_per_class, "train_per_class": train_per_class}
    fitting = (
        () if table.parts else ("queries",) if table.multi_label else ("queries_per_class", "train_per_class")
    )
    for option, value in given.items():
        if value is not None and option not in fitting:
            raise ValueError(f"{option} does not fit {table.path}: its split is by {_split_kind(table)}")
    if table.parts:
        split = _listed_split(table.parts)
    elif table.multi_label:
        split = _random_split(table.images, seed, queries)
    else:
        split = split_by_class(table.images, labels_of_all, named, seed, queries_per_class, train_per_class)
    return Dataset(
        name="list",
        images=FileImages(Path(images) if images is not None else table.path.parent, table.images),
        labels=labels_of_all,
        class_names=tuple(named),
        query=split.query,
        database=split.database,
        train=split.train,
        protocol=Protocol("list", multi_label=table.multi_label),
        split_text=split.text,
    )


def _split_kind(table: _Table) -> str:
    if table.parts:
        return "its column split"
    return "numbers of images" if table.multi_label else "numbers of images a class"


def _listed_split(parts: Sequence[str]) -> Split:
    of = np.array(parts)
    return Split(
        np.flatnonzero(of == "query"),
        np.flatnonzero(of != "query"),
        np.flatnonzero(of == "train"),
        "Queries, database and training: as the list says in its column split.",
    )


def _random_split(names: Sequence[str], seed: int, queries: int | None) -> Split:
    count = int(np.clip(len(names) // 10, 1, 1000)) if queries is None else as_count("queries", queries)
    if count >= len(names):
        raise ValueError(f"queries must be below the number of images, {len(names)}, got {count}")
    query = seeded_order(names, seed)[:count]
    database = rows_without(len(names), query)
    text = f"Queries: the first {count:,}. Database and training: all others. {order_text(seed)}"
    return Split(query, database, database, text)


def _label_key(label: str) -> tuple[bool, int, str]:
    """Sort numbers as numbers, before names."""
    return (False, int(label), "") if label.isdecimal() else (True, 0, label)


def _read_table(path: Path, separator: str) -> _Table:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise ValueError(f"{path} must end in .csv or .parquet")
    columns = _read_csv(path) if suffix == ".csv" else _read_parquet(path)
    if "image" not in columns or ("label" in columns) == ("labels" in columns):
        raise CorruptFileError(
            f"{path} must have a column image, and either label or labels, got {', '.join(columns) or 'none'}"
        )
    multi_label = "labels" in columns
    images = [str(image) for image in columns["image"]]
    if not images:
        raise ValueError(f"{path} lists no images")
    if (twice := repeated(images)) is not None:
        raise ValueError(f"{path} lists {twice} more than once")
    labels = []
    for image, value in zip(images, columns["labels" if multi_label else "label"], strict=True):
        of_image = _as_labels(value, separator)
        for label in of_image:
            if label.startswith("-") and label[1:].isdecimal():
                raise ValueError(
                    f"{path} gives {image} the label {label}; labels are names, or numbers from 0"
                )
        if not multi_label and len(of_image) != 1:
            raise ValueError(
                f"{path} gives {image} {len(of_image)} labels ({value!r}); the column label has one an "
                "image, the column labels any number"
            )
        labels.append(of_image)
    parts = columns.get("split")
    if parts is not None:
        parts = [str(part) for part in parts]
        for image, part in zip(images, parts, strict=True):
            if part not in _PARTS:
                raise ValueError(f"{path} gives {image} the split {part!r}, expected {', '.join(_PARTS)}")
    return _Table(path, images, labels, parts, multi_label)


def _as_labels(value: Any, separator: str) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, list) else str(value).split(separator)
    return [text for label in values if (text := str(label).strip())]


def _read_csv(path: Path) -> dict[str, list[Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            rows = []
            for row in reader:
                if row and len(row) != len(header):
                    raise CorruptFileError(
                        f"{path}, line {reader.line_num}: expected {len(header)} columns, got {len(row)}; "
                        "is the file whole?"
                    )
                if row:
                    rows.append(row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} is not a whole CSV file: {error}") from error
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data", "reading parquet files") from error
    with path.open("rb") as file:
        try:
            table = parquet.read_table(file)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise CorruptFileError(f"{path} is not a whole parquet file: {error}") from error
    return {name: table.column(name).to_pylist() for name in table.column_names}
