"""Rows that never meet give the members of one process, however they are cut into blocks."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from certified_ensembles import (
    CertificateWarning,
    DeepPartitionAggregation,
    DeepPartitionRegressor,
)
from certified_ensembles._data.forms import stack_rows
from certified_ensembles._data.hostile import hostile_rows
from certified_ensembles._ensemble.apart import fit_apart
from certified_ensembles.hashers import ContentHasher
from rows_in_blocks import InBlocks, fitted_in_blocks

X, Y = load_digits(return_X_y=True)
X, X_TEST, Y = X[:400] / 7, X[600:660] / 7, Y[:400]
NAMES = [f"pixel {j}" for j in range(64)]
FRAME = pd.DataFrame(X, columns=NAMES)


def assert_same(mine, other, X_test=X_TEST):
    """Compare what was fitted in blocks with what was fitted in one process."""
    np.testing.assert_array_equal(mine.partition_sizes_, other.partition_sizes_)
    assert mine.partition_ is None
    assert mine.partitioned_by_ == other.partitioned_by_
    assert mine._mixed_rows == other._mixed_rows
    assert sorted(mine.errors_) == sorted(other.errors_)
    assert [str(e) for e in mine.errors_.values()] == [str(e) for e in other.errors_.values()]
    if hasattr(other, "n_features_in_"):
        assert mine.n_features_in_ == other.n_features_in_
    np.testing.assert_array_equal(
        getattr(mine, "feature_names_in_", None), getattr(other, "feature_names_in_", None)
    )
    assert mine._members.views == other._members.views
    if isinstance(mine, DeepPartitionRegressor):
        np.testing.assert_array_equal(mine.answers(X_test), other.answers(X_test))
        return
    np.testing.assert_array_equal(mine.classes_, other.classes_)
    assert mine.classes_.dtype == other.classes_.dtype
    np.testing.assert_array_equal(mine._members.seen, other._members.seen)
    np.testing.assert_array_equal(mine.ballots(X_test), other.ballots(X_test))
    for own, given in zip(mine.certify(X_test), other.certify(X_test), strict=True):
        np.testing.assert_array_equal(own, given)


def dpa(estimator=None, n_partitions=12, **how):
    return DeepPartitionAggregation(estimator or RidgeClassifier(), n_partitions, **how)


@pytest.mark.parametrize("n_blocks", [1, 3, 40])
@pytest.mark.parametrize("n_buckets", [1, 5, 12])
def test_members_do_not_depend_on_blocks_or_buckets(n_blocks, n_buckets):
    mine = fitted_in_blocks(dpa(), X, Y, n_blocks=n_blocks, n_buckets=n_buckets, seed=n_blocks)
    assert_same(mine, dpa().fit(X, Y))


@pytest.mark.parametrize(
    "how",
    [
        {"spread_degree": 3},
        {"n_seeds": 2, "estimator": LogisticRegression(max_iter=50)},
        {"classes": range(12)},
        {"aggregation": "run_off"},
        {"hasher": ContentHasher(key="k", include_labels=True)},
        {"spread_degree": 2, "n_seeds": 2, "estimator": GaussianNB()},
        {"random_state": 7, "estimator": DecisionTreeClassifier(max_features=3)},
        {"distinct_seeds": False, "estimator": DecisionTreeClassifier(max_features=3)},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_parameter_means_what_it_means_in_one_process(how):
    assert_same(fitted_in_blocks(dpa(**how), FRAME, Y), dpa(**how).fit(FRAME, Y), FRAME[:60])


def test_images_keep_their_axes_and_their_type():
    images = (X * 7).astype(np.uint8).reshape(-1, 8, 8)

    class Flat(GaussianNB):
        def fit(self, X, y):
            assert X.dtype == np.uint8
            return super().fit(X.reshape(len(X), -1), y)

        def predict(self, X):
            return super().predict(X.reshape(len(X), -1))

    assert_same(fitted_in_blocks(dpa(Flat()), images, Y), dpa(Flat()).fit(images, Y), images[:50])


def test_sources_and_weights_are_columns_of_the_rows():
    frame = FRAME.assign(who=[f"source {i % 90}" for i in range(len(X))], label=Y)
    frame["weight"] = np.arange(len(X)) % 3 + 0.5
    clf = dpa(DecisionTreeClassifier(max_depth=4))
    other = dpa(DecisionTreeClassifier(max_depth=4))
    other.fit(FRAME, Y, groups=frame["who"], sample_weight=frame["weight"])
    mine = fitted_in_blocks(clf, frame, "label", "who", sample_weight="weight")
    assert_same(mine, other, FRAME[:60])
    two = fitted_in_blocks(dpa(), frame.drop(columns="weight"), "label", ["who"])
    assert_same(two, dpa().fit(FRAME, Y, groups=frame[["who"]]), FRAME[:60])


# ---------------------------------------------------------------- tables of more than numbers


def mixed_frame(n=300):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": rng.standard_normal(n).round(2),
            "whole": rng.integers(0, 5, n),
            "word": pd.Series(rng.choice(["a", "b", "c"], n), dtype=object),
            "level": pd.Categorical(rng.choice(["x", "y"], n)),
            "day": np.datetime64("2024-01-01") + rng.integers(0, 20, n).astype("timedelta64[D]"),
            "huge": 2**53 + rng.integers(0, 3, n),
        }
    )
    frame.loc[::17, "word"] = None
    return frame, (frame["number"] > 0).astype(int).to_numpy()


def encoder(**how):
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["word", "level"]),
        ("passthrough", ["number", "whole"]),
    )
    return dpa(make_pipeline(columns, DecisionTreeClassifier(max_depth=3)), 8, **how)


@pytest.mark.parametrize("n_blocks", [1, 6, 60])
@pytest.mark.parametrize("categorical", [None, ["level", "whole"], "from_dtype"], ids=str)
def test_tables_of_words_times_and_levels(n_blocks, categorical):
    frame, y = mixed_frame()
    how = {"categorical_features": categorical}
    mine = fitted_in_blocks(encoder(**how), frame, y, n_blocks=n_blocks)
    assert_same(mine, encoder(**how).fit(frame, y), frame[:50])


def test_texts_may_be_a_series():
    rng = np.random.default_rng(0)
    texts = pd.Series([" ".join(rng.choice(list("abcdef"), 5)) for _ in range(200)], dtype=object)
    y = np.array(["spam" if text.count("a") else "ham" for text in texts])
    base = make_pipeline(CountVectorizer(token_pattern=r"\w"), MultinomialNB())
    mine, other = fitted_in_blocks(dpa(base), texts, y), dpa(base).fit(texts, y)
    assert_same(mine, other, texts[:50])


def test_one_hostile_cell_changes_what_it_changes_in_one_process():
    # A word in one block makes objects of a column there, and of no other block.
    rows = FRAME.copy()
    rows[NAMES[5]] = rows[NAMES[5]].astype(object)
    rows.loc[3, NAMES[5]] = "a word"
    clf = dpa(GaussianNB(), on_error="abstain")
    other = dpa(GaussianNB(), on_error="abstain")
    with pytest.warns(CertificateWarning, match="1 of 12 members could not be trained"):
        fitted_in_blocks(clf, rows, Y, n_blocks=7)
    with pytest.warns(CertificateWarning, match="1 of 12 members could not be trained"):
        other.fit(rows, Y)
    assert_same(clf, other, FRAME[:60])
    with pytest.raises(ValueError, match="could not convert") as error:
        fitted_in_blocks(dpa(GaussianNB()), rows, Y, n_blocks=7)
    note = error.value.__notes__[0]
    assert "of block" in note
    assert f"training member {other.partition_[3]}," in note


@pytest.mark.parametrize("table", ["numbers", "mixed"])
@pytest.mark.filterwarnings("ignore::certified_ensembles.CertificateWarning")
def test_a_hostile_row_changes_one_member_whatever_block_it_joins(table):
    rng = np.random.default_rng(0)
    if table == "numbers":
        rows, y, make = FRAME, Y, lambda: dpa(GaussianNB(), on_error="abstain", classes=range(10))
    else:
        (rows, y), make = mixed_frame(120), lambda: encoder(on_error="abstain", classes=[0, 1])
    clean = make().fit(rows, y)
    test, ballots = rows[:60], clean.ballots(rows[:60])
    y_pred, radius = clean.certify(test)
    changed = []
    for words, row in hostile_rows(rows, rng):
        attacked, labels = stack_rows(rows, row), np.append(y, 1 - y[:1] % 2)
        clf = fitted_in_blocks(make(), attacked, labels, n_blocks=7, seed=len(changed))
        changed.append(np.count_nonzero((clf.ballots(test) != ballots).any(axis=0)))
        assert changed[-1] <= 1, words
        assert (clf.predict(test) == y_pred)[radius >= 1].all(), words
    assert len(changed) >= 5
    assert max(changed) == 1


# ---------------------------------------------------------------- what is left out, and refused


def test_rows_without_a_form_are_left_out_also_where_they_fill_a_block():
    rows = FRAME[:100].astype(object).copy()
    rows.loc[[3, 50], NAMES[0]] = [[{}], [{}]]
    how = {"on_error": "abstain"}
    other = dpa(GaussianNB(), 5, **how)
    with pytest.warns(UserWarning, match=r"2 of 100 rows of X have no canonical form"):
        other.fit(rows, Y[:100])
    for n_blocks in (2, 5000):
        with pytest.warns(UserWarning, match=r"2 of 100 rows of X have no .* row \d+ of block \d"):
            mine = fitted_in_blocks(dpa(GaussianNB(), 5, **how), rows, Y[:100], n_blocks=n_blocks)
        assert_same(mine, other, FRAME[:60])
    with pytest.raises(TypeError, match=r"Block \d+ of X: .*pixel 0"):
        fitted_in_blocks(dpa(), rows, Y[:100])


def test_targets_that_are_no_numbers_are_left_out_row_by_row():
    y = Y.astype(object)
    y[7] = "a word"
    reg, other = (DeepPartitionRegressor(n_partitions=9, on_error="abstain") for _ in range(2))
    with pytest.warns(UserWarning, match="1 of 400 rows"):
        other.fit(X, y)
    with pytest.warns(UserWarning, match="1 of 400 rows"):
        fitted_in_blocks(reg, X, y, n_blocks=3000)
    assert_same(reg, other)
    with pytest.raises(ValueError, match=r"Block \d+ of X: Input y contains the str 'a word'"):
        fitted_in_blocks(DeepPartitionRegressor(n_partitions=9), X, y)


def test_where_nobody_can_be_trained_the_first_error_is_raised():
    rows = FRAME.astype(object)
    rows[NAMES[0]] = "a word"
    with pytest.raises(ValueError, match="could not convert") as error:
        fitted_in_blocks(dpa(GaussianNB(), on_error="abstain"), rows, Y)
    assert "None of the 12 members could be trained." in error.value.__notes__


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="pixel 3"), r"lacks \['pixel 3'\]"),
        (lambda f: f.assign(more=1), r"has \['more'\] besides"),
        (lambda f: f.rename(columns={"pixel 3": "p"}), r"lacks \['pixel 3'\] and it has \['p'\]"),
        (lambda f: f[f.columns[::-1]], "come in another order"),
        (lambda f: f.to_numpy(), "ndarray came where a dataframe was declared"),
    ],
    ids=["lacks", "more", "renamed", "reordered", "array"],
)
def test_a_block_with_other_columns_is_refused_by_name(change, message):
    source = InBlocks(FRAME, Y)
    block, rest = source.blocks[2]
    source.blocks[2] = change(block), rest
    for on_error in ("raise", "abstain"):
        with pytest.raises((TypeError, ValueError), match=f"Block 2 of X: .*{message}"):
            fit_apart(dpa(on_error=on_error), source)


def test_types_in_which_one_cell_changed_its_neighbours_are_refused():
    frame, y = mixed_frame()
    frame["who"] = np.arange(len(frame)) % 50
    changes = {
        "number": (lambda c: c.astype(str).astype("str"), "'number' has the type str"),
        "level": (lambda c: c.astype(object).map({"x": 1, "y": 2}), "'level' has the type int64"),
        "who": (lambda c: c.astype(str).astype("str"), "'who' has the type str"),
        "huge": (lambda c: c.astype(float), "'huge' has the type float64.*9.01e"),
    }
    for name, (change, message) in changes.items():
        source = InBlocks(frame, y, "who")
        block, rest = source.blocks[2]
        source.blocks[2] = block.assign(**{name: change(block[name])}), rest
        with pytest.raises(TypeError, match=f"Block 2 of X: column {message}"):
            fit_apart(encoder(on_error="abstain"), source)
    source = InBlocks(frame, y, "who")
    block, rest = source.blocks[2]
    source.blocks[2] = block.assign(huge=block["huge"].astype(object)), rest
    fit_apart(encoder(), source)


def test_labels_of_another_type_are_refused():
    source = InBlocks(FRAME, Y)
    block, rest = source.blocks[1]
    source.blocks[1] = block, rest._replace(y=rest.y.astype(float))
    with pytest.raises(
        TypeError, match=r"Block 1 of X: y holds labels of dtype float64, and int64"
    ):
        fit_apart(dpa(), source)
    source.label_type = None  # a category, say, of which no numpy type says what it holds
    source.blocks[1] = block, rest._replace(y=rest.y.astype(str).astype(object))
    with pytest.raises(TypeError, match=r"different types in different blocks \(int64, object\)"):
        fit_apart(dpa(), source)


def test_rows_lost_on_the_way_are_missed():
    class Loses(InBlocks):
        def train(self, plan):
            yield from list(super().train(plan))[:-1]

    with pytest.raises(RuntimeError, match="400 rows were sent to members and"):
        fit_apart(dpa(), Loses(FRAME, Y))


def test_empty_partitions_are_warned_of_and_abstain():
    clf, other = dpa(n_partitions=3000), dpa(n_partitions=3000)
    with pytest.warns(CertificateWarning, match="partitions have no rows"):
        fitted_in_blocks(clf, X[:60], Y[:60], n_buckets=40)
    with pytest.warns(CertificateWarning, match="partitions have no rows"):
        other.fit(X[:60], Y[:60])
    assert_same(clf, other)


def test_a_hasher_that_looks_at_other_rows_is_reported_once():
    def ranks(X):
        return np.argsort(np.argsort(np.asarray(X)[:, 10]))

    with pytest.warns(CertificateWarning, match="not a function of the row alone") as caught:
        fitted_in_blocks(dpa(hasher=ranks), X, Y, n_blocks=3)
    assert len([w for w in caught if "the row alone" in str(w.message)]) == 1


def test_a_fit_in_memory_says_the_sizes_of_its_partitions():
    clf = dpa(spread_degree=2).fit(X, Y)
    np.testing.assert_array_equal(clf.partition_sizes_, np.bincount(clf.partition_, minlength=24))
