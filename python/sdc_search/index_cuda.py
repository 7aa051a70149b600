"""The items of an index on a CUDA device: how they grow, their order by id, and searching them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from sdc_search import cuda_memory, hamming_cuda
from sdc_search.arrays import as_codes, as_device_codes, as_device_mask, as_mask, like, on_cuda
from sdc_search.codes import check_padding, code_bytes
from sdc_search.growing import grown_capacity
from sdc_search.item_ids import ItemIds
from sdc_search.merging import merge_topk

_BLOCK_BYTES = 1 << 26  # of what is copied at once


class GrowingOnDevice:
    """What `Growing` is, for rows on a device."""

    def __init__(self, buffer: torch.Tensor, n: int) -> None:
        self._buffer = buffer
        self._handover = cuda_memory.Handover(buffer.device)
        self._rows = buffer.narrow(0, 0, n)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def device(self) -> torch.device:
        """Where the rows lie."""
        return self._rows.device

    def rows(self) -> torch.Tensor:
        """Return the rows, for work on the current stream."""
        self._handover.to_current_stream(self._buffer)
        return self._rows

    def extended(self, extra: torch.Tensor) -> GrowingOnDevice:
        """Append rows."""
        n, total = len(self), len(self) + len(extra)
        buffer = self._buffer
        if total > len(buffer):
            buffer = cuda_memory.empty(
                (grown_capacity(n, total), *extra.shape[1:]), buffer.dtype, buffer.device, "an index"
            )
            buffer.narrow(0, 0, n).copy_(self.rows())
        else:
            self._handover.to_current_stream(buffer)
        buffer.narrow(0, n, len(extra)).copy_(extra)
        return GrowingOnDevice(buffer, total)

    def kept(self, kept: npt.NDArray[np.bool_]) -> GrowingOnDevice:
        """Keep some rows, in new memory."""
        chosen = cuda_memory.from_numpy(np.flatnonzero(kept), self.device, "the rows that an index keeps")
        buffer = cuda_memory.empty(
            (len(chosen), *self._rows.shape[1:]), self._rows.dtype, self.device, "what an index keeps"
        )
        torch.index_select(self.rows(), 0, chosen, out=buffer)
        return GrowingOnDevice(buffer, len(buffer))


@dataclass(frozen=True, slots=True)
class _InOrder:
    """Codes in the order of their ids, so that the smaller row is the smaller id."""

    codes: torch.Tensor
    names: torch.Tensor | None  # the id of each; None: its row
    order: torch.Tensor | None  # the row of each in the order of adding; None: the same


class _Names:
    """The ids of an array of codes that only grows, on the device, from the first search on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rising: GrowingOnDevice | None = None
        self._sorted: tuple[_InOrder, cuda_memory.Handover] | None = None

    def in_order(self, codes: GrowingOnDevice, ids: ItemIds) -> _InOrder:
        """Return codes, a prefix of any length of the growing array, in the order of their ids."""
        rows = codes.rows()
        if ids.rows is None:
            return _InOrder(rows, None, None)
        with self._lock:
            if ids.ascending:
                covered = 0 if self._rising is None else len(self._rising)
                if covered < ids.n:
                    more = cuda_memory.from_numpy(ids.rows[covered:], codes.device, "the ids of an index")
                    before = self._rising
                    self._rising = (
                        GrowingOnDevice(more, len(more)) if before is None else before.extended(more)
                    )
                assert self._rising is not None
                return _InOrder(rows, self._rising.rows().narrow(0, 0, ids.n), None)
            self._rising = None
            if self._sorted is None or len(self._sorted[0].codes) != ids.n:
                self._sorted = None  # its memory goes before the next is asked for
                self._sorted = _sorted(rows, ids.rows), cuda_memory.Handover(codes.device)
            found, handover = self._sorted
            assert found.names is not None
            assert found.order is not None
            handover.to_current_stream(found.codes, found.names, found.order)
            return found


def _sorted(codes: torch.Tensor, ids: npt.NDArray[np.int64]) -> _InOrder:
    with cuda_memory.room_for(36 * len(ids) + codes.nbytes, codes.device, "an index in the order of its ids"):
        names, order = cuda_memory.from_numpy(ids, codes.device, "the ids of an index").sort()
        return _InOrder(codes.index_select(0, order), names, order.to(torch.int32))


@dataclass(frozen=True, slots=True)
class CudaState:
    """What an index on a CUDA device holds at one instant."""

    codes: GrowingOnDevice
    ids: ItemIds
    names: _Names = field(default_factory=_Names)

    def __len__(self) -> int:
        return self.ids.n

    @property
    def device(self) -> torch.device:
        """Where the codes lie."""
        return self.codes.device

    def with_items(self, codes: torch.Tensor, ids: npt.NDArray[np.int64]) -> CudaState:
        """Append items, at least one, whose ids are new."""
        return replace(self, codes=self.codes.extended(codes), ids=self.ids.extended(ids))

    def without_rows(self, rows: npt.NDArray[np.int64]) -> CudaState:
        """Drop rows, at least one, and close the gaps in new memory: searches may be reading the old."""
        kept = np.ones(len(self), dtype=np.bool_)
        kept[rows] = False
        return CudaState(self.codes.kept(kept), self.ids.kept(kept))

    def topk(self, queries: torch.Tensor, k: int, mask: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """Do what `HammingIndex.search` does, with arguments on the device."""
        items = self.names.in_order(self.codes, self.ids)
        distances, found = hamming_cuda.topk(items.codes, queries, k, _ordered(mask, items.order))
        return distances, _named(found, items.names)

    def range(
        self, queries: torch.Tensor, radius: int, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        """Do what `HammingIndex.range_search` does, with arguments on the device."""
        items = self.names.in_order(self.codes, self.ids)
        mask = _ordered(mask, items.order)
        lims, distances, found = hamming_cuda.search_range(items.codes, queries, radius, mask)
        return lims, distances, _named(found, items.names)


def on_device(codes: npt.NDArray[np.uint8], ids: ItemIds, device: torch.device, threads: int) -> CudaState:
    """Copy the items of an index to a device."""
    buffer = cuda_memory.empty(codes.shape, torch.uint8, device, "the codes of an index")
    for first, (block,) in cuda_memory.blocks_on(
        device, [(codes, 1)], len(codes), _block_rows(codes.shape[1]), threads
    ):
        buffer.narrow(0, first, len(block)).copy_(block)
    return CudaState(GrowingOnDevice(buffer, len(codes)), ids)


def streamed_topk(
    codes: npt.NDArray[np.uint8],
    ties: npt.NDArray[np.int64] | None,
    queries: torch.Tensor,
    k: int,
    mask: npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | None,
    threads: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the nearest of codes that lie on the CPU, on the device of the queries, which gets them in blocks.

    The device needs memory for two blocks, a search and the results, whatever the number of codes.

    Returns
    -------
    distances, ids
        As of the native ``hamming_topk``: rows, or `ties`, which break ties then.
    """
    arrays: list[tuple[npt.NDArray[np.generic], int]] = [(codes, 1)]
    if ties is not None:
        arrays.append((ties, 1))
    if mask is not None:
        arrays.append((mask, 8 if mask.dtype == np.uint8 else 1))
    best: tuple[torch.Tensor, torch.Tensor] | None = None
    for first, block in cuda_memory.blocks_on(
        queries.device, arrays, len(codes), _block_rows(codes.shape[1]), threads
    ):
        rows, allowed = block[0], None if mask is None else block[-1]
        names = None
        if ties is not None:
            names, order = block[1].sort()
            rows, allowed = rows.index_select(0, order), _ordered(allowed, order)
        distances, found = hamming_cuda.topk(rows, queries, min(k, len(rows)), allowed)
        found = _named(found, names) if ties is not None else torch.where(found < 0, found, found + first)
        best = merge_topk([(distances, found), *([] if best is None else [best])], k)
    return best or hamming_cuda.topk(cuda_memory.from_numpy(codes, queries.device, "no codes"), queries, k)


def codes_on(name: str, codes: object, n_bits: int, device: torch.device) -> torch.Tensor:
    """Check codes or queries of the CPU or of `device`, and return them on `device`."""
    if not on_cuda(codes):
        array = as_codes(name, codes, code_bytes(n_bits))
        check_padding(name, array, n_bits)
        return cuda_memory.from_numpy(array, device, name)
    _check_place(name, codes, device)
    tensor = as_device_codes(name, codes, code_bytes(n_bits))
    padding = 8 * tensor.shape[1] - n_bits
    if padding and bool((tensor[:, -1] & ((1 << padding) - 1)).any()):
        raise ValueError(f"{name} must have zero padding bits after bit {n_bits}")
    return tensor


def mask_on(name: str, mask: object, n: int, device: torch.device) -> torch.Tensor | None:
    """Check a mask of the CPU or of `device`, and return it on `device`."""
    if mask is None:
        return None
    if not on_cuda(mask):
        return cuda_memory.from_numpy(as_mask(name, mask, n), device, name)
    _check_place(name, mask, device)
    return as_device_mask(name, mask, n)


def results_like(queries: object, results: tuple[torch.Tensor, ...]) -> tuple[object, ...]:
    """Return results where the queries lie, and of their kind."""
    return results if on_cuda(queries) else tuple(like(queries, each.cpu().numpy()) for each in results)


def _check_place(name: str, tensor: torch.Tensor, device: torch.device) -> None:
    if tensor.device != device:
        raise ValueError(f"{name} must lie on the CPU or on {device} as the index does, got {tensor.device}")


def _block_rows(n_bytes: int) -> int:
    """Return the rows of a block: whole bytes of a packed mask."""
    return max(_BLOCK_BYTES // n_bytes // 8, 1) * 8


def _ordered(mask: torch.Tensor | None, order: torch.Tensor | None) -> torch.Tensor | None:
    if mask is None or order is None:
        return mask
    if mask.dtype == torch.uint8:  # packed, the first bit in the most significant place
        places = torch.arange(7, -1, -1, dtype=torch.uint8, device=mask.device)
        mask = ((mask.unsqueeze(1) >> places) & 1).flatten().to(torch.bool)
    return mask.index_select(0, order)


def _named(found: torch.Tensor, names: torch.Tensor | None) -> torch.Tensor:
    """Return the ids of rows; -1 stays."""
    if names is None or len(names) == 0:
        return found
    return torch.where(found < 0, found, names.take(found.clamp(min=0)))
