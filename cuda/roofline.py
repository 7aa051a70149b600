# ruff: noqa: E501, RUF001 -- the document's lines stand here as they stand there
"""Writes ROOFLINE.md: what each case moves and computes, and the time that takes at least, by device.

Usage: python cuda/roofline.py > cuda/ROOFLINE.md

The instructions come from hot_loops.json, which hot_loops.py reads from the compiled kernels; everything else
are formulas and the vendor's peak figures. A time is that of the unit which needs longest, as if nothing else
took any: a lower bound, which no device has been timed against.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LANES = 32
SCHEDULERS = 4  # of a multiprocessor, each of which issues a warp's instruction a clock
POPC_LANES = 16  # of a multiprocessor, a clock
SAMPLED = 1 / 16  # of the rows, for the first bound
MATRIX_QUERIES = 48  # kMatrixQueries of hamming.cu
MATRIX_PAIRS = 16 * 8  # of a product


@dataclass(frozen=True)
class Device:
    """A device's peak figures, a second; matrix products dense, a multiplication and an addition each one."""

    name: str
    architecture: str
    multiprocessors: int
    fp32_lanes: int  # of a multiprocessor
    fp32: float
    fp16_matrix: float
    int8_matrix: float
    bit_matrix: float
    memory: float  # bytes

    @property
    def clock(self) -> float:
        """The clock that the figure of FP32 implies."""
        return self.fp32 / (2 * self.fp32_lanes * self.multiprocessors)

    @property
    def rates(self) -> dict[str, float]:
        """What each unit does in a second."""
        clocks = self.multiprocessors * self.clock
        return {
            "memory": self.memory,
            "issue": SCHEDULERS * clocks,
            "POPC": POPC_LANES * clocks,
            "FP16 matrix": self.fp16_matrix,
            "INT8 matrix": self.int8_matrix,
            "bit matrix": self.bit_matrix,
        }


A100 = Device("A100 SXM 80 GB", "sm_80", 108, 64, 19.5e12, 312e12, 624e12, 4992e12, 2.039e12)
H100 = Device(
    "H100 SXM", "sm_90", 132, 128, 67e12, 989e12, 1979e12, 4992e12 * 132 * 1.98 / 108 / 1.41, 3.35e12
)
B200 = Device("B200", "sm_100", 148, 128, 75e12, 2250e12, 4500e12, math.inf, 8e12)
DEVICES = (A100, H100, B200)


@dataclass(frozen=True)
class Search:
    """The k nearest of n codes for each query, or all within a radius, which are k."""

    n: int
    bits: int
    queries: int
    k: int
    radius: bool = False

    @property
    def name(self) -> str:
        """The case in a table."""
        wanted = f"a radius with {self.k:,} hits" if self.radius else f"k = {self.k:,}"
        return f"{self.queries:,} × {self.n // 10**6}M × {self.bits} bits, {wanted}"

    @property
    def pairs(self) -> float:
        """Codes times queries."""
        return float(self.n) * self.queries

    @property
    def codes_bytes(self) -> float:
        """Bytes of all codes."""
        return self.n * self.bits / 8


SEARCHES = [
    *(
        Search(n, bits, queries, k)
        for bits in (64, 256)
        for n in (10**6, 10**7)
        for queries in (1, 16, 1_000, 10_000)
        for k in (10, 1_000)
    ),
    *(Search(10**7, bits, queries, 100, radius=True) for bits in (64, 256) for queries in (1, 1_000)),
]


@dataclass(frozen=True)
class Elementwise:
    """What is done for each of many numbers, such as a loss with its gradient."""

    name: str
    elements: int
    bytes_an_element: float
    operations: dict[str, float]  # of each unit but memory, for an element


# The least is that both similarities and the quantiles are read and one gradient is written, in float32. The
# kernels of this package read the teacher's similarities four times (range, bins, signs, open bins), the code's
# and the quantiles once each, and write a gradient, which the backward pass reads and writes once more. A sort
# that the brackets make needless moves nothing. Atomic additions to the bins are not counted.
_KERNELS_TRAFFIC = 4 * (4 + 1 + 1 + 1) + 4 * 2
ELEMENTWISE = [
    Elementwise(f"calibration loss, forward and backward: {what}", n, traffic, {})
    for what, traffic in (("the least traffic", 16), ("the traffic of these kernels", _KERNELS_TRAFFIC))
    for n in (2**20, 8_386_560)
]


def ours(case: Search, device: Device, loops: dict[str, Any]) -> dict[str, float]:
    """Two passes over all pairs, and before top-k one over a sample of the rows, by POPC."""
    matrix = case.queries >= MATRIX_QUERIES
    words = case.bits // 32
    turn = loops[device.architecture]["scan_matrix" if matrix else "scan"][str(words)]
    turns = 2 * case.pairs / turn["compared"] / (MATRIX_PAIRS if matrix else LANES)
    sampled = 0.0 if case.radius else SAMPLED
    return {
        "memory": (2 + sampled) * case.codes_bytes + 12.0 * case.k * case.queries,
        "issue": turns * turn["issued"],
        "POPC": LANES * turns * turn["POPC"] + sampled * case.pairs * words,
        "INT8 matrix": turns * turn["IMMA"] * 2 * MATRIX_PAIRS * 32,
        "bit matrix": turns * turn["BMMA"] * 2 * MATRIX_PAIRS * (256 if words >= 8 else 128),
    }


def faiss(case: Search, device: Device) -> dict[str, float] | None:
    """`GpuIndexBinaryFlat`: a block for 8 queries walks all codes; 8 POPC a pair, for 256 bits and for 64.

    A POPC there comes with two loads from shared memory, an XOR and an addition. Fewer blocks than
    multiprocessors leave the others idle, which counts as more work.
    """
    if case.radius:
        return None
    idle = max(1.0, device.multiprocessors / math.ceil(case.queries / 8))
    return {
        "memory": case.codes_bytes + 8.0 * case.k * case.queries,
        "issue": idle * case.pairs * 8 * 5 / LANES,
        "POPC": idle * case.pairs * 8,
    }


def cuvs(case: Search, device: Device) -> dict[str, float] | None:
    """cuVS: POPC a byte; distances in float32 to memory, from which the k best are then selected."""
    if case.radius:
        return None
    return {
        "memory": case.codes_bytes + 2 * 4 * case.pairs,
        "POPC": case.pairs * case.bits / 8,
    }


def torch(case: Search, device: Device) -> dict[str, float]:
    """Products of ±1 in FP16 to memory; then `topk`, three passes over 16 bits, or `nonzero`, two."""
    return {
        "memory": 2.0 * case.n * case.bits + (2 + 2 * (2 if case.radius else 3)) * case.pairs,
        "FP16 matrix": 2.0 * case.bits * case.pairs,
    }


def bound(loads: dict[str, float], device: Device) -> tuple[float, str, dict[str, float]]:
    """Return the least time, the unit that sets it, and the share of it that each unit works."""
    seconds = {unit: load / device.rates[unit] for unit, load in loads.items() if load}
    limit = max(seconds, key=lambda unit: seconds[unit])
    return seconds[limit], limit, {unit: time / seconds[limit] for unit, time in seconds.items()}


def duration(seconds: float) -> str:
    """Write a time with three digits in µs, ms or s."""
    unit, scale = ("s", 1.0) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    return f"{seconds * scale:.3g} {unit}"


def predicted_seconds(case: Search, device: Device, loops: dict[str, Any]) -> float:
    """Return the least time of a case."""
    return bound(ours(case, device, loops), device)[0]


def _row(case: Search, device: Device, loops: dict[str, Any]) -> str:
    loads = ours(case, device, loops)
    seconds, limit, shares = bound(loads, device)
    others = ", ".join(f"{unit} {share:.2f}" for unit, share in shares.items() if unit != limit)
    peers = []
    for peer in (faiss, cuvs, torch):
        theirs = peer(case, device)
        if theirs is None:
            peers.append("—")
        else:
            time, unit, _ = bound(theirs, device)
            peers.append(f"{duration(time)} ({unit}), {time / seconds:.1f}x")
    cells = [
        case.name,
        f"{loads['memory'] / 1e6:,.1f}",
        f"{loads['issue'] / 1e6:,.1f}",
        duration(seconds),
        limit,
        others,
        *peers,
    ]
    return f"| {' | '.join(cells)} |"


def document(loops: dict[str, Any]) -> str:
    """Return the text of ROOFLINE.md."""
    lines = [
        "# Predicted times on GPUs",
        "",
        "Written by `cuda/roofline.py`; the instructions are those of `cuda/hot_loops.json`, which `cuda/hot_loops.py`",
        "reads from the compiled kernels. **Nothing here was measured.** A time is what the busiest unit needs at its",
        "peak, as if nothing else took any: a lower bound, for this package and for its peers alike. `bench/gpu.py`",
        "measures the same cases on a device and puts its times beside these.",
        "",
        "## Devices",
        "",
        "| device | multiprocessors | clock | memory | FP16 matrix | INT8 matrix | bit matrix | POPC | issue |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for device in DEVICES:
        rates = device.rates
        bits = f"{rates['bit matrix'] / 1e12:,.0f} T/s" if math.isfinite(device.bit_matrix) else "none"
        lines.append(
            f"| {device.name} ({device.architecture}) | {device.multiprocessors} | {device.clock / 1e9:.2f} GHz"
            f" | {device.memory / 1e12:.2f} TB/s | {device.fp16_matrix / 1e12:,.0f} T/s"
            f" | {device.int8_matrix / 1e12:,.0f} T/s | {bits} | {rates['POPC'] / 1e12:.2f} T/s"
            f" | {rates['issue'] / 1e12:.2f} T/s |"
        )
    lines += [
        "",
        "Memory, FP32 and matrix figures are NVIDIA's, without sparsity: *A100 80GB* data sheet (bits: *A100 Tensor",
        "Core GPU Architecture*), *H100* data sheet, *HGX B200* data sheet, a GPU's share of eight. The clock is that",
        "which the FP32 figure implies. For bits on an H100 none is published: that of the A100 for a multiprocessor",
        "and a clock is taken. POPC is 16 lanes a clock and multiprocessor (*CUDA C++ Programming Guide*, throughput of",
        "native arithmetic instructions), and four instructions of a warp are issued. An operation of a matrix unit is",
        "a multiplication or an addition.",
        "",
        "## One turn of the hot loop",
        "",
        "`scan` compares 32 pairs of a code and a query at once, `scan_matrix` 128. For 128 pairs, without hits:",
        "",
        "| bits | "
        + " | ".join(f"{d.architecture} {k}" for d in DEVICES for k in ("scan", "scan_matrix"))
        + " |",
        "|---" * (1 + 2 * len(DEVICES)) + "|",
    ]
    for bits in (32, 64, 128, 256, 512, 1024, 2048):
        cells = []
        for device in DEVICES:
            for kernel, at_once in (("scan", LANES), ("scan_matrix", MATRIX_PAIRS)):
                turn = loops[device.architecture][kernel][str(bits // 32)]
                per = MATRIX_PAIRS / at_once / turn["compared"]
                products = turn["BMMA"] + turn["IMMA"]
                what = f"{per * turn['POPC']:.0f} POPC" if kernel == "scan" else f"{products} products"
                cells.append(f"{per * turn['issued']:.0f} instructions, {what}")
        lines.append(f"| {bits} | {' | '.join(cells)} |")
    lines += [
        "",
        "## What the peers do",
        "",
        "By their public sources. Only what they cannot do without is counted, so that they may take longer.",
        "",
        *(f"- {' '.join((peer.__doc__ or '').split())}" for peer in (faiss, cuvs, torch)),
        "",
        "None of them breaks ties by id, as this package does.",
    ]
    for device in DEVICES:
        lines += [
            "",
            f"## Search on {device.name}",
            "",
            "Queries × codes × bits. Where the codes fit into the L2 cache, they may be read faster than memory. `others` is the share of the time that the other units work at their peak; a peer's",
            "figure is its least time, the unit that sets it, and its ratio to ours.",
            "",
            "| case | MB moved | 10⁶ instructions | least time | limited by | others | faiss | cuVS | torch |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_row(case, device, loops) for case in SEARCHES),
        ]
    lines += [
        "",
        "## Losses",
        "",
        "| case | elements | bytes an element | " + " | ".join(device.name for device in DEVICES) + " |",
        "|---|---|---|" + "---|" * len(DEVICES),
    ]
    for case in ELEMENTWISE:
        loads = {"memory": case.bytes_an_element, **case.operations}
        loads = {unit: case.elements * load for unit, load in loads.items()}
        times = [bound(loads, device) for device in DEVICES]
        cells = " | ".join(f"{duration(seconds)} ({unit})" for seconds, unit, _ in times)
        lines.append(f"| {case.name} | {case.elements:,} | {case.bytes_an_element:g} | {cells} |")
    return "\n".join(lines)


def hot_loops() -> dict[str, Any]:
    """Read hot_loops.json."""
    loops: dict[str, Any] = json.loads(Path(__file__).with_name("hot_loops.json").read_text())
    return loops


if __name__ == "__main__":
    sys.stdout.write(document(hot_loops()) + "\n")
