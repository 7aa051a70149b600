"""What the benchmarks need beyond the package's own dependencies."""

from __future__ import annotations

from importlib.util import find_spec

from sdc_search.errors import MissingExtraError

HAMMING = ("faiss", "usearch", "threadpoolctl")
LOSSES = ("ot", "threadpoolctl")  # POT is imported as ot
METRICS = ("threadpoolctl",)


def require(*modules: str) -> None:
    """Raise `MissingExtraError` for the first of `modules` that is not installed, without importing any."""
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtraError(module, "bench", "sdc-search benchmark")
