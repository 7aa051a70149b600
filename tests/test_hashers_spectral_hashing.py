from __future__ import annotations

import numpy as np
import pytest

from sdc_search import SpectralHashing, load_hasher, unpack_bits
from sdc_search.hashers.spectral_hashing import smoothest_modes


def bits(hasher: SpectralHashing, X: np.ndarray) -> np.ndarray:
    return unpack_bits(hasher.encode(X), hasher.n_bits)


def box(n: int = 500, lengths: tuple[float, ...] = (5, 3, 2, 1), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(n, len(lengths))) * np.array(lengths)


def test_bits_of_a_line_flip_at_odd_multiples_of_half_a_period():
    n_bits = 8
    X = np.linspace(0, 1, 100_001)[:, None]
    b = bits(SpectralHashing(n_bits).fit(X), X)
    for k in range(1, n_bits + 1):
        flips = X[1:, 0][b[1:, k - 1] != b[:-1, k - 1]]
        np.testing.assert_allclose(flips, (2 * np.arange(k) + 1) / (2 * k), atol=2e-5)
        assert b[:, k - 1].mean() == pytest.approx(0.5, abs=1e-4)


def test_modes_come_by_frequency_and_equal_ones_by_axis():
    assert smoothest_modes(np.array([2.5, 1.0]), 4).tolist() == [[0, 1], [0, 2], [1, 1], [0, 3]]
    assert smoothest_modes(np.array([1.0, 1.0, 1.0]), 5).tolist() == [[0, 1], [1, 1], [2, 1], [0, 2], [1, 2]]
    assert smoothest_modes(np.array([1.0, 1e-14]), 3).tolist() == [[0, 1], [0, 2], [0, 3]]


def test_a_box_gets_the_modes_of_its_sides():
    grid = np.stack(np.meshgrid(np.linspace(0, 2.5, 51), np.linspace(0, 1, 21)), axis=-1).reshape(-1, 2)
    hasher = SpectralHashing(4).fit(grid)
    assert hasher.modes_.tolist() == [[0, 1], [0, 2], [1, 1], [0, 3]]


def test_a_rotation_only_flips_whole_bits():
    X = box()
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    same = bits(SpectralHashing(16).fit(X), X) == bits(SpectralHashing(16).fit(X @ rotation), X @ rotation)
    assert (np.maximum(same.mean(axis=0), 1 - same.mean(axis=0)) > 0.99).all()


def test_flat_directions_give_no_bits():
    X = np.concatenate([box(), np.zeros((500, 3))], axis=1)
    assert np.array_equal(SpectralHashing(24).fit_transform(X), SpectralHashing(24).fit_transform(box()))


def test_beyond_the_training_range_the_wave_goes_on():
    X = np.linspace(0, 1, 101)[:, None]
    hasher = SpectralHashing(4).fit(X)
    k = np.arange(1, 5)
    beyond = np.array([[-0.3], [1.2], [7.9]])
    np.testing.assert_allclose(np.abs(hasher.project(beyond)), np.abs(np.cos(k * np.pi * beyond)), atol=1e-9)


def test_it_has_any_number_of_bits_and_few_rows_are_enough():
    assert SpectralHashing(100).fit_transform(box()).shape == (500, 13)
    assert SpectralHashing(16).fit_transform(box(2)).shape == (2, 2)


def test_a_file_gives_the_same_codes(tmp_path):
    hasher = SpectralHashing(20, random_state=0).fit(box())
    hasher.save(tmp_path / "a")
    loaded = load_hasher(tmp_path / "a")
    assert isinstance(loaded, SpectralHashing)
    assert loaded.encode(box(seed=1)).tobytes() == hasher.encode(box(seed=1)).tobytes()
