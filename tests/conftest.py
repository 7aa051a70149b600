from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from sdc_search.native import core


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(params=core.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test at every instruction-set level of this machine."""
    before = core.isa()
    core.set_isa(request.param)
    yield request.param
    core.set_isa(before)
