"""Networks from features to outputs, and the arrays that they become once trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from sdc_search.feature_rows import Features

ACTIVATIONS: dict[type[nn.Module], str] = {nn.GELU: "gelu", nn.ReLU: "relu"}


def linear_layer(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """Make a layer with PyTorch's default initialisation, drawn from `generator`."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-(n_in**-0.5), n_in**-0.5, generator=generator)
    return layer


def fold(
    encoder: nn.Sequential, mean: npt.NDArray[np.float64] | None, scale: float
) -> dict[str, npt.NDArray[np.float32]]:
    """Turn a trained encoder of ``(x − mean) · scale`` into the arrays of a function of x.

    Parameters
    ----------
    encoder
        Linear layers, at most one GELU or ReLU between two of them, BatchNorms anywhere, in the end a Tanh:
        dropped, since it changes no sign.
    mean, scale
        What was done to the features first.

    Returns
    -------
    ``weight (K, h)`` and ``bias (K,)``, and with a hidden layer ``hidden_weight (h, d)`` and
    ``hidden_bias (h,)``; h = d without.
    """
    folded: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = []
    weight: Any = None
    bias: Any = None
    for layer in encoder:
        if isinstance(layer, nn.Linear):
            w, b = _array(layer.weight), _array(layer.bias)
            weight, bias = (w, b) if weight is None else (w @ weight, w @ bias + b)
        elif isinstance(layer, nn.BatchNorm1d):
            gain = _array(layer.weight) / np.sqrt(_array(layer.running_var) + layer.eps)
            weight = weight * gain[:, None]
            bias = (bias - _array(layer.running_mean)) * gain + _array(layer.bias)
        elif type(layer) in ACTIVATIONS:
            folded.append((weight, bias))
            weight = bias = None
    folded.append((weight, bias))
    first, shift = folded[0]
    first = first * scale
    folded[0] = first, shift if mean is None else shift - first @ mean
    names = (
        (("weight", "bias"),) if len(folded) == 1 else (("hidden_weight", "hidden_bias"), ("weight", "bias"))
    )
    return {
        name: array.astype(np.float32)
        for pair, arrays in zip(names, folded, strict=True)
        for name, array in zip(pair, arrays, strict=True)
    }


def apply(state: Mapping[str, npt.NDArray[Any]], x: Features, activation: str) -> Features:
    """Map rows by the arrays of `fold`, in the dtype of `x`."""
    arrays = {name: array.astype(x.dtype, copy=False) for name, array in state.items()}
    if "hidden_weight" in arrays:
        x = x @ arrays["hidden_weight"].T
        x += arrays["hidden_bias"]
        hidden = torch.from_numpy(x)
        x = (functional.gelu(hidden) if activation == "gelu" else hidden.relu_()).numpy()
    projections: Features = x @ arrays["weight"].T
    projections += arrays["bias"]
    return projections


def _array(tensor: torch.Tensor | None) -> npt.NDArray[np.float64]:
    assert tensor is not None
    return np.asarray(tensor.detach().cpu().double().numpy())
