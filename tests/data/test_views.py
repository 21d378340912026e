"""What members see of rows follows from their own rows; test rows follow the member."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier

from certified_ensembles import DeepPartitionAggregation
from certified_ensembles._data.categories import categorical_mask
from certified_ensembles._data.containers import as_table
from certified_ensembles._data.views import view_of
from certified_ensembles.hashers import ContentHasher, canonical_order

WORDS = np.array(["a", "b", "c"], dtype=object)
N = 40


def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": rng.normal(size=N).round(2),
            "count": rng.integers(0, 5, N),
            "flag": rng.random(N) < 0.5,
            "who": WORDS[rng.integers(0, 3, N)],
            "when": pd.to_datetime(rng.integers(0, 10**9, N), unit="s"),
            "took": pd.to_timedelta(rng.integers(0, 10**5, N), unit="s"),
        }
    )


def as_objects(X):
    out = np.empty(X.shape, dtype=object)
    for j in range(X.shape[1]):
        out[:, j] = list(X.iloc[:, j])
    return out


FORMS = {
    "pandas": lambda X: X,
    "nullable": lambda X: X.astype({"count": "Int32", "flag": "boolean", "size": "Float64"}),
    "arrow": lambda X: X.convert_dtypes(dtype_backend="pyarrow"),
    "string": lambda X: X.astype({"who": "string"}),
    "categories": lambda X: X.astype({"who": "category", "count": "category"}),
    "ordered": lambda X: X.assign(who=pd.Categorical(X.who, list("xcbay"), ordered=True)),
    "objects": lambda X: X.astype(object),
    "units": lambda X: X.assign(when=X.when.dt.as_unit("s"), took=X.took.dt.as_unit("ms")),
    "zone": lambda X: X.assign(when=X.when.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
    "narrow": lambda X: X.astype({"count": "uint8", "size": "float64", "flag": "int8"}),
    "pyarrow": lambda X: __import__("pyarrow").Table.from_pandas(X),
    "polars": lambda X: pl.from_pandas(X),
    "array": as_objects,
    "list": lambda X: as_objects(X).tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_equal_values_have_equal_hashes_and_order_in_every_container(form):
    X = frame()
    other = FORMS[form](X)
    np.testing.assert_array_equal(ContentHasher()(other), ContentHasher()(X))
    np.testing.assert_array_equal(canonical_order(other), canonical_order(X))


@pytest.mark.parametrize("form", [f for f in FORMS if f not in ("polars", "array", "list")])
def test_members_get_one_frame_whatever_the_columns_were_called(form):
    X = frame()
    plain, other = as_table(X), as_table(FORMS[form](X))
    expected, got = view_of(plain).hand_out(plain), view_of(other).hand_out(other)
    pd.testing.assert_frame_equal(got, expected)
    assert got.dtypes.astype(str).tolist() == [
        "float64",
        "float64",
        "float64",
        "object",
        "datetime64[ns]",
        "timedelta64[ns]",
    ]


def test_members_of_polars_and_arrays_get_their_own_kind():
    X = frame()
    table = as_table(pl.from_pandas(X))
    got = view_of(table).hand_out(table)
    assert [str(d) for d in got.dtypes[:4]] == ["Float64", "Float64", "Float64", "String"]
    table = as_table(as_objects(X))
    got = view_of(table).hand_out(table)
    assert got.dtype == object
    assert type(got[0, 0]) is type(got[0, 1]) is type(got[0, 2]) is float


@pytest.mark.parametrize("form", ["pandas", "array", "objects"])
def test_a_column_is_what_the_own_rows_make_of_it(form):
    X = frame()
    X["size"] = X["size"].astype(object)
    X.loc[N - 1, "size"] = "huge"
    rows = np.arange(N - 1)
    mine = as_table(X if form == "pandas" else FORMS[form](X)).take(rows)
    clean = as_table(FORMS[form](frame())).take(rows)
    assert view_of(mine) == view_of(clean)


def test_a_test_row_takes_the_form_of_the_member_alone_and_in_company():
    X = frame()
    table = as_table(X)
    view = view_of(table)
    tests = X.copy().astype({"size": object})
    tests.loc[3, "size"] = "huge"
    tests.loc[4, "who"] = None
    tests = as_table(tests)
    parts = list(view.groups(tests))
    assert [list(index) for index, _ in parts if len(index) == 1] == [[3]]
    for index, own in parts:
        together = own.hand_out(tests.take(index))
        for place, i in enumerate(index):
            ((_, alone),) = view.groups(tests.take([i]))
            row = alone.hand_out(tests.take([i]))
            pd.testing.assert_frame_equal(row, together.iloc[[place]].reset_index(drop=True))
    odd = next(own for index, own in parts if list(index) == [3])
    assert odd.hand_out(tests.take([3]))["size"].tolist() == ["huge"]


def test_a_column_of_nothing_but_missing_cells_is_one_thing():
    forms = [
        [None] * 3,
        [np.nan] * 3,
        pd.array([None] * 3, dtype="Int64"),
        [pd.NaT] * 3,
        pd.Categorical([None] * 3),
        pd.array([None] * 3, dtype="string"),
    ]
    frames = [pd.DataFrame({"a": [1.0, 2, 3], "b": column}) for column in forms]
    handed = [view_of(t).hand_out(t) for t in map(as_table, frames)]
    for one in handed:
        assert one.dtypes.astype(str).tolist() == ["float64", "float64"]
        assert one["b"].isna().all()


def test_categories_are_those_of_the_own_rows_in_one_order():
    X = frame().assign(who=pd.Categorical(frame().who, list("zcbaq")), count=frame()["count"])
    table = as_table(X)
    mask = categorical_mask(["who", "count"], table)
    rows = np.flatnonzero((X.who != "b").to_numpy())
    own = table.take(rows)
    view = view_of(own, categorical=mask)
    got = view.hand_out(own)
    assert got["who"].cat.categories.tolist() == ["a", "c"]
    assert got["count"].cat.categories.tolist() == sorted(set(X["count"][rows]))
    ((_, same),) = view.groups(table)
    handed = same.hand_out(table)
    assert handed["who"].isna().tolist() == (X.who == "b").tolist()
    assert handed["who"].cat.categories.tolist() == ["a", "c"]
    array = as_table(as_objects(frame()[["size", "who"]]))
    codes = view_of(array, categorical=np.array([False, True]))
    assert codes.hand_out(array).dtype == np.float64
    assert set(codes.hand_out(array)[:, 1]) == {0.0, 1.0, 2.0}


def test_categorical_features_are_chosen_by_name_place_mask_or_type():
    table = as_table(frame().astype({"who": "category"}))
    expected = [False, False, False, True, False, False]
    for chosen in (["who"], [3], np.array(expected), "from_dtype"):
        assert categorical_mask(chosen, table).tolist() == expected
    for wrong in (["nobody"], [99], np.array([True]), "all"):
        with pytest.raises(ValueError, match="categorical_features"):
            categorical_mask(wrong, table)
    with pytest.raises(ValueError, match="texts or images"):
        categorical_mask([0], as_table(["a", "b"]))


@pytest.mark.parametrize("cls", [sp.csr_matrix, sp.csr_array])
def test_sparse_duplicates_are_added_in_one_order(cls):
    rng = np.random.default_rng(0)
    n, m = 20, 90
    columns, values = rng.integers(0, 9, (n, m)), rng.random((n, m))
    start = np.arange(n + 1) * m
    shuffle = np.array([rng.permutation(m) for _ in range(n)])
    one = cls((values.ravel(), columns.ravel(), start), shape=(n, 9))
    other = cls(
        (
            np.take_along_axis(values, shuffle, 1).ravel(),
            np.take_along_axis(columns, shuffle, 1).ravel(),
            start,
        ),
        shape=(n, 9),
    )
    coo = sp.coo_array((values.ravel(), (np.repeat(np.arange(n), m), columns.ravel())), (n, 9))
    tables = [as_table(X) for X in (one, other, coo, one.tocsc())]
    for table in tables:
        np.testing.assert_array_equal(table.dense.toarray(), tables[0].dense.toarray())
    alone = as_table(other[[3]]).dense.toarray()
    np.testing.assert_array_equal(alone, tables[0].dense.toarray()[[3]])


@pytest.mark.parametrize("n_columns", [3, 400])
def test_a_sparse_frame_hands_out_the_frame_of_its_numbers(n_columns):
    X = sp.random(30, n_columns, 0.1, format="csr", random_state=0)
    names = [f"c{j}" for j in range(n_columns)]
    sparse = pd.DataFrame.sparse.from_spmatrix(X, columns=names)
    dense = pd.DataFrame(X.toarray(), columns=names)
    np.testing.assert_array_equal(ContentHasher()(sparse), ContentHasher()(X))
    one, other = as_table(sparse), as_table(dense)
    pd.testing.assert_frame_equal(view_of(one).hand_out(one), view_of(other).hand_out(other))


@pytest.mark.parametrize(
    ("cell", "dtype"), [(0.5, float), (True, bool), (7, "float16"), ("word", object)]
)
def test_another_type_in_a_sparse_column_moves_no_other_row(cell, dtype):
    def sparse(values, dtype):
        return pd.arrays.SparseArray(
            np.array(values, dtype), fill_value=np.zeros((), dtype).item()
        )

    own = [[3, 0, 4], [2**60 + 1, 2**60 + 3, 0]]
    frame = pd.DataFrame({"a": sparse(own[0], int), "b": sparse(own[1], int)})
    hostile = pd.DataFrame({"a": sparse([cell], dtype), "b": sparse([0], int)})
    joined = pd.concat([frame, hostile], ignore_index=True)
    assert joined.dtypes.iloc[1] == frame.dtypes.iloc[1]
    for X in (joined, joined.assign(a=sparse([*own[0], cell], object))):
        hashes = ContentHasher()(X)
        np.testing.assert_array_equal(hashes[:3], ContentHasher()(frame))
        rows = [*map(list, zip(*own, strict=True)), [cell, 0]]
        np.testing.assert_array_equal(hashes, ContentHasher()(rows))


def test_sparse_columns_of_several_types_are_one_matrix():
    X = pd.DataFrame({"a": [0, 1.5, 0], "b": [True, False, False], "c": [0, 0, 7]})
    types = {"a": pd.SparseDtype(float, 0), "b": pd.SparseDtype(bool, False)}
    sparse = X.astype(types | {"c": pd.SparseDtype("int8", 0)})
    assert sp.issparse(as_table(sparse).dense)
    np.testing.assert_array_equal(ContentHasher()(sparse), ContentHasher()(X))


def test_images_and_nets_keep_declared_integers():
    images = np.arange(2 * 4 * 4).reshape(2, 4, 4)
    for dtype, expected in (("uint8", "uint8"), ("int16", "int64"), ("float32", "float64")):
        table = as_table(images.astype(dtype))
        assert view_of(table).hand_out(table).dtype == expected
    table = as_table(images.reshape(2, 16))
    assert view_of(table).hand_out(table).dtype == np.float64
    assert view_of(table, float32=True).hand_out(table).dtype == np.int64
    view = view_of(as_table(images.astype("uint8")))
    tests = as_table(np.concatenate([images, images + 0.5]).astype(float))
    types = [own.hand_out(tests.take(index)).dtype for index, own in view.groups(tests)]
    assert sorted(map(str, types)) == ["float64", "uint8"]


@pytest.mark.parametrize(
    ("X", "words"),
    [
        ({"a": [1, 2]}, "dict"),
        ([[1, 2], [3]], "row 1 has 1"),
        (np.array([[1 + 2j]]), "complex"),
        (pd.DataFrame({"a": [[1], [2]]}), r"column 'a', row 0"),
        (pd.DataFrame({"a": pd.period_range("2020", periods=2)}), r"column 'a', row 0"),
        (pl.DataFrame({"a": [[1], [2]]}), "column 'a', row 0"),
        ([["x", 1], ["y", 1j]], "column 1, row 1"),
        (["x", object()], "row 1"),
        ("one text", "str"),
    ],
)
def test_what_has_no_canonical_form_is_refused_by_place_and_value(X, words):
    with pytest.raises((TypeError, ValueError), match=words):
        as_table(X)


def test_string_arrays_of_numpy_are_texts():
    words = np.array(["a", "b"], dtype=np.dtypes.StringDType())
    np.testing.assert_array_equal(ContentHasher()(words), ContentHasher()(["a", "b"]))
    table = words[:, None].repeat(2, axis=1)
    np.testing.assert_array_equal(ContentHasher()(table), ContentHasher()([["a"] * 2, ["b"] * 2]))


@pytest.mark.parametrize(
    "estimator", [MultinomialNB(), RidgeClassifier(), KNeighborsClassifier(1)]
)
@pytest.mark.parametrize("cell", ["a word", 0.5, None, 2**60 + 1])
@pytest.mark.parametrize("n_cells", [1, 30])
def test_cells_of_a_sparse_frame_change_one_member(estimator, cell, n_cells):
    rng = np.random.default_rng(0)
    X = sp.random(120, 30, 0.2, format="csr", random_state=0)
    X.data = np.ceil(4 * X.data)
    frame = pd.DataFrame.sparse.from_spmatrix(X, columns=[f"c{j}" for j in range(30)])
    y = rng.integers(0, 2, 120)
    row = [cell] * n_cells + [0.0] * (30 - n_cells)
    hostile = pd.DataFrame([row], columns=frame.columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        joined = pd.concat([frame, hostile], ignore_index=True)
        clf = DeepPartitionAggregation(estimator, 6, classes=[0, 1], on_error="abstain")
        before = clf.fit(frame, y).ballots(frame)
        parts = clf.partition_
        after = clf.fit(joined, np.append(y, 0)).ballots(frame)
    np.testing.assert_array_equal(clf.partition_[:-1], parts)
    changed = np.flatnonzero((before != after).any(axis=0))
    assert set(changed) <= {clf.partition_[-1]}
