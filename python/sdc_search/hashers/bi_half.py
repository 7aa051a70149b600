"""BiHalf: every bit splits the batch in two equal halves."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from sdc_search.feature_rows import FeatureRows, Features
from sdc_search.hashers.greedy_hash import pair_loss
from sdc_search.hashers.pairwise import PairLoss, PairwiseHasher
from sdc_search.hashers.trained import SDC_PAPER, TrainingParameters
from sdc_search.schedules import half_cosine, step_decay


class BiHalf(PairwiseHasher):
    """Codes whose every bit splits a batch in equal halves, and whose cosines copy those of the features.

    Li & van Gemert, "Deep Unsupervised Image Hashing by Maximizing Bit Entropy", AAAI 2021; see `half_half`
    and `bi_half_loss`.

    Parameters
    ----------
    n_bits, hidden, teacher, **parameters
        See `sdc_search.hashers.pairwise.PairwiseHasher`. The preset ``"author"`` trains a linear layer by SGD
        for 300 epochs. Bits are signs afterwards, so that nothing balances them over the data;
        ``threshold="median"`` does.
    gamma
        See `half_half`.

    Raises
    ------
    ValueError
        In `fit`: a parameter is out of range, or the training diverged; and what `Hasher.fit` raises.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import BiHalf
    >>> X = np.random.default_rng(0).standard_normal((100, 16))
    >>> BiHalf(n_bits=32, max_epochs=2, random_state=0).fit(X).encode(X).shape
    (100, 4)
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
            "optimizer": "sgd",
            "lr": 1e-4,
            "weight_decay": 5e-4,
            "batch_size": 32,
            "max_epochs": 300,
            "schedule": step_decay([120, 240]),
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
        gamma: float = 6.0,
        **parameters: Unpack[TrainingParameters],
    ) -> None:
        super().__init__(n_bits, hidden=hidden, teacher=teacher, **parameters)
        self.gamma = gamma

    def _pair_loss(self, X: FeatureRows, origin: Features, rng: np.random.Generator) -> PairLoss:
        if not 0 <= self.gamma < float("inf"):
            raise ValueError(f"gamma must be non-negative and finite, got {self.gamma}")
        return partial(bi_half_loss, gamma=self.gamma)


class HalfHalf(torch.autograd.Function):
    """The bi-half layer: in each column the largest ⌊N/2⌋ inputs become +1, the others −1.

    Li & van Gemert, "Deep Unsupervised Image Hashing by Maximizing Bit Entropy", AAAI 2021. The ranks decide,
    and among equal inputs the row, the first being the largest, so that a column of ties is halved too.
    Backward, ``g + γ (u − b) / (N K)`` for a gradient g.
    """

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, gamma: float) -> Tensor:
        """Binarise by ranks within the batch."""
        order = outputs.argsort(dim=0, descending=True, stable=True)
        bits = torch.full_like(outputs, -1.0).scatter_(0, order[: len(outputs) // 2], 1.0)
        ctx.save_for_backward(outputs, bits)
        ctx.gamma = gamma
        return bits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Pass the gradient, and pull the inputs towards the bits."""
        outputs, bits = ctx.saved_tensors
        return gradients[0] + ctx.gamma / outputs.numel() * (outputs - bits), None


def half_half(outputs: Tensor, gamma: float = 6.0) -> Tensor:
    """Apply the bi-half layer, `HalfHalf`, to a batch.

    Parameters
    ----------
    outputs
        u, shape ``(N, K)``.
    gamma
        Strength of the pull towards the bits in the backward pass.

    Returns
    -------
    ±1, shape ``(N, K)``; each column sums to ``2 ⌊N/2⌋ − N``.

    Examples
    --------
    >>> import torch
    >>> half_half(torch.tensor([[0.1, 5.0], [0.2, 5.0], [0.3, 5.0], [0.4, 6.0]]))
    tensor([[-1.,  1.],
            [-1., -1.],
            [ 1., -1.],
            [ 1.,  1.]])
    """
    bits: Tensor = HalfHalf.apply(outputs, gamma)  # type: ignore[no-untyped-call]
    return bits


def bi_half_loss(features: Tensor, outputs: Tensor, gamma: float = 6.0) -> Tensor:
    """Compute `pair_loss` of the bits of `half_half`; arguments as there."""
    return pair_loss(features, half_half(outputs, gamma))
