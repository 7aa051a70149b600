"""``sdc-search reproduce`` on a Fashion-MNIST in miniature, which the tests write themselves."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdc_search import LSH
from sdc_search.cli import main
from sdc_search.datasets import load_dataset
from sdc_search.labelled_features import LabelledFeatures, QuerySet
from sdc_search.method_specs import parse_methods
from sdc_search.protocols import Protocol
from sdc_search.published_figures import published_rows
from sdc_search.quality_cells import Summary, plan_cells, run_cells, summarize
from sdc_search.reproduction import estimates, figures
from sdc_search.reproduction.experiments import EXPERIMENTS
from sdc_search.reproduction.reporting import block
from sdc_search.reproduction.slices import slice_datasets

OPTIONS = {"verify": False, "train": 40}
METHODS = ("LSH", "ITQ:n_iter=3", "SDC:max_epochs=3,batch_size=8,hidden=16")
FIGURES = (
    *("map-1", "map-2", "precision-recall", "precision-at-n", "similarities", "collapse", "code-map"),
    "retrieval",
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 120 images to search and 60 to ask with, as idx files."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 200, (10, 28, 28))
    folder = tmp_path / "data"
    folder.mkdir()
    for part, each in (("train", 12), ("t10k", 6)):
        labels = rng.permutation(np.repeat(np.arange(10), each)).astype(np.uint8)
        images = (patterns[labels] + rng.integers(0, 56, (len(labels), 28, 28))).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3", images), (f"{part}-labels-idx1", labels)):
            header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes()
            (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    small = replace(EXPERIMENTS["fashion-mnist"], query_sets=(OPTIONS, {**OPTIONS, "queries": 20}))
    monkeypatch.setitem(EXPERIMENTS, "fashion-mnist", small)
    return folder


@pytest.fixture
def run(root: Path) -> Callable[..., int]:
    def call(*arguments: object, methods: tuple[str, ...] = METHODS, backbone: str | None = "pixels") -> int:
        words = ["reproduce", "fashion-mnist", "--data", root, "--out", root.parent / "out", "--quiet"]
        words += ["--backbone", backbone] if backbone else []
        return main([str(word) for word in (*words, "--bits", 8, 16, "--methods", *methods, *arguments)])

    return call


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out, which take longer than all the rest."""
    monkeypatch.setattr(figures, "draw", lambda *arguments: [])


def document(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root.parent / "out" / "report.json").read_text())
    return content


def states(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [
        line[:5].strip() for line in capsys.readouterr().out.splitlines() if line[:5] in ("to do", "done ")
    ]


def test_one_command_gives_the_report(
    root: Path,
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run("--dry-run") == 0
    text = capsys.readouterr().out
    assert text.count("to do") == 8  # with the last line's
    assert "7 of 7 steps to do: about" in text
    assert estimates.RULE in text
    assert not (root.parent / "out").exists()

    drawn = []

    def few(*arguments: Any) -> Any:
        drawn.extend(draw(*arguments))
        return drawn[:1]  # rendering them takes longer than all the rest

    draw = figures.draw
    monkeypatch.setattr(figures, "draw", few)
    assert run() == 0
    assert [figure.name for figure in drawn] == [f"1-{name}" for name in FIGURES]
    out = root.parent / "out"
    names = {"1-map-1.png", "1-map-1.svg"}
    reports = {f"report.{kind}" for kind in ("md", "json", "csv", "html")}
    assert {path.name for path in out.iterdir()} == {*names, *reports, "features", "cells"}
    report = document(root)
    assert [each["title"] for each in report["blocks"]] == [
        "Fashion-MNIST, pixels@28, 60 queries",
        "Fashion-MNIST, pixels@28, 20 queries",
    ]
    for each in report["blocks"]:
        assert [row["method"] for row in each["rows"]] == list(METHODS)
        assert all(row["source"] == "measured" for row in each["rows"])
        assert any("Protocol fashion-mnist" in paragraph for paragraph in each["paragraphs"])
        assert any("first 4 of each class" in paragraph for paragraph in each["paragraphs"])
        assert each["references"].keys() == {"chance", "float cosine"}
    assert "reproduce fashion-mnist --data" in report["command"]
    assert "--bits 8 16" in report["command"]
    assert report["notes"] == []

    # All of it is kept.
    monkeypatch.setattr(LSH, "fit", None)
    assert run() == 0
    assert document(root)["blocks"] == report["blocks"]
    assert run("--dry-run") == 0
    assert states(capsys) == ["done"] * 7


@pytest.mark.usefixtures("undrawn")
def test_ctrl_c_keeps_what_is_done(
    root: Path,
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit = LSH.fit

    def interrupted(self: LSH, X: Any) -> LSH:
        if self.n_bits == 16:
            raise KeyboardInterrupt
        return fit(self, X)

    monkeypatch.setattr(LSH, "fit", interrupted)
    assert run(methods=("LSH",)) == 130
    assert run("--dry-run", methods=("LSH",)) == 0
    assert states(capsys) == ["done", "done", "to do"]
    assert run("--report-only", methods=("LSH",)) == 0
    assert document(root)["notes"] == ["Fashion-MNIST, pixels@28: LSH, 16 bits, seed 0: not measured yet"]
    monkeypatch.setattr(LSH, "fit", fit)
    assert run(methods=("LSH",)) == 0
    assert document(root)["notes"] == []


@pytest.mark.usefixtures("undrawn")
def test_a_method_that_refuses_a_length_costs_its_own_cells(
    root: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--bits", 1000, methods=("LSH", "ITQ")) == 2
    assert "ITQ, 1000 bits, seed 0" in capsys.readouterr().err
    assert len(document(root)["notes"]) == 1
    assert [list(row["values"]) for row in document(root)["blocks"][0]["rows"]] == [
        ["8", "16", "1000"],
        ["8", "16"],
    ]


@pytest.mark.usefixtures("undrawn")
def test_features_that_are_there_and_a_slice_of_them(
    root: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(methods=("LSH",)) == 0
    folder = root.parent / "out" / "features" / "pixels@28"
    assert run("--features", folder, "--dry-run", methods=("LSH",), backbone=None) == 0
    assert states(capsys) == ["done"] * 3
    assert run("--features", folder, "--slice", 0.5, methods=("LSH",), backbone=None) == 0
    assert document(root)["blocks"][0]["title"] == "Fashion-MNIST, pixels@28, 30 queries"
    assert any("fraction of 0.5" in text for text in document(root)["blocks"][0]["paragraphs"])

    images = root / "t10k-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(images.read_bytes()))
    content[-1] ^= 1
    images.write_bytes(gzip.compress(bytes(content)))
    assert run("--features", folder, methods=("LSH",), backbone=None) == 2
    assert "other images" in capsys.readouterr().err


def test_a_slice_keeps_database_training_and_queries_apart(root: Path) -> None:
    datasets = [
        load_dataset("fashion-mnist", root, **options) for options in (OPTIONS, {**OPTIONS, "queries": 20})
    ]
    part = slice_datasets(datasets, 0.25)
    first, second = part.query_sets
    assert (len(part.train), len(first.database), len(first.query), len(second.query)) == (10, 30, 15, 5)
    assert set(part.train) <= set(first.database)
    assert not set(first.database) & {*first.query, *second.query}
    for row in (0, len(part.rows) - 1):
        assert part.images.name(row) == datasets[0].images.name(part.rows[row])
        assert part.images[row].tobytes() == datasets[0].images[part.rows[row]].tobytes()
    assert part.images.digest() != datasets[0].images.digest()
    assert np.array_equal(part.labels, datasets[0].labels[part.rows])
    whole = slice_datasets(datasets, 1)
    assert whole.images is datasets[0].images
    assert np.array_equal(whole.query_sets[1].query, datasets[1].query)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--slice", "0"], ["--slice", "0"]),
        (["--slice", "2"], ["--slice", "2"]),
        (["--methods", "PCAH"], ["PCAH", "LSH"]),
        (["--backbone", "pixels@x"], ["pixels@x", "positive"]),
        (["--features", "nowhere"], ["--features", "--backbone"]),
        (["--weights", "w.pth", "--backbone", "vgg16"], ["--weights", "--backbone", "2"]),
        (["--data", "nowhere"], ["nowhere"]),
    ],
)
def test_bad_input_is_one_line(
    options: list[str],
    named: list[str],
    run: Callable[..., int],
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*options, methods=()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in named), error
    assert not (root.parent / "out").exists()


def test_the_papers_rows_stand_beside_ours() -> None:
    rows = np.arange(4)
    queries = QuerySet("2 queries", rows[:2], rows[2:], Protocol.cifar10_sdc(), "By lot.")
    data = LabelledFeatures("CIFAR10", np.eye(4), rows, rows[:2], (queries,))
    figures = {"mean_average_precision": 0.5, "fit_seconds": 1.0}
    summaries = [
        Summary(method, 16, [0, 1], figures, {"mean_average_precision": 0.1}) for method in ("ITQ", "NSH")
    ]
    description = {
        "backbone": "vgg16",
        "output": "fc7",
        "weights": {"file": "a.pth", "sha256": "0f"},
        "transform": {"text": "cut"},
        "shape": [4, 4096],
        "unreadable": [{"row": 1}],
    }
    content = block("cifar10", "vgg16", data, queries, summaries, {"chance": 0.1}, description)
    assert [(row.method, row.source) for row in content.rows[:3]] == [
        ("ITQ", "measured"),
        ("ITQ", "paper"),
        ("NSH", "measured"),
    ]
    assert {row.source for row in content.rows[3:]} == {"paper"}
    assert content.rows[0].values[16]["mean_average_precision"] == (0.5, 0.1)
    assert content.rows[1].values[64] == {"mean_average_precision": (0.544, None)}
    text = "\n".join(content.paragraphs)
    for words in (
        "cifar10-sdc",
        "By lot.",
        "a.pth",
        "0f",
        "cut",
        "1 images could not be read",
        "Seeds: 2; ±",
    ):
        assert words in text


def test_figures_of_items_with_several_labels(root: Path, tmp_path: Path) -> None:
    images = load_dataset("fashion-mnist", root, **OPTIONS).images
    rng = np.random.default_rng(0)
    rows = np.arange(len(images))
    protocol = Protocol("several", at=50, multi_label=True)
    queries = QuerySet("30 queries", rows[:150], rows[150:], protocol)
    labels = rng.random((len(rows), 3)) < 0.5
    data = LabelledFeatures("toy", rng.standard_normal((len(rows), 8)), labels, rows[:100], (queries,))
    cells = plan_cells(parse_methods(["LSH", "ITQ"]), [4, 8], 1, data)
    measured, _ = run_cells(cells, tmp_path, lambda text, done: None)
    material = figures.read_material("1", data, images, ("a", "b", "c"), cells, tmp_path)
    summaries = {queries.title: summarize(measured, queries)}
    drawn = figures.draw(
        material, summaries, {queries.title: {"float cosine": 0.5}}, published_rows("coco", "resnet50")
    )
    assert [figure.name for figure in drawn] == [
        *("1-map-1", "1-precision-recall", "1-precision-at-n", "1-similarities")
    ]
    examples = figures.retrieval_examples(material)
    assert [(r.method, r.n_bits) for r in examples.rankings] == [
        ("LSH", 4),
        ("ITQ", 4),
        ("LSH", 8),
        ("ITQ", 8),
    ]
    ranking = examples.rankings[0]
    for query, items, right in zip(examples.query_labels, ranking.items, ranking.right, strict=True):
        for item, is_right in zip(items, right, strict=True):
            shared = set(filter(None, query.split(", "))) & set(examples.labels[item].split(", "))
            assert is_right == bool(shared)
