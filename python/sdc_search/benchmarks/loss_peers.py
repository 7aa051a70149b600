"""The losses by what a user would write or install instead; the published one is re-stated from its formula.

Importing this module loads the peers, so that a limit on the threads of all libraries reaches theirs.
"""

from __future__ import annotations

import numpy as np
import ot
import torch
from scipy.stats import beta
from torch import Tensor
from torch.nn import functional

DISTRIBUTIONS = ("torch", "POT")


def plain_calibration(code: Tensor, teacher: Tensor, quantiles: Tensor) -> Tensor:
    """Write the calibration loss as one does in torch."""
    return (code[torch.argsort(teacher, stable=True)] - quantiles).abs().mean()


def plain_wasserstein(x: Tensor, y: Tensor) -> Tensor:
    """Sum the distances of rows of one length, p = 1, without weights."""
    return (x.sort(dim=1).values - y.sort(dim=1).values).abs().mean(dim=1).sum()


def pot_wasserstein(
    x: Tensor, y: Tensor, p: float = 1, x_weights: Tensor | None = None, y_weights: Tensor | None = None
) -> Tensor:
    """``ot.wasserstein_1d`` of rows, summed; its samples are columns, and its weights sum to 1."""
    weights = (None if w is None else w.T for w in (x_weights, y_weights))
    return torch.as_tensor(ot.wasserstein_1d(x.T, y.T, *weights, p=p)).sum()


def published_sdc(features: Tensor, outputs: Tensor) -> Tensor:
    """Half pairs, Ng et al., BMVC 2023, in the steps of the authors' release.

    Pairs are gathered by their indices, and SciPy computes the Beta quantiles of every batch.
    """
    half = len(features) // 2
    first, second = torch.arange(half), torch.arange(half, 2 * half)
    code = functional.cosine_similarity(outputs[first], outputs[second])
    teacher = functional.cosine_similarity(features[first], features[second])
    levels = (2 * np.arange(1, half + 1) - 1) / (2 * half)
    quantiles = torch.from_numpy(2 * beta.ppf(levels, 5, 5) - 1).float()
    calibration = functional.l1_loss(code[teacher.sort().indices], quantiles)
    return calibration + (1 - functional.cosine_similarity(outputs, outputs.sign())).mean()


def plain_half_pairs(features: Tensor, outputs: Tensor, quantiles: Tensor) -> Tensor:
    """Write the same as tersely as torch allows: slices, and quantiles that are there already."""
    half = len(features) // 2
    teacher = functional.cosine_similarity(features[:half], features[half : 2 * half])
    code = functional.cosine_similarity(outputs[:half], outputs[half : 2 * half])
    quantization = 1 - functional.cosine_similarity(outputs, outputs.detach().sign())
    return plain_calibration(code, teacher, quantiles) + quantization.mean()


def plain_all_pairs(features: Tensor, outputs: Tensor, quantiles: Tensor) -> Tensor:
    """All pairs, with all their similarities in memory."""
    first, second = torch.triu_indices(len(features), len(features), offset=1)
    teachers, codes = functional.normalize(features, dim=1), functional.normalize(outputs, dim=1)
    code, teacher = (codes @ codes.T)[first, second], (teachers @ teachers.T)[first, second]
    alignment = codes.abs().sum(dim=1) / outputs.shape[1] ** 0.5
    loss: Tensor = plain_calibration(code, teacher, quantiles) + 1 - alignment.mean()
    return loss
