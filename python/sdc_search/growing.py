"""An array that grows at its end, in amortised linear time, while others read it."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

_Scalar = TypeVar("_Scalar", bound=np.generic)


def grown_capacity(n: int, total: int) -> int:
    """Return the rows of a new buffer for `total` rows, of which `n` lay in the one that was too small."""
    return total if n == 0 else max(total, n + n // 2)


class Growing(Generic[_Scalar]):
    """Rows at the start of a buffer that may have spare room behind them.

    Its rows never change: what follows is written behind them, where nobody reads, or into a new buffer. Only
    the newest of a series may be extended.
    """

    __slots__ = ("_buffer", "rows")

    def __init__(self, buffer: npt.NDArray[_Scalar], n: int) -> None:
        self._buffer = buffer
        self.rows = np.asarray(buffer)[:n]
        self.rows.flags.writeable = False

    def extended(self, extra: npt.NDArray[_Scalar]) -> Growing[_Scalar]:
        """Append rows."""
        n, total = len(self.rows), len(self.rows) + len(extra)
        buffer = self._buffer
        if total > len(buffer):  # always so for a mapped file, which is thereby copied and never written to
            buffer = np.empty((grown_capacity(n, total), *extra.shape[1:]), dtype=extra.dtype)
            buffer[:n] = self.rows
        buffer[n:total] = extra
        return Growing(buffer, total)
