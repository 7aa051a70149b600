from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from sdc_search.datasets import load_dataset
from sdc_search.datasets.cifar10 import CLASSES
from sdc_search.errors import CorruptFileError

BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
PER_BATCH = 20


@pytest.fixture
def batches(rng: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        name: (
            rng.integers(0, 256, (PER_BATCH, 3072), dtype=np.uint8),
            rng.permutation(np.arange(PER_BATCH) % 10),
        )
        for name in BATCHES
    }


def write_python(folder: Path, batches: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    folder.mkdir(parents=True)
    for name, (planes, labels) in batches.items():
        batch = {
            "batch_label": name,
            "labels": labels.tolist(),
            "data": planes,
            "filenames": ["a.png"] * len(labels),
        }
        (folder / name).write_bytes(pickle.dumps(batch, 2))
    return folder


def write_binary(folder: Path, batches: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    folder.mkdir(parents=True)
    for name, (planes, labels) in batches.items():
        records = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def load(root: Path, **options: object):
    return load_dataset("cifar10", root, **{"queries": 20, "train": 30, "verify": False, **options})


@pytest.fixture
def root(tmp_path: Path, batches: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    write_python(tmp_path / "cifar-10-batches-py", batches)
    return tmp_path


def test_the_split(root: Path, batches: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    data = load(root)
    assert data.class_names == CLASSES
    assert len(data.images) == 6 * PER_BATCH
    assert np.bincount(data.labels[data.query]).tolist() == [2] * 10
    assert np.bincount(data.labels[data.database]).tolist() == [10] * 10
    assert np.bincount(data.labels[data.train]).tolist() == [3] * 10
    assert np.isin(data.train, data.database).all()
    assert not np.isin(data.query, data.database).any()
    assert data.labels.tolist() == [label for _, labels in batches.values() for label in labels]
    image = np.asarray(data.images[PER_BATCH + 3])
    assert np.array_equal(image, batches["data_batch_2"][0][3].reshape(3, 32, 32).transpose(1, 2, 0))
    assert data.images.name(PER_BATCH + 3) == "data_batch_2/00003"
    assert "the first 2 images of each class" in data.split_text
    assert data.protocol.at == 1000
    copy = pickle.loads(pickle.dumps(data.images))
    assert np.array_equal(np.asarray(copy[PER_BATCH + 3]), image)


def test_the_seed_decides(root: Path) -> None:
    assert load(root).digest() == load(root, seed=0).digest()
    assert load(root).query.tolist() != load(root, seed=1).query.tolist()


def test_both_versions_are_one_data_set(
    root: Path, tmp_path: Path, batches: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    folder = write_binary(tmp_path / "binary" / "cifar-10-batches-bin", batches)
    digest = load(root).digest()
    assert load(folder).digest() == digest
    assert load(folder.parent).digest() == digest
    assert load(root / "cifar-10-batches-py").digest() == digest


def test_other_files_than_the_published_ones_are_refused(
    root: Path, tmp_path: Path, batches: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    with pytest.raises(CorruptFileError, match=r"data_batch_1 is not the published file: its MD5 is"):
        load(root, verify=True)
    folder = write_binary(tmp_path / "cifar-10-batches-bin", batches)
    with pytest.raises(CorruptFileError, match=r"holds 120 images, the published data set 60000"):
        load(folder, verify=True)


def test_a_malicious_pickle_is_refused(root: Path, monkeypatch) -> None:
    class Malicious:
        def __reduce__(self) -> object:
            return os.system, ("touch ran",)

    monkeypatch.chdir(root)
    (root / "cifar-10-batches-py/data_batch_3").write_bytes(
        pickle.dumps({"data": Malicious(), "labels": []}, 2)
    )
    with pytest.raises(CorruptFileError, match=r"data_batch_3 is refused: it asks for posix\.system"):
        load(root)
    assert not (root / "ran").exists()


@pytest.mark.parametrize(
    "batch",
    [
        [],
        {"labels": [0]},
        {"data": np.zeros((1, 3072), dtype=np.uint8)},
        {"data": np.zeros((2, 3072), dtype=np.uint8), "labels": [0]},
        {"data": np.zeros((1, 3072)), "labels": [0]},
        {"data": np.zeros((1, 30), dtype=np.uint8), "labels": [0]},
        {"data": np.zeros((1, 3072), dtype=np.uint8), "labels": ["a"]},
    ],
)
def test_pickles_that_are_no_batch(root: Path, batch: object) -> None:
    (root / "cifar-10-batches-py/data_batch_3").write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(CorruptFileError, match="data_batch_3 is not a batch of CIFAR10"):
        load(root)


def test_labels_beyond_the_classes(root: Path) -> None:
    batch = {"data": np.zeros((1, 3072), dtype=np.uint8), "labels": [10]}
    (root / "cifar-10-batches-py/test_batch").write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(CorruptFileError, match="test_batch holds labels 10 to 10, expected 0 to 9"):
        load(root)


def test_half_an_archive(
    root: Path, tmp_path: Path, batches: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    path = root / "cifar-10-batches-py/data_batch_4"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match="data_batch_4 is not a whole pickle"):
        load(root)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_4 is missing \(or data_batch_4\.bin\)"):
        load(root)
    folder = write_binary(tmp_path / "binary", batches)
    path = folder / "data_batch_5.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match=r"data_batch_5\.bin holds 61,459 bytes, expected a multiple"):
        load(folder)
    path.write_bytes(b"")
    with pytest.raises(CorruptFileError, match=r"data_batch_5\.bin holds 0 bytes"):
        load(folder)
    with pytest.raises(FileNotFoundError, match="holds no CIFAR10: expected data_batch_1"):
        load(tmp_path / "absent")


def test_a_class_without_images(tmp_path: Path, batches: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    folder = write_binary(
        tmp_path / "few", {name: (planes, labels % 9) for name, (planes, labels) in batches.items()}
    )
    with pytest.raises(ValueError, match="class 'truck' has 0 images to choose from"):
        load(folder)
