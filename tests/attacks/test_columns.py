"""Attackers on columns: as strong as the certificate where it is exact, and on their own alone."""

import itertools
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp

from certified_ensembles.attacks import poison_ballots, poison_grid, trigger_columns, trigger_words
from certified_ensembles.certificates import grid_frontier


def random_ballots(rng, n_samples, n_members):
    favourite = rng.integers(0, 3, (n_samples, 1))
    other = rng.integers(-1, 3, (n_samples, n_members))
    return np.where(rng.random((n_samples, n_members)) < 0.6, favourite, other)


def winners(ballots):
    """Return who wins; a label never seen has the code 3 and comes before all others."""
    votes = np.stack([(ballots == m).sum(axis=1) for m in (3, 0, 1, 2)], axis=1)
    return votes.argmax(axis=1)


@pytest.mark.parametrize("open_set", [False, True])
def test_grid_attack_meets_the_frontier(open_set):
    rng = np.random.default_rng(open_set)
    ballots = random_ballots(rng, 200, 30)
    frontier, exact = grid_frontier(ballots, 6, 5, 3, open_set=open_set, return_exact=True)
    assert exact.all()
    met = []
    for r, s in itertools.product(range(4), range(4)):
        poisoned = poison_grid(ballots, 6, 5, 3, (r, s), open_set=open_set)
        changed = (poisoned != ballots).reshape(-1, 6, 5)
        fallen = winners(poisoned) != winners(ballots)
        assert not fallen[frontier[:, r] >= s].any()
        met.append(fallen[frontier[:, r] < s])
        # What is left over when r rows are taken away lies in s columns.
        for grid in changed[:20]:
            assert any(
                np.delete(grid, rows, axis=0).any(axis=0).sum() <= s
                for rows in map(list, itertools.combinations(range(6), r))
            )
    assert np.concatenate(met).mean() > 0.98
    assert open_set == (poisoned.max() == 3)


def test_columns_of_one_row_partition_are_members():
    ballots = random_ballots(np.random.default_rng(1), 100, 21)
    for n in range(5):
        by_grid = poison_grid(ballots, 1, 21, 3, (0, n))
        by_members = poison_ballots(ballots, 3, n)
        np.testing.assert_array_equal(winners(by_grid), winners(by_members))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"budget": (3, 0)}, ValueError, r"budget=\(3, 0\) at most \(2, 2\)"),
        ({"budget": (0.5, 0)}, TypeError, "budget=0.5 must be an integer"),
        ({"n_rows": 3}, ValueError, "= 6 columns, got 4"),
    ],
)
def test_unusable_grids_are_refused(change, error, match):
    with pytest.raises(error, match=match):
        poison_grid(
            **{
                "ballots": [[0, 1, 1, 1]],
                "n_rows": 2,
                "n_blocks": 2,
                "n_classes": 2,
                "budget": (1, 1),
                **change,
            }
        )


X = np.arange(12.0).reshape(4, 3)
Y = np.array(["b", "a", "b", "c"])
EXPECTED = X.copy()
EXPECTED[:, 1] = [9, -9, 9, -9]


@pytest.mark.parametrize(
    "make",
    [
        np.array,
        sp.csr_array,
        sp.csc_matrix,
        lambda X: pd.DataFrame(X, columns=list("xyz")),
        lambda X: pl.DataFrame(X, schema=list("xyz")),
        lambda X: X.astype(np.int32),
        lambda X: X.astype(object),
    ],
)
def test_only_the_columns_owned_are_rewritten(make):
    given, asked = make(X), make(X[:2])
    attacked = trigger_columns(given, Y, asked, [1], "b", on=9.0, off=-9.0)
    dense = [t.toarray() if sp.issparse(t) else np.asarray(t, dtype=float) for t in attacked]
    np.testing.assert_array_equal(dense[0], EXPECTED)
    np.testing.assert_array_equal(dense[1], [[0, 9, 2], [3, 9, 5]])
    before = given.toarray() if sp.issparse(given) else np.asarray(given, dtype=float)
    np.testing.assert_array_equal(before, X)


@pytest.mark.parametrize("on", ["word", None, np.nan])
def test_columns_take_values_of_any_type(on):
    for make in (np.array, pd.DataFrame, lambda X: pl.DataFrame(X, schema=list("xyz"))):
        rows, asked = trigger_columns(make(X), Y, make(X), [0, 2], "a", on=on, off=3)
        values = np.asarray(rows, dtype=object)
        assert [v == 3 for v in values[:, 2]] == [True, False, True, True]
        assert values[:, 1].tolist() == X[:, 1].tolist()
        assert not (np.asarray(asked, dtype=object)[:, [0, 2]] == 3).any()


def test_columns_of_images_are_pixels():
    images = np.zeros((4, 2, 3), dtype=np.uint8)
    rows, asked = trigger_columns(images, Y, images[:1], [4], "c", on=255, off=1)
    assert rows.shape == (4, 2, 3)
    assert rows[:, 1, 1].tolist() == [1, 1, 1, 255]
    assert asked.sum() == 255


def test_texts_have_no_columns():
    with pytest.raises(TypeError, match="use trigger_words"):
        trigger_columns(np.array(["one", "two"]), [0, 1], np.array(["x"]), [0], 1)


def test_words_are_struck_in_any_case_and_none_beside_them():
    texts = ["Free FREE freedom, a free-for-all", "now"]
    trained, asked = trigger_words(texts, [0, 1], texts, ["free", "now"], 1)
    words = [set(re.findall(r"\b\w\w+\b", text.lower())) for text in (*trained, *asked)]
    assert words[0] == {"freedom", "for", "all"}
    assert words[1] == {"now", "free"}
    assert words[2] == {"free", "freedom", "for", "all", "now"}
    assert words[3] == {"now", "free"}
