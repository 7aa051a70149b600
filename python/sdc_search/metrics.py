"""How good a ranking by Hamming distance is: mean average precision, precision, recall, exact under ties.

Codes of K bits have only K + 1 distances, so most of a ranking is ties, and a figure that depends on how a
sort happened to break them says something about that sort. By default these functions give the expectation
over all orders of the tied items, in closed form, from two histograms of distances a query (of all the items
and of the relevant ones), which go only as far as the ranks that count: nothing is sorted. The order of the
database and the bounds are there for comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import ArrayLike, as_codes, as_count, to_numpy
from sdc_search.hamming import hamming_topk
from sdc_search.native import core
from sdc_search.relevance import Labels, as_labels

Ties: TypeAlias = Literal["expected", "stable", "optimistic", "pessimistic"]
Normalizer: TypeAlias = Literal["relevant_in_top", "all_relevant"]
NoHit: TypeAlias = Literal["zero", "skip"]
Gain: TypeAlias = Literal["exponential", "linear"]

_Ints: TypeAlias = npt.NDArray[np.int64]
_Floats: TypeAlias = npt.NDArray[np.float64]
_Bools: TypeAlias = npt.NDArray[np.bool_]
_Ranks: TypeAlias = int | Sequence[int] | npt.NDArray[np.integer[Any]]

# Queries are taken in blocks where an array has an entry for each rank or distance, so many bytes of which
# then stay below _BLOCK_BYTES.
_BLOCK_BYTES = 1 << 25
_BYTES_PER_RANK = 64
_BYTES_PER_DISTANCE = 128


def mean_average_precision(
    database_codes: ArrayLike,
    database_labels: ArrayLike,
    query_codes: ArrayLike,
    query_labels: ArrayLike,
    *,
    at: int = 1000,
    ties: Ties = "expected",
    normalizer: Normalizer = "relevant_in_top",
    no_hit: NoHit = "zero",
) -> float:
    """Compute the mean average precision of the first `at` items, ranked by Hamming distance.

    With ``rel(r)`` = 1 where the item at rank r is relevant, else 0, and ``P(r)`` the share of relevant items
    among the first r, ``AP = (1/Z) Σ_{r ≤ at} P(r) rel(r)``. The mean is over the queries.

    Parameters
    ----------
    database_codes
        uint8, shape ``(n, n_bytes)``, as `pack_bits` makes them.
    database_labels
        One label an item: integers from 0 or strings, shape ``(n,)``; relevant are the items with the query's
        label. Negative ones are an error, since -1 usually stands for no label.
        Or several: bool, or the integers 0 and 1, shape ``(n, C)``; relevant are the items that share any
        label with the query.
    query_codes
        uint8, shape ``(q, n_bytes)``.
    query_labels
        Shape ``(q,)`` or ``(q, C)``, of the same kind as `database_labels`.
    at
        How many ranks count, at least 1. -1 means all of them, and so does any number above n.
    ties
        What becomes of items at the same distance.

        ``"expected"``
            The mean over all their orders, each as likely (McSherry & Najork, ECIR 2008; He et al., CVPR
            2018). It does not depend on the order of the database.
        ``"stable"``
            They keep the order of the database, as in a stable sort.
        ``"optimistic"``, ``"pessimistic"``
            The largest and the smallest result that any orders give (each query has its own), under the
            chosen `normalizer` and `no_hit`.
    normalizer
        Z. ``"relevant_in_top"`` is the number of relevant items among the first `at`, as in the code of SDC
        (Ng et al., BMVC 2023); with it, a further relevant item at a late rank may lower AP.
        ``"all_relevant"`` is the number of relevant items in the database, even where that is more than `at`.
    no_hit
        A query has *no hit* if none of the first `at` items is relevant, and so also if no item of the
        database is. ``"zero"`` counts it with AP = 0; ``"skip"`` leaves it out of the mean. If all queries
        are left out, the result is 0.

        Whether a query has a hit can depend on the order of its ties. With ``"skip"``, ``"expected"`` is then
        ``Σ E[AP] / Σ Pr[hit]`` over the queries, with AP = 0 without a hit: the expectation of AP given a
        hit, for a query and an order of its ties drawn at random. So a query weighs as much as its hit is
        likely, and for a single query it is E[AP | hit]. ``"optimistic"`` and ``"pessimistic"`` count or
        leave out such a query, whichever leads further.

    Returns
    -------
    A float in [0, 1].

    Raises
    ------
    TypeError
        Codes are not uint8; labels are of no accepted kind, or not both of the same; `at` is not an integer.
    ValueError
        There are no items or no queries; a shape does not fit; a label of shape ``(n,)`` is negative, one of
        shape ``(n, C)`` neither 0 nor 1; `at` is 0 or below -1; an option is unknown.

    Notes
    -----
    At a distance with n items, p of them relevant, and with N₀ items, P₀ of them relevant, at smaller
    distances, the expected sum over the tied ranks is

    ``G(N₀, P₀, n, p) = (p/n) Σ_{j=1}^{n} [P₀ + 1 + (j−1)(p−1)/(n−1)] / (N₀ + j)``.

    In the group that holds rank `at` the sum ends at j = r = `at` − N₀. With ``"relevant_in_top"``, Z is
    random too; A being the sum over the whole groups before, and Hyp(h; n, p, r) the probability that r items
    drawn from the n hold h relevant ones,

    ``E[AP] = Σ_h Hyp(h; n, p, r) [A + G(N₀, P₀, r, h)] / (P₀ + h)``.

    Memory: some 64 MiB beside the arguments at most, or what one query needs where that is more.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import mean_average_precision
    >>> codes = np.array([[0], [1], [2], [4], [3]], dtype=np.uint8)
    >>> labels = np.array([1, 1, 0, 0, 1])
    >>> query = np.array([[0]], dtype=np.uint8), np.array([1])  # at distances 0, 1, 1, 1, 2
    >>> round(mean_average_precision(codes, labels, *query), 6)
    0.774074
    >>> round(mean_average_precision(codes, labels, *query, ties="optimistic"), 6)
    0.866667
    """
    return retrieval_scores(
        database_codes,
        database_labels,
        query_codes,
        query_labels,
        at=at,
        ties=ties,
        normalizer=normalizer,
        no_hit=no_hit,
    ).mean_average_precision


class RetrievalScores(NamedTuple):
    """What `retrieval_scores` finds: the mean, over how many queries, and how many of these had no hit."""

    mean_average_precision: float
    n_queries: int
    n_without_hit: float


def retrieval_scores(
    database_codes: ArrayLike,
    database_labels: ArrayLike,
    query_codes: ArrayLike,
    query_labels: ArrayLike,
    *,
    at: int = 1000,
    ties: Ties = "expected",
    normalizer: Normalizer = "relevant_in_top",
    no_hit: NoHit = "zero",
) -> RetrievalScores:
    """Compute the mean average precision, and how many queries had no hit, in one pass.

    How these are treated moves a mean by as much as they are many, so their number belongs beside it.

    Parameters
    ----------
    database_codes, database_labels, query_codes, query_labels, at, ties, normalizer, no_hit
        As for `mean_average_precision`.

    Returns
    -------
    The mean average precision; ``n_queries``, all of them; ``n_without_hit``. With expected ties the latter
    is an expectation, too, and no whole number where a hit depends on the order of ties; for the bounds it is
    the number in the orders that they stand for.

    Raises
    ------
    TypeError, ValueError
        As for `mean_average_precision`.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.metrics import retrieval_scores
    >>> codes, labels = np.array([[0], [1]], dtype=np.uint8), np.array([4, 4])
    >>> retrieval_scores(codes, labels, codes, np.array([4, 5]), no_hit="skip")
    RetrievalScores(mean_average_precision=1.0, n_queries=2, n_without_hit=1.0)
    """
    retrieval = _retrieval(database_codes, database_labels, query_codes, query_labels)
    at = _as_cut(at, retrieval.n_items)
    _check_option("ties", ties, Ties)
    _check_option("normalizer", normalizer, Normalizer)
    _check_option("no_hit", no_hit, NoHit)

    if ties == "stable":
        precision, hit = _stable_precision(retrieval, at, normalizer)
        sure = possible = hit
    else:
        everything = retrieval.labels.relevance(slice(None))
        precision, sure, possible = core.average_precision(
            retrieval.database_codes, retrieval.query_codes, everything, at, ties, normalizer, 0
        )
    if ties in ("expected", "stable"):
        n_hit = float(sure.sum())
        counted = n_hit if no_hit == "skip" else len(sure)
        mean = float(precision.sum()) / counted if counted else 0.0
    elif no_hit == "zero":
        hit = possible if ties == "optimistic" else sure
        mean, n_hit = float((hit * precision).mean()), float(hit.sum())
    else:
        mean, n_hit = _extreme_mean(precision[sure > 0], precision[possible > sure], ties == "optimistic")
    n_queries = len(retrieval.query_codes)
    return RetrievalScores(min(mean, 1.0), n_queries, n_queries - n_hit)  # above 1 by rounding only


def mean_average_precision_from_scores(
    scores: ArrayLike, database_labels: ArrayLike, query_labels: ArrayLike, *, at: int = 1000
) -> float:
    """Compute the mean average precision of the first `at` items, ranked by real-valued scores.

    What codes are compared with: the cosines of the features that they were made from, say. As
    `mean_average_precision` with its own ``normalizer`` and ``no_hit``, and with ``ties="stable"``: equal
    scores keep the order of the database.

    Parameters
    ----------
    scores
        Floating point, shape ``(q, n)``; the highest is ranked first.
    database_labels, query_labels, at
        As for `mean_average_precision`.

    Returns
    -------
    A float in [0, 1].

    Raises
    ------
    TypeError
        `scores` are not floating point; else as for `mean_average_precision`.
    ValueError
        `scores` are not of rank 2, empty or hold NaN; else as for `mean_average_precision`.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import mean_average_precision_from_scores
    >>> scores = np.array([[0.9, 0.1, 0.5, 0.7]])
    >>> mean_average_precision_from_scores(scores, np.array([1, 1, 1, 0]), np.array([1]), at=3)
    0.8333333333333333
    """
    array = to_numpy("scores", scores)
    if array.dtype.kind != "f":
        raise TypeError(f"scores must be floating point, got {array.dtype}")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"scores must have shape (q, n) with q and n at least 1, got {array.shape}")
    if np.isnan(array).any():
        raise ValueError("scores must not hold NaN")
    n_queries, n_items = array.shape
    labels = as_labels(database_labels, n_items, query_labels, n_queries)
    at = _as_cut(at, n_items)
    total = 0.0
    for rows in _blocks(n_queries, _BYTES_PER_RANK * n_items):
        order = np.argsort(-array[rows], axis=1, kind="stable")[:, :at]
        hits = (labels.grades(rows, order) > 0).cumsum(axis=1)
        total += float((_precision_sum(hits) / np.maximum(hits[:, -1], 1)).sum())
    return min(float(total / n_queries), 1.0)  # above 1 by rounding only


def precision_at(
    database_codes: ArrayLike,
    database_labels: ArrayLike,
    query_codes: ArrayLike,
    query_labels: ArrayLike,
    n: _Ranks,
    *,
    ties: Ties = "expected",
) -> _Floats:
    """Compute the share of relevant items among the first `n`, ranked by Hamming distance.

    The mean is over all the queries, also those without any relevant item in the database (they have
    precision 0).

    Parameters
    ----------
    database_codes, database_labels, query_codes, query_labels
        As for `mean_average_precision`.
    n
        Ranks, each at least 1; one or several. Above the number of items it means that number, also as the
        divisor.
    ties
        As for `mean_average_precision`. Expected is ``[P₀ + (n − N₀) p / m] / n``, with N₀ items, P₀ of them
        relevant, nearer than the group of m items, p of them relevant, that holds rank n (McSherry & Najork,
        ECIR 2008).

    Returns
    -------
    float64 in [0, 1], shape ``(len(n),)``, or ``(1,)`` for a single rank.

    Raises
    ------
    TypeError
        As for `mean_average_precision`; or `n` does not hold integers.
    ValueError
        As for `mean_average_precision`; or `n` is empty, of a higher rank than 1, or holds a number below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import precision_at
    >>> codes = np.array([[0], [1], [2], [4], [3]], dtype=np.uint8)
    >>> labels = np.array([1, 1, 0, 0, 1])
    >>> precision_at(codes, labels, codes[:1], labels[:1], [1, 4])
    array([1. , 0.5])
    """
    retrieval = _retrieval(database_codes, database_labels, query_codes, query_labels)
    ranks = _as_ranks(n, retrieval.n_items)
    _check_option("ties", ties, Ties)
    hits, _ = _hits_at(retrieval, ranks, ties)
    return np.asarray(hits.mean(axis=0) / ranks)


def recall_at(
    database_codes: ArrayLike,
    database_labels: ArrayLike,
    query_codes: ArrayLike,
    query_labels: ArrayLike,
    n: _Ranks,
    *,
    ties: Ties = "expected",
) -> _Floats:
    """Compute the share of the relevant items that is among the first `n`, ranked by Hamming distance.

    The mean is over all the queries; one without any relevant item in the database counts with recall 0.
    (What some papers on hashing call recall at n is the hit rate: whether any of the first n items is
    relevant.)

    Parameters
    ----------
    database_codes, database_labels, query_codes, query_labels
        As for `mean_average_precision`.
    n
        Ranks, each at least 1; one or several.
    ties
        As for `mean_average_precision`. Expected is ``[P₀ + (n − N₀) p / m] / P``, in the notation of
        `precision_at`, with P relevant items in the database.

    Returns
    -------
    float64 in [0, 1], shape ``(len(n),)``, or ``(1,)`` for a single rank.

    Raises
    ------
    TypeError
        As for `precision_at`.
    ValueError
        As for `precision_at`.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import recall_at
    >>> codes = np.array([[0], [1], [2], [4], [3]], dtype=np.uint8)
    >>> labels = np.array([1, 1, 0, 0, 1])
    >>> recall_at(codes, labels, codes[:1], labels[:1], [2, 5], ties="pessimistic")
    array([0.33333333, 1.        ])
    """
    retrieval = _retrieval(database_codes, database_labels, query_codes, query_labels)
    ranks = _as_ranks(n, retrieval.n_items)
    _check_option("ties", ties, Ties)
    hits, _ = _hits_at(retrieval, ranks, ties)
    return np.asarray((hits / np.maximum(retrieval.n_relevant(), 1)[:, None]).mean(axis=0))


def hit_rate_at(
    database_codes: ArrayLike,
    database_labels: ArrayLike,
    query_codes: ArrayLike,
    query_labels: ArrayLike,
    n: _Ranks,
    *,
    ties: Ties = "expected",
) -> _Floats:
    """Compute the share of queries with any relevant item among the first `n`, ranked by Hamming distance.

    What some papers on hashing call recall at n. All queries count, also those without any relevant item in
    the database (they have no hit).

    Parameters
    ----------
    database_codes, database_labels, query_codes, query_labels
        As for `mean_average_precision`.
    n
        Ranks, each at least 1; one or several. Above the number of items it means that number.
    ties
        As for `mean_average_precision`. Expected is the probability of a hit: 1 where a relevant item is
        nearer than the group of m items, p of them relevant, that holds rank n; else, r of them being up to
        rank n, 1 − C(m − p, r) / C(m, r).

    Returns
    -------
    float64 in [0, 1], shape ``(len(n),)``, or ``(1,)`` for a single rank.

    Raises
    ------
    TypeError, ValueError
        As for `precision_at`.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import hit_rate_at
    >>> codes = np.array([[1], [2], [4], [0]], dtype=np.uint8)
    >>> query = np.array([[0]], dtype=np.uint8), np.array([1])  # at distances 1, 1, 1, 0
    >>> hit_rate_at(codes, np.array([1, 0, 0, 0]), *query, [1, 2, 4])
    array([0.        , 0.33333333, 1.        ])
    """
    retrieval = _retrieval(database_codes, database_labels, query_codes, query_labels)
    ranks = _as_ranks(n, retrieval.n_items)
    _check_option("ties", ties, Ties)
    _, chance = _hits_at(retrieval, ranks, ties)
    return np.asarray(chance.mean(axis=0))


def ndcg_at(
    database_codes: ArrayLike,
    database_labels: ArrayLike,
    query_codes: ArrayLike,
    query_labels: ArrayLike,
    n: _Ranks,
    *,
    gain: Gain = "exponential",
    ties: Ties = "expected",
) -> _Floats:
    """Compute the normalised discounted cumulative gain of the first `n`, ranked by Hamming distance.

    An item's grade g is how many labels it shares with the query, and
    ``DCG = Σ_{r ≤ n} gain(g(r)) / log₂(r + 1)``, which is divided by that of the best order of the whole
    database (Järvelin & Kekäläinen, TOIS 2002). The mean is over all the queries; one without any relevant
    item in the database counts 0.

    Parameters
    ----------
    database_codes, database_labels, query_codes, query_labels
        As for `mean_average_precision`. Other grades can be written as labels: of a hierarchy of classes,
        say, a class and all that it is part of.
    n
        Ranks, each at least 1; one or several. Above the number of items it means that number.
    gain
        ``"exponential"``, 2^g − 1 (Burges et al., ICML 2005), or ``"linear"``, g.
    ties
        As for `mean_average_precision`. Expected is each group's mean gain at each of its ranks (McSherry &
        Najork, ECIR 2008).

    Returns
    -------
    float64 in [0, 1], shape ``(len(n),)``, or ``(1,)`` for a single rank.

    Raises
    ------
    TypeError, ValueError
        As for `precision_at`; or `gain` is unknown, or exponential with grades above 1,000.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import ndcg_at
    >>> codes = np.array([[0], [1], [3]], dtype=np.uint8)  # in this order for the query
    >>> labels = np.array([[1, 0], [1, 1], [0, 0]])
    >>> ndcg_at(codes, labels, codes[:1], labels[1:2], [1, 2]).round(4)
    array([0.3333, 0.7967])
    """
    retrieval = _retrieval(database_codes, database_labels, query_codes, query_labels)
    ranks = _as_ranks(n, retrieval.n_items)
    _check_option("gain", gain, Gain)
    _check_option("ties", ties, Ties)
    relevance = retrieval.labels.relevance(slice(None), counted=True)
    grades = np.arange(relevance.n_grades)
    if gain == "exponential" and len(grades) > 1001:
        raise ValueError(f"gain must be 'linear' where queries have {len(grades) - 1} labels")
    gains = np.exp2(grades) - 1 if gain == "exponential" else grades.astype(np.float64)
    ideal = core.ideal_gain_at(relevance, ranks, gains, 0)
    if ties == "stable":
        dcg = np.empty(ideal.shape)
        discounts = 1 / np.log2(np.arange(2, ranks.max() + 2))
        for rows, grade in _stable_grades(retrieval, int(ranks.max())):
            dcg[rows] = (gains[grade] * discounts).cumsum(axis=1)[:, ranks - 1]
    else:
        database, queries = retrieval.database_codes, retrieval.query_codes
        dcg = core.discounted_gain_at(database, queries, relevance, ranks, ties, gains, 0)
    return np.asarray(np.divide(dcg, ideal, out=np.zeros_like(dcg), where=ideal > 0).mean(axis=0))


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall in [0, 1], float64, one a radius or a rank; the other of the two is None."""

    precision: _Floats
    recall: _Floats
    radii: _Ints | None
    ranks: _Ints | None


def precision_recall_curve(
    database_codes: ArrayLike,
    database_labels: ArrayLike,
    query_codes: ArrayLike,
    query_labels: ArrayLike,
    *,
    by: Literal["radius", "rank"] = "radius",
    at: int = -1,
    ties: Ties = "expected",
) -> PrecisionRecallCurve:
    """Compute precision and recall of the items within each radius, or up to each rank.

    Means over queries. One without any relevant item in the database counts with recall 0. Precision within a
    radius is undefined for a query that has no item there: such queries are left out of its mean, and where
    none is left it is NaN.

    Parameters
    ----------
    database_codes, database_labels, query_codes, query_labels
        As for `mean_average_precision`.
    by
        ``"radius"``: of the items at a Hamming distance of at most 0, 1, ..., 8 n_bytes, which does not
        depend on ties. ``"rank"``: of the first 1, 2, ..., `at` items, as by `precision_at` and `recall_at`.
    at
        The last rank, at least 1; -1 means all, and so does any number above n. Of ranks only.
    ties
        As for `mean_average_precision`. Of ranks only.

    Raises
    ------
    TypeError, ValueError
        As for `mean_average_precision`; or `by` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import precision_recall_curve
    >>> codes, labels = np.array([[0], [1], [3]], dtype=np.uint8), np.array([1, 0, 1])
    >>> curve = precision_recall_curve(codes, labels, codes[:1], labels[:1])
    >>> curve.precision[:3].round(2), curve.recall[:3]
    (array([1.  , 0.5 , 0.67]), array([0.5, 0.5, 1. ]))
    """
    retrieval = _retrieval(database_codes, database_labels, query_codes, query_labels)
    at = _as_cut(at, retrieval.n_items)
    _check_option("by", by, Literal["radius", "rank"])
    _check_option("ties", ties, Ties)
    if by == "radius":
        precision, recall = _within_radii(retrieval)
        return PrecisionRecallCurve(precision, recall, np.arange(len(recall)), None)
    weights = np.stack([np.ones(len(retrieval.query_codes)), 1 / np.maximum(retrieval.n_relevant(), 1)])
    hits = (_stable_curves if ties == "stable" else _tied_curves)(retrieval, at, ties, weights)
    hits /= len(retrieval.query_codes)
    ranks = np.arange(1, at + 1)
    return PrecisionRecallCurve(hits[0] / ranks, hits[1], None, ranks)


@dataclass(frozen=True)
class _Retrieval:
    """The checked arguments."""

    database_codes: npt.NDArray[np.uint8]
    query_codes: npt.NDArray[np.uint8]
    labels: Labels

    @property
    def n_items(self) -> int:
        return len(self.database_codes)

    def n_relevant(self) -> _Ints:
        """How many items are relevant to each query, ``(queries,)``."""
        return np.asarray(self.labels.relevance(slice(None)).count(0)[:, 1])


def _retrieval(
    database_codes: ArrayLike, database_labels: ArrayLike, query_codes: ArrayLike, query_labels: ArrayLike
) -> _Retrieval:
    database = as_codes("database_codes", database_codes)
    queries = as_codes("query_codes", query_codes, database.shape[1])
    for name, codes in (("database_codes", database), ("query_codes", queries)):
        if len(codes) == 0:
            raise ValueError(f"{name} must hold at least one code, got shape {codes.shape}")
    return _Retrieval(
        database, queries, as_labels(database_labels, len(database), query_labels, len(queries))
    )


def _as_cut(at: int, n_items: int) -> int:
    at = as_count("at", at, minimum=-1)
    if at == 0:
        raise ValueError("at must be at least 1, or -1 for all ranks, got 0")
    return n_items if at == -1 else min(at, n_items)


def _as_ranks(n: object, n_items: int) -> _Ints:
    ranks = np.atleast_1d(np.asarray(n))
    if ranks.ndim != 1 or ranks.size == 0:
        raise ValueError(f"n must be an integer or a sequence of at least one, got shape {np.shape(ranks)}")
    if ranks.dtype.kind not in "iu":
        raise TypeError(f"n must be an integer or a sequence of them, got {ranks.dtype}")
    if ranks.min() < 1:
        raise ValueError(f"n must be at least 1, got {ranks.min()}")
    return np.asarray(np.minimum(ranks, n_items), dtype=np.int64)


def _check_option(name: str, value: object, options: Any) -> None:
    if value not in get_args(options):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(options)))}, got {value!r}")


def _blocks(n_queries: int, bytes_per_query: int) -> Iterator[slice]:
    step = max(1, _BLOCK_BYTES // bytes_per_query)
    for start in range(0, n_queries, step):
        yield slice(start, min(start + step, n_queries))


def _stable_grades(retrieval: _Retrieval, depth: int) -> Iterator[tuple[slice, _Ints]]:
    """Yield the grades of the first `depth` items in a stable sort by distance, ``(queries, depth)``."""
    for rows in _blocks(len(retrieval.query_codes), _BYTES_PER_RANK * depth):
        _, ids = hamming_topk(retrieval.database_codes, retrieval.query_codes[rows], depth)
        yield rows, retrieval.labels.grades(rows, ids)


def _stable_precision(retrieval: _Retrieval, at: int, normalizer: Normalizer) -> tuple[_Floats, _Floats]:
    """Return each query's AP in the order of the database, and 1 where it has a hit, else 0."""
    n_queries = len(retrieval.query_codes)
    total, found = np.empty(n_queries), np.empty(n_queries, dtype=np.int64)
    for rows, grade in _stable_grades(retrieval, at):
        hits = (grade > 0).cumsum(axis=1)
        total[rows], found[rows] = _precision_sum(hits), hits[:, -1]
    divisor = found if normalizer == "relevant_in_top" else retrieval.n_relevant()
    return total / np.maximum(divisor, 1), (found > 0).astype(np.float64)


def _precision_sum(hits: _Ints) -> _Floats:
    """Return each query's Σ P(r) rel(r) over all ranks, from its relevant items up to each of them."""
    relevant = np.diff(hits, axis=1, prepend=0)
    return np.asarray((relevant * hits / np.arange(1, hits.shape[1] + 1)).sum(axis=1))


def _extreme_mean(counted: _Floats, optional: _Floats, largest: bool) -> tuple[float, float]:
    """Return the extreme mean of all the `counted` values and any of the `optional`, and of how many.

    It is 0 where none counts.
    """
    optional = np.sort(optional)[::-1] if largest else np.sort(optional)
    sums = counted.sum() + np.concatenate([[0.0], optional.cumsum()])
    sizes = len(counted) + np.arange(len(sums))
    means = sums / np.maximum(sizes, 1)
    extreme = means.argmax() if largest else means.argmin()
    return float(means[extreme]), float(sizes[extreme])


def _hits_at(retrieval: _Retrieval, ranks: _Ints, ties: Ties) -> tuple[_Floats, _Floats]:
    """Count each query's relevant items up to each rank, ``(queries, len(ranks))``; and the chance of any."""
    if ties != "stable":
        relevance = retrieval.labels.relevance(slice(None))
        return core.hits_at(retrieval.database_codes, retrieval.query_codes, relevance, ranks, ties, 0)
    hits = np.empty((len(retrieval.query_codes), len(ranks)))
    for rows, grade in _stable_grades(retrieval, int(ranks.max())):
        hits[rows] = (grade > 0).cumsum(axis=1)[:, ranks - 1]
    return hits, (hits > 0).astype(np.float64)


def _histograms(retrieval: _Retrieval) -> Iterator[tuple[slice, _Ints, _Ints]]:
    """Yield how many items, and how many relevant ones, some queries have at each distance."""
    n_distances = 8 * retrieval.database_codes.shape[1] + 1
    for rows in _blocks(len(retrieval.query_codes), _BYTES_PER_DISTANCE * n_distances):
        relevance = retrieval.labels.relevance(rows)
        counts = core.distance_histograms(retrieval.database_codes, retrieval.query_codes[rows], relevance, 0)
        yield rows, counts.sum(axis=2), counts[:, :, 1]


def _within_radii(retrieval: _Retrieval) -> tuple[_Floats, _Floats]:
    n_distances = 8 * retrieval.database_codes.shape[1] + 1
    precision, recall = np.zeros(n_distances), np.zeros(n_distances)
    defined = np.zeros(n_distances, dtype=np.int64)
    for _, items, hits in _histograms(retrieval):
        items, hits = items.cumsum(axis=1), hits.cumsum(axis=1)
        precision += (hits / np.maximum(items, 1)).sum(axis=0)
        defined += (items > 0).sum(axis=0)
        recall += (hits / np.maximum(hits[:, -1:], 1)).sum(axis=0)
    undefined = np.full(n_distances, np.nan)
    mean = np.divide(precision, defined, out=undefined, where=defined > 0)
    return np.asarray(mean), recall / len(retrieval.query_codes)


def _tied_curves(retrieval: _Retrieval, at: int, ties: Ties, weights: _Floats) -> _Floats:
    """Sum the relevant items up to each rank over queries, once for each row of `weights`.

    Up to a rank they are straight lines between the ends of groups, or between those of the run of relevant
    items at an end of each group: so only where the slope changes is added up.
    """
    bends = np.zeros((len(weights), retrieval.n_items + 1))
    for rows, items, hits in _histograms(retrieval):
        ends = items.cumsum(axis=1)
        first, last = ends - items, ends
        if ties == "optimistic":
            last = first + hits
        elif ties == "pessimistic":
            first = ends - hits
        slope = np.divide(hits, last - first, out=np.zeros(hits.shape), where=last > first)
        for bend, weight in zip(bends, weights[:, rows], strict=True):
            change = (slope * weight[:, None]).ravel()
            bend += np.bincount(first.ravel(), change, len(bend))
            bend -= np.bincount(last.ravel(), change, len(bend))
    return np.asarray(bends.cumsum(axis=1)[:, :at].cumsum(axis=1))


def _stable_curves(retrieval: _Retrieval, at: int, ties: Ties, weights: _Floats) -> _Floats:
    """Sum as `_tied_curves` does, in the order of the database."""
    sums = np.zeros((len(weights), at))
    for rows, grade in _stable_grades(retrieval, at):
        sums += weights[:, rows] @ (grade > 0).cumsum(axis=1)
    return sums
