"""A fit is whole or not at all, and an answer is that of one fit.

Old members under the rules of a new fit would certify more than they prove. So no fit changes an
estimator that others may be asking: it builds on a copy, and puts all that it has built in place
at once. And whoever asks works on the attributes of one moment, to the end of the call.
"""

import contextlib
import functools
import inspect
import types

_MISSING = object()

# Methods that answer from what was fitted.
_ANSWERS = (
    *("predict", "predict_proba", "predict_log_proba", "decision_function", "kneighbors"),
    *("transform", "inverse_transform", "get_feature_names_out", "forward", "forward_iter"),
    *("certify", "collective_certify", "certify_interval", "frontier"),
    *("ballots", "vote_counts", "answers"),
)
# Methods that fit and then answer from that very fit.
_FITS_AND_ANSWERS = ("fit_transform", "fit_predict")


def as_of_now(estimator):
    """Return a copy with the attributes of this moment, which no later fit changes.

    It is shallow: the copy shares members, classes and whatever else the attributes hold.
    """
    return _with_attributes(type(estimator), vars(estimator).copy())


def _with_attributes(kind, attributes):
    new = object.__new__(kind)
    _put_in_place(new, attributes)
    return new


def _put_in_place(estimator, attributes):
    # One step, also where threads run at the same time; nets have a __setattr__ of their own.
    object.__setattr__(estimator, "__dict__", attributes)


@contextlib.contextmanager
def built_aside(estimator):
    """Fit a copy of an estimator, and put its attributes in place at once if nothing is raised.

    Parameters
    ----------
    estimator : estimator

    Yields
    ------
    new : estimator
        A shallow copy, to be fitted in place of the estimator. An error or an interrupt inside
        leaves the estimator as it was. Of two fits at the same time the last one to end counts.

    Notes
    -----
    A fit has the parameters with which it began. Those that are set while it runs are kept: they
    count from then on, as after any fit.
    """
    new = as_of_now(estimator)
    began = vars(new).copy()
    yield new
    fitted, now = vars(new), vars(estimator)
    for name in estimator._get_param_names():
        if now.get(name, _MISSING) is not began.get(name, _MISSING):
            fitted[name] = now[name]
    _put_in_place(estimator, fitted)


def of_one_fit(answer):
    """Make a method answer from the attributes of the moment at which it is called.

    What the method of a subclass notes on itself while it answers is kept, unless another fit has
    been put in place by then.
    """

    @functools.wraps(answer)
    def answer_from_one_fit(self, *args, **kwargs):
        attributes = vars(self)
        view = _with_attributes(type(self), attributes.copy())
        began = vars(view).copy()
        result = answer(view, *args, **kwargs)
        notes = {k: v for k, v in vars(view).items() if v is not began.get(k, _MISSING)}
        if notes and vars(self) is attributes:
            attributes.update(notes)
        return result

    return answer_from_one_fit


def _aside(fit_and_answer):
    """Make a method that fits and answers do both aside, so that no other fit comes between."""

    @functools.wraps(fit_and_answer)
    def fit_aside_and_answer(self, *args, **kwargs):
        with built_aside(self) as new:
            return fit_and_answer(new, *args, **kwargs)

    return fit_aside_and_answer


class OneFitMixin:
    """Every answer of an estimator, and of its subclasses, is that of one fit.

    It stands first among the bases: scikit-learn wraps ``transform`` to name the columns of its
    output, and the names must be those of the same fit. Methods behind ``available_if`` take
    :func:`of_one_fit` themselves.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for names, wrap in ((_ANSWERS, of_one_fit), (_FITS_AND_ANSWERS, _aside)):
            for name in names:
                method = inspect.getattr_static(cls, name, None)
                if isinstance(method, types.FunctionType) and not _is_wrapped(cls, name):
                    setattr(cls, name, wrap(method))


def _is_wrapped(cls, name):
    """Say whether a method comes from another class that has this mixin."""
    owner = next(base for base in cls.__mro__ if name in vars(base))
    return owner is not cls and issubclass(owner, OneFitMixin)
