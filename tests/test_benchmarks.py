"""The benchmarks as such: what they measure is correct, and nothing here depends on how fast it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from PIL import Image

from sdc_search.benchmarks import command, machine, metric_peers, peers, tables, timing
from sdc_search.benchmarks.cases import Case, Contender, Result, Trial, WrongAnswerError, run_case
from sdc_search.benchmarks.code_data import database, query_codes
from sdc_search.benchmarks.hamming import hamming_cases
from sdc_search.benchmarks.hamming_figure import hamming_figure
from sdc_search.benchmarks.limits import scan_operations
from sdc_search.benchmarks.loss_figure import loss_figure
from sdc_search.benchmarks.losses import loss_cases
from sdc_search.benchmarks.memory import memory_growth
from sdc_search.benchmarks.metrics import metric_cases
from sdc_search.benchmarks.timing import Budget, Call, instruction_set, ratio, take_turns, threads
from sdc_search.native import core

ROOT = Path(__file__).parents[1]


def run(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def benchmark(*arguments: object, cwd: Path, suite: str = "hamming") -> subprocess.CompletedProcess[str]:
    return run("-m", "sdc_search", "benchmark", suite, *arguments, cwd=cwd)


class Clock:
    """Moves on only where the calls say so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def call(self, *durations: float) -> Call:
        left = iter(durations)

        def advance() -> None:
            self.now += next(left)

        return Call(advance)


def test_contenders_take_turns_and_long_calls_run_once_a_turn() -> None:
    clock = Clock()
    calls = {"a": clock.call(1.0, 2.0, 3.0), "b": clock.call(10.0, 20.0, 30.0)}
    assert take_turns(calls, Budget(0.0), clock) == {"a": [1.0, 2.0, 3.0], "b": [10.0, 20.0, 30.0]}


def test_rounds_end_with_the_budget_and_at_the_limit() -> None:
    for seconds, expected in ((0.0, 3), (5.0, 5), (1e9, 7)):
        clock = Clock()
        rounds = take_turns({"a": clock.call(*[1.0] * 7)}, Budget(seconds, (3, 7)), clock)
        assert len(rounds["a"]) == expected


def test_a_short_call_is_repeated_and_its_cold_start_dropped() -> None:
    clock = Clock()
    call = clock.call(0.015, 0.002, 0.001, 0.002, 9.0)
    (seconds,) = take_turns({"a": call}, Budget(0.0, (1, 1)), clock)["a"]
    assert seconds == pytest.approx(0.002)


def test_what_a_call_uses_up_is_made_before_each_and_untimed() -> None:
    clock = Clock()
    made: Iterator[int] = count()

    def fresh() -> int:
        clock.now += 100.0
        return next(made)

    seen: list[int] = []

    def use(value: int) -> None:
        seen.append(value)
        clock.now += 1.0

    assert take_turns({"a": Call(use, fresh)}, Budget(0.0), clock)["a"] == [1.0, 1.0, 1.0]
    assert seen == [0, 1, 2]


def test_ratio_compares_within_rounds() -> None:
    assert ratio([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]) == 2.0


def test_threads_reach_every_library_and_are_given_back() -> None:
    before = core.num_threads(), faiss.omp_get_max_threads(), timing.usable_cpus()
    with threads(1):
        assert (core.num_threads(), faiss.omp_get_max_threads()) == (1, 1)
        if hasattr(os, "sched_getaffinity"):
            assert timing.usable_cpus() == 1
    assert (core.num_threads(), faiss.omp_get_max_threads(), timing.usable_cpus()) == before


def test_instruction_set_is_forced_and_given_back() -> None:
    before = core.isa()
    with instruction_set("portable"):
        assert core.isa() == "portable"
    assert core.isa() == before


def sleepy_case(answers: dict[str, int], **fields: Any) -> Case:
    """Two contenders, of which the second does half of the work in one call."""

    def check(given: Any) -> dict[str, Any]:
        if len(set(given.values())) > 1:
            raise WrongAnswerError("they differ")
        return {"seen": 1}

    def prepare() -> Trial:
        return Trial({name: Call(lambda value=value: value) for name, value in answers.items()}, check)

    contenders = tuple(Contender(name, units) for name, units in zip(answers, (4, 2), strict=True))
    return Case("sleepy", "group", {"n": 5}, contenders, prepare, items=5, **fields)


def test_a_result_holds_what_its_definitions_say() -> None:
    result = run_case(sleepy_case({"own": 7, "peer": 7}, target=1e9), 1, Budget(0.0))
    assert result.own == "own"
    assert result.baseline == "peer"
    assert result.ratio == result.ratios["peer"] > 0
    assert result.ns_per_item["own"] == pytest.approx(result.seconds["own"] / 5 * 1e9)
    assert result.rate == pytest.approx(5 / result.seconds["own"])
    assert result.facts == {"seen": 1}
    assert result.met is False
    assert replace(result, target=0.0).met is True
    assert replace(result, target=None).met is None
    assert json.loads(json.dumps(result.document()))["met"] is False


def test_a_wrong_answer_stops_its_case() -> None:
    with pytest.raises(WrongAnswerError, match="case sleepy: they differ"):
        run_case(sleepy_case({"own": 7, "peer": 8}), 1, Budget(0.0))


def test_data_is_reproducible_and_clustered_codes_lie_near_centres() -> None:
    codes = database("clustered", 500, 64).copy()
    assert np.array_equal(codes, database("clustered", 500, 64))
    assert not np.array_equal(codes, query_codes("clustered", 500, 64))
    centres = np.random.default_rng(0).integers(0, 256, (1_000, 8), dtype=np.uint8)
    distances, _ = peers.numpy_exact(centres)(codes, 1)
    assert 0.09 < distances.mean() / 64 < 0.11


@pytest.mark.parametrize("n_bits", [8, 64, 72, 512])
def test_peers_agree(n_bits: int, rng: np.random.Generator) -> None:
    codes = rng.integers(0, 256, (300, n_bits // 8), dtype=np.uint8)
    queries = rng.integers(0, 256, (4, n_bits // 8), dtype=np.uint8)
    expected = np.sort(np.bitwise_count(codes ^ queries[:, None]).sum(axis=2), axis=1)[:, :10]
    searches: dict[str, Callable[..., Any]] = {
        "heap": peers.faiss_flat(codes),
        "counting": peers.faiss_flat(codes, use_heap=False),
        "usearch": peers.usearch_exact(codes, threads=1),
        "numpy": peers.numpy_exact(codes),
    }
    for name, search in searches.items():
        assert np.array_equal(search(queries, 10)[0], expected), name


def test_limit_is_the_documented_one() -> None:
    """At Zen 5's four 512-bit operations a cycle and 4.0 GHz: .0070, .0125, .0232 and .0442 ns a pair."""
    limits = [scan_operations(bits, "avx512_vpopcnt") / (512 * 4 * 4.0) for bits in (64, 128, 256, 512)]
    assert limits == pytest.approx([0.0070, 0.0125, 0.0232, 0.0442], rel=0.01)


def test_machine_is_described() -> None:
    description = machine.describe(peers.DISTRIBUTIONS)
    assert description["cpu"]
    assert description["versions"]["faiss-cpu"] == faiss.__version__
    assert machine.describe(("no-such-distribution",))["versions"]["no-such-distribution"] is None


def test_memory_growth_tells_what_is_kept_from_what_was_needed_on_the_way() -> None:
    kept = memory_growth(partial(partial, np.ones, 1 << 22))  # an array of 32 MiB
    passing = memory_growth(partial(partial, np.sum, range(1 << 22)))  # makes such an array for a scalar
    if not Path("/proc/self/status").exists():
        assert kept is None
        assert passing is None
        return
    assert kept is not None
    assert passing is not None
    assert 31 << 20 < kept.kept <= kept.peak < 40 << 20
    assert passing.peak > 31 << 20
    assert passing.kept < 16 << 20


@pytest.mark.parametrize(
    ("list_cases", "name", "target"),
    [
        (hamming_cases, "batch-k10-64", 22.0),
        (loss_cases, "calibration-32", 1.6),
        (metric_cases, "map-1000", 120.0),
    ],
)
def test_names_of_cases_are_unique_and_quick_ones_have_no_targets(
    list_cases: Callable[..., list[Case]], name: str, target: float
) -> None:
    for scale in ("quick", "full"):
        names = [case.name for case in list_cases(scale)]
        assert len(set(names)) == len(names)
    assert all(case.target is None and case.target_rate is None for case in list_cases("quick"))
    assert {case.target for case in list_cases("full") if case.name == name} == {target}


def test_targets_of_the_losses_are_for_one_thread() -> None:
    targets = {case.name: case.target for case in loss_cases("full", threads=2)}
    assert targets["calibration-32"] is None
    assert targets.get("threads-calibration-65536", 1.7) == 1.7


def result_of(name: str, group: str, **fields: Any) -> Result:
    values: dict[str, Any] = {
        "parameters": {"bits": 64, "n": 1_000},
        "seconds": {"sdc-search": 2e-6, "faiss": 4.4e-5},
        "item": "pair",
        "ns_per_item": {"sdc-search": 2.0, "faiss": 44.0},
        "ratios": {"faiss": 22.04},
        "baseline": "faiss",
        "ratio": 22.04,
        "target": 22.0,
        "rate": 5e8,
        "target_rate": None,
        "limit_seconds": 1e-6,
        "share_of_limit": 0.5,
        "isa": None,
        "threads": 1,
        "rounds": 3,
    }
    return Result(name, group, **{**values, **fields})


def test_markdown_has_a_table_of_ratios_for_each_group() -> None:
    results = [
        result_of("first", "One"),
        result_of("second", "One", ratios={"faiss": 1.5}, ratio=1.5, facts={"recall": 0.9}),
        result_of("third", "Two", target=None, target_rate=1e9),
    ]
    lines = tables.markdown(machine.describe(()), results).splitlines()
    assert "### One" in lines
    assert "| case | bits | n | time | ns a pair | faiss | limit | target | met | notes |" in lines
    assert "| first | 64 | 1,000 | 2.00 µs | 2.00 | 22.0x | 50 % | 22x faiss | yes |  |" in lines
    assert "| second | 64 | 1,000 | 2.00 µs | 2.00 | 1.50x | 50 % | 22x faiss | no | recall: 0.9 |" in lines
    assert "| third | 64 | 1,000 | 2.00 µs | 2.00 | 22.0x | 50 % | 1000 M/s | no | 500.0 M/s |" in lines


def test_a_figure_without_panels_is_none() -> None:
    for figure in (hamming_figure, loss_figure):
        assert figure([result_of("first", "One")], caption="") is None


def test_the_command_from_end_to_end(tmp_path: Path) -> None:
    wanted = "batch-k10-64,batch-k10-128,growth-*-10000"
    done = benchmark("--cases", wanted, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[1/4] batch-k10-64" in done.stderr
    for heading in ("Many queries", "ns a pair", "faiss counting", "usearch", "numpy", "limit"):
        assert heading in done.stdout

    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert document["failures"] == []
    results = {result["name"]: result for result in document["results"]}
    assert len(results) == 4
    assert set(results["batch-k10-64"]["ratios"]) == {"faiss", "faiss counting", "usearch", "numpy"}
    assert set(results["growth-uniform-10000"]["ratios"]) == {"scan", "faiss"}
    assert all(result["ratio"] > 0 for result in results.values())
    assert "| batch-k10-64 |" in (tmp_path / "out" / "results.md").read_text()
    with Image.open(tmp_path / "out" / "hamming.png") as image:
        assert image.width > 1.5 * image.height


def test_a_run_that_is_interrupted_keeps_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> Trial:
        raise KeyboardInterrupt

    done = sleepy_case({"ours": 1, "peer": 1})
    cases = [done, replace(done, name="interrupted", prepare=interrupted)]
    monkeypatch.setattr("sdc_search.benchmarks.hamming.hamming_cases", lambda *_: cases)
    with pytest.raises(KeyboardInterrupt):
        command.hamming(out=tmp_path, quiet=True)
    document = json.loads((tmp_path / "results.json").read_text())
    assert [result["name"] for result in document["results"]] == ["sleepy"]


def test_the_command_of_the_losses_from_end_to_end(tmp_path: Path) -> None:
    wanted = "calibration-32,calibration-1024,wasserstein-*,sdc-half-64,sdc-all-256"
    done = benchmark("--cases", wanted, "--out", "out", cwd=tmp_path, suite="losses")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert document["failures"] == []
    results = {result["name"]: result for result in document["results"]}
    assert {name: result["baseline"] for name, result in results.items()} == {
        "calibration-32": "torch",
        "calibration-1024": "torch",
        "wasserstein-torch": "torch",
        "wasserstein-pot": "POT",
        "wasserstein-weighted": "POT",
        "sdc-half-64": "published",
        "sdc-all-256": "torch",
    }
    if Path("/proc/self/status").exists():
        assert set(results["sdc-all-256"]["facts"]) == {"extra memory MB", "torch's extra memory MB"}
    with Image.open(tmp_path / "out" / "losses.png") as image:
        assert image.width > image.height


def test_the_published_evaluator_is_restated_as_its_formula() -> None:
    # Nearest first: a hit, a miss, a hit; two more beyond the cut.
    codes = np.packbits(np.tri(5, 8, k=-1, dtype=bool), axis=1)
    labels = np.array([1, 0, 1, 2, 1])
    peer = [
        torch.from_numpy(labels) if array is labels else metric_peers.signs(array)
        for array in (codes, labels)
    ]
    query = metric_peers.signs(codes[:1]), torch.tensor([1])
    for order in (metric_peers.full_sort, metric_peers.top_k):
        value = metric_peers.published_map(*peer, *query, 3, order)
        assert value == pytest.approx((1 + 2 / 3) / 2)


def test_the_command_of_the_metrics_from_end_to_end(tmp_path: Path) -> None:
    done = benchmark("--out", "out", "--threads", "1", cwd=tmp_path, suite="metrics")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert document["failures"] == []
    assert {result["name"]: result["baseline"] for result in document["results"]} == dict.fromkeys(
        ("map-100", "map-1000", "map-all"), "published"
    )
    assert "| map-1000 |" in (tmp_path / "out" / "results.md").read_text()


def test_json_is_all_that_is_printed(tmp_path: Path) -> None:
    done = benchmark("--cases", "one-cached-64", "--json", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["results"][0]["baseline"] == "plain read"
    assert not (tmp_path / "sdc-search-benchmark" / "hamming.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cases", "batch-k11-64"), "--cases 'batch-k11-64' matches no case"),
        (("--threads", "4000"), "--threads 4000 is more than"),
        (("--scale", "huge"), "'huge' is not one of"),
        (("--cases", "few-64", "--out", "file"), "--out file cannot be created"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = benchmark(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sdc-search: error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_missing_extra_is_one_sentence_with_its_remedy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['usearch'] = None;"
        "from sdc_search.cli import main; sys.exit(main(['benchmark', 'hamming']))"
    )
    done = run("-c", code, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "sdc-search: error: sdc-search benchmark needs usearch: pip install 'sdc-search[bench]'\n"
    )


def test_help_has_an_example_and_imports_no_peer(tmp_path: Path) -> None:
    code = (
        "import sys; from sdc_search.cli import main; main(['benchmark', 'hamming', '--help']);"
        "sys.exit(','.join({'faiss', 'usearch', 'numpy', 'matplotlib'} & sys.modules.keys()) or 0)"
    )
    done = run("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Example: sdc-search benchmark hamming" in done.stdout


def test_pytest_wraps_the_cases_and_leaves_them_out_by_default() -> None:
    options = "-q", "-p", "no:cacheprovider"
    done = run("-m", "pytest", "bench/hamming", "--benchmark-only", "-k", "one-cached-64", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "benchmark 'one-cached-64'" in done.stdout
    assert "3 passed" in done.stdout
    assert "bench/" not in run("-m", "pytest", "--collect-only", *options).stdout
