"""The losses, forward and backward, against plain torch, POT and the published loss, from its formula."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional

from sdc_search.losses import SDCLoss, beta_quantiles, calibration_loss, wasserstein_1d

Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """One comparison: `ours` and each of `peers` return the loss after its backward pass."""

    name: str
    size: int
    ours: Run
    peers: dict[str, Run]
    tolerance: float = 1e-4


@dataclass(frozen=True)
class Row:
    """What was measured, in seconds of processor time of the calling thread; `seconds` holds `ours` too."""

    name: str
    size: int
    seconds: dict[str, float]

    def ratio(self, peer: str) -> float:
        """How many times as long the peer takes."""
        return self.seconds[peer] / self.seconds["ours"]


def plain_calibration(s: Tensor, t: Tensor, quantiles: Tensor) -> Tensor:
    """Write the loss as one does in torch."""
    return torch.as_tensor((s[torch.argsort(t, stable=True)] - quantiles).abs().mean())


def published_sdc(features: Tensor, outputs: Tensor, quantiles: Tensor) -> Tensor:
    """Half pairs, Ng et al., BMVC 2023: cosines, a sort by the teacher's, L1, quantisation."""
    half = len(features) // 2
    teacher = functional.cosine_similarity(features[:half], features[half : 2 * half])
    codes = functional.cosine_similarity(outputs[:half], outputs[half : 2 * half])
    _, order = torch.sort(teacher, stable=True)
    quantisation = 1 - functional.cosine_similarity(outputs, outputs.detach().sign())
    return torch.as_tensor((codes[order] - quantiles).abs().mean() + quantisation.mean())


def plain_all_pairs(features: Tensor, outputs: Tensor, quantiles: Tensor) -> Tensor:
    """All pairs, with all their similarities."""
    first, second = torch.triu_indices(len(features), len(features), 1)
    directions, teachers = functional.normalize(outputs, dim=1), functional.normalize(features, dim=1)
    loss: Tensor = plain_calibration(
        (directions @ directions.T)[first, second], (teachers @ teachers.T)[first, second], quantiles
    )
    alignment = directions.abs().sum(1).mean() / outputs.shape[1] ** 0.5
    return torch.as_tensor(loss + (1 - alignment))


def cases(largest: int = 8_386_560) -> Iterator[Case]:
    """Yield the comparisons, smallest first; `largest` bounds their numbers or pairs."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    for n in (32, 1024, 65_536, 523_776, 8_386_560):
        if n <= largest:
            t, s = (random(n) * 0.2).clamp(-1, 1), (random(n) * 0.2).requires_grad_()
            yield _calibration(s, t, beta_quantiles(n).float())
    if largest >= 2 * 256 * 4096:
        yield from _wasserstein(random)
    for b in (64, 1024, 4096):
        features, outputs = random(b, 4096), random(b, 64).requires_grad_()
        yield _sdc("SDCLoss half, d = 4096", SDCLoss(), published_sdc, features, outputs, b // 2)
    for b in (256, 1024, 4096):
        n_pairs = b * (b - 1) // 2
        if n_pairs <= largest:
            features, outputs = random(b, 512), random(b, 64).requires_grad_()
            loss = SDCLoss(pairs="all")
            yield _sdc("SDCLoss all, d = 512", loss, plain_all_pairs, features, outputs, n_pairs)


def measure(case: Case, *, seconds: float = 1.0) -> Row:
    """Run everything once for its answer, then in turns; take the median.

    Raises
    ------
    AssertionError
        A peer's loss differs.
    """
    runs = {"ours": case.ours, **case.peers}
    wanted = case.ours().item()
    for name, run in case.peers.items():
        value = run().item()
        assert abs(value - wanted) <= case.tolerance * abs(wanted), (
            f"{case.name}: {name} gives {value}, not {wanted}"
        )
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while len(times["ours"]) < 3 or (time.perf_counter() < end and len(times["ours"]) < 2000):
        for name, run in runs.items():
            begin = time.thread_time()
            run()
            times[name].append(time.thread_time() - begin)
    return Row(case.name, case.size, {name: statistics.median(taken) for name, taken in times.items()})


def table(rows: list[Row]) -> str:
    """Write Markdown: milliseconds, and how many times as long each peer takes."""
    lines = ["| case | size | ours, ms | peers, ms (ratio) |", "|---|---|---|---|"]
    for row in rows:
        peers = ", ".join(
            f"{name} {taken * 1e3:.3f} ({row.ratio(name):.1f}x)"
            for name, taken in row.seconds.items()
            if name != "ours"
        )
        lines.append(f"| {row.name} | {row.size:,} | {row.seconds['ours'] * 1e3:.3f} | {peers} |")
    return "\n".join(lines)


def _calibration(s: Tensor, t: Tensor, quantiles: Tensor) -> Case:
    return Case(
        "calibration",
        len(s),
        _step(lambda: calibration_loss(s, t, quantiles), s),
        {"torch": _step(lambda: plain_calibration(s, t, quantiles), s)},
    )


def _sdc(
    name: str,
    loss: SDCLoss,
    peer: Callable[[Tensor, Tensor, Tensor], Tensor],
    features: Tensor,
    outputs: Tensor,
    n_pairs: int,
) -> Case:
    quantiles = beta_quantiles(n_pairs).float()
    return Case(
        name,
        len(outputs),
        _step(lambda: loss(features, outputs), outputs),
        {
            "published" if loss.pairs == "half" else "torch": _step(
                lambda: peer(features, outputs, quantiles), outputs
            )
        },
    )


def _wasserstein(random: Callable[..., Tensor]) -> Iterator[Case]:
    x, y, short = random(256, 4096).requires_grad_(), random(256, 4096), random(256, 3000)
    weights = [random(256, n).abs() + 0.1 for n in (4096, 3000)]
    weights = [w / w.sum(1, keepdim=True) for w in weights]
    peers = {"torch": _step(lambda: (x.sort(1).values - y.sort(1).values).abs().mean(1).sum(), x)}
    weighted = {}
    if find_spec("ot") is not None:
        import ot

        peers["POT"] = _step(lambda: ot.wasserstein_1d(x.T, y.T, p=1).sum(), x)
        weighted["POT"] = _step(
            lambda: ot.wasserstein_1d(x.T, short.T, weights[0].T, weights[1].T, p=2).sum(), x
        )
    yield Case("wasserstein_1d, 256 rows", 4096, _step(lambda: wasserstein_1d(x, y).sum(), x), peers)
    yield Case(
        "wasserstein_1d, p = 2, weighted, 4096 and 3000",
        4096,
        _step(lambda: wasserstein_1d(x, short, 2, *weights).sum(), x),
        weighted,
        tolerance=1e-2,  # POT adds float32 weights up in float32
    )


def _step(forward: Run, leaf: Tensor) -> Run:
    def run() -> Tensor:
        leaf.grad = None
        loss = forward()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    return run
