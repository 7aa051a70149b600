from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


@pytest.fixture
def write_images() -> Callable[[Path, Iterable[str]], None]:
    """Return a function that writes small images of different colours under a folder."""

    def write(root: Path, paths: Iterable[str]) -> None:
        for number, path in enumerate(paths):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 6), (number % 256, 40, 200)).save(root / path)

    return write


@pytest.fixture(scope="session")
def torchvision() -> Iterator[None]:
    """Make torchvision importable where its compiled operators do not load beside this build of torch.

    What it then misses at its import are two declarations; no test uses the operators themselves.
    """
    import torch

    with torch.library._scoped_library("torchvision", "DEF") as library:
        try:
            import torchvision
        except RuntimeError:
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            import torchvision  # noqa: F401
        yield
