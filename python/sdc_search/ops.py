"""The losses as torch operations: two ways in, one formula.

Eager tensors on the CPU go through a hand-written `torch.autograd.Function` that calls the native module with
addresses. Under `torch.compile`, `torch.export`, fake tensors and `torch.func` the registered operations
``torch.ops.sdc_search.*`` stand in, which importing this module registers: a program that was exported with
them needs that import before it is loaded. Tensors on another device are computed in plain torch.

Nothing is checked here; `sdc_search.losses` does that. Second derivatives raise a RuntimeError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad

from sdc_search import losses_cuda, native
from sdc_search.native import core
from sdc_search.quantiles import beta_table

Weights: TypeAlias = Tensor | None

_PLAIN_TYPES = (Tensor, torch.nn.Parameter)
_SCALARS = {dtype: torch.empty((), dtype=dtype, device="cpu") for dtype in (torch.float32, torch.float64)}
_SHARED_FROM = 1 << 15  # so many numbers make torch share an elementwise operation among threads
_BYTES_FROM = 1 << 16  # with so many similarities the gradient waits as one byte each; a call fewer otherwise


class _EagerFunction(torch.autograd.Function):
    """A function that is differentiated once; `_gradient` computes what goes back.

    `call` is `apply` without its search for transforms of torch.func, which `is_eager` has excluded.
    """

    call: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.call = super(torch.autograd.Function, cls).apply  # type: ignore[misc]

    @classmethod
    def backward(cls, ctx: Any, *grads: Tensor) -> Any:
        if not torch.is_grad_enabled():
            return cls._gradient(ctx, *grads)
        # create_graph=True: what has no derivative must say so when it is asked for one
        with torch.no_grad():
            gradients = cls._gradient(ctx, *grads)
        return tuple(gradient if gradient is None else _underived(gradient) for gradient in gradients)

    @staticmethod
    def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        raise NotImplementedError


def _underived(gradient: Tensor) -> Tensor:
    """Give a gradient a derivative that raises."""
    result: Tensor = _NoDerivative.apply(gradient.requires_grad_())  # type: ignore[no-untyped-call]
    return result


class _NoDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _refuse_second_derivative(ctx, *grads)


def is_eager(*tensors: Tensor) -> bool:
    """Whether the tensors hold numbers in the CPU's memory that can be read right now."""
    if torch.compiler.is_compiling():
        return False
    for tensor in tensors:
        if type(tensor) not in _PLAIN_TYPES or not tensor.is_cpu:
            return False
    return not (_is_transformed() or torch._C._len_torch_dispatch_stack())


def is_eager_cuda(*tensors: Tensor) -> bool:
    """Whether the tensors hold numbers of a CUDA device, where there are kernels for it."""
    return (
        all(type(tensor) in _PLAIN_TYPES and tensor.is_cuda for tensor in tensors)
        and not (torch.compiler.is_compiling() or _is_transformed() or torch._C._len_torch_dispatch_stack())
        and native.cuda() is not None
    )


def _is_transformed() -> bool:
    """Whether a transform of torch.func or forward-mode differentiation is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _has_kernels(tensor: Tensor) -> bool:
    return tensor.is_cpu or (tensor.is_cuda and native.cuda() is not None)


def calibration_loss(code: Tensor, teacher: Tensor, quantiles: Tensor, p: float) -> Tensor:
    """Compute the calibration loss: see `sdc_search.losses.calibration_loss`.

    All three are float32 or float64, not mixed with other devices; shapes ``(..., n)``, the same, and
    ``(n,)`` or the same.
    """
    if is_eager(code, teacher, quantiles):
        if code.requires_grad and torch.is_grad_enabled():
            loss: Tensor = _CalibrationLoss.call(code, (teacher, quantiles, p))
            return loss
        return _calibrate(code, teacher, quantiles, p, None, None)
    if not (_has_kernels(code) or torch.compiler.is_compiling()):
        return _plain_calibration_loss(code, teacher, quantiles, p)
    losses, _ = _registered(torch.ops.sdc_search.calibration_loss, code, teacher, quantiles, p)
    return torch.as_tensor(losses.mean())


def wasserstein_1d(
    x: Tensor, y: Tensor, x_weights: Weights, y_weights: Weights, p: float, root: bool
) -> Tensor:
    """Compute the distances of rows: see `sdc_search.losses.wasserstein_1d`.

    All are of one dtype, float32 or float64; shapes ``(..., n)`` and ``(..., m)``, weights as their samples.
    """
    given = [weights for weights in (x_weights, y_weights) if weights is not None]
    if is_eager(x, y, *given):
        if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad):
            losses: Tensor = _Wasserstein.call(x, y, x_weights, y_weights, p, root)
            return losses
        return _transport(x, y, x_weights, y_weights, p, root, None, None)
    losses, _, _ = _registered(torch.ops.sdc_search.wasserstein_1d, x, y, x_weights, y_weights, p, root)
    return torch.as_tensor(losses)


def sdc_loss_half(features: Tensor, outputs: Tensor, table: Tensor, quantization: float) -> Tensor:
    """Compute the loss of `SDCLoss` on half pairs. Eager float32; the table is float64 ``(N // 2,)``."""
    return _sdc_loss(_half, features, outputs, table, quantization)


def sdc_loss_all(
    features: Tensor,
    outputs: Tensor,
    quantiles: Tensor | tuple[core.BetaSpline, float] | losses_cuda.Spline,
    quantization: float,
) -> Tensor:
    """Compute the loss of `SDCLoss` on all pairs. Eager float32.

    `quantiles` are a float64 table ``(N (N − 1) / 2,)``, or a spline and the least value that it is raised
    to; on a CUDA device a float32 table there, or a spline of the device.
    """
    return _sdc_loss(_all, features, outputs, quantiles, quantization)


def _scalar(dtype: torch.dtype) -> Tensor:
    """Make a scalar; from a model of it, which takes half the time of `new_empty`."""
    return torch.empty_like(_SCALARS[dtype])


def _scaled(gradient: Tensor, grad: Tensor) -> Tensor:
    """Multiply a gradient by a scalar; a long one by numpy, on this thread.

    torch would share it among threads of its own, which then look out for more work for milliseconds: on the
    processors that the native threads want for the next loss.
    """
    if gradient.numel() < _SHARED_FROM or not gradient.is_cpu:
        return gradient * grad
    return torch.from_numpy(gradient.numpy() * grad.item())


def _empty(tensor: Tensor) -> Tensor:
    """Make a contiguous tensor of the same shape and dtype; `empty_like` is the quickest way to one."""
    return torch.empty_like(tensor) if tensor.is_contiguous() else tensor.new_empty(tensor.shape)


def _calibrate(
    code: Tensor, teacher: Tensor, quantiles: Tensor, p: float, signs: Tensor | None, gradient: Tensor | None
) -> Tensor:
    code, teacher, quantiles = code.contiguous(), teacher.contiguous(), quantiles.contiguous()
    loss = _scalar(code.dtype)
    n = code.shape[-1]
    core.calibration_loss(
        code.data_ptr(),
        code.dtype is torch.float64,
        teacher.data_ptr(),
        teacher.dtype is torch.float64,
        quantiles.data_ptr(),
        quantiles.dtype is torch.float64,
        n if quantiles.ndim > 1 else 0,
        code.numel() // n,
        n,
        p,
        core.num_threads(),
        loss.data_ptr(),
        0 if signs is None else signs.data_ptr(),
        0 if gradient is None else gradient.data_ptr(),
        "automatic",
    )
    return loss


class _CalibrationLoss(_EagerFunction):
    """Keeps the gradient for the way back, as signs where it is long and p = 1.

    The constants come in one tuple, since `apply` spends time on each tensor that it is given by itself.
    """

    @staticmethod
    def forward(ctx: Any, code: Tensor, constants: tuple[Tensor, Tensor, float]) -> Tensor:
        teacher, quantiles, p = constants
        code = code.contiguous()
        if p == 1 and code.numel() >= _BYTES_FROM:
            ctx.real = code.dtype
            ctx.kept = torch.empty(code.shape, dtype=torch.int8)
            return _calibrate(code, teacher, quantiles, p, ctx.kept, None)
        ctx.kept = torch.empty_like(code)
        return _calibrate(code, teacher, quantiles, p, None, ctx.kept)

    @staticmethod
    def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        kept = ctx.kept
        if kept.dtype is not torch.int8:
            return _scaled(kept, grad), None
        gradient = torch.empty(kept.shape, dtype=ctx.real)
        n = kept.numel()
        core.scale_signs(
            kept.data_ptr(),
            n,
            grad.item() / n,
            core.num_threads(),
            gradient.data_ptr(),
            ctx.real is torch.float64,
        )
        return gradient, None


def _transport(
    x: Tensor,
    y: Tensor,
    x_weights: Weights,
    y_weights: Weights,
    p: float,
    root: bool,
    x_gradient: Tensor | None,
    y_gradient: Tensor | None,
) -> Tensor:
    x, y = x.contiguous(), y.contiguous()
    x_weights = None if x_weights is None else x_weights.contiguous()
    y_weights = None if y_weights is None else y_weights.contiguous()
    losses = torch.empty(x.shape[:-1], dtype=x.dtype)
    if losses.numel() == 0:
        return losses
    core.wasserstein_1d(
        x.data_ptr(),
        y.data_ptr(),
        0 if x_weights is None else x_weights.data_ptr(),
        0 if y_weights is None else y_weights.data_ptr(),
        x.dtype is torch.float64,
        losses.numel(),
        x.shape[-1],
        y.shape[-1],
        p,
        root,
        core.num_threads(),
        losses.data_ptr(),
        0 if x_gradient is None else x_gradient.data_ptr(),
        0 if y_gradient is None else y_gradient.data_ptr(),
    )
    return losses


class _Wasserstein(_EagerFunction):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, x_weights: Weights, y_weights: Weights, p: float, root: bool
    ) -> Tensor:
        need_x, need_y = ctx.needs_input_grad[:2]
        ctx.kept = (
            _empty(x) if need_x else None,
            _empty(y) if need_y else None,
        )
        return _transport(x, y, x_weights, y_weights, p, root, *ctx.kept)

    @staticmethod
    def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows = grad.unsqueeze(-1)
        return *(None if kept is None else kept * rows for kept in ctx.kept), None, None, None, None


def _sdc_loss(native: Any, features: Tensor, outputs: Tensor, quantiles: Any, quantization: float) -> Tensor:
    features = features.detach().contiguous()
    if outputs.requires_grad and torch.is_grad_enabled():
        loss: Tensor = _SDCLoss.call(native, features, outputs, quantiles, quantization)
        return loss
    return torch.as_tensor(native(features, outputs, quantiles, quantization, None))


def _half(
    features: Tensor, outputs: Tensor, table: Tensor, quantization: float, gradient: Tensor | None
) -> Tensor:
    outputs = outputs.contiguous()
    loss = _scalar(outputs.dtype)
    core.sdc_loss_half(
        features.data_ptr(),
        outputs.data_ptr(),
        outputs.shape[0],
        features.shape[1],
        outputs.shape[1],
        table.data_ptr(),
        quantization,
        core.num_threads(),
        loss.data_ptr(),
        0 if gradient is None else gradient.data_ptr(),
    )
    return loss


def _all(
    features: Tensor, outputs: Tensor, quantiles: Any, quantization: float, gradient: Tensor | None
) -> Tensor:
    outputs = outputs.contiguous()
    if outputs.is_cuda:
        return losses_cuda.sdc_loss_all(features, outputs, quantiles, quantization, gradient)
    loss = _scalar(outputs.dtype)
    spline, floor = (None, -1.0) if isinstance(quantiles, Tensor) else quantiles
    core.sdc_loss_all(
        features.data_ptr(),
        outputs.data_ptr(),
        outputs.shape[0],
        features.shape[1],
        outputs.shape[1],
        quantiles.data_ptr() if spline is None else 0,
        spline,
        floor,
        quantization,
        core.num_threads(),
        loss.data_ptr(),
        0 if gradient is None else gradient.data_ptr(),
    )
    return loss


class _SDCLoss(_EagerFunction):
    @staticmethod
    def forward(
        ctx: Any, native: Any, features: Tensor, outputs: Tensor, quantiles: Any, quantization: float
    ) -> Tensor:
        ctx.kept = _empty(outputs)
        return torch.as_tensor(native(features, outputs, quantiles, quantization, ctx.kept))

    @staticmethod
    def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, _scaled(ctx.kept, grad), None, None


def _plain_calibration_loss(code: Tensor, teacher: Tensor, quantiles: Tensor, p: float) -> Tensor:
    order = torch.argsort(teacher.detach(), dim=-1, stable=True)
    distance = (code.gather(-1, order) - quantiles.to(code)).abs()
    return (distance if p == 1 else distance**p).mean()


_LIBRARY: Any = torch.library.Library("sdc_search", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define(
    "calibration_loss(Tensor code, Tensor teacher, Tensor quantiles, float p)"
    " -> (Tensor losses, Tensor gradient)"
)
_LIBRARY.define(
    "wasserstein_1d(Tensor x, Tensor y, Tensor? x_weights, Tensor? y_weights, float p, bool root)"
    " -> (Tensor losses, Tensor x_gradient, Tensor y_gradient)"
)
_LIBRARY.define("beta_quantiles(SymInt n, float alpha, float beta, float floor) -> Tensor")
_LIBRARY.define("scale_rows(Tensor rows, Tensor gradient, Tensor source) -> Tensor")


def _calibration_cpu(code: Tensor, teacher: Tensor, quantiles: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Give the loss of each row and its own gradient: the mean over rows is taken outside."""
    n = code.shape[-1]
    losses = torch.empty(code.shape[:-1], dtype=code.dtype)
    gradient = torch.empty(code.shape, dtype=code.dtype)
    rows = [tensor.reshape(-1, n) for tensor in (code, teacher, quantiles.broadcast_to(code.shape), gradient)]
    flat = losses.view(-1)
    for row, (s, t, c, out) in enumerate(zip(*rows, strict=True)):
        if p == 1 and n >= _BYTES_FROM:
            signs = torch.empty(n, dtype=torch.int8)
            flat[row] = _calibrate(s, t, c, p, signs, None)
            core.scale_signs(
                signs.data_ptr(), n, 1 / n, core.num_threads(), out.data_ptr(), code.dtype is torch.float64
            )
        else:
            flat[row] = _calibrate(s, t, c, p, None, out)
    return losses, gradient


def _calibration_fake(code: Tensor, teacher: Tensor, quantiles: Tensor, p: float) -> tuple[Tensor, Tensor]:
    return code.new_empty(code.shape[:-1]), code.new_empty(code.shape)


def _wasserstein_cpu(
    x: Tensor, y: Tensor, x_weights: Weights, y_weights: Weights, p: float, root: bool
) -> tuple[Tensor, Tensor, Tensor]:
    gradients = torch.empty(x.shape, dtype=x.dtype), torch.empty(y.shape, dtype=y.dtype)
    return _transport(x, y, x_weights, y_weights, p, root, *gradients), *gradients


def _wasserstein_fake(
    x: Tensor, y: Tensor, x_weights: Weights, y_weights: Weights, p: float, root: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape[:-1]), x.new_empty(x.shape), y.new_empty(y.shape)


def _beta_quantiles(n: int, alpha: float, beta: float, floor: float) -> Tensor:
    return beta_table(n, alpha, beta, floor).clone()


def _beta_quantiles_fake(n: int, alpha: float, beta: float, floor: float) -> Tensor:
    return torch.empty(n, dtype=torch.float64)


def _scale_rows(rows: Tensor, gradient: Tensor, source: Tensor) -> Tensor:
    """Scale a gradient; `source`, what it was taken with respect to, is there to refuse a second one."""
    return rows.unsqueeze(-1) * gradient


def _scale_rows_fake(rows: Tensor, gradient: Tensor, source: Tensor) -> Tensor:
    return torch.empty_like(gradient, memory_format=torch.contiguous_format)


_LIBRARY.impl("calibration_loss", _calibration_cpu, "CPU")
_LIBRARY.impl("wasserstein_1d", _wasserstein_cpu, "CPU")
_LIBRARY.impl("beta_quantiles", _beta_quantiles, "CompositeExplicitAutograd")
_LIBRARY.impl("scale_rows", _scale_rows, "CPU")
_LIBRARY.impl("calibration_loss", losses_cuda.calibration_loss, "CUDA")
_LIBRARY.impl("wasserstein_1d", losses_cuda.wasserstein_1d, "CUDA")
_LIBRARY.impl("scale_rows", _scale_rows, "CUDA")
torch.library.register_fake("sdc_search::calibration_loss", _calibration_fake, lib=_LIBRARY)
torch.library.register_fake("sdc_search::wasserstein_1d", _wasserstein_fake, lib=_LIBRARY)
torch.library.register_fake("sdc_search::beta_quantiles", _beta_quantiles_fake, lib=_LIBRARY)
torch.library.register_fake("sdc_search::scale_rows", _scale_rows_fake, lib=_LIBRARY)


def _keep_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    gradients = output[1:]
    ctx.save_for_backward(*gradients, *inputs[: len(gradients)])
    ctx.mark_non_differentiable(*gradients)
    ctx.n_inputs = len(inputs)


def _registered_backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    n = len(ctx.saved_tensors) // 2
    scaled = [
        torch.ops.sdc_search.scale_rows(grad, gradient, source) if needed else None
        for gradient, source, needed in zip(
            ctx.saved_tensors[:n], ctx.saved_tensors[n:], ctx.needs_input_grad[:n], strict=True
        )
    ]
    return *scaled, *[None] * (ctx.n_inputs - n)


def _refuse_second_derivative(ctx: Any, *grads: Tensor) -> tuple[None, ...]:
    raise RuntimeError("the losses of sdc_search can be differentiated once: there is no second derivative")


torch.library.register_autograd(
    "sdc_search::calibration_loss", _registered_backward, setup_context=_keep_gradients, lib=_LIBRARY
)
torch.library.register_autograd(
    "sdc_search::wasserstein_1d",
    _registered_backward,
    setup_context=_keep_gradients,
    lib=_LIBRARY,
)
torch.library.register_autograd("sdc_search::scale_rows", _refuse_second_derivative, lib=_LIBRARY)


def _registered(operation: Any, *inputs: Any) -> Any:
    """Call a registered operation in the way that whatever is at work understands."""
    if not torch.compiler.is_compiling() and _is_transformed():
        return _Transformed.apply(operation, *inputs)  # type: ignore[no-untyped-call]
    return operation(*inputs)


class _Transformed(torch.autograd.Function):
    """A registered operation for torch.func, which does not take what `register_autograd` makes of it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(operation: Any, *inputs: Any) -> Any:
        return operation(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _keep_gradients(ctx, inputs[1:], output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        n = len(ctx.saved_tensors) // 2
        scaled = [
            _ScaledOnce.apply(grad, gradient, source)  # type: ignore[no-untyped-call]
            for gradient, source in zip(ctx.saved_tensors[:n], ctx.saved_tensors[n:], strict=True)
        ]
        return None, *scaled, *[None] * (ctx.n_inputs - n)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise RuntimeError("the losses of sdc_search have no forward-mode derivative: use torch.func.grad")


class _ScaledOnce(torch.autograd.Function):
    """`scale_rows` for torch.func."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, gradient: Tensor, source: Tensor) -> Tensor:
        return rows.unsqueeze(-1) * gradient

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _refuse_second_derivative(ctx, *grads)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return _refuse_second_derivative(ctx)


def _in_front(size: int, dims: tuple[Any, ...], tensors: tuple[Any, ...]) -> list[Any]:
    """Move each mapped dimension to the front and give it to those that lack it, of one common rank."""
    moved = [
        tensor
        if tensor is None
        else tensor.expand(size, *tensor.shape)
        if dim is None
        else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, dims, strict=True)
    ]
    rank = max(tensor.ndim for tensor in moved if tensor is not None)
    return [
        None if tensor is None else tensor.reshape(size, *(1,) * (rank - tensor.ndim), *tensor.shape[1:])
        for tensor in moved
    ]


def _vmap_calibration(
    info: Any, dims: Any, code: Tensor, teacher: Tensor, quantiles: Tensor, p: float
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    code, teacher, quantiles = _in_front(info.batch_size, dims[:3], (code, teacher, quantiles))
    result = torch.ops.sdc_search.calibration_loss(code, teacher, quantiles.broadcast_to(code.shape), p)
    return result, (0, 0)


def _vmap_wasserstein(
    info: Any, dims: Any, x: Tensor, y: Tensor, x_weights: Weights, y_weights: Weights, p: float, root: bool
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[int, int, int]]:
    tensors = _in_front(info.batch_size, dims[:4], (x, y, x_weights, y_weights))
    return torch.ops.sdc_search.wasserstein_1d(*tensors, p, root), (0, 0, 0)


def _vmap_scale_rows(
    info: Any, dims: Any, rows: Tensor, gradient: Tensor, source: Tensor
) -> tuple[Tensor, int]:
    rows, gradient, source = (
        tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip((rows, gradient, source), dims, strict=True)
    )
    return torch.ops.sdc_search.scale_rows(rows, gradient, source), 0


torch.library.register_vmap("sdc_search::calibration_loss", _vmap_calibration, lib=_LIBRARY)
torch.library.register_vmap("sdc_search::wasserstein_1d", _vmap_wasserstein, lib=_LIBRARY)
torch.library.register_vmap("sdc_search::scale_rows", _vmap_scale_rows, lib=_LIBRARY)
