"""Training behind a fixed first layer that keeps the principal components of the features."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Unpack

import torch
from torch import nn

from sdc_search.arrays import as_count
from sdc_search.feature_rows import FeatureRows
from sdc_search.hashers.itq import principal_components
from sdc_search.hashers.trained import TrainedHasher, TrainingParameters


class ReducedHasher(TrainedHasher):
    """A trained hasher whose network sees principal components of the features.

    Parameters
    ----------
    n_bits, **parameters
        See `TrainedHasher`.
    n_components
        How many, at most ``min(n, d)``; ``"all"``: the features themselves.
    """

    def __init__(
        self, n_bits: int, *, n_components: int | str | None, **parameters: Unpack[TrainingParameters]
    ) -> None:
        super().__init__(n_bits, **parameters)
        self.n_components = n_components

    def _reduction(self, X: FeatureRows, settings: SimpleNamespace) -> nn.Sequential:
        return principal_layer(X, settings.n_components)


class ContrastiveHasher(ReducedHasher):
    """A `ReducedHasher` that learns from two views of each item."""

    @property
    def _fit_shapes(self) -> tuple[str, ...]:
        return "n, d", "n, V, d"

    def _n_views(self, settings: SimpleNamespace) -> int:
        return 2


def principal_layer(X: FeatureRows, n_components: int | str) -> nn.Sequential:
    """Make the layer, none if `n_components` is ``"all"``.

    It is not trained: it makes the layers behind it smaller, and folds into them.
    """
    if n_components == "all":
        return nn.Sequential()
    kept = min(as_count("n_components", n_components), X.n_features, len(X))
    layer = nn.Linear(X.n_features, kept, bias=True, device="meta").to_empty(device="cpu")
    components = principal_components(X, X.mean(), kept)
    with torch.no_grad():
        # Inputs have mean square 1; so have the outputs then, where few components hold most of it.
        layer.weight.copy_(torch.from_numpy((kept / X.n_features) ** 0.5 * components.T.copy()))
        layer.bias.zero_()
    return nn.Sequential(layer.requires_grad_(False))
