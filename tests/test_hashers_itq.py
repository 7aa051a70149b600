from __future__ import annotations

import math

import numpy as np
import pytest

from sdc_search import ITQ, unpack_bits
from sdc_search.hashers.itq import best_rotation


def clustered(n: int = 600, d: int = 40, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((10, d))[rng.integers(10, size=n)] + 0.3 * rng.standard_normal((n, d))


def random_rotation(k: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((k, k)))[0]


def signs(V: np.ndarray) -> np.ndarray:
    return np.where(V > 0, 1.0, -1.0)


def test_the_update_is_the_minimiser():
    rng = np.random.default_rng(0)
    V, B = rng.standard_normal((100, 12)), signs(rng.standard_normal((100, 12)))
    R = best_rotation(V, B)
    np.testing.assert_allclose(R.T @ R, np.eye(12), atol=1e-12)
    singular_values = np.linalg.svd(B.T @ V, compute_uv=False)
    assert np.trace(R @ B.T @ V) == pytest.approx(singular_values.sum())
    error = np.linalg.norm(B - V @ R)
    for seed in range(20):
        assert np.linalg.norm(B - V @ random_rotation(12, seed)) > error
        small = np.linalg.qr(np.eye(12) + 1e-3 * np.random.default_rng(seed).standard_normal((12, 12)))
        assert np.linalg.norm(B - V @ R @ small[0] * np.sign(np.diag(small[1]))) > error


def test_weights_are_a_rotation_of_the_principal_components():
    X = clustered()
    weight = ITQ(16, random_state=0).fit(X).state_["weight"]
    np.testing.assert_allclose(weight.T @ weight, np.eye(16), atol=1e-6)
    components = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2][:16]
    np.testing.assert_allclose(weight @ weight.T, components.T @ components, atol=1e-8)


@pytest.mark.parametrize("n_bits", [2, 16, 40])
def test_the_error_never_rises(n_bits):
    hasher = ITQ(n_bits, random_state=0).fit(clustered())
    errors = hasher.quantization_errors_
    assert errors.shape == (51,)
    assert (np.diff(errors) <= 1e-12).all()
    assert errors[-1] < errors[0]
    h = hasher.project(clustered())
    assert ((signs(h) - h) ** 2).mean() == pytest.approx(errors[-1])


def test_the_published_error_is_no_descent():
    correct = ITQ(32, random_state=0).fit(clustered()).quantization_errors_
    legacy = ITQ(32, update="legacy_transposed", random_state=0).fit(clustered()).quantization_errors_
    assert legacy[0] == correct[0]
    assert (np.diff(legacy) > 0).any()
    assert correct[-1] < 0.8 * legacy[-1]


@pytest.mark.parametrize("seed", range(5))
def test_four_points_are_solved_by_one_update(seed):
    r = math.sqrt(2)
    X = np.array([[r, 0], [-r, 0], [0, r], [0, -r]])
    hasher = ITQ(2, n_iter=1, random_state=seed).fit(X)
    assert hasher.quantization_errors_[-1] == pytest.approx(0, abs=1e-20)
    assert len(np.unique(hasher.encode(X))) == 4


def test_the_threshold_is_the_training_mean():
    X = clustered() + 5
    hasher = ITQ(8, random_state=0).fit(X)
    np.testing.assert_allclose(hasher.project(X).mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(hasher.project(X.mean(axis=0)[None]), 0, atol=1e-9)


def test_a_large_offset_in_float32_costs_little():
    X = clustered().astype(np.float32)
    codes = ITQ(16, random_state=0).fit_transform(X)
    shifted = ITQ(16, random_state=0).fit_transform(X + np.float32(1000))
    assert np.unpackbits(codes ^ shifted).mean() < 0.01


def test_more_columns_than_rows():
    X = clustered(20, 100)
    hasher = ITQ(20, random_state=0).fit(X)
    assert unpack_bits(hasher.encode(X), 20).shape == (20, 20)


@pytest.mark.parametrize(("shape", "n_bits"), [((50, 8), 9), ((5, 8), 6)])
def test_too_many_bits(shape, n_bits):
    with pytest.raises(
        ValueError, match=rf"n_bits must be at most min\(n, d\) = {n_bits - 1} for ITQ, got {n_bits}"
    ):
        ITQ(n_bits).fit(np.random.default_rng(0).standard_normal(shape))


def test_bad_parameters():
    with pytest.raises(ValueError, match="update must be"):
        ITQ(2, update="wrong").fit(clustered())
    with pytest.raises(ValueError, match="n_iter must be at least 0"):
        ITQ(2, n_iter=-1).fit(clustered())
