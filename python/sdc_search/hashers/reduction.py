"""A fixed first layer that keeps the principal components of the features."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from sdc_search.arrays import as_count
from sdc_search.feature_rows import FeatureRows
from sdc_search.hashers.itq import principal_components


def principal_layers(X: FeatureRows, settings: SimpleNamespace) -> tuple[list[nn.Module], int]:
    """Make the layer, none if ``settings.n_components`` is ``"all"``, and the number of its outputs.

    It is not trained: it makes the layers behind it smaller, and folds into them.
    """
    if settings.n_components == "all":
        return [], X.n_features
    n_components = min(as_count("n_components", settings.n_components), X.n_features, len(X))
    layer = nn.Linear(X.n_features, n_components, bias=True, device="meta").to_empty(device="cpu")
    components = principal_components(X, X.mean(), n_components)
    with torch.no_grad():
        # Inputs have mean square 1; so have the outputs then, where few components hold most of it.
        layer.weight.copy_(torch.from_numpy((n_components / X.n_features) ** 0.5 * components.T.copy()))
        layer.bias.zero_()
    return [layer.requires_grad_(False)], n_components
