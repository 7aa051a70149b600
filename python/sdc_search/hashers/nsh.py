"""NSH: two views are contrasted in the order into which their codes sort the batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdc_search.arrays import as_count
from sdc_search.feature_rows import FeatureRows
from sdc_search.hashers.binarization import signs
from sdc_search.hashers.heads import linear_layer
from sdc_search.hashers.reduction import ContrastiveHasher
from sdc_search.hashers.trained import SDC_PAPER, TrainingParameters
from sdc_search.schedules import half_cosine


class NSH(ContrastiveHasher):
    """Contrastive learning in the order into which codes sort a batch, see `sorted_nce`.

    Yu et al., "Learning to Hash Naturally Sorts", IJCAI 2022. Linear, beside a linear layer to latent
    vectors that is needed in training alone.

    Parameters
    ----------
    n_bits, **parameters
        See `TrainedHasher`.
    n_positives, temperature, double_softmax
        See `sorted_nce`.
    quantization
        Weight of `quantization_loss`.
    n_components
        See `sdc_search.hashers.reduction.ReducedHasher`.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.hashers import NSH
    >>> X = np.random.default_rng(0).standard_normal((100, 16))
    >>> NSH(n_bits=32, max_epochs=2, random_state=0).fit(X).encode(X).shape
    (100, 4)
    """

    _presets: ClassVar = {
        None: {
            "n_components": 256,
            "center": True,
            "lr": 1e-3,
            "batch_size": 50,
            "max_epochs": 10,
            "schedule": half_cosine,
            "augmentation_strength": 0.3,
        },
        "author": {
            "n_components": "all",
            "lr": 1e-5,
            "weight_decay": 1e-5,
            "batch_size": 50,
            "max_epochs": 200,
        },
        "sdc_paper": {**SDC_PAPER, "n_components": "all"},
    }
    _least_batch = 3

    def __init__(
        self,
        n_bits: int = 64,
        *,
        n_components: int | str | None = None,
        n_positives: int = 2,
        temperature: float = 0.3,
        quantization: float = 1.0,
        double_softmax: bool = False,
        **parameters: Unpack[TrainingParameters],
    ) -> None:
        super().__init__(n_bits, n_components=n_components, **parameters)
        self.n_positives = n_positives
        self.temperature = temperature
        self.quantization = quantization
        self.double_softmax = double_softmax

    def _objective(self, X: FeatureRows, settings: SimpleNamespace, generator: torch.Generator) -> nn.Module:
        if as_count("n_positives", self.n_positives) >= settings.batch_size:
            raise ValueError(
                f"n_positives must be below the batch size {settings.batch_size}, got {self.n_positives}"
            )
        hash_layer = linear_layer(settings.n_inputs, self.n_bits, generator)
        return _NSHObjective(self, hash_layer, linear_layer(settings.n_inputs, 1024, generator))


class _NSHObjective(nn.Module):
    def __init__(self, hasher: NSH, hash_layer: nn.Linear, latent: nn.Linear) -> None:
        super().__init__()
        self.encoder = nn.Sequential(hash_layer, nn.Tanh())
        self.latent = latent
        self.hasher = hasher

    def forward(self, rows: Tensor, inputs: Tensor) -> Tensor:
        first, second = inputs.unbind(dim=1)
        codes = self.encoder(first), self.encoder(second)
        latents = (functional.normalize(self.latent(view)) for view in (first, second))
        contrast = sorted_nce(
            *codes,
            *latents,
            n_positives=min(self.hasher.n_positives, len(first) - 1),  # of few rows, a small batch
            temperature=self.hasher.temperature,
            double_softmax=self.hasher.double_softmax,
        )
        return contrast + self.hasher.quantization * quantization_loss(codes[0])


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
    return (codes - signs(codes)).square().mean()
