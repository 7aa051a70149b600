"""SDC: codes whose similarities follow a calibrated distribution."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar, Unpack

import torch
from torch import nn

from sdc_search.arrays import as_count
from sdc_search.feature_rows import FeatureRows
from sdc_search.hashers.heads import linear_layer
from sdc_search.hashers.trained import SDC_PAPER, Objective, TrainedHasher, TrainingParameters
from sdc_search.losses import Pairs, SDCLoss
from sdc_search.schedules import half_cosine


class SDC(TrainedHasher):
    """Similarity distribution calibration on features, without labels.

    A small network, Linear–GELU–Linear–BatchNorm, learns to move the similarities of its outputs, in the
    order of the features' cosines, on to a Beta distribution, so that near and far pairs do not collapse onto
    the same few Hamming distances. Bit = 1 iff its output is positive, with the running statistics of the
    BatchNorm. Ng et al., "Unsupervised Hashing with Similarity Distribution Calibration", BMVC 2023; the loss
    is `SDCLoss`.

    Parameters
    ----------
    n_bits, **parameters
        See `TrainedHasher`. The preset ``"author"`` is the repository's: a hidden layer as wide as the
        features, Adam at a constant 1e-4 with weight decay 1e-5; ``"sdc_paper"`` the supplement's: 4,096
        wide, weight decay 5e-4, a tenth of the learning rate after 80 of 100 epochs.
    hidden
        Width of the hidden layer; ``"features"``: as wide as they are.
    alpha, beta, pairs, quantization, temperature
        See `SDCLoss`.
    contrastive
        Weight of the contrastive term between two views; above 0 the features are views ``(n, V, d)``, or get
        augmented. Two views are calibrated within each, negative targets clipped, as released; with
        ``preset="sdc_paper"`` the item itself, which is view 0, is calibrated and two others are contrasted.

    Raises
    ------
    ValueError
        In `fit`: a parameter is out of range, or the training diverged; and what `Hasher.fit` raises.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import SDC
    >>> X = np.random.default_rng(0).standard_normal((100, 16))
    >>> SDC(n_bits=32, max_epochs=2, random_state=0).fit(X).encode(X).shape
    (100, 4)
    """

    _activation = "gelu"
    _presets: ClassVar = {
        None: {
            "hidden": 512,
            "lr": 1e-3,
            "weight_decay": 1e-5,
            "batch_size": 64,
            "max_epochs": 40,
            "schedule": half_cosine,
        },
        "author": {
            "hidden": "features",
            "lr": 1e-4,
            "weight_decay": 1e-5,
            "batch_size": 64,
            "max_epochs": 100,
        },
        "sdc_paper": {**SDC_PAPER, "hidden": 4096},
    }

    def __init__(
        self,
        n_bits: int = 64,
        *,
        hidden: int | str | None = None,
        alpha: float = 5.0,
        beta: float = 5.0,
        pairs: Pairs = "half",
        quantization: float = 1.0,
        contrastive: float = 0.0,
        temperature: float = 0.3,
        **parameters: Unpack[TrainingParameters],
    ) -> None:
        super().__init__(n_bits, **parameters)
        self.hidden = hidden
        self.alpha = alpha
        self.beta = beta
        self.pairs = pairs
        self.quantization = quantization
        self.contrastive = contrastive
        self.temperature = temperature

    @property
    def _fit_shapes(self) -> tuple[str, ...]:
        return ("n, d", "n, V, d") if self.contrastive else ("n, d",)

    def _n_views(self, settings: SimpleNamespace) -> int:
        return 0 if settings.contrastive == 0 else 3 if settings.preset == "sdc_paper" else 2

    def _objective(self, X: FeatureRows, settings: SimpleNamespace, generator: torch.Generator) -> nn.Module:
        width = X.n_features if settings.hidden == "features" else as_count("hidden", settings.hidden)
        n_views = self._n_views(settings)
        loss = SDCLoss(
            self.alpha,
            self.beta,
            self.pairs,
            self.quantization,
            self.contrastive,
            self.temperature,
            clip_negative_targets=n_views == 2,
        )
        encoder = nn.Sequential(
            linear_layer(X.n_features, width, generator),
            nn.GELU(),
            linear_layer(width, self.n_bits, generator),
            nn.BatchNorm1d(self.n_bits),
        )
        if n_views == 0:
            return Objective(encoder, loss)
        return Objective(encoder, lambda x, v: loss(_views_first(x), _views_first(v)))


def _views_first(batch: torch.Tensor) -> torch.Tensor:
    """``(N, V, d)`` as ``(V, N, d)``, an even N, since two views are halved."""
    return batch[: len(batch) // 2 * 2].transpose(0, 1)
