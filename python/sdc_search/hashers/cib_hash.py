"""CIBHash: two views of an item get codes that agree with each other and with no other item's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sdc_search.losses import nt_xent


def bits_with_gradient(logits: Tensor) -> Tensor:
    """Return ±1, +1 where `logits` are positive, with the gradient of ``σ(logits)``."""
    probability = logits.sigmoid()
    bits = torch.where(logits > 0, 1.0, -1.0).to(logits.dtype)
    return bits + (probability - probability.detach())


def bernoulli_kl(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Divergence ``KL(σ(logits) ‖ σ(target_logits))``, summed over the bits, averaged over the batch.

    Computed from logits: probabilities of 0 and 1 in float32 would need an offset inside the logarithm.

    Examples
    --------
    >>> import torch
    >>> bernoulli_kl(torch.zeros(3, 8), torch.zeros(3, 8))
    tensor(0.)
    """
    one = functional.logsigmoid(logits) - functional.logsigmoid(target_logits)
    zero = functional.logsigmoid(-logits) - functional.logsigmoid(-target_logits)
    return (logits.sigmoid() * one + (-logits).sigmoid() * zero).sum(dim=1).mean()


def cib_loss(first: Tensor, second: Tensor, *, temperature: float = 0.3, kl_weight: float = 0.001) -> Tensor:
    """Contrast the codes of two views, and keep the views' bit probabilities close.

    Qiu et al., "Unsupervised Hashing with Contrastive Information Bottleneck", IJCAI 2021. The codes are
    deterministic, as in the released code; the paper samples them.

    Parameters
    ----------
    first, second
        Logits of the views' bits, shape ``(N, K)`` each, row by row of the same items; N at least 2.
    temperature
        Of the codes' cosines.
    kl_weight
        Of the symmetrised divergence, in which each view in turn is the fixed target.

    Returns
    -------
    A scalar.

    Examples
    --------
    >>> import torch
    >>> cib_loss(torch.ones(4, 8), torch.ones(4, 8))  # equal codes: log(2N - 1)
    tensor(1.9459)
    """
    contrast = nt_xent(bits_with_gradient(first), bits_with_gradient(second), temperature)
    divergence = bernoulli_kl(first, second.detach()) + bernoulli_kl(second, first.detach())
    return contrast + kl_weight / 2 * divergence
