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


def bracketed(seed: int) -> Calibration:
    """Return a float32 loss of p = 1 with brackets that decide much."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 3, 100, 1023, 1025, 4097]))
    rows = 1 + seed % 2
    kind = seed % 9 if seed % 2 else int(rng.choice([0, 8]))
    quantiles = rng.normal(size=n) * 0.3 if seed % 4 else rng.choice([-0.3, 0, 0.3], n)
    arrays = sample(0, (rows, n), rng), sample(kind, (rows, n), rng), np.sort(quantiles)
    return Calibration(*(torch.from_numpy(array.astype(np.float32)) for array in arrays), 1.0)


@pytest.mark.parametrize("tolerance", [2e-7, np.inf])
def test_emulated_brackets_and_their_fallback(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tolerance: float
) -> None:
    monkeypatch.setattr(losses_cuda, "_BRACKET_FROM", 1)
    monkeypatch.setattr(losses_cuda, "_LOSS_TOLERANCE", tolerance)
    workspaces: list[Tensor] = []
    make = losses_cuda._workspace
    monkeypatch.setattr(
        losses_cuda, "_workspace", lambda *args: workspaces.append(make(*args)) or workspaces[-1]
    )
    n_decided = 0
    for seed in range(36):
        case = bracketed(seed)
        emulator.schedule(seed)
        tensors = (emulator.copy(tensor.numpy()) for tensor in (case.code, case.teacher, case.quantiles))
        losses, gradient = losses_cuda.calibration_loss(*tensors, 1.0)
        decided = workspaces[-1][32:36].view(torch.int32).item() == 0  # of the last row
        n_decided += decided
        if tolerance == np.inf:  # signs are exact; the loss is made of means
            wanted_losses, wanted = ops._calibration_cpu(case.code, case.teacher, case.quantiles, 1.0)
            torch.testing.assert_close(gradient, wanted, rtol=0, atol=0, equal_nan=True)
            torch.testing.assert_close(losses, wanted_losses, rtol=0.05, atol=0.01, equal_nan=True)
        else:
            case.check(losses, gradient)
        workspaces.clear()
        emulator.release()
    assert n_decided > 15 if tolerance == np.inf else n_decided < 9


@dataclass
class Transport:
    x: Tensor
    y: Tensor
    x_weights: Tensor | None
    y_weights: Tensor | None
    p: float
    root: bool

    @classmethod
    def of(cls, seed: int) -> Transport:
        """Return a distance whose sizes, weights, types and difficulties follow from the seed."""
        rng = np.random.default_rng(seed)
        sizes = [SIZES[seed % len(SIZES)], int(rng.choice([1, 2, 30, 257, 1030, 4100]))]
        if seed % 3 == 0:
            sizes[1] = sizes[0]
        sizes = sizes[:: 1 if seed % 2 else -1]
        rows = 1 if max(sizes) > 1100 else int(rng.choice([1, 2, 5]))
        real = np.float64 if seed % 4 == 3 else np.float32
        weights: list[Tensor | None] = [None, None]
        for side in (0, 1):
            if seed % 5 in (1 + side, 3):
                raw = np.round(rng.random((rows, sizes[side])), 1) + (np.arange(sizes[side]) == 0)
                weights[side] = torch.from_numpy((raw * (2 if seed % 2 else 1e-3)).astype(real))
        if seed % 31 == 3 and weights[0] is not None:
            weights[0][0] = 0 if seed % 2 else -1
        samples = (
            torch.from_numpy(sample(kind, (rows, size), rng).astype(real))
            for kind, size in zip((seed % 9, seed % 4), sizes, strict=True)
        )
        p = float([1, 2, 3, 1.5][seed // 9 % 4])
        return cls(*samples, *weights, p, bool(seed % 7 == 2))

    def check(self, losses: Tensor, *gradients: Tensor) -> None:
        wanted_losses, *wanted = ops._wasserstein_cpu(*vars(self).values())
        exact = 1e-10 if self.x.dtype == torch.float64 else 5e-6
        for weights in (self.x_weights, self.y_weights):
            if weights is not None and (weights < 0).any():
                wanted_losses[0] = torch.nan
                for gradient in wanted:
                    gradient[0] = torch.nan
        torch.testing.assert_close(losses, wanted_losses, rtol=exact, atol=1e-12, equal_nan=True)
        for got, gradient in zip(gradients, wanted, strict=True):
            size = max(float(gradient.nan_to_num(0, 0, 0).abs().max()), 1 / gradient.shape[-1])
            torch.testing.assert_close(got, gradient, rtol=1e-4, atol=3e-5 * size, equal_nan=True)


@pytest.mark.parametrize("part", range(8))
def test_emulated_wasserstein(emulator: Emulator, part: int) -> None:
    for seed in range(part, 160, 8):
        case = Transport.of(seed)
        emulator.schedule(seed)
        tensors = [
            None if tensor is None else emulator.copy(tensor.numpy())
            for tensor in (case.x, case.y, case.x_weights, case.y_weights)
        ]
        case.check(*losses_cuda.wasserstein_1d(*tensors, case.p, case.root))
        emulator.release()
