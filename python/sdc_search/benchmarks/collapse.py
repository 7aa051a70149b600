"""The toy of collapse: four well-separated classes in a narrow cone, and codes of 2 bits for them.

Features behind a ReLU are non-negative, and so are their cosines, while the similarities of codes reach
down to -1. A loss that copies the cosines then finds codes that are all alike closest to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sdc_search.bit_statistics import commonest_distance_share
from sdc_search.method_specs import Method

# The linear heads as published, which copy the cosines as they are, at a rate that suits 1,000 items. The
# defaults of the two centre their features or normalise their outputs, and collapse less.
_PUBLISHED = "preset=author,lr=0.01,feature_dropout=0,max_epochs=60"
METHODS = (f"GreedyHash:{_PUBLISHED}", f"BiHalf:{_PUBLISHED}", "SDC")
N_CLASSES = 4
N_BITS = 2
_ITEMS_PER_CLASS = 250
_FEATURES = 64
_OFFSET = 2.0  # cosines between the classes of about 0.8
_NOISE = 0.05


@dataclass(frozen=True)
class CollapseRun:
    """What one method made of one draw of the toy.

    Parameters
    ----------
    labels
        Classes of the items, shape ``(n,)``.
    cosines
        Of the features of all pairs of items.
    projections
        What the signs are taken of, shape ``(n, 2)``.
    codes_used
        Distinct codes among the items.
    classes_apart
        Distinct codes among the commonest one of each class: 4 where none has collapsed.
    collapse
        Share of all pairs of items at the commonest Hamming distance.
    """

    method: str
    seed: int
    labels: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]
    projections: npt.NDArray[Any]
    codes_used: int
    classes_apart: int
    collapse: float

    def document(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        names = ("method", "seed", "codes_used", "classes_apart", "collapse")
        return {name: getattr(self, name) for name in names}


def toy_features(seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Draw non-negative features of four classes around a common direction, and their classes.

    Returns
    -------
    float32, shape ``(1000, 64)``, in random order; int64, shape ``(1000,)``.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(N_CLASSES), _ITEMS_PER_CLASS))
    centres = np.maximum(0.0, _OFFSET + rng.standard_normal((N_CLASSES, _FEATURES)))
    noise = _NOISE * rng.standard_normal((len(labels), _FEATURES))
    return np.maximum(0.0, centres[labels] + noise).astype(np.float32), labels


def run_method(method: Method, seed: int) -> CollapseRun:
    """Draw the toy, fit the method and count its codes."""
    features, labels = toy_features(seed)
    hasher = method.build(N_BITS, seed).fit(features)
    codes = hasher.encode(features)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    commonest = {int(np.bincount(codes[labels == label, 0]).argmax()) for label in range(N_CLASSES)}
    return CollapseRun(
        method=method.label,
        seed=seed,
        labels=labels,
        cosines=(unit @ unit.T)[np.triu_indices(len(unit), 1)],
        projections=hasher.project(features),
        codes_used=len(np.unique(codes)),
        classes_apart=len(commonest),
        collapse=commonest_distance_share(codes),
    )
