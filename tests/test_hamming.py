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

from sdc_search import hamming_distance, hamming_topk, reference
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
        core.hamming_topk(ZEROS, ZEROS[:, :3].copy(), 1, 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        core.hamming_topk(ZEROS, ZEROS, 0, 1)
