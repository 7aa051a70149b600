"""What all trained hashers promise, and how they read their features."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

import sdc_search
from sdc_search import (
    SDC,
    BiHalf,
    GraphSDC,
    GreedyHash,
    NotFittedError,
    load_hasher,
    unpack_bits,
)
from sdc_search.bit_statistics import bit_statistics
from sdc_search.feature_rows import FeatureRows
from sdc_search.hashers import NSH, SSDH, TBH, WCH, CIBHash


def sample(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape or (60, 8)).astype(np.float32)


def quick(**params) -> SDC:
    return SDC(**{"n_bits": 8, "hidden": 8, "max_epochs": 2, "batch_size": 16, "random_state": 0, **params})


@pytest.mark.parametrize("method", [SDC, GreedyHash, BiHalf, SSDH, CIBHash, NSH, WCH, TBH])
@pytest.mark.parametrize("preset", [None, "author", "sdc_paper"])
def test_every_preset_trains_and_its_file_gives_the_same_codes(method, preset, tmp_path):
    X = np.random.default_rng(0).random((300, 12), dtype=np.float32)
    hasher = method(16, preset=preset, max_epochs=1, random_state=0, verbose=False).fit(X)
    codes = hasher.encode(X)
    assert len(np.unique(codes, axis=0)) > 1
    hasher.save(tmp_path / "a")
    assert load_hasher(tmp_path / "a").encode(X).tobytes() == codes.tobytes()


@pytest.mark.parametrize("method", [GreedyHash, BiHalf, SSDH])
@pytest.mark.parametrize("preset", [None, "author", "sdc_paper"])
def test_only_the_sdc_paper_gives_pairwise_methods_a_hidden_layer(method, preset):
    hasher = method(8, preset=preset, max_epochs=1, random_state=0).fit(np.abs(sample(120, 8)))
    assert ("hidden_weight" in hasher.state_) == (preset == "sdc_paper")


def test_all_parameters_are_in_the_signature_and_survive_clone():
    from sklearn.base import clone

    params = quick(preset="author", lr=0.5, threshold="mean").get_params()
    assert {"hidden", "lr", "preset", "device", "callbacks"} <= params.keys()
    assert clone(quick(preset="author", lr=0.5, threshold="mean")).get_params() == params
    with pytest.raises(TypeError, match="no parameter colour"):
        SDC(colour=1)


def test_a_preset_gives_what_is_not_given():
    settings = SDC(preset="sdc_paper")._settings()
    assert (settings.lr, settings.weight_decay, settings.hidden, settings.max_epochs) == (
        1e-4,
        5e-4,
        4096,
        100,
    )
    assert SDC(preset="sdc_paper", lr=0.5)._settings().lr == 0.5
    assert SDC(preset="author")._settings().weight_decay == 1e-5
    with pytest.raises(ValueError, match="preset must be one of None, 'author', 'sdc_paper', got 'mine'"):
        SDC(preset="mine").fit(sample())


def test_hidden_as_wide_as_the_features():
    assert quick(hidden="features").fit(sample()).state_["hidden_weight"].shape == (8, 8)


@pytest.mark.parametrize("threshold", ["mean", "median"])
def test_thresholds_are_of_the_training_projections(threshold):
    X = np.abs(sample(200, 8)) ** 3
    projections = quick(threshold=threshold).fit(X).project(X)
    center = projections.mean(axis=0) if threshold == "mean" else np.median(projections, axis=0)
    np.testing.assert_allclose(center, 0, atol=1e-5)


def test_the_report_describes_codes_and_training(tmp_path):
    X = sample()
    hasher = quick(max_epochs=3).fit(X)
    report = hasher.report_
    bits = unpack_bits(hasher.encode(X), 8)
    assert report["balance"] == pytest.approx(bits.mean(axis=0))
    assert (report["epochs"], report["steps"], report["interrupted"]) == (3, 9, False)
    assert report["views"] == "none"
    assert report["seconds"] > 0
    hasher.save(tmp_path / "a")
    assert load_hasher(tmp_path / "a").report_ == {k: v for k, v in report.items() if k != "seconds"}


def test_bit_statistics_of_known_codes():
    statistics = bit_statistics(np.packbits([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], axis=1), 3)
    assert statistics["balance"] == [0.5, 0.5, 1.0]
    assert statistics["correlation"] == 0
    assert statistics["entropy"] == pytest.approx(2 / 3)
    assert statistics["collapse"] == pytest.approx(4 / 6)


@pytest.mark.parametrize("name", ["CIBHash", "GraphSDC", "SDC", "TBH"])
@pytest.mark.parametrize("threshold", ["zero", "median"])
def test_a_callback_gets_the_hasher_so_far_and_changes_nothing(name, threshold):
    def look(record):
        hashers.append(record.hasher())

    hashers = []
    params = {"n_bits": 4, "max_epochs": 3, "batch_size": 20, "threshold": threshold, "random_state": 0}
    hasher_class = getattr(sdc_search, name)
    alone = hasher_class(**params).fit(sample())
    hasher = hasher_class(**params, callbacks=[look]).fit(sample())
    projections = [each.project(sample()) for each in (*hashers, hasher, alone)]
    assert len(hashers) == 3
    assert not np.array_equal(projections[0], projections[1])
    for same in projections[3:]:
        assert np.array_equal(projections[2], same)


def interrupt_after(epochs):
    def callback(record):
        if record.epoch == epochs:
            raise KeyboardInterrupt

    return callback


def test_ctrl_c_in_training_fits_with_the_weights_so_far():
    hasher = quick(max_epochs=50, callbacks=[interrupt_after(2)])
    with pytest.warns(RuntimeWarning, match="SDC: interrupted after 2 epochs"):
        hasher.fit(sample())
    assert hasher.report_["interrupted"]
    assert hasher.report_["epochs"] == 2
    assert hasher.encode(sample()).shape == (60, 1)


def test_a_second_ctrl_c_leaves_the_hasher_as_it_was(monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    hasher = quick(callbacks=[interrupt_after(1)])
    monkeypatch.setattr("sdc_search.hashers.trained.fold", interrupt)
    with pytest.raises(KeyboardInterrupt):
        hasher.fit(sample())
    with pytest.raises(NotFittedError):
        hasher.encode(sample())


def test_callbacks_are_not_saved(tmp_path):
    quick(callbacks=[print]).fit(sample()).save(tmp_path / "a")
    assert load_hasher(tmp_path / "a").callbacks is None


@pytest.mark.parametrize("preset", [None, "sdc_paper"])
def test_contrastive_training_takes_views_or_makes_them(preset):
    made = quick(preset=preset, contrastive=1.0, augmentation_strength=0.2).fit(sample())
    assert made.report_["views"] == "dropout 0.2"
    noisy = quick(preset=preset, contrastive=1.0, augmentation="noise").fit(sample())
    assert noisy.report_["views"] == "noise 0.1"
    given = quick(preset=preset, contrastive=1.0, batch_size=15).fit(sample(60, 4, 8))
    assert given.report_["views"] == ("two of 3 precomputed" if preset else "two of 4 precomputed")
    assert given.encode(sample()).shape == (60, 1)
    with pytest.raises(ValueError, match=r"X must have shape \(n, d\), got \(60, 4, 8\)"):
        given.encode(sample(60, 4, 8))


def test_views_of_the_wrong_shape():
    with pytest.raises(ValueError, match="X must have at least 2 views, got 1"):
        quick(contrastive=1.0).fit(sample(60, 1, 8))
    with pytest.raises(ValueError, match="at least 3 views, the first unaugmented, got 2"):
        quick(contrastive=1.0, preset="sdc_paper").fit(sample(60, 2, 8))
    with pytest.raises(ValueError, match=r"\(n, d\) or \(n, V, d\), got \(60, 2, 2, 8\)"):
        quick(contrastive=1.0).fit(sample(60, 2, 2, 8))
    with pytest.raises(ValueError, match=r"X must have shape \(n, d\), got \(60, 2, 8\)"):
        quick().fit(sample(60, 2, 8))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"feature_dropout": 1.0}, r"feature_dropout must be in \[0, 1\)"),
        ({"threshold": "max"}, "threshold must be 'zero', 'mean' or 'median'"),
        ({"augmentation": "mixup"}, "augmentation must be 'dropout' or 'noise'"),
        ({"augmentation_strength": 1.0}, "augmentation_strength must be below 1"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        quick(**params).fit(sample())


def test_feature_rows_are_those_of_the_array(monkeypatch):
    monkeypatch.setattr("sdc_search.feature_rows._BLOCK_VALUES", 50)
    monkeypatch.setattr("sdc_search.feature_rows._CONVERTED_BYTES", 0)
    X = sample().astype(np.float16)
    rows = FeatureRows("X", X)
    wide = X.astype(np.float64)
    assert np.array_equal(np.concatenate(list(rows.blocks())), X.astype(np.float32))
    assert rows.take([3, 1]).dtype == np.float32
    np.testing.assert_allclose(rows.mean(), wide.mean(axis=0))
    np.testing.assert_allclose(rows.mean_square(), (wide**2).mean())
    np.testing.assert_allclose(rows.mean_square(rows.mean()), wide.var(axis=0).mean())
    X[-1, -1] = np.nan
    with pytest.raises(ValueError, match="X must be finite"):
        FeatureRows("X", X)


def test_training_on_a_memory_map_keeps_memory_flat(tmp_path):
    script = """
import resource, sys
import numpy as np
from sdc_search.hashers import ITQ, LSH, SDC

sdc = SDC(16, hidden=8, max_epochs=1, batch_size=4096, lr=1e-3, verbose=False)
hashers = [LSH(16), ITQ(8, n_iter=1), sdc]
few = np.random.default_rng(0).standard_normal((5000, 256)).astype(np.float16)
for hasher in hashers:
    hasher.fit(few)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
X = np.load(sys.argv[1], mmap_mode="r")
for hasher in hashers:
    hasher.fit(X)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown * (1 if sys.platform == "darwin" else 1024))
"""
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", "f2", (300_000, 256))
    X[:] = np.arange(300_000)[:, None] % 97
    X.flush()
    path = tmp_path / "X.npy"
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    # the mapped pages count, 154 MB that the system takes back at need; a float32 copy would add 307 MB
    assert int(run.stdout) < 250 << 20


def test_shuffled_rows_give_as_good_codes():
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((5, 16))[rng.integers(5, size=400)] + rng.standard_normal((400, 16)) / 4).astype(
        "f4"
    )
    losses = [quick(max_epochs=20, random_state=seed).fit(X).report_["loss"] for seed in range(3)]
    shuffled = quick(max_epochs=20).fit(X[rng.permutation(400)]).report_["loss"]
    assert abs(shuffled - np.mean(losses)) < 3 * np.std(losses) + 0.02


@pytest.mark.parametrize("method", [SDC, GraphSDC, GreedyHash, BiHalf, SSDH, CIBHash, NSH, WCH, TBH])
def test_autocast_trains_nearly_the_same_codes(method):
    X = (5 * np.eye(5, 16)[np.arange(200) % 5] + sample(200, 16)).astype(np.float32)
    plain, half = (
        method(16, autocast=autocast, max_epochs=3, random_state=0, verbose=False).fit(X)
        for autocast in (False, True)
    )
    assert half.report_["loss"] == pytest.approx(plain.report_["loss"], rel=0.05)
    assert np.unpackbits(half.encode(X) ^ plain.encode(X)).mean() < 0.05


@pytest.mark.filterwarnings("ignore:.*torch.* is deprecated")  # torch's about itself
@pytest.mark.parametrize("method", [SDC, GraphSDC])
def test_compiled_training_is_the_same_training(method, monkeypatch):
    # All of the compiler but its last stage, which would call a C++ compiler for half a minute.
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend="aot_eager", fullgraph=True))
    X = sample(64, 8)
    plain, compiled = (
        method(8, max_epochs=2, hidden=8, compile=compiled, random_state=0).fit(X).project(X)
        for compiled in (False, True)
    )
    np.testing.assert_allclose(compiled, plain, atol=1e-4)
