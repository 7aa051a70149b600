from __future__ import annotations

import numpy as np
import pytest
import torch

from sdc_search import BiHalf
from sdc_search.hashers.bi_half import bi_half_loss, half_half
from sdc_search.hashers.greedy_hash import pair_loss


def sample(n: int = 9, k: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 7, 32])
@pytest.mark.parametrize("ties", [False, True])
def test_columns_are_halved_also_with_ties(n, ties):
    u = sample(n).round() if ties else sample(n)
    u[:, 0] = 3
    assert half_half(u).sum(dim=0).tolist() == [2 * (n // 2) - n] * 5


def test_among_ties_the_first_rows_are_the_largest():
    u = torch.tensor([[0.0, 1], [0, 1], [0, 1], [0, 1], [1, 1], [2, 1]])
    assert half_half(u).T.tolist() == [[1, -1, -1, -1, 1, 1], [1, 1, 1, -1, -1, -1]]


def test_only_the_order_counts():
    u = sample()
    for other in (u.exp(), 3 * u - 7, u.pow(3)):
        assert torch.equal(half_half(other), half_half(u))


def test_the_gradient_is_the_formula_and_each_call_has_its_own_gamma():
    u, g = sample().requires_grad_(), sample(seed=1)
    first, second = half_half(u, 6.0), half_half(u, 1.0)
    for bits, gamma in ((first, 6.0), (second, 1.0)):
        surrogate = (g * u).sum() + gamma / (2 * u.numel()) * (u - bits.detach()).square().sum()
        expected = torch.autograd.grad(surrogate, u)[0]
        torch.testing.assert_close(torch.autograd.grad(bits, u, g)[0], expected)


def test_the_loss_is_that_of_pairs():
    x, u = sample(8), sample(8, seed=1)
    assert bi_half_loss(x, u) == pair_loss(x, half_half(u))


@pytest.mark.parametrize(("parameter", "value"), [("hidden", -1), ("teacher", "shifted"), ("gamma", -1.0)])
def test_parameters_out_of_range(parameter, value):
    with pytest.raises(ValueError, match=f"{parameter} must be"):
        BiHalf(8, **{parameter: value}).fit(np.eye(10))
