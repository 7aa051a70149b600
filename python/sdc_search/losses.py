"""The calibration loss of SDC.

Ng et al., "Unsupervised Hashing with Similarity Distribution Calibration", BMVC 2023 (arXiv 2302.07669).
Similarities of codes are moved, in the order that the features' similarities dictate, on to the quantiles of
a calibration distribution. That is one-dimensional optimal transport with the teacher's order instead of
their own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor, nn
from torch.nn import functional

from sdc_search.arrays import as_count

Pairs: TypeAlias = Literal["half", "all"]


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
    float64, shape ``(n,)``, ascending.

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
    n = as_count("n", n)
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be positive and finite, got {value}")
    return _beta_quantiles(n, float(alpha), float(beta)).clone()  # the caller may write to its own


@lru_cache(maxsize=16)  # training asks for one or two sizes again and again
def _beta_quantiles(n: int, alpha: float, beta: float) -> Tensor:
    levels = (2 * np.arange(1, n + 1, dtype=np.float64) - 1) / (2 * n)
    return torch.from_numpy(2 * betaincinv(alpha, beta, levels) - 1)


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
        t, shape ``(..., n)``. Only its order counts, so no gradient flows to it.
    quantiles
        C, ascending, shape ``(n,)`` or ``(..., n)``, such as `beta_quantiles` gives.
    p
        The power of the cost, at least 1.

    Returns
    -------
    The mean over everything, a scalar; half precision is computed and returned as float32.

    Raises
    ------
    TypeError
        `code_similarity` is not floating point.
    ValueError
        The shapes do not fit each other, there is no similarity at all, or `p` is below 1.

    Examples
    --------
    >>> import torch
    >>> from sdc_search.losses import beta_quantiles, calibration_loss
    >>> calibration_loss(torch.tensor([0.2, -0.2]), torch.tensor([0.9, 0.8]), beta_quantiles(2))
    tensor(0.0161)
    """
    if not code_similarity.is_floating_point():
        raise TypeError(f"code_similarity must be floating point, got {code_similarity.dtype}")
    if code_similarity.shape != feature_similarity.shape or code_similarity.numel() == 0:
        raise ValueError(
            "code_similarity and feature_similarity must have one shape (..., n) that is not empty, got"
            f" {tuple(code_similarity.shape)} and {tuple(feature_similarity.shape)}"
        )
    if quantiles.shape not in (code_similarity.shape, code_similarity.shape[-1:]):
        raise ValueError(
            f"quantiles must have shape {tuple(code_similarity.shape[-1:])} or that of the similarities,"
            f" got {tuple(quantiles.shape)}"
        )
    if not p >= 1:
        raise ValueError(f"p must be at least 1, got {p}")
    similarity = _at_least_float32(code_similarity)
    order = torch.argsort(feature_similarity.detach(), dim=-1, stable=True)
    distance: Tensor = (similarity.gather(-1, order) - quantiles.to(similarity)).abs()
    return (distance if p == 1 else distance**p).mean()


class SDCLoss(nn.Module):
    """The loss of plain SDC: calibrated pair similarities plus quantisation.

    ``calibration_loss(cos(v_i, v_j), cos(x_i, x_j), beta_quantiles) + quantization · mean(1 − cos(v_i, sign
    v_i))``, with v the outputs before the sign, x the features, and sign v = 1 iff v > 0.

    Parameters
    ----------
    alpha, beta
        The calibration distribution, see `beta_quantiles`.
    pairs
        ``"half"``: the N/2 pairs (i, i + N/2), as published, so shuffle the batch; an odd N drops its last
        row from the pairs. ``"all"``: the N(N − 1)/2 pairs i < j.
    quantization
        Weight of the quantisation term.

    Raises
    ------
    ValueError
        `pairs` is neither of the two, `quantization` is negative, or `alpha` or `beta` is not positive.

    Examples
    --------
    >>> import torch
    >>> from sdc_search import SDCLoss
    >>> features, outputs = torch.eye(4), torch.eye(4, requires_grad=True)
    >>> loss = SDCLoss()(features, outputs)
    >>> loss.backward()
    """

    def __init__(
        self, alpha: float = 5.0, beta: float = 5.0, pairs: Pairs = "half", quantization: float = 1.0
    ) -> None:
        super().__init__()
        beta_quantiles(1, alpha, beta)  # checks the two
        if pairs not in ("half", "all"):
            raise ValueError(f"pairs must be 'half' or 'all', got {pairs!r}")
        if not 0 <= quantization < float("inf"):
            raise ValueError(f"quantization must be non-negative and finite, got {quantization}")
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.pairs = pairs
        self.quantization = quantization

    def forward(self, features: Tensor, outputs: Tensor) -> Tensor:
        """Return the loss of one batch, a scalar.

        Parameters
        ----------
        features
            Shape ``(N, d)``; detached, since they are the teacher.
        outputs
            Floating point, shape ``(N, K)``; half precision is computed in float32.

        Raises
        ------
        ValueError
            The two are not of rank 2 with one number of rows, at least 2.
        """
        if features.ndim != 2 or outputs.ndim != 2 or len(features) != len(outputs) or len(outputs) < 2:
            raise ValueError(
                "features and outputs must have shapes (N, d) and (N, K) with N at least 2, got"
                f" {tuple(features.shape)} and {tuple(outputs.shape)}"
            )
        directions = functional.normalize(_at_least_float32(outputs), dim=1)
        teacher = functional.normalize(_at_least_float32(features.detach()), dim=1)
        similarity = self._pair_cosines(directions)
        quantiles = _beta_quantiles(len(similarity), self.alpha, self.beta)
        loss = calibration_loss(similarity, self._pair_cosines(teacher), quantiles)
        if self.quantization == 0:
            return loss
        # cos(v, sign v) = ‖v‖₁ / (√K ‖v‖₂), whatever the sign of 0 is
        alignment = directions.abs().sum(dim=1) / outputs.shape[1] ** 0.5
        penalty: Tensor = 1 - alignment.mean()
        return loss + self.quantization * penalty

    def extra_repr(self) -> str:
        """Show the parameters in the module's repr."""
        return f"alpha={self.alpha}, beta={self.beta}, pairs={self.pairs!r}, quantization={self.quantization}"

    def _pair_cosines(self, directions: Tensor) -> Tensor:
        """Cosines of the pairs of unit rows, shape ``(n_pairs,)``."""
        n = len(directions)
        if self.pairs == "half":
            return (directions[: n // 2] * directions[n // 2 : n // 2 * 2]).sum(dim=1)
        first, second = torch.triu_indices(n, n, offset=1, device=directions.device)
        cosines: Tensor = (directions @ directions.T)[first, second]
        return cosines


def _at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision and integers to float32; float64 stays."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
