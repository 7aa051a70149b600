"""Memory of a CUDA device: an error that says how much was wanted, streams that share it, copies into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sdc_search import native


def cuda_device(name: str, value: str | torch.device) -> torch.device:
    """Check that an argument names a CUDA device that can be used, and give it its number.

    Raises
    ------
    RuntimeError
        CUDA cannot be used here: the message says why.
    ValueError
        There is no such device.
    """
    try:
        device = torch.device(value)
    except RuntimeError:
        device = torch.device("cpu")
    if device.type != "cuda":
        raise ValueError(f"{name} must be 'cpu' or a CUDA device such as 'cuda:0', got {str(value)!r}")
    native.usable_cuda()
    if str(device) == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    if device.index >= torch.cuda.device_count():
        raise ValueError(f"{name} must be one of {torch.cuda.device_count()} CUDA devices, got {device}")
    return device


@contextmanager
def room_for(n_bytes: int, device: torch.device, what: str) -> Iterator[None]:
    """Turn torch's error of too little memory into a ``MemoryError`` that says how much was wanted."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(f"{device} has no room for {n_bytes:,} bytes more, of {what}") from error


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device, what: str) -> torch.Tensor:
    """Allocate a tensor; ``MemoryError`` where the device has no room for it."""
    n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    with room_for(n_bytes, device, what):
        return torch.empty(tuple(shape), dtype=dtype, device=device)


def from_numpy(array: npt.NDArray[Any], device: torch.device, what: str) -> torch.Tensor:
    """Copy a small array to a device."""
    with room_for(array.nbytes, device, what):
        # torch warns of arrays that must not be written to, such as mapped files.
        return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)


class Handover:
    """The instant at which tensors were written, for those who read them on other streams."""

    def __init__(self, device: torch.device) -> None:
        self._written = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._written.record(torch.cuda.current_stream(device))

    def to_current_stream(self, *tensors: torch.Tensor) -> None:
        """Let the current stream wait for that instant, and keep the memory until it has read them."""
        stream = torch.cuda.current_stream(tensors[0].device)
        stream.wait_event(self._written)
        for tensor in tensors:
            tensor.record_stream(stream)


def pinned_like(tensor: torch.Tensor) -> torch.Tensor:
    """Allocate memory of the CPU that a device copies from while the CPU does something else."""
    return torch.empty_like(tensor, pin_memory=True)


class _Slot:
    """Room for one block in pinned memory and on the device."""

    def __init__(self, parts: Sequence[npt.NDArray[Any]], device: torch.device) -> None:
        self._device = device
        empty_parts = [torch.from_numpy(np.empty(part.shape, part.dtype)) for part in parts]
        self._pinned = [pinned_like(part) for part in empty_parts]
        self._there = [empty(part.shape, part.dtype, device, "a block of codes") for part in empty_parts]
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._read = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self.release()  # what the current stream still does with this memory comes first

    def fill(
        self,
        parts: Sequence[npt.NDArray[Any]],
        copies: torch.cuda.Stream,
        pool: ThreadPoolExecutor,
        ways: int,
    ) -> list[torch.Tensor]:
        """Begin to copy a block, and let the current stream wait until it is there."""
        self._copied.synchronize()  # pinned memory is free once the block before has left it
        for part, pinned in zip(parts, self._pinned, strict=True):
            target = pinned.numpy()[: len(part)]
            list(pool.map(np.copyto, np.array_split(target, ways), np.array_split(part, ways)))
        copies.wait_event(self._read)
        filled = [there.narrow(0, 0, len(part)) for part, there in zip(parts, self._there, strict=True)]
        with torch.cuda.stream(copies):
            for pinned, there in zip(self._pinned, filled, strict=True):
                there.copy_(pinned[: len(there)], non_blocking=True)
            self._copied.record(copies)
        torch.cuda.current_stream(self._device).wait_event(self._copied)
        return filled

    def release(self) -> None:
        """Say that all that reads the block has been put on the current stream."""
        self._read.record(torch.cuda.current_stream(self._device))


def blocks_on(
    device: torch.device,
    arrays: Sequence[tuple[npt.NDArray[Any], int]],
    n: int,
    block_rows: int,
    threads: int,
) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Copy `n` rows to a device, a block at a time, and yield the number of its first row and its arrays.

    While the device works on one block, the next is read into pinned memory by `threads` threads and copied
    on a stream of its own. The memory is that of two blocks, on either side, whatever `n` is. What is yielded
    may be read by what is put on the current stream before the next block is asked for.

    Parameters
    ----------
    arrays
        Each in the CPU's memory or in a mapped file, with the rows that one entry of it is for, which divide
        `block_rows`.
    """
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    slots: list[_Slot] = []
    with ThreadPoolExecutor(threads) as pool:
        for number, first in enumerate(range(0, n, block_rows)):
            last = min(first + block_rows, n)
            parts = [array[first // rows : -(-last // rows)] for array, rows in arrays]
            if number < 2:
                slots.append(_Slot(parts, device))
            slot = slots[number % 2]
            yield first, slot.fill(parts, copies, pool, threads)
            slot.release()
