from __future__ import annotations

from collections.abc import Callable

from sdc_search.benchmarks.losses import loss_cases as list_cases  # noqa: F401  (what conftest asks for)


def test_losses(measure: Callable[[], None]) -> None:
    measure()
