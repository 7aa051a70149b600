from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sdc_search import LSH, Hasher, load_hasher, mean_average_precision
from sdc_search.demo import load_demo_data
from sdc_search.hashers.cib_hash import CIBHash, bernoulli_kl, bits_with_gradient, cib_loss


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


def test_bits_are_signs_with_the_slope_of_the_sigmoid():
    values = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
    bits = bits_with_gradient(values)
    bits.sum().backward()
    assert bits.tolist() == [-1, -1, 1]
    p = values.detach().sigmoid()
    torch.testing.assert_close(values.grad, p * (1 - p))


def test_a_few_epochs_beat_random_planes_and_a_file_gives_the_same_codes(tmp_path):
    data = load_demo_data()

    def quality(hasher: Hasher) -> float:
        hasher.fit(data.database)
        return mean_average_precision(
            hasher.encode(data.database), data.database_labels, hasher.encode(data.query), data.query_labels
        )

    lsh = np.mean([quality(LSH(16, random_state=seed)) for seed in range(5)])
    hasher = CIBHash(16, max_epochs=3, n_components=64, random_state=0, verbose=False)
    assert quality(hasher) > lsh + 0.05
    hasher.save(tmp_path / "hasher.safetensors")
    assert np.array_equal(
        load_hasher(tmp_path / "hasher.safetensors").encode(data.query), hasher.encode(data.query)
    )
