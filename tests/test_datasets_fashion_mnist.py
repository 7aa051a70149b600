from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from sdc_search.datasets import load_dataset
from sdc_search.datasets.fashion_mnist import CLASSES
from sdc_search.errors import CorruptFileError

SIZES = {"train": 40, "t10k": 20}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays = {}
    for part, n in SIZES.items():
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = rng.permutation(np.arange(n) % 10).astype(np.uint8)
    return arrays


@pytest.fixture(params=["plain", "gzip"])
def root(request: pytest.FixtureRequest, tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    for name, array in arrays.items():
        if request.param == "plain":
            (tmp_path / name).write_bytes(idx(array))
        else:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    return tmp_path


def load(root: Path, **options: object):
    return load_dataset("fashion-mnist", root, train=20, verify=False, **options)


def test_all_of_it(root: Path, arrays: dict[str, np.ndarray]) -> None:
    data = load(root)
    assert data.name == "fashion-mnist"
    assert data.class_names == CLASSES
    assert len(data.images) == 60
    assert data.database.tolist() == list(range(40))
    assert data.query.tolist() == list(range(40, 60))
    assert np.bincount(data.labels[data.train]).tolist() == [2] * 10
    assert np.isin(data.train, data.database).all()
    assert data.labels[40:].tolist() == arrays["t10k-labels-idx1-ubyte"].tolist()
    assert np.array_equal(np.asarray(data.images[41])[..., 1], arrays["t10k-images-idx3-ubyte"][1])
    assert data.images.name(41) == "t10k/00001"
    assert "all 20 images of the test part" in data.split_text
    assert not data.protocol.multi_label
    copy = pickle.loads(pickle.dumps(data.images))
    assert np.array_equal(np.asarray(copy[3]), np.asarray(data.images[3]))


def test_some_queries_of_each_class(root: Path) -> None:
    data = load(root, queries=10)
    assert np.bincount(data.labels[data.query]).tolist() == [1] * 10
    assert (data.query >= 40).all()
    assert len(data.database) == 40
    assert load(root, queries=10).digest() == data.digest()
    assert load(root, queries=10, seed=1).query.tolist() != data.query.tolist()


def test_inverted_images_are_black_on_white(root: Path) -> None:
    plain, inverted = load(root), load(root, inverted=True)
    assert np.array_equal(255 - np.asarray(plain.images[5]), np.asarray(inverted.images[5]))
    assert plain.digest() != inverted.digest()
    assert plain.query.tolist() == inverted.query.tolist()


def test_a_split_from_an_index_file(root: Path, tmp_path: Path) -> None:
    data = load(root, seed=3, queries=10)
    data.split.save(tmp_path / "split.json", data.content_digest)
    again = load(root, split=tmp_path / "split.json")
    assert again.digest() == data.digest()
    assert again.split_text == data.split_text


def test_other_files_than_the_published_ones_are_refused(root: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"train-images.* is not the published file: its SHA256 is"):
        load_dataset("fashion-mnist", root)


@pytest.mark.parametrize("option", ["queries", "train"])
def test_numbers_that_do_not_fit(root: Path, option: str) -> None:
    options = {"train": 20, "verify": False}
    with pytest.raises(ValueError, match=f"{option} must be a multiple of the 10 classes, got 15"):
        load_dataset("fashion-mnist", root, **{**options, option: 15})
    with pytest.raises(ValueError, match=r"class '.*' has \d images to choose from, 10 are wanted"):
        load_dataset("fashion-mnist", root, **{**options, option: 100})
    with pytest.raises(ValueError, match="at least 1, got 0"):
        load_dataset("fashion-mnist", root, **{**options, option: 0})


def test_missing_files(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(FileNotFoundError, match="holds no Fashion-MNIST: expected train-images-idx3-ubyte"):
        load(tmp_path)
    for name, array in arrays.items():
        (tmp_path / name).write_bytes(idx(array))
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte is missing"):
        load(tmp_path)


def test_damaged_files(root: Path) -> None:
    path = next(root.glob("t10k-images*"))
    whole = path.read_bytes()
    for length in (0, 3, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFileError, match=r"t10k-images-idx3-ubyte(\.gz)? (holds|is not)"):
            load(root)


def test_files_that_do_not_belong_together(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    arrays["t10k-labels-idx1-ubyte"] = arrays["train-labels-idx1-ubyte"]
    for name, array in arrays.items():
        (tmp_path / name).write_bytes(idx(array))
    with pytest.raises(CorruptFileError, match="holds 20 t10k images, but 40 labels"):
        load(tmp_path)


def test_names_and_options_that_are_unknown(root: Path) -> None:
    with pytest.raises(ValueError, match=r"name must be one of cifar10, coco, .*, got 'mnist'"):
        load_dataset("mnist", root)
    with pytest.raises(TypeError, match="colour"):
        load_dataset("fashion-mnist", root, colour=True)
