"""Codes to search: the same for the same arguments, and kept while the next case wants them again."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["uniform", "clustered"]

_CENTRES = 1_000
_FLIP_PROBABILITY = 0.1
_CHUNK_BITS = 1 << 24


@lru_cache(maxsize=1)
def database(kind: Kind, n: int, n_bits: int) -> npt.NDArray[np.uint8]:
    """Make `n` codes, read-only: uniform bits, or 1,000 random centres with each bit flipped at p = 0.1."""
    return _codes(kind, n, n_bits, seed=1)


@lru_cache(maxsize=1)
def query_codes(kind: Kind, n: int, n_bits: int) -> npt.NDArray[np.uint8]:
    """Make `n` more codes of the same distribution."""
    return _codes(kind, n, n_bits, seed=2)


def _codes(kind: Kind, n: int, n_bits: int, seed: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    if kind == "uniform":
        codes = rng.integers(0, 256, (n, n_bits // 8), dtype=np.uint8)
    else:
        centres = np.random.default_rng(0).integers(0, 256, (_CENTRES, n_bits // 8), dtype=np.uint8)
        codes = centres[rng.integers(0, _CENTRES, n)]
        rows = _CHUNK_BITS // n_bits
        for start in range(0, n, rows):
            chunk = codes[start : start + rows]
            flips = rng.random((len(chunk), n_bits), dtype=np.float32) < _FLIP_PROBABILITY
            chunk ^= np.packbits(flips, axis=1)
    codes.flags.writeable = False
    return codes
