"""Builds for the GPU of this machine, tests, measures all cases and writes a report.

Usage: python bench/gpu.py [--quick] [--installed] [--untested] [--out docs/results]

Exits with 2 where no CUDA device can be used, and with 1 where the build, a test or a measurement fails.
Peers are measured where they are installed: faiss with GpuIndexBinaryFlat, and cuVS.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import roofline

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "cuda"), str(ROOT / "bench")]

_SECONDS = 1.0  # for a contender of a case, once it is warm
_FEWEST, _MOST = 3, 50  # rounds


def arguments_of(line: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python bench/gpu.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out the largest cases")
    parser.add_argument("--installed", action="store_true", help="measure what is installed: build nothing")
    parser.add_argument("--untested", action="store_true", help="do not run the tests that need a GPU")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results", help="the report's folder")
    return parser.parse_args(line)


def why_no_device() -> str | None:
    """Return why nothing can be measured, None where there is a device."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    if torch.version.cuda is None:
        return "torch is built without CUDA"
    return None if torch.cuda.is_available() else "torch finds no CUDA device"


def file_name(device: str) -> str:
    """Return the report's file name for a device's name."""
    return f"gpu-{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}.md"


def known_device(name: str, devices: tuple[roofline.Device, ...]) -> roofline.Device | None:
    """Return the device whose figures are known by the first word of its name, such as H100."""
    return next((device for device in devices if device.name.split()[0] in name), None)


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the median time of a call on the device, between two events on its stream."""
    import torch

    def once() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    warm = min(once(), once())
    rounds = min(_MOST, max(_FEWEST, int(_SECONDS / max(warm, 1e-6))))
    return statistics.median(once() for _ in range(rounds))


def measure(quick: bool, device_name: str) -> list[Any]:
    """Measure all cases; what fails is kept as the sentence that says why."""
    import roofline
    import torch
    from gpu_cases import list_cases
    from gpu_report import Outcome

    device = known_device(device_name, roofline.DEVICES)
    outcomes = []
    for case in list_cases(quick):
        predicted = None
        if device is not None and case.predicted is not None:
            predicted = roofline.predicted_seconds(case.predicted, device, roofline.hot_loops())
        measured: dict[str, float | str] = {}
        try:
            contenders = case.contenders()
            answer = contenders["sdc-search"]()
        except (RuntimeError, ValueError, MemoryError) as error:
            contenders, measured["sdc-search"] = {}, str(error)
        for name, call in contenders.items():
            try:
                if name != "sdc-search":
                    case.check(answer, call())
                measured[name] = seconds_of(call)
            except (AssertionError, RuntimeError, ValueError, MemoryError) as error:
                measured[name] = str(error)
        contenders, answer = {}, None
        torch.cuda.empty_cache()
        outcomes.append(Outcome(case.name, predicted, measured))
        print(case.name, measured, flush=True)
    return outcomes


def main(line: list[str]) -> int:
    """Run the whole command; return its exit status."""
    options = arguments_of(line)
    if reason := why_no_device():
        print(f"bench/gpu.py: no CUDA device can be used here, since {reason}", file=sys.stderr)
        return 2
    if not options.installed:
        subprocess.run([sys.executable, "-m", "pip", "install", "--no-deps", str(ROOT)], check=True)
    tested = "not run"
    if not options.untested:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "gpu"], cwd=ROOT, check=False)
        if done.returncode != 0:
            print("bench/gpu.py: a test that needs a GPU failed; nothing was measured", file=sys.stderr)
            return 1
        tested = "passed"

    import torch
    from gpu_report import render

    from sdc_search import info

    name = torch.cuda.get_device_name()
    about = {
        "device": name,
        "tests that need a GPU": tested,
        "built for": info()["cuda_architectures"],
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda}",
        "system": platform.platform(),
        "command": " ".join(["python bench/gpu.py", *line]),
    }
    outcomes = measure(options.quick, name)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / file_name(name)
    path.write_text(render(about, outcomes))
    print(path)
    return int(any(isinstance(outcome.measured["sdc-search"], str) for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
