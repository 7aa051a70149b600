"""The training loop that the learnt hashers share, written to be read."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_WORTH_THREADS = 1 << 26  # multiply-adds of a batch's forward pass: about a millisecond of one thread


def train(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    features: Tensor,
    *,
    max_epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    generator: torch.Generator,
    warmup: int = 0,
    verbose: bool = False,
    label: str = "training",
) -> None:
    """Train `model` in place and leave it in eval mode.

    Adam, with a learning rate that falls to 0 along half a cosine.
    Each epoch shuffles the rows and drops the last, incomplete batch, since a loss of pairs and batch
    statistics both change their meaning with its size.

    Parameters
    ----------
    model
        Maps features ``(N, d)`` to outputs ``(N, K)``; on the device of `features`.
    loss
        ``loss(features, outputs)``, the scalar to minimise over a batch.
    features
        Shape ``(n, d)``.
    max_epochs, batch_size, lr, weight_decay
        As usual. A batch larger than the data shrinks to it; weight decay is Adam's own, coupled one.
    generator
        Of the CPU; decides the order of the rows.
    warmup
        Steps over which the learning rate rises to that half cosine.
    verbose, label
        Whether to show a progress bar on stderr if that is a terminal, and under what name.

    Raises
    ------
    ValueError
        The loss has become NaN or infinite.
    """
    batch_size = min(batch_size, len(features))
    batches = len(features) // batch_size
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    steps = max_epochs * batches
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (1 + math.cos(math.pi * step / steps)) / 2 * min(1.0, (step + 1) / max(1, warmup)),
    )

    parameters = sum(parameter.numel() for parameter in model.parameters())
    model.train()
    with (
        _one_thread(wanted=batch_size * parameters < _WORTH_THREADS),
        _progress_bar(label, max_epochs * batches * batch_size, shown=verbose) as report,
    ):
        for _ in range(max_epochs):
            order = torch.randperm(len(features), generator=generator).to(features.device)
            for rows in order[: batches * batch_size].view(batches, batch_size):
                batch = features[rows]
                value = loss(batch, model(batch))
                optimizer.zero_grad()
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                report(len(rows), value)
    model.eval()
    if not torch.isfinite(value):
        raise ValueError(f"{label} diverged, the last loss is {value.item()}: try a smaller lr than {lr}")


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
