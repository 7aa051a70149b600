"""The losses' CUDA kernels on the emulator and, where there is one, on a device, against the CPU's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from cuda_emulator import Emulator
from torch import Tensor

from sdc_search import losses_cuda, native, ops

Array = npt.NDArray[Any]
SIZES = [1, 2, 3, 31, 32, 33, 255, 256, 257, 700, 1023, 1024, 1025, 2048, 2049, 4095, 4096, 4097, 9000]
needs_a_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="gpu: torch finds no CUDA device"),
]


@pytest.fixture
def emulator(emulated_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Let `losses_cuda` run on the emulator, with tensors of the CPU."""
    emulator = Emulator(emulated_module, [])
    monkeypatch.setattr(native, "usable_cuda", lambda: emulated_module)
    monkeypatch.setattr(losses_cuda, "_target", lambda tensor: (0, 0))
    monkeypatch.setattr(losses_cuda, "_empty", lambda like, shape: emulator.empty(tuple(shape), like.dtype))
    monkeypatch.setattr(
        losses_cuda, "_workspace", lambda like, n_bytes: emulator.empty((n_bytes,), torch.uint8, 16)
    )
    yield emulator
    emulator.release()


def sample(kind: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw numbers that are hard for a sort or a histogram in one way each."""
    x: Array = rng.normal(size=shape) * 0.3
    flat = x.reshape(-1)
    if kind == 1:
        x = np.round(x, 1)  # ties everywhere
    elif kind == 2:
        x = np.where(rng.random(shape) < 0.5, -0.0, np.round(x, 2))
    elif kind == 3:
        x = np.full(shape, 0.25)
    elif kind == 4:
        x = x * 1e-40  # subnormal in float32
    elif kind == 5:
        flat[rng.integers(flat.size)] = 1e30  # all the others in one cell of any grid
    elif kind == 6:
        flat[rng.integers(flat.size)] = rng.choice([-np.inf, np.inf])
    elif kind == 7:
        flat[rng.integers(flat.size)] = np.nan
    elif kind == 8:
        x = np.sort(x, axis=-1)
    return x


@dataclass
class Calibration:
    code: Tensor
    teacher: Tensor
    quantiles: Tensor
    p: float

    @classmethod
    def of(cls, seed: int) -> Calibration:
        """Return a loss whose sizes, types and difficulties follow from the seed."""
        rng = np.random.default_rng(seed)
        n = SIZES[seed % len(SIZES)]
        rows = 1 if n > 1100 else int(rng.choice([1, 2, 5]))
        real = [np.float32, np.float64]
        types = [np.float32] * 3 if seed % 3 else [real[i] for i in rng.integers(0, 2, 3)]
        code = sample(7 if seed % 17 == 3 else 2 * (seed % 2), (rows, n), rng)
        teacher = sample(seed % 9, (rows, n), rng)
        quantiles = np.sort(rng.normal(size=(rows, n) if seed % 5 == 0 else (n,)) * 0.3, axis=-1)
        p = float([1, 1, 2, 3, 1.5][seed // 9 % 5])
        arrays = [array.astype(kind) for array, kind in zip((code, teacher, quantiles), types, strict=True)]
        return cls(*map(torch.from_numpy, arrays), p)

    def check(self, losses: Tensor, gradient: Tensor) -> None:
        wanted_losses, wanted = ops._calibration_cpu(self.code, self.teacher, self.quantiles, self.p)
        rtol = 2e-6 if self.code.dtype == torch.float32 else 1e-12
        torch.testing.assert_close(losses, wanted_losses, rtol=rtol, atol=0, equal_nan=True)
        if self.p == 1:
            torch.testing.assert_close(gradient, wanted, rtol=0, atol=0, equal_nan=True)
        else:
            torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize("part", range(8))
def test_emulated_calibration(emulator: Emulator, part: int) -> None:
    for seed in range(part, 160, 8):
        case = Calibration.of(seed)
        emulator.schedule(seed)
        code, teacher, quantiles = (
            emulator.copy(tensor.numpy()) for tensor in (case.code, case.teacher, case.quantiles)
        )
        case.check(*losses_cuda.calibration_loss(code, teacher, quantiles, case.p))
        emulator.release()
