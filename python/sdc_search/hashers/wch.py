"""WCH: two views are contrasted with weights by which similar items count as positives too."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_CHUNK_VALUES = 1 << 24  # of token cosines held at a time: 64 MB in float32


def mutual_attention(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Rebuild the tokens of two views, ``(N, P, d)`` each, for every token of the other one.

    Weights are the softmax of the tokens' cosines; with one token an item nothing changes.
    """
    cosines = functional.normalize(first, dim=2) @ functional.normalize(second, dim=2).transpose(1, 2)
    return cosines.softmax(dim=1).transpose(1, 2) @ first, cosines.softmax(dim=2) @ second


def token_similarity(first: Tensor, second: Tensor, *, chunk_values: int = _CHUNK_VALUES) -> Tensor:
    """Average over an item's tokens their largest cosine with a token of another item.

    Parameters
    ----------
    first, second
        Tokens, shapes ``(N, P, d)`` and ``(M, P, d)``.
    chunk_values
        How many of the ``N·M·P²`` cosines to hold at a time, at least those of one item of `second`.

    Returns
    -------
    Shape ``(N, M)``.
    """
    n, tokens, d = first.shape
    rows = functional.normalize(first, dim=2).reshape(n * tokens, d)
    items = max(1, chunk_values // (n * tokens * tokens))
    return torch.cat(
        [
            (rows @ chunk.reshape(-1, d).T).view(n, tokens, len(chunk), tokens).amax(dim=3).mean(dim=1)
            for chunk in torch.split(functional.normalize(second, dim=2), items)
        ],
        dim=1,
    )


def pair_weights(first: Tensor, second: Tensor, *, temperature: float = 0.2) -> Tensor:
    """Weigh every pair of items by the softmax of their similarity, relative to an item with itself.

    Parameters
    ----------
    first, second
        Tokens of two views, shape ``(N, P, d)``.
    temperature
        Of the similarity; the lower, the fewer pairs count.

    Returns
    -------
    Shape ``(N, N)``, the diagonal 1. Rows are not normalised, so that an item like many others weighs more.

    Examples
    --------
    >>> import torch
    >>> pair_weights(torch.eye(2)[:, None], torch.eye(2)[:, None])
    tensor([[1.0000, 0.0067],
            [0.0067, 1.0000]])
    """
    similarity = token_similarity(*mutual_attention(first, second))
    return ((similarity - similarity.diagonal()[:, None]) / temperature).exp()


def weighted_nce(first: Tensor, second: Tensor, weights: Tensor, *, temperature: float = 0.3) -> Tensor:
    """InfoNCE from the first view's codes to the second's, with a weight for each pair, ``(N, N)``."""
    logits = first @ second.T / (temperature * first.shape[1])
    return -(weights * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()


def wch_loss(first: Tensor, second: Tensor, weights: Tensor, *, temperature: float = 0.3) -> Tensor:
    """Weighted contrast of two views' codes, with balanced and certain bits of the first.

    Yu et al., "Weighted Contrastive Hashing", ACCV 2022.

    Parameters
    ----------
    first, second
        Outputs of the hash layer before its tanh, shape ``(N, K)``.
    weights
        Of `pair_weights`, shape ``(N, N)``.
    temperature
        Of the codes' inner products divided by K.

    Returns
    -------
    A scalar.
    """
    bits, other = _bits(first), _bits(second)
    balance = bits.mean(dim=0).square().mean()
    # A constant in value; its gradient, which passes to the tanh, drives that away from 0.
    certainty = bits.square().mean()
    return weighted_nce(bits, other, weights, temperature=temperature) + balance - certainty


def _bits(outputs: Tensor) -> Tensor:
    relaxed = outputs.tanh()
    return torch.where(outputs > 0, 1.0, -1.0).to(outputs.dtype) + (relaxed - relaxed.detach())
