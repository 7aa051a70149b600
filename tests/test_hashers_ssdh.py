from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from sdc_search import SSDH
from sdc_search.hashers import ssdh
from sdc_search.hashers.ssdh import DistanceFit, fit_distances, ssdh_loss


def clustered(n: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 2 * rng.standard_normal((5, 20))[rng.integers(5, size=n)] + rng.standard_normal((n, 20))


def test_the_closed_form_is_that_of_the_mirrored_sides(monkeypatch):
    X = clustered()
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    distances = np.clip(1 - unit @ unit.T, 0, 2).ravel()
    monkeypatch.setattr(ssdh, "_ROWS", 70)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fit = fit_distances(X)
    counts, edges = np.histogram(distances, 200, (0, 2))
    assert fit.mode == pytest.approx(edges[counts.argmax()])
    for side, std in (
        (distances[distances <= fit.mode], fit.left),
        (distances[distances > fit.mode], fit.right),
    ):
        mirrored = np.concatenate([side, 2 * fit.mode - side])
        assert mirrored.mean() == pytest.approx(fit.mode)
        assert mirrored.std() == pytest.approx(std)


def test_labels_of_four_points():
    angles = torch.tensor([0.0, 10.0, 60.0, 180.0]).deg2rad()
    x = torch.stack([angles.cos(), angles.sin()], dim=1)
    S = DistanceFit(mode=0.5, left=0.2, right=0.3).pseudo_labels(x)  # near below .1, far above 1.1
    assert S.tolist() == [[1, 1, 0, -1], [1, 1, 0, -1], [0, 0, 1, -1], [-1, -1, -1, 1]]


def test_labels_are_symmetric():
    S = DistanceFit(1.0, 0.3, 0.1).pseudo_labels(torch.from_numpy(clustered()))
    assert torch.equal(S, S.T)
    assert set(S.unique().tolist()) == {-1, 0, 1}


def test_consistent_corners_cost_nothing_and_unknown_pairs_count_in_the_mean():
    z = torch.tensor([[1.0, 1], [1, 1], [-1, -1]])
    S = torch.tensor([[1.0, 1, -1], [1, 1, -1], [-1, -1, 1]])
    assert ssdh_loss(S, 100 * z) == 0
    assert ssdh_loss(S, torch.zeros(3, 2)) == 1
    S[0, 1] = S[1, 0] = 0
    assert ssdh_loss(S, torch.zeros(3, 2)) == pytest.approx(7 / 9)


def test_no_near_pairs_are_announced():
    X = np.repeat(np.eye(4), 25, axis=0)[:, :2] + 1e-3  # half of all pairs are equal
    with pytest.warns(UserWarning, match="SSDH finds no near pairs"):
        fit_distances(X)


@pytest.mark.parametrize(
    ("parameter", "value"), [("hidden", -1), ("teacher", "shifted"), ("alpha", -1.0), ("beta", float("inf"))]
)
def test_parameters_out_of_range(parameter, value):
    with pytest.raises(ValueError, match=f"{parameter} must be"):
        SSDH(8, **{parameter: value}).fit(np.eye(10))
