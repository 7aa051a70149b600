"""GreedyHash: binary in the forward pass, the identity in the backward one."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal, Unpack

import numpy as np
from torch import Tensor
from torch.nn import functional

from sdc_search.feature_rows import FeatureRows, Features
from sdc_search.hashers.binarization import signs, straight_through
from sdc_search.hashers.pairwise import PairLoss, PairwiseHasher
from sdc_search.hashers.trained import SDC_PAPER, TrainingParameters
from sdc_search.schedules import half_cosine


class GreedyHash(PairwiseHasher):
    """Binary codes in training too, whose cosines copy those of the features, see `greedy_hash_loss`.

    Su et al., "Greedy Hash: Towards Fast Optimization for Accurate Hash Coding in CNN", NeurIPS 2018, in its
    form without labels.

    Parameters
    ----------
    n_bits, hidden, teacher, **parameters
        See `sdc_search.hashers.pairwise.PairwiseHasher`. The preset ``"author"`` trains a linear layer by SGD
        for 60 epochs (the released code for 300 at 16 bits).
    quantization
        Weight of the outputs' distance from ±1.

    Raises
    ------
    ValueError
        In `fit`: a parameter is out of range, or the training diverged; and what `Hasher.fit` raises.

    Notes
    -----
    Cosines of features behind a ReLU are not negative. With them as a ``"raw"`` teacher, codes grow alike;
    the default therefore centres them.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import GreedyHash
    >>> X = np.random.default_rng(0).standard_normal((100, 16))
    >>> GreedyHash(n_bits=32, max_epochs=2, random_state=0).fit(X).encode(X).shape
    (100, 4)
    """

    _presets: ClassVar = {
        None: {
            "hidden": 0,
            "batch_norm": True,
            "center": True,
            "teacher": "centered",
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
            "optimizer": "sgd",
            "lr": 1e-4,
            "weight_decay": 5e-4,
            "batch_size": 32,
            "max_epochs": 60,
            "feature_dropout": 0.5,
        },
        "sdc_paper": {**SDC_PAPER, "hidden": 4096, "batch_norm": True, "teacher": "raw"},
    }

    def __init__(
        self,
        n_bits: int = 64,
        *,
        hidden: int | None = None,
        teacher: Literal["raw", "centered"] | None = None,
        quantization: float = 0.1,
        **parameters: Unpack[TrainingParameters],
    ) -> None:
        super().__init__(n_bits, hidden=hidden, teacher=teacher, **parameters)
        self.quantization = quantization

    def _pair_loss(self, X: FeatureRows, origin: Features, rng: np.random.Generator) -> PairLoss:
        if not 0 <= self.quantization < float("inf"):
            raise ValueError(f"quantization must be non-negative and finite, got {self.quantization}")
        return partial(greedy_hash_loss, quantization=self.quantization)


def pair_loss(features: Tensor, bits: Tensor) -> Tensor:
    """Mean squared difference of the cosines of pairs (i, i + N/2), of their codes and of their features.

    Parameters
    ----------
    features
        Shape ``(N, d)``, N at least 2 and in random order; no gradient flows to them.
    bits
        ±1, shape ``(N, K)``. The last row is left out if N is odd.

    Returns
    -------
    A scalar.

    Examples
    --------
    >>> import torch
    >>> pair_loss(torch.ones(4, 3), torch.ones(4, 8))
    tensor(0.)
    """
    half = len(features) // 2
    teacher = functional.cosine_similarity(features[:half], features[half : 2 * half]).detach()
    return (functional.cosine_similarity(bits[:half], bits[half : 2 * half]) - teacher).square().mean()


def greedy_hash_loss(features: Tensor, outputs: Tensor, quantization: float = 0.1) -> Tensor:
    """Compute the unsupervised loss of Su et al., "Greedy Hash", NeurIPS 2018.

    `pair_loss` of the outputs' signs plus `quantization` times the mean of ``||h| − 1|³``.

    Parameters
    ----------
    features
        Shape ``(N, d)``.
    outputs
        h, shape ``(N, K)``.
    quantization
        Weight of the second term, α in the paper.

    Returns
    -------
    A scalar.
    """
    bits = straight_through(signs(outputs), outputs)
    return pair_loss(features, bits) + quantization * (outputs.abs() - 1).abs().pow(3).mean()
