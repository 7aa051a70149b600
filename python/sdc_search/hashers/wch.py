"""WCH: two views are contrasted with weights by which similar items count as positives too."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar, Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from sdc_search.arrays import as_count
from sdc_search.feature_rows import FeatureRows, Features
from sdc_search.hashers.base import State
from sdc_search.hashers.binarization import signs, straight_through
from sdc_search.hashers.heads import fold, linear_layer
from sdc_search.hashers.reduction import ContrastiveHasher
from sdc_search.hashers.trained import SDC_PAPER, TrainingParameters
from sdc_search.schedules import half_cosine

_CHUNK_VALUES = 1 << 24  # of token cosines held at a time: 64 MB in float32
_NORM_EPS = 1e-12  # the published 1e-6 suits its backbone's scale; this, features of any scale


class WCH(ContrastiveHasher):
    """Contrastive learning in which similar items attract each other too, see `pair_weights`, `wch_loss`.

    Yu et al., "Weighted Contrastive Hashing", ACCV 2022. `fit` also takes patch tokens ``(n, V, P, d)``; what
    is encoded later is then their mean, ``(n, d)``. The weights follow from the features alone. The preset
    ``"author"`` normalises each mean token by a LayerNorm first, so that ``n_components`` must be ``"all"``.

    Parameters
    ----------
    n_bits, **parameters
        See `TrainedHasher`.
    hidden
        Width of the hidden layer.
    temperature
        See `wch_loss`.
    weight_temperature
        See `pair_weights`.
    n_components
        See `sdc_search.hashers.reduction.ReducedHasher`.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.hashers import WCH
    >>> X = np.random.default_rng(0).standard_normal((100, 16))
    >>> WCH(n_bits=32, max_epochs=2, random_state=0).fit(X).encode(X).shape
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
        },
        "author": {
            "hidden": 1024,
            "n_components": "all",
            "lr": 1e-5,
            "batch_size": 32,
            "max_epochs": 50,
            "schedule": half_cosine,
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
        weight_temperature: float = 0.2,
        **parameters: Unpack[TrainingParameters],
    ) -> None:
        super().__init__(n_bits, n_components=n_components, **parameters)
        self.hidden = hidden
        self.temperature = temperature
        self.weight_temperature = weight_temperature

    @property
    def _fit_shapes(self) -> tuple[str, ...]:
        return "n, d", "n, V, d", "n, V, P, d"

    def _objective(self, X: FeatureRows, settings: SimpleNamespace, generator: torch.Generator) -> nn.Module:
        hidden = as_count("hidden", settings.hidden)
        first = linear_layer(settings.n_inputs, hidden, generator)
        last = linear_layer(hidden, self.n_bits, generator)
        layers = first, nn.ReLU(), last
        if self.preset != "author":
            return _WCHObjective(self, nn.Sequential(*layers))
        if settings.first_layer:
            raise ValueError(f"n_components must be 'all' with the preset 'author', got {self.n_components}")
        for layer in (first, last):
            nn.init.kaiming_uniform_(layer.weight, mode="fan_out", generator=generator)
            nn.init.normal_(layer.bias, generator=generator)
        norm = nn.LayerNorm(settings.n_inputs, eps=_NORM_EPS)
        return _WCHObjective(self, nn.Sequential(norm, *layers))

    def _arrays(
        self, objective: nn.Module, mean: npt.NDArray[np.float64] | None, settings: SimpleNamespace
    ) -> State:
        assert isinstance(objective.encoder, nn.Sequential)
        norm, *layers = objective.encoder
        if not isinstance(norm, nn.LayerNorm):
            return super()._arrays(objective, mean, settings)
        affine = {f"norm_{name}": value.detach().cpu().numpy() for name, value in norm.named_parameters()}
        return {**affine, **fold(nn.Sequential(*layers), None, 1.0)}

    def _apply(self, state: State, X: Features) -> Features:
        if "norm_weight" in state:
            weight, bias = (state[f"norm_{name}"].astype(X.dtype) for name in ("weight", "bias"))
            X = X - X.mean(axis=1, keepdims=True)
            X /= np.sqrt(np.square(X).mean(axis=1, keepdims=True) + X.dtype.type(_NORM_EPS))
            X = X * weight + bias
        return super()._apply(state, X)

    def _shapes(self) -> Mapping[str, tuple[int | str, ...]]:
        norm = {f"norm_{name}": ("n_features",) for name in ("weight", "bias")}
        return {**(norm if self.preset == "author" else {}), **super()._shapes()}


class _WCHObjective(nn.Module):
    def __init__(self, hasher: WCH, encoder: nn.Sequential) -> None:
        super().__init__()
        self.encoder = encoder
        self.hasher = hasher

    def forward(self, rows: Tensor, inputs: Tensor) -> Tensor:
        first, second = (inputs if inputs.ndim == 4 else inputs[:, :, None]).unbind(dim=1)
        weights = pair_weights(first, second, temperature=self.hasher.weight_temperature)
        outputs = self.encoder(first.mean(dim=1)), self.encoder(second.mean(dim=1))
        return wch_loss(*outputs, weights, temperature=self.hasher.temperature)


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
    bits, other = (straight_through(signs(outputs), outputs.tanh()) for outputs in (first, second))
    balance = bits.mean(dim=0).square().mean()
    # A constant in value; its gradient, which passes to the tanh, drives that away from 0.
    certainty = bits.square().mean()
    return weighted_nce(bits, other, weights, temperature=temperature) + balance - certainty
