"""Builds `cuda/` on the emulator: the module `_cuda` with kernels on the CPU, and the emulator's own test."""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy.typing as npt
import pybind11
import torch

ROOT = Path(__file__).parents[2]
CUDA = ROOT / "cuda"
FLAGS = [
    "-std=c++17",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",  # of unrolling
    "-fPIC",
    "-fvisibility=hidden",
    f"-I{CUDA / 'emulator'}",
    "-DSDC_SEARCH_CUDA_EMULATED",
    '-DSDC_SEARCH_CUDA_ARCHITECTURES="emulator"',
]
# Kernels report misaligned accesses and overruns of arrays.
KERNEL_FLAGS = ["-O1", "-fsanitize=alignment,bounds", "-fsanitize-undefined-trap-on-error"]
PYTHON_FLAGS = ["-O0", f"-I{pybind11.get_include()}", f"-I{sysconfig.get_path('include')}"]


def _compiled(source: Path, flags: list[str], directory: Path) -> Path:
    """Compile a source unless that was done before with the same headers and flags."""
    compiler = [os.environ.get("CXX", "c++"), *FLAGS, *flags]
    key = hashlib.sha256(" ".join([*compiler, str(source)]).encode())
    included = [path for pattern in ("*.h", "*.cuh", "*.cpp") for path in CUDA.rglob(pattern)]
    for path in sorted({source, *included}):
        key.update(path.read_bytes())
    built = directory / f"{source.stem}-{key.hexdigest()[:16]}.o"
    if not built.exists():
        partial = built.with_suffix(f".{os.getpid()}")
        subprocess.run([*compiler, "-x", "c++", "-c", str(source), "-o", str(partial)], check=True)
        partial.replace(built)
    return built


def _linked(objects: list[Path], name: str, flags: list[str], directory: Path) -> Path:
    key = hashlib.sha256(" ".join(map(str, objects)).encode()).hexdigest()[:16]
    built = directory / f"{name}-{key}"
    if not built.exists():
        partial = built.with_suffix(f".{os.getpid()}")
        command = [os.environ.get("CXX", "c++"), *flags, *map(str, objects), "-o", str(partial)]
        subprocess.run(command, check=True)
        partial.replace(built)
    return built


def _emulator(directory: Path) -> Path:
    return _compiled(CUDA / "emulator" / "emulator.cpp", ["-O2"], directory)


def build_emulated_module(directory: Path) -> ModuleType:
    """Build the module `_cuda` with its kernels on the emulator, and load it."""
    sources = sorted(set(CUDA.glob("*.cu")) - {CUDA / "probe.cu"})
    with ThreadPoolExecutor(os.cpu_count()) as compilers:
        kernels = list(compilers.map(lambda source: _compiled(source, KERNEL_FLAGS, directory), sources))
    objects = [
        _emulator(directory),
        *kernels,
        _compiled(CUDA / "devices.cpp", ["-O0"], directory),
        _compiled(ROOT / "tests" / "native" / "cuda_emulated_module.cpp", PYTHON_FLAGS, directory),
    ]
    flags = ["-shared", *(["-undefined", "dynamic_lookup"] if os.uname().sysname == "Darwin" else [])]
    path = _linked(objects, "_cuda", flags, directory)
    loader = ExtensionFileLoader("_cuda", str(path))
    spec = spec_from_loader("_cuda", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def build_emulator_test(directory: Path) -> Path:
    """Build the emulator's own test, with faulty kernels."""
    test = _compiled(ROOT / "tests" / "native" / "cuda_emulator_test.cpp", KERNEL_FLAGS, directory)
    return _linked([_emulator(directory), test], "cuda_emulator_test", [], directory)


@dataclass
class Emulator:
    """The emulated module, and tensors in memory whose ends nobody may cross."""

    module: ModuleType
    memory: list[int]

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, alignment: int = 0) -> torch.Tensor:
        n_bytes = math.prod(shape) * dtype.itemsize
        if n_bytes == 0:
            return torch.empty(shape, dtype=dtype)
        self.memory.append(self.module.allocate(n_bytes, alignment or dtype.itemsize))
        buffer = (ctypes.c_uint8 * n_bytes).from_address(self.memory[-1])
        tensor = torch.frombuffer(buffer, dtype=dtype).reshape(shape)
        tensor.view(torch.uint8).fill_(0x5A)
        return tensor

    def copy(self, array: npt.NDArray[Any]) -> torch.Tensor:
        tensor = self.empty(array.shape, torch.from_numpy(array).dtype)
        return tensor.copy_(torch.from_numpy(array))

    def release(self) -> None:
        while self.memory:
            self.module.release(self.memory.pop())

    def schedule(self, seed: int) -> None:
        order = [self.module.Order.forward, self.module.Order.reverse, self.module.Order.random][seed % 3]
        self.module.set_schedule(order, seed, 7 * seed % 256)
        self.module.set_binary_product(seed % 2 == 0)
