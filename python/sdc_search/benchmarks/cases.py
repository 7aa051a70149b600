"""What a benchmark case is, and how one is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from sdc_search.benchmarks.timing import Budget, Call, instruction_set, ratio, take_turns, threads

Scale = Literal["quick", "full"]
BUDGETS: dict[Scale, Budget] = {"quick": Budget(0.5), "full": Budget(10.0, rounds=(5, 101))}


class WrongAnswerError(Exception):
    """Two contenders that must agree do not, so that their times mean nothing."""


@dataclass(frozen=True)
class Contender:
    """Who takes part.

    Parameters
    ----------
    name
        Heads a column.
    units
        Units of work (queries, say) in one of its calls: a slow peer may do fewer than the others. Times are
        compared for one unit.
    """

    name: str
    units: int


@dataclass(frozen=True)
class Trial:
    """A case with its data in memory.

    Parameters
    ----------
    calls
        One for each contender.
    check
        Is given what the calls returned, raises `WrongAnswerError`, and returns what else is worth telling.
    """

    calls: Mapping[str, Call]
    check: Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A question of speed: the first contender against the others.

    Parameters
    ----------
    name
        What ``--cases`` selects.
    group
        Heading of the table that it is a row of.
    parameters
        The columns that tell it from its neighbours.
    contenders
        Ours first.
    prepare
        Makes the data; called once the threads and the instruction set are set.
    items
        Items (pairs of a query and a code, say) in one unit.
    item
        What an item is called in the tables.
    baseline
        The contender that `target` is about; None for the fastest of the others.
    target
        How many times as fast as the baseline the first is meant to be.
    target_rate
        Items a second that the first is meant to do.
    limit
        The least seconds that one call of the first can take, where that is known.
    isa
        The instruction-set level to force.
    threads
        How many threads there are, in place of the run's own number.
    """

    name: str
    group: str
    parameters: Mapping[str, str | int]
    contenders: tuple[Contender, ...]
    prepare: Callable[[], Trial]
    items: int
    item: str = "pair"
    baseline: str | None = None
    target: float | None = None
    target_rate: float | None = None
    limit: Callable[[], float | None] | None = None
    isa: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Result:
    """What `run_case` measured: seconds of one unit; ratios over the first contender, which wins above 1."""

    name: str
    group: str
    parameters: Mapping[str, str | int]
    seconds: Mapping[str, float]
    item: str
    ns_per_item: Mapping[str, float]
    ratios: Mapping[str, float]
    baseline: str
    ratio: float
    target: float | None
    rate: float
    target_rate: float | None
    limit_seconds: float | None
    share_of_limit: float | None
    isa: str | None
    threads: int
    rounds: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own(self) -> str:
        """The name of the first contender."""
        return next(iter(self.seconds))

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target_rate is not None:
            return self.rate >= self.target_rate
        return None if self.target is None else self.ratio >= self.target

    def document(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return {**asdict(self), "met": self.met}


def run_case(case: Case, n_threads: int, budget: Budget) -> Result:
    """Measure one case.

    Raises
    ------
    WrongAnswerError
        The contenders do not agree.
    """
    count = case.threads or n_threads
    with threads(count), instruction_set(case.isa):
        trial = case.prepare()
        facts = check_answers(case, trial)
        units = {contender.name: contender.units for contender in case.contenders}
        rounds = {
            name: [seconds / units[name] for seconds in times]
            for name, times in take_turns({name: trial.calls[name] for name in units}, budget).items()
        }
        limit = None if case.limit is None or count > 1 else case.limit()
    own, *others = units
    seconds = {name: median(times) for name, times in rounds.items()}
    baseline = case.baseline or min(others, key=seconds.__getitem__)
    ratios = {name: ratio(rounds[name], rounds[own]) for name in others}
    return Result(
        name=case.name,
        group=case.group,
        parameters=case.parameters,
        seconds=seconds,
        item=case.item,
        ns_per_item={name: 1e9 * value / case.items for name, value in seconds.items()},
        ratios=ratios,
        baseline=baseline,
        ratio=ratios[baseline],
        target=case.target,
        rate=case.items / seconds[own],
        target_rate=case.target_rate,
        limit_seconds=None if limit is None else limit / units[own],
        share_of_limit=None if limit is None else limit / units[own] / seconds[own],
        isa=case.isa,
        threads=count,
        rounds=len(rounds[own]),
        facts=facts,
    )


def check_answers(case: Case, trial: Trial) -> dict[str, Any]:
    """Run every contender once, which also warms it up, and check what they return."""
    try:
        return trial.check({name: call() for name, call in trial.calls.items()})
    except WrongAnswerError as error:
        raise WrongAnswerError(f"case {case.name}: {error}") from error
