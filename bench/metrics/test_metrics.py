from __future__ import annotations

from collections.abc import Callable

from sdc_search.benchmarks.metrics import metric_cases as list_cases  # noqa: F401  (what conftest asks for)


def test_metrics(measure: Callable[[], None]) -> None:
    measure()
