from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sdc_search.feature_rows import FeatureRows
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


@pytest.mark.parametrize("threshold", ["mean", "median"])
def test_thresholds_are_of_the_mean_tokens(rng, threshold):
    X = rng.standard_normal((40, 2, 4, 8)).astype(np.float32)
    hasher = WCH(8, threshold=threshold, max_epochs=1, batch_size=16, random_state=0, verbose=False).fit(X)
    projections = hasher.project(X[:, 0].mean(axis=1))
    center = projections.mean(axis=0) if threshold == "mean" else np.median(projections, axis=0)
    np.testing.assert_allclose(center, 0, atol=1e-5)


def test_the_layer_norm_of_the_author_makes_codes_independent_of_each_rows_scale_and_shift(rng):
    X = rng.standard_normal((200, 8)).astype(np.float32)
    moved = X * rng.uniform(0.5, 2, (200, 1)) + rng.standard_normal((200, 1))
    for preset, equal in ((None, False), ("author", True)):
        hasher = WCH(8, preset=preset, max_epochs=2, lr=1e-3, random_state=0, verbose=False).fit(X)
        assert np.allclose(hasher.project(X), hasher.project(moved), rtol=1e-3, atol=1e-3) is equal


def test_folding_with_the_layer_norm_is_the_network_in_eval_mode(rng):
    X = rng.standard_normal((200, 8)).astype(np.float32)
    hasher = WCH(4, preset="author")
    rows = FeatureRows("X", X)
    settings = hasher._settings()
    settings.first_layer, settings.n_inputs, settings.scale = nn.Sequential(), 8, 3.0
    objective = hasher._objective(rows, settings, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter += 0.1
        wanted = objective.encoder(settings.scale * torch.from_numpy(X))
    state = hasher._arrays(objective, None, settings.scale)
    torch.testing.assert_close(torch.from_numpy(hasher._apply(state, X)), wanted, rtol=1e-4, atol=1e-4)


def test_the_layer_norm_needs_all_features(rng):
    with pytest.raises(ValueError, match="n_components must be 'all' with the preset 'author', got 4"):
        WCH(4, preset="author", n_components=4).fit(rng.standard_normal((40, 8)))


def test_tokens_and_views_are_learnt_from_and_vectors_encoded(rng):
    X = rng.standard_normal((40, 3, 4, 8)).astype(np.float32)
    for views in (X, X[:, :, 0]):
        hasher = WCH(8, max_epochs=1, batch_size=16, random_state=0, verbose=False).fit(views)
        assert hasher.encode(X[:, 0].mean(axis=1)).shape == (40, 1)
