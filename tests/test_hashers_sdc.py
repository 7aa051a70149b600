from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sdc_search import SDC, unpack_bits
from sdc_search.hashers.heads import fold


def test_bits_are_nearly_balanced():
    X = np.abs(np.random.default_rng(0).standard_normal((1000, 20)))
    rates = unpack_bits(SDC(32, max_epochs=4, random_state=0, verbose=False).fit_transform(X), 32).mean(
        axis=0
    )
    assert np.abs(rates - 0.5).max() < 0.2


def test_folding_is_the_network_in_eval_mode():
    torch.manual_seed(0)
    first, last, norm = nn.Linear(6, 9), nn.Linear(9, 4), nn.BatchNorm1d(4)
    network = nn.Sequential(first, nn.GELU(), last, norm)
    network(torch.randn(200, 6))
    network.eval()
    hasher = SDC(4, hidden=9)._restore(fold(network, None, 0.5), {})
    X = torch.randn(20, 6)
    torch.testing.assert_close(hasher.project(X), network(0.5 * X).detach(), rtol=1e-5, atol=1e-6)


def test_training_leaves_the_number_of_threads():
    before = torch.get_num_threads()
    SDC(4, max_epochs=1, hidden=4).fit(np.random.default_rng(0).standard_normal((20, 6)))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("shown", [False, True])
def test_progress_is_for_terminals_that_want_it(shown, monkeypatch, capsys):
    X = np.random.default_rng(0).standard_normal((20, 6))
    SDC(4, max_epochs=1, hidden=4, verbose=True).fit(X)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    SDC(4, max_epochs=1, hidden=4, verbose=shown).fit(X)
    captured = capsys.readouterr()
    assert ("items/s" in captured.err and "loss" in captured.err) is shown
    assert captured.out == ""


def test_a_diverged_training_is_an_error():
    X = np.random.default_rng(0).standard_normal((40, 6))
    with pytest.raises(ValueError, match=r"diverged.*smaller lr"):
        SDC(4, lr=1e30, max_epochs=4, hidden=4, verbose=False).fit(X)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"hidden": 0}, ValueError, "hidden must be at least 1"),
        ({"batch_size": 1}, ValueError, "batch_size must be at least 2"),
        ({"max_epochs": 0}, ValueError, "max_epochs must be at least 1"),
        ({"max_epochs": 1.5}, TypeError, "max_epochs must be an integer"),
        ({"lr": 0}, ValueError, "lr must be positive"),
        ({"lr": float("nan")}, ValueError, "lr must be positive"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be non-negative"),
        ({"pairs": "some"}, ValueError, "pairs must be"),
        ({"alpha": 0}, ValueError, "alpha must be positive"),
        ({"quantization": -1}, ValueError, "quantization must be non-negative"),
        ({"device": "abacus"}, ValueError, "device must be 'auto' or one that torch can use"),
        ({"device": "cuda:99"}, ValueError, "device must be 'auto' or one that torch can use"),
        ({"device": 1.5}, TypeError, "device"),
    ],
)
def test_bad_parameters(params, error, message):
    with pytest.raises(error, match=message):
        SDC(**params).fit(np.random.default_rng(0).standard_normal((20, 6)))
