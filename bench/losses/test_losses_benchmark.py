"""`pytest bench/losses --benchmark-only`: every case of sdc_search.benchmarks.losses, ours and its peers."""

from __future__ import annotations

import pytest
import torch

import sdc_search
from sdc_search.benchmarks.losses import cases

RUNS = [
    pytest.param(case.name, run, id=f"{case.name}-{case.size}-{name}")
    for case in cases()
    for name, run in {"ours": case.ours, **case.peers}.items()
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("group", "run"), RUNS)
def test_forward_and_backward(benchmark, group, run):
    torch.set_num_threads(1)
    sdc_search.set_num_threads(1)
    benchmark.group = group
    assert torch.isfinite(benchmark(run))
