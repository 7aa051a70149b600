"""Hash functions that are one centred matrix product."""

from __future__ import annotations

from collections.abc import Mapping

from sdc_search.feature_rows import Features
from sdc_search.hashers.base import Hasher


class LinearHasher(Hasher):
    """A hasher whose projection is ``(x − mean) weight``, with ``mean (d,)`` and ``weight (d, n_bits)``."""

    def _project(self, X: Features) -> Features:
        mean, weight = (self.state_[name].astype(X.dtype, copy=False) for name in ("mean", "weight"))
        centred: Features = X - mean  # not after the product, where large numbers would cancel
        return centred @ weight

    def _shapes(self) -> Mapping[str, tuple[int | str, ...]]:
        return {"mean": ("n_features",), "weight": ("n_features", self.n_bits)}
