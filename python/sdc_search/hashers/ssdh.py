"""SSDH: pseudo-labels for pairs that are certainly near or certainly far."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from sdc_search.feature_rows import FeatureRows, Features
from sdc_search.hashers.pairwise import PairLoss, PairwiseHasher
from sdc_search.hashers.trained import SDC_PAPER, TrainingParameters
from sdc_search.schedules import half_cosine

_BINS_PER_UNIT = 100
_ROWS = 1024  # of the matrix of distances at a time
_SAMPLE = 5000  # rows whose distances are fitted


class SSDH(PairwiseHasher):
    """Codes that are alike for pairs that are surely near, opposite for those surely far, see `ssdh_loss`.

    Yang et al., "Semantic Structure-based Unsupervised Deep Hashing", IJCAI 2018. Which pairs are sure,
    `DistanceFit` tells, fitted to the distances within 5,000 random rows; the labels of a batch are computed
    with it.

    Parameters
    ----------
    n_bits, hidden, teacher, **parameters
        See `sdc_search.hashers.pairwise.PairwiseHasher`. The preset ``"author"`` trains a linear layer by
        Adam with an eps of 1.
    alpha, beta
        How many standard deviations from the commonest distance pairs are near, or far.

    Raises
    ------
    ValueError
        In `fit`: a parameter is out of range, or the training diverged; and what `Hasher.fit` raises.

    Warns
    -----
    UserWarning
        No pair can be near.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import SSDH
    >>> X = np.random.default_rng(0).standard_normal((500, 16))
    >>> SSDH(n_bits=32, max_epochs=2, random_state=0).fit(X).encode(X).shape
    (500, 4)
    """

    _presets: ClassVar = {
        None: {
            "hidden": 0,
            "batch_norm": True,
            "center": True,
            "teacher": "raw",
            "lr": 1e-3,
            "weight_decay": 5e-4,
            "batch_size": 64,
            "max_epochs": 20,
            "schedule": half_cosine,
        },
        "author": {
            "hidden": 0,
            "batch_norm": False,
            "teacher": "raw",
            "lr": 1e-3,
            "eps": 1.0,
            "batch_size": 24,
            "max_epochs": 10,
        },
        "sdc_paper": {**SDC_PAPER, "hidden": 4096, "batch_norm": True, "teacher": "raw"},
    }

    def __init__(
        self,
        n_bits: int = 64,
        *,
        hidden: int | None = None,
        teacher: Literal["raw", "centered"] | None = None,
        alpha: float = 2.0,
        beta: float = 2.0,
        **parameters: Unpack[TrainingParameters],
    ) -> None:
        super().__init__(n_bits, hidden=hidden, teacher=teacher, **parameters)
        self.alpha = alpha
        self.beta = beta

    def _pair_loss(self, X: FeatureRows, origin: Features, rng: np.random.Generator) -> PairLoss:
        for name in ("alpha", "beta"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be non-negative and finite, got {getattr(self, name)}")
        rows = np.sort(rng.permutation(len(X))[:_SAMPLE])
        fit = fit_distances((X.take(rows) - origin).astype(np.float32), self.alpha)

        def loss(teacher: Tensor, outputs: Tensor) -> Tensor:
            return ssdh_loss(fit.pseudo_labels(teacher, self.alpha, self.beta), outputs)

        return loss


@dataclass(frozen=True)
class DistanceFit:
    """The distribution of cosine distances as two halves of Gaussians that share their mean.

    Parameters
    ----------
    mode
        Left edge of the fullest bin of width 0.01, and mean of both.
    left, right
        Standard deviations of the distances up to the mode, and above it.
    """

    mode: float
    left: float
    right: float

    def pseudo_labels(self, features: Tensor, alpha: float = 2.0, beta: float = 2.0) -> Tensor:
        """Return S, shape ``(N, N)``, of features ``(N, d)``.

        It is +1 for distances below ``mode − α left``, −1 above ``mode + β right``, else 0.
        """
        unit = functional.normalize(features)
        distance = 1 - unit @ unit.T
        near = distance < self.mode - alpha * self.left
        far = distance > self.mode + beta * self.right
        return near.to(features.dtype) - far.to(features.dtype)


def fit_distances(X: npt.NDArray[np.floating[Any]], alpha: float = 2.0) -> DistanceFit:
    """Fit `DistanceFit` to the cosine distances of all pairs of rows, self-pairs too, in blocks of rows.

    Mirrored about the mode, either side is a sample of mean `mode`, so that its variance is the mean squared
    distance to the mode, in closed form. Distances lie in [0, 2], or in [0, 1] for non-negative features.

    Parameters
    ----------
    X
        Shape ``(n, d)``, at least two rows; for more than some 10,000, pass a sample.
    alpha
        Of `DistanceFit.pseudo_labels`, to warn if no pair can be near.

    Warns
    -----
    UserWarning
        ``mode − α left`` is not positive, so that no pair, not even of an item with itself, is near.
    """
    unit = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), np.finfo(X.dtype).tiny)
    blocks = range(0, len(unit), _ROWS)

    def distances(start: int) -> npt.NDArray[np.floating[Any]]:
        return np.asarray(np.clip(1 - unit[start : start + _ROWS] @ unit.T, 0, 2))

    edges = np.arange(2 * _BINS_PER_UNIT + 1) / _BINS_PER_UNIT
    counts = sum(np.histogram(distances(start), edges)[0] for start in blocks)
    mode = float(edges[np.argmax(counts)])
    squares, numbers = np.zeros(2), np.zeros(2, np.int64)
    for start in blocks:
        offset = distances(start).astype(np.float64) - mode
        for side, chosen in enumerate((offset <= 0, offset > 0)):
            squares[side] += np.square(offset[chosen]).sum()
            numbers[side] += chosen.sum()
    left, right = np.sqrt(squares / np.maximum(1, numbers)).tolist()
    if mode - alpha * left <= 0:
        warnings.warn(
            f"SSDH finds no near pairs: the commonest distance, {mode:.2f}, is within {alpha:g} standard"
            f" deviations ({left:.3f}) of 0; a smaller alpha finds some",
            stacklevel=6,  # of the caller of `SSDH.fit`
        )
    return DistanceFit(mode, left, right)


def ssdh_loss(labels: Tensor, outputs: Tensor) -> Tensor:
    """Compute the mean over all N² pairs of ``|S| (z_i · z_j / K − S)²``, with z the tanh of the outputs.

    Yang et al., "Semantic Structure-based Unsupervised Deep Hashing", IJCAI 2018. Pairs with S = 0 count in
    the mean.

    Parameters
    ----------
    labels
        S in {−1, 0, 1}, shape ``(N, N)``.
    outputs
        Shape ``(N, K)``.

    Returns
    -------
    A scalar.

    Examples
    --------
    >>> import torch
    >>> ssdh_loss(torch.ones(2, 2), torch.full((2, 8), 100.0))
    tensor(0.)
    """
    z = outputs.tanh()
    return (labels.abs() * (z @ z.T / z.shape[1] - labels).square()).mean()
