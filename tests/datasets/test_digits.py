"""The digits that scikit-learn carries."""

import numpy as np
import pytest

from certified_ensembles import datasets


def test_digits_are_integers_with_a_fixed_split():
    train, test = (datasets.load_digits(subset=subset) for subset in ("train", "test"))
    X, y = datasets.load_digits(subset="all", return_X_y=True)
    np.testing.assert_array_equal(np.concatenate([train.data, test.data]), X)
    np.testing.assert_array_equal(np.concatenate([train.target, test.target]), y)
    assert (len(train.data), len(test.data), X.dtype) == (1347, 450, np.uint8)
    np.testing.assert_array_equal(train.images.reshape(1347, 64), train.data)
    assert train.target_names.tolist() == list(range(10))


def test_digits_refuse_an_unknown_subset():
    with pytest.raises(ValueError, match="subset='dev'"):
        datasets.load_digits(subset="dev")


def test_arguments_of_the_other_load_digits_are_refused_by_name():
    with pytest.raises(TypeError, match=r"not n_class, as_frame. Import sklearn.datasets.load_d"):
        datasets.load_digits(n_class=3, as_frame=True)
