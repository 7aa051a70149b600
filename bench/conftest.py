"""Wraps the package's cases for pytest-benchmark: one group a case, one test a contender.

The report then has a table for each case, whose ratios stand in parentheses. Times are of one unit of the
case (a query, say), also where a slow contender does fewer of them. Here the contenders come one after the
other; ``sdc-search benchmark`` lets them take turns, which a busy machine disturbs less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sdc_search.benchmarks.cases import BUDGETS, Case, Contender, Trial, check_answers
from sdc_search.benchmarks.requirements import HAMMING, LOSSES, require
from sdc_search.benchmarks.timing import instruction_set, threads

_ROUND_SECONDS = 0.02


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scale", choices=list(BUDGETS), default="quick", help="sizes of the benchmarks")
    parser.addoption("--threads", type=int, default=1, help="threads of every contender")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    require(*HAMMING, *LOSSES)
    cases: list[Case] = metafunc.module.list_cases(
        metafunc.config.getoption("scale"), metafunc.config.getoption("threads")
    )
    metafunc.parametrize(
        ("case", "contender"),
        [
            pytest.param(
                case,
                contender,
                id=f"{case.name}-{contender.name.replace(' ', '-')}",
                marks=pytest.mark.benchmark(group=case.name, timer=_clock_of_a_unit(contender.units)),
            )
            for case in cases
            for contender in case.contenders
        ],
    )


def _clock_of_a_unit(units: int) -> Callable[[], float]:
    return lambda: time.perf_counter() / units


@pytest.fixture(scope="session")
def prepared() -> Callable[[Case], Trial]:
    """Prepare and check a case once for all its contenders, which follow each other."""
    latest: dict[str, Trial] = {}

    def prepare(case: Case) -> Trial:
        if case.name not in latest:
            latest.clear()
            trial = case.prepare()
            check_answers(case, trial)
            latest[case.name] = trial
        return latest[case.name]

    return prepare


@pytest.fixture
def trial(case: Case, prepared: Callable[[Case], Trial], request: pytest.FixtureRequest) -> Iterator[Trial]:
    with threads(case.threads or request.config.getoption("threads")), instruction_set(case.isa):
        yield prepared(case)


@pytest.fixture
def measure(
    case: Case, contender: Contender, trial: Trial, benchmark: Any, request: pytest.FixtureRequest
) -> Callable[[], None]:
    def run() -> None:
        call = trial.calls[contender.name]
        arguments = call.arguments()
        start = time.perf_counter()
        call.run(*arguments)
        seconds = time.perf_counter() - start
        iterations = 1 if call.fresh else max(1, int(_ROUND_SECONDS / seconds))
        budget = BUDGETS[request.config.getoption("scale")]
        fewest, most = budget.rounds
        rounds = int(budget.seconds / len(case.contenders) / (seconds * iterations))
        benchmark.extra_info.update(case.parameters, items=case.items, target=case.target)
        benchmark.pedantic(
            call.run,
            setup=None if call.fresh is None else lambda: (call.arguments(), {}),
            rounds=min(max(fewest, rounds), most),
            iterations=iterations,
        )

    return run
