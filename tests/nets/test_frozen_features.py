"""Pretrained networks: fixed maps of rows, one by one, that run once for all members."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from certified_ensembles import (
    DeepPartitionAggregation,
    DeepPartitionRegressor,
    FeaturePartitionAggregation,
    LabelFlipSmoothingClassifier,
    SemiSupervisedDPA,
    certify,
)
from certified_ensembles._spec import maps_rows_apart
from certified_ensembles.planning import plan_partitions

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")

from torch import nn  # noqa: E402

from certified_ensembles.nets import FrozenFeatures  # noqa: E402

X, Y = load_digits(return_X_y=True)
X, Y, X_TEST = X[:300], Y[:300], X[300:340]


class Counting(nn.Module):
    """Counts the rows that it sees."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer, self.n_rows = nn.Linear(64, 40), nn.Linear(40, 3), 0

    def forward(self, x):
        self.n_rows += len(x)
        return self.outer(torch.relu(self.inner(x)))


class Moments(nn.Module):
    """Takes rows of any width."""

    def forward(self, x):
        return torch.stack([x.mean(1), x.abs().amax(1)], 1)


class CentredOnBatch(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class Wrapping(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(x)


def counting():
    torch.manual_seed(0)
    return Counting().eval()


def images(rows):
    return torch.as_tensor(rows, dtype=torch.float32).reshape(-1, 1, 8, 8)


def network(name):
    """Return a module and what its rows have to become."""
    torch.manual_seed(1)
    conv = [nn.Conv2d(1, 17, 3, padding=1), nn.BatchNorm2d(17), nn.ReLU(), nn.Conv2d(17, 33, 3)]
    sequences = nn.TransformerEncoderLayer(16, 4, 30, batch_first=True)
    module, preprocess = {
        # torch rounds the last row of an odd batch apart where there are so few outputs.
        "linear": (nn.Linear(64, 1), None),
        "convolutions": (nn.Sequential(*conv, nn.AdaptiveAvgPool2d(1)), images),
        "attention": (sequences, lambda X: torch.as_tensor(X).float().reshape(-1, 4, 16)),
        "recurrent": (nn.GRU(8, 5, batch_first=True), lambda X: images(X)[:, 0]),
        "words": (nn.EmbeddingBag(20, 7), lambda X: torch.as_tensor(X).long()),
        "double": (nn.Linear(64, 3).double(), None),
    }[name]
    return module.eval(), preprocess


NETWORKS = ["linear", "convolutions", "attention", "recurrent", "words", "double"]


@parametrize_with_checks([FrozenFeatures(Moments().eval(), batch_size=4)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("batch_size", [1, 5, 32])
@pytest.mark.parametrize("name", NETWORKS)
def test_features_of_a_row_are_the_same_bits_alone_and_in_any_company(name, batch_size):
    module, preprocess = network(name)
    frozen = FrozenFeatures(module, preprocess=preprocess, batch_size=batch_size)
    features = frozen.transform(X[:70])
    order = np.random.default_rng(0).permutation(70)
    assert np.array_equal(frozen.transform(X[order]), features[order])
    for i in (0, 7, 69):
        assert np.array_equal(frozen.transform(X[i : i + 1])[0], features[i])


def test_what_is_computed_is_what_the_module_returns():
    module, _ = network("linear")
    with torch.no_grad():
        wanted = module(torch.as_tensor(X).float()).numpy()
    got = FrozenFeatures(module).fit_transform(X)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_number_of_threads_changes_no_feature():
    module, preprocess = network("convolutions")
    frozen, n_threads = FrozenFeatures(module, preprocess=preprocess), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = frozen.transform(X)
        torch.set_num_threads(3)
        assert np.array_equal(frozen.transform(X), one)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(n_threads)


def test_layer_is_found_by_name_and_ends_the_pass():
    module = counting()
    features = FrozenFeatures(module, layer="inner").transform(X)
    with torch.no_grad():
        wanted = module.inner(torch.as_tensor(X).float()).numpy()
    np.testing.assert_allclose(features, wanted, rtol=1e-5, atol=1e-5)
    assert not module.inner._forward_hooks

    class Later(nn.Module):
        def forward(self, x):
            raise AssertionError("the pass went on")

    whole = nn.Sequential(nn.Linear(64, 2), Later()).eval()
    assert FrozenFeatures(whole, layer="0").transform(X).shape == (300, 2)


def test_texts_and_named_arguments_are_what_preprocess_makes_of_them():
    class Lengths(nn.Module):
        def forward(self, *, length, first):
            return torch.stack([length, first], 1).float()

    def preprocess(texts):
        return {
            "length": np.array([len(text) for text in texts]),
            "first": torch.tensor([ord(text[0]) for text in texts]),
        }

    frozen = FrozenFeatures(Lengths().eval(), preprocess=preprocess, dtype="float64")
    assert frozen.fit_transform(["ab", "c"]).tolist() == [[2, 97], [1, 99]]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Sequential(nn.Dropout()), "training mode.*eval"),
        (nn.Sequential(nn.Linear(64, 2), nn.Dropout().eval()).eval().train(), "training mode"),
        (nn.BatchNorm1d(64, track_running_stats=False).eval(), "track_running_stats=False"),
        (nn.LazyLinear(3).eval(), "no weights yet"),
        (CentredOnBatch().eval(), "other features in company than alone"),
        (Wrapping(lambda x: x + torch.rand(len(x), 1)).eval(), "draws at random"),
        (Wrapping(lambda x: {"a": x}).eval(), "returned a dict.*layer="),
        (Wrapping(lambda x: x.T).eval(), "rows must stand along the first axis"),
        (Wrapping(lambda x: x.sum()).eval(), r"shape \(\) for 32 rows"),
    ],
)
def test_modules_in_which_rows_may_meet_are_refused(module, words):
    with pytest.raises(ValueError, match=f"(?s){words}"):
        FrozenFeatures(module).fit(X)


def test_one_part_in_training_mode_is_named():
    module = nn.Sequential(nn.Linear(64, 2), nn.Dropout()).eval()
    module[1].train()
    with pytest.raises(ValueError, match=r"part '1' \(Dropout\) is in training mode"):
        FrozenFeatures(module).transform(X)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"module": nn.ReLU}, TypeError, "is the class, not an object"),
        ({"module": "resnet"}, TypeError, "FunctionTransformer"),
        ({"layer": "iner"}, ValueError, "layer='iner'.*'inner'"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"dtype": "int8"}, ValueError, "dtype"),
        ({"preprocess": lambda X: "no tensor"}, ValueError, "returned a str, not a tensor"),
    ],
)
def test_parameters_are_refused_with_value_and_remedy(given, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        FrozenFeatures(**({"module": counting()} | given)).fit(X)


def test_layer_that_takes_no_part_is_refused():
    module = nn.Sequential(nn.Identity())
    module.add_module("idle", nn.Identity())
    module.forward = lambda x: x
    with pytest.raises(ValueError, match="'idle' takes no part"):
        FrozenFeatures(module.eval(), layer="idle").transform(X)


def test_rows_that_preprocess_leaves_of_several_shapes_are_refused():
    frozen = FrozenFeatures(
        nn.Identity().eval(), preprocess=lambda X: torch.ones(len(X), len(X[0])), batch_size=1
    )
    with pytest.raises(ValueError, match="fill up rows to one shape"):
        frozen.transform(["a", "bb"])


# ---------------------------------------------------------------- ensembles


def test_runs_once_for_all_members_and_not_once_a_member():
    module = counting()
    member = make_pipeline(FrozenFeatures(module, batch_size=8), RidgeClassifier())
    dpa = DeepPartitionAggregation(member, 20, spread_degree=3).fit(X, Y)
    assert len(X) <= module.n_rows < 2 * len(X)  # 60 members see each row three times
    module.n_rows = 0
    ballots = dpa.ballots(X_TEST)
    assert module.n_rows < 3 * len(X_TEST)
    shown = dpa.estimators_[5]
    assert np.array_equal(shown.predict(X_TEST), dpa.classes_[ballots[:, 5]])


def test_members_are_those_on_the_features():
    frozen = FrozenFeatures(counting(), layer="inner")
    whole = DeepPartitionAggregation(make_pipeline(frozen, RidgeClassifier()), 10).fit(X, Y)
    part = whole.partition_
    heads = DeepPartitionAggregation(RidgeClassifier(), 10)
    heads.fit(frozen.transform(X), Y, groups=None)
    for j in range(10):
        own = RidgeClassifier().fit(frozen.transform(X)[part == j].astype(float), Y[part == j])
        np.testing.assert_allclose(
            whole.estimators_[j].decision_function(X_TEST),
            own.decision_function(frozen.transform(X_TEST).astype(float)),
            atol=1e-3,
        )


def test_one_changed_row_changes_its_own_member_alone():
    member = make_pipeline(FrozenFeatures(counting(), layer="inner"), RidgeClassifier())
    before = DeepPartitionAggregation(member, 12, classes=range(10)).fit(X, Y)
    hostile = np.vstack([X, 1e3 * X[:1]])
    after = DeepPartitionAggregation(member, 12, classes=range(10)).fit(hostile, np.append(Y, 3))
    changed = (before.ballots(X_TEST) != after.ballots(X_TEST)).any(axis=0)
    assert set(np.flatnonzero(changed)) <= {after.partition_[-1]}


def test_columns_of_one_block_reach_no_features_of_another():
    member = make_pipeline(FrozenFeatures(Moments().eval()), RidgeClassifier())
    vote = FeaturePartitionAggregation(member, n_blocks=4, n_partitions=3)
    clean = vote.fit(X, Y).ballots(X_TEST)
    block = vote.block_of_feature_[20]
    hit = vote.block_of_feature_ == block
    hostile, hostile_test = X.copy(), X_TEST.copy()
    hostile[:, hit], hostile_test[:, hit] = 99 * Y[:, None], -7
    changed = (clean != vote.fit(hostile, Y).ballots(hostile_test)).any(axis=0).reshape(3, 4)
    assert changed.any()
    assert not np.delete(changed, block, axis=1).any()


@pytest.mark.parametrize(
    "ensemble",
    [
        lambda f: SemiSupervisedDPA(RidgeClassifier(), 10, representation=f),
        lambda f: SemiSupervisedDPA(make_pipeline(f, RidgeClassifier()), 10),
        lambda f: LabelFlipSmoothingClassifier(make_pipeline(f, Ridge())),
        lambda f: LabelFlipSmoothingClassifier(Ridge(), representation=f),
    ],
)
def test_answers_alone_are_answers_in_company(ensemble):
    fitted = ensemble(FrozenFeatures(counting(), layer="inner", batch_size=4)).fit(X, Y)
    whole = fitted.certify(X_TEST)
    for i in (0, 11):
        alone = fitted.certify(X_TEST[i : i + 1])
        assert (alone.y_pred[0], alone.radius[0]) == (whole.y_pred[i], whole.radius[i])


def test_regressors_and_arguments_of_fit_go_through():
    frozen = FrozenFeatures(counting(), layer="inner")
    member = make_pipeline(frozen, Ridge())
    weights = np.ones(len(X))
    fitted = DeepPartitionRegressor(member, 5).fit(X, Y, ridge__sample_weight=weights)
    plain = DeepPartitionRegressor(member, 5).fit(X, Y)
    np.testing.assert_allclose(fitted.predict(X_TEST), plain.predict(X_TEST), atol=1e-2)


def test_plan_runs_it_once():
    module = counting()
    member = make_pipeline(FrozenFeatures(module, batch_size=8), RidgeClassifier())
    plan = plan_partitions(member, X, Y, [5, 10, 20], classes=range(10))
    assert plan.n_partitions.tolist() == [5, 10, 20]
    assert module.n_rows < 2 * len(X)


def test_before_the_ensemble_it_voids_nothing():
    pipeline = make_pipeline(FrozenFeatures(counting()), DeepPartitionAggregation(None, 5))
    assert (certify(pipeline.fit(X, Y), X_TEST).radius >= -1).all()  # warnings are errors here


def test_words_among_the_columns_are_refused_by_the_once_for_all_step():
    frame = X.astype(object)
    frame[3, 3] = "seven"
    member = make_pipeline(FrozenFeatures(counting()), RidgeClassifier())
    with pytest.raises(ValueError, match="columns that are not numbers"):
        DeepPartitionAggregation(member, 5).fit(frame, Y)


# ---------------------------------------------------------------- copies and caches


def test_clones_share_the_module_and_pickles_do_not():
    frozen = FrozenFeatures(counting(), layer="inner")
    assert clone(frozen).module is frozen.module
    again = pickle.loads(pickle.dumps(frozen))
    assert again.module is not frozen.module
    assert np.array_equal(again.transform(X), frozen.transform(X))


def test_memory_recalls_features_by_rows_weights_and_settings(tmp_path):
    module = counting()
    frozen = FrozenFeatures(module, layer="inner", memory=str(tmp_path))
    features = frozen.transform(X)
    module.n_rows = 0
    assert np.array_equal(frozen.transform(X), features)
    assert module.n_rows == 0
    assert np.array_equal(pickle.loads(pickle.dumps(frozen)).transform(X), features)
    other = pickle.loads(pickle.dumps(frozen)).set_params(
        preprocess=lambda X: images(X).flatten(1)
    )
    assert np.array_equal(
        other.transform(X + 1), FrozenFeatures(module, layer="inner").transform(X + 1)
    )
    with torch.no_grad():
        module.inner.weight += 1
    assert not np.array_equal(frozen.transform(X), features)


def test_keys_of_caches_know_weights_by_content():
    from certified_ensembles._spec import content_key

    again = pickle.loads(pickle.dumps(counting()))
    assert content_key(counting()) == content_key(again)
    assert content_key(counting()) != content_key(counting().bfloat16())


def test_places_follow_from_content_and_batches_are_hardly_filled_up():
    module = counting()
    FrozenFeatures(module, batch_size=8).transform(np.arange(64 * 4000).reshape(4000, 64))
    assert module.n_rows < 1.15 * 4000


def test_members_refuse_a_network_that_looks_at_the_whole_batch():
    class Centred(nn.Module):
        def forward(self, X):
            return X - X.mean(axis=0)

    X = np.random.default_rng(0).normal(size=(60, 4))
    member = make_pipeline(FrozenFeatures(Centred().eval()), RidgeClassifier())
    with pytest.raises(ValueError, match="looks at the whole batch"):
        DeepPartitionAggregation(member, 3).fit(X, np.arange(60) % 2)


def test_a_subclass_runs_in_every_member():
    class Own(FrozenFeatures):
        pass

    assert maps_rows_apart(FrozenFeatures(nn.Identity()))
    assert not maps_rows_apart(Own(nn.Identity()))
