"""The CUDA kernels on the emulator and, where there is one, on a device; how Python finds and calls them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from cuda_emulator import Emulator, build_emulator_test
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

import sdc_search
from sdc_search import (
    hamming_cuda,
    hamming_distance,
    hamming_range,
    hamming_topk,
    knn_graph,
    native,
    reference,
)

WIDTHS = [1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 20, 24, 32, 33, 40, 64, 65, 96, 128, 200, 256]
needs_a_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="gpu: torch finds no CUDA device"),
]


@dataclass
class Case:
    codes: npt.NDArray[np.uint8]
    queries: npt.NDArray[np.uint8]
    k: int
    radius: int
    mask: npt.NDArray[np.bool_] | None

    def topk(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        rows = self.rows()
        distances, found = reference.hamming_topk(self.codes[rows], self.queries, self.k)
        return distances, np.where(found < 0, -1, np.append(rows, 0)[found])

    def range(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        rows = self.rows()
        lims, distances, ids = reference.hamming_range(self.codes[rows], self.queries, self.radius)
        return lims, distances, rows[ids]

    def rows(self) -> npt.NDArray[np.int64]:
        return np.arange(len(self.codes)) if self.mask is None else np.flatnonzero(self.mask)

    def given_mask(self) -> npt.NDArray[Any] | None:
        return np.packbits(self.mask) if self.mask is not None and self.k % 2 else self.mask


def case_of(seed: int) -> Case:
    """Return a search whose sizes, ties and mask follow from the seed."""
    rng = np.random.default_rng(seed)
    n_bytes = WIDTHS[seed % len(WIDTHS)]
    n = int(rng.choice([0, 1, 15, 31, 32, 33, 100, 255, 257, 600]))
    q = int(rng.choice([1, 2, 3, 15, 17, 33, 48, 71]))
    values = int(rng.choice([1, 2, 16, 256]))  # 1: all codes are equal
    k = int(rng.choice([1, 2, 9, 100, max(n, 1), n + 3]))
    codes = rng.integers(0, values, (n, n_bytes), dtype=np.uint8)
    queries = rng.integers(0, values, (q, n_bytes), dtype=np.uint8)
    if n:
        queries[0] = codes[n // 2]
    kind = seed // len(WIDTHS) % 4
    mask = None if kind < 2 else rng.random(n) < (0.5 if kind == 2 else 0.02)
    return Case(codes, queries, k, int(rng.integers(0, 8 * n_bytes + 2)), mask)


def assert_equal(got: tuple[torch.Tensor, ...], want: tuple[npt.NDArray[Any], ...]) -> None:
    for actual, expected in zip(got, want, strict=True):
        assert actual.numpy(force=True).dtype == expected.dtype
        np.testing.assert_array_equal(actual.numpy(force=True), expected)


def test_the_emulator_shows_faulty_kernels(pytestconfig: pytest.Config) -> None:
    program = build_emulator_test(pytestconfig.cache.mkdir("cuda_emulator"))  # type: ignore[union-attr]
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.stdout == "75 checks, 0 failures\n", done.stderr


@pytest.mark.parametrize("part", range(12))
def test_emulated_topk_and_range(emulator: Emulator, part: int) -> None:
    for seed in range(part, 312, 12):
        case = case_of(seed)
        emulator.schedule(seed)
        codes, queries = emulator.copy(case.codes), emulator.copy(case.queries)
        mask = None if case.mask is None else emulator.copy(case.given_mask())
        assert_equal(hamming_cuda.topk(codes, queries, case.k, mask), case.topk())
        assert_equal(hamming_cuda.search_range(codes, queries, case.radius, mask), case.range())
        emulator.release()


@pytest.mark.parametrize("n_bytes", WIDTHS)
def test_emulated_distances(emulator: Emulator, n_bytes: int, rng: np.random.Generator) -> None:
    codes = rng.integers(0, 256, (301, n_bytes), dtype=np.uint8)
    for seed, q in enumerate((0, 1, 20)):
        emulator.schedule(seed)
        got = hamming_cuda.distance(emulator.copy(codes), emulator.copy(codes[:q]))
        assert_equal((got,), (reference.hamming_distance(codes, codes[:q]),))


@pytest.mark.parametrize("offset", [1, 2, 4, 8])
def test_emulated_codes_may_begin_anywhere(emulator: Emulator, offset: int, rng: np.random.Generator) -> None:
    for n_bytes in (4, 8, 12, 16, 32):
        codes = rng.integers(0, 256, (70, n_bytes), dtype=np.uint8)
        whole = emulator.empty((codes.size + offset,), torch.uint8, 16)
        shifted = whole[offset:].reshape(codes.shape).copy_(torch.from_numpy(codes))
        got = hamming_cuda.topk(shifted, emulator.copy(codes[:3]), 5)
        assert_equal(got, reference.hamming_topk(codes, codes[:3], 5))


def test_emulated_codes_and_masks_may_be_strided(emulator: Emulator, rng: np.random.Generator) -> None:
    wide = rng.integers(0, 256, (90, 16), dtype=np.uint8)
    mask = rng.random(60) < 0.5
    got = hamming_cuda.topk(
        torch.from_numpy(wide)[::3, ::2],
        torch.from_numpy(wide)[:5, 8:],
        4,
        torch.from_numpy(mask)[::2],
    )
    case = Case(wide[::3, ::2], wide[:5, 8:], 4, 0, mask[::2])
    assert_equal(got, case.topk())


@pytest.mark.parametrize("q", [2, 50])
def test_emulated_search_of_more_rows_than_k(emulator: Emulator, q: int, rng: np.random.Generator) -> None:
    codes = rng.integers(0, 256, (2500, 8), dtype=np.uint8)  # of which a sample bounds the k-th distance
    for k in (1, 7):
        emulator.schedule(k)
        got = hamming_cuda.topk(emulator.copy(codes), emulator.copy(codes[:q]), k)
        assert_equal(got, reference.hamming_topk(codes, codes[:q], k))


def test_emulated_search_in_several_batches(
    emulator: Emulator, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator.module, "max_queries", lambda n_bytes: 7)
    codes = rng.integers(0, 4, (300, 2), dtype=np.uint8)
    queries = rng.integers(0, 4, (20, 2), dtype=np.uint8)
    for seed in range(3):
        emulator.schedule(seed)
        database, wanted = emulator.copy(codes), emulator.copy(queries)
        assert_equal(hamming_cuda.topk(database, wanted, 9), reference.hamming_topk(codes, queries, 9))
        assert_equal(
            hamming_cuda.search_range(database, wanted, 2), reference.hamming_range(codes, queries, 2)
        )


@pytest.mark.parametrize("values", [1, 3, 256])  # 1: all codes are equal, so that most miss their own list
def test_emulated_graph(
    emulator: Emulator, values: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hamming_cuda, "_GRAPH_BLOCK", 16)
    for n in (0, 1, 2, 50):
        codes = rng.integers(0, values, (n, 2), dtype=np.uint8)
        for k in (1, 5, 60):
            assert_equal(hamming_cuda.knn_graph(emulator.copy(codes), k), reference.knn_graph(codes, k))


def test_emulated_launchers_check_what_they_are_given(emulator: Emulator) -> None:
    module = emulator.module
    with pytest.raises(ValueError, match="the workspace is too small"):
        module.hamming_topk(0, 100, 8, 0, 1, 5, 0, False, 0, 64, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="n_bytes must be from 1 to 256"):
        module.workspace_bytes(100, 257, 1, 0)
    with pytest.raises(ValueError, match="n must be below"):
        module.workspace_bytes(2**31, 8, 1, 0)
    with pytest.raises(ValueError, match=f"at most {module.max_queries(8)} queries"):
        module.workspace_bytes(100, 8, module.max_queries(8) + 1, 0)
    with pytest.raises(ValueError, match="k must be from 1"):
        module.hamming_topk(0, 100, 8, 0, 1, 0, 0, False, 0, 0, 0, 0, 0, 0)
    with pytest.raises(RuntimeError, match="CUDA: an error of the emulator"):
        module.hamming_topk(0, 100, 8, 0, 1, 1, 0, False, 0, 0, 0, 0, 5, 0)


class Recorder:
    """Stands in for the native module and keeps what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def max_queries(self, n_bytes: int) -> int:
        return 1000

    def workspace_bytes(self, n: int, n_bytes: int, n_queries: int, device: int) -> int:
        return 4096

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, arguments))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(native, "usable_cuda", lambda: recorder)
    monkeypatch.setattr(hamming_cuda, "_current_stream", lambda device: 77)
    monkeypatch.setattr(FakeTensor, "data_ptr", lambda tensor: 11)
    return recorder


def test_tensors_of_a_device_are_searched_there(recorder: Recorder) -> None:
    with FakeTensorMode():
        codes = torch.empty(90, 8, dtype=torch.uint8, device="cuda:1")
        queries = torch.empty(6, 8, dtype=torch.uint8, device="cuda:1")
        mask = torch.empty(90, dtype=torch.bool, device="cuda:1")
        distances, ids = hamming_topk(codes, queries, 5, mask=mask)
        assert (distances.shape, distances.dtype) == ((6, 5), torch.int32)
        assert (ids.shape, ids.dtype) == ((6, 5), torch.int64)
        table = hamming_distance(codes, queries)
        assert (table.shape, table.dtype) == ((6, 90), torch.int32)
        graph = knn_graph(codes, 4)
        assert [part.shape for part in graph] == [(90, 4), (90, 4)]
        assert {result.device for result in (distances, ids, table, *graph)} == {torch.device("cuda:1")}
    topk, distance, graph_call = recorder.calls
    assert topk == ("hamming_topk", (11, 90, 8, 11, 6, 5, 11, False, 11, 4096, 11, 11, 1, 77))
    assert distance == ("hamming_distance", (11, 90, 8, 11, 6, 11, 1, 77))
    assert graph_call == ("hamming_topk", (11, 90, 8, 11, 90, 5, 0, False, 11, 4096, 11, 11, 1, 77))


def test_bad_tensors_of_a_device() -> None:
    with FakeTensorMode():
        codes = torch.empty(9, 8, dtype=torch.uint8, device="cuda")
        with pytest.raises(ValueError, match="codes and queries must lie on one device, got cuda:0 and cpu"):
            hamming_topk(codes, np.zeros((1, 8), np.uint8), 1)
        with pytest.raises(ValueError, match="must lie on one device, got cuda:0 and cuda:1"):
            hamming_topk(codes, torch.empty(1, 8, dtype=torch.uint8, device="cuda:1"), 1)
        with pytest.raises(ValueError, match="codes and queries must lie on one device, got cpu and cuda:0"):
            hamming_range(np.zeros((1, 8), np.uint8), codes, 1)
        with pytest.raises(ValueError, match="codes and mask must lie on one device, got cuda:0 and cpu"):
            hamming_topk(codes, codes, 1, mask=np.ones(9, np.bool_))
        with pytest.raises(TypeError, match="codes must be packed codes of dtype uint8, got float32"):
            hamming_distance(codes.float(), codes.float())
        with pytest.raises(ValueError, match="queries must have 8 bytes a code, got 4"):
            hamming_topk(codes, torch.empty(9, 4, dtype=torch.uint8, device="cuda"), 1)
        with pytest.raises(ValueError, match=r"codes must have shape \(n, n_bytes\), got \(72,\)"):
            knn_graph(codes.flatten(), 1)
        with pytest.raises(ValueError, match="at most 256 bytes a code, got 264"):
            knn_graph(torch.empty(9, 264, dtype=torch.uint8, device="cuda"), 1)
        many = torch.empty(2**31, 1, dtype=torch.uint8, device="cuda")
        with pytest.raises(ValueError, match=f"at most {2**31 - 1}, got {2**31}"):
            hamming_topk(many, many, 1)
        with pytest.raises(TypeError, match="mask must be bool, or packed bits of dtype uint8, got int64"):
            hamming_topk(codes, codes, 1, mask=torch.empty(9, dtype=torch.int64, device="cuda"))
        with pytest.raises(ValueError, match=r"mask \(packed, uint8\) of 9 items must have shape \(2,\)"):
            hamming_range(codes, codes, 1, mask=torch.empty(9, dtype=torch.uint8, device="cuda"))
        with pytest.raises(ValueError, match="k must be at least 1, got 0"):
            hamming_topk(codes, codes, 0)


def test_a_build_without_kernels_and_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeTensorMode():
        codes = torch.empty(9, 8, dtype=torch.uint8, device="cuda")
        monkeypatch.setattr(native, "cuda", lambda: None)
        with pytest.raises(RuntimeError, match="this build of sdc_search has no CUDA kernels"):
            hamming_topk(codes, codes, 1)
        assert sdc_search.info()["cuda"] == []
        assert sdc_search.info()["cuda_architectures"] == ""
        module = SimpleNamespace(
            devices_problem=lambda: "no driver", devices=list, ARCHITECTURES="80-virtual"
        )
        monkeypatch.setattr(native, "cuda", lambda: module)
        with pytest.raises(RuntimeError, match="CUDA cannot be used: no driver; pass tensors of the CPU"):
            hamming_distance(codes, codes)
        assert sdc_search.info()["cuda_architectures"] == "80-virtual"


def test_info_lists_devices(emulated_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "cuda", lambda: emulated_module)
    info = sdc_search.info()
    assert info["cuda"] == ["emulator (compute capability 0.0, 0.0 GiB)"]
    assert info["cuda_architectures"] == "emulator"


def test_this_machine_says_what_it_has() -> None:
    module = native.cuda()
    if module is None:
        assert sdc_search.info()["cuda_architectures"] == ""
    else:
        assert bool(module.devices_problem()) == (module.devices() == [])
        assert len(sdc_search.info()["cuda"]) == len(module.devices())


@pytest.mark.parametrize("case", [pytest.param(seed, marks=needs_a_gpu) for seed in range(0, 312, 5)])
def test_topk_and_range_on_a_device(case: int) -> None:
    search = case_of(case)
    codes, queries = torch.from_numpy(search.codes).cuda(), torch.from_numpy(search.queries).cuda()
    mask = None if search.mask is None else torch.from_numpy(search.given_mask()).cuda()
    assert_equal(hamming_topk(codes, queries, search.k, mask=mask), search.topk())
    assert_equal(hamming_range(codes, queries, search.radius, mask=mask), search.range())
    assert_equal(
        (hamming_distance(codes, queries),), (reference.hamming_distance(search.codes, search.queries),)
    )


@pytest.mark.parametrize("n_bytes", [pytest.param(width, marks=needs_a_gpu) for width in (8, 13, 32)])
def test_many_codes_on_a_device_as_on_the_cpu(n_bytes: int, rng: np.random.Generator) -> None:
    codes = rng.integers(0, 256, (300_000, n_bytes), dtype=np.uint8)
    for q in (1, 500):
        for k in (10, 70_000 // q):
            got = hamming_topk(torch.from_numpy(codes).cuda(), torch.from_numpy(codes[:q]).cuda(), k)
            assert_equal(got, hamming_topk(codes, codes[:q], k))
