"""Bits inside a network: a step in the forward pass, something smooth in the backward one."""

from __future__ import annotations

import torch
from torch import Tensor


def signs(outputs: Tensor) -> Tensor:
    """Return ±1, +1 where `outputs` are positive.

    Examples
    --------
    >>> import torch
    >>> from sdc_search.hashers.binarization import signs
    >>> signs(torch.tensor([-2.0, 0.0, 3.0]))
    tensor([-1., -1.,  1.])
    """
    return torch.where(outputs > 0, 1.0, -1.0).to(outputs.dtype)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return the values of `hard` with the gradient of `soft` (Bengio et al., arXiv:1308.3432).

    Examples
    --------
    >>> import torch
    >>> from sdc_search.hashers.binarization import signs, straight_through
    >>> outputs = torch.tensor([-2.0, 3.0], requires_grad=True)
    >>> straight_through(signs(outputs), 5 * outputs).sum().backward()
    >>> outputs.grad
    tensor([5., 5.])
    """
    return hard.detach() + (soft - soft.detach())
