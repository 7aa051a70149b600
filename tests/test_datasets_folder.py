from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdc_search.datasets import load_dataset


def test_one_folder_a_class(tmp_path: Path, write_images) -> None:
    write_images(tmp_path, [f"cat/{number}.png" for number in range(20)])
    write_images(tmp_path, [f"a dog/deep/{number}.jpg" for number in range(30)])
    (tmp_path / ".cache").mkdir()
    (tmp_path / "notes.txt").write_text("not a class")
    data = load_dataset("folder", tmp_path)
    assert data.class_names == ("a dog", "cat")
    assert np.bincount(data.labels).tolist() == [30, 20]
    assert np.bincount(data.labels[data.query]).tolist() == [3, 2]
    assert np.array_equal(data.train, data.database)
    assert all(
        data.images.name(row).startswith(data.class_names[label]) for row, label in enumerate(data.labels)
    )
    assert load_dataset("folder", tmp_path).digest() == data.digest()
    assert load_dataset("folder", tmp_path, seed=1).query.tolist() != data.query.tolist()
    data = load_dataset("folder", tmp_path, queries_per_class=5, train_per_class=10)
    assert [len(data.query), len(data.database), len(data.train)] == [10, 40, 20]
    with pytest.raises(ValueError, match="class 'cat' has 20 images to choose from, 21 are wanted"):
        load_dataset("folder", tmp_path, queries_per_class=21)


def test_folders_that_are_no_data_set(tmp_path: Path, write_images) -> None:
    with pytest.raises(FileNotFoundError, match="absent is not a folder; expected one with a folder"):
        load_dataset("folder", tmp_path / "absent")
    write_images(tmp_path, ["a.png"])
    with pytest.raises(
        FileNotFoundError, match="holds no folders; expected a folder of images for each class"
    ):
        load_dataset("folder", tmp_path)
    write_images(tmp_path, ["cat/1.png", "cat/2.png"])
    (tmp_path / "dog").mkdir()
    with pytest.raises(FileNotFoundError, match="dog holds no images"):
        load_dataset("folder", tmp_path)
    write_images(tmp_path, ["dog/1.png"])
    with pytest.raises(ValueError, match="class 'dog' has 1 images, expected 2 or more"):
        load_dataset("folder", tmp_path)
