from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from sdc_search.hashers.nsh import quantization_loss, soft_sort, sorted_nce

N, K, L = 7, 16, 5


def batch() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    codes = [torch.randn(N, K, generator=generator, dtype=torch.float64).tanh() for _ in range(2)]
    latents = [torch.randn(N, L, generator=generator, dtype=torch.float64) for _ in range(2)]
    return (*codes, *(functional.normalize(latent) for latent in latents))


def test_ranks_share_out_each_row():
    permutation = soft_sort(torch.rand(4, 6, generator=torch.Generator().manual_seed(0)), 0.1)
    torch.testing.assert_close(permutation.sum(dim=2), torch.ones(4, 6))


def test_a_low_temperature_gives_the_order_itself():
    similarity = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    order = similarity.argsort(dim=1, descending=True)
    torch.testing.assert_close(soft_sort(similarity, 1e-6), functional.one_hot(order, 6).float())


def test_ties_share_equally():
    permutation = soft_sort(torch.tensor([[0.5, 0.5, 0.1]]), 1e-3)
    torch.testing.assert_close(permutation[0, :2, :2], torch.full((2, 2), 0.5))


def test_the_loss_is_the_formula_in_loops():
    h1, h2, z1, z2 = batch()
    permutation = soft_sort(h1 @ h2.T / (2 * K) + 0.5, 1 / K)
    terms = []
    for i in range(N):
        c = [torch.exp(permutation[i, r] @ z1 @ z2[i] / 0.3) for r in range(N)]
        terms += [-torch.log(c[r] / (c[r] + sum(c[2:]))) for r in range(2)]
    torch.testing.assert_close(sorted_nce(h1, h2, z1, z2), torch.stack(terms).mean())


@pytest.mark.parametrize("double_softmax", [False, True])
def test_the_order_of_the_batch_does_not_matter(double_softmax):
    tensors = batch()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        sorted_nce(*(tensor[order] for tensor in tensors), double_softmax=double_softmax),
        sorted_nce(*tensors, double_softmax=double_softmax),
    )


def test_the_double_softmax_has_a_floor():
    # Logits in [0, 1] leave at least log(1 + (N - 2)/e), whatever is learnt.
    assert sorted_nce(*batch(), temperature=1e-3, double_softmax=True) > math.log(1 + (N - 2) / math.e) - 1e-9


def test_a_batch_without_negatives_is_an_error():
    with pytest.raises(ValueError, match="n_positives must be below the batch size 7, got 7"):
        sorted_nce(*batch(), n_positives=7)


def test_quantization_is_the_distance_from_the_signs():
    assert quantization_loss(torch.tensor([[0.5, -1.0]])).item() == pytest.approx(0.125)
