"""What all hashers trained by gradient share: parameters, presets, views, the way from network to state."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, TypeAlias, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sdc_search.arrays import as_count
from sdc_search.feature_rows import FeatureRows, Features
from sdc_search.hashers.base import Hasher, State
from sdc_search.hashers.heads import apply, fold
from sdc_search.schedules import constant, step_decay
from sdc_search.training import EpochRecord, Inputs, Plan, train

PresetName: TypeAlias = Literal["author", "sdc_paper"]
Threshold: TypeAlias = Literal["zero", "mean", "median"]
Augmentation: TypeAlias = Literal["dropout", "noise"]
Callback: TypeAlias = Callable[[EpochRecord], object]

# What the SDC paper's supplement claims for all its rows on category sets.
SDC_PAPER: dict[str, Any] = {
    "lr": 1e-4,
    "weight_decay": 5e-4,
    "batch_size": 64,
    "max_epochs": 100,
    "schedule": step_decay([80]),
}

_DEFAULTS: dict[str, Any] = {
    "weight_decay": 0.0,
    "optimizer": "adam",
    "eps": 1e-8,
    "momentum": 0.9,
    "schedule": constant,
    "max_epochs": 1,
    "max_steps": None,
    "center": False,
    "feature_dropout": 0.0,
    "threshold": "zero",
    "augmentation": "dropout",
    "augmentation_strength": 0.1,
}
_THRESHOLD_ROWS = 1 << 16


class TrainingParameters(TypedDict, total=False):
    """The constructor's parameters that all trained hashers have, see `TrainedHasher`."""

    preset: PresetName | None
    lr: float | None
    weight_decay: float | None
    batch_size: int | None
    max_epochs: int | None
    feature_dropout: float | None
    threshold: Threshold | None
    augmentation: Augmentation | None
    augmentation_strength: float | None
    random_state: int | None
    verbose: bool
    callbacks: Sequence[Callback] | None
    device: str
    autocast: bool
    compile: bool


class Objective(nn.Module):
    """What is trained: the encoder, and a loss of its inputs and outputs.

    Parameters
    ----------
    encoder
        Layers as `sdc_search.hashers.heads.fold` takes them.
    loss
        ``loss(inputs, outputs)``, a scalar. Views ``(N, V, d)`` give outputs ``(N, V, K)``.
    """

    def __init__(self, encoder: nn.Sequential, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = loss

    def forward(self, rows: Tensor, inputs: Tensor) -> Tensor:
        """Return the loss of one batch."""
        outputs: Tensor = self.encoder(inputs.flatten(0, -2)).unflatten(0, inputs.shape[:-1])
        return self.loss(inputs, outputs)


class TrainedHasher(Hasher):
    """A hasher whose network is trained by `sdc_search.training.train`.

    A method is a subclass with its `_presets`, its `_activation` and one hook, `_objective`, which makes the
    module to train. Its constructor takes its own parameters and hands the rest on; help and `get_params`
    show all of them.

    Parameters
    ----------
    n_bits, random_state, verbose
        See `Hasher`.
    preset
        Where parameters that are None take their values: ``"author"``, the published code's;
        ``"sdc_paper"``, those that the SDC paper used for the method; None, what works best on real features.
        A value that is given wins over all of them.
    lr, weight_decay, batch_size, max_epochs
        Of the training, see `sdc_search.training.Plan`.
    feature_dropout
        Probability of zeroing each entry of a batch, of what the network sees and of the features as teacher
        alike, as published code does by leaving its backbone in training mode.
    threshold
        What is subtracted from each output, over the training rows: nothing (``"zero"``), their
        ``"mean"`` or their ``"median"``, which balances the bits.
    augmentation, augmentation_strength
        How a method that needs views makes them of features ``(n, d)``, two at a step: by
        ``"dropout"`` with that probability, or by Gaussian ``"noise"`` of that many standard deviations of
        each feature, after which rows get their norm back. Views of augmented images are better:
        ``(n, V, d)``, of which two are drawn for each item at each step.
    callbacks
        Functions that get the `sdc_search.training.EpochRecord` at each epoch's end, its ``hasher`` filled
        in.
    device
        Where `fit` trains: ``"auto"``, CUDA where there is one; or any name that torch knows. Projecting runs
        on the CPU.
    autocast, compile
        Whether to train in bfloat16 where torch deems it safe, and compiled by torch.

    Notes
    -----
    Features are divided by one scalar, so that their mean square is 1: a learning rate then suits features of
    any scale. Training is in float32 whatever the features are; they are read batch by batch.

    Ctrl-C during the training ends it, and the hasher is fitted with the weights so far:
    ``report_["interrupted"]`` tells, and a `RuntimeWarning`. A second Ctrl-C, or one before the first step,
    raises and leaves the hasher as it was.
    """

    _presets: ClassVar[Mapping[str | None, Mapping[str, Any]]]
    _activation: ClassVar[Literal["gelu", "relu"] | None] = None  # None: no hidden layer
    _least_batch: ClassVar[int] = 2

    def __init__(self, n_bits: int = 64, **parameters: Unpack[TrainingParameters]) -> None:
        self.n_bits = n_bits
        self.preset = parameters.get("preset")
        self.lr = parameters.get("lr")
        self.weight_decay = parameters.get("weight_decay")
        self.batch_size = parameters.get("batch_size")
        self.max_epochs = parameters.get("max_epochs")
        self.feature_dropout = parameters.get("feature_dropout")
        self.threshold = parameters.get("threshold")
        self.augmentation = parameters.get("augmentation")
        self.augmentation_strength = parameters.get("augmentation_strength")
        self.random_state = parameters.get("random_state")
        self.verbose = parameters.get("verbose", True)
        self.callbacks = parameters.get("callbacks")
        self.device = parameters.get("device", "auto")
        self.autocast = parameters.get("autocast", False)
        self.compile = parameters.get("compile", False)
        unknown = parameters.keys() - TrainingParameters.__annotations__.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no parameter {', '.join(sorted(unknown))}")

    def __init_subclass__(cls) -> None:
        own = [p for p in inspect.signature(cls.__init__).parameters.values() if p.kind is not p.VAR_KEYWORD]
        defaults = {"verbose": True, "device": "auto", "autocast": False, "compile": False}
        common = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name))
            for name in TrainingParameters.__annotations__
        ]
        cls.__signature__ = inspect.Signature([*own[1:], *common])  # type: ignore[attr-defined]

    @abstractmethod
    def _objective(self, X: FeatureRows, settings: SimpleNamespace, generator: torch.Generator) -> nn.Module:
        """Make the module to train, on the CPU, every random choice from `generator`.

        ``module(rows, inputs)`` is the loss, ``module.encoder`` what `fold` takes. `X` are the features as
        given, `settings` the parameters after the preset, ``settings.scale`` what inputs are multiplied by,
        ``settings.n_inputs`` how many features they have after `_reduction`.
        """

    def _reduction(self, X: FeatureRows, settings: SimpleNamespace) -> nn.Sequential:
        """Make the linear layer, if any, behind which views are made and training begins; it stays fixed."""
        return nn.Sequential()

    def _scale(self, X: FeatureRows, mean: npt.NDArray[np.float64] | None) -> float:
        """Return what features, minus `mean` where it is given, are multiplied by."""
        return float(1 / np.sqrt(X.mean_square(mean)))

    def _n_views(self, settings: SimpleNamespace) -> int:
        """Return how many views a batch has: 0 for rows ``(N, d)``, 3 with the item itself as view 0."""
        return 0

    def _settings(self) -> SimpleNamespace:
        """Return the preset's values, those of the constructor that are not None in their place."""
        if self.preset not in self._presets:
            known = ", ".join(repr(name) for name in self._presets)
            raise ValueError(f"preset must be one of {known}, got {self.preset!r}")
        given = {name: value for name, value in self.get_params().items() if value is not None}
        if "max_epochs" in given:
            given["max_steps"] = None
        settings = SimpleNamespace(**{**_DEFAULTS, **self._presets[self.preset], **given})
        as_count("batch_size", settings.batch_size, minimum=self._least_batch)
        as_count("max_epochs", settings.max_epochs)
        if not 0 < settings.lr < float("inf"):
            raise ValueError(f"lr must be positive and finite, got {settings.lr}")
        for name in ("weight_decay", "augmentation_strength"):
            if not 0 <= getattr(settings, name) < float("inf"):
                raise ValueError(f"{name} must be non-negative and finite, got {getattr(settings, name)}")
        if not 0 <= settings.feature_dropout < 1:
            raise ValueError(f"feature_dropout must be in [0, 1), got {settings.feature_dropout}")
        if settings.threshold not in ("zero", "mean", "median"):
            raise ValueError(f"threshold must be 'zero', 'mean' or 'median', got {settings.threshold!r}")
        if settings.augmentation not in ("dropout", "noise"):
            raise ValueError(f"augmentation must be 'dropout' or 'noise', got {settings.augmentation!r}")
        if settings.augmentation == "dropout" and settings.augmentation_strength >= 1:
            raise ValueError(
                f"augmentation_strength must be below 1 for dropout, got {settings.augmentation_strength}"
            )
        return settings

    def _fit(self, X: FeatureRows, rng: np.random.Generator, report: dict[str, Any]) -> State:
        settings = self._settings()
        device = _device(self.device)
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        mean = X.mean() if settings.center else None
        settings.scale = self._scale(X, mean)
        settings.first_layer = self._reduction(X, settings)
        settings.n_inputs = settings.first_layer[0].out_features if settings.first_layer else X.n_features
        objective = self._objective(X, settings, generator).to(device)
        inputs, n = self._batches(objective, X, mean, settings, device, generator, report)

        def snapshot() -> TrainedHasher:
            return copy(self)._keep(self._trained_state(objective, X, mean, settings), X.n_features, {})

        training = train(
            objective,
            inputs,
            n,
            Plan(**{name: getattr(settings, name) for name in Plan.__annotations__}),
            generator=generator,
            callbacks=[_Informed(callback, snapshot) for callback in self.callbacks or ()],
            autocast=self.autocast,
            compile=self.compile,
            verbose=self.verbose,
            label=f"{type(self).__name__}, {self.n_bits} bits",
        )
        report |= {
            "epochs": training.epochs,
            "steps": training.steps,
            "loss": training.loss,
            "interrupted": training.interrupted,
        }
        return self._trained_state(objective, X, mean, settings)

    def _trained_state(
        self,
        objective: nn.Module,
        X: FeatureRows,
        mean: npt.NDArray[np.float64] | None,
        settings: SimpleNamespace,
    ) -> State:
        """Return the state by the weights that `objective` has now; it stays as it is."""
        state: State = dict(self._arrays(objective, mean, settings))
        if not all(np.isfinite(array).all() for array in state.values()):
            raise ValueError(f"the training diverged in its last step: try a smaller lr than {settings.lr}")
        if settings.threshold != "zero":
            rows = np.linspace(0, len(X) - 1, min(len(X), _THRESHOLD_ROWS), dtype=np.int64)
            outputs = np.concatenate(
                [self._apply(state, X.vectors(part)) for part in np.array_split(rows, 1 + len(rows) // 1024)]
            )
            center = outputs.mean(axis=0) if settings.threshold == "mean" else np.median(outputs, axis=0)
            state["bias"] = (state["bias"] - center).astype(np.float32)
        return state

    def _batches(
        self,
        objective: nn.Module,
        X: FeatureRows,
        mean: npt.NDArray[np.float64] | None,
        settings: SimpleNamespace,
        device: torch.device,
        generator: torch.Generator,
        report: dict[str, Any],
    ) -> tuple[Inputs, int]:
        """Return what turns the numbers of a batch's rows into its inputs, and how many rows there are."""
        inputs = _Inputs(X, mean, settings, self._n_views(settings), device, generator)
        report["views"] = inputs.views
        return inputs, len(X)

    def _arrays(
        self, objective: nn.Module, mean: npt.NDArray[np.float64] | None, settings: SimpleNamespace
    ) -> State:
        """Return the trained encoder as the state, the last shift as ``"bias"``."""
        assert isinstance(objective.encoder, nn.Sequential)
        encoder = nn.Sequential(*settings.first_layer, *objective.encoder)
        return dict(fold(encoder, mean, settings.scale))

    def _apply(self, state: State, X: Features) -> Features:
        """Map rows by `state`."""
        return apply(state, X, self._activation or "")

    def _project(self, X: Features) -> Features:
        return self._apply(self.state_, X)

    def _has_hidden_layer(self) -> bool:
        return self._activation is not None

    def _shapes(self) -> Mapping[str, tuple[int | str, ...]]:
        if not self._has_hidden_layer():
            return {"weight": (self.n_bits, "n_features"), "bias": (self.n_bits,)}
        return {
            "hidden_weight": ("hidden", "n_features"),
            "hidden_bias": ("hidden",),
            "weight": (self.n_bits, "hidden"),
            "bias": (self.n_bits,),
        }


class _Informed:
    """A callback that also learns how to have a hasher with the weights so far."""

    def __init__(self, callback: Callback, snapshot: Callable[[], Hasher]) -> None:
        self.callback, self.snapshot = callback, snapshot

    def __call__(self, record: EpochRecord) -> None:
        self.callback(replace(record, hasher=self.snapshot))


class _Inputs:
    """Gathers a batch of standardised rows or views on the device, augmented as the settings say."""

    def __init__(
        self,
        X: FeatureRows,
        mean: npt.NDArray[np.float64] | None,
        settings: SimpleNamespace,
        n_views: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> None:
        self.X, self.settings, self.n_views, self.device = X, settings, n_views, device
        self.generator = generator
        self.mean = None if mean is None else torch.from_numpy(mean).float()
        precomputed = len(X.shape) > 2
        self.drawn = n_views > 0 and precomputed
        first = int(n_views == 3)
        if self.drawn and X.shape[1] < n_views:
            raise ValueError(
                f"X must have at least {n_views} views{', the first unaugmented' * first}, got {X.shape[1]}"
            )
        self.views = (
            f"two of {X.shape[1] - first} precomputed"
            if self.drawn
            else f"{settings.augmentation} {settings.augmentation_strength:g}"
            if n_views
            else "none"
        )
        if n_views and not precomputed and settings.augmentation == "noise":
            center = X.mean()
            variance = torch.zeros(settings.n_inputs, dtype=torch.float64)
            for block in X.blocks():
                centred = torch.from_numpy((block - center) * settings.scale).float()
                variance += settings.first_layer(centred).double().square().sum(dim=0)
            self.sigma = (variance / len(X)).sqrt().float()

    def __call__(self, rows: Tensor) -> Tensor:
        if self.drawn:
            first = int(self.n_views == 3)
            order = torch.rand(len(rows), self.X.shape[1] - first, generator=self.generator).argsort(dim=1)
            chosen = order[:, :2] + first
            if first:
                chosen = torch.cat((torch.zeros(len(rows), 1, dtype=torch.int64), chosen), dim=1)
            taken = self.X.take((rows[:, None].numpy(), chosen.numpy()))
        else:
            taken = self.X.vectors(rows.numpy())
        x = torch.from_numpy(taken).float()
        x = self.settings.first_layer((x if self.mean is None else x - self.mean) * self.settings.scale)
        if self.n_views and not self.drawn:
            pair = [self._augmented(x), self._augmented(x)]
            x = torch.stack([x, *pair] if self.n_views == 3 else pair, dim=1)
        return self._dropout(x, self.settings.feature_dropout).to(self.device)

    def _augmented(self, x: Tensor) -> Tensor:
        strength = self.settings.augmentation_strength
        if self.settings.augmentation == "dropout":
            return self._dropout(x, strength)
        noisy = x + strength * self.sigma * torch.randn(x.shape, generator=self.generator)
        gain: Tensor = x.norm(dim=1, keepdim=True) / noisy.norm(dim=1, keepdim=True).clamp_min(1e-12)
        renormalised: Tensor = noisy * gain
        return renormalised

    def _dropout(self, x: Tensor, p: float) -> Tensor:
        if p == 0:
            return x
        kept = torch.rand(x.shape, generator=self.generator) >= p
        return x * kept / (1 - p)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device  # the names of absent devices parse too
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device must be 'auto' or one that torch can use, got {name!r}: {error}") from error
