"""TBH: an auto-encoder whose binary bottleneck is the graph on which its continuous one is smoothed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdc_search.arrays import as_count
from sdc_search.feature_rows import FeatureRows
from sdc_search.hashers.binarization import straight_through
from sdc_search.hashers.reduction import ReducedHasher
from sdc_search.hashers.trained import SDC_PAPER, TrainingParameters
from sdc_search.schedules import half_cosine


class TBH(ReducedHasher):
    """An auto-encoder with a binary bottleneck beside a continuous one, see `TwinBottleneck`.

    Shen et al., "Auto-Encoding Twin-Bottleneck Hashing", CVPR 2020.

    Parameters
    ----------
    n_bits, **parameters
        See `TrainedHasher`.
    hidden
        Width of the hidden layer.
    width, rectify, squash, stochastic
        See `TwinBottleneck`.
    adversarial
        See `TwinBottleneck.loss`. By default 0: the critics ask the bits of every item to be random, while
        the graph is made of their likeness.
    reduction
        See `TwinBottleneck.loss`.
    n_components
        See `sdc_search.hashers.reduction.ReducedHasher`.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.hashers import TBH
    >>> X = np.random.default_rng(0).standard_normal((100, 16))
    >>> TBH(n_bits=32, max_epochs=2, random_state=0).fit(X).encode(X).shape
    (100, 4)
    """

    _activation = "relu"
    _presets: ClassVar = {
        None: {
            "hidden": 512,
            "n_components": 256,
            "center": True,
            "rectify": False,
            "squash": False,
            "adversarial": 0.0,
            "lr": 1e-3,
            "batch_size": 64,
            "max_epochs": 20,
            "schedule": half_cosine,
        },
        "author": {
            "hidden": 1024,
            "n_components": "all",
            "rectify": True,
            "squash": True,
            "adversarial": 1.0,
            "lr": 1e-4,
            "batch_size": 400,
            "max_steps": 100_000,
        },
        "sdc_paper": {
            **SDC_PAPER,
            "hidden": 1024,
            "n_components": "all",
            "rectify": True,
            "squash": True,
            "adversarial": 1.0,
        },
    }

    def __init__(
        self,
        n_bits: int = 64,
        *,
        hidden: int | None = None,
        n_components: int | str | None = None,
        width: int = 512,
        rectify: bool | None = None,
        squash: bool | None = None,
        stochastic: bool = False,
        adversarial: float | None = None,
        reduction: Literal["sum", "mean"] = "sum",
        **parameters: Unpack[TrainingParameters],
    ) -> None:
        super().__init__(n_bits, n_components=n_components, **parameters)
        self.hidden = hidden
        self.width = width
        self.rectify = rectify
        self.squash = squash
        self.stochastic = stochastic
        self.adversarial = adversarial
        self.reduction = reduction

    def _objective(self, X: FeatureRows, settings: SimpleNamespace, generator: torch.Generator) -> nn.Module:
        twin = TwinBottleneck(
            settings.n_inputs,
            self.n_bits,
            generator,
            hidden=as_count("hidden", settings.hidden),
            width=as_count("width", self.width),
            rectify=settings.rectify,
            squash=settings.squash,
            stochastic=self.stochastic,
        )
        return _TBHObjective(twin, generator, settings)


class _TBHObjective(nn.Module):
    def __init__(self, twin: TwinBottleneck, generator: torch.Generator, settings: SimpleNamespace) -> None:
        super().__init__()
        self.twin = twin
        self.encoder = nn.Sequential(twin.hidden, nn.ReLU(), twin.binary)
        self.settings = settings
        self.generator = generator

    def forward(self, rows: Tensor, inputs: Tensor) -> Tensor:
        return self.twin.loss(
            inputs,
            self.generator,
            adversarial=self.settings.adversarial,
            reduction=self.settings.reduction,
        )


def binarize(logits: Tensor, threshold: Tensor | float = 0.5) -> Tensor:
    """Return 1 where ``σ(logits)`` exceeds the threshold, else 0, with the gradient of ``σ``."""
    probability = logits.sigmoid()
    return straight_through((probability > threshold).to(logits.dtype), probability)


def adjacency(bits: Tensor, exponent: float = 1.4) -> Tensor:
    """Connect the items of a batch by ``(1 − H/K)^exponent``, with the Hamming distance H.

    Parameters
    ----------
    bits
        0 and 1, shape ``(N, K)``.

    Returns
    -------
    Shape ``(N, N)``, symmetric, the diagonal 1, and 0 between complements.

    Examples
    --------
    >>> import torch
    >>> adjacency(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    tensor([[1., 0.],
            [0., 1.]])
    """
    signs = 2 * bits - 1
    agreement = (1 + signs @ signs.T / bits.shape[1]) / 2
    return agreement.clamp(min=0) ** exponent  # half precision may round it below 0


def propagate(weights: Tensor, values: Tensor) -> Tensor:
    """Smooth `values` over a graph: ``D^-½ A D^-½ values``, with the degrees D of the weights A."""
    scale = (weights.sum(dim=1, keepdim=True) + 1e-8).rsqrt()
    return scale * (weights @ (scale * values))


class TwinBottleneck(nn.Module):
    """The auto-encoder and its two critics.

    Shen et al., "Auto-Encoding Twin-Bottleneck Hashing", CVPR 2020. The encoder wants the critics to fail
    and the critics want to succeed; their gradients are those of one loss in which the encoder's is
    reversed, so that one step of one optimiser updates both from the same state.

    Parameters
    ----------
    n_features, n_bits
        Of the input and of the binary bottleneck.
    generator
        Of the CPU; draws the initial weights (Glorot, biases 0).
    hidden, width
        Of the hidden layers, and of the continuous bottleneck.
    rectify
        Whether the reconstruction ends in a ReLU, which cannot fit signed features.
    squash
        Whether the continuous bottleneck goes through a sigmoid before it is smoothed: the released code;
        the paper has none.
    stochastic
        Whether thresholds of training are drawn from [0, 1]: the paper; the released code has one half.
    """

    def __init__(
        self,
        n_features: int,
        n_bits: int,
        generator: torch.Generator,
        *,
        hidden: int = 1024,
        width: int = 512,
        rectify: bool = False,
        squash: bool = True,
        stochastic: bool = False,
    ) -> None:
        super().__init__()
        self.rectify = rectify
        self.squash = squash
        self.stochastic = stochastic

        def linear(n_in: int, n_out: int) -> nn.Linear:
            layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out)  # type: ignore[no-untyped-call]
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
            return layer

        self.hidden = linear(n_features, hidden)
        self.binary = linear(hidden, n_bits)
        self.continuous = linear(hidden, width)
        self.graph = linear(width, width)
        self.decoder = nn.Sequential(linear(width, hidden), nn.ReLU(), linear(hidden, n_features))
        self.binary_critic = linear(n_bits, 1)
        self.continuous_critic = linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the bits, ``(N, n_bits)``."""
        logits: Tensor = self.binary(self.hidden(x).relu())
        return logits

    def loss(
        self,
        x: Tensor,
        generator: torch.Generator,
        *,
        adversarial: float = 1.0,
        reduction: Literal["sum", "mean"] = "sum",
    ) -> Tensor:
        """Compute what one optimiser minimises for encoder, decoder and critics together.

        Parameters
        ----------
        x
            Features, shape ``(N, n_features)``.
        generator
            Of the CPU; draws the priors of the critics.
        adversarial
            Weight of the critics in the encoder's gradient; their own gradient does not depend on it.
        reduction
            Of the squared error of reconstruction, halved: over batch and features.

        Returns
        -------
        A scalar.
        """
        hidden = self.hidden(x).relu()
        logits = self.binary(hidden)
        bits = binarize(logits, _uniform(logits, generator) if self.stochastic else 0.5)
        continuous = self.continuous(hidden)
        if self.squash:
            continuous = continuous.sigmoid()
        smooth = propagate(adjacency(bits), self.graph(continuous)).sigmoid()
        output = self.decoder(smooth)
        error = ((output.relu() if self.rectify else output) - x).square() / 2
        reconstruction = error.sum() if reduction == "sum" else error.mean()
        binary = _critic_loss(self.binary_critic, _uniform(bits, generator).round(), bits, adversarial)
        smoothed = _critic_loss(self.continuous_critic, _uniform(smooth, generator), smooth, adversarial)
        total: Tensor = reconstruction + binary + smoothed
        return total


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator).to(like)


def _critic_loss(critic: nn.Module, prior: Tensor, encoded: Tensor, weight: float) -> Tensor:
    """Cross entropy of telling draws of the prior from what the encoder made."""
    reversed_ = straight_through(encoded, -weight * encoded)  # the encoder wants what the critic does not
    return functional.softplus(-critic(prior)).mean() + functional.softplus(critic(reversed_)).mean()
