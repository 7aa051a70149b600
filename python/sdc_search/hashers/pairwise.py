"""What hashers share that learn from the similarities of features: the head, and the teacher's origin."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Literal, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from sdc_search.arrays import as_count
from sdc_search.feature_rows import FeatureRows, Features
from sdc_search.hashers.heads import linear_layer
from sdc_search.hashers.trained import Objective, TrainedHasher, TrainingParameters

PairLoss = Callable[[Tensor, Tensor], Tensor]


class PairwiseHasher(TrainedHasher):
    """A hasher that learns from cosines of features, the teacher's, in batches.

    A method is a subclass with its presets, which hold ``hidden``, ``batch_norm`` and ``teacher``, and
    `_pair_loss`.

    Parameters
    ----------
    n_bits, **parameters
        See `TrainedHasher`.
    hidden
        Width of a hidden layer with GELU; 0: none.
    teacher
        Which features' cosines are copied: ``"raw"``, those as given; ``"centered"``, those minus their mean,
        whose cosines spread over negative values too.
    """

    _activation = "gelu"

    def __init__(
        self,
        n_bits: int = 64,
        *,
        hidden: int | None = None,
        teacher: Literal["raw", "centered"] | None = None,
        **parameters: Unpack[TrainingParameters],
    ) -> None:
        super().__init__(n_bits, **parameters)
        self.hidden = hidden
        self.teacher = teacher

    @abstractmethod
    def _pair_loss(self, X: FeatureRows, origin: Features, rng: np.random.Generator) -> PairLoss:
        """Return ``loss(teacher, outputs)``; the teacher's features are `X` minus `origin`."""

    def _settings(self) -> SimpleNamespace:
        settings = super()._settings()
        as_count("hidden", settings.hidden, minimum=0)
        if settings.teacher not in ("raw", "centered"):
            raise ValueError(f"teacher must be 'raw' or 'centered', got {settings.teacher!r}")
        return settings

    def _objective(self, X: FeatureRows, settings: SimpleNamespace, generator: torch.Generator) -> nn.Module:
        widths = [X.n_features, *([settings.hidden] if settings.hidden else []), self.n_bits]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [linear_layer(n_in, n_out, generator), nn.GELU()]
        layers.pop()
        if settings.batch_norm:
            layers.append(nn.BatchNorm1d(self.n_bits))
        mean, nowhere = X.mean(), np.zeros(X.n_features)
        origin = mean if settings.teacher == "centered" else nowhere
        shift = ((mean if settings.center else nowhere) - origin) * settings.scale
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        loss = _Taught(self._pair_loss(X, origin, rng), torch.from_numpy(shift).float())
        return Objective(nn.Sequential(*layers), loss)

    def _has_hidden_layer(self) -> bool:
        return bool(self._settings().hidden)


class _Taught(nn.Module):
    """A loss whose teacher are the inputs, moved; a module so that the shift is on their device."""

    shift: Tensor

    def __init__(self, loss: PairLoss, shift: Tensor) -> None:
        super().__init__()
        self.loss = loss
        self.register_buffer("shift", shift)

    def forward(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Return the loss of a batch."""
        return self.loss(inputs + self.shift, outputs)
