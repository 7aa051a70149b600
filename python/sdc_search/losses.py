"""Differentiable losses of sorted numbers: the 1-D Wasserstein distance and the calibration loss of SDC.

Ng et al., "Unsupervised Hashing with Similarity Distribution Calibration", BMVC 2023: similarities of codes
are moved, in the order that the features' similarities dictate, on to the quantiles of a calibration
distribution. That is one-dimensional optimal transport with the teacher's order instead of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdc_search import ops
from sdc_search.losses_cuda import device_spline
from sdc_search.quantiles import (
    CACHED_VALUES,
    Distribution,
    beta_quantiles,
    beta_spline,
    beta_table,
    check_beta,
    distribution_quantiles,
    gaussian_quantiles,
    uniform_quantiles,
)

__all__ = [
    "Distribution",
    "Pairs",
    "SDCLoss",
    "beta_quantiles",
    "calibration_loss",
    "distribution_quantiles",
    "gaussian_quantiles",
    "sdc_loss",
    "uniform_quantiles",
    "wasserstein_1d",
]

Pairs: TypeAlias = Literal["half", "all"]
Preset: TypeAlias = Literal["paper", "release", "release_cl"]

_MOST_ROWS = 92_000  # of a batch, so that its pairs can be counted in 32 bits


def wasserstein_1d(
    x: Tensor,
    y: Tensor,
    p: float = 1,
    x_weights: Tensor | None = None,
    y_weights: Tensor | None = None,
    *,
    root: bool = False,
    reduction: Literal["none", "mean", "sum"] = "none",
) -> Tensor:
    """Wasserstein distance between samples of numbers, row by row: ``∫₀¹ |F⁻¹(u) − G⁻¹(u)|^p du``.

    Parameters
    ----------
    x, y
        Floating point, shapes ``(..., n)`` and ``(..., m)`` with the same leading dimensions. Gradients flow
        to both. Half precision is computed and returned as float32; of float32 and float64, float64 wins.
    p
        The power of the cost, finite and at least 1.
    x_weights, y_weights
        Weights of the sample, ``(n,)`` and ``(m,)`` or the shapes of `x` and `y`: non-negative, normalised to
        sum 1. None: equal weights. Constants: no gradient flows to them.
    root
        Return W_p itself, the p-th root, instead of W_p^p; its gradient where it is 0 is 0.
    reduction
        What to do with the rows: nothing, their mean or their sum.

    Returns
    -------
    Shape ``(...)`` for ``"none"``, else a scalar. As in POT's ``wasserstein_1d``, which returns W_p^p.

    Raises
    ------
    TypeError
        `x` or `y` is not floating point.
    ValueError
        The shapes do not fit each other, a sample is empty, weights are negative or all zero or require a
        gradient, `p` is out of range, the tensors lie on different devices or on one that is neither the CPU
        nor a CUDA device, or `reduction` is unknown.
    RuntimeError
        The tensors lie on a CUDA device, and the build has no kernels for it.

    Notes
    -----
    For p = 1 the gradient is a subgradient, 0 where the two quantiles are equal. NaN in a row makes the row
    NaN. An infinite number is infinitely far from every finite one; two infinities are NaN apart. Samples of
    different sizes are merged in integers, so that long rows do not drift. It can be differentiated once.
    Weights on a CUDA device are not checked, since that would wait for it: wrong ones make their row NaN.

    Examples
    --------
    >>> import torch
    >>> from sdc_search import wasserstein_1d
    >>> wasserstein_1d(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0, 2.0]))
    tensor(1.5000)
    """
    _check_real("x", x)
    _check_real("y", y)
    if x.ndim == 0 or y.ndim == 0 or x.shape[:-1] != y.shape[:-1] or 0 in (x.shape[-1], y.shape[-1]):
        raise ValueError(
            "x and y must have shapes (..., n) and (..., m) with the same leading dimensions and n, m"
            f" at least 1, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    _check_power(p)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    _check_devices(x=x, y=y, x_weights=x_weights, y_weights=y_weights)
    if x.device.type not in ("cpu", "cuda", "meta"):
        raise ValueError(
            "wasserstein_1d runs on the CPU and on CUDA devices,"
            f" got tensors on {x.device}: pass x.cpu() and y.cpu()"
        )
    real = torch.float64 if torch.float64 in (x.dtype, y.dtype) else torch.float32
    losses = ops.wasserstein_1d(
        x.to(real),
        y.to(real),
        _weights("x_weights", x_weights, x, real),
        _weights("y_weights", y_weights, y, real),
        float(p),
        root,
    )
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def calibration_loss(
    code_similarity: Tensor, feature_similarity: Tensor, quantiles: Tensor, p: float = 1
) -> Tensor:
    """Mean cost of moving code similarities to the quantiles that their features' ranks ask for.

    With π the ascending order of the feature similarities t (equal ones in the order they come), the loss of
    a row is ``(1/n) Σ_j |s_{π(j)} − C_j|^p``: the SDC loss of the paper for p = 1.

    Parameters
    ----------
    code_similarity
        s, floating point, shape ``(..., n)``: the gradient flows here.
    feature_similarity
        t, shape ``(..., n)``. Only its order counts, so no gradient flows to it, whether it asks for one or
        not.
    quantiles
        C, finite and ascending, shape ``(n,)`` or ``(..., n)``, such as `beta_quantiles` gives; rounded to
        the dtype of the similarities.
    p
        The power of the cost, finite and at least 1.

    Returns
    -------
    The mean over everything, a scalar; half precision is computed and returned as float32.

    Raises
    ------
    TypeError
        `code_similarity` or `quantiles` is not floating point.
    ValueError
        The shapes do not fit each other, there is no similarity at all, the quantiles are not ascending, `p`
        is out of range, or the tensors lie on different devices.

    Notes
    -----
    For p = 1 the gradient is a subgradient: its entries are ±1/N, and 0 where s = C. NaN in s or t makes the
    loss NaN, and the gradient of its row. Infinite t are ordered like any number; an infinite s makes the
    loss infinite. It can be differentiated once. From 140,000 float32 similarities on, no sort is needed: see
    ``csrc/wasserstein.h``. The method does not change the gradient, and the loss by less than 1e-6 of it.
    On a CUDA device, where a check would wait for it, quantiles that are not ascending make their row NaN.

    Examples
    --------
    >>> import torch
    >>> from sdc_search.losses import beta_quantiles, calibration_loss
    >>> calibration_loss(torch.tensor([0.2, -0.2]), torch.tensor([0.9, 0.8]), beta_quantiles(2))
    tensor(0.0161)
    """
    code = _real("code_similarity", code_similarity)
    targets = _real("quantiles", quantiles)
    shape = code.shape
    if shape != feature_similarity.shape or len(shape) == 0 or 0 in shape:
        raise ValueError(
            "code_similarity and feature_similarity must have one shape (..., n) that is not empty, got"
            f" {tuple(shape)} and {tuple(feature_similarity.shape)}"
        )
    table = quantiles.shape
    if table != shape and table != shape[-1:]:
        raise ValueError(
            f"quantiles must have shape {tuple(shape[-1:])} or that of the similarities, got {tuple(table)}"
        )
    if p != 1:
        _check_power(p)
    if not code_similarity.device == feature_similarity.device == quantiles.device:
        _check_devices(
            code_similarity=code_similarity, feature_similarity=feature_similarity, quantiles=quantiles
        )
    return ops.calibration_loss(code, _at_least_float32(feature_similarity), targets, float(p))


class SDCLoss(nn.Module):
    """The whole loss of SDC: calibrated pair similarities, quantisation, and a contrastive term for views.

    ``calibration_loss(cos(v_i, v_j), cos(x_i, x_j), C) + quantization · mean(1 − cos(v_i, sign v_i))``, with
    v the outputs before the sign, x the features, C the quantiles, and sign v = 1 iff v > 0.

    Parameters
    ----------
    alpha, beta
        The calibration distribution, see `beta_quantiles`.
    pairs
        ``"half"``: the N/2 pairs (i, i + N/2), as published, so shuffle the batch; an odd N drops its last
        row from the pairs. ``"all"``: the N(N − 1)/2 pairs i < j, which float32 need not store (see
        Notes).
    quantization
        Weight of the quantisation term.
    contrastive
        Weight of the contrastive term, NT-Xent between two views of the outputs; it applies where views are
        given.
    temperature
        Of the contrastive term.
    clip_negative_targets
        Replace C by max(C, 0).
    distribution
        In place of the Beta distribution, see `distribution_quantiles`.

    Raises
    ------
    TypeError, ValueError
        `pairs` is neither of the two, a weight is negative, or another parameter is out of range.

    Notes
    -----
    Views (V, N, d) and (V, N, K) with V = 2: half pairs are taken inside each view and calibrated together;
    the contrastive term compares the two. V = 3: view 0, unaugmented, alone is calibrated and quantised;
    views 1 and 2 are contrasted. This is how the release and the paper differ. Other V are an error.

    A row whose norm is below 1e-12 has cosine 0 with every other one, and no gradient flows to it.

    With ``pairs="all"``, float32 outputs on the CPU and a Beta distribution, tiles of similarities pass
    through the cache: a batch of 4,096 takes less than 64 MB. On a CUDA device they are not stored either for
    more than 4,096 rows, and the loss then waits for the device once. Everything else, a `teacher_similarity`
    too, is computed on the N(N − 1)/2 similarities as they are.

    Examples
    --------
    >>> import torch
    >>> from sdc_search import SDCLoss
    >>> features, outputs = torch.eye(4), torch.eye(4, requires_grad=True)
    >>> loss = SDCLoss()(features, outputs)
    >>> loss.backward()
    """

    def __init__(
        self,
        alpha: float = 5.0,
        beta: float = 5.0,
        pairs: Pairs = "half",
        quantization: float = 1.0,
        contrastive: float = 0.0,
        temperature: float = 0.3,
        clip_negative_targets: bool = False,
        *,
        distribution: Distribution | None = None,
    ) -> None:
        super().__init__()
        check_beta(alpha, beta)
        if pairs not in ("half", "all"):
            raise ValueError(f"pairs must be 'half' or 'all', got {pairs!r}")
        for name, value in (("quantization", quantization), ("contrastive", contrastive)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be non-negative and finite, got {value}")
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, got {temperature}")
        if distribution is not None:
            distribution_quantiles(1, distribution)  # checks it
        self.alpha = alpha
        self.beta = beta
        self.pairs = pairs
        self.quantization = quantization
        self.contrastive = contrastive
        self.temperature = temperature
        self.clip_negative_targets = clip_negative_targets
        self.distribution = distribution
        self._table: tuple[int, Tensor] | None = None
        self._device_table: tuple[tuple[Any, ...], Tensor] | None = None

    @classmethod
    def preset(cls, name: Preset) -> SDCLoss:
        """Make a published configuration.

        Parameters
        ----------
        name
            ``"paper"``: half pairs, quantization 1; with views, of which there are three, the contrastive
            term of weight 1. ``"release"``: the same for plain batches. ``"release_cl"``: two views,
            contrastive 1, half pairs within each view, negative targets clipped.

        Raises
        ------
        ValueError
            `name` is unknown.

        Examples
        --------
        >>> from sdc_search import SDCLoss
        >>> SDCLoss.preset("release_cl").clip_negative_targets
        True
        """
        if name == "paper":
            return cls(contrastive=1.0)
        if name == "release":
            return cls()
        if name == "release_cl":
            return cls(contrastive=1.0, clip_negative_targets=True)
        raise ValueError(f"preset must be 'paper', 'release' or 'release_cl', got {name!r}")

    def forward(
        self, features: Tensor | None, outputs: Tensor, teacher_similarity: Tensor | None = None
    ) -> Tensor:
        """Return the loss of one batch, a scalar.

        Parameters
        ----------
        features
            Shape ``(N, d)``, or ``(V, N, d)`` for views; detached, since they are the teacher. None where
            `teacher_similarity` is given.
        outputs
            Floating point, shape ``(N, K)`` or ``(V, N, K)``; half precision is computed in float32.
        teacher_similarity
            Similarities of any kind in place of the features' cosines: shape ``(N, N)``, or a vector of the
            pairs in their order. Not with views.

        Raises
        ------
        TypeError
            `outputs` is not floating point.
        ValueError
            The shapes do not fit each other, a batch has fewer than 2 rows or more than 92,000, or views are
            neither 2 nor 3.
        """
        _check_real("outputs", outputs)
        if outputs.ndim == 3:
            return self._views(features, outputs, teacher_similarity)
        if outputs.ndim != 2 or not 2 <= len(outputs) <= _MOST_ROWS or outputs.shape[1] == 0:
            raise ValueError(
                f"features and outputs must have shapes (N, d) and (N, K), N from 2 to {_MOST_ROWS}, or"
                f" (V, N, d) and (V, N, K) for views, got {_shape(features)} and {tuple(outputs.shape)}"
            )
        if teacher_similarity is not None:
            return self._composite(lambda: self._pair_teacher(teacher_similarity, len(outputs)), outputs)
        if features is None or features.ndim != 2 or len(features) != len(outputs) or features.shape[1] == 0:
            raise ValueError(
                "features and outputs must have shapes (N, d) and (N, K) with one N,"
                f" got {_shape(features)} and {tuple(outputs.shape)}"
            )
        _check_devices(features=features, outputs=outputs)
        fused = ops.is_eager(features, outputs) or (
            self.pairs == "all" and ops.is_eager_cuda(features, outputs)
        )
        if fused and torch.float64 not in (features.dtype, outputs.dtype):
            loss = self._fused(features.float(), outputs.float())
            if loss is not None:
                return loss
        rows = features.detach()
        return self._composite(
            lambda: self._pair_cosines(functional.normalize(_at_least_float32(rows), dim=1)), outputs
        )

    def extra_repr(self) -> str:
        """Show the parameters in the module's repr."""
        names = (
            "alpha",
            "beta",
            "pairs",
            "quantization",
            "contrastive",
            "temperature",
            "clip_negative_targets",
        )
        shown = [f"{name}={getattr(self, name)!r}" for name in names]
        if self.distribution is not None:
            shown.append(f"distribution={self.distribution!r}")
        return ", ".join(shown)

    def _fused(self, features: Tensor, outputs: Tensor) -> Tensor | None:
        """Compute everything in one native call, where there is one."""
        if self.pairs == "half":
            return ops.sdc_loss_half(features, outputs, self._quantiles(len(outputs) // 2), self.quantization)
        n_pairs = len(outputs) * (len(outputs) - 1) // 2
        if n_pairs <= CACHED_VALUES:
            table = self._quantiles(n_pairs, outputs)
            return ops.sdc_loss_all(features, outputs, table, self.quantization)
        if self.distribution is not None:
            return None
        shape = float(self.alpha), float(self.beta)
        if outputs.is_cuda:
            on_device = device_spline(*shape, self._floor(), outputs.device)
            return on_device and ops.sdc_loss_all(features, outputs, on_device, self.quantization)
        spline = beta_spline(*shape)
        if spline is None:
            return None
        return ops.sdc_loss_all(features, outputs, (spline, self._floor()), self.quantization)

    def _composite(self, teacher: Callable[[], Tensor], outputs: Tensor) -> Tensor:
        with torch.autocast(outputs.device.type, enabled=False):  # half a mantissa would tie most cosines
            return self._composed(teacher(), _at_least_float32(outputs))

    def _composed(self, teacher: Tensor, outputs: Tensor) -> Tensor:
        directions = functional.normalize(outputs, dim=1)
        similarity = self._pair_cosines(directions)
        loss = calibration_loss(similarity, teacher, self._quantiles(len(similarity), similarity))
        if self.quantization == 0:
            return loss
        # cos(v, sign v) = ‖v‖₁ / (√K ‖v‖₂), whatever the sign of 0 is
        alignment = directions.abs().sum(dim=1) / outputs.shape[1] ** 0.5
        return torch.as_tensor(loss + self.quantization * (1 - alignment.mean()))

    def _views(self, features: Tensor | None, outputs: Tensor, teacher_similarity: Tensor | None) -> Tensor:
        if teacher_similarity is not None:
            raise ValueError(
                "teacher_similarity does not go with views: pass it with outputs of shape (N, K)"
            )
        if features is None or features.ndim != 3 or features.shape[:2] != outputs.shape[:2]:
            raise ValueError(
                "with views, features and outputs must have shapes (V, N, d) and (V, N, K) with one V and N,"
                f" got {_shape(features)} and {tuple(outputs.shape)}"
            )
        if len(outputs) not in (2, 3):
            raise ValueError(f"views must be 2 or 3, got {len(outputs)}")
        if len(outputs) == 3:
            loss = self(features[0], outputs[0])
            first, second = outputs[1], outputs[2]
        else:
            loss = self(self._halves_together(features), self._halves_together(outputs))
            first, second = outputs[0], outputs[1]
        if self.contrastive == 0:
            return torch.as_tensor(loss)
        with torch.autocast(outputs.device.type, enabled=False):
            contrast = nt_xent(_at_least_float32(first), _at_least_float32(second), self.temperature)
        return torch.as_tensor(loss + self.contrastive * contrast)

    def _halves_together(self, views: Tensor) -> Tensor:
        """One batch of both views, in which row i and row i + N are the two halves of one view."""
        if self.pairs == "all" or views.shape[1] % 2 == 1:
            raise ValueError(
                "two views need pairs='half' and an even N,"
                f" got pairs={self.pairs!r} and N = {views.shape[1]}"
            )
        half = views.shape[1] // 2
        return torch.cat((views[0, :half], views[1, :half], views[0, half:], views[1, half:]))

    def _floor(self) -> float:
        return 0.0 if self.clip_negative_targets else -1.0

    def _quantiles(self, n: int, like: Tensor | None = None) -> Tensor:
        """Make the table of n pairs: on the CPU, or on the device and of the dtype of a tensor elsewhere."""
        if like is not None and not like.is_cpu:
            return self._device_quantiles(n, like)
        if self._table is not None and self._table[0] == n:
            return self._table[1]
        if self.distribution is None:
            return beta_table(n, float(self.alpha), float(self.beta), self._floor())
        table = distribution_quantiles(n, self.distribution)
        table = table.clamp(min=0) if self.clip_negative_targets else table
        if n <= CACHED_VALUES and ops.is_eager(table):
            self._table = (n, table)
        return table

    def _device_quantiles(self, n: int, like: Tensor) -> Tensor:
        """Keep the last table on its device: copying it there would wait, and could not be captured."""
        key = (n, like.device, like.dtype, self.alpha, self.beta, self._floor())
        if self._device_table is not None and self._device_table[0] == key:
            return self._device_table[1]
        host = self._quantiles(n)
        table = host.to(like.device, like.dtype)
        if ops.is_eager(host):
            self._device_table = (key, table)
        return table

    def _pair_cosines(self, directions: Tensor) -> Tensor:
        """Cosines of the pairs of unit rows, shape ``(n_pairs,)``."""
        if self.pairs == "half":
            half = len(directions) // 2
            return (directions[:half] * directions[half : 2 * half]).sum(dim=1)
        first, second = torch.triu_indices(
            len(directions), len(directions), offset=1, device=directions.device
        )
        return (directions @ directions.T)[first, second]

    def _pair_teacher(self, similarity: Tensor, n: int) -> Tensor:
        """Pick the pairs from a matrix; a vector of them stays."""
        n_pairs = n // 2 if self.pairs == "half" else n * (n - 1) // 2
        if similarity.shape == (n_pairs,):
            return similarity
        if similarity.shape != (n, n):
            raise ValueError(
                f"teacher_similarity must have shape {(n, n)} or {(n_pairs,)}, got {tuple(similarity.shape)}"
            )
        if self.pairs == "half":
            return similarity.diagonal(n // 2)[:n_pairs]  # (i, i + n // 2)
        first, second = torch.triu_indices(n, n, offset=1, device=similarity.device)
        return similarity[first, second]


def sdc_loss(
    features: Tensor | None, outputs: Tensor, teacher_similarity: Tensor | None = None, **parameters: Any
) -> Tensor:
    """Compute the loss of `SDCLoss` without a module.

    Parameters
    ----------
    features, outputs, teacher_similarity
        See `SDCLoss.forward`.
    **parameters
        See `SDCLoss`.

    Returns
    -------
    A scalar.

    Raises
    ------
    TypeError, ValueError
        As `SDCLoss` and its call do.

    Examples
    --------
    >>> import torch
    >>> from sdc_search.losses import sdc_loss
    >>> sdc_loss(torch.eye(4), torch.ones(4, 2), quantization=0)
    tensor(0.7839)
    """
    return torch.as_tensor(SDCLoss(**parameters)(features, outputs, teacher_similarity))


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Cross entropy of two views' cosines over a temperature: Chen et al., "SimCLR", ICML 2020, eq. 1."""
    n = len(first)
    directions = functional.normalize(torch.cat((first, second)), dim=1)
    logits = directions @ directions.T / temperature
    logits = logits.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=logits.device), -torch.inf)
    positives = torch.arange(2 * n, device=logits.device).roll(n)
    return functional.cross_entropy(logits, positives)


def _at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision and integers to float32; float32 and float64 stay."""
    dtype = tensor.dtype
    return tensor if dtype is torch.float32 or dtype is torch.float64 else tensor.float()


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _real(name: str, tensor: Tensor) -> Tensor:
    """Check that a tensor is floating point, and take half precision to float32."""
    if type(tensor) is Tensor and (tensor.dtype is torch.float32 or tensor.dtype is torch.float64):
        return tensor
    _check_real(name, tensor)
    return _at_least_float32(tensor)


def _check_real(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch tensor, got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {tensor.dtype}")


def _check_power(p: float) -> None:
    if not 1 <= p < float("inf"):
        raise ValueError(f"p must be at least 1 and finite, got {p}")


def _check_devices(**tensors: Tensor | None) -> None:
    devices = {name: str(tensor.device) for name, tensor in tensors.items() if tensor is not None}
    if len(set(devices.values())) > 1:
        raise ValueError(
            f"{' and '.join(devices)} must lie on one device, got {' and '.join(devices.values())}"
        )


def _weights(name: str, weights: Tensor | None, sample: Tensor, real: torch.dtype) -> Tensor | None:
    """Check weights and give each row of the sample its own."""
    if weights is None:
        return None
    if weights.requires_grad:
        raise ValueError(f"no gradient flows to {name}: pass {name}.detach()")
    if weights.shape not in (sample.shape, sample.shape[-1:]):
        raise ValueError(
            f"{name} must have shape {tuple(sample.shape[-1:])} or {tuple(sample.shape)},"
            f" got {tuple(weights.shape)}"
        )
    weights = weights.to(real)
    if ops.is_eager(weights) and ((weights < 0).any() or (weights.sum(-1) == 0).any()):
        raise ValueError(f"{name} must be non-negative with a positive sum in every row")
    return weights.expand(sample.shape)
