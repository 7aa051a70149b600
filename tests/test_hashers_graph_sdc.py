from __future__ import annotations

import numpy as np
import pytest
import torch

from sdc_search import ITQ, GraphSDC, load_hasher
from sdc_search.hashers import graph_sdc
from sdc_search.hashers.graph_sdc import _Head, _itq_start, _loss


def sample(n: int, d: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def quick(n_bits: int = 16, **params) -> GraphSDC:
    return GraphSDC(n_bits, **{"random_state": 0, "verbose": False, "hidden": 32, "max_epochs": 3, **params})


def test_same_seed_same_codes_and_another_differs():
    X = sample(150)
    codes = [quick(random_state=seed).fit(X).encode(X).tobytes() for seed in (0, 0, 1)]
    assert codes[0] == codes[1] != codes[2]


def test_loaded_hasher_gives_the_same_bytes(tmp_path):
    X = sample(150)
    hasher = quick().fit(X)
    hasher.save(tmp_path / "a")
    loaded = load_hasher(tmp_path / "a")
    assert loaded.encode(X).tobytes() == hasher.encode(X).tobytes()
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("n", [2, 3, 11, 63, 300])
@pytest.mark.parametrize("n_bits", [4, 40])
def test_few_items_and_more_bits_than_features(n, n_bits):
    X = sample(n)
    assert np.isfinite(quick(n_bits).fit(X).project(X)).all()


@pytest.mark.parametrize("repeats", [1, 15, 50])
def test_pieces_duplicates_and_a_row_at_the_mean(repeats):
    X = np.concatenate([np.repeat(np.eye(6) * 2 - 1 / 3, repeats, axis=0), np.zeros((1, 6))])
    projections = quick(8).fit(X).project(X)
    assert np.isfinite(projections).all()
    assert len(np.unique(quick(8, max_epochs=40).fit(X).encode(X))) > 3


def test_many_items_are_sampled_for_the_teacher(monkeypatch):
    X = np.repeat(sample(4, 6), 100, axis=0) + 0.1 * sample(400, 6, seed=1)
    monkeypatch.setattr(graph_sdc, "_TEACHER_ROWS", 150)
    codes = quick(16, max_epochs=40).fit(X).encode(X).view(np.uint16).ravel()
    groups = [set(codes[start : start + 100]) for start in range(0, 400, 100)]
    assert not any(a & b for i, a in enumerate(groups) for b in groups[:i])


def test_start_is_itq():
    X = sample(200, 12)
    weight, bias = _itq_start(X, 8, np.random.default_rng(0))
    seed = int(np.random.default_rng(0).integers(2**31))
    itq = ITQ(8, random_state=seed).fit(X).project(X)
    projections = X @ weight.T + bias
    assert np.array_equal(projections > 0, itq > 0)
    np.testing.assert_allclose(projections.std(axis=0).mean(), 1, rtol=1e-4)


def test_loss_is_the_mean_over_pairs():
    outputs, targets = torch.randn(5, 8), torch.rand(5, 5)
    unit = outputs / outputs.norm(dim=1, keepdim=True)
    pairs = [(unit[i] @ unit[j] - targets[i, j]).abs() for i in range(5) for j in range(5) if i != j]
    signs = torch.nn.functional.cosine_similarity(outputs, outputs.sign())
    expected = torch.stack(pairs).mean() + 0.5 * (1 - signs).mean()
    torch.testing.assert_close(_loss(outputs, targets, 0.5), expected)


def test_folding_is_the_network_in_eval_mode():
    head = _Head(6, 9, 4, torch.Generator().manual_seed(0))
    head(torch.randn(200, 6))
    head.eval()
    X = torch.randn(20, 6)
    X /= X.norm(dim=1, keepdim=True)
    state = {"mean": np.zeros(6, np.float32), "basis": np.eye(6, dtype=np.float32), **head.folded()}
    hasher = GraphSDC(4, hidden=9)._restore(state, {})
    torch.testing.assert_close(hasher.project(X), head(X).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"keep": 0.0}, "keep must be above 0"),
        ({"mixing": 1.5}, "mixing must be from 0 to 1"),
        ({"alpha": 1.0}, "alpha must be from 0 to below 1"),
        ({"beta": 0.0}, "beta must be positive"),
        ({"quantization": -1.0}, "quantization must be non-negative"),
        ({"n_neighbours": 0}, "n_neighbours must be at least 1"),
        ({"device": "abacus"}, "device must be"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        quick(**params).fit(sample(30))
