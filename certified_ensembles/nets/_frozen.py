"""A pretrained network as a fixed map: no row has a say in another row's features."""

import copy
import difflib
import threading
from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from .._data.containers import as_table, n_rows, take
from .._fits import OneFitMixin, built_aside
from .._jobs import in_turn, progress
from .._spec import cache_report, content_key, recipe_of, store_of
from ..hashers import ContentHasher
from ._training import reproducible

# Which call of `transform` a thread works for: hooks of others leave its layers alone.
_HERE = threading.local()


class FrozenFeatures(
    OneFitMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Features of rows from a pretrained torch module, whose weights no row changes.

    The module runs in evaluation mode and without gradients. Nothing is learned from the rows, so
    a certificate holds behind this transformer as it does without it: as `representation`, as the
    first step of `estimator` (where it runs once, and not once a member), or before the ensemble
    in a pipeline.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode (``module.eval()``). It is not copied: clones of this transformer share
        it, so do not train it any further.
    layer : str, default=None
        Name of the submodule whose output is taken, as ``module.named_modules()`` gives it; what
        comes after it is not computed. None: the output of the module.
    preprocess : callable, default=None
        Turns some rows, in a container of the kind of X, into what the module takes: a tensor or
        an array, a tuple of them for several arguments, a dict for named ones. Row by row, and
        always of one shape: texts are filled up to a fixed length. None: numbers become a tensor
        of the module's own floating type.
    batch_size : int, default=32
        The rows of a batch. Every batch has that many, copies fill up what is missing; so one row
        alone costs as much as a batch. It may change the last bits of features.
    dtype : {"float32", "float64", "float16"}, default="float32"
        Type of the features. The module computes in the type of its own weights.
    device : str or torch.device, default=None
        Where to compute; the module is copied there. None: where the module is.
    memory : str, object with the joblib.Memory interface or None, default=None
        Where to keep the features of a set of at least `batch_size` rows, by the content of rows,
        weights and code.
    verbose : int, default=0
        Whether to show a progress bar over the batches.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns, where X is a table of numbers.

    Raises
    ------
    ValueError
        By `fit` and `transform`: if some submodule is in training mode, normalises by statistics
        of the batch, or has no weights yet; if there is no such layer; if what comes out is not
        one tensor with an entry a row; if rows of a batch change one another's features.

    See Also
    --------
    certified_ensembles.SemiSupervisedDPA : Takes it as `representation`.
    certified_ensembles.nets.RotNet : A network that is trained on the rows, without labels.

    Notes
    -----
    *What you trust.* The weights, and the data that they were trained on: an attacker who can
    poison the pretraining, or swap the file of weights, is outside every certificate. A network
    that was trained or fine-tuned on the training rows (by labels, or without them where features
    may be poisoned) is no fixed map: one poisoned row may have changed all features, and nothing
    here can see it.

    *A row's features depend on that row alone, to the last bit.* Products may round differently in
    another shape, and some in another place of a batch. So all batches have one shape, a row's
    place in its batch follows from its content (a digest modulo `batch_size`), and each batch is
    computed on one thread; several threads take several batches. Shuffling rows, asking about one
    alone or setting another number of threads changes no feature. Another version of torch,
    processor or device may.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from certified_ensembles import DeepPartitionAggregation
    >>> from certified_ensembles.nets import FrozenFeatures
    >>> X, y = load_digits(return_X_y=True)
    >>> _ = torch.manual_seed(0)  # stands for a pretrained network
    >>> module = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU()).eval()
    >>> member = make_pipeline(FrozenFeatures(module), RidgeClassifier())
    >>> dpa = DeepPartitionAggregation(member, n_partitions=50).fit(X, y)
    >>> certificate = dpa.certify(X[:5])
    """

    # Says to ensembles that rows are mapped one by one, by what no row has changed: once for all.
    _maps_rows_apart = True

    _parameter_constraints: dict = {
        "layer": [str, None],
        "preprocess": [callable, None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({"float16", "float32", "float64"})],
        "device": [str, torch.device, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        module,
        *,
        layer=None,
        preprocess=None,
        batch_size=32,
        dtype="float32",
        device=None,
        memory=None,
        verbose=0,
    ):
        self.module = module
        self.layer = layer
        self.preprocess = preprocess
        self.batch_size = batch_size
        self.dtype = dtype
        self.device = device
        self.memory = memory
        self.verbose = verbose

    def fit(self, X, y=None):
        """Check module, parameters and rows; learn nothing.

        Parameters
        ----------
        X : array-like, dataframe or sequence of str
            Rows: numbers with one row an entry of the first axis, or what `preprocess` takes.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The transformer. It has seen that the first rows keep their features in company.
        """
        with built_aside(self) as new:
            X = new._check(X)
            vars(new).pop("n_features_in_", None)
            if getattr(X, "ndim", 0) == 2:
                new.n_features_in_ = X.shape[1]
            first = np.arange(min(n_rows(X), new.batch_size))
            alone = new._features_of(take(X, first[:1]), bar=False)
            in_company = new._features_of(take(X, first), bar=False)[:1]
            if not np.array_equal(alone, in_company, equal_nan=True):
                raise ValueError(
                    f"module={type(new.module).__name__}: a row has other features in company "
                    "than alone, so that one row can change those of others. Something in it, "
                    "or in preprocess, looks at the whole batch, or draws at random. Replace "
                    "that, or take an earlier layer."
                )
            new._n_features_out = alone.shape[1]
        return self

    def transform(self, X):
        """Return the features of rows.

        Parameters
        ----------
        X : array-like, dataframe or sequence of str
            Rows, as for :meth:`fit`, which need not have been called.

        Returns
        -------
        X_out : ndarray of shape (n_samples, n_features_out)
            What the module or the layer returns, of the type `dtype`; further axes are flattened.
        """
        X = self._check(X)
        store = store_of(self.memory)
        if store is None or n_rows(X) < self.batch_size:
            return self._features_of(X)
        recipe, _ = recipe_of(
            (self.module, self.layer, self.preprocess, self.batch_size, self.dtype)
        )
        key = content_key(recipe, as_table(X))
        with cache_report() as report:
            outcome = store.recall(f"frozen_features/{key}", lambda: self._features_of(X))
            report.note(outcome, "feature table")
        return outcome.value

    # ------------------------------------------------------------ batches

    def _features_of(self, X, bar=True):
        batches = _batches(ContentHasher()(as_table(X)), self.batch_size)
        runner = _Runner(self)
        n_threads = torch.get_num_threads() if runner.device.type == "cpu" else 1
        with runner.listening():
            calls = ((take(X, index),) for index, _ in batches)
            parts = in_turn(runner.run, calls, n_threads, require="sharedmem")
            verbose = bar and self.verbose
            parts = progress(parts, len(batches), "features", verbose, unit="batch")
            out = None
            for (index, own), part in zip(batches, parts, strict=True):
                if out is None:
                    out = np.empty((n_rows(X), part.shape[1]), dtype=self.dtype)
                if part.shape[1] != out.shape[1]:
                    raise ValueError(
                        f"module={type(self.module).__name__} gives {out.shape[1]} features for "
                        f"some rows and {part.shape[1]} for others. Let preprocess fill up rows "
                        "to one shape."
                    )
                out[index[own]] = part[own]
        return out

    # ------------------------------------------------------------ checks

    def _check(self, X):
        """Refuse what gives rows a say in other rows' features; return X, an array if numbers."""
        self._validate_params()
        _check_module(self.module)
        _layer_of(self.module, self.layer)
        if self.preprocess is None:
            X = check_array(
                X, ensure_2d=False, allow_nd=True, estimator=self, input_name="X", dtype="numeric"
            )
            if X.ndim < 2:
                raise ValueError(
                    f"X has shape {X.shape}: Expected 2D array or more, got {X.ndim}D. Reshape "
                    "your data: X.reshape(-1, 1) if each entry is a row, X.reshape(1, -1) if X is "
                    "one row."
                )
        elif not n_rows(X):
            raise ValueError("X has 0 rows: pass at least one.")
        known = getattr(self, "n_features_in_", None)
        if known is not None and getattr(X, "ndim", 0) == 2 and X.shape[1] != known:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting {known} "
                "features as input. Pass rows of the same kind, or fit it again."
            )
        return X

    def __sklearn_clone__(self):
        # Copies of the weights, one a member, would fill the memory; nobody writes into them.
        return type(self)(**self.get_params(deep=False))

    def __sklearn_is_fitted__(self):
        return True

    def get_feature_names_out(self, input_features=None):
        """Names of the features, ``frozenfeatures0`` and so on.

        Parameters
        ----------
        input_features : None
            Ignored, for the common interface.

        Returns
        -------
        names : ndarray of str objects
        """
        check_is_fitted(self, "_n_features_out")
        return super().get_feature_names_out(input_features)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = self.preprocess is not None
        tags.transformer_tags.preserves_dtype = []
        return tags


def _batches(digests, size):
    """Cut rows into batches in which a row's place follows from its digest.

    Parameters
    ----------
    digests : ndarray of shape (n_rows,), int64
    size : int

    Returns
    -------
    batches : list of (ndarray of shape (size,), int, ndarray of shape (size,), bool)
        The row at each place of a batch, and whether it is there for its own sake: the others
        fill up.
    """
    place = digests % size
    order = np.argsort(place, kind="stable")
    counts = np.bincount(place, minlength=size)
    starts = np.cumsum(counts) - counts
    batches = []
    for number in range(counts.max()):
        own = counts > number
        filler = order[starts[own.argmax()] + number]
        index = np.full(size, filler)
        index[own] = order[starts[own] + number]
        batches.append((index, own))
    return batches


class _Reached(Exception):
    """Ends a forward pass at the layer whose output it carries."""


class _Runner:
    """Runs a module on one batch after the other.

    Parameters
    ----------
    settings : FrozenFeatures
    """

    def __init__(self, settings):
        self.settings, self.module = settings, settings.module
        if settings.device is not None:
            self.module = copy.deepcopy(self.module).to(settings.device)
        weights = [*self.module.parameters(), *self.module.buffers()]
        self.device = weights[0].device if weights else torch.device(settings.device or "cpu")
        floats = [w.dtype for w in weights if w.is_floating_point()]
        self.precision = floats[0] if floats else torch.float32
        self._handle = None

    def listening(self):
        """Return the context in which the layer ends the passes of this runner."""
        layer = self.settings.layer

        class Listening:
            def __enter__(context):
                if layer is not None:
                    hooked = _layer_of(self.module, layer)
                    self._handle = hooked.register_forward_hook(self._end_pass)

            def __exit__(context, *error):
                if self._handle is not None:
                    self._handle.remove()

        return Listening()

    def _end_pass(self, module, given, output):
        if getattr(_HERE, "runner", None) is self:
            raise _Reached(output)

    def run(self, rows):
        """Return the features of one batch, an ndarray of shape (batch_size, n_features)."""
        with reproducible(strict=False), torch.inference_mode():
            args, kwargs = self._arguments(rows)
            outer, _HERE.runner = getattr(_HERE, "runner", None), self
            try:
                output = self.module(*args, **kwargs)
                if self.settings.layer is not None:
                    raise ValueError(
                        f"layer={self.settings.layer!r} takes no part when the module runs: it is "
                        "used by its parameters alone, or compiled. Take another layer, or None."
                    )
            except _Reached as reached:
                (output,) = reached.args
            finally:
                _HERE.runner = outer
            return self._as_array(output)

    def _arguments(self, rows):
        if self.settings.preprocess is None:
            values = np.array(rows, dtype=np.float64 if rows.dtype == np.float64 else np.float32)
            return [torch.from_numpy(values).to(self.device, self.precision)], {}
        given = self.settings.preprocess(rows)
        if isinstance(given, dict):
            return [], {name: self._tensor(value) for name, value in given.items()}
        given = given if isinstance(given, tuple) else (given,)
        return [self._tensor(value) for value in given], {}

    def _tensor(self, value):
        try:
            return torch.as_tensor(value).to(self.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"preprocess={self.settings.preprocess!r} returned a {type(value).__name__}, not "
                "a tensor: return a tensor or an array, a tuple of them, or a dict."
            ) from error

    def _as_array(self, output):
        size, source = self.settings.batch_size, self.settings.layer or type(self.module).__name__
        if isinstance(output, tuple | list) and len(output):
            output = output[0]
        if not isinstance(output, torch.Tensor):
            raise ValueError(
                f"{source} returned a {type(output).__name__}, not a tensor. Name a layer that "
                "returns one as layer=, or wrap the module in one whose forward picks it."
            )
        if output.ndim == 0 or len(output) != size:
            raise ValueError(
                f"{source} returned a tensor of shape {tuple(output.shape)} for {size} rows: rows "
                "must stand along the first axis. Name another layer, or wrap the module in one "
                "whose forward puts them there."
            )
        output = output.reshape(size, -1)
        if output.dtype == torch.bfloat16:  # numpy has none
            output = output.float()
        return output.cpu().numpy().astype(self.settings.dtype)


def _layer_of(module, name):
    """Return the submodule of a name."""
    if name is None:
        return module
    names = [own for own, _ in module.named_modules() if own]
    if name not in names:
        near = difflib.get_close_matches(name, names, 3) or names[-3:]
        raise ValueError(
            f"layer={name!r} is no submodule of module={type(module).__name__}. Take a name out "
            f"of module.named_modules(), such as {', '.join(map(repr, near))}."
        )
    return module.get_submodule(name)


def _check_module(module):
    """Refuse a module whose features may depend on more than a row and fixed weights."""
    if not isinstance(module, nn.Module):
        kind = "the class" if isinstance(module, type) else f"a {type(module).__name__}"
        raise TypeError(
            f"module={module!r} is {kind}, not an object of torch.nn.Module. Build it, load its "
            "weights and call its eval(). For another engine use a FunctionTransformer."
        )
    whole = type(module).__name__
    for name, part in module.named_modules():
        where = f"module={whole}: its part {name!r} ({type(part).__name__})" if name else whole
        if part.training:
            raise ValueError(
                f"{where} is in training mode (training=True), in which rows of a batch change "
                "one another, or features are drawn at random. Call module.eval() first."
            )
        if isinstance(part, _BatchNorm) and part.running_mean is None:
            raise ValueError(
                f"{where} has track_running_stats={part.track_running_stats!r}: it normalises by "
                "the batch, so that one row changes the features of others. Use a module whose "
                "statistics were kept in its own training (track_running_stats=True)."
            )
        own = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
        if any(is_lazy(weight) for weight in own):
            raise ValueError(
                f"{where} has no weights yet: its first batch would make them. Run the module "
                "once, load its weights, and call module.eval()."
            )
