from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sdc_search import reference
from sdc_search.landmarks import Difficulty, LandmarkProtocol, landmark_map, revisited_map

DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "medium", "hard")


def random_truth(rng: np.random.Generator, n: int) -> dict[str, list[int]]:
    kinds = rng.choice(["easy", "hard", "junk", "other"], n, p=[0.1, 0.1, 0.1, 0.7])
    return {kind: np.flatnonzero(kinds == kind).tolist() for kind in ("easy", "hard", "junk")}


def test_landmark_map_is_the_sum_of_precisions(rng: np.random.Generator) -> None:
    ranked = [rng.permutation(200)[: rng.integers(1, 200)] for _ in range(60)]
    truth = [rng.choice(200, rng.integers(1, 150), replace=False) for _ in range(60)]
    for at in (1, 20, 100):
        wanted = {"relevant_up_to_at": 0.0, "all_relevant": 0.0}
        for ids, relevant in zip(ranked, truth, strict=True):
            hits = [i in relevant for i in ids[:at]]
            total = sum(sum(hits[: r + 1]) / (r + 1) for r, hit in enumerate(hits) if hit)
            wanted["relevant_up_to_at"] += total / min(len(relevant), at) / 60
            wanted["all_relevant"] += total / len(relevant) / 60
        assert landmark_map(ranked, truth, at) == pytest.approx(wanted["relevant_up_to_at"], abs=1e-12)
        got = landmark_map(ranked, truth, at, normalizer="all_relevant")
        assert got == pytest.approx(wanted["all_relevant"], abs=1e-12)


def test_landmark_map_ignores_what_is_returned_again() -> None:
    # The second 5 takes rank 2 and is no hit.
    assert landmark_map([[5, 5, 9]], [[5, 9]]) == pytest.approx((1 + 2 / 3) / 2)
    assert landmark_map([[5, 9, -1]], [[5, 9, 9]]) == 1.0
    assert landmark_map([[3], [4]], [[], [4]]) == 1.0
    assert landmark_map([[3]], [[]]) == 0.0


def test_revisited_map_is_the_published_loop(rng: np.random.Generator) -> None:
    def published(ranked: list[int], relevant: set[int], junk: set[int]) -> float:
        """Go down the ranking with a counter of junk, as the public evaluation does."""
        ap, n_junk, found = 0.0, 0, 0
        for place, item in enumerate(ranked):
            if item in junk:
                n_junk += 1
            elif item in relevant:
                rank = place - n_junk
                before = 1.0 if rank == 0 else found / rank
                ap += (before + (found + 1) / (rank + 1)) / (2 * len(relevant))
                found += 1
        return ap

    truth = [random_truth(rng, 60) for _ in range(40)]
    ranked = [rng.permutation(60).tolist() for _ in range(40)]
    for difficulty in DIFFICULTIES:
        wanted = []
        for ids, entry in zip(ranked, truth, strict=True):
            easy, hard, junk = (set(entry[kind]) for kind in ("easy", "hard", "junk"))
            relevant = {"easy": easy, "medium": easy | hard, "hard": hard}[difficulty]
            ignored = {"easy": junk | hard, "medium": junk, "hard": junk | easy}[difficulty]
            if relevant:
                wanted.append(published(ids, relevant, ignored))
        assert revisited_map(ranked, truth, difficulty) == pytest.approx(np.mean(wanted), abs=1e-12)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_revisited_protocol_without_ties(difficulty: Difficulty, rng: np.random.Generator) -> None:
    # Item i is at distance i.
    codes = np.packbits(np.arange(40) < np.arange(40)[:, None], axis=1)
    queries = np.zeros((9, 5), dtype=np.uint8)
    truth = [random_truth(rng, 40) for _ in range(8)] + [{"easy": [], "hard": [], "junk": [1]}]
    evaluation = LandmarkProtocol.revisited(difficulty).evaluate(codes, queries, truth)
    want = revisited_map([list(range(40))] * 9, truth, difficulty)
    assert evaluation.mean_average_precision == pytest.approx(want, abs=1e-12)
    assert evaluation.spread == pytest.approx(0, abs=1e-12)
    assert evaluation.n_queries == 9
    assert evaluation.n_without_relevant >= 1


def test_revisited_protocol_shuffles_ties(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 4, (30, 1), dtype=np.uint8)
    truth = [random_truth(rng, 30) for _ in range(5)]
    evaluation = LandmarkProtocol.revisited("medium").evaluate(codes, codes[:5], truth)
    distances = reference.hamming_distance(codes, codes[:5])
    values = []
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(30)
        ranked = order[np.argsort(distances[:, order], axis=1, kind="stable")]
        values.append(revisited_map(ranked, truth, "medium"))
    assert evaluation.mean_average_precision == pytest.approx(np.mean(values), abs=1e-12)
    assert evaluation.spread == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert evaluation.spread > 0


@pytest.mark.parametrize("protocol", [LandmarkProtocol.gldv2(), LandmarkProtocol.gldv2_sdc()])
def test_landmark_protocol_is_the_mean_over_all_orders_of_ties(
    protocol: LandmarkProtocol, rng: np.random.Generator
) -> None:
    for at in (1, 3, 5, 100):
        codes = rng.choice(np.array([0, 1, 3], dtype=np.uint8), (6, 1))
        truth = [rng.choice(6, size, replace=False).tolist() for size in (1, 3, 5)] + [[]]
        queries = np.zeros((4, 1), dtype=np.uint8)
        evaluation = replace(protocol, at=at).evaluate(codes, queries, truth)
        values = []
        for order in map(np.array, itertools.permutations(range(6))):
            ranked = order[np.argsort(codes[order, 0], kind="stable")]  # 0, 1, 3 are at distance 0, 1, 2
            values.append(landmark_map([ranked] * 4, truth, at, normalizer=protocol.normalizer))
        assert evaluation.mean_average_precision == pytest.approx(np.mean(values), abs=1e-12)
        assert (evaluation.spread, evaluation.n_without_relevant) == (None, 1)


def test_landmark_protocol_over_many_blocks_of_items(rng: np.random.Generator) -> None:
    # Without ties there is one order: item i of the first 200 is at distance i, the others are far.
    codes = np.packbits(np.arange(256) < np.minimum(np.arange(5000), 200)[:, None], axis=1)
    truth = [rng.choice(5000, 400, replace=False) for _ in range(3)]
    evaluation = LandmarkProtocol.gldv2().evaluate(codes, np.zeros((3, 32), dtype=np.uint8), truth)
    want = landmark_map([np.arange(5000)] * 3, truth)
    assert evaluation.mean_average_precision == pytest.approx(want, abs=1e-12)


def test_nothing_relevant_anywhere() -> None:
    codes = np.zeros((2, 1), dtype=np.uint8)
    for protocol, truth in (
        (LandmarkProtocol.gldv2(), []),
        (LandmarkProtocol.revisited("easy"), {"easy": [], "hard": [], "junk": []}),
    ):
        evaluation = protocol.evaluate(codes, codes[:1], [truth])
        assert (evaluation.mean_average_precision, evaluation.n_without_relevant) == (0.0, 1)


def test_texts_say_what_is_done() -> None:
    assert "smaller of 100" in LandmarkProtocol.gldv2().text
    assert "all relevant items" in LandmarkProtocol.gldv2_sdc().text
    hard = LandmarkProtocol.revisited("hard").text
    assert "trapezoids" in hard
    assert "relevant: hard, taken out of the ranking: junk and easy" in hard


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: landmark_map([[1]], [[1], [2]]), ValueError, "one entry a query, got 1 and 2"),
        (lambda: landmark_map([[1]], [[1]], 0), ValueError, "at must be at least 1"),
        (lambda: landmark_map([[1.5]], [[1]]), TypeError, "ranked_ids must hold integers, got float64"),
        (lambda: landmark_map([[[1]]], [[1]]), ValueError, r"ranked_ids .* got shape \(1, 1\)"),
        (lambda: landmark_map([[1]], [[1]], normalizer=None), ValueError, "normalizer .* None"),  # type: ignore[arg-type]
        (lambda: revisited_map([[1]], [{"easy": [1]}], "easy"), ValueError, "'junk' .* \\['easy'\\]"),
        (lambda: revisited_map([[1]], [{}], "worst"), ValueError, "difficulty .*'worst'"),  # type: ignore[arg-type]
        (lambda: LandmarkProtocol("x", shuffles=1), ValueError, "shuffles must be at least 2"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_ground_truth_of_another_database() -> None:
    codes = np.zeros((3, 1), dtype=np.uint8)
    with pytest.raises(ValueError, match="rows of the database, 0 to 2"):
        LandmarkProtocol.gldv2().evaluate(codes, codes[:1], [[3]])
    with pytest.raises(ValueError, match="one entry a query, 1, got 2"):
        LandmarkProtocol.gldv2().evaluate(codes, codes[:1], [[1], [2]])
