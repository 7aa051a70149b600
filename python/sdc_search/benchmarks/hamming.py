"""The cases of Hamming search: every regime, against faiss, usearch, numpy, a plain read, and ourselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from sdc_search import HammingIndex, hamming_range, hamming_topk, knn_graph
from sdc_search.benchmarks import peers
from sdc_search.benchmarks.cases import Case, Contender, Scale, Trial, WrongAnswerError
from sdc_search.benchmarks.code_data import Kind, database, query_codes
from sdc_search.benchmarks.limits import scan_limit
from sdc_search.benchmarks.memory import memory_growth
from sdc_search.benchmarks.peers import Codes, Search, TopK
from sdc_search.benchmarks.timing import Call, usable_cpus
from sdc_search.native import core

OURS = "sdc-search"
FAISS = "faiss"
FAISS_COUNTING = "faiss counting"
FAISS_MULTI_HASH = "faiss MultiHash"
USEARCH = "usearch"
NUMPY = "numpy"
READ = "plain read"
SCAN = "scan"
TABLES = "tables"

BITS = (64, 128, 256, 512)
BATCH = "Many queries"
GROWTH = "One query, growing database"

# The targets are those for a Zen 5; the cases say what they are ratios of.
_BATCH_TARGETS = {10: (22.0, 13.0, 8.0, 6.0), 1_000: (22.0, 16.0, 10.0, 7.0)}
_FEW_TARGETS = (7.0, 6.0, 4.0, 3.0)
_AVX2_TARGETS = (8.0, 4.0, 2.5, 1.8)
_LARGE_SHARE = 0.85
_READ_TARGET = 1 / 1.1
_MASK_TARGETS = {"packed": {64: 1 / 0.3, 256: 1 / 0.15, 512: 1 / 0.15}}
_MASK_TARGETS["bool"] = {**_MASK_TARGETS["packed"], 64: 1 / 0.4}
_INDEX_TARGETS = {"in order": 1 / 1.05, "shuffled": 1 / 1.15}
_THREADS_TARGET = 1.85
_TABLE_TARGETS = {("clustered", 10): 100.0, ("clustered", 1_000): 12.0, ("uniform", 10): 6.0}
_BUILD_TARGET = 15e6
_AUTO_TARGET = 1 / 1.3

# Queries that a contender does, where it is too slow to be waited for or does them one at a time.
_SLOW_QUERIES = 4
_SINGLE_QUERIES = {OURS: 200, TABLES: 200, SCAN: 10, FAISS: 10, FAISS_MULTI_HASH: 20}
_MANY = 1_000
_FEW = 16
_RECALL = 0.95


@dataclass(frozen=True)
class _Sizes:
    n: int
    large: int
    beyond_caches: int
    graph: int
    growth: tuple[int, ...]
    grid: tuple[int, ...]


_SIZES: dict[Scale, _Sizes] = {
    "quick": _Sizes(100_000, 1_000_000, 4_000_000, 10_000, (10_000, 100_000, 1_000_000), (100_000,)),
    "full": _Sizes(
        1_000_000,
        10_000_000,
        20_000_000,
        100_000,
        (10_000, 100_000, 1_000_000, 10_000_000),
        (100_000, 1_000_000, 10_000_000),
    ),
}


def hamming_cases(scale: Scale, threads: int = 1) -> list[Case]:
    """List the cases that this machine can run.

    Parameters
    ----------
    scale
        ``"full"``: the sizes that the targets are about; ``"quick"``: a tenth of them, without targets.
    threads
        For every contender, in all cases that do not fix a number themselves.
    """
    sizes = _SIZES[scale]
    cases = [
        *_batch_cases(sizes, threads),
        *_single_cases(sizes),
        *_mask_cases(sizes),
        *_index_cases(sizes),
        *_thread_cases(sizes),
        *_other_cases(sizes),
        *_table_cases(sizes),
        *_growth_cases(sizes),
        *_auto_cases(sizes),
    ]
    if scale != "full":
        cases = [replace(case, target=None, target_rate=None) for case in cases]
    return [
        case
        for case in cases
        if (case.isa is None or case.isa in core.isas()) and (case.threads or 1) <= usable_cpus()
    ]


def _contenders(units: Mapping[str, int]) -> tuple[Contender, ...]:
    return tuple(Contender(name, count) for name, count in units.items())


def _batch_cases(sizes: _Sizes, threads: int) -> Iterator[Case]:
    for k in (10, 1_000):
        for bits, target in zip(BITS, _BATCH_TARGETS[k], strict=True):
            yield _scan_case(f"batch-k{k}", BATCH, sizes.n, bits, _MANY, k, threads, target=target)
    for bits, target in zip(BITS, _FEW_TARGETS, strict=True):
        yield _scan_case("few", "A few queries", sizes.n, bits, _FEW, 10, threads, target=target)
    for bits, target in zip(BITS, _AVX2_TARGETS, strict=True):
        yield _scan_case("avx2", "AVX2 forced", sizes.n, bits, _MANY, 10, threads, target=target, isa="avx2")
    for name, n_queries, k, targets in (
        ("large-k10", _MANY, 10, _BATCH_TARGETS[10]),
        ("large-k1000", _MANY, 1_000, _BATCH_TARGETS[1_000]),
        ("large-few", _FEW, 10, _FEW_TARGETS),
    ):
        target = _LARGE_SHARE * targets[0]
        yield _scan_case(name, "Large database", sizes.large, 64, n_queries, k, threads, target=target)


def _scan_case(
    name: str,
    group: str,
    n: int,
    bits: int,
    n_queries: int,
    k: int,
    threads: int,
    *,
    target: float,
    isa: str | None = None,
) -> Case:
    units = {OURS: n_queries, FAISS: n_queries, FAISS_COUNTING: n_queries}
    if group != "Large database":  # where the slow ones would only show the same again
        units |= {USEARCH: _SLOW_QUERIES, NUMPY: _SLOW_QUERIES}

    def prepare() -> Trial:
        codes, queries = database("uniform", n, bits), query_codes("uniform", n_queries, bits)
        searches: dict[str, Callable[..., Any]] = {
            OURS: partial(hamming_topk, codes),
            FAISS: peers.faiss_flat(codes),
            FAISS_COUNTING: peers.faiss_flat(codes, use_heap=False),
            USEARCH: peers.usearch_exact(codes, threads=threads),
            NUMPY: peers.numpy_exact(codes),
        }
        calls = {who: Call(partial(searches[who], queries[:count], k)) for who, count in units.items()}

        def check(answers: Mapping[str, TopK]) -> dict[str, Any]:
            _check_distances(answers)
            return _working_memory(n, bits, n_queries, k) if group == "Large database" else {}

        return Trial(calls, check)

    return Case(
        name=f"{name}-{bits}",
        group=group,
        parameters={"bits": bits, "n": n, "queries": n_queries, "k": k},
        contenders=_contenders(units),
        prepare=prepare,
        items=n,
        baseline=FAISS,
        target=target,
        limit=lambda: scan_limit(n, bits, n_queries, isa or core.isa()),
        isa=isa,
    )


def _single_cases(sizes: _Sizes) -> Iterator[Case]:
    for name, n in (("one-cached", sizes.n), ("one-memory", sizes.beyond_caches)):
        for bits in BITS:
            yield _single_case(name, n, bits)


def _single_case(name: str, n: int, bits: int) -> Case:
    k = 10

    def prepare() -> Trial:
        codes, query = database("uniform", n, bits), query_codes("uniform", 1, bits)
        words = codes.view(np.uint64)
        calls = {
            OURS: Call(partial(hamming_topk, codes, query, k)),
            READ: Call(words.max),
            FAISS: Call(partial(peers.faiss_flat(codes), query, k)),
        }

        def check(answers: Mapping[str, Any]) -> dict[str, Any]:
            _check_distances({who: answers[who] for who in (OURS, FAISS)})
            return {}

        return Trial(calls, check)

    return Case(
        name=f"{name}-{bits}",
        group="One query",
        parameters={"bits": bits, "n": n, "k": k},
        contenders=_contenders({OURS: 1, READ: 1, FAISS: 1}),
        prepare=prepare,
        items=n,
        baseline=READ,
        target=_READ_TARGET,
        limit=lambda: scan_limit(n, bits, 1, core.isa()),
    )


def _mask_cases(sizes: _Sizes) -> Iterator[Case]:
    for form, bits in product(_MASK_TARGETS, BITS):
        yield _mask_case(form, sizes.n, bits)


def _mask_case(form: str, n: int, bits: int) -> Case:
    k, unmasked = 10, "unmasked"

    def prepare() -> Trial:
        codes, query = database("uniform", n, bits), query_codes("uniform", 1, bits)
        allowed = np.random.default_rng(3).random(n) < 0.01
        mask = np.packbits(allowed) if form == "packed" else allowed
        calls = {
            OURS: Call(partial(hamming_topk, codes, query, k, mask=mask)),
            unmasked: Call(partial(hamming_topk, codes, query, k)),
        }

        def check(answers: Mapping[str, TopK]) -> dict[str, Any]:
            _check_distances({OURS: answers[OURS], FAISS: peers.faiss_flat(codes[allowed])(query, k)})
            return {}

        return Trial(calls, check)

    return Case(
        name=f"mask-{form}-{bits}",
        group="One query, a mask that keeps 1 %",
        parameters={"bits": bits, "n": n, "k": k, "mask": form},
        contenders=_contenders({OURS: 1, unmasked: 1}),
        prepare=prepare,
        items=n,
        target=_MASK_TARGETS[form].get(bits),
    )


def _index_cases(sizes: _Sizes) -> Iterator[Case]:
    for ids, (regime, n_queries, k) in product(
        _INDEX_TARGETS, (("batch-k10", _MANY, 10), ("batch-k1000", _MANY, 1_000), ("one", 1, 10))
    ):
        yield _index_case(ids, regime, sizes.n, 64, n_queries, k)


def _index_case(ids: str, regime: str, n: int, bits: int, n_queries: int, k: int) -> Case:
    function = "hamming_topk"

    def prepare() -> Trial:
        codes, queries = database("uniform", n, bits), query_codes("uniform", n_queries, bits)
        index = HammingIndex(bits)
        index.add(codes, None if ids == "in order" else np.random.default_rng(4).permutation(n))
        calls = {
            OURS: Call(partial(index.search, queries, k, strategy="scan")),
            function: Call(partial(hamming_topk, codes, queries, k)),
        }

        def check(answers: Mapping[str, TopK]) -> dict[str, Any]:
            _check_distances(answers, reference=function)
            return {}

        return Trial(calls, check)

    return Case(
        name=f"index-{ids.replace(' ', '-')}-{regime}",
        group="HammingIndex.search against the function",
        parameters={"bits": bits, "n": n, "queries": n_queries, "k": k, "ids": ids},
        contenders=_contenders({OURS: n_queries, function: n_queries}),
        prepare=prepare,
        items=n,
        target=_INDEX_TARGETS[ids],
    )


def _thread_cases(sizes: _Sizes) -> Iterator[Case]:
    for bits in BITS:
        yield _thread_case("batch", sizes.n, bits, _MANY)
    yield _thread_case("few", sizes.n, 64, _FEW)
    yield _thread_case("one", sizes.n, 64, 1)


def _thread_case(regime: str, n: int, bits: int, n_queries: int) -> Case:
    k, single = 10, "one thread"

    def prepare() -> Trial:
        codes, queries = database("uniform", n, bits), query_codes("uniform", n_queries, bits)
        calls = {
            name: Call(partial(hamming_topk, codes, queries, k, num_threads=count))
            for name, count in ((OURS, 2), (single, 1))
        }

        def check(answers: Mapping[str, TopK]) -> dict[str, Any]:
            same = all(np.array_equal(answers[OURS][part], answers[single][part]) for part in (0, 1))
            _require(same, "two threads and one differ")
            return {}

        return Trial(calls, check)

    return Case(
        name=f"threads-{regime}-{bits}",
        group="Two threads against one",
        parameters={"bits": bits, "n": n, "queries": n_queries, "k": k},
        contenders=_contenders({OURS: n_queries, single: n_queries}),
        prepare=prepare,
        items=n,
        target=_THREADS_TARGET if n_queries == _MANY else None,
        threads=2,
    )


def _other_cases(sizes: _Sizes) -> Iterator[Case]:
    for bits in (64, 256):
        yield _range_case(sizes.n, bits)
    yield _graph_case(sizes.graph, 64)


def _range_case(n: int, bits: int) -> Case:
    n_queries = 100
    radius = round(bits / 2 - 3.5 * np.sqrt(bits) / 2)  # finds one uniform code in some 3,000

    def prepare() -> Trial:
        codes, queries = database("uniform", n, bits), query_codes("uniform", n_queries, bits)
        calls = {
            OURS: Call(partial(hamming_range, codes, queries, radius)),
            FAISS: Call(partial(peers.faiss_range(codes), queries, radius)),
        }

        def check(answers: Mapping[str, Any]) -> dict[str, Any]:
            lims, distances, ids = answers[FAISS]
            owner = np.repeat(np.arange(n_queries), np.diff(lims.astype(np.int64)))
            order = np.lexsort((ids, distances, owner))
            expected = lims, distances[order], ids[order]
            for ours, other in zip(answers[OURS], expected, strict=True):
                _require(np.array_equal(ours, other), f"{OURS} and {FAISS} find different codes")
            return {"hits a query": round(len(ids) / n_queries)}

        return Trial(calls, check)

    return Case(
        name=f"range-{bits}",
        group="All codes within a radius",
        parameters={"bits": bits, "n": n, "queries": n_queries, "radius": radius},
        contenders=_contenders({OURS: n_queries, FAISS: n_queries}),
        prepare=prepare,
        items=n,
        baseline=FAISS,
    )


def _graph_case(n: int, bits: int) -> Case:
    k = 10

    def prepare() -> Trial:
        codes = database("clustered", n, bits)
        calls = {
            OURS: Call(partial(knn_graph, codes, k)),
            FAISS: Call(partial(peers.faiss_flat(codes), codes, k + 1)),
        }

        def check(answers: Mapping[str, TopK]) -> dict[str, Any]:
            # In faiss's answer each code finds itself, at distance 0 like any duplicate.
            own, found = answers[OURS][0], answers[FAISS][0][:, 1:]
            _require(np.array_equal(own, found), f"{OURS} and {FAISS} find different distances")
            return {}

        return Trial(calls, check)

    return Case(
        name=f"graph-{bits}",
        group="k-nearest-neighbour graph",
        parameters={"bits": bits, "n": n, "k": k},
        contenders=_contenders({OURS: n, FAISS: n}),
        prepare=prepare,
        items=n,
        baseline=FAISS,
    )


def _table_cases(sizes: _Sizes) -> Iterator[Case]:
    for (kind, k), target in _TABLE_TARGETS.items():
        yield _table_case(kind, sizes.large, 64, k, target)  # type: ignore[arg-type]
    yield _build_case(sizes.large, 64)


def _table_case(kind: Kind, n: int, bits: int, k: int, target: float) -> Case:
    units = {who: _SINGLE_QUERIES[who] for who in (OURS, SCAN, FAISS, FAISS_MULTI_HASH)}

    def prepare() -> Trial:
        codes, queries = database(kind, n, bits), query_codes(kind, max(units.values()), bits)
        index, multi_hash = _index(kind, n, bits), _multi_hash(kind, n, bits)
        flat = peers.faiss_flat(codes)
        multi_hash.nflip = _enough_flips(multi_hash, flat, queries[: units[FAISS_MULTI_HASH]], k)
        searches: dict[str, Callable[..., Any]] = {
            OURS: partial(index.search, strategy="multi_index"),
            SCAN: partial(index.search, strategy="scan"),
            FAISS: flat,
            FAISS_MULTI_HASH: multi_hash.search,
        }
        calls = {who: _one_by_one(searches[who], queries[:count], k) for who, count in units.items()}

        def check(answers: Mapping[str, Sequence[TopK]]) -> dict[str, Any]:
            joined = {who: _join(answer) for who, answer in answers.items()}
            approximate = joined.pop(FAISS_MULTI_HASH)
            _check_distances(joined)
            recall = _recall(approximate[0], joined[OURS][0])
            return {f"{FAISS_MULTI_HASH} recall": round(recall, 3), "nflip": multi_hash.nflip}

        return Trial(calls, check)

    return Case(
        name=f"tables-{kind}-k{k}",
        group="Tables, one query at a time",
        parameters={"bits": bits, "n": n, "k": k, "codes": kind},
        contenders=_contenders(units),
        prepare=prepare,
        items=n,
        baseline=SCAN,
        target=target,
    )


def _build_case(n: int, bits: int) -> Case:
    multi_hash = FAISS_MULTI_HASH

    def prepare() -> Trial:
        codes = database("uniform", n, bits)
        calls = {
            OURS: Call(lambda index: index.build_tables(), fresh=partial(_new_index, "uniform", n, bits)),
            multi_hash: Call(partial(peers.faiss_multi_hash, codes)),
        }

        def check(answers: Mapping[str, Any]) -> dict[str, Any]:
            growth = memory_growth(partial(_prepare_build, n, bits))
            if growth is None:
                return {}
            return {"bytes a code": round(growth.kept / n, 1), "at the height": round(growth.peak / n, 1)}

        return Trial(calls, check)

    return Case(
        name="tables-build",
        group="Building the tables",
        parameters={"bits": bits, "n": n},
        contenders=_contenders({OURS: 1, multi_hash: 1}),
        prepare=prepare,
        items=n,
        item="code",
        baseline=multi_hash,
        target_rate=_BUILD_TARGET,
    )


def _growth_cases(sizes: _Sizes) -> Iterator[Case]:
    kinds: tuple[Kind, ...] = ("uniform", "clustered")
    for kind, n in product(kinds, sizes.growth):
        yield _growth_case(kind, n, 64)


def _growth_case(kind: Kind, n: int, bits: int) -> Case:
    k = 10
    units = {who: _SINGLE_QUERIES[who] for who in (TABLES, SCAN, FAISS)}

    def prepare() -> Trial:
        codes, queries = database(kind, n, bits), query_codes(kind, max(units.values()), bits)
        index = _index(kind, n, bits)
        searches: dict[str, Callable[..., Any]] = {
            TABLES: partial(index.search, strategy="multi_index"),
            SCAN: partial(index.search, strategy="scan"),
            FAISS: peers.faiss_flat(codes),
        }
        calls = {who: _one_by_one(searches[who], queries[:count], k) for who, count in units.items()}

        def check(answers: Mapping[str, Sequence[TopK]]) -> dict[str, Any]:
            _check_distances({who: _join(answer) for who, answer in answers.items()})
            return {}

        return Trial(calls, check)

    return Case(
        name=f"growth-{kind}-{n}",
        group=GROWTH,
        parameters={"bits": bits, "n": n, "k": k, "codes": kind},
        contenders=_contenders(units),
        prepare=prepare,
        items=n,
        baseline=FAISS,
    )


def _auto_cases(sizes: _Sizes) -> Iterator[Case]:
    kinds: tuple[Kind, ...] = ("uniform", "clustered")
    for n, bits, kind, k, n_queries in product(sizes.grid, (64, 128), kinds, (10, 1_000), (1, _FEW, _MANY)):
        yield _auto_case(kind, n, bits, n_queries, k)


def _auto_case(kind: Kind, n: int, bits: int, n_queries: int, k: int) -> Case:
    # A query that is asked again finds its buckets in the cache: each of a round is another one.
    alone = n_queries == 1
    units = {who: _SINGLE_QUERIES[who] if alone else n_queries for who in (OURS, SCAN, TABLES)}

    def prepare() -> Trial:
        queries = query_codes(kind, max(units.values()), bits)
        index = _index(kind, n, bits)
        strategies = {OURS: "auto", SCAN: "scan", TABLES: "multi_index"}
        searches: dict[str, Callable[..., Any]] = {
            who: partial(index.search, strategy=strategies[who]) for who in units
        }
        calls = {
            who: _one_by_one(searches[who], queries[:count], k)
            if alone
            else Call(partial(searches[who], queries, k))
            for who, count in units.items()
        }

        def check(answers: Mapping[str, Any]) -> dict[str, Any]:
            joined = {who: _join(answer) for who, answer in answers.items()} if alone else answers
            _check_distances(joined, reference=SCAN)
            return {"auto takes": index.explain(n_queries, k).strategy}

        return Trial(calls, check)

    return Case(
        name=f"auto-{kind}-{n}-{bits}-k{k}-q{n_queries}",
        group='strategy="auto" against the better one',
        parameters={"bits": bits, "n": n, "queries": n_queries, "k": k, "codes": kind},
        contenders=_contenders(units),
        prepare=prepare,
        items=n,
        target=_AUTO_TARGET,
    )


def _one_by_one(search: Search, queries: Codes, k: int) -> Call:
    return Call(lambda: [search(queries[row : row + 1], k) for row in range(len(queries))])


def _join(answers: Sequence[TopK]) -> TopK:
    distances, ids = zip(*answers, strict=True)
    return np.concatenate(distances), np.concatenate(ids)


def _new_index(kind: Kind, n: int, bits: int) -> HammingIndex:
    index = HammingIndex(bits)
    index.add(database(kind, n, bits))
    return index


@lru_cache(maxsize=1)
def _index(kind: Kind, n: int, bits: int) -> HammingIndex:
    index = _new_index(kind, n, bits)
    index.build_tables()
    return index


@lru_cache(maxsize=1)
def _multi_hash(kind: Kind, n: int, bits: int) -> Any:
    return peers.faiss_multi_hash(database(kind, n, bits))


def _enough_flips(multi_hash: Any, exact: Search, queries: Codes, k: int) -> int:
    """Return the smallest ``nflip`` that finds 95 % of the neighbours, 4 if none does."""
    distances = exact(queries, k)[0]
    for flips in range(4):
        multi_hash.nflip = flips
        if _recall(multi_hash.search(queries, k)[0], distances) >= _RECALL:
            return flips
    return 4


def _recall(found: npt.NDArray[np.int32], exact: npt.NDArray[np.int32]) -> float:
    """Return the share of the k places that hold a code as near as the k-th nearest."""
    return float((found <= exact[: len(found), -1:]).mean())


def _prepare_build(n: int, bits: int) -> Callable[[], object]:
    return _new_index("uniform", n, bits).build_tables


def _prepare_search(n: int, bits: int, n_queries: int, k: int) -> Callable[[], object]:
    codes, queries = database("uniform", n, bits), query_codes("uniform", n_queries, bits)
    return partial(hamming_topk, codes, queries, k, num_threads=1)


def _working_memory(n: int, bits: int, n_queries: int, k: int) -> dict[str, Any]:
    growth = memory_growth(partial(_prepare_search, n, bits, n_queries, k))
    if growth is None:
        return {}
    result = n_queries * k * (4 + 8)
    return {"working memory MB": round(max(0, growth.peak - result) / 1e6, 1)}


def _check_distances(answers: Mapping[str, TopK], reference: str = FAISS) -> None:
    """Demand the reference's distances of all; who did fewer queries did the first of them."""
    expected = answers[reference][0]
    for who, (distances, _) in answers.items():
        count = min(len(distances), len(expected))
        same = np.array_equal(distances[:count], expected[:count])
        _require(same, f"{who} and {reference} find different distances")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise WrongAnswerError(otherwise)
