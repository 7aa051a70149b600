"""How good the codes of real features are: the bundled ones, by mAP@1000, at 16 bits and more."""

from __future__ import annotations

import numpy as np
import pytest

from sdc_search import (
    ITQ,
    LSH,
    SDC,
    BiHalf,
    GraphSDC,
    GreedyHash,
    Hasher,
    SpectralHashing,
    mean_average_precision,
)
from sdc_search.demo import load_demo_data
from sdc_search.hashers import NSH, SSDH, TBH, WCH, CIBHash


def precision(hasher: Hasher, n: int | None = None) -> float:
    """Learn from n random items of the database, or from all."""
    data = load_demo_data()
    rows = np.random.default_rng(0).permutation(len(data.database))[:n] if n else slice(None)
    hasher.fit(data.database[rows])
    return mean_average_precision(
        hasher.encode(data.database), data.database_labels, hasher.encode(data.query), data.query_labels
    )


@pytest.fixture(scope="module")
def random_planes() -> float:
    return float(np.mean([precision(LSH(16, random_state=seed)) for seed in range(5)]))


@pytest.mark.parametrize(
    ("method", "params", "margin"),
    [
        (SpectralHashing, {}, 0.05),
        (SDC, {"max_epochs": 4, "hidden": 128}, 0.05),
        (GreedyHash, {"max_epochs": 5}, 0.05),
        (BiHalf, {"max_epochs": 5}, 0.05),
        (SSDH, {"max_epochs": 5}, 0.05),
        (CIBHash, {"max_epochs": 3, "n_components": 64}, 0.05),
        (NSH, {"max_epochs": 2, "n_components": 64}, 0.05),
        (WCH, {"max_epochs": 3, "n_components": 64}, 0.05),
        (TBH, {"max_epochs": 4, "n_components": 64}, 0.0),
    ],
)
def test_a_few_epochs_beat_random_planes(method, params, margin, random_planes):
    assert precision(method(16, random_state=0, verbose=False, **params)) > random_planes + margin


@pytest.mark.parametrize("n_bits", [16, 32])
def test_graph_sdc_beats_itq(n_bits):
    ours = GraphSDC(n_bits, hidden=128, max_epochs=40, random_state=0, verbose=False)
    assert precision(ours, 1000) > precision(ITQ(n_bits, random_state=0), 1000) + 0.01
