"""The cases of the losses: forward and backward, float32, against plain torch, POT and the published loss."""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from sdc_search.benchmarks import loss_peers
from sdc_search.benchmarks.cases import Case, Contender, Scale, Trial, WrongAnswerError
from sdc_search.benchmarks.machine import cpu_family, read_seconds
from sdc_search.benchmarks.memory import memory_growth
from sdc_search.benchmarks.timing import Budget, Call, ratio, take_turns, usable_cpus
from sdc_search.losses import SDCLoss, beta_quantiles, calibration_loss, wasserstein_1d
from sdc_search.native import core

OURS = "sdc-search"
TORCH = "torch"
POT = "POT"
PUBLISHED = "published"

CALIBRATION = "Calibration loss"
ALL_PAIRS = "SDCLoss, all pairs"
IN_NEW_PROCESSES = "ratio in new processes"
MEMORY = {OURS: "extra memory MB", TORCH: "torch's extra memory MB"}

# One pinned thread; for a Zen 5, and for an Emerald Rapids (every Intel is taken for one).
_CALIBRATION_TARGETS = {
    32: (1.6, 1.6),
    1_024: (2.3, 2.3),
    65_536: (9.0, 7.0),
    523_776: (28.0, 18.0),
    8_386_560: (40.0, 37.0),
}
_ROWS_TARGETS = {TORCH: (13.0, 11.0), POT: (60.0, 60.0)}
_WEIGHTED_TARGETS = (12.0, 12.0)
_HALF_TARGETS = {64: (9.0, 7.5), 1_024: (18.0, 12.0), 4_096: (34.0, 22.0)}
_ALL_TARGETS = {256: (8.0, 5.0), 1_024: (13.0, 5.0), 4_096: (14.0, 5.0)}
_THREADS_TARGET = 1.7
_THREADS_NUMBERS = 65_536
_THREADS_BATCH = 1_024

_LENGTH, _OTHER_LENGTH = 4_096, 3_000
_HALF_DIM, _ALL_DIM, _BITS = 4_096, 512, 64

_NEW_PROCESSES = 3
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h

# The cosines that contenders compute differ in their last bits, so that pairs of nearly the same teacher may
# come in another order; POT adds float32 weights up in float32.
_TOLERANCE = 1e-4
_POT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Sizes:
    numbers: tuple[int, ...]
    rows: int
    half: tuple[int, ...]
    all_pairs: tuple[int, ...]


_SIZES: dict[Scale, _Sizes] = {
    "quick": _Sizes((32, 1_024, 65_536), 32, (64, 256), (256, 512)),
    "full": _Sizes(tuple(_CALIBRATION_TARGETS), 256, tuple(_HALF_TARGETS), tuple(_ALL_TARGETS)),
}


@dataclass(frozen=True)
class _Problem:
    """One loss of one input, as each contender computes it, and the leaf that gets a gradient."""

    leaf: Tensor
    losses: Mapping[str, Callable[[], Tensor]]


@dataclass(frozen=True)
class _Regime:
    """What becomes a case against others and, if it is large, one of two threads against one."""

    name: str
    group: str
    parameters: Mapping[str, str | int]
    make: Callable[[], _Problem]
    peer: str  # whom the targets are about
    items: int
    item: str
    targets: tuple[float, float] | None
    tolerance: float = _TOLERANCE
    others: tuple[str, ...] = ()
    facts: Callable[[], dict[str, Any]] = dict
    limit: Callable[[], float] | None = None
    large: bool = False


def loss_cases(scale: Scale, threads: int = 1) -> list[Case]:
    """List the cases that this machine can run.

    Parameters
    ----------
    scale
        ``"full"``: the sizes that the targets are about; ``"quick"``: smaller ones, without targets.
    threads
        For every contender; the targets of the cases that do not fix a number themselves are for one.
    """
    regimes = list(_regimes(_SIZES[scale]))
    races = [_race(regime) for regime in regimes]
    if threads > 1:
        races = [replace(case, target=None) for case in races]
    cases = [*races, *(_thread_case(regime) for regime in regimes if regime.large)]
    if scale != "full":
        cases = [replace(case, target=None) for case in cases]
    return [case for case in cases if (case.threads or 1) <= usable_cpus()]


def _regimes(sizes: _Sizes) -> Iterator[_Regime]:
    for n in sizes.numbers:
        yield _Regime(
            f"calibration-{n}",
            CALIBRATION,
            {"n": n},
            partial(_calibration, n),
            TORCH,
            items=n,
            item="number",
            targets=_CALIBRATION_TARGETS[n],
            large=n >= _THREADS_NUMBERS,
        )
    for peer, targets in _ROWS_TARGETS.items():
        yield _Regime(
            f"wasserstein-{peer.lower()}",
            "Wasserstein distance of rows, p = 1",
            {"rows": sizes.rows, "n": _LENGTH},
            partial(_rows, sizes.rows, peer),
            peer,
            items=sizes.rows * _LENGTH,
            item="number",
            targets=targets,
            large=peer == TORCH,
        )
    yield _Regime(
        "wasserstein-weighted",
        "Wasserstein distance of weighted rows of two lengths, p = 2",
        {"rows": sizes.rows, "n": _LENGTH, "m": _OTHER_LENGTH},
        partial(_weighted_rows, sizes.rows),
        POT,
        items=sizes.rows * (_LENGTH + _OTHER_LENGTH),
        item="number",
        targets=_WEIGHTED_TARGETS,
        tolerance=_POT_TOLERANCE,
    )
    for batch in sizes.half:
        yield _Regime(
            f"sdc-half-{batch}",
            "SDCLoss, half pairs",
            {"batch": batch, "d": _HALF_DIM, "bits": _BITS},
            partial(_half_pairs, batch),
            PUBLISHED,
            items=batch // 2,
            item="pair",
            targets=_HALF_TARGETS.get(batch),
            others=(TORCH,),
            facts=partial(_ratio_in_new_processes, batch),
            limit=partial(read_seconds, 4 * batch * (_HALF_DIM + _BITS)),
            large=batch >= _THREADS_BATCH,
        )
    for batch in sizes.all_pairs:
        yield _Regime(
            f"sdc-all-{batch}",
            ALL_PAIRS,
            {"batch": batch, "d": _ALL_DIM, "bits": _BITS},
            partial(_all_pairs, batch),
            TORCH,
            items=batch * (batch - 1) // 2,
            item="pair",
            targets=_ALL_TARGETS.get(batch),
            facts=partial(_extra_memory, batch),
            large=batch >= _THREADS_BATCH,
        )


def _race(regime: _Regime) -> Case:
    peers = (regime.peer, *regime.others)

    def prepare() -> Trial:
        _keep_freed_memory()
        problem = regime.make()
        calls = {name: _forward_backward(problem.leaf, problem.losses[name]) for name in (OURS, *peers)}

        def check(answers: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Any]:
            for peer in peers:
                for part, what in enumerate(("losses", "gradients")):
                    own, other = answers[OURS][part], answers[peer][part]
                    close = (own - other).norm() <= regime.tolerance * other.norm()
                    _require(bool(close), f"the {what} of {OURS} and {peer} differ")
            return regime.facts()

        return Trial(calls, check)

    on_intel = cpu_family()[0] == "GenuineIntel"
    return Case(
        name=regime.name,
        group=regime.group,
        parameters=regime.parameters,
        contenders=tuple(Contender(name, 1) for name in (OURS, *peers)),
        prepare=prepare,
        items=regime.items,
        item=regime.item,
        baseline=regime.peer,
        target=None if regime.targets is None else regime.targets[on_intel],
        limit=regime.limit,
    )


def _thread_case(regime: _Regime) -> Case:
    single = "one thread"

    def prepare() -> Trial:
        problem = regime.make()
        loss = problem.losses[OURS]
        calls = {
            name: _forward_backward(problem.leaf, loss, threads=count)
            for name, count in ((OURS, 2), (single, 1))
        }

        def check(answers: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Any]:
            same = all(torch.equal(*pair) for pair in zip(answers[OURS], answers[single], strict=True))
            _require(same, "two threads and one differ")
            return {}

        return Trial(calls, check)

    return Case(
        name=f"threads-{regime.name}",
        group=f"Two threads against one: {regime.group}",
        parameters=regime.parameters,
        contenders=(Contender(OURS, 1), Contender(single, 1)),
        prepare=prepare,
        items=regime.items,
        item=regime.item,
        target=_THREADS_TARGET,
        threads=2,
    )


def _forward_backward(leaf: Tensor, loss: Callable[[], Tensor], threads: int | None = None) -> Call:
    def run() -> tuple[Tensor, Tensor | None]:
        leaf.grad = None
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach(), leaf.grad

    def run_on(count: int) -> tuple[Tensor, Tensor | None]:
        before = core.num_threads()
        core.set_num_threads(count)
        try:
            return run()
        finally:
            core.set_num_threads(before)

    return Call(run if threads is None else partial(run_on, threads))


def _keep_freed_memory() -> None:
    """Make glibc keep all that is freed, so that a peer's temporary tensors cost no page faults.

    By default that depends on what was freed before, and changes the peers' times threefold.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _ratio_in_new_processes(batch: int) -> dict[str, Any]:
    """Race half pairs as `_race` does, but with memory as a new process finds it; the median of some."""
    context = multiprocessing.get_context("spawn")
    ratios = []
    for _ in range(_NEW_PROCESSES):
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            ratios.append(pool.submit(_half_ratio, batch).result())
    return {IN_NEW_PROCESSES: round(median(ratios), 1)}


def _half_ratio(batch: int) -> float:
    torch.set_num_threads(1)
    core.set_num_threads(1)
    problem = _half_pairs(batch)
    calls = {name: _forward_backward(problem.leaf, problem.losses[name]) for name in (OURS, PUBLISHED)}
    for call in calls.values():
        call()
    times = take_turns(calls, Budget(1.0, rounds=(5, 51)))
    return ratio(times[PUBLISHED], times[OURS])


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _calibration(n: int) -> _Problem:
    teacher = (0.2 * _random(n, seed=1)).clamp(-1, 1)
    code = (0.2 * _random(n, seed=2)).clamp(-1, 1).requires_grad_()
    quantiles = beta_quantiles(n).float()
    return _Problem(
        code,
        {
            OURS: partial(calibration_loss, code, teacher, quantiles),
            TORCH: partial(loss_peers.plain_calibration, code, teacher, quantiles),
        },
    )


def _rows(rows: int, peer: str) -> _Problem:
    x, y = _random(rows, _LENGTH, seed=1).requires_grad_(), _random(rows, _LENGTH, seed=2)
    theirs = {TORCH: loss_peers.plain_wasserstein, POT: loss_peers.pot_wasserstein}[peer]
    return _Problem(x, {OURS: partial(wasserstein_1d, x, y, reduction="sum"), peer: partial(theirs, x, y)})


def _weighted_rows(rows: int) -> _Problem:
    x, y = _random(rows, _LENGTH, seed=1).requires_grad_(), _random(rows, _OTHER_LENGTH, seed=2)
    weights = [_random(*sample.shape, seed=3).abs() + 0.1 for sample in (x, y)]
    x_weights, y_weights = (weight / weight.sum(dim=1, keepdim=True) for weight in weights)
    return _Problem(
        x,
        {
            OURS: partial(wasserstein_1d, x, y, 2, x_weights, y_weights, reduction="sum"),
            POT: partial(loss_peers.pot_wasserstein, x, y, 2, x_weights, y_weights),
        },
    )


def _half_pairs(batch: int) -> _Problem:
    features, outputs = _random(batch, _HALF_DIM, seed=1), _random(batch, _BITS, seed=2).requires_grad_()
    quantiles = beta_quantiles(batch // 2).float()
    return _Problem(
        outputs,
        {
            OURS: partial(SDCLoss(), features, outputs),
            PUBLISHED: partial(loss_peers.published_sdc, features, outputs),
            TORCH: partial(loss_peers.plain_half_pairs, features, outputs, quantiles),
        },
    )


def _all_pairs(batch: int) -> _Problem:
    features, outputs = _random(batch, _ALL_DIM, seed=1), _random(batch, _BITS, seed=2).requires_grad_()
    quantiles = beta_quantiles(batch * (batch - 1) // 2).float()
    return _Problem(
        outputs,
        {
            OURS: partial(SDCLoss(pairs="all"), features, outputs),
            TORCH: partial(loss_peers.plain_all_pairs, features, outputs, quantiles),
        },
    )


def _extra_memory(batch: int) -> dict[str, Any]:
    facts = {}
    for name, fact in MEMORY.items():
        growth = memory_growth(partial(_prepare_memory, batch, name))
        if growth is not None:
            facts[fact] = round(growth.peak / 1e6, 1)
    return facts


def _prepare_memory(batch: int, name: str) -> Callable[[], object]:
    """Prepare one step on one thread; a tiny one before it loads what every first step loads."""
    torch.set_num_threads(1)
    core.set_num_threads(1)
    for size in (4, batch):
        problem = _all_pairs(size)
        call = _forward_backward(problem.leaf, problem.losses[name])
        if size != batch:
            call()
    return call


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise WrongAnswerError(otherwise)
