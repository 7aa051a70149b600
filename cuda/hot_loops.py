"""What one turn of a search kernel's hot loop issues, read from its machine code.

Usage: python cuda/hot_loops.py _cuda.so ... > cuda/hot_loops.json     (anything with device code)
Needs what sass.py needs.

A turn is the shortest way through the innermost loop that compares codes, back to its start, without a hit:
it avoids MATCH, which stands only where hits are recorded. `compared` is the number of comparisons with a
bound in it, each of a warp: 32 pairs of a code and a query in `scan`, 128 in `scan_matrix`. `row_loads` are
the loads of whole vectors of 16 bytes in the loop over rows, which is the next around it.
"""

from __future__ import annotations

import heapq
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass

from sass import cuobjdump, kernel_of, load_name

KERNELS = ("scan", "scan_matrix")
UNITS = ("POPC", "BMMA", "IMMA", "LDS")


@dataclass(frozen=True)
class Instruction:
    """One instruction: where it lies, what it does, and where it may go on."""

    address: int
    name: str
    conditional: bool
    target: int | None


def instructions_of(file: str) -> dict[tuple[str, str], list[Instruction]]:
    """Read the instructions of every kernel in a file, by architecture and symbol."""
    found: dict[tuple[str, str], list[Instruction]] = {}
    architecture = ""
    for line in cuobjdump("-sass", file).splitlines():
        if match := re.search(r"code for (sm_\w+)", line):
            architecture = match[1]
        elif match := re.search(r"Function : (\S+)", line):
            kernel = found[architecture, match[1]] = []
        elif match := re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(@!?\w+ )?\s*([A-Z0-9]+)([.\w]*)(.*?)/\*", line):
            # Lanes that have come apart, for whom BRA.DIV is, meet again before the loop goes on.
            branches = match[3] == "BRA" and match[4] != ".DIV"
            target = re.search(r"0x([0-9a-f]+)\s*;", match[5]) if branches else None
            # A branch is conditional by its predicate, or by one among its operands.
            conditional = match[2] is not None or bool(re.search(r"\bU?P\d", match[5]))
            name = load_name(match[4]) if match[3] == "LDG" else match[3]
            kernel.append(
                Instruction(int(match[1], 16), name, conditional, int(target[1], 16) if target else None)
            )
    return found


def turn_of(kernel: list[Instruction]) -> tuple[Counter[str], Counter[str]]:
    """Count the instructions of one turn of the hot loop, and all in the loop around it."""
    place = {each.address: i for i, each in enumerate(kernel)}
    loops = []
    for i in _reached(kernel, place):
        target = kernel[i].target
        if target is not None and target < kernel[i].address:
            loops.append((place[target], i))
    loops.sort(key=lambda loop: loop[1] - loop[0])
    hot = next(loop for loop in loops if any(each.name == "VOTE" for each in kernel[loop[0] : loop[1] + 1]))
    around = next(loop for loop in loops if loop[0] < hot[0] and hot[1] < loop[1])
    turn = Counter(kernel[i].name for i in _shortest_way(kernel, place, *hot))
    return turn, Counter(each.name for each in kernel[around[0] : around[1] + 1])


def _next(kernel: list[Instruction], place: dict[int, int], i: int) -> list[int]:
    """Return the instructions that may follow one."""
    this = kernel[i]
    after = [] if this.target is None else [place[this.target]]
    ends = (this.target is not None or this.name == "EXIT") and not this.conditional
    return after if ends or i + 1 == len(kernel) else [*after, i + 1]


def _reached(kernel: list[Instruction], place: dict[int, int]) -> set[int]:
    reached, queue = set[int](), [0]
    while queue:
        i = queue.pop()
        if i not in reached:
            reached.add(i)
            queue += _next(kernel, place, i)
    return reached


def _shortest_way(kernel: list[Instruction], place: dict[int, int], head: int, tail: int) -> list[int]:
    """Return the instructions on the shortest way from head to tail that avoids MATCH."""
    queue, before = [(0, head, -1)], dict[int, int]()
    while queue:
        length, i, previous = heapq.heappop(queue)
        if i in before or kernel[i].name == "MATCH":
            continue
        before[i] = previous
        if i == tail:
            break
        for after in _next(kernel, place, i):
            heapq.heappush(queue, (length + 1, after, i))
    way = [tail]
    while way[-1] != head:
        way.append(before[way[-1]])
    return way


def main(files: list[str]) -> None:
    """Print the counts of the counting pass by architecture, kernel and words of a code."""
    counts: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for file in files:
        for (architecture, symbol), kernel in instructions_of(file).items():
            if not any(f"{len(name)}{name}I" in symbol for name in KERNELS):
                continue
            known = kernel_of(symbol, architecture)
            if known.what != "count":
                continue
            turn, around = turn_of(kernel)
            counts.setdefault(architecture, {}).setdefault(known.name, {})[str(known.words)] = {
                "issued": turn.total() - turn["NOP"],
                "compared": turn["VOTE"],
                "row_loads": around["LDG.128"],
                **{unit: turn[unit] for unit in UNITS},
            }
    json.dump(counts, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main(sys.argv[1:])
