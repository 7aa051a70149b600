"""Protocols of evaluation by name: all that must stand beside a mean average precision to compare it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from sdc_search.arrays import ArrayLike, as_count, to_numpy
from sdc_search.metrics import NoHit, Normalizer, Ties, retrieval_scores

_TIES: dict[Ties, str] = {
    "expected": "the expectation over all orders of items at one distance, in closed form",
    "stable": "items at one distance in the order of the database",
    "optimistic": "the best order of items at one distance",
    "pessimistic": "the worst order of items at one distance",
}
_NORMALIZERS: dict[Normalizer, str] = {
    "relevant_in_top": "the relevant items among these ranks",
    "all_relevant": "all relevant items in the database",
}
_NO_HIT: dict[NoHit, str] = {"zero": "counts as 0", "skip": "is left out of the mean"}


@dataclass(frozen=True)
class Protocol:
    """How the mean average precision of codes with class labels is measured.

    Parameters
    ----------
    name
        What reports call it.
    at
        How many ranks count, at least 1, or -1 for all.
    multi_label
        Whether labels are a matrix ``(n, C)``, and items relevant that share any label with the query; else
        they have shape ``(n,)``, and relevant are the items of the query's class.
    ties, normalizer, no_hit
        As for `mean_average_precision`.

    Raises
    ------
    TypeError
        `at` is not an integer.
    ValueError
        `at` is 0 or below -1; an option is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.protocols import Protocol
    >>> protocol = Protocol.cifar10_sdc()
    >>> codes, labels = np.array([[0], [1], [3]], dtype=np.uint8), np.array([0, 1, 0])
    >>> evaluation = protocol.evaluate(codes, labels, codes[:1], labels[:1])
    >>> round(evaluation.mean_average_precision, 4), evaluation.n_without_hit
    (0.8333, 0.0)
    """

    name: str
    at: int = 1000
    multi_label: bool = False
    ties: Ties = "expected"
    normalizer: Normalizer = "relevant_in_top"
    no_hit: NoHit = "zero"

    def __post_init__(self) -> None:
        if as_count("at", self.at, minimum=-1) == 0:
            raise ValueError("at must be at least 1, or -1 for all ranks, got 0")
        for name, value, options in (
            ("ties", self.ties, Ties),
            ("normalizer", self.normalizer, Normalizer),
            ("no_hit", self.no_hit, NoHit),
        ):
            if value not in get_args(options):
                known = ", ".join(map(repr, get_args(options)))
                raise ValueError(f"{name} must be one of {known}, got {value!r}")

    @classmethod
    def cifar10_sdc(cls) -> Protocol:
        """CIFAR10 as the code of SDC measures it (Ng et al., BMVC 2023): mAP@1000."""
        return cls("cifar10-sdc")

    @classmethod
    def imagenet100_sdc(cls) -> Protocol:
        """ImageNet100 as the code of SDC measures it: mAP@1000."""
        return cls("imagenet100-sdc")

    @classmethod
    def nuswide_sdc(cls) -> Protocol:
        """NUS-WIDE as the code of SDC measures it: mAP@5000 over the queries with a hit."""
        return cls("nuswide-sdc", at=5000, multi_label=True, no_hit="skip")

    @classmethod
    def coco_sdc(cls) -> Protocol:
        """MS-COCO as the code of SDC measures it: mAP@5000 over the queries with a hit."""
        return cls("coco-sdc", at=5000, multi_label=True, no_hit="skip")

    @classmethod
    def fashion_mnist(cls) -> Protocol:
        """Fashion-MNIST, for which no paper sets a protocol: measured as CIFAR10."""
        return cls("fashion-mnist")

    @property
    def text(self) -> str:
        """One paragraph that says all of it, for reports."""
        ranks = "all ranks" if self.at == -1 else f"the first {self.at:,} ranks"
        relevant = "sharing any label with" if self.multi_label else "of the class of"
        return (
            f"Protocol {self.name}: mean average precision over {ranks} by Hamming distance; relevant are the"
            f" items {relevant} the query; a query's sum of precisions is divided by"
            f" {_NORMALIZERS[self.normalizer]}; a query without a relevant item among these ranks"
            f" {_NO_HIT[self.no_hit]}; ties: {_TIES[self.ties]}."
        )

    def evaluate(
        self,
        database_codes: ArrayLike,
        database_labels: ArrayLike,
        query_codes: ArrayLike,
        query_labels: ArrayLike,
    ) -> Evaluation:
        """Measure codes by this protocol.

        Parameters
        ----------
        database_codes, query_codes
            uint8, shapes ``(n, n_bytes)`` and ``(q, n_bytes)``.
        database_labels, query_labels
            Shapes ``(n,)`` and ``(q,)``, or with `multi_label` ``(n, C)`` and ``(q, C)``.

        Raises
        ------
        TypeError
            As for `mean_average_precision`.
        ValueError
            As for `mean_average_precision`; or labels of several classes where one is wanted, or the reverse.
        """
        wanted = 2 if self.multi_label else 1
        for name, labels in (("database_labels", database_labels), ("query_labels", query_labels)):
            shape = to_numpy(name, labels).shape
            if len(shape) != wanted:
                form = "several labels an item, a matrix (n, C)" if self.multi_label else "one label an item"
                raise ValueError(f"{name} must be {form}, for {self.name}, got shape {shape}")
        scores = retrieval_scores(
            database_codes,
            database_labels,
            query_codes,
            query_labels,
            at=self.at,
            ties=self.ties,
            normalizer=self.normalizer,
            no_hit=self.no_hit,
        )
        return Evaluation(*scores, protocol=self)


@dataclass(frozen=True)
class Evaluation:
    """A mean average precision and what it was measured by."""

    mean_average_precision: float  # in [0, 1]
    n_queries: int  # all, also those that the protocol leaves out of the mean
    n_without_hit: float  # an expectation with expected ties
    protocol: Protocol
