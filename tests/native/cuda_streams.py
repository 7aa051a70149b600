"""Stands in for torch's streams and events where there is no device, and shows what is not ordered by them.

What is copied on a side stream happens as late as its events allow, so that who reads too early reads what
was there before. Kernels run at once; that memory is overwritten only after they have read it, and that
pinned memory is written only after it was copied, is checked when the next copy is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch


class OrderError(Exception):
    """Work that no event puts in order."""


class Streams:
    """The default stream, side streams, and what each knows of the others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernels = 0  # run so far, all on the default stream
        self.last_read: dict[int, int] = {}  # by which kernel, by address
        self.copied_from: dict[int, tuple[Stream, int]] = {}  # the last copy from pinned memory, by address
        self.copies = 0
        self.default = Stream(self)
        self.current = self.default
        copy_now = torch.Tensor.copy_

        def copy(target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
            if self.current is self.default:
                return copy_now(target, source)
            self.current.copy_later(target, source, copy_now)
            return target

        monkeypatch.setattr(torch.Tensor, "copy_", copy)
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(self))
        monkeypatch.setattr(torch.cuda, "Event", lambda: Event(self))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self.current)
        monkeypatch.setattr(torch.cuda, "stream", self._entered)

    @contextmanager
    def _entered(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    def forget(self, tensor: torch.Tensor) -> torch.Tensor:
        """Say that memory is new, where others may have lain before."""
        self.last_read.pop(tensor.data_ptr(), None)
        self.copied_from.pop(tensor.data_ptr(), None)
        return tensor

    def kernel_reads(self, address: int) -> None:
        """Say that a kernel on the default stream reads memory at an address."""
        self.kernels += 1
        self.last_read[address] = self.kernels


class Stream:
    """A stream of copies."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._waiting: list[Any] = []
        self.asked = 0  # copies so far
        self.known_to_the_cpu = 0  # of these
        self.kernels_seen = 0

    def copy_later(self, target: torch.Tensor, source: torch.Tensor, copy: Any) -> None:
        if self.kernels_seen < self._streams.last_read.get(target.data_ptr(), 0):
            raise OrderError("a copy may overwrite what a kernel is still reading")
        stream, number = self._streams.copied_from.get(source.data_ptr(), (self, 0))
        if stream.known_to_the_cpu < number:
            raise OrderError("pinned memory may have been written before it was copied")
        self.asked += 1
        self._streams.copies += 1
        self._streams.copied_from[source.data_ptr()] = self, self.asked
        self._waiting.append(lambda: copy(target, source))

    def wait_event(self, event: Event) -> None:
        event.happen()
        self.kernels_seen = max(self.kernels_seen, event.kernels)

    def happen(self, until: int) -> None:
        while self.asked - len(self._waiting) < until:
            self._waiting.pop(0)()


class Event:
    """An event; one that was never recorded has happened."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._stream, self._until, self.kernels = streams.default, 0, 0

    def record(self, stream: Stream) -> None:
        self._stream, self._until = stream, stream.asked
        if stream is self._streams.default:
            self.kernels = self._streams.kernels

    def happen(self) -> None:
        self._stream.happen(self._until)

    def synchronize(self) -> None:
        self.happen()
        self._stream.known_to_the_cpu = max(self._stream.known_to_the_cpu, self._until)
