from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sdc_search import CorruptFileError, HammingIndex, multi_index, reference, storage
from sdc_search.id_lookup import IdLookup
from sdc_search.multi_index import GrowingTables, Tables
from sdc_search.native import core

Codes = npt.NDArray[np.uint8]

GOLDEN = Path(__file__).parent / "golden" / "index-v1.safetensors"
GOLDEN_TABLES = Path(__file__).parent / "golden" / "index-tables-v1.safetensors"
LARGEST = 2**63 - 1


def uniform(rng: np.random.Generator, n: int, n_bytes: int) -> Codes:
    return rng.integers(0, 256, (n, n_bytes), dtype=np.uint8)


def assert_same(got: tuple[Any, ...], want: tuple[Any, ...]) -> None:
    for actual, expected in zip(got, want, strict=True):
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)


def expected_topk(
    codes: Codes, ids: npt.NDArray[np.int64], queries: Codes, k: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """The reference on the items in the order of their ids, where ties by row are ties by id."""
    by_id = np.argsort(ids)
    distances, rows = reference.hamming_topk(codes[by_id], queries, k)
    return distances, np.where(rows < 0, -1, np.append(ids[by_id], -1)[rows])


def expected_range(
    codes: Codes, ids: npt.NDArray[np.int64], queries: Codes, radius: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    by_id = np.argsort(ids)
    lims, distances, rows = reference.hamming_range(codes[by_id], queries, radius)
    return lims, distances, ids[by_id][rows]


def ids_like(kind: str, rng: np.random.Generator, n: int) -> npt.NDArray[np.int64]:
    if kind == "rows":
        return np.arange(n)
    if kind == "rising":
        return np.arange(n) * 3 + 5
    return rng.permutation(4 * n)[:n] + 2**40


@pytest.fixture(params=["rows", "rising", "any"])
def ids_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("n_bits", [1, 8, 13, 64, 2048])
def test_search_and_range_equal_the_reference(n_bits: int, ids_kind: str, rng: np.random.Generator) -> None:
    codes = np.packbits(rng.integers(0, 2, (500, n_bits), dtype=np.uint8), axis=1)
    queries = codes[rng.integers(0, 500, 4)]
    ids = ids_like(ids_kind, rng, 500)
    index = HammingIndex(n_bits)
    index.add(codes, ids)
    mask = rng.random(500) < 0.3
    for k in (1, 20, 600):
        for threads in (1, 2):
            assert_same(index.search(queries, k, num_threads=threads), expected_topk(codes, ids, queries, k))
            for given_mask in (mask, np.packbits(mask)):
                got = index.search(queries, k, mask=given_mask, strategy="scan", num_threads=threads)
                assert_same(got, expected_topk(codes[mask], ids[mask], queries, k))
    for radius in (0, n_bits // 3, n_bits):
        assert_same(index.range_search(queries, radius), expected_range(codes, ids, queries, radius))
        got_range = index.range_search(queries, radius, mask=mask, num_threads=2)
        assert_same(got_range, expected_range(codes[mask], ids[mask], queries, radius))


def test_an_empty_index_and_no_queries(ids_kind: str) -> None:
    index = HammingIndex(16)
    none = np.zeros((0, 2), dtype=np.uint8)
    index.add(none, [])
    for _ in range(2):
        assert len(index) == 0
        assert index.codes.shape == (0, 2)
        assert index.ids.dtype == np.int64
        distances, ids = index.search(np.zeros((1, 2), np.uint8), 3, mask=np.ones(0, np.bool_))
        assert distances.tolist() == [[2**31 - 1] * 3]
        assert ids.tolist() == [[-1] * 3]
        assert index.range_search(np.zeros((1, 2), np.uint8), 3)[0].tolist() == [0, 0]
        assert index.search_asymmetric(np.ones((1, 16)), 2)[1].tolist() == [[-1, -1]]
        assert index.search(none, 3)[0].shape == (0, 3)
        index.add(np.zeros((2, 2), np.uint8), ids_like(ids_kind, np.random.default_rng(0), 2) + len(index))
        index.remove(index.ids)


def test_the_queries_decide_the_kind_of_the_result(rng: np.random.Generator) -> None:
    codes = uniform(rng, 30, 4)
    index = HammingIndex(32)
    index.add(torch.from_numpy(codes), torch.arange(30, 0, -1))
    queries = torch.from_numpy(codes[:2])
    vectors = rng.standard_normal((30, 3)).astype(np.float32)
    projections = rng.standard_normal((2, 32))
    for results in (
        index.search(queries, 3),
        index.range_search(queries, 14),
        index.search_asymmetric(torch.from_numpy(projections), 3),
        index.rerank(torch.from_numpy(vectors[:2]), index.search(codes[:2], 5)[1], vectors, 3),
    ):
        assert all(isinstance(result, torch.Tensor) for result in results)
    assert_same(tuple(r.numpy() for r in index.search(queries, 3)), index.search(codes[:2], 3))


def test_strided_and_read_only_codes_are_read_right(rng: np.random.Generator) -> None:
    wide = uniform(rng, 90, 16)
    codes = wide[::3, ::2]
    codes.flags.writeable = False
    index = HammingIndex(64)
    index.add(codes, np.arange(60, 0, -2, dtype=">i4"))
    np.testing.assert_array_equal(index.codes, codes)
    np.testing.assert_array_equal(index.ids, np.arange(60, 0, -2))
    assert_same(index.search(codes[:3], 5), expected_topk(codes, index.ids, codes[:3], 5))


def test_explain_names_the_plan() -> None:
    plan = HammingIndex(64).explain(1, 10, mask=np.ones(0, np.bool_))
    assert plan.strategy == "scan"
    assert plan.reason


@pytest.mark.parametrize("n_bits", [1, 5, 8, 13, 64, 100])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_asymmetric_equals_the_reference(
    n_bits: int, threads: int, ids_kind: str, rng: np.random.Generator
) -> None:
    n = 3000
    codes = np.packbits(rng.integers(0, 2, (n, n_bits), dtype=np.uint8), axis=1)
    ids = ids_like(ids_kind, rng, n)
    index = HammingIndex(n_bits)
    index.add(codes, ids)
    by_id = np.argsort(ids)
    few_values = rng.integers(-1, 2, (3, n_bits)).astype(np.float32)  # many ties
    normal = rng.standard_normal((3, n_bits)).astype(np.float32)
    for projections in (few_values, normal, normal[:1], normal[:0]):
        for k in (1, 10, n + 5):
            scores, rows = reference.asymmetric_topk(codes[by_id], projections, k)
            want = np.where(rows < 0, -1, np.append(ids[by_id], -1)[rows])
            assert_same(index.search_asymmetric(projections, k, num_threads=threads), (scores, want))


def test_the_native_asymmetric_search_checks_shapes_itself() -> None:
    codes, projections = np.zeros((3, 2), np.uint8), np.zeros((1, 12), np.float32)
    with pytest.raises(ValueError, match="codes must be"):
        core.asymmetric_topk(codes, np.zeros((1, 17), np.float32), 1, None, 1)
    with pytest.raises(ValueError, match="ids must be"):
        core.asymmetric_topk(codes, projections, 1, np.arange(2), 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        core.asymmetric_topk(codes, projections, 0, None, 1)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_rerank_equals_numpy(metric: Any, ids_kind: str, rng: np.random.Generator) -> None:
    n, q, m, d = 200, 6, 40, 5
    ids = ids_like(ids_kind, rng, n)
    vectors = rng.integers(-2, 3, (n, d)).astype(np.float32)  # ties, and vectors of zeros
    vectors[7] = 0
    queries = rng.integers(-2, 3, (q, d)).astype(np.float64)
    index = HammingIndex(8)
    index.add(uniform(rng, n, 1), ids)
    rows = rng.integers(0, n, (q, m))  # repeats
    rows[:, 0] = 7
    candidates = np.where(rng.random((q, m)) < 0.1, -1, ids[rows])
    for k in (1, 10, 60):
        scores, found = index.rerank(queries, candidates, vectors, k, metric=metric)
        assert scores.dtype == np.float32
        assert found.dtype == np.int64
        for i in range(q):
            ranking = []
            for candidate in {int(c) for c in candidates[i] if c >= 0}:
                vector = vectors[np.flatnonzero(ids == candidate)[0]].astype(np.float64)
                if metric == "l2":
                    score = np.float32(((vector - queries[i]) ** 2).sum())
                else:
                    score = np.float32(vector @ queries[i])
                    if metric == "cosine":
                        norms = np.linalg.norm(vector) * np.linalg.norm(queries[i])
                        score = np.float32(vector @ queries[i] / norms) if norms else np.float32(0)
                ranking.append((float(score if metric == "l2" else -score), candidate))
            ranking = sorted(ranking)[:k]
            rest = k - len(ranking)
            worst = np.inf if metric == "l2" else -np.inf
            assert found[i].tolist() == [candidate for _, candidate in ranking] + [-1] * rest
            sign = 1 if metric == "l2" else -1
            assert scores[i].tolist() == [sign * score for score, _ in ranking] + [worst] * rest


def test_rerank_reads_only_the_candidates(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdc_search.rerank._BLOCK_NUMBERS", 12)
    index = HammingIndex(8)
    index.add(uniform(rng, 50, 1))
    vectors = rng.standard_normal((50, 4)).astype(np.float16)
    vectors[9] = np.nan
    candidates = np.array([[3, 1, 2, 8], [5, 5, -1, 0]])
    want = [candidates[0][np.argsort(-vectors[candidates[0]].astype(np.float64) @ np.ones(4))].tolist()]
    assert index.rerank(np.ones((2, 4)), candidates, vectors, 4, metric="dot")[1][:1].tolist() == want
    assert index.rerank(np.ones((1, 4)), candidates[:1, :0], vectors, 1)[1].tolist() == [[-1]]
    with pytest.raises(ValueError, match="vectors must be finite, got NaN or infinity in row 9"):
        index.rerank(np.ones((1, 4)), np.array([[1, 9]]), vectors, 1)


def test_automatic_ids_go_on_from_the_largest_ever_given() -> None:
    code = np.zeros((1, 1), dtype=np.uint8)
    index = HammingIndex(8)
    index.add(code)
    index.add(code, [40])
    index.add(code, [7])
    index.add(code)
    assert index.ids.tolist() == [0, 40, 7, 41]
    index.remove([41, 40])
    index.add(code)
    assert index.ids.tolist() == [0, 7, 42]
    index.remove(index.ids)
    index.add(code)
    assert index.ids.tolist() == [43]
    index.add(code, [LARGEST])
    with pytest.raises(ValueError, match="ids must be given, since none are left after 9223372036854775807"):
        index.add(code)
    assert index.ids.tolist() == [43, LARGEST]
    assert index.search(code, 5)[1].tolist() == [[43, LARGEST, -1, -1, -1]]


def test_ids_that_equal_the_rows_take_no_memory_and_break_off_cleanly() -> None:
    index = HammingIndex(8)
    for first in range(0, 30, 10):
        index.add(np.arange(first, first + 10, dtype=np.uint8)[:, None], np.arange(first, first + 10))
    assert index._state.ids.rows is None
    index.remove([29, 28])  # the tail: the rest are rows still
    assert index._state.ids.rows is None
    index.add(np.array([[99]], np.uint8))
    assert index.ids.tolist() == [*range(28), 30]
    index.remove([3])
    assert index.ids.tolist() == [*range(3), *range(4, 28), 30]
    np.testing.assert_array_equal(index.codes[:, 0], [*range(3), *range(4, 28), 99])


def test_views_are_read_only_and_never_change(rng: np.random.Generator) -> None:
    index = HammingIndex(16)
    codes = uniform(rng, 20, 2)
    index.add(codes, np.arange(20)[::-1])
    seen_codes, seen_ids = index.codes, index.ids
    assert not seen_codes.flags.writeable
    assert not seen_ids.flags.writeable
    assert not HammingIndex(8).ids.flags.writeable
    codes_before, codes[:] = codes.copy(), 0  # the index holds a copy
    index.add(uniform(rng, 5, 2))
    index.remove([3, 19])
    np.testing.assert_array_equal(seen_codes, codes_before)
    np.testing.assert_array_equal(seen_ids, np.arange(20)[::-1])
    with pytest.raises(ValueError, match="read-only"):
        seen_codes[0] = 1


def test_growth_is_amortised() -> None:
    index = HammingIndex(64)
    codes = np.zeros((1, 8), dtype=np.uint8)
    buffers = set()
    for i in range(5000):
        index.add(codes, [5000 - i])
        buffers.add(index.codes.__array_interface__["data"][0])
    assert len(buffers) < 30
    assert index.ids.tolist() == list(range(5000, 0, -1))


@given(st.lists(st.integers(1, 40), max_size=12), st.integers(0, 2**32))
def test_lookup_of_growing_ids(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(3 * sum(sizes) + 1)
    lookup = IdLookup()
    n = 0
    for size in sizes:
        n += size
        if rng.random() < 0.7:
            rows = lookup.find(ids[:n], np.append(ids, 10**12))
            np.testing.assert_array_equal(rows, [*range(n), *[-1] * (len(ids) - n + 1)])
            lengths = [len(run_ids) for run_ids, _ in lookup._runs]
            assert all(a >= 2 * b for a, b in pairwise(lengths))
    np.testing.assert_array_equal(lookup.find(ids[: n // 2], ids[:n]), [*range(n // 2), *[-1] * (n - n // 2)])
    kept = rng.random(n) < 0.5
    rows = lookup.without(kept).find(ids[:n][kept], ids[:n])
    np.testing.assert_array_equal(rows, np.where(kept, np.cumsum(kept) - 1, -1))


CODES = np.zeros((3, 2), dtype=np.uint8)


def three() -> HammingIndex:
    index = HammingIndex(12)
    index.add(CODES, [7, 3, 5])
    return index


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda i: i.add(CODES, [1, 2]), ValueError, "ids must be one for each of 3 codes, got 2"),
        (lambda i: i.add(CODES, [1, 2, 1]), ValueError, "ids must be distinct, got 1 twice"),
        (lambda i: i.add(CODES, [10, 5, 11]), ValueError, "ids must be new, got 5, which is in the index"),
        (lambda i: i.add(CODES, [10, -5, 11]), ValueError, "ids must not be negative, got -5"),
        (
            lambda i: i.add(CODES, np.full(3, 2**63, np.uint64)),
            ValueError,
            r"ids must be below 2\*\*63, got 9223372036854775808",
        ),
        (lambda i: i.add(CODES, [0, 1, 2**64]), TypeError, "ids must be integers, got object"),
        (lambda i: i.add(CODES, [1.0, 2.0, 3.0]), TypeError, "ids must be integers, got float64"),
        (lambda i: i.add(CODES, np.ones(3, np.bool_)), TypeError, "ids must be integers, got bool"),
        (lambda i: i.add(CODES, [[1, 2, 8]]), ValueError, r"ids must have shape \(m,\), got \(1, 3\)"),
        (lambda i: i.add(CODES, 3), TypeError, "ids must be a numpy array or a torch tensor, got int"),
        (lambda i: i.add(CODES[:, :1]), ValueError, "codes must have 2 bytes a code, got 1"),
        (
            lambda i: i.add(CODES.astype(np.int8)),
            TypeError,
            "codes must be packed codes of dtype uint8, got int8",
        ),
        (
            lambda i: i.add(CODES + 1),
            ValueError,
            "codes must have zero padding bits after bit 12, got a one in",
        ),
        (
            lambda i: i.add(torch.zeros(3, 2, dtype=torch.uint8, device="meta")),
            ValueError,
            "codes lies on meta",
        ),
        (lambda i: i.remove([3, 4]), ValueError, "ids must be in the index, got 4, which is not"),
        (lambda i: i.remove([-3]), ValueError, "ids must not be negative, got -3"),
        (lambda i: i.search(CODES + 1, 1), ValueError, "queries must have zero padding bits after bit 12"),
        (lambda i: i.search(CODES[:, :1], 1), ValueError, "queries must have 2 bytes a code, got 1"),
        (lambda i: i.search(CODES, 2**31), ValueError, "k must be at most 2147483647"),
        (lambda i: i.search(CODES, 0), ValueError, "k must be at least 1, got 0"),
        (lambda i: i.search(CODES, 1, mask=np.ones(2, np.bool_)), ValueError, r"mask \(bool\) of 3 items"),
        (lambda i: i.search(CODES, 1, mask=np.ones(3)), TypeError, "mask must be bool, or packed bits"),
        (
            lambda i: i.search(CODES, 1, strategy="best"),
            ValueError,
            "strategy must be one of auto, scan, multi_index, got 'best'",
        ),
        (
            lambda i: i.search(CODES, 1, strategy="multi_index"),
            ValueError,
            "tables are for codes of 32 to 256 bits, got n_bits = 12",
        ),
        (lambda i: i.build_tables(), ValueError, "tables are for codes of 32 to 256 bits"),
        (lambda i: i.search(CODES, 1, num_threads=0), ValueError, "num_threads must be at least 1"),
        (lambda i: i.explain(-1, 1), ValueError, "n_queries must be at least 0"),
        (lambda i: i.explain(1, 1, mask=np.ones(4, np.bool_)), ValueError, r"mask \(bool\) of 3 items"),
        (lambda i: i.range_search(CODES, -1), ValueError, "radius must be at least 0"),
        (
            lambda i: i.range_search(CODES, 1, mask=np.ones(4, np.uint8)),
            ValueError,
            "mask .packed, uint8. of 3",
        ),
        (
            lambda i: i.search_asymmetric(np.ones((1, 13)), 1),
            ValueError,
            r"projections must have shape \(q, 12\)",
        ),
        (
            lambda i: i.search_asymmetric(np.full((1, 12), np.nan), 1),
            ValueError,
            "projections must be finite",
        ),
        (
            lambda i: i.search_asymmetric(np.full((1, 12), 3e37), 1),
            ValueError,
            "projections must be small enough",
        ),
        (
            lambda i: i.search_asymmetric(np.full((1, 12), 1e308), 1),
            ValueError,
            "projections must be small enough",
        ),
        (lambda i: i.search_asymmetric(np.ones((1, 12)), 0), ValueError, "k must be at least 1"),
        (
            lambda i: i.rerank(np.ones((1, 2)), np.array([[4]]), np.ones((3, 2)), 1),
            ValueError,
            "candidate_ids must be in the index, got 4, which is not",
        ),
        (
            lambda i: i.rerank(np.ones((1, 2)), np.array([[-2]]), np.ones((3, 2)), 1),
            ValueError,
            "candidate_ids must not be negative, got -2",
        ),
        (
            lambda i: i.rerank(np.ones((1, 2)), np.array([[3.0]]), np.ones((3, 2)), 1),
            TypeError,
            "candidate_ids must be integers, got float64",
        ),
        (
            lambda i: i.rerank(np.ones((1, 2)), np.array([[3], [3]]), np.ones((3, 2)), 1),
            ValueError,
            r"candidate_ids must have shape \(1, m\), got \(2, 1\)",
        ),
        (
            lambda i: i.rerank(np.ones((1, 2)), np.array([[3]]), np.ones((4, 2)), 1),
            ValueError,
            r"vectors must have shape \(3, 2\), got \(4, 2\)",
        ),
        (
            lambda i: i.rerank(np.ones((1, 2)), np.array([[3]]), np.ones((3, 2), np.bool_), 1),
            TypeError,
            "vectors must be floating point or integer, got bool",
        ),
        (
            lambda i: i.rerank(np.ones((1, 2)), np.array([[3]]), np.ones((3, 2)), 1, metric="l1"),
            ValueError,
            "metric must be one of cosine, dot, l2, got 'l1'",
        ),
    ],
)
def test_bad_input_changes_nothing(
    call: Callable[[HammingIndex], object], error: type[Exception], message: str
) -> None:
    index = three()
    with pytest.raises(error, match=message):
        call(index)
    assert index.ids.tolist() == [7, 3, 5]
    np.testing.assert_array_equal(index.codes, CODES)
    index.add(CODES[:1])
    assert index.ids.tolist() == [7, 3, 5, 8]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "n_bits must be at least 1"),
        ((2049,), ValueError, "n_bits must be at most 2048"),
        ((8.0,), TypeError, "n_bits must be an integer"),
        ((8, "meta"), ValueError, "device must be 'cpu' or a CUDA device such as 'cuda:0', got 'meta'"),
        ((8, "gpu"), ValueError, "device must be 'cpu' or a CUDA device such as 'cuda:0', got 'gpu'"),
    ],
)
def test_bad_construction(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        HammingIndex(arguments[0], **dict(zip(["device"], arguments[1:], strict=False)))


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_an_index_on_the_cpu_is_there_already(device: str | torch.device) -> None:
    index = HammingIndex(8, device=device)
    assert index.to(device) is index


def test_memory_that_cannot_be_had_leaves_the_index_as_it_was() -> None:
    program = """
import resource
import numpy as np
from sdc_search import HammingIndex
index = HammingIndex(2048)
codes = np.zeros((100_000, 256), np.uint8)
index.add(codes, np.arange(100_000)[::-1])
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 20_000_000, -1))
for change in (lambda: index.add(codes), lambda: index.remove([0])):
    try:
        change()
    except MemoryError:
        print(len(index), index.search(codes[:1], 2)[1].tolist())
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
index.add(codes)
print(len(index), index.ids[-1])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["100000 [[0, 1]]", "100000 [[0, 1]]", "200000 199999"]


def in_threads(work: list[Callable[[], None]]) -> None:
    failures: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as failure:  # an assertion, or what a race would raise
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(task,)) for task in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_searches_from_8_threads(ids_kind: str, rng: np.random.Generator) -> None:
    codes = uniform(rng, 20_000, 8)
    index = HammingIndex(64)
    index.add(codes, ids_like(ids_kind, rng, 20_000))
    queries = uniform(rng, 8, 8)
    want = index.search(queries, 10), index.range_search(queries, 20)

    def search() -> None:
        for _ in range(5):
            assert_same(index.search(queries, 10), want[0])
            assert_same(index.range_search(queries, 20), want[1])

    in_threads([search] * 8)


@pytest.mark.parametrize("strategy", ["auto", "multi_index"])
def test_searches_while_others_add_and_remove(strategy: Any) -> None:
    # The code of an item is its id, so that results can be checked at whatever moment they were found.
    def codes_of(ids: npt.NDArray[np.int64]) -> Codes:
        return ids.astype(">u4").view(np.uint8).reshape(-1, 4)

    index = HammingIndex(32)
    fixed = np.arange(0, 4000, 2)
    index.add(codes_of(fixed), fixed)
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            distances, ids = index.search(codes_of(fixed[:50]), 1, strategy=strategy)
            np.testing.assert_array_equal(ids[:, 0], fixed[:50])
            np.testing.assert_array_equal(index.range_search(codes_of(fixed[:50]), 0)[2], fixed[:50])
            distances, ids = index.search(codes_of(np.array([1])), 20, strategy=strategy)
            found = np.bitwise_count(codes_of(ids[0]) ^ codes_of(np.array([1]))).sum(axis=1)
            np.testing.assert_array_equal(distances[0], found)

    def change(first: int) -> Callable[[], None]:
        def add_and_remove() -> None:
            for turn in range(40):
                own = (np.arange(first, first + 500, 7) * 2 + 1)[:: 1 if turn % 2 else -1].copy()
                index.add(codes_of(own), own)
                index.remove(own)

        return add_and_remove

    def change_then_stop() -> None:
        try:
            in_threads([change(0), change(1000)])
        finally:
            stop.set()

    in_threads([search] * 6 + [change_then_stop])
    np.testing.assert_array_equal(index.ids, fixed)
    np.testing.assert_array_equal(index.codes, codes_of(fixed))


def same_index(index: HammingIndex, other: HammingIndex) -> None:
    assert index.n_bits == other.n_bits
    np.testing.assert_array_equal(index.codes, other.codes)
    np.testing.assert_array_equal(index.ids, other.ids)
    assert index._state.ids.next_id == other._state.ids.next_id


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("n", [0, 1, 100])
def test_save_and_open(mmap: bool, n: int, ids_kind: str, rng: np.random.Generator, tmp_path: Path) -> None:
    index = HammingIndex(24)
    index.add(uniform(rng, n + 1, 3), ids_like(ids_kind, rng, n + 1))
    index.remove(index.ids[-1:])  # its id must not be given again
    path = tmp_path / "index"
    index.save(path)
    opened = HammingIndex.open(path, mmap=mmap, verify=True)
    same_index(opened, index)
    queries = uniform(rng, 3, 3)
    assert_same(opened.search(queries, 7), index.search(queries, 7))

    opened.save(path)  # onto the file that it is mapped from
    before = path.read_bytes()
    for changed in (opened, index):
        changed.add(queries)
        if n:
            changed.remove(index.ids[:1])
    same_index(opened, index)
    assert_same(opened.search(queries, 7), index.search(queries, 7))
    assert path.read_bytes() == before


def test_an_index_of_a_mapped_file_is_searched_without_a_copy(tmp_path: Path) -> None:
    codes = np.zeros((1 << 20, 64), dtype=np.uint8)
    index = HammingIndex(512)
    index.add(codes)
    index.save(tmp_path / "index")
    program = f"""
import resource
from sdc_search import HammingIndex
index = HammingIndex.open({str(tmp_path / "index")!r})
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 16_000_000, -1))
print(index.search(index.codes[:2], 1, num_threads=1)[1].tolist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[[0], [0]]\n"


def test_the_golden_file_of_version_1_still_loads() -> None:
    index = HammingIndex.open(GOLDEN, verify=True)
    assert index.n_bits == 12
    assert index.codes.tolist() == [[1, 16], [255, 240], [0, 0]]
    assert index.ids.tolist() == [7, 3, LARGEST - 1]
    index.add(np.array([[2, 32]], dtype=np.uint8))
    assert index.ids[-1] == LARGEST


def test_a_byte_flipped_anywhere_is_an_error(tmp_path: Path) -> None:
    original = GOLDEN.read_bytes()
    path = tmp_path / "damaged"
    for position in range(len(original)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(original)
            damaged[position] ^= flip
            path.write_bytes(damaged)
            with pytest.raises(CorruptFileError):
                HammingIndex.open(path, verify=True)
            if position < 8 + int.from_bytes(original[:8], "little"):
                with pytest.raises(CorruptFileError):
                    HammingIndex.open(path)
            else:  # wrong codes or ids, which only reading them can tell; searching them is safe
                index = HammingIndex.open(path)
                index.search(np.zeros((1, 2), np.uint8), 5)
                index.rerank(np.ones((1, 1)), np.array([[-1]]), np.ones((3, 1)), 1)


def test_a_file_cut_off_anywhere_is_an_error(tmp_path: Path) -> None:
    original = GOLDEN.read_bytes()
    path = tmp_path / "truncated"
    for length in range(len(original)):
        path.write_bytes(original[:length])
        for mmap in (True, False):
            with pytest.raises(CorruptFileError):
                HammingIndex.open(path, mmap=mmap)
    path.write_bytes(original + b"\0")
    with pytest.raises(CorruptFileError):
        HammingIndex.open(path)


ITEMS = {"codes": np.zeros((2, 2), np.uint8), "ids": np.array([4, 2])}
FIELDS = {"next_id": 5, "ascending": False}


@pytest.mark.parametrize(
    ("tensors", "fields", "n_bits", "verify", "message"),
    [
        ({}, {}, 2049, False, "n_bits: at most 2048, got 2049"),
        ({"ids": None, "codes": None}, {}, 12, False, r"tensors: wanted codes and perhaps ids, got \[\]"),
        ({"more": np.zeros(1)}, {}, 12, False, "tensors: wanted codes and perhaps ids, got .*more"),
        ({}, {}, 20, False, r"tensor 'codes': wanted uint8 \(n, 3\), got uint8 \(2, 2\)"),
        ({"codes": np.zeros((2, 2), np.int32)}, {}, 12, False, "tensor 'codes': wanted uint8"),
        ({"codes": np.zeros(2, np.uint8)}, {}, 12, False, "tensor 'codes': wanted uint8"),
        (
            {"ids": np.zeros(3, np.int64)},
            {},
            12,
            False,
            r"tensor 'ids': wanted int64 \(2,\), got int64 \(3,\)",
        ),
        ({"ids": np.zeros(2, np.int32)}, {}, 12, False, "tensor 'ids': wanted int64"),
        ({}, {"next_id": 1}, 12, False, "next_id: wanted an integer of at least 2, got 1"),
        ({}, {"next_id": None}, 12, False, "next_id: wanted an integer"),
        ({}, {"next_id": 2**63 + 1}, 12, False, "next_id: wanted an integer"),
        ({}, {"ascending": 1}, 12, False, "ascending: wanted true or false as the ids are, got 1"),
        ({"ids": None}, {}, 12, False, "ascending: wanted true or false as the ids are, got False"),
        ({"codes": np.ones((2, 2), np.uint8)}, {}, 12, True, "tensor 'codes': codes must have zero padding"),
        ({"ids": np.array([4, 4])}, {}, 12, True, "tensor 'ids': they are not distinct"),
        ({"ids": np.array([4, -1])}, {}, 12, True, "tensor 'ids': they are not distinct, not non-negative"),
        ({"ids": np.array([4, 5])}, {}, 12, True, "tensor 'ids': they are not distinct"),
        ({}, {"ascending": True}, 12, True, "or not as the header says"),
    ],
)
def test_a_file_that_contradicts_itself_is_an_error(
    tensors: dict[str, Any], fields: dict[str, Any], n_bits: int, verify: bool, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "contradictory"
    merged = {name: tensor for name, tensor in (ITEMS | tensors).items() if tensor is not None}
    storage.write(path, "sdc_search.index", merged, FIELDS | fields, version=1, n_bits=n_bits)
    with pytest.raises(CorruptFileError, match=message) as caught:
        HammingIndex.open(path, verify=verify)
    assert str(path) in str(caught.value)


def test_files_of_another_kind_or_a_newer_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other"
    storage.write(path, "sdc_search.hasher", ITEMS, FIELDS, version=1, n_bits=12)
    with pytest.raises(CorruptFileError, match=r"wanted 'sdc_search\.index', got 'sdc_search.hasher'"):
        HammingIndex.open(path)
    storage.write(path, "sdc_search.index", ITEMS, FIELDS, version=2, n_bits=12)
    with pytest.raises(CorruptFileError, match=r"version: .* up to 1, got 2"):
        HammingIndex.open(path)
    with pytest.raises(FileNotFoundError):
        HammingIndex.open(tmp_path / "absent")


def test_a_pickle_holds_the_bytes_of_the_file(rng: np.random.Generator, tmp_path: Path) -> None:
    index = HammingIndex(16)
    index.add(uniform(rng, 50, 2), rng.permutation(50) + 3)
    copy = pickle.loads(pickle.dumps(index))
    same_index(copy, index)
    index.save(tmp_path / "index")
    assert (tmp_path / "index").read_bytes() in pickle.dumps(index)
    copy.add(uniform(rng, 1, 2))
    assert copy.ids[-1] == 53
    assert len(index) == 50


with warnings.catch_warnings():
    # The types that SWIG makes have no module attribute, which Python deprecates as faiss is imported.
    warnings.filterwarnings("ignore", r"builtin type \w+ has no __module__ attribute", DeprecationWarning)
    import faiss


def test_to_and_from_faiss(ids_kind: str, rng: np.random.Generator) -> None:
    codes, queries = uniform(rng, 300, 4), uniform(rng, 5, 4)
    index = HammingIndex(32)
    index.add(codes, ids_like(ids_kind, rng, 300))
    exported = index.to_faiss()
    assert isinstance(exported, faiss.IndexBinaryFlat if ids_kind == "rows" else faiss.IndexBinaryIDMap)
    distances, ids = exported.search(queries, 10)
    np.testing.assert_array_equal(distances, index.search(queries, 10)[0])
    for row, row_ids in zip(distances, ids, strict=True):
        assert set(row_ids[row < row[-1]]) <= set(index.search(queries, 300)[1].ravel())
    same_index(HammingIndex.from_faiss(exported), index)


def test_faiss_indexes_that_cannot_be_taken_over() -> None:
    with pytest.raises(ValueError, match="n_bits must be a multiple of 8 for faiss, got 12"):
        HammingIndex(12).to_faiss()
    with pytest.raises(TypeError, match=r"index must be a faiss\.IndexBinaryFlat, or .* got IndexBinaryHash"):
        HammingIndex.from_faiss(faiss.IndexBinaryHash(16, 4))
    named = faiss.IndexBinaryIDMap2(faiss.IndexBinaryFlat(8))
    named.add_with_ids(np.zeros((2, 1), np.uint8), np.array([1, -2]))
    with pytest.raises(ValueError, match="ids must not be negative, got -2"):
        HammingIndex.from_faiss(named)


def test_faiss_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"needs faiss: pip install 'sdc-search\[faiss\]'"):
        three().to_faiss()


def test_the_index_works_without_torch(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["torch"] = sys.modules["scipy"] = None  # importing either now raises ImportError
import numpy as np
from sdc_search import HammingIndex
index = HammingIndex(8)
index.add(np.array([[1], [3]], np.uint8), [5, 4])
index.save({str(tmp_path / "index")!r})
print(HammingIndex.open({str(tmp_path / "index")!r}).search(np.array([[2]], np.uint8), 2)[1].tolist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[[4, 5]]\n"


@pytest.fixture
def costly_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the choice think that scans are slow, so that tables are asked however small an index is."""
    monkeypatch.setattr(multi_index, "scan_ns", lambda *args, **kwargs: 1e9)


@pytest.fixture
def small_tails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_index, "_SMALL_TAIL", 30)


def codes_like(kind: str, rng: np.random.Generator, n: int, n_bits: int) -> Codes:
    bits = rng.integers(0, 2, (n, n_bits), dtype=np.uint8)
    if kind == "clustered":
        bits = rng.integers(0, 2, (5, n_bits), dtype=np.uint8)[rng.integers(0, 5, n)]
        bits ^= rng.random((n, n_bits)) < 0.1
    elif kind == "equal":
        bits[:] = bits[0]
    return np.packbits(bits, axis=1)


@pytest.mark.parametrize("data", ["uniform", "clustered", "equal"])
@pytest.mark.parametrize("n_bits", [32, 37, 64, 100, 128, 129, 200, 256])
def test_tables_give_the_bytes_of_a_scan(
    n_bits: int, data: str, ids_kind: str, costly_scans: None, rng: np.random.Generator
) -> None:
    n = 700
    codes = codes_like(data, rng, n, n_bits)
    queries = np.concatenate([codes[:3], codes_like("uniform", rng, 2, n_bits)])
    index = HammingIndex(n_bits)
    index.add(codes, ids_like(ids_kind, rng, n))
    index.build_tables(num_threads=2)
    mask = rng.random(n) < 0.4
    for given_mask in (None, mask, np.packbits(mask), np.zeros(n, np.bool_)):
        for k in (1, 10, 300, n + 5):
            want = index.search(queries, k, mask=given_mask, strategy="scan", num_threads=1)
            for threads in (1, 2):
                got = index.search(queries, k, mask=given_mask, strategy="multi_index", num_threads=threads)
                assert_same(got, want)
            assert_same(index.search(queries, k, mask=given_mask), want)
        for radius in (0, 5, n_bits // 3):
            args = (index.codes, queries, radius, given_mask, index._state.ids.ties, 1)
            want_range = core.hamming_range(*args)
            got_range = index.range_search(queries, radius, mask=given_mask)
            assert_same(got_range, (*want_range[:2], index._state.ids.named(want_range[2])))


@pytest.mark.parametrize("n_bits", [32, 64, 128, 192, 256])
def test_tables_at_every_level(n_bits: int, isa: str, rng: np.random.Generator) -> None:
    codes = codes_like("clustered", rng, 3000, n_bits)
    index = HammingIndex(n_bits)
    index.add(codes)
    got = index.search(codes[:20], 30, strategy="multi_index")
    assert_same(got, reference.hamming_topk(codes, codes[:20], 30))


@pytest.mark.parametrize("covered", [1999, 1800])
def test_queries_beyond_the_budget_are_scanned_together(covered: int, rng: np.random.Generator) -> None:
    codes = codes_like("clustered", rng, 1999, 64)
    ids = rng.permutation(1999)
    queries = np.concatenate([codes[:5], uniform(rng, 5, 8)])
    mask = np.packbits(rng.random(1999) < 0.8)
    tables = Tables.build(codes[:covered], 64, ids[:covered], 1)
    want = core.hamming_topk(codes, queries, 7, mask, ids, 1)
    numbers = set()
    for budget_ns in (0, 2000, 3000, 5000, 10_000, 1e9):
        numbers.add(int(tables.topk(queries, 7, mask[: (covered + 7) // 8], budget_ns, 1)[2].sum()))
        got = GrowingTables(tables).topk(codes, 64, queries, 7, mask, ids, budget_ns, 2)
        assert_same(got, want)
    assert {0, 10} < numbers


@pytest.mark.parametrize("mmap", [True, False])
def test_tables_cover_the_first_codes_and_the_rest_is_scanned(
    mmap: bool, small_tails: None, ids_kind: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    codes, queries = codes_like("clustered", rng, 300, 33), codes_like("uniform", rng, 3, 33)
    ids = ids_like(ids_kind, rng, 300)
    index = HammingIndex(33)

    def assert_tables_equal_a_scan(covered: int) -> None:
        n = len(index)
        mask = rng.random(n) < 0.5
        for k in (1, 40, 400):
            for given_mask in (None, mask, np.packbits(mask)):
                got = index.search(queries, k, mask=given_mask, strategy="multi_index")
                assert_same(got, index.search(queries, k, mask=given_mask, strategy="scan"))
        built = index._state.tables.built
        assert (0 if built is None else built.n) == covered

    index.build_tables()
    assert_tables_equal_a_scan(0)
    for begin, end, covered in ((0, 200, 200), (200, 230, 200), (230, 231, 231), (231, 260, 231)):
        index.add(codes[begin:end], ids[begin:end])
        assert_tables_equal_a_scan(covered)
    index.build_tables()
    assert_tables_equal_a_scan(260)
    index.add(codes[260:], ids[260:])
    assert_tables_equal_a_scan(300)
    earlier = index._state  # what a search holds that began before these tables were built
    index.add(codes_like("uniform", rng, 100, 33))
    index.build_tables()
    assert earlier.tables.choose(300, 33, 3, 9, None, 1).plan.strategy == "scan"
    assert_same(
        earlier.tables.topk(earlier.codes.rows, 33, queries, 9, None, earlier.ids.ties, 1e9, 1),
        core.hamming_topk(earlier.codes.rows, queries, 9, None, earlier.ids.ties, 1),
    )
    index.add(queries)
    index.save(tmp_path / "index")
    index = HammingIndex.open(tmp_path / "index", mmap=mmap, verify=True)
    built = index._state.tables.built
    assert built is not None
    assert all(isinstance(array, np.memmap) == mmap for array in built.arrays.values())
    assert_tables_equal_a_scan(400)
    index.remove(index.ids[:1])
    assert index._state.tables.built is None
    assert_tables_equal_a_scan(402)


def test_auto_asks_tables_that_are_built_but_builds_none(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdc_search.index.thread_count", lambda num_threads: 1)  # more speed up scans only
    assert "the index is empty; the scan: direct is the cheapest" in HammingIndex(64).explain(1, 1).reason
    assert "tables are for codes of 32 to 256 bits" in three().explain(1, 1).reason
    codes = codes_like("clustered", rng, 100_000, 64)
    index = HammingIndex(64)
    index.add(codes)
    index.search(codes[:1], 1)
    assert index._state.tables.built is None
    plan = index.explain(1, 1)
    assert plan.strategy == "scan"
    assert "build_tables() would make them, of 72 bytes a code, 7.2 MB in all" in plan.reason
    assert core.multi_index_bytes(len(index), 64) == 7_240_984
    index.build_tables()
    built = index._state.tables.built
    assert built is not None
    assert sum(array.nbytes for array in built.arrays.values()) == 7_240_984
    assert index.explain(1, 1, mask=np.ones(len(index), np.bool_)) == index.explain(1, 1)
    assert index.explain(1, 1).strategy == "multi_index"
    assert "µs by tables" in index.explain(1, 1).reason
    few = np.zeros(len(index), np.bool_)
    few[::5000] = True
    for given_mask in (few, np.packbits(few)):
        assert index.explain(1, 10, mask=given_mask).strategy == "scan"
    assert index.explain(1, len(index)).strategy == "scan"
    assert "there are no queries" in index.explain(0, 1).reason
    index.add(codes[:10])
    assert "10 codes behind the tables are scanned" in index.explain(1, 1).reason
    for k in range(1, 200):
        index.explain(1, k)
    assert len(index._state.tables._choices) <= 64
    assert sorted(built._probed)[:15] == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192]


def test_the_share_of_a_mask_is_estimated_from_some_of_it(rng: np.random.Generator) -> None:
    for n in (1, 9, 4096, 100_003):
        for share in (0.0, 0.1, 0.5, 1.0):
            mask = rng.random(n) < share
            for given_mask in (mask, np.packbits(mask)):
                estimate = multi_index._allowed_share(given_mask, n)
                assert 0 < estimate <= 1
                assert n < 1000 or abs(estimate - share) < 0.05


def test_tables_that_memory_cannot_hold_leave_the_index_as_it_was() -> None:
    program = """
import resource
import numpy as np
from sdc_search import HammingIndex
index = HammingIndex(64)
index.add(np.zeros((1_000_000, 8), np.uint8))
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 30_000_000, -1))
try:
    index.build_tables(num_threads=1)
except MemoryError:
    print(index.search(index.codes[:1], 2, num_threads=1)[1].tolist(), index.explain(1, 1).strategy)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[[0, 1]] scan\n"


def test_the_native_tables_check_shapes_themselves() -> None:
    codes = np.zeros((40, 8), np.uint8)
    offsets, rows, copies = core.build_multi_index(codes, 64, None, 1)
    arrays = offsets, rows, copies
    with pytest.raises(ValueError, match="tables are for codes of 32 to 256 bits"):
        core.build_multi_index(codes, 257, None, 1)
    with pytest.raises(ValueError, match="64 bits need at least 3 tables, got 2"):
        core.build_multi_index(codes, 64, 2, 1)
    with pytest.raises(ValueError, match=r"codes must be \(n, ceil\(n_bits / 8\)\)"):
        core.build_multi_index(codes, 72, None, 1)
    with pytest.raises(ValueError, match="not as large as"):
        core.check_multi_index(offsets[1:], rows, copies, 64, 1)
    with pytest.raises(ValueError, match="the number of tables must be from 1 to 32"):
        core.check_multi_index(offsets, rows[:0], copies, 64, 1)
    with pytest.raises(ValueError, match="offsets must be"):
        core.check_multi_index(offsets, rows[0], copies, 64, 1)
    with pytest.raises(ValueError, match="queries must be"):
        core.multi_index_topk(*arrays, 64, codes[:, :7].copy(), 1, None, None, 1e9, 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        core.multi_index_topk(*arrays, 64, codes, 0, None, None, 1e9, 1)
    with pytest.raises(ValueError, match="mask must be"):
        core.multi_index_topk(*arrays, 64, codes, 1, np.ones(39, np.bool_), None, 1e9, 1)
    with pytest.raises(ValueError, match="rank must be"):
        core.multi_index_topk(*arrays, 64, codes, 1, None, np.zeros(39, np.uint32), 1e9, 1)
    with pytest.raises(ValueError, match="radius must be at least 0"):
        core.multi_index_range(*arrays, 64, codes, -1, None, None, 1e9, 1)
    with pytest.raises(ValueError, match="count and k must be at least 1"):
        core.probe_multi_index(*arrays, 64, 0, 1, 1e9, 1)


def with_golden_tables(**changes: Any) -> storage.Tensors:
    """Return the tensors of the golden file, some of them changed; None leaves one out."""
    tensors, _ = storage.read(GOLDEN_TABLES, "sdc_search.index", version=1)
    changed = tensors | {f"tables.{name}": array for name, array in changes.items()}
    return {name: array for name, array in changed.items() if array is not None}


def test_the_golden_file_with_tables_still_loads() -> None:
    index = HammingIndex.open(GOLDEN_TABLES, verify=True)
    assert index.codes.tolist() == [[i, 2 * i, 3, 15] for i in range(6)]
    assert index.ids.tolist() == [9, 4, 7, 0, 2, 30]
    built = index._state.tables.built
    assert built is not None
    assert built.n == 5
    queries = np.array([[3, 6, 3, 15], [255, 0, 1, 2]], dtype=np.uint8)
    got = index.search(queries, 4, strategy="multi_index")
    assert_same(got, expected_topk(index.codes, index.ids, queries, 4))
    assert built is index._state.tables.built


@pytest.mark.parametrize(
    ("changes", "verify", "message"),
    [
        ({"other": np.zeros(2)}, False, "tables: wanted offsets, rows, copies and perhaps rank, got .*other"),
        ({"offsets": None}, False, "tables: wanted offsets, rows, copies and perhaps rank"),
        ({"rows": np.zeros((4, 5), np.int32)}, False, "tables: rows: wanted uint32, got int32"),
        ({"copies": np.zeros((4, 5, 4), np.float16)}, False, "tables: copies: wanted uint8, got float16"),
        ({"offsets": np.zeros(5, np.uint32)}, False, "tables: offsets or copies are not as large as"),
        ({"offsets": np.zeros(1028, np.uint32)}, False, "the offsets of table 0 do not ascend from 0 to 5"),
        ({"rows": np.full((4, 5), 5, np.uint32)}, False, "tables: a table holds a row that is not below 5"),
        ({"rows": np.zeros((0, 5), np.uint32)}, False, "tables: the number of tables must be from 1 to 32"),
        ({"rank": np.zeros(4, np.uint32)}, False, r"tables: rank: wanted shape \(5,\), got \(4,\)"),
        ({"rank": np.zeros(5, np.uint32)}, True, "tables: they are not those of the codes and ids"),
        ({"rank": None}, True, "tables: they are not those of the codes and ids"),
        ({"rows": np.zeros((4, 5), np.uint32)}, True, "tables: they are not those of the codes and ids"),
        ({"copies": np.zeros((4, 5, 4), np.uint8)}, True, "tables: they are not those of the codes and ids"),
    ],
)
def test_tables_that_contradict_themselves_are_an_error(
    changes: dict[str, Any], verify: bool, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "contradictory"
    fields = {"next_id": 31, "ascending": False}
    tensors = with_golden_tables(**changes)
    storage.write(path, "sdc_search.index", tensors, fields, version=1, n_bits=32)
    with pytest.raises(CorruptFileError, match=message) as caught:
        HammingIndex.open(path, verify=verify)
    assert str(path) in str(caught.value)
    if verify:  # wrong results at worst
        HammingIndex.open(path).search(np.zeros((1, 4), np.uint8), 3, strategy="multi_index")


def test_tables_of_more_codes_than_there_are_and_of_short_codes_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "contradictory"
    tensors = with_golden_tables()
    fewer = tensors | {"codes": tensors["codes"][:4], "ids": tensors["ids"][:4]}
    fields = {"next_id": 31, "ascending": False}
    storage.write(path, "sdc_search.index", fewer, fields, version=1, n_bits=32)
    with pytest.raises(CorruptFileError, match="tables: of 5 codes, where there are 4"):
        HammingIndex.open(path)
    storage.write(path, "sdc_search.index", tensors, fields, version=1, n_bits=31)
    with pytest.raises(CorruptFileError, match="tables: tables are for codes of 32 to 256 bits"):
        HammingIndex.open(path)


def test_tables_with_a_byte_flipped_or_cut_off_anywhere(tmp_path: Path) -> None:
    original = GOLDEN_TABLES.read_bytes()
    start = 8 + int.from_bytes(original[:8], "little")
    path = tmp_path / "damaged"
    queries = np.array([[3, 6, 3, 15], [255, 0, 1, 2]], dtype=np.uint8)
    searched = 0
    for position in [*range(start), *range(start, len(original), 7)]:
        damaged = bytearray(original)
        damaged[position] ^= 0xFF if position % 2 else 0x01
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError):
            HammingIndex.open(path, verify=True)
        try:
            index = HammingIndex.open(path)
        except CorruptFileError:
            pass
        else:  # a damaged code, id, copy, rank or row, which can only give wrong results
            assert position >= start
            index.search(queries, 5, strategy="multi_index")
            searched += 1
        path.write_bytes(original[:position])
        with pytest.raises(CorruptFileError):
            HammingIndex.open(path)
    assert searched


class AgainstADict(RuleBasedStateMachine):
    """An index does what a dict from ids to codes does, which keeps the order of adding as well."""

    directory: Path

    @initialize(n_bits=st.sampled_from([1, 7, 20, 32, 37, 100]), seed=st.integers(0, 2**32))
    def begin(self, n_bits: int, seed: int) -> None:
        self.index = HammingIndex(n_bits)
        self.model: dict[int, bytes] = {}
        self.next_id = 0
        self.rng = np.random.default_rng(seed)

    def new_codes(self, m: int) -> Codes:
        return np.packbits(self.rng.integers(0, 2, (m, self.index.n_bits), dtype=np.uint8), axis=1)

    def record(self, codes: Codes, ids: list[int]) -> None:
        self.model |= {i: code.tobytes() for i, code in zip(ids, codes, strict=True)}
        self.next_id = max([self.next_id, *(i + 1 for i in ids)])

    @rule(m=st.integers(0, 20))
    def add(self, m: int) -> None:
        codes = self.new_codes(m)
        self.index.add(codes)
        self.record(codes, list(range(self.next_id, self.next_id + m)))

    @rule(ids=st.lists(st.integers(0, 120), unique=True, max_size=20), rising=st.booleans())
    def add_with_ids(self, ids: list[int], rising: bool) -> None:
        ids = sorted(ids) if rising else ids
        codes = self.new_codes(len(ids))
        if self.model.keys() & set(ids):
            with pytest.raises(ValueError, match="which is in the index"):
                self.index.add(codes, ids)
        else:
            self.index.add(codes, ids)
            self.record(codes, ids)

    @precondition(lambda self: self.index.n_bits >= 32)
    @rule()
    def build_tables(self) -> None:
        self.index.build_tables()

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        gone = data.draw(st.lists(st.sampled_from(sorted(self.model)), max_size=20))
        self.index.remove(gone)
        for i in set(gone):
            del self.model[i]

    @rule(unknown=st.integers(0, 200))
    def remove_unknown(self, unknown: int) -> None:
        if unknown not in self.model:
            with pytest.raises(ValueError, match="must be in the index"):
                self.index.remove([*list(self.model)[:1], unknown])

    @rule(how=st.sampled_from(["map", "read", "pickle"]))
    def store(self, how: str) -> None:
        if how == "pickle":
            self.index = pickle.loads(pickle.dumps(self.index))
        else:
            self.index.save(self.directory / "index")
            self.index = HammingIndex.open(self.directory / "index", mmap=how == "map", verify=True)

    @rule(k=st.integers(1, 30), threads=st.integers(1, 3), masked=st.booleans(), data=st.data())
    def search(self, k: int, threads: int, masked: bool, data: st.DataObject) -> None:
        with_tables = self.index.n_bits >= 32
        strategy: Any = data.draw(st.sampled_from(["auto", "scan", *["multi_index"] * with_tables]))
        queries = self.new_codes(2)
        codes, ids = self.contents()
        mask = self.rng.random(len(ids)) < 0.5 if masked else np.ones(len(ids), np.bool_)
        given_mask = mask if masked else None
        got = self.index.search(queries, k, mask=given_mask, strategy=strategy, num_threads=threads)
        assert_same(got, expected_topk(codes[mask], ids[mask], queries, k))
        radius = k % (self.index.n_bits + 1)
        got_range = self.index.range_search(queries, radius, mask=given_mask, num_threads=threads)
        assert_same(got_range, expected_range(codes[mask], ids[mask], queries, radius))

    def contents(self) -> tuple[Codes, npt.NDArray[np.int64]]:
        codes = np.frombuffer(b"".join(self.model.values()), dtype=np.uint8)
        return codes.reshape(len(self.model), self.index.codes.shape[1]), np.array(
            [*self.model], dtype=np.int64
        )

    @invariant()
    def holds_what_the_dict_holds(self) -> None:
        if hasattr(self, "model"):
            codes, ids = self.contents()
            assert len(self.index) == len(ids)
            np.testing.assert_array_equal(self.index.ids, ids)
            np.testing.assert_array_equal(self.index.codes, codes)


def test_any_history_against_a_dict(costly_scans: None, small_tails: None, tmp_path: Path) -> None:
    AgainstADict.directory = tmp_path
    run_state_machine_as_test(
        AgainstADict, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
    )
