"""What a measurement ran on, and how fast that machine can compute and read at best."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from sdc_search.runtime import info

# Latency of a float64 multiplication in cycles, by vendor (Agner Fog's instruction tables for x86).
_MULTIPLY_CYCLES = {"AuthenticAMD": 3, "GenuineIntel": 4}


def describe(peers: tuple[str, ...]) -> dict[str, Any]:
    """Say what the figures beside it were measured on.

    Parameters
    ----------
    peers
        Distributions whose versions are listed.
    """
    native = info()
    return {
        "cpu": cpu_name(),
        "cpus": native["threads"],
        "clock_ghz": None if clock_hz() is None else round((clock_hz() or 0.0) / 1e9, 2),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "isa": native["isa"],
        "isas": native["isas"],
        "versions": {
            "sdc-search": native["version"],
            "python": platform.python_version(),
            **{name: _version(name) for name in ("numpy", *peers)},
        },
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@cache
def _cpu_fields() -> dict[str, str]:
    """Return the first processor's fields in /proc/cpuinfo."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    lines = path.read_text().split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def cpu_name() -> str:
    """Return the processor's name with family and model, which tell generations of one name apart."""
    fields = _cpu_fields()
    if "model name" in fields:
        return f"{fields['model name']} (family {fields['cpu family']}, model {fields['model']})"
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def cpu_family() -> tuple[str, int]:
    """Return vendor and family as CPUID gives them; ``("", 0)`` where that is not known."""
    fields = _cpu_fields()
    return fields.get("vendor_id", ""), int(fields.get("cpu family", 0))


@cache
def clock_hz() -> float | None:
    """Measure the clock at which this thread computes, None where the processor is not known.

    A product of float64 is one chain of multiplications, each waiting for the one before. What the system
    reports is often the nominal clock, in a virtual machine always.
    """
    cycles = _MULTIPLY_CYCLES.get(cpu_family()[0])
    if cycles is None:
        return None
    ones = np.ones(1 << 16)
    return cycles * len(ones) / _fastest(lambda: np.multiply.reduce(ones), 200)


@cache
def read_seconds(n_bytes: int) -> float:
    """Measure how long one core takes to read `n_bytes` again: the fastest of three plain reads."""
    words = np.ones(max(1, n_bytes // 8), np.uint64)
    repeats = 5 if n_bytes > 1 << 26 else 30
    # Which one is limited by the memory depends on the processor's vector instructions.
    return min(_fastest(words.view(dtype).max, repeats) for dtype in (np.uint64, np.int64, np.uint8))


def _fastest(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
