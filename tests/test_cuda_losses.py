"""The losses' CUDA kernels on the emulator and, where there is one, on a device, against the CPU's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from cuda_emulator import Emulator
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from sdc_search import (
    SDCLoss,
    beta_quantiles,
    calibration_loss,
    losses_cuda,
    native,
    ops,
    wasserstein_1d,
)
from sdc_search.quantiles import beta_nodes, beta_spline

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
    monkeypatch.setattr(
        losses_cuda, "_empty", lambda like, shape: emulator.empty((*shape, 1), like.dtype).squeeze(-1)
    )
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


class Recorder:
    """Stands in for the native module and keeps what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_workspace_bytes"):
            return lambda *arguments: 4096
        return lambda *arguments: self.calls.append((name, arguments))


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


@pytest.mark.parametrize("part", range(5))
def test_emulated_calibration(emulator: Emulator, part: int) -> None:
    for seed in range(part, 135, 5):
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
    for seed in range(24):
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
    assert n_decided > 10 if tolerance == np.inf else n_decided < 7


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


@pytest.mark.parametrize("part", range(5))
def test_emulated_wasserstein(emulator: Emulator, part: int) -> None:
    for seed in range(part, 95, 5):
        case = Transport.of(seed)
        emulator.schedule(seed)
        tensors = [
            None if tensor is None else emulator.copy(tensor.numpy())
            for tensor in (case.x, case.y, case.x_weights, case.y_weights)
        ]
        case.check(*losses_cuda.wasserstein_1d(*tensors, case.p, case.root))
        emulator.release()


def batch_of(seed: int) -> tuple[Tensor, Tensor]:
    """Return features and outputs with ties, empty rows and twins, as the seed says."""
    rng = np.random.default_rng(seed)
    n, d, k = (int(rng.choice(sizes)) for sizes in ([2, 3, 5, 33, 64, 90], [3, 16, 70], [1, 8, 33]))
    features, outputs = rng.normal(size=(n, d)), rng.normal(size=(n, k))
    if seed % 4 == 1:
        features = np.sign(features)[:, :1] * np.eye(d)[rng.integers(0, d, n)]  # cosines -1, 0, 1
    if seed % 4 == 2:
        features[n // 2] = 0
        outputs[n // 3] = 0
    if seed % 4 == 3:
        features[1] = features[0]
        outputs[rng.integers(n), 0] = np.nan if seed % 8 == 3 else 0
    return torch.from_numpy(features).float(), torch.from_numpy(outputs).float()


def check_sdc_loss(
    features: Tensor, outputs: Tensor, quantiles: Any, wanted_quantiles: Any, weight: float, exact: float
) -> None:
    gradient, wanted = torch.empty_like(outputs), torch.empty_like(outputs)
    loss = losses_cuda.sdc_loss_all(features, outputs, quantiles, weight, gradient)
    wanted_loss = ops._all(features, outputs, wanted_quantiles, weight, wanted)
    torch.testing.assert_close(loss, wanted_loss, rtol=exact, atol=1e-6, equal_nan=True)
    # Products are rounded in another order, which may exchange the ranks of two pairs that are nearly equal.
    norms = outputs.norm(dim=1)
    exchanged = 4 / (len(wanted_quantiles) * float(norms[norms > 1e-6].min()))
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=exchanged, equal_nan=True)
    assert losses_cuda.sdc_loss_all(features, outputs, quantiles, weight, None).equal(loss) or loss.isnan()


@pytest.mark.parametrize("packed", [True, False])
def test_emulated_all_pairs(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    monkeypatch.setattr(losses_cuda, "_STRIPS", 3)
    if not packed:
        monkeypatch.setattr(losses_cuda, "_PACKED_PAIRS", 0)
        monkeypatch.setattr(losses_cuda, "_LOSS_TOLERANCE", 0.02)  # some batches are sorted after all
    exact = 1e-5 if packed else 0.02
    for seed in range(24):
        emulator.schedule(seed)
        monkeypatch.setattr(losses_cuda, "_KEPT_NUMBERS", 0 if seed % 2 else 1 << 26)
        features, outputs = batch_of(seed)
        n_pairs = len(outputs) * (len(outputs) - 1) // 2
        table = beta_quantiles(n_pairs)
        quantiles: Any = emulator.copy(table.float().numpy())
        if seed % 3 == 0:
            nodes = beta_nodes(5.0, 5.0)
            assert nodes is not None
            quantiles = losses_cuda.Spline(emulator.copy(nodes), 5.0, 5.0, -1.0)
        monkeypatch.setattr(losses_cuda, "_BRACKET_FROM", 1 if seed % 2 else 1 << 20)
        if packed or seed % 8 != 3:
            check_sdc_loss(features, outputs, quantiles, table, float(seed % 5 != 0), exact)
        emulator.release()


def test_emulated_brackets_of_all_pairs_are_exact(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses_cuda, "_PACKED_PAIRS", 0)
    monkeypatch.setattr(losses_cuda, "_LOSS_TOLERANCE", np.inf)
    monkeypatch.setattr(losses_cuda._AllPairs, "_packed", lambda self: pytest.fail("was sorted"))
    rng = np.random.default_rng(0)
    features, outputs = (torch.from_numpy(rng.normal(size=(150, k))).float() for k in (40, 12))
    table = beta_quantiles(150 * 149 // 2)
    wanted = torch.empty_like(outputs)
    ops._all(features, outputs, table, 1.0, wanted)
    results = []
    for seed in range(3):
        emulator.schedule(seed)
        gradient = torch.empty_like(outputs)
        loss = losses_cuda.sdc_loss_all(
            features, outputs, emulator.copy(table.float().numpy()), 1.0, gradient
        )
        results.append((loss.item(), gradient.numpy().tobytes()))
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=4 / len(table))
    assert len(set(results)) == 1


def test_a_spline_of_a_device_is_the_table(emulator: Emulator) -> None:
    n = 3000
    for alpha, beta, floor in ((5.0, 5.0, -1.0), (2.0, 7.0, -1.0), (5.0, 5.0, 0.0)):
        nodes, spline = beta_nodes(alpha, beta), beta_spline(alpha, beta)
        assert nodes is not None
        assert spline is not None
        table = torch.from_numpy(spline.table(n, 1)).clamp(min=floor).float()
        on_device = losses_cuda.Spline(emulator.copy(nodes), alpha, beta, floor)
        # With codes of 0 in the order of the quantiles, slopes and loss tell the signs and the sizes.
        ranks = emulator.copy(np.arange(n, dtype=np.float32))
        loss, gradient = losses_cuda._calibrate(
            emulator.copy(np.full(n, 2, np.float32)), ranks, on_device, 2.0
        )
        torch.testing.assert_close(gradient, 2 * (2 - table) / n, rtol=1e-6, atol=0)
        torch.testing.assert_close(loss, ((2 - table) ** 2).mean(), rtol=1e-5, atol=0)


def test_quantiles_that_are_not_ascending_make_their_row_nan(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantiles = np.tile(np.linspace(-1, 1, 5000, dtype=np.float32), (3, 1))
    quantiles[1, 4096] = -1
    quantiles[2, -1] = np.inf
    code = np.zeros((3, 5000), np.float32)
    for first in (1, 1 << 20):
        monkeypatch.setattr(losses_cuda, "_BRACKET_FROM", first)
        losses, gradient = losses_cuda.calibration_loss(
            *(emulator.copy(array) for array in (code, code, quantiles)), 1.0
        )
        assert losses.isnan().tolist() == [False, True, True]
        assert gradient.isnan().all(dim=1).tolist() == [False, True, True]


def test_emulated_tensors_that_are_not_contiguous(emulator: Emulator) -> None:
    case = Calibration.of(12)
    case = Calibration(case.code.repeat(3, 1), case.teacher.repeat(3, 1), case.quantiles, case.p)
    rows, n = case.code.shape
    code = emulator.empty((n, rows), case.code.dtype).T.copy_(case.code)
    teacher = emulator.empty((rows, 2 * n), case.teacher.dtype)[:, ::2].copy_(case.teacher)
    case.check(*losses_cuda.calibration_loss(code, teacher, case.quantiles, case.p))
    x, y = code, emulator.empty((n, rows), torch.float32).T.copy_(case.teacher)
    weights = emulator.copy(np.ones(n, np.float32)).expand(rows, n)
    transport = Transport(x.float(), y, weights, None, 2.0, False)
    transport.check(*losses_cuda.wasserstein_1d(*vars(transport).values()))


def test_losses_without_rows(emulator: Emulator) -> None:
    x = torch.empty(0, 3)
    assert [part.shape for part in losses_cuda.calibration_loss(x, x, torch.ones(3), 1.0)] == [(0,), (0, 3)]
    parts = losses_cuda.wasserstein_1d(x, torch.empty(0, 4), None, None, 1.0, False)
    assert [part.shape for part in parts] == [(0,), (0, 3), (0, 4)]


def test_launchers_of_losses_check_what_they_are_given(emulator: Emulator) -> None:
    module = emulator.module
    rest = (0, 64, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="the workspace is too small"):
        module.calibration_loss(0, False, 0, False, 0, None, 0, 1, 100, 1.0, False, 0.0, *rest)
    with pytest.raises(ValueError, match=r"1 to 2\^31 - 1 numbers"):
        module.calibration_loss(0, False, 0, False, 0, None, 0, 1, 2**31, 1.0, False, 0.0, *rest)
    with pytest.raises(ValueError, match="brackets are for float32 and p = 1"):
        module.calibration_loss(0, True, 0, False, 0, None, 0, 1, 100, 1.0, True, 0.0, *rest)
    with pytest.raises(ValueError, match="the workspace is too small"):
        module.wasserstein_1d(0, 0, 0, 0, False, 1, 10, 10, 1.0, False, 0, 8, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match=r"1 to 2\^31 - 1 numbers"):
        module.wasserstein_1d(0, 0, 0, 0, False, 1, 0, 10, 1.0, False, 0, 8, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="the workspace is too small"):
        module.PairBrackets(10, 12, 0, None, 10, 0.0, 0, 64, 0, 0)


@pytest.mark.filterwarnings("ignore:Warning only once for all operators")
def test_the_cuda_dispatch_key_leads_to_the_kernels(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("calibration_loss", "wasserstein_1d", "scale_rows"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"sdc_search::{name}", "CUDA")
    # With the kernels under the key of the CPU, autograd takes the way that it takes on a device.
    calls: list[str] = []

    def counted(function: Any) -> Any:
        return lambda *args: calls.append(function.__name__) or function(*args)

    with torch.library._scoped_library("sdc_search", "IMPL") as library:
        for function in (losses_cuda.calibration_loss, losses_cuda.wasserstein_1d):
            library.impl(function.__name__, counted(function), "CPU", allow_override=True)
        monkeypatch.setattr(ops, "is_eager", lambda *tensors: False)
        rng = np.random.default_rng(0)
        s, t = (torch.from_numpy(rng.normal(size=(2, 300))).float().requires_grad_() for _ in range(2))
        (2 * calibration_loss(s, t.detach(), beta_quantiles(300).float())).backward()
        loss = wasserstein_1d(s, t[:, :200], 2, root=True, reduction="mean")
        loss.backward()
    assert calls == ["calibration_loss", "wasserstein_1d"]
    monkeypatch.undo()
    got, s.grad, t_gradient, t.grad = s.grad, None, t.grad, None
    (2 * calibration_loss(s, t.detach(), beta_quantiles(300).float())).backward()
    wasserstein_1d(s, t[:, :200], 2, root=True, reduction="mean").backward()
    torch.testing.assert_close(got, s.grad)
    torch.testing.assert_close(t_gradient, t.grad)


def test_tensors_of_a_device_reach_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(native, "usable_cuda", lambda: recorder)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=77))
    monkeypatch.setattr(FakeTensor, "data_ptr", lambda tensor: 11)
    with FakeTensorMode():
        s, t = torch.empty(2, 90, device="cuda:1"), torch.empty(2, 90, device="cuda:1")
        losses, gradient = losses_cuda.calibration_loss(
            s, t.double(), torch.empty(90, device="cuda:1").double(), 2.0
        )
        assert (losses.shape, gradient.shape) == ((2,), (2, 90))
        parts = losses_cuda.wasserstein_1d(s, torch.empty(2, 80, device="cuda:1"), None, s, 1.0, True)
        assert [part.shape for part in parts] == [(2,), (2, 90), (2, 80)]
        assert {part.device for part in (losses, gradient, *parts)} == {torch.device("cuda:1")}
    calibration, wasserstein = recorder.calls
    assert calibration == (
        "calibration_loss",
        (11, False, 11, True, 11, None, 0, 2, 90, 2.0, False, 2e-7, 11, 4096, 11, 11, 1, 77),
    )
    assert wasserstein == (
        "wasserstein_1d",
        (11, 11, 0, 11, False, 2, 90, 80, 1.0, True, 11, 4096, 11, 11, 11, 1, 77),
    )


@pytest.mark.parametrize("module", [None, SimpleNamespace()])
def test_fake_tensors_of_a_device_have_the_right_shapes(
    monkeypatch: pytest.MonkeyPatch, module: SimpleNamespace | None
) -> None:
    monkeypatch.setattr(native, "cuda", lambda: module)
    with FakeTensorMode():
        s = torch.empty(3, 8, device="cuda")
        value = calibration_loss(s, s, torch.empty(8, device="cuda"))
        assert (value.shape, value.device.type) == ((), "cuda")
        assert wasserstein_1d(s, torch.empty(3, 5, device="cuda")).shape == (3,)
        losses, gradient = torch.ops.sdc_search.calibration_loss(s, s, s, 1.0)
        assert (losses.shape, gradient.shape, gradient.device.type) == ((3,), (3, 8), "cuda")


def test_all_pairs_of_a_device_get_quantiles_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class Outputs(list[None]):
        """What of a tensor on a device is looked at."""

        is_cuda, is_cpu, dtype, device = True, False, torch.float32, torch.device("cpu")

    given: list[Any] = []
    monkeypatch.setattr(ops, "sdc_loss_all", lambda f, o, quantiles, q: given.append(quantiles))
    loss = SDCLoss(pairs="all", clip_negative_targets=True)
    few: Any = Outputs([None] * 50)
    many: Any = Outputs([None] * 2000)
    for outputs in (few, few, many, many):
        loss._fused(outputs, outputs)
    torch.testing.assert_close(given[0], beta_quantiles(50 * 49 // 2).clamp(min=0).float())
    assert given[0] is given[1]  # not copied to the device again
    assert given[2][1:] == (5.0, 5.0, 0.0)
    assert given[2].nodes is given[3].nodes
    assert SDCLoss(pairs="all", distribution="uniform")._fused(many, many) is None


def test_losses_of_tensors_on_two_devices() -> None:
    with FakeTensorMode():
        s, other = torch.empty(8, device="cuda:0"), torch.empty(8, device="cuda:1")
        with pytest.raises(ValueError, match="must lie on one device, got cuda:0 and cuda:1 and cuda:0"):
            calibration_loss(s, other, s)
        with pytest.raises(ValueError, match="x and y must lie on one device, got cuda:0 and cpu"):
            wasserstein_1d(s, torch.empty(8))
        with pytest.raises(ValueError, match="features and outputs must lie on one device"):
            SDCLoss()(s.view(4, 2), other.view(4, 2))
        with pytest.raises(ValueError, match="all tensors must lie on one device, got cuda:0 and cuda:1"):
            losses_cuda.wasserstein_1d(s, s, None, other, 1.0, False)
        with pytest.raises(ValueError, match="runs on the CPU and on CUDA devices, got tensors on xpu:0"):
            wasserstein_1d(torch.empty(8, device="xpu"), torch.empty(8, device="xpu"))


def test_losses_without_kernels_or_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeTensorMode():
        x = torch.empty(9, device="cuda")
        monkeypatch.setattr(native, "cuda", lambda: None)
        assert calibration_loss(x, x, x).device.type == "cuda"  # in plain torch
        with pytest.raises(RuntimeError, match="this build of sdc_search has no CUDA kernels"):
            losses_cuda.wasserstein_1d(x, x, None, None, 1.0, False)
        monkeypatch.setattr(native, "cuda", lambda: SimpleNamespace(devices_problem=lambda: "no driver"))
        with pytest.raises(RuntimeError, match="CUDA cannot be used: no driver; pass tensors of the CPU"):
            losses_cuda.calibration_loss(x, x, x, 1.0)


def on_device(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.cuda()


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=needs_a_gpu) for seed in range(0, 160, 3)])
def test_losses_on_a_device(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for first in (1 << 20, 1):
        monkeypatch.setattr(losses_cuda, "_BRACKET_FROM", first)
        case = Calibration.of(seed)
        results = losses_cuda.calibration_loss(
            case.code.cuda(), case.teacher.cuda(), case.quantiles.cuda(), case.p
        )
        case.check(*(result.cpu() for result in results))
    transport = Transport.of(seed)
    tensors = map(on_device, (transport.x, transport.y, transport.x_weights, transport.y_weights))
    results = losses_cuda.wasserstein_1d(*tensors, transport.p, transport.root)
    transport.check(*(result.cpu() for result in results))


def gradient_of(function: Callable[[Tensor], Tensor], tensor: Tensor) -> tuple[Tensor, Tensor]:
    leaf = tensor.detach().clone().requires_grad_()
    value = function(leaf)
    value.sum().backward()
    assert leaf.grad is not None
    return value.detach().cpu(), leaf.grad.cpu()


@pytest.mark.parametrize(
    "n", [pytest.param(n, marks=needs_a_gpu) for n in (300_000, 1_000_000, 1_048_576, 3_000_001)]
)
def test_many_similarities_on_a_device_as_on_the_cpu(n: int) -> None:
    rng = np.random.default_rng(0)
    quantiles = beta_quantiles(n).float()
    for kind in range(9):
        s, t = (torch.from_numpy(sample(k, (n,), rng).astype(np.float32)) for k in (0, kind))
        arguments = t.cuda(), quantiles.cuda()
        value, gradient = gradient_of(lambda s, a=arguments: calibration_loss(s, *a), s.cuda())
        wanted_value, wanted = gradient_of(lambda s, t=t: calibration_loss(s, t, quantiles), s)
        torch.testing.assert_close(value, wanted_value, rtol=2e-6, atol=0, equal_nan=True)
        torch.testing.assert_close(gradient, wanted, rtol=1e-6, atol=0, equal_nan=True)
        again = gradient_of(lambda s, a=arguments: calibration_loss(s, *a), s.cuda())
        assert again[0].numpy().tobytes() == value.numpy().tobytes()
        y = t[: n // 3]
        moved = y.cuda()
        value, gradient = gradient_of(lambda x, y=moved: wasserstein_1d(x, y, 2), s.cuda())
        wanted_value, wanted = gradient_of(lambda x, y=y: wasserstein_1d(x, y, 2), s)
        torch.testing.assert_close(value, wanted_value, rtol=1e-5, atol=0, equal_nan=True)
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-5 / n, equal_nan=True)


@pytest.mark.parametrize("pairs", [pytest.param(pairs, marks=needs_a_gpu) for pairs in ("half", "all")])
@pytest.mark.parametrize("n", [2, 33, 1000, 2000, 5000])
def test_sdc_loss_on_a_device_as_on_the_cpu(pairs: Any, n: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features, outputs = (torch.randn(n, k, generator=generator) for k in (96, 32))
    loss = SDCLoss(pairs=pairs)
    for dtype in (torch.float32, torch.bfloat16):
        value, gradient = gradient_of(
            lambda v, dtype=dtype: loss(features.to("cuda", dtype), v), outputs.to("cuda", dtype)
        )
        wanted_value, wanted = gradient_of(
            lambda v, dtype=dtype: loss(features.to(dtype), v), outputs.to(dtype)
        )
        torch.testing.assert_close(value, wanted_value, rtol=1e-4, atol=1e-5)
        # ranks of pairs that are nearly equal may be exchanged
        close = (gradient - wanted).norm() / wanted.norm()
        assert close < (1e-2 if dtype == torch.float32 else 2e-2)


@pytest.mark.parametrize("case", [pytest.param(case, marks=needs_a_gpu) for case in range(5)])
def test_forward_and_backward_are_captured_as_a_graph(case: int) -> None:
    generator = torch.Generator().manual_seed(case)
    n = 2_000_000 if case < 2 else 512
    other, fresh = (torch.randn(n, 16 if n == 512 else 1, generator=generator).cuda() for _ in range(2))
    static = torch.randn(n, 16 if n == 512 else 1, generator=generator).cuda().requires_grad_()
    quantiles = beta_quantiles(n).float().cuda()
    half, every = SDCLoss(), SDCLoss(pairs="all")
    function = [
        lambda v: calibration_loss(v.flatten(), other.flatten(), quantiles),
        lambda v: calibration_loss(v.flatten(), other.flatten().round(decimals=1), quantiles),  # sorted
        lambda v: wasserstein_1d(v, other[:, :9], 2).sum(),
        lambda v: half(other, v),
        lambda v: every(other, v),
    ][case]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            static.grad = None
            function(static).backward()
    torch.cuda.current_stream().wait_stream(side)
    static.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = function(static)
        value.backward()
    with torch.no_grad():
        static.copy_(fresh)
    graph.replay()
    assert static.grad is not None
    wanted_value, wanted = gradient_of(function, fresh)
    torch.testing.assert_close(value.detach().cpu(), wanted_value, rtol=1e-6, atol=0)
    torch.testing.assert_close(static.grad.cpu(), wanted, rtol=1e-6, atol=0)
