"""ImageNet100, NUS-WIDE and MS-COCO: published lists, and what they are built from without them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from sdc_search.datasets import load_dataset
from sdc_search.datasets.image_lists import read_image_lists
from sdc_search.errors import CorruptFileError

SYNSETS = ("n01440764", "n01443537", "n01484850")
LISTS = {"query": "test.txt", "database": "database.txt", "train": "train.txt"}


def write_lists(folder: Path, lists: dict[str, list[tuple[str, list[int]]]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, lines in lists.items():
        text = "".join(f"{name} {' '.join(map(str, bits))}\n" for name, bits in lines)
        (folder / LISTS[part]).write_text(text)


def one_hot(label: int) -> list[int]:
    return [int(label == column) for column in range(len(SYNSETS))]


@pytest.fixture
def imagenet() -> dict[str, list[tuple[str, list[int]]]]:
    database = [
        (f"/home/authors/imagenet/image/{synset}_{number}.JPEG", one_hot(label))
        for label, synset in enumerate(SYNSETS)
        for number in range(4)
    ]
    query = [(f"val_image/ILSVRC2012_val_{number:08d}.JPEG", one_hot(number % 3)) for number in range(6)]
    return {"query": query, "database": database, "train": database[::2]}


def short(lines: list[tuple[str, list[int]]]) -> list[str]:
    return ["/".join(name.split("/")[-2:]) for name, _ in lines]


def test_imagenet100_by_its_lists(tmp_path: Path, write_images, imagenet) -> None:
    write_lists(tmp_path, imagenet)
    write_images(tmp_path, short(imagenet["query"]) + short(imagenet["database"]))
    data = load_dataset("imagenet100", tmp_path, verify=False)
    assert data.class_names == SYNSETS
    for part, lines in imagenet.items():
        rows = getattr(data, part)
        assert sorted(data.images.name(row) for row in rows) == sorted(short(lines))
        labels = {name.split("/")[-1]: bits.index(1) for name, bits in lines}
        assert [data.labels[row] for row in rows] == [
            labels[data.images.name(row).split("/")[-1]] for row in rows
        ]
    assert np.isin(data.train, data.database).all()
    assert "test.txt, database.txt, train.txt (6, 12 and 6 images)" in data.split_text
    assert data.images[0].mode == "RGB"
    assert pickle.loads(pickle.dumps(data.images)).names() == data.images.names()


@pytest.mark.parametrize("by_class", [False, True])
def test_imagenet100_in_the_folders_of_imagenet(
    tmp_path: Path, write_images, imagenet, by_class: bool
) -> None:
    write_lists(tmp_path / "lists", imagenet)
    paths = [
        f"train/{name.split('_')[0]}/{name}"
        for name in (n.split("/")[1] for n in short(imagenet["database"]))
    ]
    for name, bits in imagenet["query"]:
        folder = f"{SYNSETS[bits.index(1)]}/" if by_class else ""
        paths.append(f"val/{folder}{name.split('/')[-1]}")
    write_images(tmp_path / "images", paths)
    data = load_dataset("imagenet100", tmp_path / "images", lists=tmp_path / "lists", verify=False)
    assert data.images.name(0) == "val_image/ILSVRC2012_val_00000000.JPEG"
    (tmp_path / "images" / paths[3]).unlink()
    with pytest.raises(FileNotFoundError, match=f"{paths[3]} is missing; of the 18 images"):
        load_dataset("imagenet100", tmp_path / "images", lists=tmp_path / "lists", verify=False)


def test_imagenet100_with_other_numbers_than_published(tmp_path: Path, imagenet) -> None:
    write_lists(tmp_path, imagenet)
    with pytest.raises(CorruptFileError, match=r"test\.txt has 3 classes, expected 100"):
        load_dataset("imagenet100", tmp_path)
    with pytest.raises(CorruptFileError, match=r"test\.txt holds 6 images, the published data set 5000"):
        read_image_lists(tmp_path, (5000, 128503, 13000), 3)


def test_imagenet100_gives_each_image_one_class(tmp_path: Path, imagenet) -> None:
    imagenet["query"][2] = (imagenet["query"][2][0], [1, 1, 0])
    write_lists(tmp_path, imagenet)
    with pytest.raises(CorruptFileError, match=r"val_00000002\.JPEG has 2"):
        load_dataset("imagenet100", tmp_path, verify=False)


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("query", "", r"test\.txt lists no images"),
        ("query", "a/b.jpg 0 2 1\n", r"test\.txt, line 1: expected the path of an image and a 0 or 1"),
        ("query", "a/b.jpg\n", r"test\.txt, line 1: expected the path"),
        ("query", "a/b.jpg 0,0,1\n", r"test\.txt, line 1: expected the path"),
        ("train", "\na/b.jpg 0 0 1\na/c.jpg 0 1", r"train\.txt, line 3: expected 3 zeros and ones .*, got 2"),
        ("train", "a/b.jpg 0 0 1\nx/a/b.jpg 0 0 1\n", r"train\.txt lists a/b\.jpg more than once"),
        ("train", "a/b.jpg 0 0 0 1\n", r"train\.txt has 4 classes, but test\.txt beside it 3"),
        ("train", "image/n01440764_0.JPEG 0 1 0\n", r"train\.txt gives image/n01440764_0\.JPEG other labels"),
        ("train", "val_image/ILSVRC2012_val_00000000.JPEG 1 0 0\n", "query and train must share no row"),
    ],
)
def test_damaged_lists(tmp_path: Path, imagenet, part: str, text: str, message: str) -> None:
    write_lists(tmp_path, imagenet)
    (tmp_path / LISTS[part]).write_text(text)
    with pytest.raises(CorruptFileError, match=message):
        load_dataset("imagenet100", tmp_path, verify=False)


def test_lists_that_are_missing_or_binary(tmp_path: Path, imagenet) -> None:
    with pytest.raises(FileNotFoundError, match=r"test\.txt is missing"):
        load_dataset("imagenet100", tmp_path)
    write_lists(tmp_path, imagenet)
    (tmp_path / "database.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CorruptFileError, match=r"database\.txt is not a text file"):
        load_dataset("imagenet100", tmp_path, verify=False)
    (tmp_path / "database.txt").unlink()
    for name in ("imagenet100", "nuswide", "coco"):
        with pytest.raises(FileNotFoundError, match=r"database\.txt is missing"):
            load_dataset(name, tmp_path, verify=False)


# ImageList and Groundtruth of NUS-WIDE: 24 concepts, the k-th rarer than the one before.
N_CONCEPTS, N_IMAGES = 24, 400


@pytest.fixture
def nuswide(tmp_path: Path, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    names = [f"tag{number % 7}/{number:04d}_{number * 31}.jpg" for number in range(N_IMAGES)]
    labels = rng.random((N_IMAGES, N_CONCEPTS)) < np.linspace(0.35, 0.05, N_CONCEPTS)
    labels[:5] = False
    (tmp_path / "ImageList").mkdir()
    (tmp_path / "Groundtruth/AllLabels").mkdir(parents=True)
    lines = [name.replace("/", "\\") for name in names]
    (tmp_path / "ImageList/Imagelist.txt").write_text(" \r\n".join(lines) + "\r\n")
    for concept in range(N_CONCEPTS):
        column = "".join(f"{value}\n" for value in labels[:, concept].astype(int))
        (tmp_path / f"Groundtruth/AllLabels/Labels_concept{concept:02d}.txt").write_text(column)
    return names, labels


@pytest.mark.parametrize("layout", ["Flickr/{name}", "images/{flat}", "{name}"])
def test_nuswide_from_its_ground_truth(tmp_path: Path, write_images, nuswide, layout: str) -> None:
    names, labels = nuswide
    write_images(tmp_path, [layout.format(name=name, flat=name.split("/")[1]) for name in names])
    data = load_dataset("nuswide", tmp_path, queries=42, train=63, verify=False)
    frequent = np.sort(np.argsort(-labels.sum(axis=0), kind="stable")[:21])
    kept = np.flatnonzero(labels[:, frequent].any(axis=1))
    assert data.images.names() == [names[row] for row in kept]
    assert np.array_equal(data.labels, labels[kept][:, frequent])
    assert data.class_names == tuple(f"concept{concept:02d}" for concept in frequent)
    assert (len(data.query), len(data.database), len(data.train)) == (42, len(kept) - 42, 63)
    assert np.isin(data.train, data.database).all()
    assert (data.labels[data.query].sum(axis=0) >= 2).all()
    assert data.protocol.multi_label
    assert "the first 2 images that have it" in data.split_text
    again = load_dataset("nuswide", tmp_path, queries=42, train=63, verify=False, seed=1)
    assert again.query.tolist() != data.query.tolist()


def test_nuswide_by_lists(tmp_path: Path, write_images) -> None:
    lines = [(f"images/{number}.jpg", [1, number % 2]) for number in range(8)]
    lists = {"query": lines[:2], "database": lines[2:], "train": lines[2:5]}
    write_lists(tmp_path, lists)
    write_images(tmp_path, [name for name, _ in lines])
    data = load_dataset("nuswide", tmp_path, verify=False)
    assert [len(data.query), len(data.database), len(data.train)] == [2, 6, 3]
    assert data.labels.tolist() == [[True, bool(number % 2)] for number in range(8)]
    with pytest.raises(CorruptFileError, match=r"test\.txt has 2 classes, expected 21"):
        load_dataset("nuswide", tmp_path)


def test_nuswide_half_unpacked(tmp_path: Path, write_images, nuswide) -> None:
    names, _ = nuswide
    folder = tmp_path / "Groundtruth/AllLabels"
    with pytest.raises(CorruptFileError, match=r"holds 24 files Labels_.* the published data set 81"):
        load_dataset("nuswide", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Flickr/tag5/0005_155\.jpg is missing"):
        load_dataset("nuswide", tmp_path, queries=42, train=63, verify=False)
    with pytest.raises(ValueError, match="queries must be a multiple of the 21 classes, got 40"):
        load_dataset("nuswide", tmp_path, queries=40, train=63, verify=False)
    with pytest.raises(
        ValueError, match=r"concept 'concept\d+' has \d+ images to choose from, 100 are wanted"
    ):
        load_dataset("nuswide", tmp_path, queries=2100, train=63, verify=False)
    path = folder / "Labels_concept03.txt"
    whole = path.read_text()
    for text, count in ((whole[:200], 100), (whole.replace("1", "2"), N_IMAGES)):
        path.write_text(text)
        with pytest.raises(
            CorruptFileError, match=f"Labels_concept03.txt holds {count} digits, expected a 0 or 1"
        ):
            load_dataset("nuswide", tmp_path, verify=False)
    for extra in list(folder.iterdir())[:5]:
        extra.unlink()
    with pytest.raises(FileNotFoundError, match=r"holds 19 files Labels_.*, expected 81"):
        load_dataset("nuswide", tmp_path, verify=False)
    (tmp_path / "ImageList/Imagelist.txt").write_text(f"{names[0]}\n{names[0]}\n")
    with pytest.raises(CorruptFileError, match=r"Imagelist\.txt lists tag0/0000_0\.jpg more than once"):
        load_dataset("nuswide", tmp_path, verify=False)
    (tmp_path / "ImageList/Imagelist.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"ImageList/Imagelist\.txt is missing"):
        load_dataset("nuswide", tmp_path, verify=False)


CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 3, "name": "car"}]


def write_coco(root: Path, year: str, parts: dict[str, range]) -> list[str]:
    """Write annotations: a person, with every second a car, with every third a dog; every tenth nothing."""
    (root / "annotations").mkdir(parents=True)
    paths = []
    for part, numbers in parts.items():
        images, annotations = [], []
        for number in numbers:
            prefix = f"COCO_{part}2014_" if year == "2014" else ""
            images.append({"id": number, "file_name": f"{prefix}{number:012d}.jpg", "height": 6, "width": 8})
            paths.append(f"{part}{year}/{images[-1]['file_name']}")
            if number % 10:
                shown = [1, 1, *([3] if number % 2 == 0 else []), *([18] if number % 3 == 0 else [])]
                annotations += [
                    {"image_id": number, "category_id": category, "iscrowd": 0} for category in shown
                ]
        document = {"info": {}, "images": images, "annotations": annotations, "categories": CATEGORIES}
        (root / f"annotations/instances_{part}{year}.json").write_text(json.dumps(document))
    return paths


def load_coco(root: Path, **options: object):
    return load_dataset("coco", root, **{"queries": 5, "train": 10, "verify": False, **options})


@pytest.mark.parametrize("below", ["", "images/"])
def test_coco_from_its_annotations(tmp_path: Path, write_images, below: str) -> None:
    paths = write_coco(tmp_path, "2014", {"train": range(30, 60), "val": range(30)})
    write_images(tmp_path, [below + path for path in paths])
    data = load_coco(tmp_path)
    numbers = [number for number in range(60) if number % 10]
    assert data.images.names() == [f"{number:012d}" for number in numbers]
    assert data.class_names == ("person", "car", "dog")
    assert data.labels.tolist() == [[True, number % 2 == 0, number % 3 == 0] for number in numbers]
    assert (len(data.query), len(data.database), len(data.train)) == (5, 49, 10)
    assert np.isin(data.train, data.database).all()
    assert data.images.path(0) == tmp_path / f"{below}val2014/COCO_val2014_000000000001.jpg"
    assert load_coco(tmp_path).digest() == data.digest()
    assert load_coco(tmp_path, seed=1).query.tolist() != data.query.tolist()


def test_coco_of_2014_and_2017_have_one_split(tmp_path: Path, write_images) -> None:
    for year, parts in (
        ("2014", {"train": range(40), "val": range(40, 60)}),
        ("2017", {"train": range(55), "val": range(55, 60)}),
    ):
        root = tmp_path / year
        write_images(root, sorted(write_coco(root, year, parts), key=lambda path: path[-16:]))
    one, two = load_coco(tmp_path / "2014"), load_coco(tmp_path / "2017")
    assert one.query.tolist() == two.query.tolist()
    assert one.train.tolist() == two.train.tolist()
    assert one.digest() == two.digest()


def test_coco_by_lists(tmp_path: Path, write_images) -> None:
    lines = [(f"val2014/COCO_val2014_{number:012d}.jpg", [1, number % 2]) for number in range(8)]
    write_lists(tmp_path / "lists", {"query": lines[:2], "database": lines[2:], "train": lines[2:5]})
    write_images(tmp_path, [name for name, _ in lines])
    data = load_coco(tmp_path, lists=tmp_path / "lists")
    assert [len(data.query), len(data.database), len(data.train)] == [2, 6, 3]
    assert data.labels.dtype == np.bool_


def test_coco_half_unpacked(tmp_path: Path, write_images) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"instances_train2014\.json is missing \(or instances_train2017"
    ):
        load_coco(tmp_path)
    paths = write_coco(tmp_path, "2014", {"train": range(30, 60), "val": range(30)})
    with pytest.raises(CorruptFileError, match="holds 3 categories, the published data set 80"):
        load_coco(tmp_path, verify=True)
    write_images(tmp_path, paths[:-10])
    with pytest.raises(
        FileNotFoundError, match=r"val2014/COCO_val2014_000000000021\.jpg is missing; .* 9 are not"
    ):
        load_coco(tmp_path)
    with pytest.raises(
        ValueError, match="queries and train must be at most the 54 images together, got 50 and 10"
    ):
        load_coco(tmp_path, queries=50)
    path = tmp_path / "annotations/instances_val2014.json"
    whole = path.read_text()
    document = json.loads(whole)
    for text in (
        whole[: len(whole) // 2],
        "[]",
        json.dumps({**document, "annotations": [{"image_id": 999, "category_id": 1}]}),
        json.dumps({**document, "images": [{"id": 1}]}),
    ):
        path.write_text(text)
        with pytest.raises(
            CorruptFileError, match=r"instances_val2014\.json is not a whole file of instances"
        ):
            load_coco(tmp_path)
    path.write_text(json.dumps({**document, "annotations": [], "categories": []}))
    with pytest.raises(CorruptFileError, match=r"instances_val2014\.json has other categories"):
        load_coco(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"instances_val2014\.json is missing"):
        load_coco(tmp_path)
