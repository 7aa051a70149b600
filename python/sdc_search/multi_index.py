"""Exact search through look-up tables: multi-index hashing over an array of codes that grows.

The tables group the codes by the values of their substrings (Norouzi, Punjani, Fleet: Fast Exact Search in
Hamming Space with Multi-Index Hashing, TPAMI 2014). They answer a query from the buckets near its own, which
is far less than a scan where neighbours are near. ``csrc/mih.h`` describes them; here is decided when they
are built, when they are asked, and what is scanned beside them.
"""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from sdc_search.codes import code_bytes
from sdc_search.id_lookup import ids_at
from sdc_search.native import core

Codes: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_] | npt.NDArray[np.uint8]
Ids: TypeAlias = npt.NDArray[np.int64]
TopK: TypeAlias = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]
Range: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]

# Codes behind the tables are scanned at every search. There may be this many, or this share of those covered,
# before the tables are built anew, so that adding in batches builds them a logarithmic number of times.
_SMALL_TAIL = 10_000
_TAIL_SHARE = 1 / 8

_CACHE_BYTES = 32e6  # codes beyond are read from memory, at so many ns a byte:
_MEMORY_NS_PER_BYTE = 0.06

_PROBES = 8  # stored codes that are searched for, to learn what a query costs
_MASK_NS = 0.06  # to read a code's entry of a mask
_MASK_SAMPLE = 4096  # entries of a mask that are counted
_FORCED_BUDGET_NS = 1e6  # what a query may cost where tables are asked for, however small the index
_REMEMBERED_CHOICES = 64


class Plan(NamedTuple):
    """How `HammingIndex.search` would search, and why."""

    strategy: str
    reason: str


class Choice(NamedTuple):
    """A plan, and the estimated ns that the tables may spend on a query before it is scanned after all."""

    plan: Plan
    budget_ns: float


def check_bits(n_bits: int) -> None:
    """Raise ``ValueError`` where codes of `n_bits` are too short or too long for tables."""
    if not core.MIN_INDEXED_BITS <= n_bits <= core.MAX_INDEXED_BITS:
        raise ValueError(
            f"tables are for codes of {core.MIN_INDEXED_BITS} to {core.MAX_INDEXED_BITS} bits,"
            f" got n_bits = {n_bits}"
        )


class Tables:
    """Exact top-k and range search over codes that are known beforehand.

    Parameters
    ----------
    arrays
        ``offsets``, ``rows`` and ``copies`` as ``csrc/mih.h`` describes them; and ``rank``, the position of
        each row's id among all ids sorted, unless the ids rise from row to row.
    n_bits
        Bits of a code.
    """

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], n_bits: int) -> None:
        self.arrays = arrays
        self.n = arrays["rows"].shape[1]
        self._n_bits = n_bits
        self._native = arrays["offsets"], arrays["rows"], arrays["copies"], n_bits
        self._rank = arrays.get("rank")
        self._probing = threading.Lock()
        self._probed: dict[int, npt.NDArray[np.float64]] = {}

    @classmethod
    def build(
        cls, codes: Codes, n_bits: int, ids: Ids | None, threads: int, *, n_tables: int | None = None
    ) -> Tables:
        """Build them over `codes`, of which there is at least one; without `ids` the rows break ties."""
        built = core.build_multi_index(codes, n_bits, n_tables, threads)
        arrays: dict[str, npt.NDArray[Any]] = dict(zip(("offsets", "rows", "copies"), built, strict=True))
        if ids is not None and (ids[1:] < ids[:-1]).any():
            rank = np.empty(len(ids), dtype=np.uint32)
            rank[np.argsort(ids)] = np.arange(len(ids), dtype=np.uint32)
            arrays["rank"] = rank
        return cls(arrays, n_bits)

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]], n_bits: int, threads: int) -> Tables:
        """Take over what a file holds; ``ValueError`` where a search could be led outside of it."""
        if arrays.keys() - {"rank"} != {"offsets", "rows", "copies"}:
            raise ValueError(f"wanted offsets, rows, copies and perhaps rank, got {sorted(arrays)}")
        for name, array in arrays.items():
            if array.dtype != (wanted := np.uint8 if name == "copies" else np.uint32):
                raise ValueError(f"{name}: wanted {wanted.__name__}, got {array.dtype}")
        core.check_multi_index(arrays["offsets"], arrays["rows"], arrays["copies"], n_bits, threads)
        tables = cls(arrays, n_bits)
        if "rank" in arrays and arrays["rank"].shape != (tables.n,):
            raise ValueError(f"rank: wanted shape {(tables.n,)}, got {arrays['rank'].shape}")
        return tables

    def fits(self, codes: Codes, ids: Ids | None, threads: int) -> bool:
        """Return whether these are the tables of the first of `codes`, by building them again."""
        again = Tables.build(
            codes[: self.n],
            self._n_bits,
            None if ids is None else ids[: self.n],
            threads,
            n_tables=len(self.arrays["rows"]),
        )
        return self.arrays.keys() == again.arrays.keys() and all(
            np.array_equal(array, again.arrays[name]) for name, array in self.arrays.items()
        )

    def topk(
        self, queries: Codes, k: int, mask: Mask | None, budget_ns: float, threads: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return distances, rows, and which queries are finished; the others would exceed the budget."""
        return core.multi_index_topk(*self._native, queries, k, mask, self._rank, budget_ns, threads)

    def range(
        self, queries: Codes, radius: int, mask: Mask | None, budget_ns: float, threads: int
    ) -> Range | None:
        """Return what ``hamming_range`` does, of rows; None if a query would exceed the budget."""
        return core.multi_index_range(*self._native, queries, radius, mask, self._rank, budget_ns, threads)

    def expected_ns(self, k: int, threads: int) -> npt.NDArray[np.float64]:
        """Return what finding about `k` neighbours, fewer than there are, costs one thread for some queries.

        They are stored codes, which are searched for at the first question about so many neighbours. A search
        that would cost more than a scan for one query is given up; its cost is more than that.
        """
        k = min(_rounded(k), self.n - 1)
        with self._probing:
            if k not in self._probed:
                budget_ns = scan_ns(self.n, self._n_bits, n_queries=1)
                costs = core.probe_multi_index(*self._native, _PROBES, k, budget_ns, threads)
                self._probed[k] = np.array(costs)
            return self._probed[k]


class GrowingTables:
    """Tables of an array of codes that only grows: they cover its first codes, the rest is scanned."""

    def __init__(self, built: Tables | None = None) -> None:
        self.built = built
        self._building = threading.Lock()
        self._choices: dict[tuple[object, ...], Choice] = {}

    def cover(
        self, codes: Codes, n_bits: int, ids: Ids | None, threads: int, *, whole: bool = False
    ) -> Tables:
        """Return tables of all of `codes`, or of all but a small tail, building them where there are none.

        `codes`, and their ids if there are any, are a prefix, of any length but 0, of the growing array; the
        tables may cover more.
        """
        with self._building:
            covered = 0 if self.built is None else self.built.n
            tail = 0 if whole else max(_SMALL_TAIL, covered * _TAIL_SHARE)
            if self.built is None or len(codes) - covered > tail:
                self.built = Tables.build(codes, n_bits, ids, threads)
            return self.built

    def choose(self, n: int, n_bits: int, n_queries: int, k: int, mask: Mask | None, threads: int) -> Choice:
        """Choose between ``"scan"`` and ``"multi_index"`` over the first `n` codes of the growing array."""
        built = self.built
        allowed = 1.0 if built is None else _allowed_share(mask, n)
        key = None if built is None else built.n, n, n_queries, k, allowed, threads
        choice = self._choices.get(key)
        if choice is None:
            choice = _choose(built, n, n_bits, n_queries, k, allowed, threads)
            if choice.plan.strategy == "scan":
                _, how = core.hamming_plan(math.ceil(allowed * n), code_bytes(n_bits), n_queries, k)
                choice = Choice(Plan("scan", f"{choice.plan.reason}; the scan: {how}"), choice.budget_ns)
            if len(self._choices) >= _REMEMBERED_CHOICES:
                self._choices.clear()
            self._choices[key] = choice
        return choice

    def topk(
        self,
        codes: Codes,
        n_bits: int,
        queries: Codes,
        k: int,
        mask: Mask | None,
        ids: Ids | None,
        budget_ns: float,
        threads: int,
    ) -> TopK:
        """Do what the native ``hamming_topk`` does over `codes`, a prefix of the growing array."""
        if len(codes) == 0:
            return core.hamming_topk(codes, queries, k, mask, ids, threads)
        tables = self.cover(codes, n_bits, ids, threads)
        if tables.n > len(codes):  # the search began before the last codes were added
            return core.hamming_topk(codes, queries, k, mask, ids, threads)
        head, tail = _split_mask(mask, tables.n, len(codes))
        distances, found, finished = tables.topk(queries, k, head, budget_ns, threads)
        if ids is not None:
            found = ids_at(found, ids)
        if tables.n < len(codes):
            tail_ids = np.arange(tables.n, len(codes)) if ids is None else ids[tables.n :]
            of_tail = core.hamming_topk(codes[tables.n :], queries, k, tail, tail_ids, threads)
            distances, found = _merged((distances, found), of_tail, k)
        if not finished.all():
            left = np.flatnonzero(~finished)
            distances[left], found[left] = core.hamming_topk(codes, queries[left], k, mask, ids, threads)
        return distances, found

    def range(
        self,
        codes: Codes,
        n_bits: int,
        queries: Codes,
        radius: int,
        mask: Mask | None,
        ids: Ids | None,
        threads: int,
    ) -> Range:
        """Do what the native ``hamming_range`` does over `codes`, a prefix of the growing array.

        Tables are asked if they are built and cover all codes. Whether they are cheaper shows within the
        first shells, so that they are simply tried with a part of what a scan costs.
        """
        built = self.built
        if built is not None and built.n == len(codes):
            budget_ns = _scan_budget_ns(len(codes), n_bits, len(queries), threads) / 4
            hits = built.range(queries, radius, mask, budget_ns, threads)
            if hits is not None:
                lims, distances, rows = hits
                return lims, distances, rows if ids is None else ids[rows]
        return core.hamming_range(codes, queries, radius, mask, ids, threads)


def scan_ns(n: int, n_bits: int, n_queries: int, k: int = 1, allowed: float = 1.0) -> float:
    """Return what a scan of `n` codes is expected to cost one thread for each of `n_queries` queries.

    `allowed` is the share of the codes that a mask lets through. The cost of a pair is that of the scan's own
    model, which knows nothing of the memory and of masks.
    """
    n_bytes = code_bytes(n_bits)
    pair, _ = core.hamming_plan(math.ceil(allowed * n), n_bytes, n_queries, k)
    queries = max(n_queries, 1)
    reading = _MEMORY_NS_PER_BYTE * n_bytes / queries if n * n_bytes > _CACHE_BYTES else 0.0
    masking = _MASK_NS / queries if allowed < 1 else 0.0
    return n * (masking + allowed * max(pair, reading))


def forced_budget_ns(n: int, n_bits: int, n_queries: int, threads: int) -> float:
    """Return what a query may cost where the caller asks for tables: as much as a scan."""
    return max(_FORCED_BUDGET_NS, _scan_budget_ns(n, n_bits, n_queries, threads))


def _scan_budget_ns(
    n: int, n_bits: int, n_queries: int, threads: int, k: int = 1, allowed: float = 1.0
) -> float:
    """Return the time that a table search has for a query until a scan would be done.

    A scan of few queries is shared by all threads; a query is looked up by one.
    """
    return scan_ns(n, n_bits, n_queries, k, allowed) * min(n_queries, threads) / threads


def _why_no_tables(n: int, n_bits: int) -> str:
    if n == 0:
        return "the index is empty"
    try:
        check_bits(n_bits)
        size = core.multi_index_bytes(n, n_bits)
    except ValueError as error:
        return f"every code is compared, since {error}"
    return (
        "every code is compared, since no tables are built: build_tables() would make them, of"
        f" {size / n:,.0f} bytes a code, {size / 1e6:,.1f} MB in all"
    )


def _choose(
    built: Tables | None, n: int, n_bits: int, n_queries: int, k: int, allowed: float, threads: int
) -> Choice:
    if built is None:
        return Choice(Plan("scan", _why_no_tables(n, n_bits)), 0.0)
    if n_queries == 0:
        return Choice(Plan("scan", "there are no queries"), 0.0)
    if built.n > n:
        return Choice(Plan("scan", "every code is compared, since the tables hold codes added later"), 0.0)
    # Among few allowed items the k-th nearest is as far away as the (k / allowed)-th of all.
    wanted = math.ceil(k / allowed)
    if wanted >= built.n:
        reason = f"every code is compared, since {k:,} items are wanted of about {allowed * n:,.0f}"
        return Choice(Plan("scan", reason), 0.0)
    scan = _scan_budget_ns(n, n_bits, n_queries, threads, k, allowed)
    probes = built.expected_ns(wanted, threads)
    # Where the tables are expected to be much faster, a query unlike the stored codes shall not lose more
    # than a quarter of a scan; where the two are near, each query gets what it is expected to need.
    budget = float(np.clip(2 * probes.max(), scan / 4, scan))
    tables = float(np.where(probes <= budget, probes, budget + scan).mean())
    tail = n - built.n
    tables += scan * tail / n
    strategy = "multi_index" if tables < scan else "scan"
    reason = f"expected for a query: {tables / 1e3:,.1f} µs by tables, {scan / 1e3:,.1f} µs by a scan"
    if tail:
        reason += f", and {tail:,} codes behind the tables are scanned"
    return Choice(Plan(strategy, reason), budget)


def _rounded(k: int) -> int:
    """Return the number nearest to `k` of 1, 2, 3, 4, 6, 8, 12, 16, …."""
    power = 1 << (k.bit_length() - 1)
    return min((power, power * 3 // 2, power * 2), key=lambda rounded: abs(math.log(rounded / k)))


def _allowed_share(mask: Mask | None, n: int) -> float:
    """Estimate the share of items that a mask lets through, from some of its entries."""
    if mask is None or n == 0:
        return 1.0
    step = (len(mask) // _MASK_SAMPLE) | 1  # odd, so that it meets no even period
    sample = mask[::step]
    if sample.dtype == np.bool_:
        allowed, entries = int(np.count_nonzero(sample)), len(sample)
    else:
        allowed, entries = int(np.bitwise_count(sample).sum()), 8 * len(sample)
    return max(allowed, 0.5) / entries


def _split_mask(mask: Mask | None, n: int, total: int) -> tuple[Mask | None, Mask | None]:
    """Split a mask of `total` items into one of the first `n` and one of the rest."""
    if mask is None or n == total:
        return mask, mask
    if mask.dtype == np.bool_:
        return mask[:n], mask[n:]
    rest = np.unpackbits(mask[n // 8 :].view(np.uint8), count=total - n // 8 * 8)
    return mask[: (n + 7) // 8], rest[n % 8 :].view(np.bool_)


def _merged(first: TopK, second: TopK, k: int) -> TopK:
    distances = np.concatenate([first[0], second[0]], axis=1)
    ids = np.concatenate([first[1], second[1]], axis=1)
    best = np.lexsort((ids, distances), axis=1)[:, :k]
    return np.take_along_axis(distances, best, axis=1), np.take_along_axis(ids, best, axis=1)
