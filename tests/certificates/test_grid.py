"""Grids of row partitions and blocks of columns, against an attacker that tries everything."""

import itertools
from math import comb

import numpy as np
import pytest
from helpers.owned_members import stands

from certified_ensembles.certificates import (
    _grid_search,
    block_frontier,
    grid,
    grid_frontier,
    plurality_radius,
    survives_members,
)


def random_grid(rng, shape, n_classes):
    """Return the ballots of a grid, often with lines that vote alike."""
    ballots = rng.integers(-1 if rng.random() < 0.5 else 0, n_classes, shape)
    if rng.random() < 0.8:
        ballots[rng.random(shape) < rng.random()] = rng.integers(n_classes)
    if rng.random() < 0.3:
        ballots[rng.integers(shape[0])] = rng.integers(-1, n_classes)
    if rng.random() < 0.3:
        ballots[:, rng.integers(shape[1])] = rng.integers(-1, n_classes)
    return ballots


def lines(shape, r, s):
    """Yield the members in every r rows and s columns."""
    for rows in itertools.combinations(range(shape[0]), r):
        for columns in itertools.combinations(range(shape[1]), s):
            owned = np.zeros(shape, dtype=bool)
            owned[list(rows)] = True
            owned[:, list(columns)] = True
            yield owned


def blocks_and_members(shape, r, s):
    """Yield the members in every s columns and every r members of each other column."""
    picks = list(itertools.combinations(range(shape[0]), r))
    for columns in itertools.combinations(range(shape[1]), s):
        for rows in itertools.product(picks, repeat=shape[1] - s):
            owned = np.ones(shape, dtype=bool)
            rest = np.setdiff1d(np.arange(shape[1]), columns)
            owned[:, rest] = False
            for j, picked in zip(rest, rows, strict=True):
                owned[list(picked), j] = True
            yield owned


def true_frontier(ballots, n_classes, open_set, reach):
    """Return the frontier found by trying all ballots of all sets of members in reach."""
    frontier = []
    for r in range(len(ballots) + 1):
        s = -1
        while s < ballots.shape[1] and all(
            stands(ballots.ravel(), np.flatnonzero(owned), n_classes, open_set)
            for owned in reach(ballots.shape, r, s + 1)
        ):
            s += 1
        frontier.append(s)
    return frontier


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("n_classes", [1, 2, 3, 4])
def test_grid_frontier_equals_brute_force(n_classes, open_set):
    rng = np.random.default_rng([n_classes, open_set])
    found = set()
    for _ in range(30 if n_classes == 1 else 150):
        shape = tuple(rng.integers(1, 6 - n_classes // 3, 2))
        ballots = random_grid(rng, shape, n_classes)
        frontier, exact = grid_frontier(
            ballots.reshape(1, -1), *shape, n_classes, open_set=open_set, return_exact=True
        )
        assert (frontier.shape, frontier.dtype) == ((1, shape[0] + 1), np.int64)
        assert exact.all()
        truth = true_frontier(ballots, n_classes, open_set, lines)
        assert frontier[0].tolist() == truth, ballots.tolist()
        found.add(tuple(truth))
    assert len(found) > (10 if n_classes > 1 else 5)


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("n_classes", [1, 2, 3, 4])
def test_block_frontier_equals_brute_force(n_classes, open_set):
    rng = np.random.default_rng([9, n_classes, open_set])
    found = set()
    for _ in range(30 if n_classes == 1 else 150):
        shape = tuple(rng.integers(1, 5 - n_classes // 4, 2))
        ballots = random_grid(rng, shape, n_classes)
        frontier = block_frontier(ballots.reshape(1, -1), *shape, n_classes, open_set=open_set)
        assert (frontier.shape, frontier.dtype) == ((1, shape[0] + 1), np.int64)
        truth = true_frontier(ballots, n_classes, open_set, blocks_and_members)
        assert frontier[0].tolist() == truth, ballots.tolist()
        found.add(tuple(truth))
    assert len(found) > (5 if n_classes > 1 else 2)


def by_known_sets(ballots, shape, n_classes, open_set):
    """Return frontiers by the rule for known members, asked of every set of lines."""
    frontier = np.full((len(ballots), shape[0] + 1), -1)
    for r in range(shape[0] + 1):
        survives = np.ones(len(ballots), dtype=bool)
        for s in range(shape[1] + 1):
            owned = np.array([own.ravel() for own in lines(shape, r, s)])
            survives &= survives_members(ballots, owned, n_classes, open_set=open_set).all(axis=1)
            frontier[survives, r] = s
    return frontier


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("shape", [(7, 6), (5, 8), (1, 9), (9, 1)])
def test_grids_are_known_sets(shape, open_set):
    rng = np.random.default_rng(shape)
    grids = [random_grid(rng, shape, 3).ravel() for _ in range(150)]
    ballots = np.array(grids, dtype=np.int8)
    frontier, exact = grid_frontier(ballots, *shape, 3, open_set=open_set, return_exact=True)
    assert exact.all()
    np.testing.assert_array_equal(frontier, by_known_sets(ballots, shape, 3, open_set))
    # In the other order of the axes it is the same staircase.
    turned = ballots.reshape(-1, *shape).transpose(0, 2, 1).reshape(len(ballots), -1)
    across = grid_frontier(turned, *shape[::-1], 3, open_set=open_set)
    for s in range(shape[1] + 1):
        rows = (frontier >= s).sum(axis=1) - 1
        np.testing.assert_array_equal(across[:, s], rows)


def test_without_a_search_the_frontier_is_lower_where_it_says_so(monkeypatch):
    rng = np.random.default_rng(3)
    shape = (9, 9)
    ballots = np.array([random_grid(rng, shape, 2).ravel() for _ in range(600)])
    frontier = grid_frontier(ballots, *shape, 2)
    monkeypatch.setattr(_grid_search, "_MOST_SETS", 9)
    bound, exact = grid_frontier(ballots, *shape, 2, return_exact=True)
    assert (bound <= frontier).all()
    np.testing.assert_array_equal(bound[exact], frontier[exact])
    assert (np.diff(bound, axis=1) <= 0).all()
    assert exact[:, 0].all()
    monkeypatch.setattr(_grid_search, "strong_lines", lambda grids, *_: (np.zeros(len(grids)),))
    bound, exact = grid_frontier(ballots, *shape, 2, return_exact=True)
    assert (bound <= frontier).all()
    np.testing.assert_array_equal(bound[exact], frontier[exact])
    assert (~exact).mean() > 0.02


@pytest.mark.parametrize("n_lines", [(1, 1), (2, 1), (2, 3), (3, 2), (4, 4)])
def test_bounds_attacks_and_searches_enclose_what_is_covered(n_lines):
    r, s = n_lines
    rng = np.random.default_rng(n_lines)
    grids = rng.choice([0, 1, 2, 2], (80, 6, 5)).astype(np.int8)
    owned = np.array(list(lines((6, 5), r, s)))
    most = np.einsum("nij,oij->no", grids.astype(int), owned.astype(int)).max(axis=1)
    assert (_grid_search.cover_bounds(grids, 7)[:, r, s] >= most).all()
    assert (_grid_search._raised_bounds(grids, r, s) >= most).all()
    attack, rows, columns = _grid_search.strong_lines(grids, r, s)
    assert (attack <= most).all()
    assert (rows.sum(axis=1) == r).all()
    assert (columns.sum(axis=1) == s).all()
    reached = rows[:, :, None] | columns[:, None, :]
    np.testing.assert_array_equal(np.where(reached, grids, 0).sum(axis=(1, 2)), attack)
    assert (attack == most).mean() > 0.7
    for gap, broken in ((most, False), (most - 1, True)):
        np.testing.assert_array_equal(_grid_search._Search(grids, gap, r, s).run(), broken)
        said = _grid_search.verdicts(grids, gap, r, s)
        assert set(said) == {_grid_search.BROKEN if broken else _grid_search.SAFE}


def test_one_row_partition_is_a_plurality_of_blocks():
    rng = np.random.default_rng(4)
    ballots = np.where(rng.random((200, 31)) < 0.5, 2, rng.integers(-1, 4, (200, 31)))
    votes = np.stack([(ballots == m).sum(axis=1) for m in range(4)], axis=1)
    for open_set in (False, True):
        radius = plurality_radius(votes, open_set=open_set)[1]
        for frontier in (grid_frontier, block_frontier):
            columns = frontier(ballots, 1, 31, 4, open_set=open_set)
            np.testing.assert_array_equal(columns[:, 0], radius)
            assert (columns[:, 1] == -1).all()


def test_an_attacker_with_rows_of_his_own_in_each_block_is_stronger():
    rng = np.random.default_rng(5)
    ballots = np.where(rng.random((300, 60)) < 0.7, 1, rng.integers(-1, 3, (300, 60)))
    same = grid_frontier(ballots, 10, 6, 3)
    block = block_frontier(ballots, 10, 6, 3)
    assert (block <= same).all()
    assert (block < same).any(axis=1).mean() > 0.05
    np.testing.assert_array_equal(block[:, 0], same[:, 0])


@pytest.mark.parametrize("frontier", [grid_frontier, block_frontier])
def test_neither_blocks_nor_the_rows_beside_change_the_answer(monkeypatch, frontier):
    rng = np.random.default_rng(6)
    ballots = np.where(rng.random((60, 42)) < 0.6, 1, rng.integers(-1, 4, (60, 42)))
    together = frontier(ballots, 7, 6, 4, open_set=True)
    monkeypatch.setattr(grid, "_BLOCK_POWERS", 1)
    monkeypatch.setattr(_grid_search, "_BLOCK_ENTRIES", 1)
    np.testing.assert_array_equal(frontier(ballots, 7, 6, 4, open_set=True), together)
    np.testing.assert_array_equal(
        frontier(ballots, 7, 6, 4, open_set=True, max_rows=2), together[:, :3]
    )
    for dtype in (np.int8, np.int16):
        np.testing.assert_array_equal(
            frontier(ballots.astype(dtype), 7, 6, 4, open_set=True), together
        )


@pytest.mark.parametrize("frontier", [grid_frontier, block_frontier])
def test_many_classes_fit(frontier):
    ballots = np.full((1, 12), 299)
    assert frontier(ballots.astype(np.uint16), 3, 4, 300)[0].tolist() == [1, 0, -1, -1]


@pytest.mark.parametrize("open_set", [False, True])
@pytest.mark.parametrize("frontier", [grid_frontier, block_frontier])
def test_where_all_abstain_nothing_survives_but_nothing(frontier, open_set):
    assert frontier([[-1] * 6], 2, 3, 2, open_set=open_set).tolist() == [[0, -1, -1]]
    assert frontier(np.empty((0, 6), dtype=int), 2, 3, 2, open_set=open_set).shape == (0, 3)


def test_twenty_rows_and_columns_are_searched_and_fifty_are_not():
    assert comb(20, 5) <= _grid_search._MOST_SETS < comb(50, 4)


@pytest.mark.parametrize("frontier", [grid_frontier, block_frontier])
@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"ballots": [[0, 1, 1]]}, ValueError, r"n_rows \* n_blocks = 2 \* 2 = 4 members, got 3"),
        ({"ballots": [[0.0, 1, 1, 1]]}, TypeError, "ballots must hold integers"),
        ({"ballots": [[0, 1, 1, 2]]}, ValueError, "ballots must lie between"),
        ({"n_rows": 2.0}, TypeError, "n_rows=2.0 must be an integer"),
        ({"n_blocks": -2}, ValueError, "n_blocks=-2 must be at least 0"),
        ({"max_rows": 3}, ValueError, "max_rows=3 must be at most n_rows=2"),
    ],
)
def test_unusable_grids_are_refused(frontier, change, error, match):
    how = {"ballots": [[0, 1, 1, 1]], "n_rows": 2, "n_blocks": 2, "n_classes": 2, **change}
    with pytest.raises(error, match=match):
        frontier(**how)
