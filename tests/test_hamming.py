from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdc_search import hamming_distance, hamming_range, hamming_topk, knn_graph, reference
from sdc_search.native import core

Codes = npt.NDArray[np.uint8]

WIDTHS = [1, 2, 3, 4, 7, 8, 9, 12, 16, 24, 31, 32, 33, 63, 64, 65, 100, 128, 129, 255, 256]
BLOCK = 4096  # codes the native scan takes at once


def uniform(rng: np.random.Generator, n: int, n_bytes: int) -> Codes:
    return rng.integers(0, 256, (n, n_bytes), dtype=np.uint8)


def assert_topk(codes: Codes, queries: Codes, k: int, threads: int | None = None) -> None:
    got = hamming_topk(codes, queries, k, num_threads=threads)
    want = reference.hamming_topk(codes, queries, k)
    for actual, expected in zip(got, want, strict=True):
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("n_bytes", WIDTHS)
def test_distances_at_every_level(isa: str, n_bytes: int, rng: np.random.Generator) -> None:
    codes, queries = uniform(rng, 203, n_bytes), uniform(rng, 5, n_bytes)
    codes[0], queries[0] = 0, 255
    got = hamming_distance(codes, queries)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, reference.hamming_distance(codes, queries))


@pytest.mark.parametrize("n_bytes", WIDTHS)
def test_topk_at_every_level(isa: str, n_bytes: int, rng: np.random.Generator) -> None:
    codes, queries = uniform(rng, 611, n_bytes), uniform(rng, 4, n_bytes)
    for k in (1, 10, 611, 700):
        assert_topk(codes, queries, k)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_topk_around_the_block_size(isa: str, n: int, rng: np.random.Generator) -> None:
    codes, queries = uniform(rng, n, 2), uniform(rng, 3, 2)
    for k in (1, 5, 1500):
        for threads in (1, 2, 3, 8):
            assert_topk(codes, queries[:1], k, threads)
            assert_topk(codes, queries, k, threads)


def test_ties_go_to_the_smaller_row(isa: str) -> None:
    n = 3 * BLOCK
    equal = np.zeros((n, 8), dtype=np.uint8)
    assert_topk(equal, equal[:2], 17)
    alternating = np.zeros((n, 8), dtype=np.uint8)
    alternating[::2, 3] = 1
    assert_topk(alternating, equal[:1], n // 2 + 3)
    descending = np.packbits(np.tri(n // 8, 64, dtype=np.uint8)[::-1], axis=1)
    assert_topk(descending, equal[:1], 70)


def test_the_nearest_items_at_the_end_displace_all_the_others(isa: str) -> None:
    codes = np.full((5 * BLOCK, 4), 255, dtype=np.uint8)
    codes[-20:] = 0
    assert_topk(codes, np.zeros((1, 4), dtype=np.uint8), 30, threads=1)
    assert_topk(codes, np.zeros((1, 4), dtype=np.uint8), 30, threads=3)


@given(data=st.data())
def test_topk_equals_the_reference(data: st.DataObject) -> None:
    n_bytes = data.draw(st.integers(1, 40))
    n = data.draw(st.integers(0, 300))
    few_values = data.draw(st.sampled_from([2, 16, 256]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    codes = rng.integers(0, few_values, (n, n_bytes), dtype=np.uint8)
    queries = rng.integers(0, few_values, (data.draw(st.integers(0, 5)), n_bytes), dtype=np.uint8)
    assert_topk(codes, queries, data.draw(st.integers(1, 350)), data.draw(st.integers(1, 4)))


def test_no_queries_and_no_codes() -> None:
    codes = np.zeros((3, 8), dtype=np.uint8)
    distances, ids = hamming_topk(codes, codes[:0], 4)
    assert distances.shape == ids.shape == (0, 4)
    distances, ids = hamming_topk(codes[:0], codes, 2)
    assert (distances == 2**31 - 1).all()
    assert (ids == -1).all()
    assert hamming_distance(codes[:0], codes).shape == (3, 0)
    assert hamming_distance(codes, codes[:0]).shape == (0, 3)


def test_the_queries_decide_the_kind_of_the_result(rng: np.random.Generator) -> None:
    codes, queries = uniform(rng, 50, 8), uniform(rng, 3, 8)
    want = hamming_topk(codes, queries, 4)
    tensors = hamming_topk(codes, torch.from_numpy(queries), 4)
    arrays = hamming_topk(torch.from_numpy(codes), queries, 4)
    for expected, tensor, array in zip(want, tensors, arrays, strict=True):
        assert isinstance(tensor, torch.Tensor)
        assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(tensor.numpy(), expected)
        np.testing.assert_array_equal(array, expected)
    assert isinstance(hamming_distance(codes, torch.from_numpy(queries)), torch.Tensor)


def test_strided_and_read_only_codes_are_read_right(rng: np.random.Generator) -> None:
    wide = uniform(rng, 90, 16)
    codes = wide[::3, ::2]
    codes.flags.writeable = False
    assert_topk(codes, wide[:2, 8:], 5)


def test_calls_from_many_threads_at_once(rng: np.random.Generator) -> None:
    codes, queries = uniform(rng, 20_000, 8), uniform(rng, 16, 8)
    want = hamming_topk(codes, queries, 10)
    failures: list[Exception] = []

    def search() -> None:
        try:
            for _ in range(5):
                for actual, expected in zip(hamming_topk(codes, queries, 10), want, strict=True):
                    np.testing.assert_array_equal(actual, expected)
        except AssertionError as failure:
            failures.append(failure)

    threads = [threading.Thread(target=search) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


ZEROS = np.zeros((3, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("codes", "queries", "k", "error", "message"),
    [
        (
            ZEROS.astype(np.float32),
            ZEROS,
            1,
            TypeError,
            "codes must be packed codes of dtype uint8, got float32",
        ),
        (ZEROS, ZEROS.astype(np.int8), 1, TypeError, "queries must be packed codes of dtype uint8, got int8"),
        (ZEROS, ZEROS[:, :4], 1, ValueError, "queries must have 8 bytes a code, got 4"),
        (ZEROS[0], ZEROS, 1, ValueError, r"codes must have shape \(n, n_bytes\), got \(8,\)"),
        (ZEROS, ZEROS[None], 1, ValueError, r"queries must have shape \(n, n_bytes\), got \(1, 3, 8\)"),
        (ZEROS[:, :0], ZEROS[:, :0], 1, ValueError, "codes must have at least one byte"),
        (
            np.zeros((1, 257), np.uint8),
            np.zeros((1, 257), np.uint8),
            1,
            ValueError,
            "at most 256 bytes a code, got 257",
        ),
        (ZEROS, ZEROS, 0, ValueError, "k must be at least 1, got 0"),
        (ZEROS, ZEROS, -3, ValueError, "k must be at least 1, got -3"),
        (ZEROS, ZEROS, 2**31, ValueError, "k must be at most 2147483647"),
        (ZEROS, ZEROS, 1.0, TypeError, "k must be an integer, got float"),
        ("codes", ZEROS, 1, TypeError, "codes must be a numpy array or a torch tensor, got str"),
        (
            torch.zeros(3, 8, dtype=torch.uint8, device="meta"),
            ZEROS,
            1,
            ValueError,
            "one device, got meta and cpu",
        ),
    ],
)
def test_bad_input(codes: object, queries: object, k: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hamming_topk(codes, queries, k)  # type: ignore[call-overload]


@pytest.mark.parametrize("threads", [0, -1, 10**9])
def test_bad_number_of_threads(threads: int) -> None:
    with pytest.raises(ValueError, match="num_threads must be at"):
        hamming_topk(ZEROS, ZEROS, 1, num_threads=threads)


def masks(rng: np.random.Generator, n: int) -> list[npt.NDArray[np.bool_]]:
    one = np.zeros(n, dtype=np.bool_)
    one[-1:] = True
    return [np.ones(n, np.bool_), np.zeros(n, np.bool_), rng.random(n) < 0.5, rng.random(n) < 0.01, one]


def assert_masked_topk(
    codes: Codes, queries: Codes, k: int, mask: npt.NDArray[np.bool_], threads: int
) -> None:
    rows = np.flatnonzero(mask)
    want_distances, want = reference.hamming_topk(codes[mask], queries, k)
    want = np.where(want < 0, -1, np.append(rows, 0)[want])
    for given_mask in (mask, np.packbits(mask)):
        distances, ids = hamming_topk(codes, queries, k, mask=given_mask, num_threads=threads)
        np.testing.assert_array_equal(distances, want_distances)
        np.testing.assert_array_equal(ids, want)


@pytest.mark.parametrize("n_bytes", [1, 8, 13, 32])
@pytest.mark.parametrize("n", [1, 9, BLOCK - 1, BLOCK + 5])
def test_masked_topk(isa: str, n: int, n_bytes: int, rng: np.random.Generator) -> None:
    codes, queries = uniform(rng, n, n_bytes), uniform(rng, 3, n_bytes)
    for mask in masks(rng, n):
        for k in (1, 10, 700):
            for threads in (1, 4):
                assert_masked_topk(codes, queries, k, mask, threads)


def test_sparse_masks_by_density_and_place(isa: str, rng: np.random.Generator) -> None:
    n = 3 * 8192 + 4096 + 77
    codes, queries = uniform(rng, n, 8), uniform(rng, 1, 8)
    crowded = rng.random(n) < 0.01
    crowded[9_000:9_500] = True
    whole_bytes = np.repeat(rng.random(n // 8 + 1) < 0.05, 8)[:n]
    for mask in (*(rng.random(n) < share for share in (0.001, 0.02, 0.05, 0.1, 0.2)), crowded, whole_bytes):
        assert_masked_topk(codes, queries, n, mask, threads=2)


def assert_range(
    codes: Codes, queries: Codes, radius: int, mask: npt.NDArray[np.bool_] | None = None, threads: int = 1
) -> None:
    rows = np.arange(len(codes)) if mask is None else np.flatnonzero(mask)
    lims, distances, ids = reference.hamming_range(codes[rows], queries, radius)
    for given_mask in (None,) if mask is None else (mask, np.packbits(mask)):
        got = hamming_range(codes, queries, radius, mask=given_mask, num_threads=threads)
        for actual, expected in zip(got, (lims, distances, rows[ids]), strict=True):
            assert actual.dtype == expected.dtype
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("n_bytes", WIDTHS)
def test_range_at_every_level(isa: str, n_bytes: int, rng: np.random.Generator) -> None:
    codes, queries = uniform(rng, 611, n_bytes), uniform(rng, 4, n_bytes)
    queries[0] = codes[17]
    for radius in (0, 3 * n_bytes, 4 * n_bytes, 8 * n_bytes, 2**31 - 1):
        assert_range(codes, queries, radius)


@pytest.mark.parametrize("n", [0, 1, 9, BLOCK - 1, BLOCK, 2 * BLOCK + 3])
def test_range_around_the_block_size(isa: str, n: int, rng: np.random.Generator) -> None:
    codes, queries = uniform(rng, n, 2), uniform(rng, 3, 2)
    for mask in (None, *masks(rng, n)):
        for threads in (1, 2, 8):
            for q in (0, 1, 3):
                assert_range(codes, queries[:q], 6, mask, threads)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shuffled", [False, True])
def test_range_with_more_hits_than_are_held_at_once(
    threads: int, shuffled: bool, rng: np.random.Generator
) -> None:
    n = 70_000  # times 90 queries: more than the engine's budget of 4 million
    codes = rng.integers(0, 256, (n, 1), dtype=np.uint8)
    queries = rng.integers(0, 256, (90, 1), dtype=np.uint8)
    ids = rng.permutation(n) if shuffled else np.arange(n)
    lims, distances, found = core.hamming_range(codes, queries, 8, None, ids if shuffled else None, threads)
    np.testing.assert_array_equal(lims, np.arange(91) * n)
    by_id = np.argsort(ids)
    want = hamming_distance(codes[by_id], queries).astype(np.uint8)
    order = np.argsort(want, axis=1, kind="stable")
    np.testing.assert_array_equal(found.reshape(90, n), order)
    np.testing.assert_array_equal(distances.reshape(90, n), np.take_along_axis(want, order, axis=1))


def test_memory_of_a_range_beyond_its_results() -> None:
    program = """
import resource, numpy as np, sdc_search
codes = np.random.default_rng(0).integers(0, 256, (400_000, 1), dtype=np.uint8)
sdc_search.hamming_range(codes, codes[:1], 0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
results = sdc_search.hamming_range(codes, codes[:50], 8, num_threads=2)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(results[1]), 1024 * (after - before) - sum(array.nbytes for array in results))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    hits, beyond = map(int, done.stdout.split())
    assert hits == 20_000_000
    assert beyond < 200e6


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_own_ids_decide_ties_also_at_the_cut(isa: str, threads: int, rng: np.random.Generator) -> None:
    codes, queries = rng.integers(0, 4, (3 * BLOCK, 1), dtype=np.uint8), uniform(rng, 2, 1)
    ids = rng.permutation(10 * len(codes))[: len(codes)]
    order = np.argsort(ids)
    mask = rng.random(len(codes)) < 0.7
    by_id = order[mask[order]]
    for k in (1, 100, 2 * len(codes)):
        distances, found = core.hamming_topk(codes, queries, k, mask, ids, threads)
        want_distances, want = reference.hamming_topk(codes[by_id], queries, k)
        np.testing.assert_array_equal(distances, want_distances)
        np.testing.assert_array_equal(found, np.where(want < 0, -1, ids[by_id][want]))
    got = core.hamming_range(codes, queries, 2, mask, ids, threads)
    lims, want_distances, want = reference.hamming_range(codes[by_id], queries, 2)
    for actual, expected in zip(got, (lims, want_distances, ids[by_id][want]), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("n", [0, 1, 2, 50])
@pytest.mark.parametrize("values", [1, 3, 256])  # 1: all codes are equal, so that most miss their own list
def test_knn_graph(n: int, values: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdc_search.hamming._GRAPH_BLOCK", 16)
    codes = rng.integers(0, values, (n, 2), dtype=np.uint8)
    for k in (1, 5, 60):
        for actual, expected in zip(knn_graph(codes, k), reference.knn_graph(codes, k), strict=True):
            assert actual.dtype == expected.dtype
            np.testing.assert_array_equal(actual, expected)


def test_range_and_graph_return_the_kind_of_the_queries(rng: np.random.Generator) -> None:
    codes = uniform(rng, 20, 4)
    want = hamming_range(codes, codes[:2], 12)
    for tensor, array in zip(hamming_range(codes, torch.from_numpy(codes[:2]), 12), want, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array)
    assert all(isinstance(result, torch.Tensor) for result in knn_graph(torch.from_numpy(codes), 2))


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (np.ones(3, np.float32), TypeError, "mask must be bool, or packed bits of dtype uint8, got float32"),
        (np.ones(4, np.bool_), ValueError, r"mask \(bool\) of 3 items must have shape \(3,\), got \(4,\)"),
        (np.ones((3, 1), np.bool_), ValueError, r"must have shape \(3,\), got \(3, 1\)"),
        (np.ones(3, np.uint8), ValueError, r"mask \(packed, uint8\) of 3 items must have shape \(1,\), got"),
        (np.array([0b11110000], np.uint8), ValueError, "mask must have zero padding bits after item 3"),
        ([True, False, True], TypeError, "mask must be a numpy array or a torch tensor, got list"),
    ],
)
def test_bad_mask(mask: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hamming_topk(ZEROS, ZEROS, 1, mask=mask)
    with pytest.raises(error, match=message):
        hamming_range(ZEROS, ZEROS, 1, mask=mask)


def test_bad_radius_and_bad_graph() -> None:
    with pytest.raises(ValueError, match="radius must be at least 0, got -1"):
        hamming_range(ZEROS, ZEROS, -1)
    with pytest.raises(TypeError, match="radius must be an integer, got float"):
        hamming_range(ZEROS, ZEROS, 1.5)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        knn_graph(ZEROS, 0)


def test_search_works_without_torch() -> None:
    program = """
import sys
sys.modules["torch"] = sys.modules["scipy"] = None  # importing either now raises ImportError
import numpy as np, sdc_search
codes = sdc_search.pack_bits(np.eye(9))
ids = sdc_search.hamming_topk(codes, codes[:1], 2)[1]
print(ids.tolist(), sdc_search.hamming_distance(codes, codes)[0, 1])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[[0, 1]] 2"


def test_the_native_module_checks_shapes_itself() -> None:
    with pytest.raises(ValueError, match="codes and queries must be"):
        core.hamming_topk(ZEROS, ZEROS[:, :3].copy(), 1, None, None, 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        core.hamming_topk(ZEROS, ZEROS, 0, None, None, 1)
    with pytest.raises(ValueError, match="mask must be bool"):
        core.hamming_topk(ZEROS, ZEROS, 1, np.ones(2, np.bool_), None, 1)
    with pytest.raises(ValueError, match="mask must be bool"):
        core.hamming_range(ZEROS, ZEROS, 1, np.ones(6, np.bool_)[::2], None, 1)
    with pytest.raises(ValueError, match="ids must be"):
        core.hamming_range(ZEROS, ZEROS, 1, None, np.arange(2), 1)
