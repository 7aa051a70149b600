"""The cases of the metrics: mean average precision with expected ties, against the published evaluator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sdc_search.benchmarks import metric_peers
from sdc_search.benchmarks.cases import Case, Contender, Scale, Trial, WrongAnswerError
from sdc_search.benchmarks.memory import memory_growth
from sdc_search.benchmarks.timing import Call
from sdc_search.metrics import Ties, mean_average_precision
from sdc_search.native import core

OURS = "sdc-search"
PUBLISHED = "published"
TOPK = "torch topk"
MEMORY = "extra memory MB"

_SIZES: dict[Scale, tuple[int, int]] = {"quick": (6_000, 100), "full": (59_000, 1_000)}
_CLASSES, _BITS, _RANKS, _FLIPPED = 10, 64, 1_000, 0.35
_TARGET = 120.0  # one thread, 1,000 of 59,000, 64 bits


def metric_cases(scale: Scale, threads: int = 1) -> list[Case]:
    """List the cases.

    Parameters
    ----------
    scale
        ``"full"``: CIFAR10's 1,000 queries and 59,000 items, which the target is about; ``"quick"``: a tenth.
    threads
        For every contender; the target is for one.
    """
    items, queries = _SIZES[scale]
    cases = [_case(items, queries, at) for at in (100, _RANKS, items)]
    target = _TARGET if scale == "full" and threads == 1 else None
    return [replace(case, target=target if case.parameters["ranks"] == _RANKS else None) for case in cases]


def _case(items: int, queries: int, at: int) -> Case:
    return Case(
        name=f"map-{'all' if at == items else at}",
        group="Mean average precision with expected ties",
        parameters={"bits": _BITS, "n": items, "queries": queries, "ranks": at},
        contenders=(Contender(OURS, queries), Contender(PUBLISHED, queries), Contender(TOPK, queries)),
        prepare=partial(_prepare, items, queries, at),
        items=items,
        baseline=PUBLISHED,
    )


def _prepare(items: int, queries: int, at: int) -> Trial:
    arrays = _classes(items, queries)
    codes, labels, query_codes, query_labels = arrays
    tensors = (
        metric_peers.signs(codes),
        torch.from_numpy(labels),
        metric_peers.signs(query_codes),
        torch.from_numpy(query_labels),
        at,
    )
    calls = {
        OURS: Call(partial(mean_average_precision, *arrays, at=at)),
        PUBLISHED: Call(partial(metric_peers.published_map, *tensors)),
        TOPK: Call(partial(metric_peers.published_map, *tensors, order=metric_peers.top_k)),
    }

    def check(answers: Mapping[str, float]) -> dict[str, Any]:
        """Whatever order a sort gives ties, it lies within the bounds, and so does the expectation."""
        kinds: tuple[Ties, Ties] = ("pessimistic", "optimistic")
        low, high = (mean_average_precision(*arrays, at=at, ties=ties) for ties in kinds)
        for name, value in answers.items():
            if not low - 1e-5 <= value <= high + 1e-5:  # the peers add up in float32
                raise WrongAnswerError(f"{name} gives {value}, outside of the bounds {low} and {high}")
        growth = memory_growth(partial(_prepare_memory, items, queries, at))
        return {} if growth is None else {MEMORY: round(growth.peak / 1e6, 1)}

    return Trial(calls, check)


def _classes(
    items: int, queries: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Draw a centre for each class, and codes around the centres."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, _CLASSES, items + queries)
    centres = generator.random((_CLASSES, _BITS)) < 0.5
    bits = centres[labels] ^ (generator.random((items + queries, _BITS)) < _FLIPPED)
    codes = np.packbits(bits, axis=1)
    return codes[:items], labels[:items], codes[items:], labels[items:]


def _prepare_memory(items: int, queries: int, at: int) -> Callable[[], object]:
    """Prepare one call on one thread; a small one before it loads what every first call loads."""
    core.set_num_threads(1)
    arrays = _classes(items, queries)
    codes, labels, query_codes, query_labels = arrays
    mean_average_precision(codes[:100], labels[:100], query_codes[:10], query_labels[:10], at=10)
    return partial(mean_average_precision, *arrays, at=at)
