from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdc_search.datasets import LandmarkDataset, load_landmarks
from sdc_search.errors import CorruptFileError
from sdc_search.landmarks import landmark_map, revisited_map

INDEX = [f"{number:016x}" for number in range(0xABC000, 0xABC006)]
QUERIES = {"ffe0000000000000": [INDEX[4], INDEX[1]], "ffe1000000000000": [], "ffe2000000000000": [INDEX[5]]}
USAGES = ("Private", "Ignored", "Public")


def path_of(part: str, image: str) -> str:
    return f"{part}/{image[0]}/{image[1]}/{image[2]}/{image}.jpg"


@pytest.fixture
def gldv2(tmp_path: Path, write_images) -> Path:
    (tmp_path / "index.csv").write_text("id\n" + "".join(f"{image}\n" for image in INDEX))
    solution = [
        f"{query},{' '.join(relevant) or 'None'},{usage}\n"
        for (query, relevant), usage in zip(QUERIES.items(), USAGES, strict=True)
    ]
    (tmp_path / "retrieval_solution_v2.1.csv").write_text("id,images,Usage\n" + "".join(solution))
    write_images(tmp_path, [path_of("index", image) for image in INDEX])
    write_images(tmp_path, [path_of("test", query) for query in QUERIES])
    return tmp_path


def test_gldv2(gldv2: Path) -> None:
    data = load_landmarks("gldv2", gldv2, verify=False)
    queries = [query for query, usage in zip(QUERIES, USAGES, strict=True) if usage != "Ignored"]
    assert [data.images.name(row) for row in data.query] == [path_of("test", query) for query in queries]
    assert [data.images.name(row) for row in data.database] == [path_of("index", image) for image in INDEX]
    assert [places.tolist() for places in data.ground_truth] == [[1, 4], [5]]
    assert len(data.train) == 0
    assert landmark_map([[4, 1], [5]], data.ground_truth) == 1.0
    assert [protocol.name for protocol in data.protocols] == ["gldv2", "gldv2-sdc"]
    assert "the 2 of retrieval_solution_v2.1.csv (both)" in data.split_text
    assert pickle.loads(pickle.dumps(data.images))[0].mode == "RGB"


def test_gldv2_by_usage_and_with_training(gldv2: Path, write_images) -> None:
    data = load_landmarks("gldv2", gldv2, usage="public", verify=False)
    assert [places.tolist() for places in data.ground_truth] == [[5]]
    (gldv2 / "train").mkdir()
    train = ["aaa0000000000000", "aab0000000000000", "bbb0000000000000"]
    (gldv2 / "train/train_clean.csv").write_text(
        f"landmark_id,images\n7,{train[0]} {train[1]}\n9,{train[2]}\n"
    )
    write_images(gldv2, [path_of("train", image) for image in train])
    (gldv2 / "metadata").mkdir()
    (gldv2 / "index.csv").rename(gldv2 / "metadata/index.csv")
    data = load_landmarks("gldv2", gldv2, train=True, verify=False)
    assert [data.images.name(row) for row in data.train] == [path_of("train", image) for image in train]
    assert "the 3 images of train_clean.csv" in data.split_text


def test_gldv2_damaged(gldv2: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"index\.csv holds 6 images, the published data set 761757"):
        load_landmarks("gldv2", gldv2)
    with pytest.raises(ValueError, match="usage must be one of both, public, private, got 'all'"):
        load_landmarks("gldv2", gldv2, usage="all")
    path = gldv2 / "retrieval_solution_v2.1.csv"
    whole = path.read_text()
    for text, message in (
        (
            whole.replace("Usage", "use"),
            "has no column 'Usage', expected id, images, Usage, got id, images, use",
        ),
        ("", "has no column 'id'"),
        (whole[: whole.index("Public") - 1], "line 4: expected id, images, Usage; is the file whole?"),
        (whole.replace(INDEX[5], "0123"), r"names 0123 for query ffe2\d+, but .*index\.csv does not hold it"),
        (whole.replace("P", "p"), "holds no query whose Usage is Public or Private"),
        (whole + '"unfinished', "is not a whole CSV file"),
    ):
        path.write_text(text)
        with pytest.raises(CorruptFileError, match=rf"retrieval_solution_v2\.1\.csv.*{message}"):
            load_landmarks("gldv2", gldv2, verify=False)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"retrieval_solution_v2\.1\.csv is missing"):
        load_landmarks("gldv2", gldv2, verify=False)


def test_gldv2_without_an_image(gldv2: Path) -> None:
    (gldv2 / path_of("index", INDEX[2])).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{INDEX[2]}\.jpg is missing"):
        load_landmarks("gldv2", gldv2, verify=False)


NAMES = [f"all_souls_{number:06d}" for number in range(6)]
QUERY_NAMES = ["all_souls_000013", "ashmolean_000027"]


def ground_truth(as_array: bool) -> dict[str, object]:
    def rows(*values: int) -> object:
        return np.array(values) if as_array else list(values)

    return {
        "imlist": NAMES,
        "qimlist": QUERY_NAMES,
        "gnd": [
            {"bbx": rows(1, 2, 5, 6), "easy": rows(3, 0), "hard": rows(4), "junk": rows()},
            {"bbx": rows(0, 0, 8, 6), "easy": rows(), "hard": rows(1), "junk": rows(2, 5)},
        ],
    }


@pytest.fixture(params=[False, True], ids=["lists", "arrays"])
def roxford(request: pytest.FixtureRequest, tmp_path: Path, write_images) -> Path:
    folder = tmp_path / "roxford5k"
    write_images(folder / "jpg", [f"{name}.jpg" for name in [*NAMES, *QUERY_NAMES]])
    (folder / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(ground_truth(request.param), 2))
    return tmp_path


def test_revisited_oxford(roxford: Path) -> None:
    data = load_landmarks("roxford", roxford, verify=False)
    assert [data.images.name(row) for row in data.query] == QUERY_NAMES
    assert [data.images.name(row) for row in data.database] == NAMES
    assert {level: rows.tolist() for level, rows in data.ground_truth[0].items()} == {
        "easy": [0, 3],
        "hard": [4],
        "junk": [],
    }
    assert data.images[0].size == (4, 4)
    assert data.images[2].size == (8, 6)
    assert load_landmarks("roxford", roxford / "roxford5k", crop=False, verify=False).images[0].size == (8, 6)
    assert revisited_map([[0, 3, 4], [1]], data.ground_truth, "medium") == 1.0
    assert [protocol.difficulty for protocol in data.protocols] == ["easy", "medium", "hard"]
    assert load_landmarks("roxford", roxford, verify=False).digest() == data.digest()


def test_revisited_oxford_damaged(roxford: Path) -> None:
    path = roxford / "roxford5k/gnd_roxford5k.pkl"
    with pytest.raises(
        CorruptFileError, match=r"gnd_roxford5k\.pkl holds 2 queries, the published data set 70"
    ):
        load_landmarks("roxford", roxford)
    whole = ground_truth(as_array=False)
    first, second = whole["gnd"]
    for wrong, message in (
        ({**whole, "gnd": [first]}, "holds 2 queries and ground truth of 1, expected one for each"),
        ({**whole, "gnd": [], "qimlist": []}, "holds 0 queries"),
        (
            {**whole, "gnd": [first, {**second, "bbx": [1, 2]}]},
            "gives query ashmolean_000027 a box of 2 edges, expected 4",
        ),
        ({**whole, "gnd": [first, {**second, "hard": [6]}]}, "names image 6, but lists 6, from 0"),
        ({**whole, "gnd": [first, {**second, "hard": [-1]}]}, "names image -1, but lists 6, from 0"),
        ({**whole, "gnd": [first, {"bbx": [1, 2, 3, 4], "easy": []}]}, "is not a ground truth: .*'hard'"),
        ({"imlist": NAMES}, "is not a ground truth"),
        ([], "is not a ground truth"),
    ):
        path.write_bytes(pickle.dumps(wrong, 2))
        with pytest.raises(CorruptFileError, match=rf"gnd_roxford5k\.pkl {message}"):
            load_landmarks("roxford", roxford, verify=False)
    data = pickle.dumps(whole, 2)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptFileError, match=r"gnd_roxford5k\.pkl is not a whole pickle"):
        load_landmarks("roxford", roxford, verify=False)


def test_a_malicious_ground_truth_is_refused(roxford: Path, monkeypatch) -> None:
    class Malicious:
        def __reduce__(self) -> object:
            return os.system, ("touch ran",)

    monkeypatch.chdir(roxford)
    (roxford / "roxford5k/gnd_roxford5k.pkl").write_bytes(pickle.dumps({"imlist": Malicious()}))
    with pytest.raises(CorruptFileError, match=r"gnd_roxford5k\.pkl is refused"):
        load_landmarks("roxford", roxford, verify=False)
    assert not (roxford / "ran").exists()


def test_revisited_without_files(tmp_path: Path, roxford: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"holds no ground truth of rparis6k: expected gnd_rparis6k\.pkl"
    ):
        load_landmarks("rparis", tmp_path)
    (roxford / "roxford5k/jpg" / f"{NAMES[3]}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{NAMES[3]}\.jpg is missing"):
        load_landmarks("roxford", roxford, verify=False)


def test_landmark_data_sets_that_are_none(gldv2: Path) -> None:
    data = load_landmarks("gldv2", gldv2, verify=False)
    for changes, message in (
        ({"ground_truth": data.ground_truth[:1]}, "ground_truth must have one entry a query, 2, got 1"),
        (
            {"ground_truth": (np.array([6]), np.array([0]))},
            "ground_truth must hold places in the database, 0 to 5",
        ),
        ({"query": np.array([0, 99])}, "query must hold rows below 8, got 99"),
        ({"query": data.database[:2]}, "query and database must share no row"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(data, **changes)
    assert isinstance(data, LandmarkDataset)
    assert replace(data, ground_truth=data.ground_truth[::-1]).digest() != data.digest()
