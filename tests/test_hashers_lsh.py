from __future__ import annotations

import math

import numpy as np
import pytest

from sdc_search import LSH, unpack_bits


def bits(hasher: LSH, X: np.ndarray) -> np.ndarray:
    return unpack_bits(hasher.encode(X), hasher.n_bits)


@pytest.mark.parametrize("theta", [0.1, math.pi / 3, math.pi / 2, 2.8])
def test_bits_agree_as_often_as_the_angle_says(theta):
    n_bits, seeds = 4096, 20
    X = np.zeros((2, 10))
    X[:, :2] = [[1, 0], [math.cos(theta), math.sin(theta)]]
    agreement = []
    for seed in range(seeds):
        first, second = bits(LSH(n_bits, center="none", random_state=seed).fit(X), X)
        agreement.append((first == second).mean())
    p = 1 - theta / math.pi
    assert np.abs(np.array(agreement) - p).max() < 4 * math.sqrt(p * (1 - p) / n_bits)


def test_scale_does_not_matter_and_the_opposite_gives_the_complement():
    X = np.random.default_rng(0).standard_normal((50, 9))
    hasher = LSH(100, center="none", random_state=0).fit(X)
    assert np.array_equal(bits(hasher, 8 * X), bits(hasher, X))
    assert np.array_equal(bits(hasher, -X), ~bits(hasher, X))


def test_centres():
    X = np.random.default_rng(0).standard_normal((50, 3)) + np.array([1, 2, 6])
    for center, mean in (
        ("feature", X.mean(axis=0)),
        ("scalar", np.full(3, X.mean())),
        ("none", np.zeros(3)),
    ):
        hasher = LSH(8, center=center, random_state=0).fit(X)
        np.testing.assert_allclose(hasher.project(mean[None]), np.zeros((1, 8)), atol=1e-12)


def test_centring_balances_the_bits_of_non_negative_features():
    X = np.abs(np.random.default_rng(0).standard_normal((1000, 50)))
    rates = {
        center: bits(LSH(64, center=center, random_state=0).fit(X), X).mean(axis=0)
        for center in ("none", "feature")
    }
    assert np.abs(rates["feature"] - 0.5).max() < 0.1
    assert np.abs(rates["none"] - 0.5).mean() > 0.3


@pytest.mark.parametrize(("n_bits", "d"), [(5, 8), (8, 8), (20, 8)])
def test_orthogonal_planes_are_orthogonal_in_groups(n_bits, d):
    X = np.random.default_rng(0).standard_normal((50, d))
    weight = LSH(n_bits, orthogonal=True, random_state=0).fit(X).state_["weight"]
    for start in range(0, n_bits, d):
        group = weight[:, start : start + d]
        np.testing.assert_allclose(group.T @ group, np.eye(group.shape[1]), atol=1e-12)


def test_orthogonal_directions_are_uniform():
    # a QR without care for signs gives a first column that never points into one half-space
    X = np.eye(4)
    signs = [LSH(4, orthogonal=True, random_state=seed).fit(X).state_["weight"][0] > 0 for seed in range(400)]
    assert np.abs(np.mean(signs, axis=0) - 0.5).max() < 0.1


def test_bad_center():
    with pytest.raises(ValueError, match="center must be"):
        LSH(center="median").fit(np.eye(3))
