"""NSH: two views are contrasted in the order into which their codes sort the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_sort(similarity: Tensor, temperature: float) -> Tensor:
    """Relax the permutation that sorts each row in descending order.

    Prillo & Eisenschlos, "SoftSort", ICML 2020. Equal entries share their places equally.

    Parameters
    ----------
    similarity
        Shape ``(N, M)``.
    temperature
        Towards 0 the result becomes the permutation itself.

    Returns
    -------
    Shape ``(N, M, M)``: ``[i, r, j]`` is the share of entry j of row i in its rank r; sums to 1 over j.

    Examples
    --------
    >>> import torch
    >>> soft_sort(torch.tensor([[0.1, 0.9]]), 0.001)
    tensor([[[0., 1.],
             [1., 0.]]])
    """
    ordered = similarity.sort(dim=1, descending=True).values
    return (-(ordered[:, :, None] - similarity[:, None, :]).abs() / temperature).softmax(dim=2)


def sorted_nce(
    first_codes: Tensor,
    second_codes: Tensor,
    first_latents: Tensor,
    second_latents: Tensor,
    *,
    n_positives: int = 2,
    temperature: float = 0.3,
    double_softmax: bool = False,
) -> Tensor:
    """Contrast each item's latent vector with those that its code ranks first against those ranked later.

    Yu et al., "Learning to Hash Naturally Sorts", IJCAI 2022. Memory grows with N³.

    Parameters
    ----------
    first_codes, second_codes
        Relaxed codes of two views in [-1, 1], shape ``(N, K)``; N above `n_positives`.
    first_latents, second_latents
        Unit vectors, shape ``(N, L)``.
    n_positives
        How many first ranks count as positives.
    temperature
        Of the latent cosines.
    double_softmax
        Whether to repeat an error of published code, which hands probabilities to a loss that expects
        logits; they flatten the gradient and keep the loss far from 0.

    Returns
    -------
    A scalar.

    Raises
    ------
    ValueError
        `n_positives` leaves no negatives.
    """
    n, n_bits = first_codes.shape
    if n <= n_positives:
        raise ValueError(f"n_positives must be below the batch size {n}, got {n_positives}")
    permutation = soft_sort(first_codes @ second_codes.T / (2 * n_bits) + 0.5, 1 / n_bits)
    # ⟨Σ_j P[i, r, j] z¹_j, z²_i⟩ needs the latents' cosines alone, not the N² sorted vectors.
    cosines = second_latents @ first_latents.T
    ranked = (permutation @ cosines[:, :, None]).squeeze(2) / temperature
    positives, negatives = ranked[:, :n_positives, None], ranked[:, None, n_positives:]
    logits = torch.cat((positives, negatives.expand(-1, n_positives, -1)), dim=2)
    if double_softmax:
        logits = logits.softmax(dim=2)
    return -functional.log_softmax(logits, dim=2)[:, :, 0].mean()


def quantization_loss(codes: Tensor) -> Tensor:
    """Mean squared distance of relaxed codes from their signs."""
    return (codes - torch.where(codes > 0, 1.0, -1.0)).square().mean()
