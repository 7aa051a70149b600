"""The losses where their tensors lie on a CUDA device: memory and launches.

All memory comes from torch's caching allocator, and everything is put on the current stream of the tensors'
device. Nothing waits for it, so that a forward and a backward pass can be captured as a CUDA graph.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from sdc_search import native

Weights: TypeAlias = Tensor | None

_BRACKET_FROM = 1 << 20  # numbers of a row from which a histogram is expected to be cheaper than a sort
_LOSS_TOLERANCE = 2e-7  # as on the CPU: what means of bins may cost of the loss


def calibration_loss(code: Tensor, teacher: Tensor, quantiles: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Give the loss of each row and its own gradient, as the registered operation does on the CPU."""
    _same_device(code, teacher, quantiles)
    cuda = native.usable_cuda()
    n = code.shape[-1]
    code, teacher, quantiles = code.contiguous(), teacher.contiguous(), quantiles.to(code.dtype).contiguous()
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
        quantiles.data_ptr(),
        n if quantiles.ndim > 1 else 0,
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
    """Give the distance of each pair of rows and its gradients, as the registered operation does on the CPU."""
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


def _same_device(first: Tensor, *others: Weights) -> None:
    for other in others:
        if other is not None and other.device != first.device:
            raise ValueError(f"all tensors must lie on one device, got {first.device} and {other.device}")


def _empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device)


def _workspace(like: Tensor, n_bytes: int) -> Tensor:
    return torch.empty(n_bytes, dtype=torch.uint8, device=like.device)


def _target(tensor: Tensor) -> tuple[int, int]:
    device = tensor.device
    return device.index or 0, torch.cuda.current_stream(device).cuda_stream
