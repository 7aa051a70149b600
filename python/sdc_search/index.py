"""An index of codes: added, removed, searched exactly and kept in a file, under the caller's own ids."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from sdc_search import multi_index, storage
from sdc_search.arrays import ArrayLike, as_codes, as_count, as_features, as_mask, like, to_numpy
from sdc_search.codes import check_padding, code_bytes
from sdc_search.errors import CorruptFileError, MissingExtraError
from sdc_search.growing import Growing
from sdc_search.item_ids import ItemIds
from sdc_search.multi_index import GrowingTables, Plan, Tables, TopK
from sdc_search.native import core
from sdc_search.rerank import METRICS, Metric, rerank_rows
from sdc_search.runtime import thread_count

if TYPE_CHECKING:
    import torch

    from sdc_search.index_cuda import CudaState

Strategy = Literal["auto", "scan", "multi_index"]
_STRATEGIES = ("auto", "scan", "multi_index")

_FORMAT = "sdc_search.index"
_VERSION = 1
_TABLES_PREFIX = "tables."  # of the names of their tensors
_INT32_MAX = 2**31 - 1
_ID_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class _State:
    """What an index holds at one instant: a search takes it once, so that no change under way reaches it."""

    codes: Growing[np.uint8]
    ids: ItemIds = field(default_factory=ItemIds)
    tables: GrowingTables = field(default_factory=GrowingTables)

    def __len__(self) -> int:
        return self.ids.n

    def with_items(self, codes: npt.NDArray[np.uint8], ids: npt.NDArray[np.int64]) -> _State:
        """Append items, at least one, whose ids are new."""
        return replace(self, codes=self.codes.extended(codes), ids=self.ids.extended(ids))

    def without_rows(self, rows: npt.NDArray[np.int64]) -> _State:
        """Drop rows, at least one, and close the gaps in new memory: searches may be reading the old."""
        kept = np.ones(len(self), dtype=np.bool_)
        kept[rows] = False
        codes = self.codes.rows[kept]
        return _State(Growing(codes, len(codes)), self.ids.kept(kept))


class HammingIndex:
    """Codes in memory, or in a mapped file, with exact Hamming search under the caller's ids.

    Parameters
    ----------
    n_bits
        Bits of a code, 1 to 2,048; a code is ``ceil(n_bits / 8)`` bytes.
    device
        Where the codes lie and are compared: ``"cpu"``, or a CUDA device such as ``"cuda"`` or ``"cuda:1"``.

    Raises
    ------
    TypeError, ValueError
        `n_bits` is not an integer in the range, or there is no such device.
    RuntimeError
        CUDA cannot be used here: the message says why.

    Notes
    -----
    **Ids** are distinct non-negative int64 in any order. Where none are given they go on from the largest
    ever given, plus 1. Every result is ordered by ``(distance, id)``, also where a tie falls on the cut. An
    index whose ids are 0, 1, 2, … stores none; others take 8 bytes an item, and ids that do not rise from row
    to row 16 more once they are looked up (by `remove`, `rerank`, and `add` with ids that are not larger than
    all others).

    **Memory.** A code is ``ceil(n_bits / 8)`` bytes. Tables, where they are built, come on top: with 64 bits
    48 bytes a code at 10 million codes (see `build_tables`).

    **Threads.** Any number of threads may search at once, also while another adds or removes: a search sees
    the index as it was when the search began. `add` and `remove` wait for each other. `remove` needs memory
    for a second copy of what stays.

    **CUDA.** An index on a device takes queries and masks from the CPU, or from that device, and gives the
    same results, on the CPU or there as the queries lie. Every code is compared; there are no tables, nor
    `search_asymmetric`. `ids` stays on the CPU. Ids other than 0, 1, 2, … take 8 bytes an item there as well,
    from the first search on; where they do not rise from row to row, 12 and a second copy of the codes, in
    the order of the ids. `save`, `to_faiss` and pickling go through the memory of the CPU. Codes that do not
    fit on a device can stay on the CPU, or in a file, and be compared there block by block: see `search`.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import HammingIndex
    >>> index = HammingIndex(n_bits=8)
    >>> index.add(np.array([[0b1111], [0b0000], [0b0011]], dtype=np.uint8), ids=[30, 10, 20])
    >>> index.search(np.array([[0b0001]], dtype=np.uint8), k=2)
    (array([[1, 1]], dtype=int32), array([[10, 20]]))
    >>> index.remove([10])
    >>> index
    <HammingIndex: 2 codes of 8 bits>
    """

    def __init__(self, n_bits: int, *, device: str | torch.device = "cpu") -> None:
        self._n_bits = as_count("n_bits", n_bits, maximum=8 * core.MAX_CODE_BYTES)
        self._changing = threading.Lock()
        self._state: _State | CudaState = _moved(
            _State(Growing(np.empty((0, code_bytes(self._n_bits)), dtype=np.uint8), 0)), device
        )

    def __len__(self) -> int:
        return len(self._state)

    def __repr__(self) -> str:
        where = "" if self.device == "cpu" else f" on {self.device}"
        return f"<HammingIndex: {len(self):,} codes of {self._n_bits} bits{where}>"

    @property
    def n_bits(self) -> int:
        """Bits of a code."""
        return self._n_bits

    @property
    def device(self) -> str:
        """Where the codes lie: ``"cpu"``, or a CUDA device such as ``"cuda:0"``."""
        state = self._state
        return "cpu" if isinstance(state, _State) else str(state.device)

    @property
    def codes(self) -> Any:
        """The codes in the order of adding: uint8, shape ``(n, ceil(n_bits / 8))``, not a copy.

        A read-only numpy array, or a tensor of the index's device, which must not be written to.
        """
        state = self._state
        return state.codes.rows if isinstance(state, _State) else state.codes.rows()

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """The ids in the order of adding: read-only, shape ``(n,)``; a new array if they are 0, 1, 2, …."""
        ids = self._state.ids
        if ids.rows is not None:
            return ids.rows
        rows = np.arange(ids.n)
        rows.flags.writeable = False
        return rows

    def to(self, device: str | torch.device) -> HammingIndex:
        """Return the index on `device`: this one where it lies there already, else a copy in its memory.

        Tables stay behind. A mapped file is read block by block.

        Parameters
        ----------
        device
            ``"cpu"``, or a CUDA device such as ``"cuda"`` or ``"cuda:1"``.

        Raises
        ------
        ValueError
            There is no such device.
        RuntimeError
            CUDA cannot be used here: the message says why.
        MemoryError
            The device has no room for the codes.

        Examples
        --------
        >>> from sdc_search import HammingIndex
        >>> index = HammingIndex(n_bits=64)
        >>> index.to("cpu") is index
        True
        """
        state = self._state
        moved = _moved(state, device)
        if moved is state:
            return self
        index = HammingIndex(self._n_bits)
        index._state = moved
        return index

    def add(self, codes: ArrayLike, ids: ArrayLike | None = None) -> None:
        """Add codes behind those that are there.

        The codes are copied, to the device of the index. Many small batches take linear time in all. What
        lies in a mapped file is first copied into memory; the file stays as it is. After any error the index
        is as before.

        Parameters
        ----------
        codes
            uint8, shape ``(m, ceil(n_bits / 8))``.
        ids
            Distinct non-negative integers, shape ``(m,)``. None: they go on from the largest ever given, plus
            1.

        Raises
        ------
        TypeError
            The codes are not uint8, or the ids no integers.
        ValueError
            A shape or width does not fit, a padding bit is set, an id is negative, listed twice or in the
            index already.
        MemoryError
            There is no room.

        Examples
        --------
        >>> import numpy as np
        >>> from sdc_search import HammingIndex
        >>> index = HammingIndex(n_bits=8)
        >>> index.add(np.zeros((2, 1), dtype=np.uint8), ids=[7, 3])
        >>> index.add(np.zeros((2, 1), dtype=np.uint8))
        >>> index.ids
        array([7, 3, 8, 9])
        """
        state = self._state
        if isinstance(state, _State):
            new_codes: Any = self._as_own_codes("codes", codes)
        else:
            new_codes = _cuda().codes_on("codes", codes, self._n_bits, state.device)
        own = None if ids is None else _as_ids("ids", ids)
        if own is not None and len(own) != len(new_codes):
            raise ValueError(f"ids must be one for each of {len(new_codes)} codes, got {len(own)}")
        if len(new_codes) == 0:
            return
        with self._changing:
            state = self._state
            if own is None:
                next_id = state.ids.next_id
                if next_id + len(new_codes) > _ID_LIMIT:
                    raise ValueError(f"ids must be given, since none are left after {next_id - 1}")
                own = np.arange(next_id, next_id + len(new_codes), dtype=np.int64)
            else:
                _check_new(state.ids, own)
            self._state = state.with_items(new_codes, own)

    def remove(self, ids: ArrayLike) -> None:
        """Remove items; the others keep their order and their ids.

        Parameters
        ----------
        ids
            Integers, shape ``(m,)``; one that is listed twice counts once.

        Raises
        ------
        TypeError
            The ids are no integers.
        ValueError
            An id is not in the index. The index is then as before.
        MemoryError
            There is no room for a copy of what stays. The index is then as before.

        Examples
        --------
        >>> import numpy as np
        >>> from sdc_search import HammingIndex
        >>> index = HammingIndex(n_bits=8)
        >>> index.add(np.zeros((4, 1), dtype=np.uint8))
        >>> index.remove([2, 0])
        >>> index.ids
        array([1, 3])
        """
        gone = _as_ids("ids", ids)
        with self._changing:
            state = self._state
            rows = _known_rows("ids", state.ids, gone)
            if len(rows):
                self._state = state.without_rows(rows)

    @overload
    def search(
        self,
        queries: torch.Tensor,
        k: int,
        *,
        mask: ArrayLike | None = None,
        strategy: Strategy = "auto",
        device: str | torch.device | None = None,
        num_threads: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]: ...
    @overload
    def search(
        self,
        queries: npt.ArrayLike,
        k: int,
        *,
        mask: ArrayLike | None = None,
        strategy: Strategy = "auto",
        device: str | torch.device | None = None,
        num_threads: int | None = None,
    ) -> TopK: ...
    def search(
        self,
        queries: ArrayLike,
        k: int,
        *,
        mask: ArrayLike | None = None,
        strategy: Strategy = "auto",
        device: str | torch.device | None = None,
        num_threads: int | None = None,
    ) -> Any:
        """Find each query's `k` nearest codes by Hamming distance, exactly.

        Parameters
        ----------
        queries
            Packed codes, uint8, shape ``(q, ceil(n_bits / 8))``. Their kind decides the results' kind.
        k
            Neighbours a query, at least 1; it may exceed ``len(index)``.
        mask
            Which items may be returned (True = may), in the order of `ids`: bool ``(n,)``, or packed as
            `numpy.packbits` packs that.
        strategy
            ``"scan"`` compares every code. ``"multi_index"`` asks tables (32 to 256 bits), which it builds
            where there are none; queries that they would serve slower than a scan are scanned. ``"auto"``
            takes what is expected to be faster, but builds no tables of its own accord (see `build_tables`
            and `explain`). The result is the same.
        device
            Where the codes are compared; None: where they lie. Codes on the CPU, or in a mapped file, go to a
            CUDA device block by block, the next while one is compared, so that they may be more than its
            memory holds: it takes that of two blocks of 64 MB, of a search and of the results.
        num_threads
            Threads to use, also to read blocks; None for the default (see `set_num_threads`).

        Returns
        -------
        distances : int32, shape ``(q, k)``
        ids : int64, shape ``(q, k)``
            Both are ordered by ``(distance, id)``. Where fewer than `k` items may be returned, the rest is
            ``id = -1`` and ``distance = 2**31 - 1``.

        Raises
        ------
        TypeError
            The queries are not uint8, `k` is not an integer, or the mask is neither bool nor uint8.
        ValueError
            A shape or width does not fit, a padding bit is set, `k` is below 1, the strategy is unknown, or
            it is ``"multi_index"`` for codes that are too short or too long for it, or on a CUDA device. Or
            codes, queries or mask lie on different devices.
        MemoryError
            A CUDA device has no room: the message says for how many bytes.

        Examples
        --------
        >>> import numpy as np
        >>> from sdc_search import HammingIndex
        >>> index = HammingIndex(n_bits=8)
        >>> index.add(np.array([[0b1111], [0b0000], [0b0011]], dtype=np.uint8))
        >>> index.search(np.array([[0b0111]], dtype=np.uint8), k=1, mask=np.array([False, True, True]))
        (array([[1]], dtype=int32), array([[2]]))
        """
        state = self._state
        k = as_count("k", k, maximum=_INT32_MAX)
        if strategy not in _STRATEGIES:
            raise ValueError(f"strategy must be one of {', '.join(_STRATEGIES)}, got {strategy!r}")
        threads = thread_count(num_threads)
        if not isinstance(state, _State) or (device is not None and str(device) != "cpu"):
            if strategy == "multi_index":
                raise ValueError(
                    "strategy must be auto or scan on a CUDA device, which has no tables, got 'multi_index'"
                )
            return self._search_on_device(state, queries, k, mask, device, threads)
        wanted = self._as_own_codes("queries", queries)
        allowed = None if mask is None else as_mask("mask", mask, len(state))
        chosen: str = strategy
        if strategy == "multi_index":
            multi_index.check_bits(self._n_bits)
            budget_ns = multi_index.forced_budget_ns(len(state), self._n_bits, len(wanted), threads)
        elif strategy == "auto":
            choice = state.tables.choose(len(state), self._n_bits, len(wanted), k, allowed, threads)
            chosen, budget_ns = choice.plan.strategy, choice.budget_ns
        if chosen == "scan":
            found = core.hamming_topk(state.codes.rows, wanted, k, allowed, state.ids.ties, threads)
        else:
            found = state.tables.topk(
                state.codes.rows, self._n_bits, wanted, k, allowed, state.ids.ties, budget_ns, threads
            )
        return like(queries, found[0]), like(queries, state.ids.named(found[1]))

    def _search_on_device(
        self,
        state: _State | CudaState,
        queries: ArrayLike,
        k: int,
        mask: ArrayLike | None,
        device: str | torch.device | None,
        threads: int,
    ) -> Any:
        cuda = _cuda()
        if not isinstance(state, _State):
            if device is not None and (str(device) == "cpu" or _cuda_device(device) != state.device):
                raise ValueError(f"device must be {state.device}, where the codes lie, or None, got {device}")
            wanted = cuda.codes_on("queries", queries, self._n_bits, state.device)
            allowed = cuda.mask_on("mask", mask, len(state), state.device)
            return cuda.results_like(queries, state.topk(wanted, k, allowed))
        assert device is not None
        wanted = cuda.codes_on("queries", queries, self._n_bits, _cuda_device(device))
        distances, ids = cuda.streamed_topk(
            state.codes.rows,
            state.ids.ties,
            wanted,
            k,
            None if mask is None else as_mask("mask", mask, len(state)),
            threads,
        )
        named = state.ids.named(ids.cpu().numpy())
        return like(queries, distances.cpu().numpy()), like(queries, named)

    def build_tables(self, *, num_threads: int | None = None) -> None:
        """Build look-up tables over all codes, which `search` and `range_search` then use where they pay.

        They answer a query from the codes near it instead of all of them, which pays for few neighbours, or a
        small radius, among many codes (some 100,000 and more), the more so where codes lie in clusters.

        They hold copies of the codes: with 64 bits 48 bytes a code at 10 million codes and 60 at one million,
        with 256 bits 648 at one million (`explain` tells the number), and 4 more where ids do not rise from
        row to row. `save` writes them into the file. Codes added later are scanned until they are more than
        10,000 and more than an eighth of those covered; the next search by tables then builds them anew,
        while the old ones are still there. `remove` drops them.

        Parameters
        ----------
        num_threads
            Threads to use; None for the default (see `set_num_threads`).

        Raises
        ------
        ValueError
            The codes have fewer than 32 or more than 256 bits, or lie on a CUDA device.
        MemoryError
            There is no room.

        Examples
        --------
        >>> import numpy as np
        >>> from sdc_search import HammingIndex
        >>> index = HammingIndex(n_bits=64)
        >>> index.add(np.arange(800, dtype=np.uint8).reshape(100, 8))
        >>> index.build_tables()
        >>> index.explain(n_queries=1, k=10).strategy  # so few codes are compared in no time
        'scan'
        """
        multi_index.check_bits(self._n_bits)
        state = self._state_on_cpu("build_tables")
        if len(state):
            threads = thread_count(num_threads)
            state.tables.cover(state.codes.rows, self._n_bits, state.ids.ties, threads, whole=True)

    def explain(self, n_queries: int, k: int, *, mask: ArrayLike | None = None) -> Plan:
        """Say how `search` would search with ``strategy="auto"``, and why.

        It scans unless tables are built. Then it compares what a scan is expected to cost with what the
        tables cost for some stored codes, which are searched for at the first question about some `k`. It is
        an estimate from counted work, so that the same index gives the same plan.

        A query that turns out to cost the tables too much, such as one that is unlike all codes, is given up
        and scanned, together with others of its kind. Where the tables are expected to be at least eight
        times as fast as the scan, that costs at most a quarter of the scan more.

        Parameters
        ----------
        n_queries, k, mask
            As many queries, neighbours and items as `search` would be given.

        Returns
        -------
        Plan
            ``strategy`` and ``reason``.

        Examples
        --------
        >>> from sdc_search import HammingIndex
        >>> HammingIndex(n_bits=64).explain(n_queries=1, k=10).strategy
        'scan'
        """
        state = self._state
        n_queries = as_count("n_queries", n_queries, minimum=0)
        k = as_count("k", k, maximum=_INT32_MAX)
        if not isinstance(state, _State):
            _cuda().mask_on("mask", mask, len(state), state.device)
            return Plan("scan", f"every code is compared on {state.device}, which has no tables")
        allowed = None if mask is None else as_mask("mask", mask, len(state))
        return state.tables.choose(len(state), self._n_bits, n_queries, k, allowed, thread_count(None)).plan

    @overload
    def range_search(
        self,
        queries: torch.Tensor,
        radius: int,
        *,
        mask: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]: ...
    @overload
    def range_search(
        self,
        queries: npt.ArrayLike,
        radius: int,
        *,
        mask: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
    def range_search(
        self,
        queries: ArrayLike,
        radius: int,
        *,
        mask: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> Any:
        """Find each query's codes within a Hamming distance, exactly.

        Parameters
        ----------
        queries
            Packed codes, uint8, shape ``(q, ceil(n_bits / 8))``. Their kind decides the results' kind.
        radius
            The largest distance that is still returned, at least 0.
        mask
            Which items may be returned (True = may), in the order of `ids`: bool ``(n,)``, or packed as
            `numpy.packbits` packs that.
        num_threads
            Threads to use; None for the default (see `set_num_threads`).

        Returns
        -------
        lims : int64, shape ``(q + 1,)``
            The hits of query ``i`` are those from ``lims[i]`` to ``lims[i + 1]``.
        distances : int32, shape ``(lims[-1],)``
        ids : int64, shape ``(lims[-1],)``
            Each query's hits are ordered by ``(distance, id)``.

        Raises
        ------
        TypeError
            The queries are not uint8, `radius` is not an integer, or the mask is neither bool nor uint8.
        ValueError
            A shape or width does not fit, a padding bit is set, `radius` is negative, or codes, queries and
            mask lie on different devices.
        MemoryError
            A CUDA device has no room: the message says for how many bytes.

        Examples
        --------
        >>> import numpy as np
        >>> from sdc_search import HammingIndex
        >>> index = HammingIndex(n_bits=8)
        >>> index.add(np.array([[0b1111], [0b0000], [0b0011]], dtype=np.uint8), ids=[5, 6, 7])
        >>> index.range_search(np.array([[0b0001]], dtype=np.uint8), radius=1)
        (array([0, 2]), array([1, 1], dtype=int32), array([6, 7]))
        """
        state = self._state
        radius = as_count("radius", radius, minimum=0, maximum=_INT32_MAX)
        if not isinstance(state, _State):
            cuda = _cuda()
            there = cuda.codes_on("queries", queries, self._n_bits, state.device)
            hits = state.range(there, radius, cuda.mask_on("mask", mask, len(state), state.device))
            return cuda.results_like(queries, hits)
        wanted = self._as_own_codes("queries", queries)
        allowed = None if mask is None else as_mask("mask", mask, len(state))
        lims, distances, ids = state.tables.range(
            state.codes.rows,
            self._n_bits,
            wanted,
            radius,
            allowed,
            state.ids.ties,
            thread_count(num_threads),
        )
        return like(queries, lims), like(queries, distances), like(queries, state.ids.named(ids))

    @overload
    def search_asymmetric(
        self, projections: torch.Tensor, k: int, *, num_threads: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]: ...
    @overload
    def search_asymmetric(
        self, projections: npt.ArrayLike, k: int, *, num_threads: int | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]: ...
    def search_asymmetric(self, projections: ArrayLike, k: int, *, num_threads: int | None = None) -> Any:
        """Find each query's `k` best codes by its real-valued projections, exactly.

        The query keeps its magnitudes: the score is the sum over the bits of ``+h`` where the code's bit is 1
        and ``-h`` where it is 0. It is computed in float32: the bits of each byte are added from the first
        on, then these sums from the first byte on, on every machine and for any number of threads.

        Parameters
        ----------
        projections
            What `Hasher.project` returns: real, finite, shape ``(q, n_bits)``. Their kind decides the
            results' kind.
        k
            Items a query, at least 1; it may exceed ``len(index)``.
        num_threads
            Threads to use; None for the default (see `set_num_threads`).

        Returns
        -------
        scores : float32, shape ``(q, k)``
        ids : int64, shape ``(q, k)``
            Highest score first, then the smaller id. Where ``k > len(index)`` the rest is ``id = -1`` and
            ``score = -inf``.

        Raises
        ------
        TypeError
            The projections are not real, or `k` is not an integer.
        ValueError
            A shape does not fit, `k` is below 1, a projection is NaN, infinite, or so large that a score
            could be, or the codes lie on a CUDA device.

        Examples
        --------
        >>> import numpy as np
        >>> from sdc_search import HammingIndex
        >>> index = HammingIndex(n_bits=2)
        >>> index.add(np.packbits([[0, 1], [1, 0], [1, 1]], axis=1))
        >>> index.search_asymmetric(np.array([[0.5, -2.0]]), k=2)
        (array([[ 2.5, -1.5]], dtype=float32), array([[1, 2]]))
        """
        state = self._state_on_cpu("search_asymmetric")
        wanted = as_features("projections", projections)
        if wanted.shape[1] != self._n_bits:
            raise ValueError(f"projections must have shape (q, {self._n_bits}), got {wanted.shape}")
        with np.errstate(over="ignore"):
            magnitudes = np.abs(wanted).sum(axis=1, dtype=np.float64)
        if (magnitudes > np.finfo(np.float32).max / 2).any():  # half leaves room for the rounding of the sums
            raise ValueError("projections must be small enough that float32 holds their sums")
        k = as_count("k", k, maximum=_INT32_MAX)
        scores, ids = core.asymmetric_topk(
            state.codes.rows,
            wanted.astype(np.float32, copy=False),
            k,
            state.ids.ties,
            thread_count(num_threads),
        )
        return like(projections, scores), like(projections, state.ids.named(ids))

    @overload
    def rerank(
        self,
        query_vectors: torch.Tensor,
        candidate_ids: ArrayLike,
        vectors: ArrayLike,
        k: int,
        *,
        metric: Metric = "cosine",
    ) -> tuple[torch.Tensor, torch.Tensor]: ...
    @overload
    def rerank(
        self,
        query_vectors: npt.ArrayLike,
        candidate_ids: ArrayLike,
        vectors: ArrayLike,
        k: int,
        *,
        metric: Metric = "cosine",
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]: ...
    def rerank(
        self,
        query_vectors: ArrayLike,
        candidate_ids: ArrayLike,
        vectors: ArrayLike,
        k: int,
        *,
        metric: Metric = "cosine",
    ) -> Any:
        """Order candidates, such as `search` returns, by the vectors that their codes stand for.

        It runs on the CPU, on arrays there, wherever the codes lie.

        Parameters
        ----------
        query_vectors
            Real and finite, shape ``(q, d)``. Their kind decides the results' kind.
        candidate_ids
            Integers, shape ``(q, m)``; -1 is ignored, and an id that a query lists twice counts once.
        vectors
            Real, shape ``(len(index), d)``, in the order of `ids`. Only the candidates' rows are read, so
            that a `numpy.memmap` may stand here.
        k
            Items a query, at least 1; it may exceed ``m``.
        metric
            ``"cosine"`` (0 for a vector of zeros), ``"dot"``, or ``"l2"``, the squared distance.

        Returns
        -------
        scores : float32, shape ``(q, k)``
            Computed in float64, then rounded.
        ids : int64, shape ``(q, k)``
            The best score first (for ``"l2"`` the smallest), then the smaller id. Where fewer than `k`
            candidates remain, the rest is ``id = -1`` and ``score = -inf``, for ``"l2"`` ``inf``.

        Raises
        ------
        TypeError
            The vectors are not real, the candidates no integers, or `k` is not an integer.
        ValueError
            A shape does not fit, a candidate is not in the index, a vector is not finite, `k` is below 1, or
            the metric is unknown.

        Examples
        --------
        >>> import numpy as np
        >>> from sdc_search import HammingIndex, pack_bits
        >>> vectors = np.array([[1.0, 2.0], [2.0, 0.5], [-1.0, 1.0]], dtype=np.float32)
        >>> index = HammingIndex(n_bits=2)
        >>> index.add(pack_bits(vectors))
        >>> distances, candidates = index.search(pack_bits(vectors[:1]), k=2)
        >>> index.rerank(vectors[:1], candidates, vectors, k=1, metric="l2")
        (array([[0.]], dtype=float32), array([[0]]))
        """
        state = self._state
        queries = as_features("query_vectors", query_vectors)
        database = to_numpy("vectors", vectors)
        if database.dtype.kind not in "fiu":
            raise TypeError(f"vectors must be floating point or integer, got {database.dtype}")
        if database.shape != (len(state), queries.shape[1]):
            raise ValueError(
                f"vectors must have shape {(len(state), queries.shape[1])}, got {database.shape}"
            )
        candidates = to_numpy("candidate_ids", candidate_ids)
        if candidates.dtype.kind not in "iu":
            raise TypeError(f"candidate_ids must be integers, got {candidates.dtype}")
        if candidates.ndim != 2 or len(candidates) != len(queries):
            raise ValueError(f"candidate_ids must have shape ({len(queries)}, m), got {candidates.shape}")
        k = as_count("k", k, maximum=_INT32_MAX)
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
        given = candidates != -1
        rows = np.full(candidates.shape, -1, dtype=np.int64)
        rows[given] = _known_rows("candidate_ids", state.ids, _as_ids("candidate_ids", candidates[given]))
        scores, ids = rerank_rows(queries, candidates.astype(np.int64), rows, database, k, metric)
        return like(query_vectors, scores), like(query_vectors, ids)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the index to a file: the whole file or nothing, in the safetensors format.

        Raises
        ------
        OSError
            The file cannot be written; what was at `path` is as before.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> from sdc_search import HammingIndex
        >>> index = HammingIndex(n_bits=8)
        >>> index.add(np.array([[1], [2]], dtype=np.uint8))
        >>> with TemporaryDirectory() as directory:
        ...     index.save(Path(directory, "codes.index"))
        ...     HammingIndex.open(Path(directory, "codes.index"), mmap=False)
        <HammingIndex: 2 codes of 8 bits>
        """
        state = _on_cpu(self._state)
        tensors: storage.Tensors = {"codes": state.codes.rows}
        if state.ids.rows is not None:
            tensors["ids"] = state.ids.rows
        built = state.tables.built
        if built is not None and built.n <= len(state):
            tensors |= {_TABLES_PREFIX + name: array for name, array in built.arrays.items()}
        header = {"next_id": state.ids.next_id, "ascending": state.ids.ascending}
        storage.write(path, _FORMAT, tensors, header, version=_VERSION, n_bits=self._n_bits)

    @classmethod
    def open(cls, path: str | PathLike[str], *, mmap: bool = True, verify: bool = False) -> HammingIndex:
        """Open a file that `save` wrote, on the CPU; `to` takes it to a device.

        Parameters
        ----------
        path
            The file.
        mmap
            Whether the codes stay in the mapped file, which must then not be written to, instead of memory.
            Opening then takes no time whatever the size, except that tables are read in part to check that
            they lead no search astray. `save` to the same path is safe.
        verify
            Whether to read everything once and check the checksums, the padding bits, that the ids are
            distinct and non-negative, and that the tables are those of the codes, which takes the memory of a
            second copy of them. Without it a damaged code, id or table gives wrong results but nothing worse.

        Raises
        ------
        CorruptFileError
            The file is of another kind or of a newer version, truncated or damaged.
        OSError
            The file cannot be opened.
        """
        tensors, header = storage.read(path, _FORMAT, version=_VERSION, verify=verify, mmap=mmap)
        state = _checked_state(Path(path), tensors, header)
        if verify:
            _check_content(Path(path), state, header["n_bits"])
        index = cls(header["n_bits"])
        index._state = state
        return index

    def __reduce__(self) -> tuple[object, ...]:
        with TemporaryDirectory() as directory:
            path = Path(directory, "index")
            self.save(path)
            return _from_bytes, (path.read_bytes(), self.device)

    def to_faiss(self) -> Any:
        """Copy into a `faiss.IndexBinaryFlat`, inside an `IndexBinaryIDMap` unless the ids are 0, 1, 2, ….

        Raises
        ------
        MissingExtraError
            faiss is not installed.
        ValueError
            `n_bits` is not a multiple of 8, which faiss demands.

        Examples
        --------
        >>> import numpy as np
        >>> from sdc_search import HammingIndex
        >>> index = HammingIndex(n_bits=16)
        >>> index.add(np.arange(6, dtype=np.uint8).reshape(3, 2), ids=[5, 3, 4])
        >>> HammingIndex.from_faiss(index.to_faiss()).ids
        array([5, 3, 4])
        """
        faiss = _faiss()
        if self._n_bits % 8:
            raise ValueError(f"n_bits must be a multiple of 8 for faiss, got {self._n_bits}")
        state = _on_cpu(self._state)
        flat = faiss.IndexBinaryFlat(self._n_bits)
        if state.ids.rows is None:
            flat.add(state.codes.rows)
            return flat
        named = faiss.IndexBinaryIDMap(flat)
        named.add_with_ids(state.codes.rows, state.ids.rows)
        return named

    @classmethod
    def from_faiss(cls, index: Any) -> HammingIndex:
        """Copy a faiss index: `IndexBinaryFlat`, or `IndexBinaryIDMap` around one.

        Raises
        ------
        MissingExtraError
            faiss is not installed.
        TypeError
            It is another kind of index.
        ValueError
            Its ids are negative or not distinct.
        """
        faiss = _faiss()
        ids = None
        flat = index
        if isinstance(index, (faiss.IndexBinaryIDMap, faiss.IndexBinaryIDMap2)):
            ids = faiss.vector_to_array(index.id_map)
            flat = faiss.downcast_IndexBinary(index.index)
        if not isinstance(flat, faiss.IndexBinaryFlat):
            raise TypeError(
                "index must be a faiss.IndexBinaryFlat, or an IndexBinaryIDMap around one, got"
                f" {type(flat).__name__}"
            )
        copied = cls(flat.d)
        copied.add(faiss.vector_to_array(flat.xb).reshape(flat.ntotal, flat.code_size), ids)
        return copied

    def _as_own_codes(self, name: str, codes: ArrayLike) -> npt.NDArray[np.uint8]:
        array = as_codes(name, codes, code_bytes(self._n_bits))
        check_padding(name, array, self._n_bits)
        return array

    def _state_on_cpu(self, what: str) -> _State:
        state = self._state
        if not isinstance(state, _State):
            raise ValueError(f"{what} is for an index on the CPU, got one on {state.device}: take to('cpu')")
        return state


def _cuda() -> Any:
    # Loaded where it is used, since it needs torch.
    from sdc_search import index_cuda

    return index_cuda


def _cuda_device(device: str | torch.device) -> torch.device:
    from sdc_search.cuda_memory import cuda_device

    return cuda_device("device", device)


def _moved(state: _State | CudaState, device: str | torch.device) -> _State | CudaState:
    """Return what an index holds on a device: `state` where it lies there already, else a copy."""
    if str(device) == "cpu":
        return _on_cpu(state)
    wanted = _cuda_device(device)
    if not isinstance(state, _State) and state.device == wanted:
        return state
    state = _on_cpu(state)
    moved: CudaState = _cuda().on_device(state.codes.rows, state.ids.apart(), wanted, thread_count(None))
    return moved


def _on_cpu(state: _State | CudaState) -> _State:
    if isinstance(state, _State):
        return state
    codes = state.codes.rows().cpu().numpy()
    return _State(Growing(codes, len(codes)), state.ids.apart())


def _as_ids(name: str, value: ArrayLike) -> npt.NDArray[np.int64]:
    """Check non-negative integers, shape ``(m,)``."""
    array = np.asarray(value) if isinstance(value, (list, tuple, range)) else to_numpy(name, value)
    if array.size == 0 and isinstance(value, (list, tuple)):
        array = array.astype(np.int64)  # numpy makes an empty list one of floats
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name} must have shape (m,), got {array.shape}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} must not be negative, got {array.min()}")
    if array.size and array.max() >= _ID_LIMIT:
        raise ValueError(f"{name} must be below 2**63, got {array.max()}")
    return np.ascontiguousarray(array, dtype=np.int64)


def _check_new(known_ids: ItemIds, ids: npt.NDArray[np.int64]) -> None:
    """Check that ids are distinct, and none of them in the index."""
    if not (ids[1:] > ids[:-1]).all():
        ordered = np.sort(ids)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice):
            raise ValueError(f"ids must be distinct, got {twice[0]} twice")
    if ids.min() < known_ids.next_id:
        known = ids[known_ids.rows_of(ids) >= 0]
        if len(known):
            raise ValueError(f"ids must be new, got {known[0]}, which is in the index")


def _known_rows(name: str, known_ids: ItemIds, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    rows = known_ids.rows_of(ids)
    if (rows < 0).any():
        raise ValueError(f"{name} must be in the index, got {ids[rows < 0][0]}, which is not")
    return rows


def _checked_state(path: Path, tensors: storage.Tensors, header: dict[str, Any]) -> _State:
    """Check all that the header alone tells, and that no search can be led outside the arrays."""
    if header["n_bits"] > 8 * core.MAX_CODE_BYTES:
        raise CorruptFileError(f"{path}: n_bits: at most {8 * core.MAX_CODE_BYTES}, got {header['n_bits']}")
    of_tables = {name for name in tensors if name.startswith(_TABLES_PREFIX)}
    if not {"codes"} <= tensors.keys() - of_tables <= {"codes", "ids"}:
        raise CorruptFileError(f"{path}: tensors: wanted codes and perhaps ids, got {sorted(tensors)}")
    codes, ids = tensors["codes"], tensors.get("ids")
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != code_bytes(header["n_bits"]):
        raise CorruptFileError(
            f"{path}: tensor 'codes': wanted uint8 (n, {code_bytes(header['n_bits'])}), got {codes.dtype}"
            f" {codes.shape}"
        )
    if ids is not None and (ids.dtype != np.int64 or ids.shape != codes.shape[:1]):
        raise CorruptFileError(
            f"{path}: tensor 'ids': wanted int64 {codes.shape[:1]}, got {ids.dtype} {ids.shape}"
        )
    next_id, ascending = header.get("next_id"), header.get("ascending")
    if type(next_id) is not int or not len(codes) <= next_id <= _ID_LIMIT:
        raise CorruptFileError(
            f"{path}: next_id: wanted an integer of at least {len(codes)}, got {next_id!r}"
        )
    if type(ascending) is not bool or (ids is None and not ascending):
        raise CorruptFileError(f"{path}: ascending: wanted true or false as the ids are, got {ascending!r}")
    built = None
    if of_tables:
        arrays = {name.removeprefix(_TABLES_PREFIX): tensors[name] for name in of_tables}
        try:
            built = Tables.from_arrays(arrays, header["n_bits"], thread_count(None))
        except ValueError as error:
            raise CorruptFileError(f"{path}: tables: {error}") from error
        if built.n > len(codes):
            raise CorruptFileError(f"{path}: tables: of {built.n} codes, where there are {len(codes)}")
    return _State(
        Growing(codes, len(codes)),
        ItemIds(
            len(codes),
            stored=None if ids is None or len(ids) == 0 else Growing(ids, len(ids)),
            ascending=ascending,
            next_id=next_id,
        ),
        GrowingTables(built),
    )


def _check_content(path: Path, state: _State, n_bits: int) -> None:
    """Check what a correct writer ensures, in one pass over everything."""
    try:
        check_padding("codes", state.codes.rows, n_bits)
    except ValueError as error:
        raise CorruptFileError(f"{path}: tensor 'codes': {error}") from error
    ids = state.ids.rows
    if ids is not None:
        ordered = ids if state.ids.ascending else np.sort(ids)
        if ordered[0] < 0 or ordered[-1] >= state.ids.next_id or (ordered[1:] <= ordered[:-1]).any():
            raise CorruptFileError(
                f"{path}: tensor 'ids': they are not distinct, not non-negative or not as the header says"
            )
    built = state.tables.built
    if built is not None and not built.fits(state.codes.rows, state.ids.ties, thread_count(None)):
        raise CorruptFileError(f"{path}: tables: they are not those of the codes and ids")


def _from_bytes(data: bytes, device: str = "cpu") -> HammingIndex:
    with TemporaryDirectory() as directory:
        path = Path(directory, "index")
        path.write_bytes(data)
        return HammingIndex.open(path, mmap=False, verify=True).to(device)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("faiss", "faiss", "exchanging indexes with faiss") from error
    return faiss
