from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from sdc_search.datasets import load_dataset
from sdc_search.errors import CorruptFileError, MissingExtraError

IMAGES = [f"{number}.png" for number in range(12)]


@pytest.fixture
def folder(tmp_path: Path, write_images) -> Path:
    write_images(tmp_path, IMAGES)
    return tmp_path


def write_csv(folder: Path, header: str, values: list[str]) -> Path:
    path = folder / "list.csv"
    path.write_text(
        header + "\n" + "".join(f"{image},{value}\n" for image, value in zip(IMAGES, values, strict=True))
    )
    return path


def write_parquet(folder: Path, **columns: object) -> Path:
    path = folder / "list.parquet"
    parquet.write_table(pa.table({"image": IMAGES, **columns}), path)
    return path


def test_one_label_an_image(folder: Path) -> None:
    path = write_csv(folder, "image,label", ["10", "9", "cat"] * 4)
    data = load_dataset("list", path)
    assert data.class_names == ("9", "10", "cat")
    assert data.labels.tolist() == [1, 0, 2] * 4
    assert data.labels.dtype == np.int64
    assert np.bincount(data.labels[data.query]).tolist() == [1, 1, 1]
    assert not data.protocol.multi_label
    data = load_dataset("list", path, queries_per_class=2, train_per_class=1)
    assert [len(data.query), len(data.database), len(data.train)] == [6, 6, 3]


def test_several_labels_an_image(folder: Path) -> None:
    values = ["sky;sea", " sea ; sky ", "", "tree"] * 3
    data = load_dataset("list", write_csv(folder, "image,labels", values), queries=4)
    assert data.class_names == ("sea", "sky", "tree")
    expected = [[True, True, False], [True, True, False], [False] * 3, [False, False, True]]
    assert data.labels.tolist() == expected * 3
    assert [len(data.query), len(data.database), len(data.train)] == [4, 8, 8]
    assert data.protocol.multi_label
    again = load_dataset(
        "list", write_csv(folder, "image,labels", [v.replace(";", "|") for v in values]), separator="|"
    )
    assert again.labels.tolist() == data.labels.tolist()
    assert len(again.query) == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_with_the_split(folder: Path, kind: str) -> None:
    parts = ["query", "database", "train"] * 4
    if kind == "csv":
        path = write_csv(folder, "image,label,split", [f"a,{part}" for part in parts])
    else:
        path = write_parquet(folder, label=["a"] * 12, split=parts)
    data = load_dataset("list", path)
    assert data.query.tolist() == [0, 3, 6, 9]
    assert data.train.tolist() == [2, 5, 8, 11]
    assert data.database.tolist() == [1, 2, 4, 5, 7, 8, 10, 11]
    with pytest.raises(
        ValueError, match=r"train_per_class does not fit .*: its split is by its column split"
    ):
        load_dataset("list", path, train_per_class=1)


@pytest.mark.parametrize(
    "labels",
    [[["x", "y"], [], ["y"]], [[7, 12], [], [12]], ["x;y", None, "y"]],
    ids=["lists", "numbers", "text"],
)
def test_parquet_with_several_labels(folder: Path, labels: list[object]) -> None:
    data = load_dataset("list", write_parquet(folder, labels=labels * 4, other=list(range(12))))
    assert data.labels.tolist() == [[True, True], [False, False], [False, True]] * 4
    assert data.class_names in (("x", "y"), ("7", "12"))


def test_parquet_with_one_label(folder: Path) -> None:
    data = load_dataset("list", write_parquet(folder, label=[3, 20, 100] * 4))
    assert data.class_names == ("3", "20", "100")
    assert data.labels.tolist() == [0, 1, 2] * 4


def test_images_in_another_folder(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "lists").mkdir()
    path = write_csv(tmp_path / "lists", "image,label", ["a"] * 12)
    with pytest.raises(FileNotFoundError, match=r"lists/0\.png is missing; of the 12 images"):
        load_dataset("list", path)
    data = load_dataset("list", path, images=folder)
    assert data.images.path(3) == folder / "3.png"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("image,label\n", ValueError, "lists no images"),
        (
            "image\n0.png\n",
            CorruptFileError,
            "must have a column image, and either label or labels, got image",
        ),
        ("image,label,labels\n0.png,a,b\n", CorruptFileError, "must have a column image, and either"),
        ("", CorruptFileError, "got none"),
        ("image,label\n0.png,a\n1.png\n", CorruptFileError, "line 3: expected 2 columns, got 1"),
        ('image,label\n0.png,"a\n', CorruptFileError, "is not a whole CSV file"),
        ("image,label\n0.png,a\n0.png,b\n", ValueError, "lists 0.png more than once"),
        (
            "image,label\n0.png,a\n1.png,-1\n",
            ValueError,
            "gives 1.png the label -1; labels are names, or numbers from 0",
        ),
        ("image,labels\n0.png,a\n1.png,3;-1\n", ValueError, "gives 1.png the label -1"),
        ("image,label\n0.png,a;b\n1.png,a\n", ValueError, r"gives 0.png 2 labels \('a;b'\)"),
        ("image,label\n0.png,a\n1.png,\n", ValueError, r"gives 1.png 0 labels \(''\)"),
        (
            "image,label,split\n0.png,a,test\n",
            ValueError,
            "gives 0.png the split 'test', expected query, database",
        ),
        (
            "image,label,split\n0.png,a,query\n1.png,a,query\n",
            ValueError,
            "database must hold at least one row",
        ),
        (
            "image,label\n0.png,a\n1.png,a\n2.png,b\n",
            ValueError,
            "class 'b' has 1 images, expected 2 or more",
        ),
        ("image,labels\n0.png,a\n", ValueError, "queries must be below the number of images, 1, got 1"),
    ],
)
def test_lists_that_are_none(folder: Path, text: str, error: type[Exception], message: str) -> None:
    (folder / "list.csv").write_text(text)
    with pytest.raises(error, match=message):
        load_dataset("list", folder / "list.csv")


def test_options_that_do_not_fit(folder: Path) -> None:
    path = write_csv(folder, "image,label", ["a"] * 12)
    with pytest.raises(
        ValueError, match=r"queries does not fit .*: its split is by numbers of images a class"
    ):
        load_dataset("list", path, queries=3)
    path = write_csv(folder, "image,labels", ["a"] * 12)
    with pytest.raises(
        ValueError, match=r"queries_per_class does not fit .*: its split is by numbers of images$"
    ):
        load_dataset("list", path, queries_per_class=3)


def test_files_that_are_none(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.csv or \.parquet"):
        load_dataset("list", folder / "0.png")
    for name in ("absent.csv", "absent.parquet"):
        with pytest.raises(FileNotFoundError, match=name):
            load_dataset("list", folder / name)
    path = write_parquet(folder, label=["a"] * 12)
    whole = path.read_bytes()
    for data in (b"", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(data)
        with pytest.raises(CorruptFileError, match=r"list\.parquet is not a whole parquet file"):
            load_dataset("list", path)
    (folder / "list.csv").write_bytes(b"image,label\n\xff,a\n")
    with pytest.raises(CorruptFileError, match=r"list\.csv is not a whole CSV file"):
        load_dataset("list", folder / "list.csv")


def test_without_pyarrow_one_sentence_says_what_to_install(folder: Path, monkeypatch) -> None:
    path = write_parquet(folder, label=["a"] * 12)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        MissingExtraError, match=r"reading parquet files needs pyarrow: pip install 'sdc-search\[data\]'"
    ):
        load_dataset("list", path)
