"""Hamming search where the codes lie on a CUDA device: checks, memory, launches.

All memory comes from torch's caching allocator, and everything is put on the current stream of the codes'
device. Only `search_range` waits for it, since it must know how many hits there are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from sdc_search import cuda_memory, native
from sdc_search.arrays import as_device_codes, as_device_mask, same_device

_MAX_ROWS = 2**31 - 1
_GRAPH_BLOCK = 16_384  # codes searched at once, which bounds the memory beyond the graph itself


def topk(
    codes: torch.Tensor, queries: object, k: int, mask: object = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do what `sdc_search.hamming_topk` does, for codes on a device."""
    search = _Search(codes, queries, mask)
    distances = search.empty((search.n_queries, k), torch.int32)
    ids = search.empty((search.n_queries, k), torch.int64)
    for batch in search.batches():
        search.cuda.hamming_topk(
            *search.codes_and_queries(batch),
            k,
            *search.mask_and_workspace(batch),
            _rows(distances, batch).data_ptr(),
            _rows(ids, batch).data_ptr(),
            *search.target(),
        )
    return distances, ids


def search_range(
    codes: torch.Tensor, queries: object, radius: int, mask: object = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Do what `sdc_search.hamming_range` does, for codes on a device."""
    search = _Search(codes, queries, mask)
    counts = search.empty((search.n_queries,), torch.int64)
    distances, ids = [], []
    for batch in search.batches():
        common = search.codes_and_queries(batch), search.mask_and_workspace(batch)
        search.cuda.hamming_range_count(
            *common[0],
            min(radius, 8 * search.n_bytes),
            *common[1],
            _rows(counts, batch).data_ptr(),
            *search.target(),
        )
        first = _sums_before(_rows(counts, batch))
        n_hits = int(first[-1])
        distances.append(search.empty((n_hits,), torch.int32))
        ids.append(search.empty((n_hits,), torch.int64))
        search.cuda.hamming_range_emit(
            *common[0],
            *common[1],
            first.data_ptr(),
            distances[-1].data_ptr(),
            ids[-1].data_ptr(),
            *search.target(),
        )
    return (
        _sums_before(counts),
        search.joined(distances, torch.int32),
        search.joined(ids, torch.int64),
    )


def distance(codes: torch.Tensor, queries: object) -> torch.Tensor:
    """Do what `sdc_search.hamming_distance` does, for codes on a device."""
    search = _Search(codes, queries, None)
    distances = search.empty((search.n_queries, search.n), torch.int32)
    for batch in search.batches():
        search.cuda.hamming_distance(
            *search.codes_and_queries(batch), _rows(distances, batch).data_ptr(), *search.target()
        )
    return distances


def knn_graph(codes: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Do what `sdc_search.knn_graph` does, for codes on a device."""
    distances, ids = [], []
    for first in range(0, max(len(codes), 1), _GRAPH_BLOCK):
        block = slice(first, min(first + _GRAPH_BLOCK, len(codes)))
        block_distances, found = topk(codes, _rows(codes, block), k + 1)
        own = torch.arange(block.start, block.stop, device=found.device).unsqueeze(1)
        # What comes after the code itself moves up; where its list is without it, the last is too many.
        kept = torch.arange(k, device=found.device)
        kept = kept + ((found.narrow(1, 0, k) == own).cumsum(dim=1) > 0)
        distances.append(block_distances.gather(1, kept))
        ids.append(found.gather(1, kept))
    return torch.cat(distances), torch.cat(ids)


def _rows(tensor: torch.Tensor, rows: slice) -> torch.Tensor:
    return tensor.narrow(0, rows.start, rows.stop - rows.start)


def _sums_before(counts: torch.Tensor) -> torch.Tensor:
    sums = torch.zeros(len(counts) + 1, dtype=torch.int64, device=counts.device)
    torch.cumsum(counts, dim=0, out=sums[1:])
    return sums


def _current_stream(device: torch.device) -> int:
    return torch.cuda.current_stream(device).cuda_stream


class _Search:
    """The checked arguments of a search, as the kernels want them."""

    def __init__(self, codes: torch.Tensor, queries: object, mask: object) -> None:
        same_device("codes", codes, "queries", queries)
        self._codes = as_device_codes("codes", codes)
        self.n, self.n_bytes = self._codes.shape
        if self.n_bytes > native.core.MAX_CODE_BYTES:
            raise ValueError(
                f"codes must have at most {native.core.MAX_CODE_BYTES} bytes a code, got {self.n_bytes}"
            )
        if self.n > _MAX_ROWS:
            raise ValueError(f"codes on a CUDA device must be at most {_MAX_ROWS}, got {self.n}")
        assert isinstance(queries, torch.Tensor)  # since it lies on the device
        self._queries = as_device_codes("queries", queries, self.n_bytes)
        self.n_queries = len(self._queries)
        self._mask = None
        if mask is not None:
            same_device("codes", codes, "mask", mask)
            assert isinstance(mask, torch.Tensor)
            self._mask = as_device_mask("mask", mask, self.n)
        self.cuda = native.usable_cuda()
        self._workspace = self.empty((0,), torch.uint8)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return cuda_memory.empty(shape, dtype, self._codes.device, "results or workspace of a search")

    def joined(self, parts: list[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
        """Join the hits of the batches, which most searches have one of."""
        if len(parts) == 1:
            return parts[0]
        joined = self.empty((sum(map(len, parts)),), dtype)
        return torch.cat(parts, out=joined) if parts else joined

    def batches(self) -> Iterator[slice]:
        """Return the runs of queries that one launch takes."""
        most = self.cuda.max_queries(self.n_bytes)
        for first in range(0, self.n_queries, most):
            yield slice(first, min(first + most, self.n_queries))

    def codes_and_queries(self, batch: slice) -> tuple[int, int, int, int, int]:
        queries = _rows(self._queries, batch)
        return self._codes.data_ptr(), self.n, self.n_bytes, queries.data_ptr(), len(queries)

    def mask_and_workspace(self, batch: slice) -> tuple[int, bool, int, int]:
        wanted = self.cuda.workspace_bytes(self.n, self.n_bytes, batch.stop - batch.start, self._device_index)
        if len(self._workspace) < wanted:
            self._workspace = self.empty((wanted,), torch.uint8)
        mask = self._mask
        return (
            0 if mask is None else mask.data_ptr(),
            mask is not None and mask.dtype == torch.uint8,
            self._workspace.data_ptr(),
            wanted,
        )

    @property
    def _device_index(self) -> int:
        return self._codes.device.index or 0

    def target(self) -> tuple[int, int]:
        return self._device_index, _current_stream(self._codes.device)
