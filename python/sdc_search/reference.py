"""Every operation again, slowly and obviously: what the fast ones are tested against."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations, product
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ranking: TypeAlias = tuple[int, ...]  # the grade of relevance of each item, nearest first; 0 is not relevant


def hamming_distance(codes: npt.NDArray[np.uint8], queries: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Count the differing bits of every query and code: ``(q, n)`` int32."""
    differing: npt.NDArray[np.int32] = np.bitwise_count(queries[:, None, :] ^ codes).sum(
        axis=2, dtype=np.int32
    )
    return differing


def hamming_topk(
    codes: npt.NDArray[np.uint8], queries: npt.NDArray[np.uint8], k: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Sort the codes of each query by ``(distance, row)`` and keep `k`, filled up with (2**31 - 1, -1)."""
    all_distances = hamming_distance(codes, queries)
    order = np.argsort(all_distances, axis=1, kind="stable")[:, :k]
    distances = np.full((len(queries), k), 2**31 - 1, dtype=np.int32)
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    distances[:, : order.shape[1]] = np.take_along_axis(all_distances, order, axis=1)
    ids[:, : order.shape[1]] = order
    return distances, ids


def hamming_range(
    codes: npt.NDArray[np.uint8], queries: npt.NDArray[np.uint8], radius: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Keep the codes of each query at ``distance <= radius``, sorted by ``(distance, row)``, as CSR."""
    lims, distances, ids = [0], [], []
    for row in hamming_distance(codes, queries):
        order = np.argsort(row, kind="stable")
        order = order[row[order] <= radius]
        lims.append(lims[-1] + len(order))
        distances.append(row[order])
        ids.append(order)
    return (
        np.array(lims, dtype=np.int64),
        np.concatenate([np.empty(0, np.int32), *distances]),
        np.concatenate([np.empty(0, np.int64), *ids]),
    )


def knn_graph(codes: npt.NDArray[np.uint8], k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Find each code's `k` nearest others, one code at a time."""
    rows = np.arange(len(codes))
    distances = np.empty((len(codes), k), dtype=np.int32)
    ids = np.empty((len(codes), k), dtype=np.int64)
    for row in rows:
        others = rows[rows != row]
        distances[row], found = hamming_topk(codes[others], codes[row : row + 1], k)
        ids[row] = [others[i] if i >= 0 else -1 for i in found[0]]
    return distances, ids


def asymmetric_topk(
    codes: npt.NDArray[np.uint8], projections: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Sort the codes of each query by ``(-score, row)`` and keep `k`, filled up with (-inf, -1).

    The score adds ``+projection`` for a one and ``-projection`` for a zero, in float32: the bits of each byte
    from the first one on, then these sums from the first byte on.
    """
    n_bits = projections.shape[1]
    signs = np.where(np.unpackbits(codes, axis=1, count=n_bits), np.float32(1), np.float32(-1))
    all_scores = np.zeros((len(projections), len(codes)), dtype=np.float32)
    for first in range(0, n_bits, 8):
        byte_sum = np.zeros_like(all_scores)
        for bit in range(first, min(first + 8, n_bits)):
            byte_sum += projections[:, bit, None] * signs[:, bit]
        all_scores += byte_sum
    order = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
    scores = np.full((len(projections), k), -np.inf, dtype=np.float32)
    ids = np.full((len(projections), k), -1, dtype=np.int64)
    scores[:, : order.shape[1]] = np.take_along_axis(all_scores, order, axis=1)
    ids[:, : order.shape[1]] = order
    return scores, ids


def rankings(
    database_codes: npt.NDArray[np.uint8],
    database_labels: npt.NDArray[Any],
    query_codes: npt.NDArray[np.uint8],
    query_labels: npt.NDArray[Any],
    ties: str,
) -> list[list[Ranking]]:
    """List the rankings that each query's ties allow, each as likely; for "stable" the one of a sort."""
    all_rankings = []
    for distances, label in zip(hamming_distance(database_codes, query_codes), query_labels, strict=True):
        grades = [
            int(np.sum(other & label) if np.ndim(label) else other == label) for other in database_labels
        ]
        groups = [[grades[i] for i in np.flatnonzero(distances == d)] for d in np.unique(distances)]
        # Each distinct order of grades stands for the same number of orders of the items.
        orders = [
            [tuple(group)] if ties == "stable" else sorted(set(permutations(group))) for group in groups
        ]
        all_rankings.append([sum(order, ()) for order in product(*orders)])
    return all_rankings


def average_precision(ranking: Ranking, at: int, normalizer: str) -> float:
    """Sum the precision at each relevant item among the first `at` and divide; 0 where there is none."""
    at = len(ranking) if at == -1 else at
    relevant = [grade > 0 for grade in ranking]
    top = relevant[:at]
    total = sum(sum(top[: rank + 1]) / (rank + 1) for rank in range(len(top)) if top[rank])
    divisors = {
        "relevant_in_top": sum(top),
        "all_relevant": sum(relevant),
        "relevant_up_to_at": min(sum(relevant), at),
    }
    return total / max(divisors[normalizer], 1)


def mean_average_precision(
    database_codes: npt.NDArray[np.uint8],
    database_labels: npt.NDArray[Any],
    query_codes: npt.NDArray[np.uint8],
    query_labels: npt.NDArray[Any],
    *,
    at: int,
    ties: str,
    normalizer: str,
    no_hit: str,
) -> float:
    """Go through every combination of the queries' rankings."""
    sums, counts = [], []
    for choice in product(*rankings(database_codes, database_labels, query_codes, query_labels, ties)):
        # AP is 0 exactly where there is no hit.
        values = [average_precision(ranking, at, normalizer) for ranking in choice]
        sums.append(sum(values))
        counts.append(len(values) if no_hit == "zero" else sum(value > 0 for value in values))
    means = [total / max(count, 1) for total, count in zip(sums, counts, strict=True)]
    if ties == "optimistic":
        return max(means)
    if ties == "pessimistic":
        return min(means)
    return sum(sums) / max(sum(counts), 1)


def hits_at(
    database_codes: npt.NDArray[np.uint8],
    database_labels: npt.NDArray[Any],
    query_codes: npt.NDArray[np.uint8],
    query_labels: npt.NDArray[Any],
    n: int,
    *,
    ties: str,
) -> list[float]:
    """Count each query's relevant items among the first `n`, the numerator of precision and recall at `n`."""
    return [
        _over_orders([sum(grade > 0 for grade in ranking[:n]) for ranking in one], ties)
        for one in rankings(database_codes, database_labels, query_codes, query_labels, ties)
    ]


def hit_rate_at(
    database_codes: npt.NDArray[np.uint8],
    database_labels: npt.NDArray[Any],
    query_codes: npt.NDArray[np.uint8],
    query_labels: npt.NDArray[Any],
    n: int,
    *,
    ties: str,
) -> float:
    """Return the share of queries with a relevant item among the first `n`."""
    rates = [
        _over_orders([float(any(ranking[:n])) for ranking in one], ties)
        for one in rankings(database_codes, database_labels, query_codes, query_labels, ties)
    ]
    return sum(rates) / len(rates)


def ndcg_at(
    database_codes: npt.NDArray[np.uint8],
    database_labels: npt.NDArray[Any],
    query_codes: npt.NDArray[np.uint8],
    query_labels: npt.NDArray[Any],
    n: int,
    *,
    gain: str,
    ties: str,
) -> float:
    """Discount and add up the gains of the first `n`, and divide by those of the best order of all items."""

    def dcg(ranking: Ranking) -> float:
        gains = [2**grade - 1 if gain == "exponential" else grade for grade in ranking[:n]]
        return float(sum(value / np.log2(rank + 2) for rank, value in enumerate(gains)))

    values = []
    for one in rankings(database_codes, database_labels, query_codes, query_labels, ties):
        ideal = dcg(tuple(sorted(one[0], reverse=True)))
        values.append(_over_orders([dcg(ranking) for ranking in one], ties) / ideal if ideal else 0.0)
    return sum(values) / len(values)


def _over_orders(values: Sequence[float], ties: str) -> float:
    if ties == "optimistic":
        return float(max(values))
    if ties == "pessimistic":
        return float(min(values))
    return sum(values) / len(values)


def calibration_loss(
    code: npt.NDArray[Any], teacher: npt.NDArray[Any], quantiles: npt.NDArray[Any], p: float = 1
) -> tuple[float, npt.NDArray[np.float64]]:
    """Sort one row by its teacher, stably; return the loss and its gradient with respect to `code`."""
    order = np.argsort(teacher + 0.0, kind="stable")
    distance = np.float64(code[order]) - np.float64(quantiles.astype(code.dtype))
    gradient = np.empty(len(code))
    gradient[order] = np.sign(distance) * p * np.abs(distance) ** (p - 1) / len(code)
    return float(np.mean(np.abs(distance) ** p)), gradient


def wasserstein_1d(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    p: float = 1,
    x_weights: npt.NDArray[Any] | None = None,
    y_weights: npt.NDArray[Any] | None = None,
) -> tuple[float, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Move every piece of mass of two samples; return W_p^p and its gradients with respect to `x` and `y`."""
    orders = [list(np.argsort(sample, kind="stable")) for sample in (x, y)]
    masses = []
    for sample, weights in ((x, x_weights), (y, y_weights)):
        exact = [Fraction(float(weight)) for weight in (np.ones(len(sample)) if weights is None else weights)]
        masses.append([weight / sum(exact) for weight in exact])
    loss, gradients = 0.0, (np.zeros(len(x)), np.zeros(len(y)))
    while orders[0] and orders[1]:
        i, j = orders[0][0], orders[1][0]
        mass = min(masses[0][i], masses[1][j])
        distance = float(x[i]) - float(y[j])
        loss += float(mass) * abs(distance) ** p
        slope = float(mass) * float(np.sign(distance)) * p * abs(distance) ** (p - 1)
        gradients[0][i] += slope
        gradients[1][j] -= slope
        for side, place in ((0, i), (1, j)):
            masses[side][place] -= mass
            if masses[side][place] == 0:
                orders[side].pop(0)
    return loss, *gradients
