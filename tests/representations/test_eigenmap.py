"""The eigenmap is a function of the set of rows, and places any row by its neighbours alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.utils.estimator_checks import parametrize_with_checks

from certified_ensembles._data.blocks import fixed_blocks
from certified_ensembles._data.nearest import smallest
from certified_ensembles.representations import LaplacianEigenmap


@parametrize_with_checks([LaplacianEigenmap(), LaplacianEigenmap(2, n_neighbors=3, n_jobs=2)])
def test_eigenmap_is_a_scikit_learn_transformer(estimator, check):
    check(estimator)


# Below and above the size at which the solver changes.
SIZES = [60, 700]


def _rows(n, seed=0, n_features=4):
    """Three noisy blobs, some rows twice, one column on a lattice so that distances tie."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features)) + 3 * rng.integers(0, 3, size=(n, 1))
    X[:, 0] = np.round(X[:, 0])
    X[n // 2 : n // 2 + 5] = X[:5]
    return X


def _lattice():
    axis = np.arange(9.0)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("n", SIZES)
def test_order_and_copies_of_training_rows_change_nothing(n):
    X = _rows(n)
    rng = np.random.default_rng(1)
    reference = LaplacianEigenmap(3).fit(X)
    more = np.vstack([X, X[3:9], X[3:9]])
    for other in (X[::-1], X[rng.permutation(n)], more[rng.permutation(len(more))]):
        fitted = LaplacianEigenmap(3).fit(other)
        np.testing.assert_array_equal(fitted.embedding_, reference.embedding_)
        np.testing.assert_array_equal(fitted.eigenvalues_, reference.eigenvalues_)
        np.testing.assert_array_equal(fitted.transform(X), reference.transform(X))


def test_order_changes_nothing_where_all_distances_tie():
    X = _lattice()
    reference = LaplacianEigenmap(2, n_neighbors=5).fit(X)
    for seed in range(5):
        shuffled = X[np.random.default_rng(seed).permutation(len(X))]
        fitted = LaplacianEigenmap(2, n_neighbors=5).fit(shuffled)
        np.testing.assert_array_equal(fitted.embedding_, reference.embedding_)


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_threads_change_nothing(n_jobs):
    X = _rows(700)
    reference = LaplacianEigenmap(3).fit(X)
    fitted = LaplacianEigenmap(3, n_jobs=n_jobs).fit(X)
    np.testing.assert_array_equal(fitted.embedding_, reference.embedding_)
    np.testing.assert_array_equal(fitted.transform(X), reference.transform(X))


@pytest.mark.parametrize("n", SIZES)
def test_a_row_is_placed_alike_in_any_company(n):
    X, T = _rows(n), _rows(611, seed=2)
    eigenmap = LaplacianEigenmap(3).fit(X)
    together = eigenmap.transform(T)
    order = np.random.default_rng(3).permutation(len(T))
    np.testing.assert_array_equal(eigenmap.transform(T[order]), together[order])
    for i in (0, 17, 255, 256, 610):
        np.testing.assert_array_equal(eigenmap.transform(T[[i]]), together[[i]])


def test_float32_and_minus_zero_are_the_same_rows():
    X = np.round(_rows(80))
    reference = LaplacianEigenmap(2).fit(X)
    for other in (X.astype(np.float32), np.where(X == 0, -0.0, X), np.asfortranarray(X)):
        np.testing.assert_array_equal(LaplacianEigenmap(2).fit(other).nodes_, reference.nodes_)
        np.testing.assert_array_equal(
            LaplacianEigenmap(2).fit(other).embedding_, reference.embedding_
        )


def _by_hand(nodes, k):
    """Return the neighbour graph and its normalised matrix, by loops and full sorts."""
    distance = ((nodes[:, None] - nodes[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    graph = np.zeros(distance.shape)
    for i, row in enumerate(distance):
        graph[i, np.lexsort((np.arange(len(row)), row))[:k]] = 0.5
    graph = graph + graph.T
    scale = np.sqrt(graph.sum(axis=1))
    return graph, graph / scale / scale[:, None]


@pytest.mark.parametrize("n", SIZES)
def test_coordinates_are_the_leading_modes_of_the_neighbour_graph(n):
    X = np.random.default_rng(0).normal(size=(n, 3))
    eigenmap = LaplacianEigenmap(4, n_neighbors=6).fit(X)
    graph, walk = _by_hand(eigenmap.nodes_, 6)
    expected = np.linalg.eigvalsh(walk)[::-1]
    assert expected[0] == pytest.approx(1)
    np.testing.assert_allclose(eigenmap.eigenvalues_, expected[1:5], atol=1e-9)
    degree = graph.sum(axis=1)
    V = eigenmap.embedding_
    # The mean over a node's neighbours is the eigenvalue times its own coordinate.
    np.testing.assert_allclose(graph @ V / degree[:, None], V * eigenmap.eigenvalues_, atol=1e-7)
    np.testing.assert_allclose(degree @ V, 0, atol=1e-6)  # the constant one is left out
    np.testing.assert_allclose(np.mean(V**2, axis=0), 1)


@pytest.mark.parametrize("n", SIZES)
def test_the_largest_coordinate_of_a_mode_is_positive(n):
    embedding = LaplacianEigenmap(6).fit(_rows(n)).embedding_
    assert (embedding.max(axis=0) == np.abs(embedding).max(axis=0)).all()


def test_new_rows_are_placed_by_their_neighbours():
    X, T = _rows(300), _rows(40, seed=5)
    eigenmap = LaplacianEigenmap(3, n_neighbors=7).fit(X)
    distance = ((T[:, None] - eigenmap.nodes_[None]) ** 2).sum(axis=2)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :7]
    expected = eigenmap.embedding_[nearest].mean(axis=1) / eigenmap.eigenvalues_
    np.testing.assert_allclose(eigenmap.transform(T), expected, rtol=1e-12)


def test_directions_without_structure_are_not_blown_up():
    X = np.random.default_rng(0).normal(size=(12, 2))
    eigenmap = LaplacianEigenmap(11, n_neighbors=11).fit(X)  # complete graph: eigenvalues -1/11
    assert (eigenmap.eigenvalues_ < 0).all()
    bound = 10 * np.abs(eigenmap.embedding_).max()
    assert (np.abs(eigenmap.transform(X)) <= bound).all()


def test_clusters_that_no_line_separates_come_apart():
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, size=400)
    ring = np.column_stack([np.cos(angle), np.sin(angle)])
    X = np.vstack([ring, 4 * ring, 9 * ring])
    eigenmap = LaplacianEigenmap(2).fit(X)
    cluster = KMeans(3, n_init=5, random_state=0).fit_predict(eigenmap.transform(X))
    assert len(set(cluster[:400])) == len(set(cluster[400:800])) == len(set(cluster[800:])) == 1
    assert len(set(cluster)) == 3


def test_separate_components_have_eigenvalue_one():
    X = np.random.default_rng(0).normal(size=(90, 3)) + np.repeat([[0], [1e3], [-1e3]], 30, axis=0)
    eigenvalues = LaplacianEigenmap(3, n_neighbors=6).fit(X).eigenvalues_
    np.testing.assert_allclose(eigenvalues[:2], 1)
    assert eigenvalues[2] < 1 - 1e-6


def test_more_neighbours_than_rows_means_all_rows():
    X = np.random.default_rng(0).normal(size=(8, 2))
    reference = LaplacianEigenmap(2, n_neighbors=7).fit(X)
    fitted = LaplacianEigenmap(2, n_neighbors=100).fit(X)
    np.testing.assert_array_equal(fitted.embedding_, reference.embedding_)


def test_too_few_different_rows_are_refused_with_the_remedy():
    X = np.repeat(np.eye(3), 10, axis=0)
    with pytest.raises(ValueError, match=r"n_components=3 .* at most 2"):
        LaplacianEigenmap(3).fit(X)
    assert LaplacianEigenmap(2).fit(X).embedding_.shape == (3, 2)


def test_names_of_features_come_out():
    eigenmap = LaplacianEigenmap(2).fit(_rows(50))
    assert eigenmap.get_feature_names_out().tolist() == [
        "laplacianeigenmap0",
        "laplacianeigenmap1",
    ]
    assert clone(eigenmap).get_params() == eigenmap.get_params()


# ---------------------------------------------------------------- the parts


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    n_columns=st.integers(1, 700),
    k=st.integers(1, 12),
    n_values=st.integers(1, 50),
)
def test_smallest_is_a_stable_sort_cut_off(seed, n_columns, k, n_values):
    k = min(k, n_columns)
    rng = np.random.default_rng(seed)
    values = rng.integers(0, n_values, size=(5, n_columns)).astype(float)
    expected = np.argsort(values, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(smallest(values, k), expected)


@pytest.mark.parametrize("n_columns", [1, 1000, 60_000, 10**6, 10**9])
def test_blocks_of_rows_have_one_shape_and_cover_every_row_once(n_columns):
    sizes = set()
    for n in (1, 15, 16, 255, 256, 257, 1000):
        covered = []
        for rows, index in fixed_blocks(n, n_columns):
            sizes.add(len(index))
            covered += range(rows.start, rows.stop)
            np.testing.assert_array_equal(
                index[: rows.stop - rows.start], range(rows.start, rows.stop)
            )
            assert index.max() < n
        assert covered == list(range(n))
    assert len(sizes) == 1
    assert sizes.pop() % 16 == 0
