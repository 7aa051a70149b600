from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import beta as beta_distribution
from scipy.stats import norm
from torch.nn import functional

import sdc_search
from sdc_search.losses import (
    SDCLoss,
    beta_quantiles,
    calibration_loss,
    distribution_quantiles,
    gaussian_quantiles,
    sdc_loss,
    uniform_quantiles,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 3, 32, 1000])
@pytest.mark.parametrize(("alpha", "beta"), [(5, 5), (0.5, 0.5), (2, 7)])
def test_quantiles_are_scipys(n, alpha, beta):
    levels = (2 * np.arange(1, n + 1) - 1) / (2 * n)
    quantiles = beta_quantiles(n, alpha, beta)
    assert quantiles.dtype == torch.float64
    np.testing.assert_allclose(
        quantiles, 2 * beta_distribution.ppf(levels, alpha, beta) - 1, rtol=0, atol=1e-12
    )


def test_quantiles_have_the_published_values():
    assert abs(beta_quantiles(1).item()) < 1e-12
    np.testing.assert_allclose(beta_quantiles(2), [-0.2161, 0.2161], atol=5e-5)
    np.testing.assert_allclose(beta_quantiles(32)[[0, -1]], [-0.6207, 0.6207], atol=5e-5)
    assert beta_quantiles(100_000).std(correction=0).item() == pytest.approx(1 / math.sqrt(11), rel=1e-4)


@pytest.mark.parametrize("n", [7, 64])
def test_symmetric_quantiles_are_sorted_and_antisymmetric(n):
    quantiles = beta_quantiles(n)
    assert (quantiles.diff() > 0).all()
    torch.testing.assert_close(quantiles, -quantiles.flip(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(beta_quantiles(n, 2, 7), -beta_quantiles(n, 7, 2).flip(0), rtol=0, atol=1e-12)


def test_beta_1_1_gives_uniform_midpoints():
    torch.testing.assert_close(beta_quantiles(4, 1, 1), torch.tensor([-0.75, -0.25, 0.25, 0.75]).double())


def test_writing_to_the_quantiles_does_not_reach_the_next_caller():
    beta_quantiles(5).zero_()
    assert beta_quantiles(5)[-1] > 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "n must be at least 1"),
        ((2.0,), TypeError, "n must be an integer"),
        ((3, 0, 1), ValueError, "alpha must be positive"),
        ((3, 1, -1), ValueError, "beta must be positive"),
        ((3, math.nan, 1), ValueError, "alpha must be positive"),
        ((3, 1, math.inf), ValueError, "beta must be positive"),
    ],
)
def test_bad_quantile_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        beta_quantiles(*arguments)


def obvious_loss(s: torch.Tensor, t: torch.Tensor, quantiles: torch.Tensor, p: float) -> float:
    order = sorted(range(len(t)), key=lambda i: (t[i].item(), i))
    return sum(abs(s[i].item() - c.item()) ** p for i, c in zip(order, quantiles, strict=True)) / len(t)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 9, 100])
def test_calibration_loss_is_its_formula(n, p):
    s, t = random(n), random(n, seed=1).round(decimals=1)  # rounding makes ties
    assert calibration_loss(s, t, beta_quantiles(n), p).item() == pytest.approx(
        obvious_loss(s, t, beta_quantiles(n), p), rel=1e-12
    )


def test_rows_are_calibrated_one_by_one():
    s, t, quantiles = random(3, 4, 20), random(3, 4, 20, seed=1), beta_quantiles(20)
    rows = [calibration_loss(a, b, quantiles) for a, b in zip(s.view(12, 20), t.view(12, 20), strict=True)]
    torch.testing.assert_close(calibration_loss(s, t, quantiles), torch.stack(rows).mean())
    torch.testing.assert_close(calibration_loss(s, t, quantiles.expand(3, 4, 20)), torch.stack(rows).mean())


def test_calibration_sees_only_the_teachers_order():
    s, t, quantiles = random(50), random(50, seed=1), beta_quantiles(50)
    loss = calibration_loss(s, t, quantiles)
    assert calibration_loss(s, torch.exp(3 * t) - 7, quantiles) == loss
    shuffle = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(calibration_loss(s[shuffle], t[shuffle], quantiles), loss)


def test_calibrated_similarities_cost_nothing():
    t = random(50)
    s = torch.empty_like(t)
    s[t.argsort()] = beta_quantiles(50)
    assert calibration_loss(s, t, beta_quantiles(50)).item() == 0


def test_one_pair_is_pulled_to_the_middle():
    assert calibration_loss(
        torch.tensor([-0.7]), torch.tensor([0.3]), beta_quantiles(1)
    ).item() == pytest.approx(0.7)


@pytest.mark.parametrize("p", [1, 2.5])
def test_gradients_are_numerically_right(p):
    s, t = random(30).requires_grad_(), random(30, seed=1).requires_grad_()
    quantiles = beta_quantiles(30)
    # finite differences of 1e-6 must not cross a kink, where a similarity is its quantile
    assert (s.detach()[t.detach().argsort()] - quantiles).abs().min() > 1e-4
    assert torch.autograd.gradcheck(lambda s: calibration_loss(s, t, quantiles, p), (s,))
    calibration_loss(s, t, quantiles, p).backward()
    assert t.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    s, t = random(40).to(dtype), random(40, seed=1)
    loss = calibration_loss(s, t, beta_quantiles(40))
    assert loss.dtype == torch.float32
    assert loss == calibration_loss(s.float(), t, beta_quantiles(40))
    features, outputs = random(8, 5).to(dtype), random(8, 3, seed=1).to(dtype)
    assert SDCLoss()(features, outputs) == SDCLoss()(features.float(), outputs.float())


@pytest.mark.parametrize(
    ("s", "t", "quantiles", "p", "error", "message"),
    [
        (torch.ones(3), torch.ones(4), torch.ones(3), 1, ValueError, "one shape"),
        (torch.ones(0), torch.ones(0), torch.ones(0), 1, ValueError, "not empty"),
        (torch.ones(3), torch.ones(3), torch.ones(4), 1, ValueError, r"quantiles must have shape \(3,\)"),
        (torch.ones(3), torch.ones(3), torch.ones(3), 0.5, ValueError, "p must be at least 1"),
        (torch.ones(3, dtype=torch.int64), torch.ones(3), torch.ones(3), 1, TypeError, "floating point"),
    ],
)
def test_bad_calibration_arguments(s, t, quantiles, p, error, message):
    with pytest.raises(error, match=message):
        calibration_loss(s, t, quantiles, p)


def obvious_sdc(
    features: np.ndarray, outputs: np.ndarray, pairs: list[tuple[int, int]], quantization: float
) -> float:
    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    s = torch.tensor([cosine(outputs[i], outputs[j]) for i, j in pairs])
    t = torch.tensor([cosine(features[i], features[j]) for i, j in pairs])
    error = np.mean([1 - cosine(v, np.where(v > 0, 1, -1)) for v in outputs])
    return obvious_loss(s, t, beta_quantiles(len(pairs), 2, 3), 1) + quantization * error


@pytest.mark.parametrize("n", [2, 3, 8, 9])
@pytest.mark.parametrize("quantization", [0, 0.1])
def test_sdc_loss_is_its_formula(n, quantization):
    features, outputs = random(n, 6), random(n, 5, seed=1)
    half = [(i, i + n // 2) for i in range(n // 2)]
    every = [(i, j) for i in range(n) for j in range(i + 1, n)]
    for name, pairs in (("half", half), ("all", every)):
        loss = SDCLoss(2, 3, name, quantization)(features, outputs).item()
        assert loss == pytest.approx(
            obvious_sdc(features.numpy(), outputs.numpy(), pairs, quantization), rel=1e-9
        )


@pytest.mark.parametrize("pairs", ["half", "all"])
def test_sdc_gradients_are_numerically_right(pairs):
    features, outputs = random(9, 6).requires_grad_(), random(9, 5, seed=1).requires_grad_()
    loss = SDCLoss(pairs=pairs, quantization=0.3)
    assert torch.autograd.gradcheck(lambda v: loss(features, v), (outputs,))
    loss(features, outputs).backward()
    assert features.grad is None


def test_a_zero_output_has_a_finite_loss_and_gradient():
    outputs = torch.zeros(4, 3, requires_grad=True)
    SDCLoss()(random(4, 2), outputs).backward()
    assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pairs": "both"}, "pairs must be 'half' or 'all'"),
        ({"quantization": -1}, "quantization must be non-negative"),
        ({"alpha": 0}, "alpha must be positive"),
    ],
)
def test_bad_sdc_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        SDCLoss(**arguments)


@pytest.mark.parametrize(
    ("features", "outputs"),
    [
        ((4, 2), (5, 2)),
        ((1, 2), (1, 2)),
        ((4,), (4, 2)),
        ((4, 2), (4,)),
        ((2, 4, 2), (2, 5, 2)),
        ((2, 4, 2), (3, 4, 2)),
    ],
)
def test_bad_sdc_shapes(features, outputs):
    with pytest.raises(ValueError, match="features and outputs must have shapes"):
        SDCLoss()(torch.ones(features), torch.ones(outputs))


@pytest.mark.parametrize(
    ("alpha", "beta"), [(5, 5), (1, 1), (0.2, 0.2), (0.7, 3), (50, 2), (0.05, 0.05), (1e-3, 5), (400, 3)]
)
def test_many_quantiles_are_scipys_to_1e_9(alpha, beta):
    n = 20_001
    levels = (2 * np.arange(1, n + 1) - 1) / (2 * n)
    np.testing.assert_allclose(
        beta_quantiles(n, alpha, beta), 2 * beta_distribution.ppf(levels, alpha, beta) - 1, rtol=0, atol=1e-9
    )


def test_other_distributions():
    torch.testing.assert_close(
        uniform_quantiles(4, 0, 1), torch.tensor([0.125, 0.375, 0.625, 0.875]).double()
    )
    assert gaussian_quantiles(1001, 0.3).std().item() == pytest.approx(0.299, abs=1e-3)
    assert gaussian_quantiles(1000, 5).abs().max() == 1
    torch.testing.assert_close(
        distribution_quantiles(100, norm(0, 0.3).ppf), gaussian_quantiles(100).double()
    )
    torch.testing.assert_close(distribution_quantiles(9, "uniform"), uniform_quantiles(9))
    sample = torch.tensor([0.5, -0.5, 0.1])
    assert distribution_quantiles(3, sample).tolist() == pytest.approx([-0.5, 0.1, 0.5])
    assert distribution_quantiles(6, sample.numpy())[::2].tolist() == pytest.approx([-0.5, 0.1, 0.5])
    assert distribution_quantiles(1, sample).item() == pytest.approx(0.1)
    features, outputs = random(8, 5), random(8, 3, seed=1)
    teacher, codes = (functional.cosine_similarity(x[:4], x[4:]) for x in (features, outputs))
    loss = SDCLoss(distribution="gaussian", quantization=0)(features, outputs)
    torch.testing.assert_close(loss, calibration_loss(codes, teacher, gaussian_quantiles(4)))


@pytest.mark.parametrize(
    ("distribution", "error", "message"),
    [
        ("cauchy", ValueError, "'uniform' or 'gaussian'"),
        (3, TypeError, "a name, a function or a sample"),
        (torch.ones(2, 2), ValueError, "shape"),
        (torch.ones(0), ValueError, "at least 1"),
        (lambda levels: -levels * math.nan, ValueError, "finite and ascending"),
        (lambda levels: levels[:0], ValueError, "map shape"),
    ],
)
def test_bad_distributions(distribution, error, message):
    with pytest.raises(error, match=message):
        SDCLoss(distribution=distribution)


@pytest.mark.parametrize("pairs", ["half", "all"])
@pytest.mark.parametrize(
    ("n", "d", "k"), [(2, 3, 2), (5, 8, 17), (64, 300, 16), (257, 40, 64), (700, 64, 24)]
)
def test_the_fused_loss_is_the_composite_one(isa, pairs, n, d, k):
    features, outputs = random(n, d).float(), random(n, k, seed=1).float()
    results = []
    for dtype in (torch.float32, torch.float64):
        leaf = outputs.to(dtype, copy=True).requires_grad_()
        loss = SDCLoss(pairs=pairs, quantization=0.7)(features.to(dtype), leaf)
        loss.backward()
        results.append((loss.double(), leaf.grad.double()))
    (loss, gradient), (wanted_loss, wanted) = results
    assert loss.item() == pytest.approx(wanted_loss.item(), rel=2e-6)
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


def test_all_pairs_by_tiles_without_a_table():
    n = 1500  # 1,124,250 pairs: their quantiles come from the spline
    features, outputs = random(n, 24).float(), random(n, 16, seed=1).float().requires_grad_()
    loss = SDCLoss(pairs="all")(features, outputs)
    loss.backward()
    leaf = outputs.detach().double().requires_grad_()
    wanted = SDCLoss(pairs="all")(features.double(), leaf)
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=2e-6)
    torch.testing.assert_close(
        outputs.grad.double(), leaf.grad, rtol=0, atol=1e-5 * leaf.grad.abs().max().item()
    )


def test_all_pairs_with_ties_everywhere():
    features, outputs = (random(700, 3).round().float(), random(700, 8, seed=1).float().requires_grad_())
    loss = SDCLoss(pairs="all")(features, outputs)
    loss.backward()
    plain = SDCLoss(pairs="all")
    leaf = outputs.detach().clone().requires_grad_()
    # the same float32 cosines, so that equal ones stay equal, from the native side
    wanted = plain._composed(plain._pair_cosines(functional.normalize(features, dim=1)), leaf)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-2)
    constant = SDCLoss(pairs="all", quantization=0)(torch.ones(700, 4), outputs.detach())
    exact = SDCLoss(pairs="all", quantization=0)(torch.ones(700, 4).double(), outputs.detach().double())
    assert constant.item() == pytest.approx(exact.item(), rel=2e-6)


@pytest.mark.parametrize("pairs", ["half", "all"])
def test_the_loss_is_the_same_bytes_for_every_thread_count(pairs):
    before = sdc_search.info()["threads"]
    features, outputs = random(1100, 256).float(), random(1100, 32, seed=1).float()
    results = set()
    for threads in (1, 2, 3, 8):
        sdc_search.set_num_threads(threads)
        leaf = outputs.clone().requires_grad_()
        loss = SDCLoss(pairs=pairs)(features, leaf)
        loss.backward()
        results.add((loss.item(), leaf.grad.numpy().tobytes()))
    sdc_search.set_num_threads(before)
    assert len(results) == 1


@pytest.mark.parametrize("pairs", ["half", "all"])
@pytest.mark.parametrize("where", ["features", "outputs"])
@pytest.mark.parametrize("n", [9, 700])
def test_nan_in_a_batch_makes_everything_nan(pairs, where, n):
    batch = {"features": random(n, 5).float(), "outputs": random(n, 3, seed=1).float()}
    batch[where][n // 2, 1] = math.nan
    batch["outputs"].requires_grad_()
    loss = SDCLoss(pairs=pairs)(**batch)
    loss.backward()
    assert math.isnan(loss.item())
    assert batch["outputs"].grad.isnan().all()


@pytest.mark.parametrize("pairs", ["half", "all"])
def test_any_teacher_may_take_the_place_of_cosines(pairs):
    features, outputs = random(8, 5), random(8, 3, seed=1)
    unit = functional.normalize(features, dim=1)
    loss = SDCLoss(pairs=pairs)
    wanted = loss(features, outputs)
    torch.testing.assert_close(loss(None, outputs, unit @ unit.T), wanted)
    torch.testing.assert_close(loss(None, outputs, torch.exp(loss._pair_cosines(unit))), wanted)
    torch.testing.assert_close(sdc_loss(None, outputs, unit @ unit.T, pairs=pairs), wanted)
    with pytest.raises(ValueError, match="teacher_similarity must have shape"):
        loss(None, outputs, torch.ones(7))
    with pytest.raises(ValueError, match="does not go with views"):
        loss(None, torch.ones(2, 4, 3), torch.ones(4, 4))


def obvious_nt_xent(a: torch.Tensor, b: torch.Tensor, temperature: float) -> float:
    z = functional.normalize(torch.cat((a, b)), dim=1)
    n, total = len(a), 0.0
    for i in range(2 * n):
        weights = [math.exp((z[i] @ z[j]).item() / temperature) for j in range(2 * n)]
        total -= math.log(weights[(i + n) % (2 * n)] / (sum(weights) - weights[i]))
    return total / (2 * n)


def test_two_views_pair_within_each_and_clip():
    features, outputs = random(2, 6, 5), random(2, 6, 4, seed=1).requires_grad_()
    loss = SDCLoss.preset("release_cl")(features, outputs)
    loss.backward()
    cosines = [
        torch.cat([functional.cosine_similarity(v[:3], v[3:]) for v in x])
        for x in (outputs.detach(), features)
    ]
    calibrated = calibration_loss(*cosines, beta_quantiles(6).clamp(min=0))
    flat = outputs.detach().flatten(0, 1)
    quantised = (1 - functional.cosine_similarity(flat, flat.sign())).mean()
    contrast = obvious_nt_xent(*outputs.detach(), 0.3)
    assert loss.item() == pytest.approx((calibrated + quantised).item() + contrast, rel=1e-9)
    assert outputs.grad.abs().sum() > 0


def test_three_views_calibrate_the_first_and_contrast_the_others():
    features, outputs = random(3, 6, 5), random(3, 6, 4, seed=1)
    paper = SDCLoss.preset("paper")
    contrast = obvious_nt_xent(outputs[1], outputs[2], 0.3)
    assert paper(features, outputs).item() == pytest.approx(
        SDCLoss()(features[0], outputs[0]).item() + contrast, rel=1e-9
    )
    assert paper(features[0], outputs[0]) == SDCLoss.preset("release")(features[0], outputs[0])


@pytest.mark.parametrize("pairs", ["half", "all"])
def test_negative_targets_are_clipped(pairs):
    n = 1500 if pairs == "all" else 8
    features, outputs = random(n, 5), random(n, 4, seed=1)
    loss = SDCLoss(pairs=pairs, clip_negative_targets=True)
    wanted = loss(features, outputs).item()
    assert loss(features.float(), outputs.float()).item() == pytest.approx(wanted, rel=1e-5)
    assert wanted != SDCLoss(pairs=pairs)(features, outputs).item()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SDCLoss.preset("fast"), "preset must be"),
        (lambda: SDCLoss(temperature=0), "temperature must be positive"),
        (lambda: SDCLoss(contrastive=-1), "contrastive must be non-negative"),
        (lambda: SDCLoss()(torch.ones(4, 4, 2), torch.ones(4, 4, 2)), "views must be 2 or 3"),
        (lambda: SDCLoss()(torch.ones(2, 3, 2), torch.ones(2, 3, 2)), "even N"),
        (lambda: SDCLoss(pairs="all")(torch.ones(2, 4, 2), torch.ones(2, 4, 2)), "pairs='half'"),
        (lambda: SDCLoss()(torch.ones(4, 2, device="meta"), torch.ones(4, 2)), "one device"),
        (lambda: gaussian_quantiles(3, 0), "std must be positive"),
        (lambda: uniform_quantiles(3, 1, 0), "low must be below high"),
    ],
)
def test_more_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_repr_shows_the_parameters():
    assert "clip_negative_targets=True" in repr(SDCLoss.preset("release_cl"))
    assert "distribution='uniform'" in repr(SDCLoss(distribution="uniform"))


def test_autocast_does_not_reach_the_similarities():
    teacher, outputs = random(60, 60), random(60, 8, seed=1).float()
    wanted = SDCLoss(pairs="all")(None, outputs, teacher)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert SDCLoss(pairs="all")(None, outputs, teacher) == wanted
