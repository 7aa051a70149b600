from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import wasserstein_distance

import sdc_search
from sdc_search import reference
from sdc_search.losses import beta_quantiles, calibration_loss, wasserstein_1d
from sdc_search.native import core

METHODS = ["automatic", "sort", "bracket"]


def native_calibration(code, teacher, quantiles, *, p=1.0, threads=1, method="automatic", signs=True):
    """Call the native loss on one row; the gradient comes from its signs where they are asked for."""
    loss, n = np.empty(1, code.dtype), len(code)
    kept, gradient = np.empty(n, np.int8), np.empty(n, code.dtype)
    core.calibration_loss(
        code.ctypes.data,
        code.dtype == np.float64,
        teacher.ctypes.data,
        teacher.dtype == np.float64,
        quantiles.ctypes.data,
        quantiles.dtype == np.float64,
        0,
        1,
        n,
        p,
        threads,
        loss.ctypes.data,
        kept.ctypes.data if signs else 0,
        0 if signs else gradient.ctypes.data,
        method,
    )
    if signs:
        core.scale_signs(kept.ctypes.data, n, 1 / n, threads, gradient.ctypes.data, code.dtype == np.float64)
    return float(loss[0]), gradient


def teacher_of_kind(kind: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw similarities that are hard for a sort or a histogram in one way each."""
    t = np.clip(rng.normal(size=n) * 0.2, -1, 1).astype(np.float32)
    if kind == 1:
        t = np.round(t, 1)  # ties everywhere
    elif kind == 2:
        t = np.where(rng.random(n) < 0.5, np.float32(-0.0), np.round(t, 2))
    elif kind == 3:
        t[:] = 0.25
    elif kind == 4:
        t = (t * np.float32(1e-40)).astype(np.float32)  # subnormal
    elif kind == 5:
        t[rng.integers(n)] = 1e30  # all the others in one cell of any grid
    elif kind == 6:
        t[rng.integers(n)] = rng.choice([-np.inf, np.inf])
    elif kind == 7:
        t = np.exp(20 * t).astype(np.float32)
    elif kind == 8:
        t = np.sort(t)
    return t


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", range(9))
def test_calibration_is_a_stable_sort(isa, kind, method):
    rng = np.random.default_rng(kind)
    for n in [1, 2, 3, *rng.integers(4, 60, 6), *rng.integers(60, 5000, 6), 70_000]:
        code = rng.normal(size=n).astype(np.float32) * np.float32(0.3)
        code[rng.random(n) < 0.05] = 0
        teacher = teacher_of_kind(kind, n, rng)
        quantiles = np.sort(rng.choice([-0.3, 0, 0.3], n) if n % 2 else rng.normal(size=n)).astype(np.float32)
        wanted_loss, wanted = reference.calibration_loss(code, teacher, quantiles)
        for threads in (1, 2):
            loss, gradient = native_calibration(code, teacher, quantiles, threads=threads, method=method)
            # forced on a row like these, the bracket is exact in its signs alone
            if method != "bracket":
                assert loss == pytest.approx(wanted_loss, rel=2e-6)
            np.testing.assert_array_equal(gradient, wanted.astype(np.float32))


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize("dtypes", list(itertools.product([np.float32, np.float64], repeat=3)))
def test_calibration_in_every_mix_of_dtypes(p, dtypes):
    rng = np.random.default_rng(0)
    for n in (1, 7, 100, 3000):
        code, teacher, quantiles = (rng.normal(size=n).astype(dtype) for dtype in dtypes)
        quantiles.sort()
        wanted_loss, wanted = reference.calibration_loss(code, teacher, quantiles, p)
        exact = 1e-12 if dtypes[0] == np.float64 else 2e-6
        for signs in (True, False) if p == 1 else (False,):
            loss, gradient = native_calibration(code, teacher, quantiles, p=p, signs=signs)
            assert loss == pytest.approx(wanted_loss, rel=exact)
            np.testing.assert_allclose(gradient, wanted, rtol=0, atol=5 * exact * np.abs(wanted).max())


@pytest.mark.parametrize("correlated", [False, True])
def test_large_rows_are_exact_and_the_same_for_every_thread_count(isa, correlated):
    rng = np.random.default_rng(0)
    n = 300_000
    teacher = np.clip(rng.normal(size=n) * 0.2, -1, 1).astype(np.float32)
    code = (0.8 * teacher + rng.normal(size=n) * 0.02 if correlated else rng.normal(size=n) * 0.3).astype(
        np.float32
    )
    quantiles = beta_quantiles(n).numpy().astype(np.float32)
    wanted_loss, wanted = reference.calibration_loss(code, teacher, quantiles)
    results = [
        native_calibration(code, teacher, quantiles, threads=threads, method=method)
        for method in METHODS
        for threads in (1, 2, 3, 7)
    ]
    for loss, gradient in results:
        assert loss == pytest.approx(wanted_loss, rel=2e-6)
        assert gradient.tobytes() == wanted.astype(np.float32).tobytes()
    for start in range(0, len(results), 4):
        assert len({loss for loss, _ in results[start : start + 4]}) == 1


def test_a_loss_too_small_for_means_is_sorted():
    rng = np.random.default_rng(0)
    n = 250_000
    teacher = rng.permutation(n).astype(np.float32)
    quantiles = np.linspace(-0.8, 0.8, n, dtype=np.float32)
    code = quantiles[teacher.astype(int)] + rng.normal(size=n).astype(np.float32) * np.float32(1e-5)
    wanted_loss, wanted = reference.calibration_loss(code, teacher, quantiles)
    loss, gradient = native_calibration(code, teacher, quantiles)
    assert loss == pytest.approx(wanted_loss, rel=2e-6)
    np.testing.assert_array_equal(gradient, wanted.astype(np.float32))


@pytest.mark.parametrize("n", [1, 5, 100, 300_000])
@pytest.mark.parametrize("where", ["code", "teacher"])
@pytest.mark.parametrize("p", [1, 2])
def test_nan_makes_the_loss_and_the_gradient_nan(isa, n, where, p):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=n).astype(np.float32) for name in ("code", "teacher")}
    arrays[where][n // 2] = np.nan
    quantiles = np.sort(rng.normal(size=n)).astype(np.float32)
    loss, gradient = native_calibration(**arrays, quantiles=quantiles, p=p, signs=p == 1)
    assert math.isnan(loss)
    assert np.isnan(gradient).all()


def test_nan_stays_in_its_row():
    s = torch.zeros(2, 3, requires_grad=True)
    t = torch.tensor([[1.0, 2.0, math.nan], [1.0, 2.0, 3.0]])
    loss = calibration_loss(s, t, torch.tensor([-1.0, 0.0, 1.0]))
    loss.backward()
    assert math.isnan(loss.item())
    assert s.grad[0].isnan().all()
    torch.testing.assert_close(s.grad[1], torch.tensor([1.0, 0.0, -1.0]) / 6)
    assert wasserstein_1d(t, torch.zeros(2, 3)).isnan().tolist() == [True, False]


def test_infinite_codes_are_infinitely_far():
    s = torch.tensor([math.inf, 0.0], requires_grad=True)
    loss = calibration_loss(s, torch.tensor([math.inf, -math.inf]), torch.tensor([-0.5, 0.5]))
    loss.backward()
    assert loss.item() == math.inf
    torch.testing.assert_close(s.grad, torch.tensor([0.5, 0.5]))


def rows_of(rng: np.random.Generator, n: int, kind: int) -> np.ndarray:
    x = rng.normal(size=n)
    return np.round(x, 1) if kind == 1 else np.full(n, 0.5) if kind == 2 else x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [1, 1.5, 2])
def test_wasserstein_is_its_definition(dtype, p):
    rng = np.random.default_rng(0)
    exact = 1e-9 if dtype == torch.float64 else 2e-6
    for case in range(60):
        n, m = int(rng.integers(1, 40)), int(rng.integers(1, 40))
        m = n if case % 3 == 0 else m
        x, y = (torch.tensor(rows_of(rng, size, case % 5), dtype=dtype) for size in (n, m))
        weights = [
            torch.tensor(np.round(rng.random(size), 1) + (np.arange(size) == 0), dtype=dtype)
            if flag
            else None
            for size, flag in ((n, case % 4 in (1, 3)), (m, case % 4 in (2, 3)))
        ]
        arrays = [None if w is None else w.numpy() for w in weights]
        wanted, *gradients = reference.wasserstein_1d(x.numpy(), y.numpy(), p, *arrays)
        x.requires_grad_()
        y.requires_grad_()
        loss = wasserstein_1d(x, y, p, *weights)
        loss.backward()
        assert loss.item() == pytest.approx(wanted, rel=5 * exact, abs=1e-12)
        for tensor, gradient in zip((x, y), gradients, strict=True):
            scale = max(np.abs(gradient).max(), 1 / max(n, m))
            np.testing.assert_allclose(tensor.grad, gradient, rtol=0, atol=1e-5 * scale)


def test_wasserstein_agrees_with_scipy():
    rng = np.random.default_rng(0)
    for _ in range(30):
        n, m = rng.integers(1, 200, 2)
        x, y, x_weights, y_weights = rng.normal(size=n), rng.normal(size=m), rng.random(n), rng.random(m)
        for weights in ((None, None), (x_weights, None), (x_weights, y_weights)):
            tensors = [None if w is None else torch.tensor(w) for w in weights]
            ours = wasserstein_1d(torch.tensor(x), torch.tensor(y), 1, *tensors).item()
            assert ours == pytest.approx(wasserstein_distance(x, y, *weights), rel=1e-9)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_wasserstein_agrees_with_pot(p):
    rng = np.random.default_rng(0)
    x, y = torch.tensor(rng.normal(size=(5, 30))), torch.tensor(rng.normal(size=(5, 45)))
    x_weights, y_weights = torch.tensor(rng.random((5, 30)) + 0.1), torch.tensor(rng.random((5, 45)) + 0.1)
    x_weights, y_weights = (w / w.sum(-1, keepdim=True) for w in (x_weights, y_weights))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*non-writable|.*searchsorted.*|.*__array_wrap__.*")
        theirs = ot.wasserstein_1d(x.T, y.T, x_weights.T, y_weights.T, p=p)
    torch.testing.assert_close(wasserstein_1d(x, y, p, x_weights, y_weights), theirs)
    torch.testing.assert_close(wasserstein_1d(x, y, p, x_weights, y_weights, root=True), theirs ** (1 / p))


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize("p", [1, 2, 2.5])
@pytest.mark.parametrize("m", [12, 17])
def test_wasserstein_gradients_are_numerically_right(p, root, m):
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(2, size, generator=generator, dtype=torch.float64) for size in (12, m))
    weights = torch.rand(12, generator=generator, dtype=torch.float64) + 0.1
    x.requires_grad_()
    y.requires_grad_()
    for given_weights in (None, weights):
        assert torch.autograd.gradcheck(
            lambda x, y, w=given_weights: wasserstein_1d(x, y, p, w, root=root), (x, y), eps=1e-8, atol=1e-4
        )


def test_the_root_of_nothing_has_gradient_0():
    x = torch.ones(4, requires_grad=True)
    wasserstein_1d(x, torch.ones(4), 2, root=True).backward()
    assert x.grad.tolist() == [0, 0, 0, 0]


def test_long_rows_of_different_sizes_do_not_drift():
    x, y = torch.arange(300_000, dtype=torch.float32), torch.arange(299_999, dtype=torch.float32)
    wanted = wasserstein_distance(x.numpy(), y.numpy())
    assert wasserstein_1d(x, y).item() == pytest.approx(wanted, rel=1e-6)


def test_rows_are_the_same_bytes_for_every_thread_count(isa):
    before = sdc_search.info()["threads"]
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 3000, generator=generator), torch.randn(40, 2500, generator=generator)
    long = torch.randn(2, 70_000, generator=generator)
    results = set()
    for threads in (1, 2, 5):
        sdc_search.set_num_threads(threads)
        results.add(
            tuple(
                loss.numpy().tobytes()
                for loss in (wasserstein_1d(x, y, 2), wasserstein_1d(long, long.flip(1).exp()))
            )
        )
    sdc_search.set_num_threads(before)
    assert len(results) == 1


numbers = hnp.arrays(
    np.float64,
    st.integers(1, 30),
    elements=st.floats(-4, 4, allow_subnormal=False).map(lambda x: round(x, 3)),
)


@given(numbers, numbers, st.sampled_from([1, 1.5, 2]), st.floats(-3, 3), st.floats(0.1, 3))
@settings(deadline=None)
def test_wasserstein_is_a_distance_of_distributions(x, y, p, shift, scale):
    x, y = torch.tensor(x), torch.tensor(y)
    loss = wasserstein_1d(x, y, p, root=True)
    close = {"rtol": 1e-6, "atol": 1e-7}
    assert loss >= 0
    torch.testing.assert_close(wasserstein_1d(y, x, p, root=True), loss, **close)
    torch.testing.assert_close(wasserstein_1d(x.flip(0), y, p, root=True), loss, **close)
    torch.testing.assert_close(wasserstein_1d(x + shift, y + shift, p, root=True), loss, **close)
    torch.testing.assert_close(wasserstein_1d(x * scale, y * scale, p, root=True), loss * scale, **close)
    torch.testing.assert_close(wasserstein_1d(x.repeat(3), y, p, root=True), loss, **close)
    torch.testing.assert_close(wasserstein_1d(x, y, p, torch.full_like(x, 2), root=True), loss, **close)
    assert wasserstein_1d(x, x, p) == 0


@given(numbers, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_calibration_forgets_all_but_the_order(t, random):
    n = len(t)
    s = torch.tensor([random.uniform(-1, 1) for _ in range(n)], dtype=torch.float64)
    t = torch.tensor(t)
    loss = calibration_loss(s, t, beta_quantiles(n))
    assert calibration_loss(s, 3 * t + 1, beta_quantiles(n)) == loss
    assert calibration_loss(s, t.float(), beta_quantiles(n)) == loss


def test_reductions():
    x, y = torch.rand(3, 4), torch.rand(3, 4)
    losses = wasserstein_1d(x, y)
    torch.testing.assert_close(wasserstein_1d(x, y, reduction="mean"), losses.mean())
    torch.testing.assert_close(wasserstein_1d(x, y, reduction="sum"), losses.sum())
    assert wasserstein_1d(torch.rand(0, 4), torch.rand(0, 5)).shape == (0,)


def test_views_that_are_not_contiguous_are_read_right():
    x, y = torch.rand(10, 6), torch.rand(10, 6)
    torch.testing.assert_close(wasserstein_1d(x.T, y.T), wasserstein_1d(x.T.contiguous(), y.T.contiguous()))
    s, t, c = torch.rand(20)[::2], torch.rand(30)[::3], torch.linspace(-1, 1, 20)[::2]
    torch.testing.assert_close(
        calibration_loss(s, t, c), calibration_loss(s.contiguous(), t.contiguous(), c.contiguous())
    )


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((torch.ones(3), torch.ones(2, 3)), {}, ValueError, "same leading dimensions"),
        ((torch.ones(3), torch.ones(0)), {}, ValueError, "at least 1"),
        ((torch.ones(3), torch.ones(())), {}, ValueError, "shapes"),
        ((torch.ones(3), [1.0]), {}, TypeError, "y must be a torch tensor"),
        ((torch.ones(3).int(), torch.ones(3)), {}, TypeError, "x must be floating point"),
        ((torch.ones(3), torch.ones(3), 0.5), {}, ValueError, "p must be"),
        ((torch.ones(3), torch.ones(3), math.inf), {}, ValueError, "p must be"),
        ((torch.ones(3), torch.ones(3), 1, torch.ones(2)), {}, ValueError, "x_weights must have shape"),
        (
            (torch.ones(3), torch.ones(3), 1, None, -torch.ones(3)),
            {},
            ValueError,
            "y_weights must be non-negative",
        ),
        ((torch.ones(3), torch.ones(3), 1, torch.zeros(3)), {}, ValueError, "x_weights must be non-negative"),
        ((torch.ones(3), torch.ones(3), 1, torch.ones(3, requires_grad=True)), {}, ValueError, "no gradient"),
        ((torch.ones(3), torch.ones(3)), {"reduction": "max"}, ValueError, "reduction"),
        ((torch.ones(3), torch.ones(3, device="meta")), {}, ValueError, "one device"),
    ],
)
def test_bad_wasserstein_arguments(arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        wasserstein_1d(*arguments, **keywords)


@pytest.mark.parametrize("quantiles", [[0.1, 0.0, 0.2], [0.0, math.nan, 0.1], [-math.inf, 0.0, 0.1]])
def test_quantiles_must_ascend(quantiles):
    with pytest.raises(ValueError, match="finite and in ascending order"):
        calibration_loss(torch.ones(3), torch.ones(3), torch.tensor(quantiles))
