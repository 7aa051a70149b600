"""`HammingIndex` on a CUDA device, and codes that go there by blocks: on the emulator, by fake tensors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from cuda_emulator import Emulator
from cuda_streams import Event, OrderError, Stream, Streams
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from sdc_search import HammingIndex, cuda_memory, hamming_cuda, index_cuda, native

N_BITS = 12
ID_KINDS = ["rows", "rising", "any"]


class Device:
    """The emulator as the device of an index, its tensors on the CPU."""

    def __init__(self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.streams = Streams(monkeypatch)
        self.allocated: list[tuple[str, int]] = []
        allocate, topk = cuda_memory.empty, emulator.module.hamming_topk

        def empty(shape: Any, dtype: torch.dtype, device: torch.device, what: str) -> torch.Tensor:
            tensor = allocate(shape, dtype, device, what)
            self.allocated.append((what, tensor.nbytes))
            self.streams.forget(tensor)
            return tensor.view(torch.uint8).fill_(0x5A).view(dtype) if tensor.numel() else tensor

        def pinned_like(tensor: torch.Tensor) -> torch.Tensor:
            return self.streams.forget(torch.empty_like(tensor))

        def read_and_topk(codes: int, *arguments: Any) -> None:
            self.streams.kernel_reads(codes)
            topk(codes, *arguments)

        monkeypatch.setattr(cuda_memory, "cuda_device", lambda name, value: torch.device("cpu"))
        monkeypatch.setattr(cuda_memory, "empty", empty)
        monkeypatch.setattr(cuda_memory, "pinned_like", pinned_like)
        monkeypatch.setattr(emulator.module, "hamming_topk", read_and_topk)


@pytest.fixture
def device(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(emulator, monkeypatch)


def codes_of(rng: np.random.Generator, n: int) -> npt.NDArray[np.uint8]:
    """Return codes of `N_BITS` bits, many of them tied."""
    return rng.integers(0, 4, (n, 2), dtype=np.uint8) * np.array([1, 64], np.uint8)


def ids_of(kind: str, rng: np.random.Generator, first: int, n: int) -> npt.NDArray[np.int64] | None:
    if kind == "rows":
        return None
    ids = rng.choice(10 * n, n, replace=False) + 10 * first
    return np.sort(ids) if kind == "rising" else ids


def assert_same(got: tuple[Any, ...], want: tuple[Any, ...]) -> None:
    for actual, expected in zip(got, want, strict=True):
        assert type(actual) is type(expected)
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)


def assert_searches_equal(index: HammingIndex, on_cpu: HammingIndex, rng: np.random.Generator) -> None:
    np.testing.assert_array_equal(index.codes, on_cpu.codes)
    np.testing.assert_array_equal(index.ids, on_cpu.ids)
    queries, n = codes_of(rng, 3), len(index)
    allowed = rng.random(n) < 0.4
    for mask in (None, allowed, np.packbits(allowed)):
        for k in (1, 9, n + 2):
            want = on_cpu.search(queries, k, mask=mask)
            assert_same(index.search(queries, k, mask=mask), want)
            as_tensors = tuple(torch.from_numpy(part) for part in want)
            assert_same(index.search(torch.from_numpy(queries), k, mask=mask), as_tensors)
        want_hits = on_cpu.range_search(queries, 2, mask=mask)
        assert_same(index.range_search(queries, 2, mask=mask), want_hits)


@pytest.mark.parametrize("kind", ID_KINDS)
def test_an_index_on_a_device_gives_what_one_on_the_cpu_gives(
    kind: str, device: Device, rng: np.random.Generator
) -> None:
    index, on_cpu = HammingIndex(N_BITS, device="cuda"), HammingIndex(N_BITS)
    assert_searches_equal(index, on_cpu, rng)
    for first, n in ((0, 40), (40, 1), (41, 70)):
        codes, ids = codes_of(rng, n), ids_of(kind, rng, first, n)
        for each in (index, on_cpu):
            each.add(codes, ids)
        assert_searches_equal(index, on_cpu, rng)
        gone = rng.choice(on_cpu.ids, n // 3, replace=False)
        for each in (index, on_cpu):
            each.remove(gone)
        assert_searches_equal(index, on_cpu, rng)
    candidates, vectors = on_cpu.search(codes, 5)[1], rng.normal(size=(len(index), 3))
    wanted = on_cpu.rerank(np.ones((len(codes), 3)), candidates, vectors, 3)
    assert_same(index.rerank(np.ones((len(codes), 3)), candidates, vectors, 3), wanted)


def test_ids_that_stop_rising_are_put_in_order_once(device: Device, rng: np.random.Generator) -> None:
    index, on_cpu = HammingIndex(N_BITS, device="cuda"), HammingIndex(N_BITS)
    codes, queries = codes_of(rng, 30), codes_of(rng, 2)
    for ids in (range(5, 15), range(20, 30), range(10)[::-1]):
        ids = [*ids] if ids[0] != 9 else [4, 3, 2, 1, 0, 90, 80, 70, 60, 50]
        for each in (index, on_cpu):
            each.add(codes[:10], ids)
        earlier = index._state
        assert_same(index.search(queries, 9), on_cpu.search(queries, 9))
    sorted_once = index._state.names._sorted
    index.search(queries, 1)
    assert index._state.names._sorted is sorted_once
    assert earlier is index._state


def test_adding_batches_copies_the_codes_a_logarithmic_number_of_times(device: Device) -> None:
    index = HammingIndex(N_BITS, device="cuda")
    for _ in range(300):
        index.add(np.zeros((10, 2), np.uint8))
    buffers = [n_bytes for what, n_bytes in device.allocated if what == "an index"]
    assert len(buffers) < 20
    assert sum(buffers) < 4 * index.codes.nbytes


@pytest.mark.parametrize("kind", ID_KINDS)
def test_an_index_moves_and_each_copy_goes_its_own_way(
    kind: str, device: Device, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_cuda, "_BLOCK_BYTES", 32)
    on_cpu = HammingIndex(N_BITS)
    on_cpu.add(codes_of(rng, 50), ids_of(kind, rng, 0, 50))
    on_cpu.save(tmp_path / "index")
    index = HammingIndex.open(tmp_path / "index").to("cuda")
    assert index.to("cuda") is index
    index.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "index").read_bytes()
    copies = [index.to("cpu"), on_cpu.to("cuda"), pickle.loads(pickle.dumps(index)), copy.deepcopy(index)]
    for number, each in enumerate(copies):
        assert_searches_equal(each, on_cpu, rng)
        each.add(codes_of(rng, 7)[: number + 1])
        each.remove(each.ids[:1])
    for each in (index, on_cpu):
        assert len(each) == 50
        assert_searches_equal(each, on_cpu, rng)
    assert HammingIndex.from_faiss(HammingIndex(16, device="cuda").to_faiss()).device == "cpu"


@pytest.mark.parametrize("kind", ID_KINDS)
@pytest.mark.parametrize("n", [0, 1, 8, 90])
def test_codes_in_a_file_are_compared_on_a_device_block_by_block(
    kind: str,
    n: int,
    device: Device,
    rng: np.random.Generator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index_cuda, "_BLOCK_BYTES", 32)  # 16 rows
    HammingIndex(N_BITS).save(tmp_path / "index")
    if n:
        index = HammingIndex(N_BITS)
        index.add(codes_of(rng, n), ids_of(kind, rng, 0, n))
        index.save(tmp_path / "index")
    index = HammingIndex.open(tmp_path / "index")
    queries, allowed = codes_of(rng, 5), rng.random(n) < 0.4
    for mask in (None, allowed, np.packbits(allowed)):
        for k in (1, 20, n + 2):
            got = index.search(queries, k, mask=mask, device="cuda", num_threads=2)
            assert_same(got, index.search(queries, k, mask=mask))
    tensor = torch.from_numpy(queries)
    assert_same(index.search(tensor, 3, device="cuda"), index.search(tensor, 3))


def test_streaming_takes_the_memory_of_two_blocks(
    device: Device, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_cuda, "_BLOCK_BYTES", 32)
    index = HammingIndex(N_BITS)
    index.add(codes_of(rng, 160))
    index.search(codes_of(rng, 2), 3, device="cuda")
    assert [n_bytes for what, n_bytes in device.allocated if what == "a block of codes"] == [32, 32]
    assert device.streams.copies == 10


def without_an_order(streams: Streams, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    if missing == "the search waits for the copy":
        waits = Stream.wait_event
        monkeypatch.setattr(
            Stream, "wait_event", lambda s, event: None if s is streams.default else waits(s, event)
        )
    elif missing == "the copy waits for the search":
        monkeypatch.setattr(cuda_memory._Slot, "release", lambda slot: None)
    else:
        monkeypatch.setattr(Event, "synchronize", lambda event: None)


@pytest.mark.parametrize(
    "missing",
    ["the search waits for the copy", "the copy waits for the search", "the CPU waits for the copy"],
)
def test_an_order_that_is_missing_shows(
    missing: str, device: Device, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_cuda, "_BLOCK_BYTES", 32)
    index = HammingIndex(N_BITS)
    index.add(codes_of(rng, 160))
    without_an_order(device.streams, monkeypatch, missing)
    queries = codes_of(rng, 4)
    if missing == "the search waits for the copy":
        found = index.search(queries, 3, device="cuda")[1]
        assert not np.array_equal(found, index.search(queries, 3)[1])
    else:
        with pytest.raises(OrderError):
            index.search(queries, 3, device="cuda")


def test_what_a_device_cannot_do_is_said(device: Device, rng: np.random.Generator) -> None:
    index, codes = HammingIndex(64, device="cuda"), rng.integers(0, 9, (4, 8), dtype=np.uint8)
    index.add(codes)
    plan = index.explain(5, 2)
    assert plan == ("scan", "every code is compared on cpu, which has no tables")
    with pytest.raises(ValueError, match="strategy must be auto or scan on a CUDA device, which"):
        index.search(codes, 1, strategy="multi_index")
    with pytest.raises(ValueError, match="build_tables is for an index on the CPU, got one on cpu: take to"):
        index.build_tables()
    with pytest.raises(ValueError, match="search_asymmetric is for an index on the CPU"):
        index.search_asymmetric(np.ones((1, 64)), 1)
    with pytest.raises(ValueError, match="queries must have 8 bytes a code, got 4"):
        index.search(codes[:, :4], 1)
    with pytest.raises(ValueError, match=r"mask \(bool\) of 4 items must have shape"):
        index.range_search(codes, 1, mask=np.ones(3, np.bool_))
    with pytest.raises(ValueError, match="device must be cpu, where the codes lie, or None, got cpu"):
        index.search(codes, 1, device="cpu")  # the emulator's device goes by the same name
    assert_same(index.search(codes, 1, device="cuda"), index.search(codes, 1))
    odd = HammingIndex(63, device="cuda")
    with pytest.raises(ValueError, match="codes must have zero padding bits after bit 63, got a one"):
        odd.add(np.ones((1, 8), np.uint8))
    assert len(odd) == 0


def test_a_device_that_torch_does_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    index = HammingIndex(8)
    monkeypatch.setattr(native, "cuda", lambda: None)
    for call in (
        lambda: HammingIndex(8, device="cuda"),
        lambda: index.to("cuda:0"),
        lambda: index.search(np.zeros((1, 1), np.uint8), 1, device=torch.device("cuda")),
    ):
        with pytest.raises(RuntimeError, match="this build of sdc_search has no CUDA kernels"):
            call()
    monkeypatch.setattr(native, "usable_cuda", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="device must be one of 2 CUDA devices, got cuda:2"):
        index.to("cuda:2")


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.add(np.zeros((5, 2), np.uint8)),
        lambda index: index.remove([0]),
        lambda index: index.search(np.zeros((1, 2), np.uint8), 3),
        lambda index: index.range_search(np.zeros((1, 2), np.uint8), 3),
        lambda index: index.to("cpu").to("cuda"),
    ],
)
def test_a_device_without_memory_leaves_the_index_as_it_was(
    change: Callable[[HammingIndex], object],
    emulator: Emulator,
    device: Device,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = HammingIndex(N_BITS, device="cuda")
    index.add(codes_of(rng, 20))
    before = index._state

    def full(*shape: object, **options: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "empty", full)
        patched.setattr(
            hamming_cuda._Search,
            "empty",
            lambda search, shape, dtype: cuda_memory.empty(shape, dtype, torch.device("cpu"), "results"),
        )
        with pytest.raises(MemoryError, match=r"cpu has no room for [\d,]+ bytes more, of \w+"):
            change(index)
    assert index._state is before
    assert len(index.search(codes_of(rng, 1), 3)[1]) == 1


def test_the_error_names_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*shape: object, **options: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "empty", full)
    with FakeTensorMode():
        place = torch.device("cuda:1")
        with pytest.raises(MemoryError, match=r"^cuda:1 has no room for 24,000,000,000 bytes more, of codes"):
            cuda_memory.empty((10**9, 3), torch.int64, place, "codes")


@pytest.mark.parametrize("n_bytes", [1, 8, 32, 256])
def test_the_workspace_is_bounded_whatever_the_batch(n_bytes: int, emulator: Emulator) -> None:
    for n in (0, 1, 10**6, 2**31 - 1):
        for n_queries in (1, 47, 48, 1000, 100_000):
            batch = min(n_queries, emulator.module.max_queries(n_bytes))
            assert emulator.module.workspace_bytes(n, n_bytes, batch, 0) <= 600e6


def test_many_queries_are_cut_into_batches(emulator: Emulator, rng: np.random.Generator) -> None:
    codes = rng.integers(0, 256, (3, 256), dtype=np.uint8)
    queries = codes[rng.integers(0, 3, 100_000)]
    batches: list[int] = []
    search = hamming_cuda._Search(torch.from_numpy(codes), torch.from_numpy(queries), None)
    batches = [batch.stop - batch.start for batch in search.batches()]
    assert sum(batches) == 100_000
    assert max(batches) == emulator.module.max_queries(256)


class Recorder:
    """Stands in for the native module and keeps what a search is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def max_queries(self, n_bytes: int) -> int:
        return 1000

    def workspace_bytes(self, n: int, n_bytes: int, n_queries: int, device: int) -> int:
        return 64

    def hamming_topk(self, *arguments: Any) -> None:
        self.calls.append(arguments)


def test_tensors_of_a_device_are_searched_in_an_index_there(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(native, "usable_cuda", lambda: recorder)
    monkeypatch.setattr(hamming_cuda, "_current_stream", lambda device: 77)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(FakeTensor, "data_ptr", lambda tensor: 11)
    Streams(monkeypatch)
    # Needs a torch built with CUDA, whatever the tensor.
    monkeypatch.setattr(torch.Tensor, "copy_", lambda target, source, non_blocking=False: target)
    index = HammingIndex(64)
    with FakeTensorMode():
        index = index.to("cuda:1")
        index.add(torch.empty(40, 8, dtype=torch.uint8, device="cuda:1"), np.arange(40)[::-1])
        assert (index.device, len(index), index.codes.device) == ("cuda:1", 40, torch.device("cuda:1"))
        assert repr(index) == "<HammingIndex: 40 codes of 64 bits on cuda:1>"
        queries = torch.empty(6, 8, dtype=torch.uint8, device="cuda:1")
        mask = torch.empty(40, dtype=torch.bool, device="cuda:1")
        distances, ids = index.search(queries, 3, mask=mask)
        assert (distances.shape, distances.dtype, distances.device) == ((6, 3), torch.int32, queries.device)
        assert (ids.shape, ids.dtype, ids.device) == ((6, 3), torch.int64, queries.device)
        elsewhere = torch.empty(6, 8, dtype=torch.uint8, device="cuda:0")
        with pytest.raises(ValueError, match=r"queries must lie on the CPU or on cuda:1 .*, got cuda:0"):
            index.search(elsewhere, 3)
        with pytest.raises(ValueError, match=r"mask must lie on the CPU or on cuda:1 .*, got cuda:0"):
            index.search(queries, 3, mask=torch.empty(40, dtype=torch.bool, device="cuda:0"))
        with pytest.raises(ValueError, match=r"codes must lie on the CPU or on cuda:1 .*, got cuda:0"):
            index.add(elsewhere)
    assert recorder.calls == [(11, 40, 8, 11, 6, 3, 11, False, 11, 64, 11, 11, 1, 77)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="gpu: torch finds no CUDA device")
@pytest.mark.parametrize("kind", ID_KINDS)
def test_an_index_on_a_device_and_blocks_on_a_device(
    kind: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu, index = HammingIndex(N_BITS), HammingIndex(N_BITS, device="cuda")
    for first, n in ((0, 3000), (3000, 1), (3001, 5000)):
        codes, ids = codes_of(rng, n), ids_of(kind, rng, first, n)
        for each in (on_cpu, index):
            each.add(codes, ids)
    gone = rng.choice(on_cpu.ids, 99, replace=False)
    for each in (on_cpu, index):
        each.remove(gone)
    monkeypatch.setattr(index_cuda, "_BLOCK_BYTES", 1600)
    queries, allowed = codes_of(rng, 60), rng.random(len(index)) < 0.3
    for mask in (None, allowed, np.packbits(allowed)):
        for q in (2, 60):
            want = on_cpu.search(queries[:q], 9, mask=mask)
            assert_same(index.search(queries[:q], 9, mask=mask), want)
            assert_same(on_cpu.to("cuda").search(queries[:q], 9, mask=mask), want)
            assert_same(on_cpu.search(queries[:q], 9, mask=mask, device="cuda"), want)
            there = torch.from_numpy(queries[:q]).cuda()
            for found in (
                index.search(there, 9, mask=mask),
                on_cpu.search(there, 9, mask=mask, device="cuda"),
            ):
                assert_same(tuple(part.cpu().numpy() for part in found), want)
        assert_same(index.range_search(queries, 1, mask=mask), on_cpu.range_search(queries, 1, mask=mask))
    with torch.cuda.stream(torch.cuda.Stream()):  # written on another stream
        assert_same(index.search(queries, 9), on_cpu.search(queries, 9))
    with pytest.raises(MemoryError, match=r"cuda:0 has no room for [\d,]+ bytes more"):
        cuda_memory.empty((2**50,), torch.uint8, torch.device("cuda:0"), "a test")
