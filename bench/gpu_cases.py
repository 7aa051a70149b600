"""What is measured on a GPU: each case by this package and by those of its peers that are installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import roofline
import torch

from sdc_search import SDCLoss, beta_quantiles, calibration_loss, hamming_range, hamming_topk, wasserstein_1d

_MATRIX_BYTES = 4e9  # of products that torch holds at once
Call = Callable[[], Any]


@dataclass(frozen=True)
class GpuCase:
    """One case: its contenders are made only when it is its turn, since they fill the device's memory."""

    name: str
    predicted: roofline.Search | None  # None: roofline.py predicts nothing for it
    contenders: Callable[[], dict[str, Call]]  # ours first, called sdc-search
    check: Callable[[Any, Any], None]  # our answer and a peer's


def list_cases(quick: bool) -> list[GpuCase]:
    """Return all cases, or the smaller of them."""
    searches = [case for case in roofline.SEARCHES if not quick or case.n == 10**6]
    return [*map(_search, searches), *_losses(quick)]


def _search(case: roofline.Search) -> GpuCase:
    def contenders() -> dict[str, Call]:
        generator = torch.Generator("cuda").manual_seed(0)
        codes, queries = (
            torch.randint(0, 256, (n, case.bits // 8), dtype=torch.uint8, device="cuda", generator=generator)
            for n in (case.n, case.queries)
        )
        if case.radius:
            radius = int(hamming_topk(codes, queries[:1], case.k)[0][0, -1])
            return {
                "sdc-search": lambda: hamming_range(codes, queries, radius),
                "torch": _torch_range(codes, queries, radius),
            }
        found = {
            "sdc-search": lambda: hamming_topk(codes, queries, case.k),
            "torch": _torch_topk(codes, queries, case.k),
        }
        if find_spec("faiss") is not None and case.k <= 2048:
            import faiss

            if hasattr(faiss, "GpuIndexBinaryFlat"):
                found["faiss"] = _faiss_topk(faiss, codes, queries, case.k)
        if find_spec("cuvs") is not None:
            found["cuVS"] = _cuvs_topk(codes, queries, case.k)
        return found

    return GpuCase(case.name, case, contenders, _same_hits if case.radius else _same_distances)


def _signs(codes: torch.Tensor) -> torch.Tensor:
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=codes.device)
    return ((codes.unsqueeze(2) >> places) & 1).flatten(1).half() * 2 - 1


def _torch_topk(codes: torch.Tensor, queries: torch.Tensor, k: int) -> Call:
    """Products of ±1, a batch of queries at a time; half precision holds them exactly up to 2,048 bits."""
    database, wanted = _signs(codes).T, _signs(queries)
    batch = max(1, int(_MATRIX_BYTES / (2 * len(codes))))

    def run() -> torch.Tensor:
        found = [torch.topk(part @ database, k, dim=1).values for part in wanted.split(batch)]
        return (len(database) - torch.cat(found).float()).div(2).int()

    return run


def _torch_range(codes: torch.Tensor, queries: torch.Tensor, radius: int) -> Call:
    database, wanted = _signs(codes).T, _signs(queries)
    least = len(database) - 2 * radius
    batch = max(1, int(_MATRIX_BYTES / (2 * len(codes))))

    def run() -> torch.Tensor:
        return torch.cat([(part @ database >= least).nonzero() for part in wanted.split(batch)])

    return run


def _faiss_topk(faiss: Any, codes: torch.Tensor, queries: torch.Tensor, k: int) -> Call:
    index = faiss.GpuIndexBinaryFlat(faiss.StandardGpuResources(), 8 * codes.shape[1])
    index.add(codes.cpu().numpy())
    wanted = queries.cpu().numpy()
    return lambda: torch.from_numpy(index.search(wanted, k)[0])


def _cuvs_topk(codes: torch.Tensor, queries: torch.Tensor, k: int) -> Call:
    from cuvs.neighbors import brute_force

    index = brute_force.build(codes, metric="bitwise_hamming")
    return lambda: torch.as_tensor(brute_force.search(index, queries, k)[0], device="cuda")


def _same_distances(ours: Any, theirs: torch.Tensor) -> None:
    assert torch.equal(ours[0].cpu(), theirs.cpu().int()), "the distances differ"


def _same_hits(ours: Any, theirs: torch.Tensor) -> None:
    assert len(ours[2]) == len(theirs), "the numbers of hits differ"


def _losses(quick: bool) -> list[GpuCase]:
    return [
        *(_calibration(n) for n in ((523_776,) if quick else (523_776, 8_386_560))),
        _rows(256, 4096),
        *(_all_pairs(size, 512) for size in ((1024,) if quick else (1024, 4096))),
    ]


def _calibration(n: int) -> GpuCase:
    def contenders() -> dict[str, Call]:
        code, teacher = torch.rand(2, n, device="cuda") * 2 - 1
        code.requires_grad_()
        quantiles = beta_quantiles(n).float().cuda()
        return {
            "sdc-search": lambda: _with_gradient(calibration_loss(code, teacher, quantiles), code),
            "torch": lambda: _with_gradient(
                (code[torch.argsort(teacher, stable=True)] - quantiles).abs().mean(), code
            ),
        }

    return GpuCase(f"calibration loss, {n:,}, forward and backward", None, contenders, _close)


def _rows(rows: int, n: int) -> GpuCase:
    def contenders() -> dict[str, Call]:
        x, y = torch.randn(2, rows, n, device="cuda")
        x.requires_grad_()
        return {
            "sdc-search": lambda: _with_gradient(wasserstein_1d(x, y).sum(), x),
            "torch": lambda: _with_gradient(
                (x.sort(dim=1).values - y.sort(dim=1).values).abs().mean(dim=1).sum(), x
            ),
        }

    return GpuCase(f"W1 of {rows} rows of {n:,}, forward and backward", None, contenders, _close)


def _all_pairs(size: int, width: int) -> GpuCase:
    def contenders() -> dict[str, Call]:
        features, outputs = torch.randn(size, width, device="cuda"), torch.randn(size, 64, device="cuda")
        outputs.requires_grad_()
        loss = SDCLoss(pairs="all", quantization=0.0)
        first, second = torch.triu_indices(size, size, offset=1, device="cuda")
        quantiles = beta_quantiles(len(first)).float().cuda()

        def plain() -> tuple[torch.Tensor, torch.Tensor]:
            codes = torch.nn.functional.normalize(outputs, dim=1)
            teachers = torch.nn.functional.normalize(features, dim=1)
            code, teacher = (codes @ codes.T)[first, second], (teachers @ teachers.T)[first, second]
            ordered = code[torch.argsort(teacher, stable=True)]
            return _with_gradient((ordered - quantiles).abs().mean(), outputs)

        return {
            "sdc-search": lambda: _with_gradient(loss(features, outputs), outputs),
            "torch": plain,
        }

    return GpuCase(f"SDC loss, all pairs of {size:,}, {width} features", None, contenders, _close)


def _with_gradient(loss: torch.Tensor, of: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return loss.detach(), torch.autograd.grad(loss, of)[0]


def _close(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=1e-6)
