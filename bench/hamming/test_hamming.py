from __future__ import annotations

from collections.abc import Callable

from sdc_search.benchmarks.hamming import hamming_cases as list_cases  # noqa: F401  (what conftest asks for)


def test_hamming(measure: Callable[[], None]) -> None:
    measure()
