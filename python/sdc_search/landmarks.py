"""Retrieval of instances: Google Landmarks v2 and Revisited Oxford and Paris, as their authors score them.

Relevance is a list of rows of the database for each query, not a class. `landmark_map` and `revisited_map`
score rankings; `LandmarkProtocol` ranks codes by Hamming distance first, and says what it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import ArrayLike, as_codes, as_count, to_numpy
from sdc_search.hamming import hamming_topk
from sdc_search.native import core

Difficulty: TypeAlias = Literal["easy", "medium", "hard"]
LandmarkNormalizer: TypeAlias = Literal["relevant_up_to_at", "all_relevant"]

_Ids: TypeAlias = npt.NDArray[np.int64]
_Rankings: TypeAlias = Sequence[ArrayLike] | npt.NDArray[Any]

# What counts as relevant, and what is taken out of the ranking, at each level of difficulty.
_POSITIVE: dict[Difficulty, tuple[str, ...]] = {
    "easy": ("easy",),
    "medium": ("easy", "hard"),
    "hard": ("hard",),
}
_IGNORED: dict[Difficulty, tuple[str, ...]] = {
    "easy": ("junk", "hard"),
    "medium": ("junk",),
    "hard": ("junk", "easy"),
}
_QUERIES_AT_ONCE = 64


def landmark_map(
    ranked_ids: _Rankings,
    ground_truth: Sequence[ArrayLike],
    at: int = 100,
    *,
    normalizer: LandmarkNormalizer = "relevant_up_to_at",
) -> float:
    """Compute the mean average precision of Google Landmarks v2 (Weyand et al., CVPR 2020).

    ``AP = (1/Z) Σ_{r ≤ at} P(r) rel(r)``, the mean over the queries that have relevant items. An item that is
    returned again counts as not relevant, and still takes a rank, as in the official code.

    Parameters
    ----------
    ranked_ids
        For each query, the ids that it found, best first; negative ones, which fill up a search's results,
        are left out.
    ground_truth
        For each query, the ids of the relevant items.
    at
        How many ranks count.
    normalizer
        Z: ``"relevant_up_to_at"``, min(relevant items, `at`), is the official one; ``"all_relevant"``, as
        some papers divide (SDC, BMVC 2023; FIRe, ICLR 2022), is lower where more than `at` are relevant.

    Returns
    -------
    A float in [0, 1]; 0 where no query has relevant items.

    Raises
    ------
    TypeError
        Ids or `at` are not integers.
    ValueError
        Not one list of each kind a query; `at` is below 1; `normalizer` is unknown.

    Examples
    --------
    >>> from sdc_search.landmarks import landmark_map
    >>> round(landmark_map([[4, 7, 2]], [[4, 2]]), 4)
    0.8333
    """
    at = as_count("at", at, minimum=1)
    _check_normalizer(normalizer)
    values = [
        _landmark_precision(ranked[ranked >= 0], relevant, at, normalizer)
        for ranked, relevant in _pairs(ranked_ids, ground_truth)
        if len(relevant)
    ]
    return float(np.mean(values)) if values else 0.0


def revisited_map(
    ranked_ids: _Rankings, ground_truth: Sequence[Mapping[str, Any]], difficulty: Difficulty
) -> float:
    """Compute the mean average precision of Revisited Oxford and Paris (Radenović et al., CVPR 2018).

    Items to be ignored are taken out of the ranking. AP is the area under precision over recall by the rule
    of trapezoids: each relevant item adds ``½ (j/r + (j+1)/(r+1)) / n_relevant``, with j relevant ones before
    it and r items in all, the first fraction being 1 at r = 0. The mean is over the queries that have
    relevant items at this difficulty.

    Parameters
    ----------
    ranked_ids
        For each query, the ids of the database, best first; all of them, for what is missing adds nothing.
        Negative ones, which fill up a search's results, are left out.
    ground_truth
        For each query the ids of its ``"easy"``, ``"hard"`` and ``"junk"`` items, as in the published files
        (whose further entries are not read).
    difficulty
        ``"easy"``: easy ones are relevant, hard ones and junk ignored. ``"medium"``: easy and hard ones are
        relevant, junk ignored. ``"hard"``: hard ones are relevant, easy ones and junk ignored.

    Returns
    -------
    A float in [0, 1]; 0 where no query has relevant items.

    Raises
    ------
    TypeError
        Ids are not integers.
    ValueError
        Not one ranking and one entry a query; an entry lacks a list; `difficulty` is unknown.

    Examples
    --------
    >>> from sdc_search.landmarks import revisited_map
    >>> truth = [{"easy": [3], "hard": [1], "junk": [0]}]
    >>> revisited_map([[0, 3, 2, 1]], truth, "easy")
    1.0
    >>> round(revisited_map([[0, 3, 2, 1]], truth, "medium"), 4)
    0.7917
    """
    relevant, ignored = _by_difficulty(ground_truth, difficulty)
    values = [
        _trapezoidal_precision(ranked[ranked >= 0], positive, left_out)
        for (ranked, positive), left_out in zip(_pairs(ranked_ids, relevant), ignored, strict=True)
        if len(positive)
    ]
    return float(np.mean(values)) if values else 0.0


@dataclass(frozen=True)
class LandmarkProtocol:
    """How the codes of a data set of landmarks are measured.

    Codes have many items at one distance. Google Landmarks v2 is measured in expectation over all orders of
    these, in closed form. There is none for the trapezoids of Revisited Oxford and Paris: the database is put
    into `shuffles` random orders, each ranked by Hamming distance with ties in that order, and reported are
    the mean over them and their standard deviation.

    Parameters
    ----------
    name
        What reports call it.
    difficulty
        Of Revisited Oxford and Paris; None for Google Landmarks v2.
    at, normalizer
        Of Google Landmarks v2, as for `landmark_map`.
    shuffles
        How many orders, at least 2; those of seeds 0, 1, ... Of Revisited Oxford and Paris.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.landmarks import LandmarkProtocol
    >>> codes = np.array([[0], [1], [3]], dtype=np.uint8)
    >>> evaluation = LandmarkProtocol.gldv2().evaluate(codes, codes[:1], [[1]])
    >>> evaluation.mean_average_precision, evaluation.spread
    (0.5, None)
    """

    name: str
    difficulty: Difficulty | None = None
    at: int = 100
    normalizer: LandmarkNormalizer = "relevant_up_to_at"
    shuffles: int = 10

    def __post_init__(self) -> None:
        as_count("at", self.at, minimum=1)
        as_count("shuffles", self.shuffles, minimum=2)
        _check_normalizer(self.normalizer)
        if self.difficulty is not None:
            _check_difficulty(self.difficulty)

    @classmethod
    def gldv2(cls) -> LandmarkProtocol:
        """Google Landmarks v2: mAP@100, divided by min(relevant items, 100)."""
        return cls("gldv2")

    @classmethod
    def gldv2_sdc(cls) -> LandmarkProtocol:
        """Google Landmarks v2 as SDC (BMVC 2023) divides: by all relevant items."""
        return cls("gldv2-sdc", normalizer="all_relevant")

    @classmethod
    def revisited(cls, difficulty: Difficulty) -> LandmarkProtocol:
        """Revisited Oxford or Paris at a difficulty."""
        return cls(f"revisited-{difficulty}", difficulty=difficulty)

    @property
    def text(self) -> str:
        """One paragraph that says all of it, for reports."""
        skipped = "queries without a relevant item are left out"
        if self.difficulty is None:
            divisor = (
                "all relevant items"
                if self.normalizer == "all_relevant"
                else f"the smaller of {self.at} and the number of relevant items"
            )
            return (
                f"Protocol {self.name}: mean average precision over the first {self.at} ranks by Hamming"
                f" distance, divided by {divisor}; {skipped}; ties: the expectation over all orders of items"
                " at one distance, in closed form."
            )
        return (
            f"Protocol {self.name}: mean average precision over all ranks by Hamming distance, by trapezoids;"
            f" relevant: {' and '.join(_POSITIVE[self.difficulty])}, taken out of the ranking:"
            f" {' and '.join(_IGNORED[self.difficulty])}; {skipped}; ties: the mean over"
            f" {self.shuffles} seeded random orders of the database, with the standard deviation over them."
        )

    def evaluate(
        self, database_codes: ArrayLike, query_codes: ArrayLike, ground_truth: Sequence[Any]
    ) -> LandmarkEvaluation:
        """Rank codes and score the rankings.

        Parameters
        ----------
        database_codes, query_codes
            uint8, shapes ``(n, n_bytes)`` and ``(q, n_bytes)``.
        ground_truth
            For each query, rows of the database: a list for `landmark_map`, or a mapping for `revisited_map`.

        Raises
        ------
        TypeError, ValueError
            As for `landmark_map` and `revisited_map`; or a row is not one of the database.
        """
        codes = as_codes("database_codes", database_codes)
        queries = as_codes("query_codes", query_codes, codes.shape[1])
        ignored: list[_Ids]
        if self.difficulty is None:
            relevant = [np.unique(_as_ids("ground_truth", entry)) for entry in ground_truth]
            ignored = []
        else:
            relevant, ignored = _by_difficulty(ground_truth, self.difficulty)
        if len(relevant) != len(queries):
            raise ValueError(f"ground_truth must have one entry a query, {len(queries)}, got {len(relevant)}")
        for rows in (*relevant, *ignored):
            if len(rows) and not 0 <= rows.min() <= rows.max() < len(codes):
                raise ValueError(f"ground_truth must hold rows of the database, 0 to {len(codes) - 1}")
        counted = [q for q, positive in enumerate(relevant) if len(positive)]
        mean, spread = 0.0, None
        if counted and self.difficulty is None:
            mean = self._expected_mean(codes, queries[counted], [relevant[q] for q in counted])
        elif counted:
            means = [
                sum(_shuffled_precisions(codes, queries, counted, relevant, ignored, seed)) / len(counted)
                for seed in range(self.shuffles)
            ]
            mean, spread = float(np.mean(means)), float(np.std(means, ddof=1))
        return LandmarkEvaluation(
            mean_average_precision=mean,
            spread=spread,
            n_queries=len(queries),
            n_without_relevant=len(queries) - len(counted),
            protocol=self,
        )

    def _expected_mean(
        self, codes: npt.NDArray[np.uint8], queries: npt.NDArray[np.uint8], relevant: Sequence[_Ids]
    ) -> float:
        lims = np.cumsum([0, *map(len, relevant)], dtype=np.int64)
        listed = core.Relevance.listed(lims, np.concatenate(relevant), len(codes))
        at = min(self.at, len(codes))
        precision, _, _ = core.average_precision(codes, queries, listed, at, "expected", self.normalizer, 0)
        return float(precision.mean())


@dataclass(frozen=True)
class LandmarkEvaluation:
    """A mean average precision over rankings and what it was measured by."""

    mean_average_precision: float  # in [0, 1]
    spread: float | None  # standard deviation over shuffled orders of ties; None for an expectation
    n_queries: int  # all, also those left out
    n_without_relevant: int  # left out of the mean
    protocol: LandmarkProtocol


def _shuffled_precisions(
    codes: npt.NDArray[np.uint8],
    queries: npt.NDArray[np.uint8],
    counted: Sequence[int],
    relevant: Sequence[_Ids],
    ignored: Sequence[_Ids],
    seed: int,
) -> Iterator[float]:
    order = np.random.default_rng(seed).permutation(len(codes))
    shuffled = codes[order]
    for start in range(0, len(counted), _QUERIES_AT_ONCE):
        block = counted[start : start + _QUERIES_AT_ONCE]
        _, places = hamming_topk(shuffled, queries[block], len(codes))
        for q, ranked in zip(block, order[places], strict=True):
            yield _trapezoidal_precision(ranked, relevant[q], ignored[q])


def _landmark_precision(ranked: _Ids, relevant: _Ids, at: int, normalizer: LandmarkNormalizer) -> float:
    top = ranked[:at]
    first = np.zeros(len(top), dtype=np.bool_)
    first[np.unique(top, return_index=True)[1]] = True
    ranks = np.flatnonzero(np.isin(top, relevant) & first) + 1
    found = np.arange(1, len(ranks) + 1)
    n_relevant = len(relevant) if normalizer == "all_relevant" else min(len(relevant), at)
    return float((found / ranks).sum() / n_relevant)


def _trapezoidal_precision(ranked: _Ids, relevant: _Ids, ignored: _Ids) -> float:
    kept = ranked[~np.isin(ranked, ignored)]
    ranks = np.flatnonzero(np.isin(kept, relevant))
    found = np.arange(len(ranks))
    before = np.where(ranks == 0, 1.0, found / np.maximum(ranks, 1))
    after = (found + 1) / (ranks + 1)
    return float((before + after).sum() / (2 * len(relevant)))


def _by_difficulty(
    ground_truth: Sequence[Mapping[str, Any]], difficulty: Difficulty
) -> tuple[list[_Ids], list[_Ids]]:
    _check_difficulty(difficulty)

    def gather(entry: Mapping[str, Any], keys: tuple[str, ...]) -> _Ids:
        for key in keys:
            if key not in entry:
                raise ValueError(f"ground_truth must have {key!r} for each query, got {sorted(entry)}")
        return np.unique(np.concatenate([_as_ids(f"ground_truth {key!r}", entry[key]) for key in keys]))

    return (
        [gather(entry, _POSITIVE[difficulty]) for entry in ground_truth],
        [gather(entry, _IGNORED[difficulty]) for entry in ground_truth],
    )


def _pairs(ranked_ids: _Rankings, relevant: Sequence[ArrayLike]) -> Iterator[tuple[_Ids, _Ids]]:
    if len(ranked_ids) != len(relevant):
        raise ValueError(
            f"ranked_ids and ground_truth must have one entry a query, got {len(ranked_ids)} and"
            f" {len(relevant)}"
        )
    for ranked, entry in zip(ranked_ids, relevant, strict=True):
        yield _as_ids("ranked_ids", ranked), np.unique(_as_ids("ground_truth", entry))


def _as_ids(name: str, value: object) -> _Ids:
    array = to_numpy(name, value) if not isinstance(value, list | tuple) else np.asarray(value)
    if array.ndim != 1:
        raise ValueError(f"{name} must be a list of ids for each query, got shape {array.shape}")
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got {array.dtype}")
    return array.astype(np.int64, copy=False)


def _check_normalizer(normalizer: object) -> None:
    if normalizer not in get_args(LandmarkNormalizer):
        known = ", ".join(map(repr, get_args(LandmarkNormalizer)))
        raise ValueError(f"normalizer must be one of {known}, got {normalizer!r}")


def _check_difficulty(difficulty: object) -> None:
    if difficulty not in get_args(Difficulty):
        known = ", ".join(map(repr, get_args(Difficulty)))
        raise ValueError(f"difficulty must be one of {known}, got {difficulty!r}")
