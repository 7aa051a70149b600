"""The losses where their tensors lie on a CUDA device: memory and launches.

All memory comes from torch's caching allocator, and everything is put on the current stream of the tensors'
device. Nothing waits for it, so that a forward and a backward pass can be captured as a CUDA graph; only for
all pairs of more than 4,096 items the forward pass does, once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from sdc_search import cuda_memory, native
from sdc_search.quantiles import beta_nodes

Weights: TypeAlias = Tensor | None

_BRACKET_FROM = 1 << 20  # numbers of a row from which a histogram is expected to be cheaper than a sort
_LOSS_TOLERANCE = 2e-7  # as on the CPU: what means of bins may cost of the loss
_PACKED_PAIRS = 1 << 23  # so many pairs may be kept in memory with what sorts them, some 0.3 GB
_STRIP_NUMBERS = 1 << 24  # similarities that are computed at once
_KEPT_NUMBERS = 1 << 26  # similarities of the teacher that are not computed again
_STRIPS = 8  # at least, where rows allow it: a strip computes half a square too much
_SMALLEST_NORM = 1e-12


def calibration_loss(code: Tensor, teacher: Tensor, quantiles: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Give the loss of each row and its own gradient, as the registered operation does on the CPU."""
    _same_device(code, teacher, quantiles)
    return _calibrate(code, teacher, quantiles.to(code.dtype).contiguous(), p)


def _calibrate(code: Tensor, teacher: Tensor, quantiles: Tensor | Spline, p: float) -> tuple[Tensor, Tensor]:
    cuda = native.usable_cuda()
    n = code.shape[-1]
    code, teacher = code.contiguous(), teacher.contiguous()
    losses, gradient = _empty(code, code.shape[:-1]), _empty(code, code.shape)
    rows = losses.numel()
    if rows == 0:
        return losses, gradient
    types = code.dtype is torch.float64, teacher.dtype is torch.float64
    bracket = p == 1 and n >= _BRACKET_FROM and not any(types)
    workspace = _workspace(code, cuda.calibration_workspace_bytes(*types, rows, n, bracket))
    cuda.calibration_loss(
        code.data_ptr(),
        types[0],
        teacher.data_ptr(),
        types[1],
        *_quantiles(cuda, quantiles),
        n if isinstance(quantiles, Tensor) and quantiles.ndim > 1 else 0,
        rows,
        n,
        p,
        bracket,
        _LOSS_TOLERANCE,
        workspace.data_ptr(),
        len(workspace),
        losses.data_ptr(),
        gradient.data_ptr(),
        *_target(code),
    )
    return losses, gradient


def wasserstein_1d(
    x: Tensor, y: Tensor, x_weights: Weights, y_weights: Weights, p: float, root: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the distances of rows and their gradients, as the registered operation does on the CPU."""
    _same_device(x, y, x_weights, y_weights)
    cuda = native.usable_cuda()
    x, y = x.contiguous(), y.contiguous()
    x_weights = None if x_weights is None else x_weights.contiguous()
    y_weights = None if y_weights is None else y_weights.contiguous()
    losses, x_gradient, y_gradient = _empty(x, x.shape[:-1]), _empty(x, x.shape), _empty(y, y.shape)
    sizes = losses.numel(), x.shape[-1], y.shape[-1]
    if sizes[0] == 0:
        return losses, x_gradient, y_gradient
    wide = x.dtype is torch.float64
    weighted = x_weights is not None or y_weights is not None
    workspace = _workspace(x, cuda.wasserstein_workspace_bytes(wide, *sizes, weighted))
    cuda.wasserstein_1d(
        x.data_ptr(),
        y.data_ptr(),
        0 if x_weights is None else x_weights.data_ptr(),
        0 if y_weights is None else y_weights.data_ptr(),
        wide,
        *sizes,
        p,
        root,
        workspace.data_ptr(),
        len(workspace),
        losses.data_ptr(),
        x_gradient.data_ptr(),
        y_gradient.data_ptr(),
        *_target(x),
    )
    return losses, x_gradient, y_gradient


class Spline(NamedTuple):
    """A Beta distribution's quantile function on a device: see `sdc_search.quantiles.beta_nodes`."""

    nodes: Tensor
    alpha: float
    beta: float
    floor: float


def device_spline(alpha: float, beta: float, floor: float, device: torch.device) -> Spline | None:
    """Copy the nodes of a spline to a device; None where there is no such spline."""
    nodes = _device_nodes(alpha, beta, device)
    return None if nodes is None else Spline(nodes, alpha, beta, floor)


@lru_cache(maxsize=32)
def _device_nodes(alpha: float, beta: float, device: torch.device) -> Tensor | None:
    nodes = beta_nodes(alpha, beta)
    return None if nodes is None else torch.from_numpy(nodes).to(device)


def sdc_loss_all(
    features: Tensor,
    outputs: Tensor,
    quantiles: Tensor | Spline,
    quantization: float,
    gradient: Tensor | None,
) -> Tensor:
    """Compute what `sdc_search.ops.sdc_loss_all` says; the gradient with respect to `outputs` too if wanted.

    `quantiles` are a float32 table of the device, or a spline.
    """
    _same_device(features, outputs)
    with torch.autocast(outputs.device.type, enabled=False):
        directions, inverses = _directions(outputs)
        pairs = _AllPairs(_directions(features)[0], directions, quantiles, gradient is not None)
        loss, along = pairs.calibrated()
        n, k = outputs.shape
        loss = loss + quantization * (1 - directions.abs().sum(dim=1).mean() / k**0.5)
        if gradient is not None:
            # cos(v, sign v) = ‖v‖₁ / (√K ‖v‖₂)
            along -= quantization / (n * k**0.5) * directions.sign()
            back = (along * directions).sum(dim=1, keepdim=True)
            torch.mul(inverses, along - back * directions, out=gradient)
            gradient += loss - loss  # NaN everywhere, if the loss is
    return torch.as_tensor(loss)


def _directions(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Divide rows by their norms, and give the inverses; both are 0 where there is hardly a norm."""
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    inverses = torch.where(norms < _SMALLEST_NORM, 0, 1 / norms)
    return rows * inverses, inverses


class _Strip(NamedTuple):
    """Rows of the matrix of all pairs, with its columns from the first of these rows on."""

    first: int
    rows: int
    first_sum: int


class _AllPairs:
    """The calibration of all pairs, and its gradient with respect to the directions of the codes.

    Similarities are computed in strips. A row of a strip begins at a multiple of 4 numbers, for vector loads.
    """

    def __init__(
        self, teacher: Tensor, codes: Tensor, quantiles: Tensor | Spline, want_gradient: bool
    ) -> None:
        self._cuda = native.usable_cuda()
        self._vectors = {"teacher": teacher, "codes": codes}
        self._quantiles = quantiles
        self._want_gradient = want_gradient
        self._n = len(codes)
        self._n_pairs = self._n * (self._n - 1) // 2
        self._stride = (self._n + 3) // 4 * 4
        rows = max(1, min(_STRIP_NUMBERS // self._stride, max(32, -(-self._n // _STRIPS))))
        self._strips: list[_Strip] = []
        self._n_sums = 0
        for first in range(0, self._n, rows):
            strip = _Strip(first, min(rows, self._n - first), self._n_sums)
            self._strips.append(strip)
            self._n_sums += self._cuda.sums_of_strip(self._n, self._stride, *strip[:2])
        self._buffers = {name: _empty(codes, (rows, self._stride)) for name in ("teacher", "codes")}
        self._kept: dict[int, Tensor] | None = {} if self._n * self._stride <= _KEPT_NUMBERS else None

    def calibrated(self) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient with respect to the directions, zeros where it is not wanted."""
        if self._n_pairs > _PACKED_PAIRS:
            loss, gradient = self._bracketed()
            if not loss.isnan():  # waits for the device
                return loss, gradient
        return self._packed()

    def _similarities(self, name: str, strip: _Strip, buffer: Tensor) -> Tensor:
        vectors = self._vectors[name]
        block = buffer[: strip.rows, : self._n - strip.first]
        torch.matmul(vectors[strip.first : strip.first + strip.rows], vectors[strip.first :].T, out=block)
        return block

    def _teacher(self, strip: _Strip) -> Tensor:
        """Compute a strip of the teacher's similarities, or take it from before."""
        if self._kept is None:
            return self._similarities("teacher", strip, self._buffers["teacher"])
        if strip.first not in self._kept:
            buffer = _empty(self._vectors["teacher"], (strip.rows, self._stride))
            self._kept[strip.first] = self._similarities("teacher", strip, buffer)
        return self._kept[strip.first]

    def _add_gradient(self, strip: _Strip, signs: Tensor, gradient: Tensor) -> None:
        directions, end = self._vectors["codes"], strip.first + strip.rows
        gradient[strip.first : end].addmm_(signs, directions[strip.first :])
        gradient[strip.first :].addmm_(signs.T, directions[strip.first : end])

    def _bracketed(self) -> tuple[Tensor, Tensor]:
        """Compute the loss without a sort and without a number for each pair; NaN where that is not exact."""
        codes = self._vectors["codes"]
        workspace = _workspace(codes, self._cuda.PairBrackets.workspace_bytes(self._n, self._n_sums))
        brackets = self._cuda.PairBrackets(
            self._n,
            self._stride,
            *_quantiles(self._cuda, self._quantiles),
            self._n_sums,
            _LOSS_TOLERANCE,
            workspace.data_ptr(),
            len(workspace),
            *_target(codes),
        )
        brackets.begin()
        # Numbers of other strips that lie beyond the range of the first one share the outer bins.
        brackets.range(self._teacher(self._strips[0]).data_ptr(), *self._strips[0][:2])
        for strip in self._strips:
            brackets.count(self._teacher(strip).data_ptr(), *strip[:2])
        brackets.bracket()
        gradient = _empty(codes, codes.shape).zero_()
        for strip in self._strips:
            signs = self._similarities("codes", strip, self._buffers["codes"])
            brackets.classify(self._teacher(strip).data_ptr(), *strip[:2], signs.data_ptr(), strip.first_sum)
            if self._want_gradient:
                self._add_gradient(strip, signs, gradient)
        for strip in self._strips:
            brackets.collect(self._teacher(strip).data_ptr(), *strip[:2])
        loss = _empty(codes, ()).fill_(torch.nan)
        brackets.settle(loss.data_ptr())
        if self._want_gradient:
            # In integers, whose sum does not depend on the order in which the device finds these pairs.
            open_sums = _workspace(codes, 8 * codes.numel()).zero_()
            brackets.add_open_pairs(codes.data_ptr(), codes.shape[1], open_sums.data_ptr())
            gradient += (open_sums.view(torch.int64).view(codes.shape) * 2.0**-32).to(gradient.dtype)
            gradient /= self._n_pairs
        return loss, gradient

    def _packed(self) -> tuple[Tensor, Tensor]:
        """Compute the loss from a vector of the pairs."""
        codes = self._vectors["codes"]
        target = _target(codes)
        vectors = {name: _empty(codes, (self._n_pairs,)) for name in self._vectors}
        for strip in self._strips:
            for name, vector in vectors.items():
                block = self._similarities(name, strip, self._buffers[name])
                self._cuda.pack_pairs(
                    block.data_ptr(), self._n, self._stride, *strip[:2], vector.data_ptr(), *target
                )
        loss, slopes = _calibrate(vectors["codes"], vectors["teacher"], self._quantiles, 1)
        gradient = _empty(codes, codes.shape).zero_()
        for strip in self._strips if self._want_gradient else ():
            buffer = self._buffers["codes"]
            self._cuda.unpack_pairs(
                slopes.data_ptr(), self._n, self._stride, *strip[:2], buffer.data_ptr(), *target
            )
            self._add_gradient(strip, buffer[: strip.rows, : self._n - strip.first], gradient)
        return loss, gradient


def _quantiles(cuda: Any, quantiles: Tensor | Spline) -> tuple[int, Any]:
    """Give a table's address or a spline, as the kernels take them."""
    if isinstance(quantiles, Tensor):
        return quantiles.data_ptr(), None
    nodes, *parameters = quantiles
    return 0, cuda.BetaSpline(nodes.data_ptr(), nodes.shape[1], *parameters)


def _same_device(first: Tensor, *others: Weights) -> None:
    for other in others:
        if other is not None and other.device != first.device:
            raise ValueError(f"all tensors must lie on one device, got {first.device} and {other.device}")


def _empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return cuda_memory.empty(shape, like.dtype, like.device, "results of a loss")


def _workspace(like: Tensor, n_bytes: int) -> Tensor:
    return cuda_memory.empty((n_bytes,), torch.uint8, like.device, "workspace of a loss")


def _target(tensor: Tensor) -> tuple[int, int]:
    device = tensor.device
    return device.index or 0, torch.cuda.current_stream(device).cuda_stream
