"""A fixed first layer that keeps the principal components of the features."""

from __future__ import annotations

import torch
from torch import nn

from sdc_search.arrays import as_count
from sdc_search.feature_rows import FeatureRows
from sdc_search.hashers.itq import principal_components


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
