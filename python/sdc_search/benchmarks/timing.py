"""Fair timing: the contenders take turns in one process, on as many CPUs as they are meant to have."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from sdc_search.native import core

# A short call is repeated for so long, or so often, before the next contender has its turn.
_TURN_SECONDS = 0.02
_TURN_CALLS = 1_000


@dataclass(frozen=True)
class Call:
    """What is timed.

    Parameters
    ----------
    run
        The call; it is given what `fresh` returns, if there is one.
    fresh
        Makes, untimed and before every call, what the call uses up.
    """

    run: Callable[..., Any]
    fresh: Callable[[], Any] | None = None

    def arguments(self) -> tuple[Any, ...]:
        """Return the arguments of the next `run`."""
        return () if self.fresh is None else (self.fresh(),)

    def __call__(self) -> Any:
        """Run once, untimed."""
        return self.run(*self.arguments())


@dataclass(frozen=True)
class Budget:
    """How long a case is repeated: for `seconds` in all, but within the limits of `rounds`."""

    seconds: float
    rounds: tuple[int, int] = (3, 51)


def take_turns(
    calls: Mapping[str, Call], budget: Budget, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Time several calls, already warm, against each other.

    Parameters
    ----------
    calls
        One a contender.
    budget
        How many rounds there are; in each every contender has one turn.
    clock
        Seconds since some origin.

    Returns
    -------
    The seconds of a call, one entry a round. A turn shorter than 20 ms is filled with repetitions, and counts
    as their median without the first, which finds the caches as the previous contender left them.
    """
    fewest, most = budget.rounds
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    start = clock()
    for count in range(most):
        if count >= fewest and clock() - start >= budget.seconds:
            break
        for name, call in calls.items():
            rounds[name].append(_turn(call, clock))
    return rounds


def _turn(call: Call, clock: Callable[[], float]) -> float:
    times: list[float] = []
    total = 0.0
    while not times or (total < _TURN_SECONDS and len(times) < _TURN_CALLS):
        arguments = call.arguments()
        start = clock()
        call.run(*arguments)
        times.append(clock() - start)
        total += times[-1]
    return median(times[1:] or times)


def ratio(slower: list[float], faster: list[float]) -> float:
    """Return how many times as fast `faster` is: the median of the rounds' ratios.

    The load of the machine changes between rounds more than within one, so it cancels in each ratio.
    """
    return median(a / b for a, b in zip(slower, faster, strict=True))


def usable_cpus() -> int:
    """Count the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Give this thread `count` CPUs and every library, those loaded so far, as many threads.

    Where the system allows it (Linux), the calling thread is pinned to the last CPUs that it may use, since
    the first one also serves most interrupts.
    """
    from threadpoolctl import threadpool_limits

    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    own_threads = core.num_threads()
    core.set_num_threads(count)
    if cpus:
        os.sched_setaffinity(0, sorted(cpus)[-count:])
    try:
        with threadpool_limits(count):  # BLAS, and OpenMP as faiss and torch use it
            yield
    finally:
        if cpus:
            os.sched_setaffinity(0, cpus)
        core.set_num_threads(own_threads)


@contextmanager
def instruction_set(level: str | None) -> Iterator[None]:
    """Force an instruction-set level of the native code; None leaves it."""
    before = core.isa()
    if level is not None:
        core.set_isa(level)
    try:
        yield
    finally:
        core.set_isa(before)
