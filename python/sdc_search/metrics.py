"""How good a ranking by Hamming distance is: mean average precision, precision and recall, exact under ties.

Codes of K bits have only K + 1 distances, so most of a ranking is ties, and a figure that depends on how a
sort happened to break them says something about that sort. By default these functions give the expectation
over all orders of the tied items, in closed form, from two histograms of distances a query (of all the items
and of the relevant ones): nothing is sorted. The order of the database and the bounds are there for
comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import ArrayLike, as_codes, as_count, to_numpy
from sdc_search.hamming import hamming_distance

Ties: TypeAlias = Literal["expected", "stable", "optimistic", "pessimistic"]
Normalizer: TypeAlias = Literal["relevant_in_top", "all_relevant"]
NoHit: TypeAlias = Literal["zero", "skip"]

_Ints: TypeAlias = npt.NDArray[np.int64]
_Floats: TypeAlias = npt.NDArray[np.float64]
_Bools: TypeAlias = npt.NDArray[np.bool_]

# Queries are taken in blocks, and the temporary arrays of one block stay below _BLOCK_BYTES: the other two
# are what one query costs for each item of the database and for each distance that a code can have.
_BLOCK_BYTES = 1 << 26
_BYTES_PER_ITEM = 40
_BYTES_PER_DISTANCE = 256


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
        One label an item: integers or strings, shape ``(n,)``; relevant are the items with the query's label.
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
        There are no items or no queries; a shape does not fit; a label of shape ``(n, C)`` is neither 0 nor
        1; `at` is 0 or below -1; an option is unknown.

    Notes
    -----
    At a distance with n items, p of them relevant, and with N₀ items, P₀ of them relevant, at smaller
    distances, the expected sum over the tied ranks is

    ``G(N₀, P₀, n, p) = (p/n) Σ_{j=1}^{n} [P₀ + 1 + (j−1)(p−1)/(n−1)] / (N₀ + j)``.

    In the group that holds rank `at` the sum ends at j = r = `at` − N₀. With ``"relevant_in_top"``, Z is
    random too; A being the sum over the whole groups before, and Hyp(h; n, p, r) the probability that r items
    drawn from the n hold h relevant ones,

    ``E[AP] = Σ_h Hyp(h; n, p, r) [A + G(N₀, P₀, r, h)] / (P₀ + h)``.

    Memory: some 64 MiB beside the arguments, or what one query needs (40 bytes an item) where that is more.

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
    in_top = normalizer == "relevant_in_top"

    if ties == "expected" or ties == "stable":
        score = _expected_precision if ties == "expected" else _stable_precision
        scores = [score(block, at, in_top) for block in retrieval.blocks()]
        precision, hit = (np.concatenate(column) for column in zip(*scores, strict=True))
        n_hit = float(hit.sum())
        counted = n_hit if no_hit == "skip" else len(hit)
        mean = float(precision.sum()) / counted if counted else 0.0
    else:
        largest = ties == "optimistic"
        bounds = [_extreme_precision(block, at, in_top, largest) for block in retrieval.blocks()]
        precision, sure, possible = (np.concatenate(column) for column in zip(*bounds, strict=True))
        if no_hit == "zero":
            hit = possible if largest else sure
            mean, n_hit = float(np.where(hit, precision, 0.0).mean()), float(hit.sum())
        else:
            mean, n_hit = _extreme_mean(precision[sure], precision[possible & ~sure], largest)
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
    relevance = _relevance(database_labels, n_items, query_labels, n_queries)
    at = _as_cut(at, n_items)
    step = max(1, _BLOCK_BYTES // (_BYTES_PER_ITEM * n_items))
    total = 0.0
    for start in range(0, n_queries, step):
        rows = slice(start, start + step)
        order = np.argsort(-array[rows], axis=1, kind="stable")[:, :at]
        hits = np.take_along_axis(relevance(rows), order, axis=1).cumsum(axis=1, dtype=np.int64)
        total += float((_precision_sum(hits) / np.maximum(hits[:, -1], 1)).sum())
    return min(float(total / n_queries), 1.0)  # above 1 by rounding only


def precision_at(
    database_codes: ArrayLike,
    database_labels: ArrayLike,
    query_codes: ArrayLike,
    query_labels: ArrayLike,
    n: int | Sequence[int] | npt.NDArray[np.integer[Any]],
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
    hits = np.concatenate([_hits_at(block, ranks, ties) for block in retrieval.blocks()])
    return np.asarray(hits.mean(axis=0) / ranks)


def recall_at(
    database_codes: ArrayLike,
    database_labels: ArrayLike,
    query_codes: ArrayLike,
    query_labels: ArrayLike,
    n: int | Sequence[int] | npt.NDArray[np.integer[Any]],
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
    shares = [
        _hits_at(block, ranks, ties) / np.maximum(block.relevant.sum(axis=1, keepdims=True), 1)
        for block in retrieval.blocks()
    ]
    return np.asarray(np.concatenate(shares).mean(axis=0))


class _Block(NamedTuple):
    """Some queries against the whole database."""

    distances: npt.NDArray[np.int32]  # (queries, items)
    relevant: _Bools  # (queries, items)
    n_distances: int  # distances lie in [0, n_distances)


@dataclass(frozen=True)
class _Retrieval:
    """The checked arguments."""

    database_codes: npt.NDArray[np.uint8]
    query_codes: npt.NDArray[np.uint8]
    relevance: Callable[[slice], _Bools]  # which items are relevant to these queries, (queries, items)

    @property
    def n_items(self) -> int:
        return len(self.database_codes)

    def blocks(self) -> Iterator[_Block]:
        n_distances = 8 * self.database_codes.shape[1] + 1
        query_bytes = _BYTES_PER_ITEM * self.n_items + _BYTES_PER_DISTANCE * n_distances
        step = max(1, _BLOCK_BYTES // query_bytes)
        for start in range(0, len(self.query_codes), step):
            rows = slice(start, start + step)
            distances = hamming_distance(self.database_codes, self.query_codes[rows])
            yield _Block(distances, self.relevance(rows), n_distances)


def _retrieval(
    database_codes: ArrayLike, database_labels: ArrayLike, query_codes: ArrayLike, query_labels: ArrayLike
) -> _Retrieval:
    database = as_codes("database_codes", database_codes)
    queries = as_codes("query_codes", query_codes, database.shape[1])
    for name, codes in (("database_codes", database), ("query_codes", queries)):
        if len(codes) == 0:
            raise ValueError(f"{name} must hold at least one code, got shape {codes.shape}")
    relevance = _relevance(database_labels, len(database), query_labels, len(queries))
    return _Retrieval(database, queries, relevance)


def _relevance(
    database_labels: ArrayLike, n_items: int, query_labels: ArrayLike, n_queries: int
) -> Callable[[slice], _Bools]:
    """Return which items are relevant to a block of queries, ``(queries, items)``, after a check."""
    item_labels = _as_labels("database_labels", database_labels, n_items)
    wanted = _as_labels("query_labels", query_labels, n_queries)
    if item_labels.shape[1:] != wanted.shape[1:]:
        raise ValueError(
            "database_labels and query_labels must both have shape (n,), or (n, C) with the same C, "
            f"got {item_labels.shape} and {wanted.shape}"
        )
    if item_labels.ndim == 2:
        return _sharing_any(item_labels, wanted)
    if (item_labels.dtype.kind == "U") != (wanted.dtype.kind == "U"):
        raise TypeError(
            "database_labels and query_labels must both be integers or both strings, "
            f"got {item_labels.dtype} and {wanted.dtype}"
        )
    return _equal(item_labels, wanted)


def _as_labels(name: str, value: object, count: int) -> npt.NDArray[Any]:
    """Return checked labels: integers or str, shape ``(count,)``, or bool, shape ``(count, C)``."""
    array = to_numpy(name, value)
    if array.dtype.kind in "OT" and all(isinstance(label, str) for label in array.flat):
        array = np.array(array.tolist(), dtype=np.str_)
    if array.ndim not in (1, 2) or len(array) != count or array.size == 0:
        raise ValueError(
            f"{name} must have one row a code, shape ({count},) or ({count}, C), got shape {array.shape}"
        )
    if array.ndim == 1:
        if array.dtype.kind not in "iuU":
            raise TypeError(f"{name} of shape (n,) must be integers or strings, got {array.dtype}")
        return array
    if array.dtype.kind not in "biu":
        raise TypeError(f"{name} of shape (n, C) must be bool or the integers 0 and 1, got {array.dtype}")
    if array.dtype.kind != "b" and (other := array[(array != 0) & (array != 1)]).size:
        raise ValueError(f"{name} of shape (n, C) must be 0 or 1, got {other[0]}; class numbers: shape (n,)")
    return array.astype(np.bool_, copy=False)


def _equal(item_labels: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Callable[[slice], _Bools]:
    if item_labels.dtype.kind == "U":
        # Numbers compare some ten times as fast as strings.
        numbers = np.unique(np.concatenate([item_labels, wanted]), return_inverse=True)[1].astype(np.int32)
        item_labels, wanted = numbers[: len(item_labels)], numbers[len(item_labels) :]
    return lambda rows: np.equal(wanted[rows, None], item_labels)


def _sharing_any(item_labels: _Bools, wanted: _Bools) -> Callable[[slice], _Bools]:
    item_words, wanted_words = _words(item_labels), _words(wanted)

    def relevance(rows: slice) -> _Bools:
        shared = np.zeros((len(wanted_words[rows]), len(item_words)), dtype=np.bool_)
        for item_word, wanted_word in zip(item_words.T, wanted_words[rows].T, strict=True):
            shared |= (wanted_word[:, None] & item_word) != 0
        return shared

    return relevance


def _words(labels: _Bools) -> npt.NDArray[np.uint64]:
    """Pack bools of shape ``(n, C)`` into 64-bit words, ``(n, ceil(C / 64))``."""
    padded = np.zeros((len(labels), -(-labels.shape[1] // 64) * 64), dtype=np.bool_)
    padded[:, : labels.shape[1]] = labels
    return np.asarray(np.packbits(padded, axis=1).view(np.uint64))


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


class _Cut(NamedTuple):
    """The group of tied items that holds the last rank that counts; all int64, shape ``(queries,)``."""

    items_before: _Ints
    hits_before: _Ints
    items: _Ints
    hits: _Ints
    taken: _Ints  # items of the group that lie within the cut, at least 1

    @property
    def least(self) -> _Ints:
        """The fewest relevant items that can be among the taken ones."""
        return np.maximum(self.taken - (self.items - self.hits), 0)

    @property
    def most(self) -> _Ints:
        return np.minimum(self.taken, self.hits)


class _Groups:
    """The items of each query grouped by distance; int64 arrays of shape ``(queries, n_distances)``."""

    def __init__(self, block: _Block) -> None:
        n_queries = len(block.distances)
        # One count for both histograms: the key holds query, distance and relevance.
        keys = np.multiply(block.distances, 2, dtype=np.int64)
        keys += block.relevant
        keys += 2 * block.n_distances * np.arange(n_queries)[:, None]
        counts = np.bincount(keys.ravel(), minlength=2 * block.n_distances * n_queries)
        misses, self.hits = np.moveaxis(counts.reshape(n_queries, block.n_distances, 2), 2, 0)
        self.items = misses + self.hits
        self.items_up_to = self.items.cumsum(axis=1)
        self.hits_up_to = self.hits.cumsum(axis=1)
        self.items_before = self.items_up_to - self.items
        self.hits_before = self.hits_up_to - self.hits

    def cut(self, rank: int) -> _Cut:
        column = (self.items_up_to >= rank).argmax(axis=1)[:, None]
        items_before, hits_before, items, hits = (
            np.take_along_axis(counts, column, axis=1)[:, 0]
            for counts in (self.items_before, self.hits_before, self.items, self.hits)
        )
        return _Cut(items_before, hits_before, items, hits, rank - items_before)

    def sum_before_cut(self, rank: int, sums: _Floats) -> _Floats:
        """Add up each query's `sums`, one a group, over the groups that end before `rank`."""
        return np.asarray(np.where(self.items_up_to < rank, sums, 0.0).sum(axis=1))


def _expected_precision(block: _Block, at: int, in_top: bool) -> tuple[_Floats, _Floats]:
    """Return each query's expected AP, 0 without a hit, and the probability that it has a hit."""
    groups = _Groups(block)
    cut = groups.cut(at)
    before = groups.sum_before_cut(
        at, _expected_sum(groups.items_before, groups.hits_before, groups.items, groups.hits, groups.items)
    )
    hits, probability = _hits_taken(cut)
    in_cut = cut.hits_before[:, None] + hits
    hit = np.where(in_cut > 0, probability, 0.0).sum(axis=1)
    if in_top:
        items_before, hits_before, taken = (
            count[:, None] for count in (cut.items_before, cut.hits_before, cut.taken)
        )
        total = before[:, None] + _expected_sum(items_before, hits_before, taken, hits, taken)
        return (probability * total / np.maximum(in_cut, 1)).sum(axis=1), hit
    total = before + _expected_sum(cut.items_before, cut.hits_before, cut.items, cut.hits, cut.taken)
    return total / np.maximum(groups.hits_up_to[:, -1], 1), hit


def _stable_precision(block: _Block, at: int, in_top: bool) -> tuple[_Floats, _Floats]:
    """Return each query's AP in the order of the database, and 1 where it has a hit, else 0."""
    hits = _stable_hits(block, at)
    found = hits[:, -1]
    normalizer = found if in_top else block.relevant.sum(axis=1)
    return _precision_sum(hits) / np.maximum(normalizer, 1), (found > 0).astype(np.float64)


def _precision_sum(hits: _Ints) -> _Floats:
    """Return each query's Σ P(r) rel(r) over all ranks, from its relevant items up to each of them."""
    relevant = np.diff(hits, axis=1, prepend=0)
    return np.asarray((relevant * hits / np.arange(1, hits.shape[1] + 1)).sum(axis=1))


def _extreme_precision(block: _Block, at: int, in_top: bool, largest: bool) -> tuple[_Floats, _Bools, _Bools]:
    """Return each query's largest or smallest AP given a hit, and whether all and any orders have one."""
    groups = _Groups(block)
    cut = groups.cut(at)
    # In a group, AP is largest with the relevant items first and smallest with them last. How many of them
    # stand before a group does not depend on the orders of earlier ones: each group can be taken alone.
    misses_first = 0 if largest else groups.items - groups.hits
    before = groups.sum_before_cut(
        at, _run_sum(groups.items_before + misses_first, groups.hits_before, groups.hits)
    )

    def total(hits: _Ints) -> _Floats:
        misses_first = 0 if largest else cut.taken - hits
        return before + _run_sum(cut.items_before + misses_first, cut.hits_before, hits)

    def precision(hits: _Ints) -> _Floats:
        return np.asarray(total(hits) / np.maximum(cut.hits_before + hits, 1))

    sure = cut.hits_before + cut.least > 0
    possible = cut.hits_before + cut.most > 0
    # Given a hit, the cut group has at least one where nothing nearer is relevant.
    least = np.where(sure, cut.least, np.minimum(cut.most, 1))
    if not in_top:
        # Each further hit adds to the sum, whatever its rank.
        hits = cut.most if largest else least
        return total(hits) / np.maximum(groups.hits_up_to[:, -1], 1), sure, possible
    # With h hits in the cut group, AP is the sum divided by hits_before + h. What the next hit adds to the
    # sum grows with h, so AP falls while that is less than AP and then rises: it is largest at an end.
    if largest:
        return np.maximum(precision(least), precision(cut.most)), sure, possible
    low, high = least, cut.most
    while (low < high).any():
        middle = (low + high) // 2
        rank = np.maximum(cut.items_before + cut.taken - middle, 1)  # 0 only where low and high have met
        # The next hit comes before the others, and each of them has one more hit up to its rank.
        added = cut.hits_before / rank + _reciprocal_sum(rank - 1, middle + 1)
        rises = added >= precision(middle)
        low, high = np.where(rises, low, np.minimum(middle + 1, high)), np.where(rises, middle, high)
    return precision(low), sure, possible


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


def _hits_at(block: _Block, ranks: _Ints, ties: Ties) -> _Floats:
    """Count each query's relevant items up to each of `ranks`: shape ``(queries, len(ranks))``."""
    if ties == "stable":
        return _stable_hits(block, int(ranks.max()))[:, ranks - 1].astype(np.float64)
    groups = _Groups(block)
    hits = np.empty((len(block.distances), len(ranks)))
    for column, rank in enumerate(ranks):
        cut = groups.cut(int(rank))
        if ties == "expected":
            hits[:, column] = cut.hits_before + cut.taken * cut.hits / cut.items
        else:
            hits[:, column] = cut.hits_before + (cut.most if ties == "optimistic" else cut.least)
    return hits


def _stable_hits(block: _Block, at: int) -> _Ints:
    """Count the relevant items up to each rank in a stable sort by distance: shape ``(queries, at)``."""
    # Codes have at most 2,048 bits, and numpy's stable sort of 16-bit numbers is a radix sort.
    order = np.argsort(block.distances.astype(np.uint16), axis=1, kind="stable")[:, :at]
    return np.take_along_axis(block.relevant, order, axis=1).cumsum(axis=1, dtype=np.int64)


def _expected_sum(
    items_before: _Ints, hits_before: _Ints, items: _Ints, hits: _Ints, ranks: _Ints
) -> _Floats:
    """Return the expected Σ P(r) rel(r) over the first `ranks` ranks of a group of `items` tied items.

    An item there is relevant with probability hits / items, and then each other one of the group with
    probability `other`: the j-th term is
    hits / items · [hits_before + 1 + (j − 1)·other] / (items_before + j).
    """
    other = (hits - 1) / np.maximum(items - 1, 1)
    reciprocals = _reciprocal_sum(items_before, ranks)
    terms = other * ranks + (hits_before + 1 - other * (items_before + 1)) * reciprocals
    return hits / np.maximum(items, 1) * terms


def _run_sum(items_before: _Ints, hits_before: _Ints, hits: _Ints) -> _Floats:
    """Return Σ P(r) rel(r) over a run of hits, Σ_{j=1}^{hits} (hits_before + j)/(items_before + j).

    Its terms are 1 − (items_before − hits_before) / (items_before + j).
    """
    return hits - (items_before - hits_before) * _reciprocal_sum(items_before, hits)


# H_0 ... H_32, below which the asymptotic series of _reciprocal_sum is not used.
_HARMONIC = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, 33))])


def _reciprocal_sum(start: _Ints, count: _Ints) -> _Floats:
    """Return Σ_{j=1}^{count} 1/(start + j), to a relative precision of some 1e-14.

    The callers multiply it by numbers as large as `start`, for which a difference of two harmonic numbers
    would not be precise enough. Hence ψ(x + ½) = ln x + 1/(24x²) − 7/(960x⁴) + 31/(8064x⁶) − 127/(30720x⁸) +
    …, of which the logarithms are subtracted as one log1p; the next term is below 1e-17 for x > 32.
    """
    end, first = start + count, len(_HARMONIC) - 1
    head = _HARMONIC[np.minimum(end, first)] - _HARMONIC[np.minimum(start, first)]
    below, above = np.maximum(start, first) + 0.5, np.maximum(end, first) + 0.5

    def series(x: _Floats) -> _Floats:
        y = 1.0 / (x * x)
        return np.asarray(y * (1 / 24 - y * (7 / 960 - y * (31 / 8064 - y * (127 / 30720)))))

    return np.asarray(head + np.log1p((above - below) / below) + (series(above) - series(below)))


def _hits_taken(cut: _Cut) -> tuple[_Ints, _Floats]:
    """Return how many relevant items may be among the taken, and how likely: a hypergeometric distribution.

    Both have shape ``(queries, width)``; a number that is impossible has probability 0. The tails left out
    have a probability below 1e-20 together.
    """
    # Hoeffding's bound 2 exp(-2 t² / s), which holds for drawing without replacement too, with s draws. Draws
    # and relevant items can change places, and so can each and the rest: s is the smallest of the four.
    smallest = np.minimum.reduce([cut.taken, cut.items - cut.taken, cut.hits, cut.items - cut.hits])
    reach = np.sqrt(smallest * np.log(2e20) / 2)
    mean = cut.taken * (cut.hits / cut.items)
    low = np.maximum(cut.least, np.floor(mean - reach).astype(np.int64))
    high = np.minimum(cut.most, np.ceil(mean + reach).astype(np.int64))
    hits = low[:, None] + np.arange((high - low).max() + 1)
    # log of Hyp(h + 1) / Hyp(h), whose numerator ends with 0 at the largest possible h. A sum of logarithms,
    # since the tails may lie beyond the range of float64.
    h = hits[:, :-1].astype(np.float64)
    hits_total, taken, misses_total = (
        count[:, None] for count in (cut.hits, cut.taken, cut.items - cut.hits)
    )
    up = np.maximum(hits_total - h, 0.0) * np.maximum(taken - h, 0.0)
    down = (h + 1.0) * (misses_total - taken + h + 1.0)
    with np.errstate(divide="ignore"):
        ratio = np.log(up / down)
    log = np.concatenate([np.zeros((len(hits), 1)), ratio.cumsum(axis=1)], axis=1)
    probability = np.exp(log - log.max(axis=1, keepdims=True))
    return hits, probability / probability.sum(axis=1, keepdims=True)
