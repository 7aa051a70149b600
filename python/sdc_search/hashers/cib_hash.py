"""CIBHash: two views of an item get codes that agree with each other and with no other item's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdc_search.arrays import as_count
from sdc_search.feature_rows import FeatureRows
from sdc_search.hashers.binarization import signs, straight_through
from sdc_search.hashers.heads import linear_layer
from sdc_search.hashers.reduction import ContrastiveHasher
from sdc_search.hashers.trained import SDC_PAPER, Objective, TrainingParameters
from sdc_search.losses import nt_xent
from sdc_search.schedules import half_cosine


class CIBHash(ContrastiveHasher):
    """Contrastive learning of codes of two views, see `cib_loss`.

    Qiu et al., "Unsupervised Hashing with Contrastive Information Bottleneck", IJCAI 2021.

    Parameters
    ----------
    n_bits, **parameters
        See `TrainedHasher`.
    hidden
        Width of the hidden layer.
    temperature, kl_weight
        See `cib_loss`.
    n_components
        See `sdc_search.hashers.reduction.ReducedHasher`.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.hashers import CIBHash
    >>> X = np.random.default_rng(0).standard_normal((100, 16))
    >>> CIBHash(n_bits=32, max_epochs=2, random_state=0).fit(X).encode(X).shape
    (100, 4)
    """

    _activation = "relu"
    _presets: ClassVar = {
        None: {
            "hidden": 512,
            "n_components": 256,
            "center": True,
            "lr": 1e-3,
            "batch_size": 64,
            "max_epochs": 20,
            "schedule": half_cosine,
            "augmentation_strength": 0.3,
        },
        "author": {
            "hidden": 1024,
            "n_components": "all",
            "lr": 1e-3,
            "batch_size": 64,
            "max_epochs": 60,
            "feature_dropout": 0.5,
        },
        "sdc_paper": {**SDC_PAPER, "hidden": 1024, "n_components": "all"},
    }

    def __init__(
        self,
        n_bits: int = 64,
        *,
        hidden: int | None = None,
        n_components: int | str | None = None,
        temperature: float = 0.3,
        kl_weight: float = 0.001,
        **parameters: Unpack[TrainingParameters],
    ) -> None:
        super().__init__(n_bits, n_components=n_components, **parameters)
        self.hidden = hidden
        self.temperature = temperature
        self.kl_weight = kl_weight

    def _objective(self, X: FeatureRows, settings: SimpleNamespace, generator: torch.Generator) -> nn.Module:
        hidden = as_count("hidden", settings.hidden)
        first = linear_layer(settings.n_inputs, hidden, generator)
        last = linear_layer(hidden, self.n_bits, generator)
        return Objective(
            nn.Sequential(first, nn.ReLU(), last),
            lambda x, h: cib_loss(h[:, 0], h[:, 1], temperature=self.temperature, kl_weight=self.kl_weight),
        )


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
    codes, other = (straight_through(signs(logits), logits.sigmoid()) for logits in (first, second))
    contrast = nt_xent(codes, other, temperature)
    divergence = bernoulli_kl(first, second.detach()) + bernoulli_kl(second, first.detach())
    return contrast + kl_weight / 2 * divergence
