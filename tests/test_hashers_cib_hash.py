from __future__ import annotations

import math

import pytest
import torch

from sdc_search.hashers.cib_hash import bernoulli_kl, cib_loss


def logits(seed: int, n: int = 6, k: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, k, generator=generator, dtype=torch.float64).requires_grad_()


def test_identical_views_have_no_divergence_and_no_gradient():
    first = logits(0)
    divergence = bernoulli_kl(first, first.detach())
    divergence.backward()
    assert divergence.item() == 0
    torch.testing.assert_close(first.grad, torch.zeros_like(first))


def test_the_divergence_is_that_of_bernoulli_variables():
    first, second = logits(0), logits(1)
    wanted = torch.distributions.kl_divergence(
        torch.distributions.Bernoulli(logits=first), torch.distributions.Bernoulli(logits=second)
    )
    torch.testing.assert_close(bernoulli_kl(first, second), wanted.sum(dim=1).mean())


def test_certain_bits_stay_finite():
    first = torch.tensor([[200.0, -200.0]], requires_grad=True)
    divergence = bernoulli_kl(first, -first.detach())
    divergence.backward()
    assert divergence.item() == pytest.approx(400)
    assert torch.isfinite(first.grad).all()


def test_the_order_of_the_batch_does_not_matter():
    first, second = logits(0), logits(1)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(cib_loss(first[order], second[order]), cib_loss(first, second))


@pytest.mark.parametrize("n", [2, 5])
def test_equal_codes_give_the_logarithm_of_all_candidates(n):
    same = torch.ones(n, 16, dtype=torch.float64)
    assert cib_loss(same, same).item() == pytest.approx(math.log(2 * n - 1))
