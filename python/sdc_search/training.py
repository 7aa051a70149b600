"""The training loop that the learnt hashers share, written to be read."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from sdc_search.schedules import Schedule, constant

Inputs: TypeAlias = Callable[[Tensor], Tensor]

_WORTH_THREADS = 1 << 26  # multiply-adds of a batch's forward pass: about a millisecond of one thread


@dataclass(frozen=True)
class Plan:
    """How a training goes.

    Parameters
    ----------
    lr
        Learning rate, which `schedule` multiplies step by step.
    batch_size
        Rows of a step; more than there are shrinks to their number.
    max_epochs
        Passes over the data.
    max_steps
        In place of `max_epochs`, a number of steps whatever the size of the data.
    weight_decay
        The coupled one: added to the gradient.
    optimizer
        ``"adam"``, with its `eps`; or ``"sgd"``, with its `momentum`.
    schedule
        See `sdc_search.schedules`.
    """

    lr: float
    batch_size: int
    max_epochs: int
    max_steps: int | None = None
    weight_decay: float = 0.0
    optimizer: Literal["adam", "sgd"] = "adam"
    eps: float = 1e-8
    momentum: float = 0.9
    schedule: Schedule = constant


@dataclass(frozen=True)
class EpochRecord:
    """What a callback gets at an epoch's end.

    Attributes
    ----------
    epoch
        Counted from 1.
    loss
        Mean over the epoch's steps.
    items_per_second
        Rows trained on, in this epoch.
    seconds
        Since the training began.
    lr
        Learning rate of the epoch's last step.
    hasher
        Called during the callback, returns a hasher fitted with the weights so far; None where a network is
        trained that is no hasher's.
    """

    epoch: int
    loss: float
    items_per_second: float
    seconds: float
    lr: float
    hasher: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Training:
    """How a training went: epochs completed, steps, the last epoch's loss, and whether Ctrl-C ended it."""

    epochs: int
    steps: int
    loss: float
    seconds: float
    interrupted: bool


def train(
    objective: nn.Module,
    inputs: Inputs,
    n: int,
    plan: Plan,
    *,
    generator: torch.Generator,
    callbacks: Sequence[Callable[[EpochRecord], object]] = (),
    autocast: bool = False,
    compile: bool = False,  # noqa: A002 - torch's name
    verbose: bool = False,
    label: str = "training",
) -> Training:
    """Train `objective` in place and leave it in eval mode.

    Each epoch shuffles the rows and drops the last, incomplete batch, since a loss of pairs and batch
    statistics both change their meaning with its size.

    Parameters
    ----------
    objective
        ``objective(rows, batch)`` is the scalar to minimise, `rows` int64 ``(N,)`` the numbers of the batch's
        rows. All parameters inside are trained, those of the loss too.
    inputs
        ``inputs(rows)`` is the batch, on the device of `objective`.
    n
        Number of rows.
    plan
        Optimiser, schedule and length.
    generator
        Of the CPU; decides the order of the rows.
    callbacks
        Each is called with the `EpochRecord` at an epoch's end, and at the end of an incomplete last one.
    autocast, compile
        Whether to compute `objective` in bfloat16 where torch deems it safe, and compiled by torch.
    verbose, label
        Whether to show a progress bar on stderr if that is a terminal, and under what name.

    Returns
    -------
    How it went. Ctrl-C after the first step ends the training as if it were over, with the weights so far;
    a second one while the caller goes on raises as usual.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C before the first step was done.
    ValueError
        The loss has become NaN or infinite.
    """
    batch_size = min(plan.batch_size, n)
    epoch_steps = n // batch_size
    steps = plan.max_steps if plan.max_steps is not None else plan.max_epochs * epoch_steps
    optimizer = _optimizer(objective, plan)
    step, epoch, loss, interrupted = 0, 0, float("nan"), False
    run = torch.compile(objective) if compile else objective
    start = time.perf_counter()

    objective.train()
    with (
        _one_thread(wanted=batch_size * sum(p.numel() for p in objective.parameters()) < _WORTH_THREADS),
        _progress_bar(label, steps * batch_size, shown=verbose) as progress,
    ):
        try:
            while step < steps:
                epoch_start, total = time.perf_counter(), 0.0
                order = torch.randperm(n, generator=generator)[: epoch_steps * batch_size]
                batches = order.view(epoch_steps, batch_size)[: steps - step]
                for rows in batches:
                    for group in optimizer.param_groups:
                        group["lr"] = plan.lr * plan.schedule(step, steps, epoch_steps)
                    batch = inputs(rows)
                    with torch.autocast(batch.device.type, torch.bfloat16, enabled=autocast):
                        value = run(rows, batch)
                    optimizer.zero_grad()
                    value.backward()
                    optimizer.step()
                    step += 1
                    total += value.detach()
                    progress(batch_size, value)
                loss = float(total) / len(batches)
                if not loss - loss == 0:
                    raise ValueError(f"{label} diverged, the loss is {loss}: try a smaller lr than {plan.lr}")
                epoch += 1
                now = time.perf_counter()
                rate = len(batches) * batch_size / (now - epoch_start)
                record = EpochRecord(epoch, loss, rate, now - start, optimizer.param_groups[0]["lr"])
                for callback in callbacks:
                    callback(record)
        except KeyboardInterrupt:
            if step == 0:
                raise
            interrupted = step < steps
    objective.eval()
    return Training(epoch, step, loss, time.perf_counter() - start, interrupted)


def _optimizer(objective: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    parameters = list(objective.parameters())
    common: dict[str, Any] = {"lr": plan.lr, "weight_decay": plan.weight_decay, "fused": True}
    if plan.optimizer == "adam":
        return torch.optim.Adam(parameters, eps=plan.eps, **common)
    return torch.optim.SGD(parameters, momentum=plan.momentum, **common)


@contextmanager
def _one_thread(*, wanted: bool) -> Iterator[None]:
    """Keep torch's operations on the calling thread where `wanted`.

    Small steps gain nothing from more threads, and on a busy machine lose tenfold: each of their many
    operations waits for the slowest thread to be scheduled.
    """
    threads = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _progress_bar(label: str, total: int, *, shown: bool) -> Iterator[Callable[[int, Tensor], None]]:
    """Give a function that reports a step's number of items and its loss."""
    if not (shown and sys.stderr.isatty()):
        yield lambda items, loss: None
        return

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TextColumn("{task.fields[rate]:,.0f} items/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total, loss=float("nan"), rate=0)

        def report(items: int, loss: Tensor) -> None:
            progress.update(task, advance=items, loss=loss.item(), rate=progress.tasks[task].speed or 0)

        yield report
