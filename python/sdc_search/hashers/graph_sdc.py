"""GraphSDC: codes whose similarities follow a walk over the graph of nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, Unpack

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import eigh
from scipy.stats import beta as beta_distribution
from torch import Tensor, nn
from torch.nn import functional

from sdc_search.arrays import as_count
from sdc_search.feature_rows import FeatureRows, Features
from sdc_search.graph import diffusion, most_similar, nearest_neighbours, neighbour_graph, truncated_ranks
from sdc_search.hashers.base import State
from sdc_search.hashers.heads import apply, linear_layer
from sdc_search.hashers.itq import ITQ
from sdc_search.hashers.trained import TrainedHasher, TrainingParameters
from sdc_search.schedules import half_cosine, warm_up
from sdc_search.training import Inputs

_TEACHER_ROWS = 8000  # more are sampled: similarities of all pairs of them lie in memory
_EDGE_POWER = 3.0
_LARGE = 2000  # rows; fewer leave graphs of mutual neighbours too sparse, and many components too noisy

Array = npt.NDArray[np.float32]


class GraphSDC(TrainedHasher):
    """SDC with a diffusion on the neighbour graph as its teacher, from ITQ's rotation on.

    SDC asks a teacher only for the order of similarities. Here it is not the features' cosine but how easily
    a walk over the graph of nearest neighbours gets from one item to the other. It is diffused twice: the
    second graph joins what the first walk found alike. Only the largest similarities of each item keep their
    order, all others share one target. A linear map, which starts as ITQ, and beside it a small network learn
    codes whose cosines are those ranks' quantiles of a Beta distribution.

    Parameters
    ----------
    n_bits, random_state, verbose
        See `Hasher`.
    parameters
        Those of `TrainedHasher`, which has no other preset here than None. ``max_epochs`` of None: as many as
        make 3,120 steps. The training sees principal components, so that ``feature_dropout`` is refused.
    n_neighbours
        Of an item in the first graph; in the second a hundredth of the items, within 10 and 50. From 2,000
        items on, the graphs keep only edges that both ends chose.
    alpha
        Probability that the walk goes on.
    keep
        Share of the items whose order counts, for each item.
    beta
        Both parameters of the Beta distribution: the larger, the nearer to 0 most similarities.
    mixing
        Up to this share an item is mixed with one of its neighbours in training.
    n_components
        Principal components that go in; None: 256, or for fewer than 2,000 items the larger of 64 and
        `n_bits`; always at most ``min(n, d)``.
    hidden
        Width of the hidden layer.
    quantization
        Weight of the mean of ``1 − cos(v, sign v)``.

    Raises
    ------
    ValueError
        In `fit`: a parameter is out of range, or the training diverged; and what `Hasher.fit` raises.

    Notes
    -----
    Above 8,000 items the graph joins all of them, but the similarities are computed among, and the training
    runs on, 8,000 drawn at random; the first walk then ends after five steps, see
    `sdc_search.graph.diffusion`. Training is in float32 whatever the features are.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import GraphSDC
    >>> X = np.random.default_rng(0).standard_normal((100, 16))
    >>> GraphSDC(n_bits=32, max_epochs=2, random_state=0).fit(X).encode(X).shape
    (100, 4)
    """

    _presets: ClassVar = {
        None: {
            "lr": 1e-3,
            "weight_decay": 5e-4,
            "batch_size": 64,
            "max_steps": 3120,
            "schedule": warm_up(half_cosine, 100),
        }
    }

    def __init__(
        self,
        n_bits: int = 64,
        *,
        n_neighbours: int = 10,
        alpha: float = 0.99,
        keep: float = 0.16,
        beta: float = 5.0,
        mixing: float = 0.5,
        n_components: int | None = None,
        hidden: int = 1024,
        quantization: float = 1.0,
        **parameters: Unpack[TrainingParameters],
    ) -> None:
        super().__init__(n_bits, **parameters)
        self.n_neighbours = n_neighbours
        self.alpha = alpha
        self.keep = keep
        self.beta = beta
        self.mixing = mixing
        self.n_components = n_components
        self.hidden = hidden
        self.quantization = quantization

    def _objective(self, X: FeatureRows, settings: SimpleNamespace, generator: torch.Generator) -> nn.Module:
        n, d = X.shape
        n_neighbours = min(as_count("n_neighbours", self.n_neighbours), n - 1)
        hidden = as_count("hidden", self.hidden)
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1, got {self.keep}")
        if not 0 <= self.mixing <= 1:
            raise ValueError(f"mixing must be from 0 to 1, got {self.mixing}")
        if not 0 < self.beta < math.inf:
            raise ValueError(f"beta must be positive and finite, got {self.beta}")
        if not 0 <= self.quantization < math.inf:
            raise ValueError(f"quantization must be non-negative and finite, got {self.quantization}")
        if settings.feature_dropout:
            raise ValueError(f"feature_dropout is not for GraphSDC, got {settings.feature_dropout}")
        if self.n_components is None:
            n_components = 256 if n >= _LARGE else max(64, self.n_bits)
        else:
            n_components = as_count("n_components", self.n_components)

        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        mean = X.mean()
        rows = np.concatenate([_centred(block.astype(np.float32, copy=False), mean) for block in X.blocks()])
        basis = _scaled_basis(rows, min(n_components, n, d))
        ids, similarities = nearest_neighbours(rows, n_neighbours)
        inputs = rows @ basis
        del rows
        sample = np.arange(n)
        if n > _TEACHER_ROWS:
            sample = np.sort(rng.choice(n, _TEACHER_ROWS, replace=False))
        graph = neighbour_graph(ids, similarities, power=_EDGE_POWER, mutual=n >= _LARGE)
        teacher = diffusion(graph, sample, alpha=self.alpha)
        second = min(len(sample) - 1, int(np.clip(len(sample) // 100, 10, 50)))
        graph = neighbour_graph(*most_similar(teacher, second), mutual=n >= _LARGE)
        teacher = diffusion(graph, np.arange(len(sample)), alpha=self.alpha)
        ranks = truncated_ranks(teacher, max(2, round(self.keep * len(sample))))
        del teacher

        skip, skip_bias = _itq_start(inputs, self.n_bits, rng)
        head = _Head(inputs.shape[1], hidden, self.n_bits, generator)
        with torch.no_grad():
            head.skip.weight.copy_(torch.from_numpy(skip))
            head.skip.bias.copy_(torch.from_numpy(skip_bias))
        return _Distilled(
            {"mean": mean.astype(np.float32), "basis": basis},
            head,
            torch.from_numpy(inputs),
            torch.from_numpy(ids),
            torch.from_numpy(sample),
            torch.from_numpy(_quantiles(ranks, self.beta)),
            self.mixing,
            self.quantization,
            generator,
        )

    def _scale(self, X: FeatureRows, mean: object) -> float:
        return 1.0  # that of `basis` does it

    def _batches(self, objective: nn.Module, *_: Any) -> tuple[Inputs, int]:
        assert isinstance(objective, _Distilled)
        return objective.mixed, len(objective.sample)

    def _arrays(self, objective: nn.Module, mean: object, settings: object) -> State:
        assert isinstance(objective, _Distilled)
        return {**objective.input_arrays, **objective.head.folded()}

    def _apply(self, state: State, X: Features) -> Features:
        arrays = {name: array.astype(X.dtype, copy=False) for name, array in state.items()}
        x = _centred(X, arrays["mean"]) @ arrays["basis"]
        projections: Features = apply(arrays, x, "gelu")
        projections += x @ arrays["skip_weight"].T
        return projections

    def _shapes(self) -> Mapping[str, tuple[int | str, ...]]:
        return {
            "mean": ("n_features",),
            "basis": ("n_features", "n_components"),
            "hidden_weight": (self.hidden, "n_components"),
            "hidden_bias": (self.hidden,),
            "skip_weight": (self.n_bits, "n_components"),
            "weight": (self.n_bits, self.hidden),
            "bias": (self.n_bits,),
        }


class _Head(nn.Module):
    """A linear map and beside it a network of one hidden layer, normalised together."""

    def __init__(self, n_in: int, hidden: int, n_bits: int, generator: torch.Generator) -> None:
        super().__init__()
        self.skip = linear_layer(n_in, n_bits, generator)
        self.first = linear_layer(n_in, hidden, generator)
        self.last = linear_layer(hidden, n_bits, generator)
        nn.init.zeros_(self.last.bias)
        self.norm = nn.BatchNorm1d(n_bits)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.norm(self.skip(x) + self.last(functional.gelu(self.first(x))))
        return outputs

    def folded(self) -> dict[str, Array]:
        """Give the weights with the BatchNorm folded into the last ones."""
        weights = {name: value.detach().cpu().double().numpy() for name, value in self.state_dict().items()}
        gain = weights["norm.weight"] / np.sqrt(weights["norm.running_var"] + self.norm.eps)
        bias = weights["skip.bias"] + weights["last.bias"] - weights["norm.running_mean"]
        folded = {
            "hidden_weight": weights["first.weight"],
            "hidden_bias": weights["first.bias"],
            "skip_weight": weights["skip.weight"] * gain[:, None],
            "weight": weights["last.weight"] * gain[:, None],
            "bias": bias * gain + weights["norm.bias"],
        }
        return {name: value.astype(np.float32) for name, value in folded.items()}


class _Distilled(nn.Module):
    """The loss of the head on sampled items, each mixed with a random one of its neighbours."""

    x: Tensor
    neighbours: Tensor
    sample: Tensor
    targets: Tensor

    def __init__(
        self,
        input_arrays: dict[str, Array],
        head: _Head,
        x: Tensor,
        neighbours: Tensor,
        sample: Tensor,
        targets: Tensor,
        mixing: float,
        quantization: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.input_arrays = input_arrays  # how features became x
        self.head = head
        for name, tensor in (("x", x), ("neighbours", neighbours), ("sample", sample), ("targets", targets)):
            self.register_buffer(name, tensor)
        self.mixing, self.quantization, self.generator = mixing, quantization, generator

    def mixed(self, positions: Tensor) -> Tensor:
        """Gather sampled items by their positions and mix them."""
        rows = self.sample[positions.to(self.sample.device)]
        which = torch.randint(self.neighbours.shape[1], rows.shape, generator=self.generator).to(rows.device)
        share = self.mixing * torch.rand(len(rows), 1, generator=self.generator).to(rows.device)
        return torch.lerp(self.x[rows], self.x[self.neighbours[rows, which]], share)

    def forward(self, positions: Tensor, inputs: Tensor) -> Tensor:
        """Return the loss of a batch."""
        positions = positions.to(self.targets.device)
        rows = self.targets.index_select(0, positions)  # whole rows first: fewer misses of the cache
        return _loss(self.head(inputs), rows.index_select(1, positions), self.quantization)


def _loss(outputs: Tensor, targets: Tensor, quantization: float) -> Tensor:
    """Mean over the pairs of ``|cos − target|``, and over the items of ``1 − cos(v, sign v)`` by weight."""
    n, n_bits = outputs.shape
    unit = functional.normalize(outputs, dim=1)
    errors = (unit @ unit.T - targets).abs()
    calibration = (errors.sum() - errors.diagonal().sum()) / (n * (n - 1))
    loss: Tensor = calibration + quantization * (1 - unit.abs().sum(dim=1).mean() / n_bits**0.5)
    return loss


def _centred(X: Features, mean: npt.NDArray[np.floating]) -> Features:
    """Subtract the mean and scale the rows to norm 1; a row equal to the mean stays 0."""
    centred = X - mean.astype(X.dtype)
    norms = np.sqrt(np.einsum("ij,ij->i", centred, centred))
    centred *= np.divide(1, norms, out=norms, where=norms > 0)[:, None]
    return centred


def _scaled_basis(rows: Array, n_components: int) -> Array:
    """Find the principal components, shape ``(d, n_components)``, whose projections have mean square 1."""
    d = rows.shape[1]
    values, vectors = eigh((rows.T @ rows).astype(np.float64), subset_by_index=(d - n_components, d - 1))
    scale = math.sqrt(len(rows) * n_components / values.sum())
    basis: Array = np.ascontiguousarray(vectors[:, ::-1] * scale, dtype=np.float32)
    return basis


def _itq_start(inputs: Array, n_bits: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Weight ``(n_bits, p)`` and bias of ITQ, projections of mean standard deviation 1.

    Bits beyond what ITQ can give are random directions.
    """
    n_itq = min(n_bits, *inputs.shape)
    itq = ITQ(n_itq, random_state=int(rng.integers(2**31))).fit(inputs)
    mean, weight = itq.state_["mean"], itq.state_["weight"]
    extra = rng.standard_normal((inputs.shape[1], n_bits - n_itq)) / math.sqrt(inputs.shape[1])
    weight = np.concatenate([weight, extra], axis=1)
    weight = weight / ((inputs - mean) @ weight).std(axis=0).mean()
    return weight.T.astype(np.float32), (-mean @ weight).astype(np.float32)


def _quantiles(ranks: Array, beta: float) -> Array:
    """Replace ranks within (0, 1) by the quantiles of a symmetric Beta distribution on [−1, 1], in place."""
    grid = np.linspace(0, 1, 20_001)
    table = 2 * beta_distribution.ppf(grid, beta, beta) - 1
    for row in ranks:
        row[:] = np.interp(row, grid, table)
    return ranks
