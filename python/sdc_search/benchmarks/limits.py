"""The least time that a scan can take: a roofline from what must move and what must be computed.

    limit = max(bytes of the codes / read bandwidth,
                n · q · operations a vector / (codes a vector · operations a cycle · clock))

The bandwidth is measured by one plain read of as many bytes, as warm as the search finds them
(`machine.read_seconds`), and so is the clock (`machine.clock_hz`).

The operations are those of the best method known for many queries, bit slicing: a vector holds one
bit of as many codes as it is wide, and a carry-save tree of full adders counts the differing bits.
Tables that all queries share hold the sums of seven planes at a time, so that K/3 adders remain of
K. Comparing the count with a threshold takes two more operations for each of its log₂K bits, and
three in the end. One full adder is two operations where there is a ternary logic instruction
(AVX-512), else five. Making the tables, which all queries share, and selecting are left out.
"""

from __future__ import annotations

from math import log2

from sdc_search.benchmarks.machine import clock_hz, cpu_family, read_seconds

_VECTOR_BITS = {"avx2": 256, "avx512": 512, "avx512_vpopcnt": 512}
_ADDER_OPERATIONS = {"avx2": 5, "avx512": 2, "avx512_vpopcnt": 2}

# Vector logic instructions a cycle, full width (Agner Fog's tables, the vendors' optimisation guides).
# AMD's family 23 is Zen 1 and 2; 25 is Zen 3 and 4, which splits 512 bits into halves; 26 is Zen 5. Intel's
# family 6 has three ports at 256 bits and two at 512.
_LOGIC_A_CYCLE = {
    ("AuthenticAMD", 23): {256: 4},
    ("AuthenticAMD", 25): {256: 4, 512: 2},
    ("AuthenticAMD", 26): {256: 4, 512: 4},
    ("GenuineIntel", 6): {256: 3, 512: 2},
}


def scan_limit(n: int, n_bits: int, n_queries: int, isa: str) -> float | None:
    """Return the least seconds in which one thread compares `n_queries` with `n` codes, None if unknown."""
    clock = clock_hz()
    width = _VECTOR_BITS.get(isa, 0)
    per_cycle = _LOGIC_A_CYCLE.get(cpu_family(), {}).get(width)
    if clock is None or per_cycle is None:
        return None
    vectors = n * n_queries / width
    return max(read_seconds(n * n_bits // 8), vectors * scan_operations(n_bits, isa) / (per_cycle * clock))


def scan_operations(n_bits: int, isa: str) -> float:
    """Return the logic operations that one query needs for one vector of codes."""
    return _ADDER_OPERATIONS[isa] * n_bits / 3 + 2 * log2(n_bits) + 3
