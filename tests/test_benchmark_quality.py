"""The quality benchmark: its cells are measured once each, and wrong input is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdc_search import ITQ, LSH, mean_average_precision
from sdc_search.benchmarks import quality, quality_tables
from sdc_search.benchmarks.quality_data import QualityData, bundled_data, read_data
from sdc_search.cli import main

FILES = {"quality-cells", "quality.json", "quality.md", "quality.png"}


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    features = rng.standard_normal((3, 12))[labels] + rng.standard_normal((120, 12))
    return {
        "database": features[:100].astype(np.float16),
        "database_labels": labels[:100],
        "query": features[100:].astype(np.float16),
        "query_labels": labels[100:],
        "train_rows": np.arange(0, 100, 2),
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "data.npz", **arrays())
    return tmp_path / "data.npz"


@pytest.fixture
def data(file: Path) -> QualityData:
    return read_data(file)


def run(file: Path, *arguments: object) -> int:
    command = "benchmark", "quality", "--data", file, "--out", file.parent / "out", "--quiet"
    return main([str(word) for word in (*command, *arguments)])


def silent(text: str, done: int) -> None:
    pass


def test_command_writes_the_table(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--methods", "LSH", "ITQ:n_iter=3", "--bits", 4, 8, "--seeds", 2
    assert run(file, *options, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    out = file.parent / "out"
    assert {path.name for path in out.iterdir()} == FILES
    assert json.loads((out / "quality.json").read_text()) == document
    assert [(row["method"], row["n_bits"], row["seeds"]) for row in document["summaries"]] == [
        (method, n_bits, [0, 1]) for method in ("LSH", "ITQ:n_iter=3") for n_bits in (4, 8)
    ]
    table = (out / "quality.md").read_text()
    assert "| method | 4 bits | 8 bits |" in table
    assert "| ITQ:n_iter=3 | " in table
    assert "| float cosine | " in table

    assert run(file, *options, "--dry-run") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["done"] * 8
    assert run(file, *options, "--train-rows", 20, "--dry-run") == 0
    assert capsys.readouterr().out.count("to do") == 8


def test_a_cell_is_what_its_hasher_gives(data: QualityData, tmp_path: Path) -> None:
    cells = quality.plan_cells(quality.parse_methods(["ITQ"]), [6], 1, data, 30)
    measured, failures = quality.run_cells(cells, data, tmp_path, silent)
    assert failures == []
    hasher = ITQ(n_bits=6, random_state=0, verbose=False).fit(data.database[data.rows(30, 0)])
    expected = mean_average_precision(
        hasher.encode(data.database), data.database_labels, hasher.encode(data.query), data.query_labels
    )
    assert [value.mean_average_precision for value in measured.values()] == [expected]


def test_an_interrupted_run_goes_on(
    data: QualityData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = quality.plan_cells(quality.parse_methods(["LSH", "ITQ"]), [4, 8], 2, data, None)

    def interrupt(text: str, done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quality.run_cells(cells, data, tmp_path, interrupt)
    first = [quality.read_cell(cell, tmp_path) for cell in cells]
    assert [measurement is not None for measurement in first] == [True] * 3 + [False] * 5

    fitted = []
    fit = LSH.fit
    monkeypatch.setattr(LSH, "fit", lambda self, X: fitted.append(self.n_bits) or fit(self, X))
    measured, _ = quality.run_cells(cells, data, tmp_path, silent)
    assert list(measured.values())[:3] == first[:3]
    assert fitted == [4, 8]  # of the second seed; those of the first were there

    cells[0].path(tmp_path).write_text("{")
    assert quality.read_cell(cells[0], tmp_path) is None


def test_other_settings_are_other_cells(
    data: QualityData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def path(text: str = "ITQ", n_train: int | None = None, content: QualityData = data) -> Path:
        (cell,) = quality.plan_cells(quality.parse_methods([text]), [4], 1, content, n_train)
        return cell.path(tmp_path)

    labels = np.roll(data.query_labels, 1)
    other = QualityData("x", data.database, data.database_labels, data.query, labels, data.train_rows)
    paths = [path(), path("ITQ:n_iter=3"), path(n_train=20), path(content=other)]
    monkeypatch.setattr(quality, "_software", lambda: {"version": "0", "code": "changed"})
    assert len({*paths, path()}) == 5
    assert path() == path("ITQ:n_iter=50")


def test_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    class Preset(LSH):
        def __init__(self, n_bits: int = 8, *, preset: str | None = None, **params: Any) -> None:
            super().__init__(n_bits, **params)
            self.preset = preset

    known = {"LSH": LSH, "Preset": Preset}
    monkeypatch.setattr(quality, "known_methods", lambda: known)
    given = quality.parse_methods(["LSH", "Preset", "Preset:author"], "sdc_paper")
    assert [(method.label, method.params) for method in given] == [
        ("LSH", {}),
        ("Preset:sdc_paper", {"preset": "sdc_paper"}),
        ("Preset:author", {"preset": "author"}),
    ]
    with pytest.raises(ValueError, match="none of LSH has presets"):
        quality.parse_methods(["LSH"], "author")


def test_references(data: QualityData) -> None:
    references = quality.references(data)
    shares = np.bincount(data.database_labels, minlength=3) / 100
    # All 100 items count, so the mean precision of a random order is a little above the class's share.
    assert shares.min() < references["chance"] < shares.max() + 0.1
    assert references["chance"] < references["float cosine"] <= 1


def test_known_methods_are_in_the_papers_order() -> None:
    names = [name for name in quality.known_methods() if name in ("LSH", "ITQ", "SDC")]
    assert names == ["LSH", "ITQ", "SDC"]
    assert "Hasher" not in quality.known_methods()


def test_bundled_data() -> None:
    data = bundled_data()
    assert len(data.train_rows) == len(data.database) == len(data.database_labels)


def test_a_single_seed_has_no_spread(data: QualityData, tmp_path: Path) -> None:
    cells = quality.plan_cells(quality.parse_methods(["LSH"]), [4], 1, data, None)
    (summary,) = quality.summarize(quality.run_cells(cells, data, tmp_path, silent)[0])
    assert summary.spread is None
    assert "±" not in next(iter(quality_tables.grids([summary], {}).values()))[1][0][1]


def test_a_length_that_a_method_cannot_give_costs_its_own_cell(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(file, "--methods", "ITQ", "--bits", 4, 64, "--seeds", 1) == 2
    error = capsys.readouterr().err
    assert "ITQ, 64 bits, seed 0" in error
    document = json.loads((file.parent / "out" / "quality.json").read_text())
    assert [row["n_bits"] for row in document["summaries"]] == [4]
    assert len(document["failures"]) == 1


@pytest.mark.parametrize(
    ("change", "options", "named"),
    [
        ({}, ["--methods", "PCAH"], ["PCAH", "LSH", "SDC"]),
        ({}, ["--methods", "LSH:planes=3"], ["planes", "orthogonal"]),
        ({}, ["--methods", "LSH:n_bits=3"], ["n_bits"]),
        ({}, ["--methods", "LSH", "--train-rows", "51"], ["--train-rows", "50"]),
        ({}, ["--bits", "0"], ["--bits"]),
        ({"query": None}, [], ["data.npz", "query"]),
        ({"query": np.ones((20, 5))}, [], ["query", "12", "5"]),
        ({"database_labels": np.zeros(99, int)}, [], ["database_labels", "100", "99"]),
        ({"database": np.full((100, 12), np.nan)}, [], ["database", "NaN"]),
        ({"train_rows": np.array([0, 100])}, [], ["train_rows", "100"]),
        ({"train_rows": np.array([0.0, 1.0])}, [], ["train_rows", "float64"]),
    ],
)
def test_bad_input_is_one_line(
    change: dict[str, Any],
    options: list[str],
    named: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = {name: value for name, value in {**arrays(), **change}.items() if value is not None}
    np.savez(tmp_path / "data.npz", **content)
    assert run(tmp_path / "data.npz", *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in named), error
    assert not (tmp_path / "out").exists()
