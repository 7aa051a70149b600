from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from sdc_search import LSH, Hasher, load_hasher, mean_average_precision
from sdc_search.demo import load_demo_data
from sdc_search.hashers.wch import (
    WCH,
    mutual_attention,
    pair_weights,
    token_similarity,
    wch_loss,
    weighted_nce,
)


def tokens(seed: int, p: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, p, 6, generator=generator, dtype=torch.float64)


def outputs(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, 8, generator=generator, dtype=torch.float64).requires_grad_()


def test_an_item_with_itself_weighs_one():
    torch.testing.assert_close(
        pair_weights(tokens(0), tokens(1)).diagonal(), torch.ones(5, dtype=torch.float64)
    )


def test_one_token_is_the_plain_formula():
    first, second = tokens(0, p=1), tokens(1, p=1)
    cosines = functional.normalize(first[:, 0]) @ functional.normalize(second[:, 0]).T
    q = (cosines / 0.2).softmax(dim=1)
    torch.testing.assert_close(pair_weights(first, second), q / q.diagonal()[:, None])


@pytest.mark.parametrize("chunk_values", [1, 160])
def test_chunks_do_not_show(chunk_values):
    first, second = tokens(0), tokens(1)
    torch.testing.assert_close(
        token_similarity(first, second, chunk_values=chunk_values), token_similarity(first, second)
    )


def test_attention_is_the_formula_in_loops():
    first, second = tokens(0), tokens(1)
    rebuilt_first, rebuilt_second = mutual_attention(first, second)
    cosines = functional.cosine_similarity(first[2, :, None], second[2, None], dim=2)
    for token in range(4):
        torch.testing.assert_close(rebuilt_first[2, token], cosines[:, token].softmax(dim=0) @ first[2])
        torch.testing.assert_close(rebuilt_second[2, token], cosines[token].softmax(dim=0) @ second[2])


def test_token_similarity_is_the_formula_in_loops():
    first, second = tokens(0), tokens(1)
    cosines = functional.cosine_similarity(first[1, :, None], second[3, None], dim=2)
    torch.testing.assert_close(token_similarity(first, second)[1, 3], cosines.amax(dim=1).mean())


def test_no_weight_between_items_is_infonce():
    first, second = outputs(0), outputs(1)
    wanted = functional.cross_entropy(first @ second.T / (0.3 * 8), torch.arange(5))
    torch.testing.assert_close(weighted_nce(first, second, torch.eye(5, dtype=torch.float64)), wanted)


def test_the_last_term_only_drives_the_first_view_outward():
    first, second = outputs(0), outputs(1)
    wch_loss(first, second, torch.zeros(5, 5, dtype=torch.float64)).backward()
    bits, slope = first.detach().sign(), 1 - first.detach().tanh().square()
    balance = 2 * bits.mean(dim=0) / (5 * 8)
    torch.testing.assert_close(first.grad, (balance - 2 * bits / (5 * 8)) * slope)
    assert not second.grad.any()


def test_a_few_epochs_beat_random_planes_and_a_file_gives_the_same_codes(tmp_path):
    data = load_demo_data()

    def quality(hasher: Hasher) -> float:
        hasher.fit(data.database)
        return mean_average_precision(
            hasher.encode(data.database), data.database_labels, hasher.encode(data.query), data.query_labels
        )

    lsh = np.mean([quality(LSH(16, random_state=seed)) for seed in range(5)])
    hasher = WCH(16, max_epochs=3, n_components=64, random_state=0, verbose=False)
    assert quality(hasher) > lsh + 0.05
    hasher.save(tmp_path / "hasher.safetensors")
    assert np.array_equal(
        load_hasher(tmp_path / "hasher.safetensors").encode(data.query), hasher.encode(data.query)
    )


@pytest.mark.parametrize("threshold", ["mean", "median"])
def test_thresholds_are_of_the_mean_tokens(rng, threshold):
    X = rng.standard_normal((40, 2, 4, 8)).astype(np.float32)
    hasher = WCH(8, threshold=threshold, max_epochs=1, batch_size=16, random_state=0, verbose=False).fit(X)
    projections = hasher.project(X[:, 0].mean(axis=1))
    center = projections.mean(axis=0) if threshold == "mean" else np.median(projections, axis=0)
    np.testing.assert_allclose(center, 0, atol=1e-5)


def test_tokens_and_views_are_learnt_from_and_vectors_encoded(rng):
    X = rng.standard_normal((40, 3, 4, 8)).astype(np.float32)
    for views in (X, X[:, :, 0]):
        hasher = WCH(8, max_epochs=1, batch_size=16, random_state=0, verbose=False).fit(views)
        assert hasher.encode(X[:, 0].mean(axis=1)).shape == (40, 1)
