from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from cuda_emulator import Emulator, build_emulated_module
from PIL import Image

from sdc_search import hamming_cuda, native
from sdc_search.native import core
from sdc_search.plots import Curve, map_over_bits_figure
from sdc_search.report import (
    Block,
    Measure,
    Ranking,
    Report,
    ReportFigure,
    RetrievalExamples,
    Row,
    percent,
)

HOSTILE = "<script>document.title='owned'</script>\"'&<img src=x onerror=document.title='owned'> | `x`"


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


@pytest.fixture(scope="session")
def emulated_module(pytestconfig: pytest.Config) -> ModuleType:
    return build_emulated_module(pytestconfig.cache.mkdir("cuda_emulator"))  # type: ignore[union-attr]


@pytest.fixture
def emulator(emulated_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Let `hamming_cuda` run on the emulator, with tensors of the CPU."""
    emulator = Emulator(emulated_module, [])
    monkeypatch.setattr(native, "usable_cuda", lambda: emulated_module)
    monkeypatch.setattr(hamming_cuda, "_current_stream", lambda device: 0)
    # A workspace is uint8, and aligned as torch's allocator aligns.
    monkeypatch.setattr(
        hamming_cuda._Search,
        "empty",
        lambda self, shape, dtype: emulator.empty(shape, dtype, 16 if dtype == torch.uint8 else 0),
    )
    yield emulator
    emulator.release()


@pytest.fixture
def hostile() -> str:
    """A text that would run, load or break a table wherever it is not escaped."""
    return HOSTILE


@pytest.fixture
def report() -> Report:
    """A small report with all of its parts, its every text followed by what must stay inert."""
    rng = np.random.default_rng(0)
    rows = [
        Row(
            "LSH",
            "measured",
            {16: {"map": (np.float64(0.25), 0.01), "fit": (0.5, None)}, 32: {"map": (0.30, 0.02)}},
        ),
        Row("SDC", "measured", {16: {"map": (0.45, 0.01), "fit": (2.5, None)}, 32: {"map": (0.55, 0.02)}}),
        Row(f"A {HOSTILE}", "measured", {32: {"map": (0.40, None)}}, note=HOSTILE),
        Row("SDC", "paper", {16: {"map": (0.598, None)}, 32: {"map": (0.64, None)}}, note="VGG16"),
    ]
    measures = [
        Measure("map", f"mAP@1000, % {HOSTILE}", percent),
        Measure("fit", "fit, s", lambda value: f"{value:.3g}", higher_is_better=False),
    ]
    rankings = [
        Ranking(
            method,
            n_bits,
            rng.permutation(12).reshape(2, 6),
            rng.random((2, 6)) < 0.5,
            np.sort(rng.integers(0, n_bits, (2, 6), dtype=np.int32), axis=1),
        )
        for method in ("LSH", "ITQ", f"S {HOSTILE}", "SDC")
        for n_bits in (16, 32, 64)
    ]
    shapes = [(28, 28), (60, 90, 3), *10 * [(8, 8)]]
    examples = RetrievalExamples(
        query_images=[rng.integers(0, 256, (28, 28), dtype=np.uint8) for _ in range(2)],
        query_labels=["shoe", f"bag {HOSTILE}"],
        images=[rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes],
        labels=[*11 * ["shoe"], f"bag {HOSTILE}"],
        rankings=rankings,
        caption=HOSTILE,
    )
    figure = map_over_bits_figure([Curve("SDC", [16, 32], [0.45, 0.55])])
    return Report(
        title=f"Codes {HOSTILE}",
        paragraphs=[HOSTILE],
        command=f"sdc-search evaluate {HOSTILE}",
        machine={"cpu": HOSTILE, "load": 0.123456, "isas": ["a", "b"], "versions": {"numpy": "2", "x": None}},
        blocks=[Block(f"Data {HOSTILE}", [HOSTILE], measures, rows, {f"chance {HOSTILE}": 0.1})],
        figures=[ReportFigure("map-over-bits", HOSTILE, figure)],
        retrieval=examples,
        notes=[HOSTILE],
    )


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
