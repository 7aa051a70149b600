"""The toy of collapse: what it counts is what the codes are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sdc_search.benchmarks.collapse import toy_features
from sdc_search.cli import main


def test_toy_is_four_classes_in_a_cone() -> None:
    features, labels = toy_features(0)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit @ unit.T
    same = labels[:, None] == labels
    assert features.min() >= 0
    assert np.bincount(labels).tolist() == [250] * 4
    assert cosines[~same].min() > 0.3
    assert cosines[~same].max() < cosines[same].min()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--methods", "LSH", "SDC:max_epochs=3", "--seeds", "2", "--quiet", "--out", str(tmp_path)
    assert main(["benchmark", "collapse", *words]) == 0
    assert capsys.readouterr().out == ""
    runs = json.loads((tmp_path / "collapse.json").read_text())
    assert [(run["method"], run["seed"]) for run in runs] == [
        (method, seed) for seed in (0, 1) for method in ("LSH", "SDC:max_epochs=3")
    ]
    for run in runs:
        assert 1 <= run["classes_apart"] <= run["codes_used"] <= 4
        assert 1 / 3 < run["collapse"] <= 1
    assert (tmp_path / "collapse.png").read_bytes().startswith(b"\x89PNG")


def test_unknown_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "collapse", "--methods", "PCAH", "--out", str(tmp_path / "out")]) == 2
    assert "LSH" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
