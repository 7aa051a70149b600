"""The quality benchmark: its cells are measured once each, and wrong input is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdc_search.benchmarks import quality_tables
from sdc_search.benchmarks.quality_data import bundled_data, read_data
from sdc_search.cli import main
from sdc_search.labelled_features import LabelledFeatures
from sdc_search.method_specs import parse_methods
from sdc_search.quality_cells import plan_cells, references, run_cells, summarize

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
def data(file: Path) -> LabelledFeatures:
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


def test_references(data: LabelledFeatures) -> None:
    values = references(data, data.query_sets[0])
    shares = np.bincount(data.labels[data.query_sets[0].database], minlength=3) / 100
    # All 100 items count, so the mean precision of a random order is a little above the class's share.
    assert shares.min() < values["chance"] < shares.max() + 0.1
    assert values["chance"] < values["float cosine"] <= 1


def test_bundled_data() -> None:
    data = bundled_data()
    (queries,) = data.query_sets
    assert len(data.train) == len(queries.database) == len(data.labels) - len(queries.query)


def test_a_single_seed_has_no_spread(data: LabelledFeatures, tmp_path: Path) -> None:
    cells = plan_cells(parse_methods(["LSH"]), [4], 1, data)
    (summary,) = summarize(run_cells(cells, tmp_path, silent)[0], data.query_sets[0])
    assert summary.spread == {}
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
