from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.autograd import forward_ad

from sdc_search import ops
from sdc_search.losses import SDCLoss, beta_quantiles, calibration_loss, wasserstein_1d

OPS = torch.ops.sdc_search


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def calibration(s: torch.Tensor, t: torch.Tensor, p: float = 1) -> torch.Tensor:
    return calibration_loss(s, t, beta_quantiles(s.shape[-1]).to(s), p)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_opcheck(dtype, p):
    s, t = random(3, 8, dtype=dtype).requires_grad_(), random(3, 8, seed=1, dtype=dtype)
    quantiles = beta_quantiles(8).to(dtype)
    torch.library.opcheck(OPS.calibration_loss, (s, t, quantiles, p))
    x, y = random(3, 8, dtype=dtype).requires_grad_(), random(3, 5, seed=1, dtype=dtype).requires_grad_()
    torch.library.opcheck(OPS.wasserstein_1d, (x, y, None, None, p, False))
    torch.library.opcheck(OPS.wasserstein_1d, (x, y, torch.rand(3, 8).to(dtype), None, p, True))
    torch.library.opcheck(
        OPS.scale_rows, (random(3, dtype=dtype), random(3, 8, dtype=dtype), random(3, 8, dtype=dtype))
    )


def gradients(function, *tensors):
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    value = function(*leaves)
    value.sum().backward()
    return value.detach(), [leaf.grad for leaf in leaves]


TEACHER, OTHER, FEATURES = random(3, 20, seed=1), random(3, 25, seed=1), random(3, 7, seed=2)


@pytest.mark.parametrize(
    "function",
    [
        lambda s: calibration(s, TEACHER),
        lambda s: calibration(s, TEACHER, 2),
        lambda s: wasserstein_1d(s, OTHER, 2, root=True),
        lambda s: SDCLoss()(FEATURES, s),
        lambda s: SDCLoss(pairs="all")(FEATURES.float(), s.float()),
    ],
)
def test_compiled_without_a_graph_break_it_is_the_same(function):
    s = random(3, 20)
    value, (gradient,) = gradients(function, s)
    compiled_value, (compiled_gradient,) = gradients(
        torch.compile(function, fullgraph=True, backend="aot_eager"), s
    )
    torch.testing.assert_close(compiled_value, value)
    torch.testing.assert_close(compiled_gradient, gradient)


def test_the_registered_operation_serves_long_rows():
    s, t = random(70_000, dtype=torch.float32), random(70_000, seed=1, dtype=torch.float32)
    value, (gradient,) = gradients(lambda s: calibration(s, t), s)
    other, (other_gradient,) = gradients(
        lambda s: OPS.calibration_loss(s, t, beta_quantiles(70_000).float(), 1.0)[0], s
    )
    torch.testing.assert_close(other, value)
    torch.testing.assert_close(other_gradient, gradient)


class Distances(torch.nn.Module):
    def forward(self, s, t, quantiles):
        return calibration_loss(s, t, quantiles) + wasserstein_1d(s, t).sum()


def test_an_exported_program_runs_in_a_new_process(tmp_path):
    inputs = random(20), random(20, seed=1), beta_quantiles(20)
    program = torch.export.export(Distances(), inputs)
    torch.export.save(program, tmp_path / "program.pt2")
    torch.save(inputs, tmp_path / "inputs.pt")
    script = (
        "import torch, sdc_search.ops\n"
        f"program = torch.export.load({str(tmp_path / 'program.pt2')!r})\n"
        f"print(repr(program.module()(*torch.load({str(tmp_path / 'inputs.pt')!r})).item()))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    assert float(printed) == pytest.approx(Distances()(*inputs).item(), rel=1e-12)


def test_fake_tensors_have_the_right_shapes():
    with torch._subclasses.FakeTensorMode():
        s = torch.empty(3, 8, requires_grad=True)
        loss = calibration_loss(s, torch.empty(3, 8), torch.empty(8))
        assert loss.shape == ()
        loss.backward()
        assert s.grad.shape == (3, 8)
        assert wasserstein_1d(s, torch.empty(3, 5)).shape == (3,)


@pytest.mark.parametrize("p", [1, 2])
def test_vmap_is_a_loop(p):
    s, t = random(4, 3, 8), random(3, 4, 8, seed=1)
    quantiles = random(4, 8, seed=2).sort().values
    mapped = torch.vmap(lambda s, t, c: calibration_loss(s, t, c, p), in_dims=(0, 1, 0))
    looped = [
        calibration_loss(a, b, c.expand(3, 8), p)
        for a, b, c in zip(s, t.movedim(1, 0), quantiles, strict=True)
    ]
    torch.testing.assert_close(mapped(s, t, quantiles), torch.stack(looped))
    x, y = random(5, 4, 8), random(4, 6, seed=1)
    mapped_w = torch.vmap(lambda x: wasserstein_1d(x, y, p))(x)
    torch.testing.assert_close(mapped_w, torch.stack([wasserstein_1d(row, y, p) for row in x]))


@pytest.mark.parametrize(
    "function",
    [
        lambda s: calibration(s, random(9, seed=1), 2),
        lambda s: wasserstein_1d(s, random(9, seed=1), 2),
        lambda s: SDCLoss()(random(9, 4).float(), s.float().view(9, 1)),
        lambda s: OPS.wasserstein_1d(s, random(9, seed=1), None, None, 2.0, False)[0],
    ],
)
def test_second_derivatives_are_refused(function):
    s = random(9).requires_grad_()
    (gradient,) = torch.autograd.grad(function(s), s, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate"):
        gradient.sum().backward()


WIDE = random(10, 7, seed=2, dtype=torch.float32)
TRANSFORMED = [
    lambda s: calibration(s, TEACHER[0]),
    lambda s: calibration(s, TEACHER[0], 2),
    lambda s: wasserstein_1d(s, OTHER[0], 2, root=True),
    lambda s: SDCLoss()(WIDE, s.float().view(10, 2)),
]


@pytest.mark.parametrize("function", TRANSFORMED)
def test_gradients_by_torch_func(function):
    batch = random(3, 20, seed=5)
    mapped = torch.func.vmap(torch.func.grad(function))(batch)
    for s, mapped_gradient in zip(batch, mapped, strict=True):
        _, (wanted,) = gradients(function, s)
        close = {"rtol": 0, "atol": 1e-5 * wanted.abs().max().item()}  # one function computes in float32
        torch.testing.assert_close(torch.func.grad(function)(s), wanted, **close)
        torch.testing.assert_close(mapped_gradient, wanted, **close)
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.func.grad(lambda s: torch.func.grad(function)(s).sum())(batch[0])


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own use of it in jvp
@pytest.mark.parametrize("function", TRANSFORMED)
def test_forward_mode_is_refused(function):
    s = random(20)
    with pytest.raises(RuntimeError, match="no forward-mode derivative"):
        torch.func.jvp(function, (s,), (s,))
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="no forward-mode derivative"):
        function(forward_ad.make_dual(s, s))


@pytest.mark.parametrize("distribution", [None, "uniform"])
def test_quantiles_first_asked_for_inside_a_transform_serve_outside_it(distribution):
    features, outputs = random(14, 5).float(), random(14, 4, seed=1).float()
    loss = SDCLoss(alpha=4.25, distribution=distribution)
    gradient = torch.func.grad(lambda v: loss(features, v))(outputs)
    _, (wanted,) = gradients(lambda v: loss(features, v), outputs)
    torch.testing.assert_close(gradient, wanted)


def test_the_graph_may_be_walked_twice():
    s = random(9).requires_grad_()
    loss = calibration(s, random(9, seed=1))
    loss.backward(retain_graph=True)
    first = s.grad.clone()
    loss.backward()
    torch.testing.assert_close(s.grad, 2 * first)


def test_gradients_are_scaled_by_what_comes_back():
    s, t = random(100_000, dtype=torch.float32), random(100_000, seed=1, dtype=torch.float32)
    for n in (10, 100_000):
        _, (gradient,) = gradients(lambda s, n=n: calibration(s[:n], t[:n]), s)
        _, (scaled,) = gradients(lambda s, n=n: -3 * calibration(s[:n], t[:n]), s)
        torch.testing.assert_close(scaled, -3 * gradient)


def test_inference_and_autocast():
    s, t = random(50, dtype=torch.float32), random(50, seed=1, dtype=torch.float32)
    wanted = calibration(s, t)
    with torch.inference_mode():
        assert calibration(s, t) == wanted
        assert calibration(s.clone(), t) == wanted
    with torch.no_grad():
        assert not calibration(s.requires_grad_(), t).requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = calibration(s, t)
        assert loss.dtype == torch.float32
        assert SDCLoss()(random(8, 4).float(), random(8, 4, seed=1).bfloat16()).dtype == torch.float32
    assert loss == wanted


def test_half_precision_gets_its_gradient_in_its_own_dtype():
    s = random(30).bfloat16().requires_grad_()
    calibration_loss(s, random(30, seed=1), beta_quantiles(30)).backward()
    assert s.grad.dtype == torch.bfloat16


def test_only_plain_tensors_on_the_cpu_are_read_directly():
    assert ops.is_eager(torch.ones(1), torch.nn.Parameter(torch.ones(1)))
    assert not ops.is_eager(torch.ones(1, device="meta"))


def test_other_devices_take_plain_torch():
    s, t = random(3, 20), random(3, 20, seed=1)
    plain = ops._plain_calibration_loss(s, t, beta_quantiles(20), 1.5)
    torch.testing.assert_close(plain, calibration(s, t, 1.5))
