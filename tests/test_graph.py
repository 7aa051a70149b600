from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from sdc_search import graph as module
from sdc_search.graph import diffusion, most_similar, nearest_neighbours, neighbour_graph, truncated_ranks


def unit_rows(n: int, d: int = 8, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def join(rows: np.ndarray, k: int, power: float = 3.0, *, mutual: bool = False):
    return neighbour_graph(*nearest_neighbours(rows, min(k, len(rows) - 1)), power=power, mutual=mutual)


def dense_diffusion(graph: np.ndarray, alpha: float) -> np.ndarray:
    graph = graph.astype(np.float64)
    degrees = graph.sum(axis=1)
    laplacian = graph / np.sqrt(np.outer(degrees, degrees))
    u = np.sqrt(degrees / degrees.sum())
    M = np.linalg.inv(np.eye(len(graph)) - alpha * laplacian) - np.outer(u, u) / (1 - alpha)
    return M / np.sqrt(np.outer(M.diagonal(), M.diagonal()))


def ranks_by_sorting(similarities: np.ndarray, n_keep: int) -> np.ndarray:
    n = len(similarities)
    similarities = similarities + np.diag(np.full(n, np.inf))
    positions = similarities.argsort(axis=1).argsort(axis=1)
    ranks = np.where(positions >= n - n_keep, (positions + 0.5) / n, (n - n_keep) / (2 * n))
    return (ranks + ranks.T) / 2


@pytest.mark.parametrize("k", [1, 5, 49])
def test_neighbours_equal_brute_force(k, monkeypatch):
    monkeypatch.setattr(module, "_TILE_ROWS", 7)  # the last one of 1
    rows = unit_rows(50)
    ids, similarities = nearest_neighbours(rows, k)
    products = rows @ rows.T
    np.fill_diagonal(products, -np.inf)
    assert np.array_equal(ids, np.argsort(-products, axis=1)[:, :k])
    np.testing.assert_allclose(similarities, np.take_along_axis(products, ids, axis=1), rtol=1e-5, atol=1e-6)
    assert np.array_equal(most_similar(products, k)[0], ids)


def test_impossible_k_is_an_error():
    with pytest.raises(ValueError, match="k must be from 1 to n - 1 = 4, got 5"):
        nearest_neighbours(unit_rows(5), 5)


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("n", [2, 5, 60])
def test_graph_is_symmetric_without_loops_or_isolated_rows(n, mutual):
    graph = join(unit_rows(n), 10, mutual=mutual).toarray()
    assert np.array_equal(graph, graph.T)
    assert not graph.diagonal().any()
    assert (graph.sum(axis=1) > 0).all()


def test_edge_weighs_half_if_one_end_chose_it():
    angles = np.deg2rad([0, 10, 30])
    graph = join(np.stack([np.cos(angles), np.sin(angles)], axis=1), 1, 2).toarray()
    np.testing.assert_allclose(graph[0, 1], np.cos(np.deg2rad(10)) ** 2, rtol=1e-5)
    np.testing.assert_allclose(graph[1, 2], np.cos(np.deg2rad(20)) ** 2 / 2, rtol=1e-5)
    assert graph[0, 2] == 0


def test_mutual_edges_are_those_of_both_directions_and_one_of_rows_without():
    rows = unit_rows(60)
    ids, similarities = nearest_neighbours(rows, 2)
    chosen = np.zeros((60, 60), bool)
    np.put_along_axis(chosen, ids, True, axis=1)
    wanted = chosen & chosen.T
    lonely = np.flatnonzero(~wanted.any(axis=1))
    assert len(lonely) > 0
    wanted[lonely, ids[lonely, 0]] = wanted[ids[lonely, 0], lonely] = True
    graph = neighbour_graph(ids, similarities, mutual=True).toarray()
    np.testing.assert_allclose(graph, np.where(wanted, np.maximum(rows @ rows.T, 0.01), 0), rtol=1e-5)


@pytest.mark.parametrize("mutual", [False, True])
def test_row_that_all_others_oppose_keeps_an_edge(mutual):
    rows = np.concatenate([unit_rows(20, 2) * [0.1, 0] + [1, 0], [[-1, 0]]])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert join(rows, 3, mutual=mutual).toarray()[-1].sum() > 0


@pytest.mark.parametrize(
    ("dense", "alpha", "tolerance"),
    [(True, 0.5, 1e-4), (True, 0.99, 1e-4), (False, 0.5, 5e-3), (False, 0.0, 1e-6)],
)
def test_diffusion_equals_the_inverse(dense, alpha, tolerance):
    graph = join(unit_rows(300), 5)
    columns = np.random.default_rng(1).permutation(300)[:130]
    expected = dense_diffusion(graph.toarray(), alpha)[np.ix_(columns, columns)]
    result = diffusion(graph, columns, alpha=alpha, dense=dense)
    assert result.dtype == np.float32
    assert np.array_equal(result, result.T)
    np.testing.assert_allclose(result, expected, atol=tolerance)


def test_short_walks_are_the_best_polynomial_in_energy():
    graph = join(unit_rows(300), 5).toarray().astype(np.float64)
    degrees = graph.sum(axis=1)
    walk = 0.9 * graph / np.sqrt(np.outer(degrees, degrees))
    u = np.sqrt(degrees / degrees.sum())
    polynomial = module._galerkin_polynomial(sp.csr_array(walk), u)
    columns = np.random.default_rng(1).permutation(300)[:130]
    matrix = sum(c * np.linalg.matrix_power(walk, power) for power, c in enumerate(polynomial))
    matrix -= np.polyval(polynomial[::-1], 0.9) * np.outer(u, u)
    result = module._short_walks(sp.csr_array(walk.astype(np.float32)), u, columns)
    np.testing.assert_allclose(result, matrix[np.ix_(columns, columns)], atol=1e-4)

    z = np.random.default_rng(0).standard_normal((300, 8))
    z -= np.outer(u, u @ z)
    system, solution = np.eye(300) - walk, np.linalg.solve(np.eye(300) - walk, z)
    powers = np.stack([np.linalg.matrix_power(walk, power) @ z for power in range(6)])

    def energy(coefficients):
        error = np.tensordot(coefficients, powers, axes=1) - solution
        return np.vdot(error, system @ error)

    best = energy(polynomial)
    assert best < 0.05 * np.vdot(solution, system @ solution)
    for power in range(6):
        for step in (-1e-3, 1e-3):
            assert energy(polynomial + step * np.eye(6)[power]) > best


@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("n", [128, 200])
@pytest.mark.parametrize("tile_rows", [115, 200])
def test_groups_and_tiles_do_not_show(n, k, tile_rows, monkeypatch):
    rows = unit_rows(n)
    plain = nearest_neighbours(rows, k)
    monkeypatch.setattr(module, "_TILE_ROWS", tile_rows)
    monkeypatch.setattr(module, "_GROUPED_COLUMNS", 2)
    monkeypatch.setattr(module, "_GROUP", 16)
    grouped = nearest_neighbours(rows, k)
    assert np.array_equal(grouped[0], plain[0])
    np.testing.assert_allclose(grouped[1], plain[1], rtol=1e-5)


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("dense", [True, False])
def test_pieces_of_a_graph_stay_apart(dense, mutual):
    rows = np.repeat(np.eye(3, dtype=np.float32), 12, axis=0)  # duplicates, and k below their number
    result = diffusion(join(rows, 4, mutual=mutual), np.arange(36), dense=dense)
    piece = np.arange(36) // 12
    same = piece[:, None] == piece
    assert np.isfinite(result).all()
    assert result[same].min() > result[~same].max()


def test_alpha_of_one_is_an_error():
    with pytest.raises(ValueError, match="alpha must be from 0 to below 1"):
        diffusion(join(unit_rows(5), 2), np.arange(5), alpha=1.0)


@pytest.mark.parametrize("n_keep", [1, 40, 300, 1000])
def test_ranks_equal_sorting(n_keep):
    rng = np.random.default_rng(0)  # without ties
    similarities = rng.permuted(np.tile(np.arange(300, dtype=np.float32), (300, 1)), axis=1)
    ranks = truncated_ranks(similarities, n_keep)
    np.testing.assert_allclose(ranks, ranks_by_sorting(similarities, n_keep), atol=1e-6)
    assert np.array_equal(ranks, ranks.T)
    assert ranks.min() > 0
    assert ranks.max() < 1
