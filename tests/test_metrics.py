from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from sdc_search import (
    hamming_distance,
    hit_rate_at,
    mean_average_precision,
    mean_average_precision_from_scores,
    metrics,
    ndcg_at,
    precision_at,
    precision_recall_curve,
    recall_at,
    reference,
)
from sdc_search.metrics import Gain, NoHit, Normalizer, Ties, retrieval_scores
from sdc_search.native import core

TIES: tuple[Ties, ...] = get_args(Ties)
NORMALIZERS: tuple[Normalizer, ...] = get_args(Normalizer)
NO_HIT: tuple[NoHit, ...] = get_args(NoHit)

Case = tuple[npt.NDArray[np.uint8], npt.NDArray[Any], npt.NDArray[np.uint8], npt.NDArray[Any]]


def at_distances(distances: list[int] | npt.NDArray[np.int64], relevant: Any) -> Case:
    """One query, and a database with these distances to it."""
    distances = np.asarray(distances)
    bits = np.arange(max(int(distances.max()), 1)) < distances[:, None]
    codes = np.packbits(bits, axis=1)
    return codes, np.asarray(relevant).astype(np.int64), np.zeros_like(codes[:1]), np.array([1])


def random_case(
    rng: np.random.Generator, n: int, q: int, *, n_bits: int = 2, classes: int = 3, multi: bool = False
) -> Case:
    """Codes of so few bits that most items tie; some queries have no relevant item."""
    codes = rng.integers(0, 2**n_bits, (n + q, 1), dtype=np.uint8)
    labels = rng.random((n + q, classes)) < 0.3 if multi else rng.integers(0, classes, n + q)
    return codes[:n], labels[:n], codes[n:], labels[n:]


def small_cases(count: int) -> Iterator[tuple[Case, int]]:
    """Cases with few enough orders to go through, each with a cut, which can exceed the number of items."""
    rng = np.random.default_rng(1)
    for i in range(count):
        n, q = int(rng.integers(1, 7)), int(rng.integers(1, 3))
        case = random_case(rng, n, q, classes=int(rng.integers(2, 5)), multi=i % 3 == 0)
        yield case, int(rng.choice([-1, *range(1, n + 2)]))


@pytest.mark.parametrize(
    ("at", "normalizer", "expected", "optimistic", "pessimistic"),
    [
        (-1, "relevant_in_top", 0.774074, 0.866667, 0.7),
        (-1, "all_relevant", 0.774074, 0.866667, 0.7),
        (1000, "relevant_in_top", 0.774074, 0.866667, 0.7),
        (3, "relevant_in_top", 0.944444, 1.0, 0.833333),
        (3, "all_relevant", 14 / 27, 2 / 3, 1 / 3),
    ],
)
def test_fixture(
    at: int, normalizer: Normalizer, expected: float, optimistic: float, pessimistic: float
) -> None:
    case = at_distances([0, 1, 1, 1, 2], [1, 1, 0, 0, 1])
    got = {ties: mean_average_precision(*case, at=at, ties=ties, normalizer=normalizer) for ties in TIES}
    # The database has the relevant item first among the ties, so that its order is the best one.
    want = {"expected": expected, "stable": optimistic, "optimistic": optimistic, "pessimistic": pessimistic}
    assert got == pytest.approx(want, abs=1e-6)


def test_every_order_of_the_ties() -> None:
    for case, at in small_cases(200):
        for ties, normalizer, no_hit in product(TIES, NORMALIZERS, NO_HIT):
            options: dict[str, Any] = {"at": at, "ties": ties, "normalizer": normalizer, "no_hit": no_hit}
            got = mean_average_precision(*case, **options)
            want = reference.mean_average_precision(*case, **options)
            assert got == pytest.approx(want, abs=1e-13), (case, options)
            assert isinstance(got, float)


@pytest.mark.parametrize("ties", TIES)
def test_precision_and_recall_over_every_order(ties: Ties) -> None:
    for case, _ in small_cases(60):
        n_items = len(case[0])
        ranks = [n_items, 1, max(n_items // 2, 1)]
        hits = np.array([reference.hits_at(*case, n, ties=ties) for n in ranks])
        total = np.array(reference.hits_at(*case, n_items, ties=ties))
        precision, recall = precision_at(*case, ranks, ties=ties), recall_at(*case, ranks, ties=ties)
        assert precision.dtype == recall.dtype == np.float64
        np.testing.assert_allclose(precision, hits.mean(axis=1) / ranks, atol=1e-13)
        np.testing.assert_allclose(recall, (hits / np.maximum(total, 1)).mean(axis=1), atol=1e-13)


def test_a_late_hit_lowers_the_precision() -> None:
    # A hit at rank 1, nine misses, and two tied items, one of them relevant, for rank 11.
    late_hit = at_distances([0] + [1] * 9 + [2] * 2, [1] + [0] * 9 + [1, 0])
    assert mean_average_precision(*late_hit, at=11, ties="optimistic") == 1.0
    assert mean_average_precision(*late_hit, at=11, ties="pessimistic") == pytest.approx((1 + 2 / 11) / 2)


def best_and_worst(distances: npt.NDArray[np.int64], relevant: npt.NDArray[np.bool_], at: int) -> list[float]:
    """Try every number of hits before the cut, with all the hits of a group first or all of them last."""
    extremes = []
    for first in (True, False):
        order = np.lexsort((~relevant if first else relevant, distances))
        d, r = distances[order], relevant[order]
        tied = np.flatnonzero(d == d[at - 1])
        taken, hits = at - tied[0], int(r[tied].sum())
        values = []
        for h in range(max(0, taken - (len(tied) - hits)), min(taken, hits) + 1):
            top = np.arange(taken) < h if first else np.arange(taken) >= taken - h
            ranking = (*r[: tied[0]].tolist(), *top.tolist())
            values.append(reference.average_precision(ranking, at, "relevant_in_top"))
        extremes.append(max(values) if first else min(values))
    return extremes


def test_bounds_of_large_groups(rng: np.random.Generator) -> None:
    for _ in range(200):
        n = int(rng.integers(20, 120))
        distances = rng.integers(0, rng.integers(1, 5), n)
        # Relevance that changes with distance moves the worst number of hits between the two ends.
        relevant = rng.random(n) < rng.choice([0.02, 0.1, 0.5, 0.9], 5)[distances]
        at = int(rng.integers(1, n + 1))
        case = at_distances(distances, relevant)
        got = [
            mean_average_precision(*case, at=at, ties="optimistic"),
            mean_average_precision(*case, at=at, ties="pessimistic"),
        ]
        assert got == pytest.approx(best_and_worst(distances, relevant, at), abs=1e-13)


@pytest.mark.parametrize(
    ("n", "p", "at"),
    [
        (50_000, 5_000, 1_000),
        (50_000, 5_000, 25_000),
        (50_000, 3, 40_000),
        (50_000, 49_990, 25_000),
        (50_000, 20_000, 5),
        (50_000, 20_000, 49_999),
        (1_000_000, 100_000, 500_000),
    ],
)
@pytest.mark.parametrize("before", [(0, 0), (7, 3), (30_000, 1), (30_000, 29_000)])
def test_expectation_over_a_large_group(n: int, p: int, at: int, before: tuple[int, int]) -> None:
    """Against scipy's hypergeometric distribution and the sum over ranks, term by term."""
    items_before, hits_before = before
    distances = np.repeat([0, 1], [items_before, n])
    relevant = np.concatenate([np.arange(items_before) < hits_before, np.arange(n) < p])
    taken = min(at, n)
    case = at_distances(distances, relevant)
    # The nearer hits of the case are tied as well: the expected sum over their ranks, term by term.
    ranks = np.arange(1, items_before + 1)
    other = (hits_before - 1) / max(items_before - 1, 1)
    nearer = (hits_before / max(items_before, 1) * (1 + (ranks - 1) * other) / ranks).sum()

    j = np.arange(1, taken + 1)
    h = np.arange(max(0, taken - (n - p)), min(taken, p) + 1)
    h = h[np.abs(h - taken * p / n) <= 2000]  # more than 13 standard deviations
    probability = stats.hypergeom(n, p, taken).pmf(h)
    reciprocals, weighted = (1 / (items_before + j)).sum(), ((j - 1) / (items_before + j)).sum()
    sums = h / taken * ((hits_before + 1) * reciprocals + (h - 1) / max(taken - 1, 1) * weighted)
    want = (probability * (nearer + sums) / np.maximum(hits_before + h, 1)).sum() / probability.sum()
    got = mean_average_precision(*case, at=items_before + taken)
    assert got == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("misses", [0, 1, 5, 23, 24, 31, 32, 33, 100, 2_000_000])
@pytest.mark.parametrize("hits", [1, 2, 8, 9, 40, 5000])
def test_precision_of_a_run_of_hits(misses: int, hits: int) -> None:
    nearer_first = at_distances(np.repeat([0, 1], [misses, hits]), np.repeat([0, 1], [misses, hits]))
    want = math.fsum(j / (misses + j) for j in range(1, hits + 1)) / hits
    for ties in ("expected", "pessimistic"):
        assert mean_average_precision(*nearer_first, at=-1, ties=ties) == pytest.approx(want, rel=1e-12)


def test_expected_is_the_mean_over_shuffles(rng: np.random.Generator) -> None:
    codes, labels, queries, query_labels = random_case(rng, 400, 20, n_bits=8, classes=5)
    options: dict[str, Any] = {"at": 60}
    shuffles = [rng.permutation(400) for _ in range(300)]
    stable = [
        mean_average_precision(codes[i], labels[i], queries, query_labels, ties="stable", **options)
        for i in shuffles
    ]
    expected = mean_average_precision(codes, labels, queries, query_labels, **options)
    assert expected == pytest.approx(np.mean(stable), abs=5 * np.std(stable) / np.sqrt(len(stable)))


@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic"])
def test_order_of_the_database_does_not_matter(ties: Ties, rng: np.random.Generator) -> None:
    codes, labels, *query = random_case(rng, 300, 10, n_bits=6, multi=True)
    order = rng.permutation(300)
    for n in (1, 40, 300):
        for measure in (precision_at, recall_at):
            shuffled = measure(codes[order], labels[order], *query, n, ties=ties)
            np.testing.assert_array_equal(measure(codes, labels, *query, n, ties=ties), shuffled)
        shuffled = mean_average_precision(codes[order], labels[order], *query, at=n, ties=ties)
        assert mean_average_precision(codes, labels, *query, at=n, ties=ties) == shuffled


def test_bounds_hold(rng: np.random.Generator) -> None:
    for trial, normalizer, no_hit in product(range(30), NORMALIZERS, NO_HIT):
        case = random_case(rng, 60, 8, n_bits=4, classes=20, multi=trial % 2 == 0)
        options: dict[str, Any] = {"at": int(rng.integers(1, 61)), "normalizer": normalizer, "no_hit": no_hit}
        value = {ties: mean_average_precision(*case, ties=ties, **options) for ties in TIES}
        slack = 1e-12
        assert 0 <= value["pessimistic"] <= value["expected"] + slack
        assert value["expected"] <= value["optimistic"] + slack
        assert value["pessimistic"] - slack <= value["stable"] <= value["optimistic"] + slack
        assert value["optimistic"] <= 1


def test_stable_is_a_stable_sort(rng: np.random.Generator) -> None:
    codes, labels, queries, query_labels = random_case(rng, 500, 6, n_bits=8, classes=4)
    order = np.argsort(reference.hamming_distance(codes, queries), axis=1, kind="stable")
    ranked = labels[order] == query_labels[:, None]
    for at in (1, 37, 500):
        for normalizer in NORMALIZERS:
            want = [reference.average_precision(tuple(row.tolist()), at, normalizer) for row in ranked]
            got = mean_average_precision(
                codes, labels, queries, query_labels, at=at, ties="stable", normalizer=normalizer
            )
            assert got == pytest.approx(np.mean(want), abs=1e-13)


def test_widest_codes(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 256, (40, 256), dtype=np.uint8)
    codes[:3] = 255
    queries, labels = np.zeros((2, 256), dtype=np.uint8), rng.integers(0, 2, 42)
    case = codes, labels[:40], queries, labels[40:]
    for ties in TIES:
        options: dict[str, Any] = {"at": 39, "ties": ties, "normalizer": "all_relevant", "no_hit": "zero"}
        want = reference.mean_average_precision(*case, **options)
        assert mean_average_precision(*case, **options) == pytest.approx(want, abs=1e-13)


def test_skip_weighs_a_query_by_how_likely_its_hit_is() -> None:
    # A query that always has a hit at rank 1, and one whose single relevant item is one of four at the cut.
    codes = np.array([[0], [15], [15], [15], [15]], dtype=np.uint8)
    labels = np.array([1, 2, 0, 0, 0])
    queries, query_labels = np.array([[0], [15]], dtype=np.uint8), np.array([1, 2])
    case = codes, labels, queries, query_labels
    assert mean_average_precision(*case, at=1) == pytest.approx((1 + 1 / 4) / 2)
    assert mean_average_precision(*case, at=1, no_hit="skip") == pytest.approx(1.0)
    # At rank 2 the hit is there in half of the orders, and then at rank 1 or 2 as likely.
    assert mean_average_precision(*case, at=2, no_hit="skip") == pytest.approx((1 + 0.5 * 0.75) / 1.5)
    alone = codes, labels, queries[1:], query_labels[1:]
    assert mean_average_precision(*alone, at=2, no_hit="skip") == pytest.approx(0.75)
    # The worst that can happen to it alone is that nothing is left to average.
    assert mean_average_precision(*alone, at=2, no_hit="skip", ties="pessimistic") == 0.0
    assert mean_average_precision(*case, at=2, no_hit="skip", ties="pessimistic") == pytest.approx(0.75)
    assert mean_average_precision(*case, at=2, no_hit="skip", ties="optimistic") == pytest.approx(1.0)


@pytest.mark.parametrize("ties", TIES)
def test_skip_over_every_order_of_several_queries(ties: Ties, rng: np.random.Generator) -> None:
    # With as many classes as items, many queries have few hits to find or miss.
    for _ in range(150):
        case = random_case(rng, 5, 4, classes=5)
        for at, normalizer in product((1, 2, 3), NORMALIZERS):
            options: dict[str, Any] = {"at": at, "ties": ties, "normalizer": normalizer, "no_hit": "skip"}
            want = reference.mean_average_precision(*case, **options)
            assert mean_average_precision(*case, **options) == pytest.approx(want, abs=1e-13)


@pytest.mark.parametrize("ties", TIES)
def test_queries_without_relevant_items(ties: Ties) -> None:
    codes, labels = np.array([[0], [1]], dtype=np.uint8), np.array([4, 4])
    case = codes, labels, codes, np.array([4, 5])
    assert mean_average_precision(*case, ties=ties) == 0.5
    assert mean_average_precision(*case, ties=ties, no_hit="skip") == 1.0
    assert precision_at(*case, 2, ties=ties).tolist() == [0.5]
    assert recall_at(*case, 2, ties=ties).tolist() == [0.5]
    nothing = codes, labels, codes, np.array([5, 6])
    for no_hit in NO_HIT:
        assert mean_average_precision(*nothing, ties=ties, no_hit=no_hit) == 0.0


@pytest.mark.parametrize("ties", TIES)
def test_perfect_and_hopeless_rankings(ties: Ties) -> None:
    perfect = at_distances(np.repeat([0, 1, 2], [5, 30, 90]), np.repeat([1, 1, 0], [5, 30, 90]))
    assert mean_average_precision(*perfect, ties=ties) == 1.0
    assert recall_at(*perfect, [35, 125], ties=ties).tolist() == [1.0, 1.0]
    hopeless = at_distances(np.repeat([0, 1], [90, 3]), np.repeat([0, 1], [90, 3]))
    assert mean_average_precision(*hopeless, at=90, ties=ties) == 0.0
    assert precision_at(*hopeless, [1, 90, 1000], ties=ties).tolist() == pytest.approx([0.0, 0.0, 3 / 93])


@pytest.mark.parametrize("multi", [False, True])
def test_blocks_do_not_show(multi: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(rng, 50, 13, n_bits=5, classes=10, multi=multi)

    def measure() -> list[float]:
        values = [
            mean_average_precision(*case, at=20, ties="stable", no_hit=no_hit, normalizer=normalizer)
            for no_hit, normalizer in product(NO_HIT, NORMALIZERS)
        ]
        for curve in (
            precision_recall_curve(*case),
            *(precision_recall_curve(*case, by="rank", ties=ties) for ties in TIES),
        ):
            values += [*curve.precision[1:], *curve.recall]
        for measure_at in (precision_at, recall_at, hit_rate_at, ndcg_at):
            values += measure_at(*case, [3, 20], ties="stable").tolist()
        return values

    whole = measure()
    for n_bytes in (1, 5 * metrics._BYTES_PER_RANK * 50):
        monkeypatch.setattr(metrics, "_BLOCK_BYTES", n_bytes)
        assert measure() == pytest.approx(whole, rel=1e-13)


def test_blocks_bound_the_memory(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    rows = []

    def count(codes: Any, queries: Any, k: int) -> Any:
        rows.append(len(queries))
        return reference.hamming_topk(codes, queries, k)

    monkeypatch.setattr(metrics, "hamming_topk", count)
    monkeypatch.setattr(metrics, "_BLOCK_BYTES", 1 << 20)
    mean_average_precision(*random_case(rng, 2000, 50), at=-1, ties="stable")
    assert sum(rows) == 50
    assert max(rows) * 2000 * metrics._BYTES_PER_RANK <= 1 << 20


def expected_hits(distances: Any, relevant: Any, ranks: list[int]) -> npt.NDArray[np.float64]:
    """The expected number of relevant items up to each rank, one query after the other."""
    hits = np.empty((len(distances), len(ranks)))
    for q, (row, wanted) in enumerate(zip(distances, relevant, strict=True)):
        items, found = np.bincount(row), np.bincount(row, wanted)
        for i, rank in enumerate(ranks):
            d = int((items.cumsum() >= rank).argmax())
            hits[q, i] = found[:d].sum() + (rank - items[:d].sum()) * found[d] / items[d]
    return hits


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_bytes", [1, 3, 8, 20, 40, 200])
def test_every_level_counts_the_same(n_bytes: int, rng: np.random.Generator) -> None:
    # Enough rows that thresholds come from a sample, in classes of unlike distances, one after the other.
    n, q, ranks = 5_003, 37, [1, 20, 300]
    classes = np.sort(rng.integers(0, 40, n))
    centres = rng.random((40, 8 * n_bytes))
    codes = np.packbits(rng.random((n, 8 * n_bytes)) < centres[classes], axis=1)
    asked = rng.integers(0, 45, q)
    queries = np.packbits(rng.random((q, 8 * n_bytes)) < centres[asked % 40], axis=1)
    distances = reference.hamming_distance(codes, queries)
    want = expected_hits(distances, classes == asked[:, None], ranks)
    np.testing.assert_allclose(
        precision_at(codes, classes, queries, asked, ranks), want.mean(axis=0) / ranks, rtol=1e-12
    )
    hot = np.arange(70) == classes[:, None]
    hot |= rng.random(hot.shape) < 0.01
    wanted = np.arange(70) == asked[:, None]
    wanted[:, 66] = True
    shares = wanted.astype(np.int64) @ hot.T
    want = expected_hits(distances, shares > 0, ranks)
    np.testing.assert_allclose(
        precision_at(codes, hot, queries, wanted, ranks), want.mean(axis=0) / ranks, rtol=1e-12
    )
    # Linear gains of grades are hits that weigh as much.
    gain = np.diff(expected_hits(distances, shares, list(range(1, 301))), axis=1, prepend=0)
    ideal = -np.sort(-shares, axis=1)[:, :300]
    discounts = 1 / np.log2(np.arange(2, 302))
    want = (gain * discounts).sum(axis=1) / (ideal * discounts).sum(axis=1)
    got = ndcg_at(codes, hot, queries, wanted, 300, gain="linear")
    assert got.tolist() == pytest.approx([want.mean()], rel=1e-12)


def test_samples_that_mislead(rng: np.random.Generator) -> None:
    # Of so many queries, some have more near rows in the sample than its margin allows for.
    codes, queries = (rng.integers(0, 256, (n, 8), dtype=np.uint8) for n in (2_100, 3_000))
    labels, asked = rng.integers(0, 2, 2_100), rng.integers(0, 2, 3_000)
    distances = reference.hamming_distance(codes, queries)
    want = expected_hits(distances, labels == asked[:, None], [500])
    got = precision_at(codes, labels, queries, asked, 500)
    assert got.tolist() == pytest.approx(want.mean(axis=0) / 500, rel=1e-12)


def test_threads_do_not_show(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 256, (9_000, 8), dtype=np.uint8)
    labels, asked = rng.integers(0, 9, 9_000), rng.integers(0, 9, 70)
    values = []
    before = core.num_threads()
    try:
        for threads in (1, 2, 5):
            core.set_num_threads(threads)
            for at in (100, -1):
                values.append(mean_average_precision(codes, labels, codes[:70], asked, at=at))
    finally:
        core.set_num_threads(before)
    assert values == values[:2] * 3


def test_precision_and_recall_within_a_radius(rng: np.random.Generator) -> None:
    case = random_case(rng, 60, 9, n_bits=5, classes=30)
    codes, labels, queries, query_labels = case
    distances, relevant = reference.hamming_distance(codes, queries), labels == query_labels[:, None]
    curve = precision_recall_curve(*case)
    assert curve.ranks is None
    assert curve.radii is not None
    assert curve.radii.tolist() == list(range(9))
    for radius in curve.radii:
        within = distances <= radius
        hits = (within & relevant).sum(axis=1)
        some = within.any(axis=1)
        want = (hits[some] / within[some].sum(axis=1)).mean() if some.any() else np.nan
        assert curve.precision[radius] == pytest.approx(want, nan_ok=True)
        assert curve.recall[radius] == pytest.approx((hits / np.maximum(relevant.sum(axis=1), 1)).mean())


def test_no_item_within_a_radius() -> None:
    curve = precision_recall_curve(*at_distances([2, 3], [1, 0]))
    assert curve.precision[:4].tolist() == pytest.approx([np.nan, np.nan, 1.0, 0.5], nan_ok=True)


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("multi", [False, True])
def test_precision_and_recall_by_rank(ties: Ties, multi: bool, rng: np.random.Generator) -> None:
    case = random_case(rng, 70, 9, n_bits=4, classes=7, multi=multi)
    curve = precision_recall_curve(*case, by="rank", ties=ties, at=60)
    assert curve.radii is None
    assert curve.ranks is not None
    assert curve.ranks.tolist() == list(range(1, 61))
    np.testing.assert_allclose(curve.precision, precision_at(*case, curve.ranks, ties=ties), atol=1e-12)
    np.testing.assert_allclose(curve.recall, recall_at(*case, curve.ranks, ties=ties), atol=1e-12)


@pytest.mark.parametrize("ties", TIES)
def test_hit_rate_and_gain_over_every_order(ties: Ties) -> None:
    for case, _ in small_cases(60):
        n_items = len(case[0])
        ranks = [n_items, 1, max(n_items // 2, 1)]
        got = hit_rate_at(*case, ranks, ties=ties)
        want = [reference.hit_rate_at(*case, n, ties=ties) for n in ranks]
        assert got.tolist() == pytest.approx(want, abs=1e-13)
        for gain in get_args(Gain):
            got = ndcg_at(*case, ranks, gain=gain, ties=ties)
            want = [reference.ndcg_at(*case, n, gain=gain, ties=ties) for n in ranks]
            assert got.tolist() == pytest.approx(want, abs=1e-13)


def test_number_of_queries_without_a_hit() -> None:
    # One query always has its hit at rank 1, one never, and one has one of four tied items to find.
    codes = np.array([[0], [15], [15], [15], [15]], dtype=np.uint8)
    labels = np.array([1, 2, 0, 0, 0])
    case = codes, labels, np.array([[0], [0], [15]], dtype=np.uint8), np.array([1, 3, 2])
    want = {"expected": 1.75, "stable": 1, "optimistic": 1, "pessimistic": 2}
    for ties in TIES:
        scores = retrieval_scores(*case, at=1, ties=ties)
        assert scores.n_queries == 3
        assert scores.n_without_hit == pytest.approx(want[ties])
        assert scores.mean_average_precision == mean_average_precision(*case, at=1, ties=ties)
    # Leaving the third out can be no better and no worse than its AP of 1.
    assert retrieval_scores(*case, at=1, ties="pessimistic", no_hit="skip").n_without_hit in (1, 2)


def test_kinds_of_labels(rng: np.random.Generator) -> None:
    codes, labels, queries, query_labels = random_case(rng, 40, 5, n_bits=4)
    names = np.array(["cat", "dog", "elephant"])
    want = mean_average_precision(codes, labels, queries, query_labels)

    def score(database: Any, query: Any) -> float:
        return mean_average_precision(codes, database, queries, query)

    assert score(labels.astype(np.uint8), query_labels.astype(np.int16)) == want
    assert score(names[labels], names[query_labels]) == want
    assert score(names[labels].astype(object), names[query_labels]) == want
    assert score(names[labels].astype(np.dtypes.StringDType()), names[query_labels]) == want
    assert score(torch.from_numpy(labels), torch.from_numpy(query_labels)) == want
    one_hot = np.eye(3, dtype=np.int64)
    assert score(one_hot[labels], one_hot[query_labels]) == want
    assert score(one_hot[labels] == 1, one_hot[query_labels]) == want
    # Numbers that float64 would take for each other.
    large, larger = np.uint64(2**64 - 2), np.uint64(2**64 - 1)
    unsigned = np.where(query_labels == 0, larger, query_labels.astype(np.uint64))
    assert score(np.where(labels == 0, large, labels.astype(np.uint64)), unsigned) == score(
        np.where(labels == 0, 7, labels), np.where(query_labels == 0, 8, query_labels)
    )


def test_many_labels(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 4, (6, 1), dtype=np.uint8)
    labels = np.zeros((6, 200), dtype=np.bool_)
    labels[[0, 1, 2, 3], [0, 63, 64, 199]] = True
    wanted = np.zeros((1, 200), dtype=np.bool_)
    for shared in (0, 63, 64, 199, 100):
        wanted[:] = np.arange(200) == shared
        case = codes, labels, codes[:1], wanted
        options: dict[str, Any] = {
            "at": -1,
            "ties": "expected",
            "normalizer": "all_relevant",
            "no_hit": "zero",
        }
        want = reference.mean_average_precision(*case, **options)
        assert mean_average_precision(*case, **options) == pytest.approx(want, abs=1e-13)
        assert (want > 0) == (shared != 100)


def test_tensors_and_ranks_of_several_kinds(rng: np.random.Generator) -> None:
    case = random_case(rng, 30, 4)
    tensors = [torch.from_numpy(np.ascontiguousarray(argument)) for argument in case]
    assert mean_average_precision(*tensors) == mean_average_precision(*case)
    want = precision_at(*case, [5, 2])
    assert want.shape == (2,)
    for n in ((5, 2), np.array([5, 2], dtype=np.uint8), torch.tensor([5, 2])):
        np.testing.assert_array_equal(precision_at(*tensors, n), want)
    assert precision_at(*case, 5).tolist() == precision_at(*case, np.int32(5)).tolist() == want[:1].tolist()


CODES, LABELS = np.zeros((3, 2), dtype=np.uint8), np.arange(3)
HOT = np.eye(3, dtype=np.int64)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((CODES[:0], LABELS[:0], CODES, LABELS), {}, ValueError, r"database_codes .*\(0, 2\)"),
        ((CODES, LABELS, CODES[:0], LABELS[:0]), {}, ValueError, r"query_codes .*\(0, 2\)"),
        ((CODES, LABELS, CODES[:, :1], LABELS), {}, ValueError, "query_codes must have 2 bytes .* got 1"),
        ((CODES.astype(np.int64), LABELS, CODES, LABELS), {}, TypeError, "database_codes .* got int64"),
        ((CODES, LABELS, CODES[0], LABELS), {}, ValueError, "query_codes must have shape"),
        ((CODES, LABELS[:2], CODES, LABELS), {}, ValueError, r"database_labels .*\(3,\).* got shape \(2,\)"),
        ((CODES, LABELS, CODES, np.array(1)), {}, ValueError, r"query_labels .* got shape \(\)"),
        ((CODES, HOT[:, :0], CODES, HOT[:, :0]), {}, ValueError, r"database_labels .*\(3, 0\)"),
        ((CODES, LABELS, CODES, [0, 1, 2]), {}, TypeError, "query_labels .* got list"),
        ((CODES, LABELS * 1.0, CODES, LABELS), {}, TypeError, "database_labels .* got float64"),
        ((CODES, LABELS > 0, CODES, LABELS), {}, TypeError, "database_labels .* got bool"),
        ((CODES, LABELS - 1, CODES, LABELS), {}, ValueError, "database_labels .* negative, got -1"),
        ((CODES, LABELS, CODES, LABELS - 2), {}, ValueError, "query_labels .* negative, got -2"),
        ((CODES, LABELS.astype(object), CODES, LABELS), {}, TypeError, "database_labels .* got object"),
        (
            (CODES, LABELS.astype(str), CODES, LABELS),
            {},
            TypeError,
            "query_labels must both be integers or both str.* int64",
        ),
        ((CODES, HOT, CODES, LABELS), {}, ValueError, r"got \(3, 3\) and \(3,\)"),
        ((CODES, HOT, CODES, HOT[:, :2]), {}, ValueError, r"got \(3, 3\) and \(3, 2\)"),
        ((CODES, HOT, CODES, HOT * 1.0), {}, TypeError, "query_labels .* got float64"),
        ((CODES, HOT, CODES, HOT * 7), {}, ValueError, "query_labels .* got 7"),
        ((CODES, LABELS, CODES, LABELS), {"at": 0}, ValueError, "at must be at least 1.*got 0"),
        ((CODES, LABELS, CODES, LABELS), {"at": -2}, ValueError, "at must be at least -1, got -2"),
        ((CODES, LABELS, CODES, LABELS), {"at": 2.0}, TypeError, "at must be an integer"),
        ((CODES, LABELS, CODES, LABELS), {"ties": "mean"}, ValueError, "ties must be one of 'exp.*'mean'"),
        ((CODES, LABELS, CODES, LABELS), {"normalizer": None}, ValueError, "normalizer must be .* None"),
        ((CODES, LABELS, CODES, LABELS), {"no_hit": "one"}, ValueError, "no_hit must be one of .*'one'"),
    ],
)
def test_bad_input(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        mean_average_precision(*arguments, **options)
    if options.keys() <= {"ties"}:
        for measure in (precision_at, recall_at, hit_rate_at, ndcg_at):
            with pytest.raises(error, match=message):
                measure(*arguments, 1, **options)
    if options.keys() <= {"ties", "at"}:
        with pytest.raises(error, match=message):
            precision_recall_curve(*arguments, **options)


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "n must be at least 1, got 0"),
        (-1, ValueError, "n must be at least 1, got -1"),
        ([3, 0], ValueError, "n must be at least 1, got 0"),
        ([], ValueError, "n must be an integer or a sequence of at least one"),
        ([[1]], ValueError, r"n must be .* got shape \(1, 1\)"),
        (1.0, TypeError, "n must be .* got float64"),
        (True, TypeError, "n must be .* got bool"),
        ("1", TypeError, "n must be .* got <U1"),
        (None, TypeError, "n must be .* got object"),
    ],
)
def test_bad_ranks(n: Any, error: type[Exception], message: str) -> None:
    for measure in (precision_at, recall_at, hit_rate_at, ndcg_at):
        with pytest.raises(error, match=message):
            measure(CODES, LABELS, CODES, LABELS, n)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="gain must be one of 'exponential', 'linear', got 'square'"):
        ndcg_at(CODES, LABELS, CODES, LABELS, 1, gain="square")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="by must be one of 'radius', 'rank', got 'bit'"):
        precision_recall_curve(CODES, LABELS, CODES, LABELS, by="bit")  # type: ignore[arg-type]
    many = np.ones((3, 1100), dtype=np.bool_)
    with pytest.raises(ValueError, match="gain must be 'linear' where queries have 1100 labels"):
        ndcg_at(CODES, many, CODES, many, 1)


def test_scores_that_order_as_distances_give_the_stable_precision(rng: np.random.Generator) -> None:
    database, database_labels, query, query_labels = random_case(rng, 60, 7)
    scores = -hamming_distance(database, query).astype(np.float32)
    for at in (1, 10, -1, 1000):
        expected = mean_average_precision(
            database, database_labels, query, query_labels, at=at, ties="stable"
        )
        got = mean_average_precision_from_scores(scores, database_labels, query_labels, at=at)
        assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        (np.ones((1, 2), int), TypeError, "scores must be floating point"),
        (np.ones(2), ValueError, "shape"),
        (np.ones((1, 3)), ValueError, "database_labels"),
        (np.array([[0.0, np.nan]]), ValueError, "NaN"),
    ],
)
def test_bad_scores(scores: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mean_average_precision_from_scores(scores, np.array([0, 1]), np.array([0]))
