from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from sdc_search import GreedyHash
from sdc_search.feature_rows import FeatureRows
from sdc_search.hashers.greedy_hash import greedy_hash_loss, pair_loss


def sample(n: int = 10, d: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_gradient_is_the_formula():
    x, h = sample(), sample(d=8, seed=1).requires_grad_()
    greedy_hash_loss(x, h, quantization=0.3).backward()
    b = torch.where(h > 0, 1.0, -1.0).double().detach().requires_grad_()
    pair_loss(x, b).backward()
    distance = h.detach().abs() - 1
    quantization = 0.3 * 3 * distance.square() * distance.sign() * h.detach().sign() / h.numel()
    torch.testing.assert_close(h.grad, b.grad + quantization)


def test_corners_cost_nothing_to_quantize():
    x, corners = sample(), sample(d=8, seed=1).sign()
    assert greedy_hash_loss(x, corners, quantization=5) == pair_loss(x, corners)
    assert greedy_hash_loss(x, 2 * corners, quantization=5) == pytest.approx(pair_loss(x, corners) + 5)


def test_pairs_are_of_the_two_halves_and_an_odd_row_is_left_out():
    x, b = sample(), sample(d=8, seed=1).sign()
    expected = torch.stack(
        [
            functional.cosine_similarity(b[i], b[i + 5], 0) - functional.cosine_similarity(x[i], x[i + 5], 0)
            for i in range(5)
        ]
    )
    torch.testing.assert_close(pair_loss(x, b), expected.square().mean())
    assert pair_loss(torch.cat([x, x[:1]]), torch.cat([b, b[:1]])) == pair_loss(x, b)


def test_equal_rows_with_equal_codes_cost_nothing_and_the_teacher_is_fixed():
    x = sample(1).expand(6, -1).clone().requires_grad_()
    b = sample(1, 8).sign().expand(6, -1).clone().requires_grad_()
    loss = pair_loss(x, b)
    assert loss.item() == pytest.approx(0, abs=1e-20)
    loss.backward()
    assert x.grad is None


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("teacher", ["raw", "centered"])
def test_the_teacher_sees_features_as_given_or_centred_whatever_the_network_sees(center, teacher):
    X = np.random.default_rng(0).random((40, 6))
    rows = FeatureRows("X", X)
    mean = X.mean(axis=0)
    settings = SimpleNamespace(hidden=0, batch_norm=True, center=center, teacher=teacher, scale=3.0)
    objective = GreedyHash(8)._objective(rows, settings, torch.Generator().manual_seed(0))
    inputs = torch.from_numpy(3.0 * (X - mean if center else X)).float()
    wanted = torch.from_numpy(X - mean if teacher == "centered" else X).float()
    outputs = objective.encoder(inputs)
    torch.testing.assert_close(objective(None, inputs), greedy_hash_loss(wanted, outputs))


@pytest.mark.parametrize(
    ("parameter", "value"), [("hidden", -1), ("teacher", "shifted"), ("quantization", -1.0)]
)
def test_parameters_out_of_range(parameter, value):
    with pytest.raises(ValueError, match=f"{parameter} must be"):
        GreedyHash(8, **{parameter: value}).fit(np.eye(10))
