"""The place of look-up tables in an index: what it asks of them, when they are built, what is scanned."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from sdc_search.native import core

Codes: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_] | npt.NDArray[np.uint8]
Ids: TypeAlias = npt.NDArray[np.int64]
TopK: TypeAlias = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]

# Codes behind the tables are scanned at every search. There may be this many, or this share of those covered,
# before the tables are built anew, so that adding in batches builds them a logarithmic number of times.
_SMALL_TAIL = 10_000
_TAIL_SHARE = 1 / 8


class Plan(NamedTuple):
    """How `HammingIndex.search` would search, and why."""

    strategy: str
    reason: str


class Tables(Protocol):
    """Exact top-k over codes that are known beforehand."""

    @property
    def n(self) -> int:
        """How many codes they cover."""

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What they consist of, as a file keeps it."""

    @classmethod
    def build(cls, codes: Codes, n_bits: int, threads: int) -> Self:
        """Build them over `codes`, of which there is at least one."""

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]], n_bits: int) -> Self:
        """Take over `arrays`; ``ValueError`` where a search could be led outside of them."""

    @classmethod
    def plan(
        cls, tables: Self | None, n: int, n_bits: int, n_queries: int, k: int, mask: Mask | None
    ) -> Plan:
        """Choose between ``"scan"`` and ``"multi_index"`` over `n` codes; `tables` are those built so far."""

    def search(self, queries: Codes, k: int, mask: Mask | None, ids: Ids | None, threads: int) -> TopK:
        """Do what the native ``hamming_topk`` does over the codes covered, byte for byte."""


TABLES: type[Tables] | None = None  # the kind that this release has


class GrowingTables:
    """Tables of an array of codes that only grows: they cover its first codes, the rest is scanned."""

    def __init__(self, built: Tables | None = None) -> None:
        self.built = built
        self._lock = threading.Lock()

    def cover(self, codes: Codes, n_bits: int, threads: int) -> Tables:
        """Return tables of all of `codes` but a small tail, building them where there are none.

        `codes` is a prefix, of any length but 0, of the growing array; the tables may cover more.
        """
        assert TABLES is not None
        with self._lock:
            covered = 0 if self.built is None else self.built.n
            if self.built is None or len(codes) - covered > max(_SMALL_TAIL, covered * _TAIL_SHARE):
                self.built = TABLES.build(codes, n_bits, threads)
            return self.built

    def topk(
        self,
        codes: Codes,
        n_bits: int,
        queries: Codes,
        k: int,
        mask: Mask | None,
        ids: Ids | None,
        threads: int,
    ) -> TopK:
        """Do what the native ``hamming_topk`` does over `codes`, a prefix of the growing array."""
        if len(codes) == 0:
            return core.hamming_topk(codes, queries, k, mask, ids, threads)
        tables = self.cover(codes, n_bits, threads)
        n = tables.n
        if n > len(codes):  # the search began before the last codes were added
            return core.hamming_topk(codes, queries, k, mask, ids, threads)
        if n == len(codes):
            return tables.search(queries, k, mask, ids, threads)
        if mask is not None and mask.dtype == np.uint8:
            mask = np.unpackbits(mask.view(np.uint8), count=len(codes)).view(np.bool_)
        parts = [
            tables.search(
                queries, k, None if mask is None else mask[:n], None if ids is None else ids[:n], threads
            ),
            core.hamming_topk(
                codes[n:],
                queries,
                k,
                None if mask is None else mask[n:],
                np.arange(n, len(codes)) if ids is None else ids[n:],
                threads,
            ),
        ]
        distances = np.concatenate([part[0] for part in parts], axis=1)
        found = np.concatenate([part[1] for part in parts], axis=1)
        best = np.lexsort((found, distances), axis=1)[:, :k]
        return np.take_along_axis(distances, best, axis=1), np.take_along_axis(found, best, axis=1)
