"""What the compiler made of the kernels: registers and instructions of each, and what must hold for them.

Usage: python cuda/sass.py _cuda.so ...     (anything with device code)
Needs cuobjdump and nvdisasm, of the toolkit or of the packages nvidia-cuda-cuobjdump, nvidia-cuda-nvdisasm.
Exits with 1 where a kernel spills registers or adds real numbers atomically, `scan` or a kernel that streams
similarities does not load whole vectors, `scan_matrix` does not take as many products of the matrix units
as it should, or a kernel of the losses uses so many registers that two of its blocks do not fit a
multiprocessor.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

PASSES = ("count", "emit", "distances")
STREAMED = {  # vectors of 16 bytes that a thread loads
    "similarity_range": 4,
    "count_bins": 4,
    "begin_ranks": 2,
    "classify": 8,
    "collect_open_bins": 4,
    "pack_strip": 4,
}
OF_SEARCH = ("bound", "place", "set_bounds")
ATOMICS = ("ATOM", "ATOMG", "ATOMS", "RED", "REDG")
MOST_REGISTERS = 128  # of each of 256 threads
COLUMNS = (
    "registers",
    "POPC",
    "BMMA",
    "IMMA",
    "LDG.128",
    "LDG.64",
    "LDG.32",
    "LDG.8",
    "LDL",
    "STL",
    "float atomics",
)


@dataclass
class Kernel:
    """A kernel as compiled for one architecture."""

    architecture: str
    name: str
    words: int  # of a code; 0: of any
    what: str
    counts: Counter[str] = field(default_factory=Counter)
    is_of_losses: bool = False

    def faults(self) -> list[str]:
        """List what should hold and does not."""
        found = []
        if self.counts["LDL"] or self.counts["STL"]:
            found.append("spills registers")
        if self.name == "scan" and self.counts["LDG.128"] < self.words // 4:
            found.append("does not load whole vectors")
        if self.counts["LDG.128"] < STREAMED.get(self.name, 0):
            found.append("does not load whole vectors")
        if self.counts["float atomics"]:
            found.append("adds real numbers in whatever order the threads come")
        if self.is_of_losses and self.counts["registers"] > MOST_REGISTERS:
            found.append(f"takes {self.counts['registers']} registers")
        # Compute capabilities 8 and 9 multiply bits, of 128 or 256 at once; later ones bytes, of 32 at once.
        has_binary_product = self.architecture in ("sm_80", "sm_90")
        unit, products = (
            ("BMMA", max(1, self.words // 8)) if has_binary_product else ("IMMA", 4 * max(1, self.words // 4))
        )
        if self.name == "scan_matrix" and self.counts[unit] != products:
            found.append(f"does not take {products} {unit} for 16 rows and 8 queries")
        return [f"{self.architecture} {self.name} {self.words} {self.what}: {fault}" for fault in found]


def cuobjdump(*arguments: str) -> str:
    """Run the tool, with that of the packages in second place."""
    packaged = sorted(Path(sysconfig.get_path("purelib"), "nvidia").glob("*/bin"))
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, packaged)])
    tool = shutil.which("cuobjdump", path=path)
    if tool is None:
        sys.exit("cuobjdump is missing: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")
    environment = {**os.environ, "PATH": path}
    return subprocess.run(
        [tool, *arguments], env=environment, capture_output=True, text=True, check=True
    ).stdout


def kernel_of(symbol: str, architecture: str) -> Kernel:
    """Read a kernel's name and template arguments from its symbol."""
    length, rest = re.match(r"_ZN3sdc4cuda(\d+)(.*)", symbol).groups()  # type: ignore[union-attr]
    name, parameters = rest[: int(length)], rest[int(length) :]
    words = re.match(r"ILi(\d+)E", parameters)
    which = re.search(r"PassE(\d)E", parameters)
    real = re.match(r"I([fd])", parameters)
    what = PASSES[int(which[1])] if which else {"f": "float", "d": "double"}[real[1]] if real else ""
    of_losses = not (words or which or name in OF_SEARCH)
    return Kernel(architecture, name, int(words[1]) if words else 0, what, is_of_losses=of_losses)


def load_name(modifiers: str) -> str:
    """Name a load from global memory by its bits."""
    for bits in ("128", "64"):
        if f".{bits}" in modifiers:
            return f"LDG.{bits}"
    return "LDG.8" if re.search(r"\.[US]8", modifiers) else "LDG.32"


def kernels_of(file: str) -> list[Kernel]:
    """Count the instructions of every kernel in a file."""
    kernels: dict[tuple[str, str], Kernel] = {}
    architecture = ""
    for line in cuobjdump("-sass", file).splitlines():
        if found := re.search(r"code for (sm_\w+)", line):
            architecture = found[1]
        elif found := re.search(r"Function : (\S+)", line):
            kernel = kernels[architecture, found[1]] = kernel_of(found[1], architecture)
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+ )?\s*([A-Z0-9]+)([.\w]*)", line):
            name = load_name(found[2]) if found[1] == "LDG" else found[1]
            kernel.counts[name] += 1
            kernel.counts["float atomics"] += (
                name in ATOMICS and re.search(r"\.F(16|32|64)", found[2]) is not None
            )
    for line in cuobjdump("-res-usage", file).splitlines():
        if found := re.search(r"arch = (sm_\w+)", line):
            architecture = found[1]
        elif found := re.search(r"Function (\S+):", line):
            kernel = kernels[architecture, found[1]]
        elif found := re.search(r"REG:(\d+)", line):
            kernel.counts["registers"] = int(found[1])
    return sorted(kernels.values(), key=lambda each: (each.architecture, each.name, each.what, each.words))


def main(files: list[str]) -> int:
    """Print the table; return the exit status."""
    kernels = [kernel for file in files for kernel in kernels_of(file)]
    if not kernels:
        sys.exit(f"no device code in {', '.join(files)}")
    print("| architecture | kernel | pass | words | " + " | ".join(COLUMNS) + " |")
    print("|---|---|---|" + "---|" * (len(COLUMNS) + 1))
    for kernel in kernels:
        cells = [kernel.architecture, kernel.name, kernel.what, str(kernel.words or "")]
        print(f"| {' | '.join([*cells, *(str(kernel.counts[name]) for name in COLUMNS)])} |")
    faults = [fault for kernel in kernels for fault in kernel.faults()]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
