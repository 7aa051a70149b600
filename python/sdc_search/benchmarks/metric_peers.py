"""Mean average precision of codes by what published code does: a float matrix product and a sort a query."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

DISTRIBUTIONS = ("torch",)

# The distances of one block of queries, and the ranks that count -> the rows of the database at them.
Order: TypeAlias = Callable[[Tensor, int], Tensor]

_BLOCK_QUERIES = 100


def full_sort(distances: Tensor, at: int) -> Tensor:
    """Sort all distances, as published evaluators do."""
    return distances.argsort(dim=1)[:, :at]


def top_k(distances: Tensor, at: int) -> Tensor:
    """Select the nearest; the order of ties is up to torch."""
    return distances.topk(at, dim=1, largest=False).indices


def signs(codes: npt.NDArray[np.uint8]) -> Tensor:
    """Unpack codes to -1 and 1, float32, which published evaluators are given."""
    return torch.from_numpy(np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1)


def published_map(
    database: Tensor,
    database_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    at: int,
    order: Order = full_sort,
) -> float:
    """Return the mean average precision, re-stated from the formula of Ng et al., BMVC 2023.

    Ties stand as the sort leaves them; divided by the relevant items among the first `at`.
    """
    values = []
    for start in range(0, len(queries), _BLOCK_QUERIES):
        block = slice(start, start + _BLOCK_QUERIES)
        distances = 0.5 * (queries.shape[1] - queries[block] @ database.T)
        nearest = order(distances, at)
        relevant = (database_labels[nearest] == query_labels[block, None]).float()
        hits = relevant.cumsum(dim=1)
        precision = hits / torch.arange(1, at + 1)
        values.append((precision * relevant).sum(dim=1) / hits[:, -1].clamp(min=1))
    return torch.cat(values).mean().item()
