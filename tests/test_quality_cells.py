"""A cell is fitted once, by one process, and judged by each queries from the same codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdc_search import ITQ, LSH, SDC, mean_average_precision, quality_cells
from sdc_search.bit_statistics import commonest_distance_share
from sdc_search.claims import Claims
from sdc_search.labelled_features import LabelledFeatures, QuerySet
from sdc_search.method_specs import parse_methods
from sdc_search.protocols import Protocol
from sdc_search.quality_cells import Cell, plan_cells, read_cell, run_cells, summarize


@pytest.fixture
def data() -> LabelledFeatures:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    features = rng.standard_normal((3, 12))[labels] + rng.standard_normal((120, 12))
    rows = np.arange(120)
    query_sets = (
        QuerySet("all queries", rows[:100], rows[100:], Protocol(name="a", at=1000)),
        QuerySet("five queries", rows[:90], rows[100:105], Protocol(name="b", at=10)),
    )
    return LabelledFeatures("toy", features.astype(np.float16), labels, rows[:100:2], query_sets)


def silent(text: str, done: int) -> None:
    pass


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the codes of every LSH that is fitted."""
    lengths: list[int] = []
    fit = LSH.fit
    monkeypatch.setattr(LSH, "fit", lambda self, X: lengths.append(self.n_bits) or fit(self, X))
    return lengths


def test_a_cell_is_what_its_hasher_gives(data: LabelledFeatures, tmp_path: Path) -> None:
    cells = plan_cells(parse_methods(["ITQ"]), [6], 1, data, 30)
    measured, failures = run_cells(cells, tmp_path, silent)
    assert failures == []
    hasher = ITQ(n_bits=6, random_state=0, verbose=False).fit(data.features[data.train_rows(30, 0)])
    codes = hasher.encode(data.features)
    (measurement,) = measured.values()
    for queries in data.query_sets:
        expected = mean_average_precision(
            codes[queries.database],
            data.labels[queries.database],
            codes[queries.query],
            data.labels[queries.query],
            at=queries.protocol.at,
        )
        assert measurement.scores[queries.title].mean_average_precision == expected
    assert np.array_equal(quality_cells.read_codes(cells[0], tmp_path).codes, codes)


def test_a_training_is_traced(data: LabelledFeatures, tmp_path: Path) -> None:
    cells = plan_cells(parse_methods(["SDC:max_epochs=20,batch_size=10", "LSH"]), [4], 1, data)
    run_cells(cells, tmp_path, silent)
    trained, drawn = (quality_cells.read_codes(cell, tmp_path) for cell in cells)
    assert [epoch for epoch, _ in trained.trace] == [*range(1, 11), 15, 20]
    assert trained.trace[-1][1] == commonest_distance_share(trained.codes[data.train])
    assert drawn.trace == []


def test_an_interrupted_run_goes_on(data: LabelledFeatures, tmp_path: Path, fitted: list[int]) -> None:
    cells = plan_cells(parse_methods(["LSH", "ITQ"]), [4, 8], 2, data)

    def interrupt(text: str, done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells(cells, tmp_path, interrupt)
    first = [read_cell(cell, tmp_path) for cell in cells]
    assert [measurement is not None for measurement in first] == [True] * 3 + [False] * 5
    fitted.clear()
    measured, _ = run_cells(cells, tmp_path, silent)
    assert list(measured.values())[:3] == first[:3]
    assert fitted == [4, 8]  # of the second seed; those of the first were there


@pytest.mark.parametrize("damage", [lambda content: b"{", lambda content: content[:-3], lambda content: b""])
def test_damaged_files_are_made_again(
    data: LabelledFeatures, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    cells = plan_cells(parse_methods(["LSH"]), [4], 1, data)
    first, _ = run_cells(cells, tmp_path, silent)
    for path in (cells[0].codes_path(tmp_path), cells[0].score_path(tmp_path, data.query_sets[0])):
        path.write_bytes(damage(path.read_bytes()))
        assert read_cell(cells[0], tmp_path) is None
        again, _ = run_cells(cells, tmp_path, silent)
        assert scores(again) == scores(first)


def scores(measured: dict[Cell, Any]) -> list[float]:
    return [s.mean_average_precision for m in measured.values() for s in m.scores.values()]


def test_a_change_of_the_metrics_fits_nothing_again(
    data: LabelledFeatures, tmp_path: Path, fitted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = plan_cells(parse_methods(["LSH"]), [4], 1, data)
    run_cells(cells, tmp_path, silent)
    monkeypatch.setattr(quality_cells, "source_digest", lambda *modules: "changed")
    assert read_cell(cells[0], tmp_path) is None
    run_cells(cells, tmp_path, silent)
    assert fitted == [4]
    assert len(list(tmp_path.glob("*.json"))) == 4


def test_other_settings_are_other_cells(data: LabelledFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(text: str = "ITQ", n_train: int | None = None, content: LabelledFeatures = data) -> str:
        (cell,) = plan_cells(parse_methods([text]), [4], 1, content, n_train)
        return cell.name

    other = replace(data, features=data.features + np.float16(1))
    fewer = replace(data, train=data.train[:-1])
    names = [name(), name("ITQ:n_iter=3"), name(n_train=20), name(content=other), name(content=fewer)]
    assert name() == name("ITQ:n_iter=50") == name(content=replace(data, title="another", query_sets=()))
    monkeypatch.setattr(quality_cells, "source_digest", lambda *modules: "changed")
    assert len({*names, name()}) == 6


def test_other_labels_or_rows_are_other_scores(data: LabelledFeatures, tmp_path: Path) -> None:
    def path(content: LabelledFeatures) -> Path:
        (cell,) = plan_cells(parse_methods(["LSH"]), [4], 1, content)
        return cell.score_path(tmp_path, content.query_sets[0])

    queries = data.query_sets[0]
    others = [
        replace(data, labels=np.roll(data.labels, 1)),
        replace(data, query_sets=(replace(queries, query=queries.query[1:]),)),
        replace(data, query_sets=(replace(queries, database=queries.database[1:]),)),
        replace(data, query_sets=(replace(queries, protocol=replace(queries.protocol, at=5)),)),
    ]
    assert len({path(data), *map(path, others)}) == 5
    assert path(replace(data, query_sets=(replace(queries, text="said otherwise"),))) == path(data)


def test_a_fit_that_is_interrupted_is_not_kept(
    data: LabelledFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(record: object) -> None:
        raise KeyboardInterrupt

    fit = SDC.fit
    monkeypatch.setattr(
        SDC, "fit", lambda self, X: fit(self.set_params(callbacks=[interrupt], batch_size=8, max_epochs=2), X)
    )
    cells = plan_cells(parse_methods(["SDC"]), [4], 1, data)
    with pytest.raises(KeyboardInterrupt):
        run_cells(cells, tmp_path, silent)
    assert [path.name for path in tmp_path.iterdir()] == ["claims"]


def test_a_cell_that_another_process_is_at_comes_last(data: LabelledFeatures, tmp_path: Path) -> None:
    cells = plan_cells(parse_methods(["LSH", "ITQ"]), [4], 1, data)
    # It holds the first cell until it is told, and leaves without having measured it.
    program = (
        "import sys; from pathlib import Path; from sdc_search.claims import Claims\n"
        "claims = Claims(Path(sys.argv[1])); claims.take(sys.argv[2]); print('taken', flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "claims"), cells[0].name]
    seen: list[str] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"

        def report(text: str, done: int) -> None:
            seen.append(text)
            if "another process" in text:
                other.kill()

        measured, failures = run_cells(cells, tmp_path, report)
    assert seen == [str(cells[1]), f"{cells[0]}: another process is at it", str(cells[0])]
    assert list(measured) == cells
    assert failures == []


def test_claims_are_given_up(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from sdc_search.claims import Claims\n"
        "print([Claims(Path(sys.argv[1])).take(name) for name in sys.argv[2:]])"
    )
    with Claims(tmp_path / "claims") as claims:
        assert claims.take("a")
        assert claims.take("b")
        claims.release("b")
        command = [sys.executable, "-c", program, str(tmp_path / "claims"), "a", "b"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[False, True]\n"


def test_summaries_are_means_over_seeds(data: LabelledFeatures, tmp_path: Path) -> None:
    cells = plan_cells(parse_methods(["LSH"]), [4], 3, data)
    measured, _ = run_cells(cells, tmp_path, silent)
    (summary,) = summarize(measured, data.query_sets[1])
    values = [m.scores["five queries"].mean_average_precision for m in measured.values()]
    assert summary.seeds == [0, 1, 2]
    assert summary.mean["mean_average_precision"] == pytest.approx(np.mean(values))
    assert summary.spread["mean_average_precision"] == pytest.approx(np.std(values, ddof=1))
