"""GreedyHash: binary in the forward pass, the identity in the backward one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class StraightThroughSign(torch.autograd.Function):
    """±1, +1 where the input is positive; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor) -> Tensor:
        """Binarise."""
        return torch.where(outputs > 0, 1.0, -1.0).to(outputs.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Pass the gradient."""
        return gradients[0]


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
    bits: Tensor = StraightThroughSign.apply(outputs)  # type: ignore[no-untyped-call]
    return pair_loss(features, bits) + quantization * (outputs.abs() - 1).abs().pow(3).mean()
