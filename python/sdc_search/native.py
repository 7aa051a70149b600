"""The native modules, or one sentence that says why one is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from sdc_search import _core as core
except ImportError as error:
    raise ImportError(
        f"the native module of sdc_search could not be loaded ({error}); install the package with "
        "'pip install .' from its source directory, outside of which Python must then be started"
    ) from error

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["core", "cuda", "usable_cuda"]


def cuda() -> ModuleType | None:
    """Return the module of the CUDA kernels, None where the build has none."""
    try:
        from sdc_search import _cuda
    except ImportError:
        return None
    return _cuda


def usable_cuda() -> ModuleType:
    """Return the module of the CUDA kernels where they can run.

    Raises
    ------
    RuntimeError
        The build has none, or there is no driver or device.
    """
    module = cuda()
    if module is None:
        raise RuntimeError(
            "this build of sdc_search has no CUDA kernels: install it from source where nvcc is on the PATH, "
            "or pass tensors of the CPU"
        )
    if problem := module.devices_problem():
        raise RuntimeError(f"CUDA cannot be used: {problem}; pass tensors of the CPU")
    return module
