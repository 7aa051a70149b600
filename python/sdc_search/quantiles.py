"""Quantiles of the distributions that similarities are calibrated to, and their bounded cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import beta as beta_function
from scipy.special import betaincinv, ndtri
from torch import Tensor

from sdc_search.arrays import as_count, to_numpy
from sdc_search.native import core

Floats: TypeAlias = npt.NDArray[np.float64]
Distribution: TypeAlias = Literal["uniform", "gaussian"] | Callable[[Floats], Any] | Tensor | npt.NDArray[Any]

CACHED_VALUES = 1 << 20
"""A table of more values, 8 MB, is made again each time."""

_EXACT_VALUES = 2048  # so many cost less than the nodes of the spline
_SPLINE_ERROR = 1e-10
_MOST_NODES = 1 << 14


def beta_quantiles(n: int, alpha: float = 5.0, beta: float = 5.0) -> Tensor:
    """Midpoint quantiles of a Beta distribution stretched to [−1, 1].

    ``C_j = 2·BetaPPF((2j − 1)/(2n); α, β) − 1`` for j = 1..n.

    Parameters
    ----------
    n
        How many.
    alpha, beta
        The distribution's parameters. With both 5, its standard deviation on [−1, 1] is ``1/√11 ≈ 0.30``.

    Returns
    -------
    float64, shape ``(n,)``, ascending; within 1e-9 of SciPy's. Up to a million values are kept for the next
    call.

    Raises
    ------
    TypeError
        `n` is not an integer.
    ValueError
        `n` is below 1, or `alpha` or `beta` is not positive and finite.

    Examples
    --------
    >>> from sdc_search import beta_quantiles
    >>> beta_quantiles(2)
    tensor([-0.2161,  0.2161], dtype=torch.float64)
    """
    return beta_table(as_count("n", n), *check_beta(alpha, beta)).clone()  # the caller may write to its own


def gaussian_quantiles(n: int, std: float = 0.3, mean: float = 0.0) -> Tensor:
    """Midpoint quantiles of a normal distribution, clipped to [−1, 1] where cosines lie.

    Parameters
    ----------
    n
        How many.
    std, mean
        Of the distribution before it is clipped; 0.3 and 0 are the paper's.

    Returns
    -------
    float64, shape ``(n,)``, ascending.

    Raises
    ------
    TypeError
        `n` is not an integer.
    ValueError
        `n` is below 1, `std` is not positive, or one of the two is not finite.

    Examples
    --------
    >>> from sdc_search.losses import gaussian_quantiles
    >>> gaussian_quantiles(2)
    tensor([-0.2023,  0.2023], dtype=torch.float64)
    """
    if not 0 < std < float("inf") or not np.isfinite(mean):
        raise ValueError(f"std must be positive and finite and mean finite, got {std} and {mean}")
    values = mean + std * ndtri(_levels(as_count("n", n)))
    return torch.from_numpy(np.clip(values, -1, 1))


def uniform_quantiles(n: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Midpoint quantiles of a uniform distribution.

    Parameters
    ----------
    n
        How many.
    low, high
        Its range.

    Returns
    -------
    float64, shape ``(n,)``, ascending.

    Raises
    ------
    TypeError
        `n` is not an integer.
    ValueError
        `n` is below 1, or not `low` < `high`, both finite.

    Examples
    --------
    >>> from sdc_search.losses import uniform_quantiles
    >>> uniform_quantiles(4)
    tensor([-0.7500, -0.2500,  0.2500,  0.7500], dtype=torch.float64)
    """
    if not -float("inf") < low < high < float("inf"):
        raise ValueError(f"low must be below high, both finite, got {low} and {high}")
    return torch.from_numpy(low + (high - low) * _levels(as_count("n", n)))


def distribution_quantiles(n: int, distribution: Distribution) -> Tensor:
    """Midpoint quantiles of any distribution: `n` values at the levels ``(2j − 1)/(2n)``.

    Parameters
    ----------
    n
        How many.
    distribution
        ``"uniform"`` on [−1, 1]; ``"gaussian"``, see `gaussian_quantiles`; a quantile function that maps a
        float64 numpy array of levels in (0, 1) to ascending values, such as ``scipy.stats.norm(0, 0.2).ppf``;
        or a sample, a tensor or an array of one dimension, whose inverted empirical distribution function is
        taken.

    Returns
    -------
    float64, shape ``(n,)``, ascending.

    Raises
    ------
    TypeError
        `distribution` is none of these, or `n` is not an integer.
    ValueError
        The values are not ascending and finite, or the sample is empty or has another rank.

    Examples
    --------
    >>> import torch
    >>> from sdc_search.losses import distribution_quantiles
    >>> distribution_quantiles(2, torch.tensor([0.5, -0.5, 0.1, 0.3]))
    tensor([-0.5000,  0.3000], dtype=torch.float64)
    """
    n = as_count("n", n)
    if isinstance(distribution, str):
        if distribution == "uniform":
            return uniform_quantiles(n)
        if distribution == "gaussian":
            return gaussian_quantiles(n)
        raise ValueError(
            f"distribution must be 'uniform' or 'gaussian' if it is a name, got {distribution!r}"
        )
    if isinstance(distribution, (Tensor, np.ndarray)):
        sample = np.sort(to_numpy("distribution", distribution).astype(np.float64))
        if sample.ndim != 1 or len(sample) == 0:
            raise ValueError(f"a sample must have shape (n,) with n at least 1, got {sample.shape}")
        # the smallest value at which the distribution function reaches (2j + 1)/(2n), in integers
        values = sample[((2 * np.arange(n) + 1) * len(sample) + 2 * n - 1) // (2 * n) - 1]
    elif callable(distribution):
        values = np.asarray(distribution(_levels(n)), dtype=np.float64)
        if values.shape != (n,):
            raise ValueError(f"the quantile function must map shape ({n},) to itself, got {values.shape}")
    else:
        raise TypeError(
            f"distribution must be a name, a function or a sample, got {type(distribution).__name__}"
        )
    if not np.isfinite(values).all() or (np.diff(values) < 0).any():
        raise ValueError("the quantiles of the distribution must be finite and ascending")
    return torch.from_numpy(values)


def check_beta(alpha: float, beta: float) -> tuple[float, float]:
    """Check the two parameters of a Beta distribution."""
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be positive and finite, got {value}")
    return float(alpha), float(beta)


def beta_table(n: int, alpha: float, beta: float, floor: float = -1.0) -> Tensor:
    """`beta_quantiles` raised to at least `floor`, without checks; it is shared, so leave it as it is."""
    if torch.compiler.is_compiling():  # an operation of sdc_search.ops, where SciPy cannot be traced
        return torch.as_tensor(torch.ops.sdc_search.beta_quantiles(n, alpha, beta, floor))
    values = (_cached_beta_table if n <= CACHED_VALUES else _beta_table)(n, alpha, beta, floor)
    return torch.from_numpy(values)  # a tensor in the cache would keep a transform of torch.func that made it


@lru_cache(maxsize=32)
def beta_spline(alpha: float, beta: float) -> core.BetaSpline | None:
    """Interpolate the quantile function with an error below 1e-10; None where that fails."""
    nodes = beta_nodes(alpha, beta)
    return None if nodes is None else core.BetaSpline(alpha, nodes[0], nodes[1], beta, nodes[2], nodes[3])


@lru_cache(maxsize=32)
def beta_nodes(alpha: float, beta: float) -> Floats | None:
    """Give the spline's exact nodes: values and slopes of the lower half, then of the upper one.

    With I the regularised incomplete beta function, x = I⁻¹(p) behaves like p^(1/α) at 0 and is analytic in
    u = p^(1/α); so each half of the distribution is a spline in its own u.
    """
    n_nodes = 1024
    while n_nodes <= _MOST_NODES:
        lower, lower_error = _nodes(alpha, beta, n_nodes)
        upper, upper_error = _nodes(beta, alpha, n_nodes)
        if max(lower_error, upper_error) < _SPLINE_ERROR:
            return np.stack([*lower, *upper])
        n_nodes *= 2
    return None


def _nodes(alpha: float, beta: float, n_nodes: int) -> tuple[tuple[Floats, Floats], float]:
    """Values and slopes at equal steps of u from 0 to the median, and the largest error between them."""
    with np.errstate(all="ignore"):  # extreme parameters overflow; the error is then NaN and fails the test
        u = np.linspace(0, 0.5 ** (1 / alpha), n_nodes)
        values = betaincinv(alpha, beta, u**alpha)
        slopes = np.empty(n_nodes)
        slopes[0] = (alpha * beta_function(alpha, beta)) ** (1 / alpha)
        x, at = values[1:], u[1:]
        slopes[1:] = alpha * beta_function(alpha, beta) * (at / x) ** (alpha - 1) * (1 - x) ** (1 - beta)
        halfway = (values[:-1] + values[1:]) / 2 + (u[1] - u[0]) * (slopes[:-1] - slopes[1:]) / 8
        exact = betaincinv(alpha, beta, ((u[:-1] + u[1:]) / 2) ** alpha)
        error = float(np.abs(halfway - exact).max())
    return (values, slopes), error if np.isfinite(error) else float("inf")


def _beta_table(n: int, alpha: float, beta: float, floor: float) -> Floats:
    spline = beta_spline(alpha, beta) if n > _EXACT_VALUES else None
    if spline is None:
        values = 2 * betaincinv(alpha, beta, _levels(n)) - 1
    else:
        values = spline.table(n, core.num_threads())
    result: Floats = np.maximum(values, floor, out=values)
    return result


_cached_beta_table = lru_cache(maxsize=16)(_beta_table)  # training asks for one or two sizes again and again


def _levels(n: int) -> Floats:
    return (2 * np.arange(1, n + 1, dtype=np.float64) - 1) / (2 * n)
