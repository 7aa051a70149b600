"""How well codes use their bits."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import numpy.typing as npt

from sdc_search.codes import unpack_bits
from sdc_search.hamming import hamming_distance

_MOST_BYTES = 256  # of a code that `hamming_distance` takes
_BLOCK_PAIRS = 1 << 24


class BitStatistics(TypedDict):
    """What `bit_statistics` returns, all of it plain Python numbers."""

    balance: list[float]
    correlation: float
    entropy: float
    collapse: float


def bit_statistics(codes: npt.NDArray[np.uint8], n_bits: int) -> BitStatistics:
    """Measure balance, correlation, entropy and collapse of codes.

    Parameters
    ----------
    codes
        Packed, shape ``(n, ceil(n_bits / 8))``, n at least 2; all pairs are compared, so pass a sample of
        some thousand.
    n_bits
        Length of a code.

    Returns
    -------
    ``balance``, the share of ones of each bit; ``correlation``, the mean absolute correlation of two bits, 0
    with one that never changes; ``entropy``, the mean over bits of their entropy in bits, from 0 to 1;
    ``collapse``, the share of all pairs of codes that have the commonest Hamming distance.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.bit_statistics import bit_statistics
    >>> bit_statistics(np.array([[0b00000000], [0b11000000]], np.uint8), 2)
    {'balance': [0.5, 0.5], 'correlation': 1.0, 'entropy': 1.0, 'collapse': 1.0}
    """
    bits = unpack_bits(codes, n_bits).astype(np.float64)
    p = bits.mean(axis=0)
    deviation = np.sqrt(p * (1 - p))
    standard = (bits - p) / np.where(deviation > 0, deviation, 1)
    correlation = np.abs(standard.T @ standard / len(bits))
    pairs = n_bits * (n_bits - 1)
    logs = [np.log2(q, out=np.zeros_like(q), where=q > 0) for q in (p, 1 - p)]
    return {
        "balance": p.tolist(),
        "correlation": float((correlation.sum() - np.trace(correlation)) / pairs) if pairs else 0.0,
        "entropy": float(-(p * logs[0] + (1 - p) * logs[1]).mean()),
        "collapse": commonest_distance_share(codes),
    }


def commonest_distance_share(codes: npt.NDArray[np.uint8]) -> float:
    """Return the share of all pairs of codes that lie at the commonest Hamming distance.

    Parameters
    ----------
    codes
        Packed, shape ``(n, n_bytes)``, n at least 2; all pairs are compared.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.bit_statistics import commonest_distance_share
    >>> commonest_distance_share(np.array([[0], [0], [0], [1]], np.uint8))
    0.5
    """
    counts = np.zeros(8 * codes.shape[1] + 1, np.int64)
    parts = np.split(codes, range(_MOST_BYTES, codes.shape[1], _MOST_BYTES), axis=1)
    step = max(1, _BLOCK_PAIRS // len(codes))
    for start in range(0, len(codes), step):
        distances = sum(hamming_distance(part, part[start : start + step]) for part in parts)
        counts += np.bincount(np.ravel(distances), minlength=len(counts))
    counts[0] -= len(codes)  # each with itself
    return float(counts.max() / counts.sum())
