"""Learning rates over a training: factors of the first one.

A schedule is a function ``schedule(step, steps, epoch_steps) -> factor`` of the step, counted from 0, of the
number of all steps and of those of an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import TypeAlias

Schedule: TypeAlias = Callable[[int, int, int], float]


def constant(step: int, steps: int, epoch_steps: int) -> float:
    """Keep the learning rate."""
    return 1.0


def half_cosine(step: int, steps: int, epoch_steps: int) -> float:
    """Fall to 0 along half a cosine: ``½(1 + cos(π step / steps))``."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def step_decay(epochs: Collection[int], factor: float = 0.1) -> Schedule:
    """Multiply by `factor` after each of these numbers of epochs.

    Examples
    --------
    >>> from sdc_search.schedules import step_decay
    >>> [step_decay([2])(step, 4, 1) for step in range(4)]
    [1.0, 1.0, 0.1, 0.1]
    """

    def schedule(step: int, steps: int, epoch_steps: int) -> float:
        return math.prod((factor for epoch in epochs if step >= epoch * epoch_steps), start=1.0)

    return schedule


def warm_up(schedule: Schedule, over: int) -> Schedule:
    """Rise linearly within the first `over` steps: ``min(1, (step + 1) / over)`` times `schedule`."""

    def warmed(step: int, steps: int, epoch_steps: int) -> float:
        return schedule(step, steps, epoch_steps) * min(1.0, (step + 1) / over)

    return warmed
