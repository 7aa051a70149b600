"""BiHalf: every bit splits the batch in two equal halves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdc_search.hashers.greedy_hash import pair_loss


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
