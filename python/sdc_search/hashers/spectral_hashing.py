"""Spectral hashing: the signs of waves along the principal axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sdc_search.feature_rows import FeatureRows, Features
from sdc_search.hashers.base import Hasher, State
from sdc_search.hashers.itq import principal_components


class SpectralHashing(Hasher):
    """Spectral hashing: bits are the smoothest functions of a uniform box around the principal components.

    Weiss, Torralba & Fergus, "Spectral hashing", NIPS 2008. The features' first ``min(K, d)`` principal
    components are taken for independent and uniform on their ranges ``[a, a + R]``. There, the eigenfunctions
    of the graph Laplacian are waves, ``cos(kπ(v − a)/R)`` with k = 1, 2, ..., the smoother the smaller
    ``kπ/R``; the K smoothest are the bits, where a long axis gives several and a short one none.

    Parameters
    ----------
    n_bits, random_state, verbose
        See `Hasher`. Nothing is random, and a fit takes a second and shows no progress.

    Attributes
    ----------
    modes_
        Axis, from 0 in the order of falling variance, and k of every bit; shape ``(n_bits, 2)``. A loaded
        hasher has none.

    Raises
    ------
    ValueError
        In `fit`: what `Hasher.fit` raises.

    Notes
    -----
    Items outside the range of the training data are not clipped: the wave goes on. A wave with a large k
    gives far items the same bit, so that long codes of few long axes lose quality; it is how the method is
    defined.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import SpectralHashing
    >>> X = np.linspace(0, 1, 8)[:, None]
    >>> hasher = SpectralHashing(n_bits=2).fit(X)
    >>> hasher.modes_.tolist()
    [[0, 1], [0, 2]]
    >>> bool((hasher.encode(X) == hasher.transform(X)).all())
    True
    """

    modes_: npt.NDArray[np.int64]

    def __init__(self, n_bits: int = 64, *, random_state: int | None = None, verbose: bool = True) -> None:
        self.n_bits = n_bits
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self, X: FeatureRows, rng: np.random.Generator, report: dict[str, Any]) -> State:
        mean = X.mean()
        components = principal_components(X, mean, min(self.n_bits, *X.shape))[:, ::-1]
        low = np.full(components.shape[1], np.inf)
        high = -low
        for block in X.blocks():
            projected = (block - mean) @ components
            low, high = np.minimum(low, projected.min(axis=0)), np.maximum(high, projected.max(axis=0))
        self.modes_ = smoothest_modes(high - low, self.n_bits)
        axes, k = self.modes_.T
        frequency = k * np.pi / (high - low)[axes]
        state = {"mean": mean, "weight": components[:, axes] * frequency, "phase": -low[axes] * frequency}
        return {name: value.astype(X.dtype) for name, value in state.items()}

    def _project(self, X: Features) -> Features:
        mean, weight, phase = (
            self.state_[name].astype(X.dtype, copy=False) for name in ("mean", "weight", "phase")
        )
        centred: Features = X - mean  # not after the product, where large numbers would cancel
        waves = centred @ weight
        waves += phase
        projections: Features = np.cos(waves, out=waves)
        return projections

    def _shapes(self) -> Mapping[str, tuple[int | str, ...]]:
        return {
            "mean": ("n_features",),
            "weight": ("n_features", self.n_bits),
            "phase": (self.n_bits,),
        }


def smoothest_modes(ranges: npt.NDArray[np.float64], n_modes: int) -> npt.NDArray[np.int64]:
    """Return the waves of lowest frequency ``k / range``, each along one axis.

    An axis counts only if its range is more than rounding of the longest one, and no product of waves along
    two axes is a candidate.

    Parameters
    ----------
    ranges
        Length of the data along each axis, shape ``(m,)``, the largest positive.
    n_modes
        How many waves, K.

    Returns
    -------
    Axis and k of each, by rising frequency, equal ones by the axis; shape ``(n_modes, 2)``.

    Examples
    --------
    >>> import numpy as np
    >>> smoothest_modes(np.array([2.5, 1.0]), 4).tolist()
    [[0, 1], [0, 2], [1, 1], [0, 3]]
    """
    axes = np.flatnonzero(ranges > 1e-9 * ranges.max())
    k = np.arange(1, n_modes + 1)
    frequencies = (k / ranges[axes, None]).ravel()
    order = np.argsort(frequencies, kind="stable")[:n_modes]
    return np.stack([np.repeat(axes, n_modes)[order], np.tile(k, len(axes))[order]], axis=1)
