"""Hash functions that are one centred matrix product."""

from __future__ import annotations

from collections.abc import Mapping

from sdc_search.hashers.base import Features, Hasher


class LinearHasher(Hasher):
    """A hasher whose projection is ``(x − mean) weight``; the state is ``mean (d,)`` and ``weight (d, n_bits)``."""

    def _project(self, X: Features) -> Features:
        mean = self.state_["mean"].astype(X.dtype, copy=False)
        weight = self.state_["weight"].astype(X.dtype, copy=False)
        return (X - mean) @ weight  # subtracted first: products of uncentred features would cancel

    def _shapes(self) -> Mapping[str, tuple[int | str, ...]]:
        return {"mean": ("n_features",), "weight": ("n_features", self.n_bits)}
