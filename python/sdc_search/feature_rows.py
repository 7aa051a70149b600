"""The features that a fit reads: in memory or mapped from a file, checked and converted by blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sdc_search.arrays import as_features, convert, features_dtype, is_tensor, to_numpy

Features: TypeAlias = npt.NDArray[np.floating[Any]]

_BLOCK_VALUES = 1 << 21  # 8 MB of float32
_CONVERTED_BYTES = 256 << 20  # up to here a copy in the dtype of computing is kept, for speed


class FeatureRows:
    """Real-valued items of one shape, computed in float32 (float64 stays), never converted as a whole.

    Parameters
    ----------
    name
        The argument's name, for the messages.
    X
        Shape ``(n, d)``, ``(n, V, d)`` of views or ``(n, V, P, d)`` of tokens: floating point or integer. An
        array of another dtype than the one that is computed in is converted at once if that takes less than
        256 MB, else rows and blocks as they are read.
    shapes
        The shapes that are wanted, by their letters, such as ``("n, d", "n, V, d")``.

    Attributes
    ----------
    shape, dtype
        Of the items as they are computed in.
    n_features
        The last dimension, d.

    Raises
    ------
    TypeError
        `X` is not real.
    ValueError
        `X` has another rank, no features, no views, or holds NaN or infinity.
    """

    def __init__(self, name: str, X: object, shapes: Sequence[str] = ("n, d",)) -> None:
        raw: Any = X.cpu() if is_tensor(X) else X  # type: ignore[attr-defined]
        raw = np.asarray(raw) if isinstance(raw, (list, tuple)) else to_numpy(name, raw)
        self.dtype: np.dtype[Any] = np.dtype(features_dtype(name, raw, shapes))
        self.shape: tuple[int, ...] = raw.shape
        self.n_features = raw.shape[-1]
        if raw.dtype != self.dtype and raw.size * self.dtype.itemsize <= _CONVERTED_BYTES:
            raw = convert(raw, self.dtype)
        self._raw = raw
        self._mean: npt.NDArray[np.float64] | None = None
        for block in self.blocks():
            as_features(name, block, shapes)  # finds NaN

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: Any) -> Features:
        """Gather items, by an index as numpy takes it, as a C-contiguous array of `dtype`."""
        return convert(self._raw[rows], self.dtype)

    def vectors(self, rows: npt.NDArray[np.int64]) -> Features:
        """Gather one vector an item, ``(N, d)``: of views the first one's, of tokens their mean."""
        items = self.take(rows if len(self.shape) == 2 else (rows, 0))
        return items if items.ndim == 2 else items.mean(axis=1)

    def blocks(self) -> Iterator[Features]:
        """Iterate over all items in order, some at a time; blocks must not be written to."""
        step = max(1, _BLOCK_VALUES // int(np.prod(self.shape[1:])))
        for start in range(0, len(self), step):
            yield self.take(np.s_[start : start + step])

    def is_constant(self) -> bool:
        """Whether all items are equal."""
        first = self.take(np.s_[:1])
        return all((block == first).all() for block in self.blocks())

    def mean(self) -> npt.NDArray[np.float64]:
        """Mean of each feature over items, views and tokens, shape ``(d,)``; read once."""
        if self._mean is None:
            total = np.zeros(self.n_features)
            for block in self.blocks():
                total += block.reshape(-1, self.n_features).sum(axis=0, dtype=np.float64)
            self._mean = total / np.prod(self.shape[:-1])
        return self._mean.copy()

    def mean_square(self, mean: npt.NDArray[np.float64] | None = None) -> float:
        """Mean over all entries of their squares, of differences from `mean` where it is given."""
        total = 0.0
        for block in self.blocks():
            centred = block if mean is None else block - mean
            total += float(np.square(centred, dtype=np.float64).sum())
        return total / float(np.prod(self.shape))
