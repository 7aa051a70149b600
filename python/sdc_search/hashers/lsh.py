"""LSH: the signs of random projections."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from sdc_search.feature_rows import FeatureRows
from sdc_search.hashers.base import State
from sdc_search.hashers.linear import LinearHasher


class LSH(LinearHasher):
    """Random hyperplanes: bit k is the side of a random plane through the centre on which x lies.

    Nothing is learnt but the centre. Without centring, two vectors at angle θ agree in each bit with
    probability ``1 − θ/π``: Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002.

    Parameters
    ----------
    n_bits, random_state, verbose
        See `Hasher`; drawing is quick and shows no progress.
    center
        What is subtracted first: ``"feature"``, the mean of each column; ``"scalar"``, one mean of all
        entries, as some published loaders do; ``"none"``. Without centring, features that are all
        non-negative fall into one cone, and most bits hardly ever change.
    orthogonal
        Whether the planes are orthogonal to each other, in groups of at most d.

    Raises
    ------
    ValueError
        In `fit`: `center` is none of the three; and what `Hasher.fit` raises.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import LSH
    >>> X = np.random.default_rng(0).standard_normal((100, 16))
    >>> LSH(n_bits=32, random_state=0).fit(X).encode(X).shape
    (100, 4)
    """

    def __init__(
        self,
        n_bits: int = 64,
        *,
        center: Literal["none", "scalar", "feature"] = "feature",
        orthogonal: bool = False,
        random_state: int | None = None,
        verbose: bool = True,
    ) -> None:
        self.n_bits = n_bits
        self.center = center
        self.orthogonal = orthogonal
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self, X: FeatureRows, rng: np.random.Generator, report: dict[str, Any]) -> State:
        n_features = X.n_features
        if self.center == "feature":
            mean = X.mean()
        elif self.center == "scalar":
            mean = np.full(n_features, X.mean().mean())
        elif self.center == "none":
            mean = np.zeros(n_features)
        else:
            raise ValueError(f"center must be 'none', 'scalar' or 'feature', got {self.center!r}")
        weight = rng.standard_normal((n_features, self.n_bits))
        if self.orthogonal:
            for start in range(0, self.n_bits, n_features):
                group = weight[:, start : start + n_features]
                planes, triangle = np.linalg.qr(group)
                group[:] = planes * np.sign(np.diag(triangle))  # else one sign of the first row comes always
        return {"mean": mean.astype(X.dtype), "weight": weight.astype(X.dtype)}
