"""Similarity along a graph of nearest neighbours: what is reached by many short steps is alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from scipy.linalg.lapack import spotrf, spotri

Matrix = npt.NDArray[np.floating[Any]]

_TILE_ROWS = 8192  # and columns of similarities at a time: 256 MB
_GROUP = 64  # columns of which the best is found first
_GROUPED_COLUMNS = 8192  # from here on that is faster
_DENSE_ROWS = 8000  # up to here the inverse takes seconds
_DEGREE = 5  # odd; of the polynomial beyond
_PROBES = 8
_WALK_ROWS = 512
_RANK_ROWS = 256
_FLOOR = 0.01  # least similarity of an edge: keeps rows attached whose neighbours all point elsewhere


def nearest_neighbours(rows: Matrix, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Find the k other rows of largest inner product, exactly, by blocks of one matrix product.

    Parameters
    ----------
    rows
        Shape ``(n, d)``; with rows of norm 1 the product is the cosine.
    k
        From 1 to n − 1.

    Returns
    -------
    Ids int64 and products float32, shape ``(n, k)``, best first; a row is never its own neighbour.

    Raises
    ------
    ValueError
        `k` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.graph import nearest_neighbours
    >>> ids, similarities = nearest_neighbours(np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), k=1)
    >>> ids.ravel().tolist()
    [1, 0, 1]
    """
    n = len(rows)
    if not 1 <= k < n:
        raise ValueError(f"k must be from 1 to n - 1 = {n - 1}, got {k}")
    tensor = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
    ids, values = torch.zeros((n, k), dtype=torch.int64), torch.full((n, k), -torch.inf)
    for i in range(0, n, _TILE_ROWS):
        for j in range(i, n, _TILE_ROWS):
            tile = tensor[i : i + _TILE_ROWS] @ tensor[j : j + _TILE_ROWS].T
            if i == j:
                tile.fill_diagonal_(-torch.inf)
            else:  # its columns are rows of the other half of the product
                _keep_best(ids[j : j + _TILE_ROWS], values[j : j + _TILE_ROWS], tile.T, i)
            _keep_best(ids[i : i + _TILE_ROWS], values[i : i + _TILE_ROWS], tile, j)
    return ids.numpy(), values.numpy()


def most_similar(
    similarities: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Read each row's k largest entries off the diagonal: `nearest_neighbours` of a matrix ``(n, n)``."""
    ids, values = _best(torch.from_numpy(similarities.copy()).fill_diagonal_(-torch.inf), k)
    return ids.numpy(), values.numpy()


def _keep_best(ids: torch.Tensor, values: torch.Tensor, tile: torch.Tensor, first_id: int) -> None:
    """Merge the best entries of each row of a tile into the best so far, in place."""
    k = ids.shape[1]
    tile_ids, tile_values = _best(tile, min(k, tile.shape[1]))
    best, places = torch.cat((values, tile_values), dim=1).topk(k, dim=1)
    values.copy_(best)
    ids.copy_(torch.cat((ids, tile_ids + first_id), dim=1).gather(1, places))


def _best(block: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the columns and values of the k largest entries of each row, largest first."""
    n = block.shape[1]
    groups = n // _GROUP
    if n < _GROUPED_COLUMNS or k > groups:
        values, ids = block.topk(k, dim=1)
        return ids, values
    # The k best lie in the k groups whose best are best. Group g are the columns g, g + groups, …
    whole = block[:, : groups * _GROUP]
    if block.is_contiguous():
        best = whole.view(len(block), _GROUP, groups).amax(dim=1)
    else:  # a transposed one: the same in the order of its memory
        best = whole.T.view(_GROUP, groups, len(block)).amax(dim=0).T
    chosen = best.topk(k, dim=1, sorted=False).indices
    members = (chosen[:, None] + groups * torch.arange(_GROUP)[:, None]).flatten(1)
    rest = torch.arange(groups * _GROUP, n).expand(len(block), -1)
    members = torch.cat((members, rest), dim=1)
    values, places = block.gather(1, members).topk(k, dim=1)
    return members.gather(1, places), values


def neighbour_graph(
    ids: npt.NDArray[np.int64],
    similarities: npt.NDArray[np.float32],
    *,
    power: float = 1.0,
    mutual: bool = False,
) -> sp.csr_array:
    """Join each row with its neighbours; an edge weighs their similarity, or half of it if one end chose it.

    Parameters
    ----------
    ids, similarities
        Shape ``(n, k)``, as `nearest_neighbours` gives them; similarities of at most 1.
    power
        To which similarities are raised; larger ones trust near neighbours more.
    mutual
        Whether to keep only edges that both ends chose; a row without such an edge joins its nearest.

    Returns
    -------
    Symmetric float32 weights, shape ``(n, n)``, diagonal 0. Every row has an edge, since similarities below
    .01 count as .01.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.graph import neighbour_graph
    >>> ids, similarities = np.array([[1], [0], [1]]), np.array([[0.75], [0.75], [0.5]], np.float32)
    >>> neighbour_graph(ids, similarities).toarray().tolist()
    [[0.0, 0.75, 0.0], [0.75, 0.0, 0.25], [0.0, 0.25, 0.0]]
    """
    n, k = ids.shape
    weights = np.maximum(similarities, _FLOOR) ** np.float32(power)
    chosen = sp.csr_array((weights.ravel(), (np.repeat(np.arange(n), k), ids.ravel())), shape=(n, n))
    if not mutual:
        return sp.csr_array((chosen + chosen.T) * np.float32(0.5))
    both = chosen.minimum(chosen.T)
    lonely = np.flatnonzero(both.sum(axis=1) == 0)
    nearest = sp.csr_array((weights[lonely, 0], (lonely, ids[lonely, 0])), shape=(n, n))
    return sp.csr_array(both + nearest + nearest.T)


def diffusion(
    graph: sp.csr_array,
    columns: npt.NDArray[np.int64],
    *,
    alpha: float = 0.99,
    dense: bool | None = None,
) -> npt.NDArray[np.float32]:
    """Similarities after a walk over the graph that goes on with probability `alpha` at each step.

    ``M = (I − α L)⁻¹`` with ``L = D^-½ W D^-½`` (Zhou et al., "Ranking on data manifolds", NIPS 2003), less
    the part ``u uᵀ/(1 − α)`` of the eigenvector ``u ∝ √deg``, which tells only how connected an item is; then
    ``M_ij / √(M_ii M_jj)``.

    Parameters
    ----------
    graph
        W: symmetric, non-negative, each row with an edge; shape ``(n, n)``.
    columns
        The m items among which similarities are wanted; the walk goes over all n.
    alpha
        From 0 to below 1.
    dense
        Whether to invert the matrix as a whole, O(n³), or to approximate it by walks of at most five steps,
        which keeps the order of what is near; None: by n.

    Returns
    -------
    float32, shape ``(m, m)``, symmetric, diagonal 1.
    """
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha must be from 0 to below 1, got {alpha}")
    n = graph.shape[0]
    degrees: npt.NDArray[np.float64] = graph.sum(axis=1).astype(np.float64)
    inverse_root = sp.diags_array((degrees**-0.5).astype(np.float32))
    walk = sp.csr_array(inverse_root @ graph @ inverse_root).astype(np.float32) * np.float32(alpha)
    u = np.sqrt(degrees / degrees.sum())
    result: npt.NDArray[np.float32]
    if dense if dense is not None else n <= _DENSE_ROWS:
        result = _inverse(walk, u)[np.ix_(columns, columns)]
    else:
        result = _short_walks(walk, u, columns)
    scale = np.maximum(result.diagonal(), np.finfo(np.float32).tiny) ** -0.5
    result *= scale
    result *= scale[:, None]
    return np.asarray((result + result.T) / 2, dtype=np.float32)


def _inverse(walk: sp.csr_array, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Invert ``I − walk`` without the part of its eigenvector u, the one of the smallest eigenvalue."""
    part = np.outer(u, u).astype(np.float32)
    system = part - walk.toarray()  # raises u's eigenvalue 1 − α by 1, so that nothing large cancels
    system[np.diag_indices_from(system)] += 1
    eigenvalue = np.float32(u @ (system @ u))
    factor, _ = spotrf(system.T, lower=True, overwrite_a=True)
    triangle, _ = spotri(factor, lower=True, overwrite_c=True)
    triangle = np.tril(triangle)
    inverse = triangle + np.tril(triangle, -1).T - part / eigenvalue
    return np.asarray(inverse, dtype=np.float32)


def _short_walks(
    walk: sp.csr_array, u: npt.NDArray[np.float64], columns: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Approximate rows and columns `columns` of the inverse of ``I − walk``, less its part of u.

    A polynomial of the walk of degree 2h + 1 needs but walks of h + 1 steps from each item, whose ends are
    few: ``p(walk) = near + walkʰ⁺¹ far``, both of degree h, and all three sparse.
    """
    polynomial = _galerkin_polynomial(walk, u)
    near_coefficients, far_coefficients = np.split(polynomial.astype(np.float32), 2)
    m = len(columns)
    steps = [sp.csr_array((np.ones(m, np.float32), (np.arange(m), columns)), shape=(m, walk.shape[0]))]
    for _ in far_coefficients[1:]:
        steps.append(steps[-1] @ walk)
    near = sum(c * step for c, step in zip(near_coefficients, steps, strict=True))[:, columns]
    far = sp.csr_array(sum(c * step for c, step in zip(far_coefficients, steps, strict=True)).T)
    result = np.empty((m, m), np.float32)
    for start in range(0, m, _WALK_ROWS):
        block = slice(start, start + _WALK_ROWS)
        result[block] = (near[block] + (steps[-1][block] @ walk) @ far).toarray()
    weighted = (np.polyval(polynomial[::-1], u @ (walk @ u)) * u[columns]).astype(np.float32)
    result -= np.outer(weighted, u[columns].astype(np.float32))
    return result


def _galerkin_polynomial(walk: sp.csr_array, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Coefficients, lowest first, of the polynomial of `walk` that is best in place of ``(I − walk)⁻¹``.

    Best in the sense of conjugate gradients, by the error's energy, for random right-hand sides without part
    in u.
    """
    powers = [np.random.default_rng(0).standard_normal((len(u), _PROBES))]
    powers[0] -= np.outer(u, u @ powers[0])
    for _ in range(_DEGREE + 1):
        powers.append(walk @ powers[-1])
    products = np.array([[np.vdot(a, b) for b in powers] for a in powers])
    system = products[:-1, :-1] - products[1:, :-1]
    coefficients: npt.NDArray[np.float64] = np.linalg.lstsq(system, products[:-1, 0])[0]
    return coefficients


def truncated_ranks(similarities: npt.NDArray[np.float32], n_keep: int) -> npt.NDArray[np.float32]:
    """Rank each row's entries, ascending, as the share of entries below; all but the largest share one rank.

    An item is its own most similar one. Position p from 0 has rank ``(p + ½)/n``; all that is not among the
    `n_keep` largest has the mean rank of what is left out. The matrix of ranks is then averaged with its
    transpose.

    Parameters
    ----------
    similarities
        Shape ``(n, n)``.
    n_keep
        At least 1; n or more keeps all.

    Returns
    -------
    float32 within (0, 1), shape ``(n, n)``, symmetric.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search.graph import truncated_ranks
    >>> truncated_ranks(np.array([[1.0, 0.5], [0.5, 1.0]], np.float32), 2).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """
    n = len(similarities)
    n_keep = min(n_keep, n)
    ranks = np.full((n, n), (n - n_keep) / (2 * n), np.float32)
    largest = ((np.arange(n - n_keep, n) + 0.5) / n).astype(np.float32)
    for start in range(0, n, _RANK_ROWS):
        block = similarities[start : start + _RANK_ROWS].copy()
        block[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        kept = np.argpartition(block, n - n_keep, axis=1)[:, n - n_keep :]
        order = np.argsort(np.take_along_axis(block, kept, axis=1), axis=1, kind="stable")
        kept = np.take_along_axis(kept, order, axis=1)
        np.put_along_axis(
            ranks[start : start + _RANK_ROWS], kept, np.broadcast_to(largest, kept.shape), axis=1
        )
    for start in range(0, n, _RANK_ROWS):  # in place, since the matrix may be large
        end = start + _RANK_ROWS
        mean = (ranks[start:end, start:] + ranks[start:, start:end].T) / 2
        ranks[start:end, start:] = mean
        ranks[start:, start:end] = mean.T
    return ranks
