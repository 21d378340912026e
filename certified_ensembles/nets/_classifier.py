"""A skorch classifier whose training is a function of its rows and its seed."""

import contextlib
import copy

import numpy as np
import skorch
import torch
from sklearn.base import clone
from skorch.utils import get_map_location
from torch import nn

from .._deterministic import global_seed, reseed
from .._fits import OneFitMixin, built_aside
from ._batched.tracing import operations_of
from ._batched.training import fit_side_by_side
from ._settings import check_settings
from ._training import (
    PRECISIONS,
    Epochs,
    as_constants,
    as_rows,
    at_least_two,
    constants_of,
    products_in,
    raised_by_a_statement,
    reproducible,
    seeded_module,
    set_rates,
    stream,
)

# Rows are scored in blocks of this many, to which the last one is filled up: a row's scores must
# not depend on how many rows stand beside it.
_BLOCK_ROWS = 256
# The most members that may train side by side.
_MOST_SLOTS = 128


class SeededNetClassifier(OneFitMixin, skorch.NeuralNetClassifier):
    """skorch classifier whose training is a function of its rows and of `random_state`.

    Initial weights, order of the rows, crops and flips come from generators of its own, which
    begin at `random_state`; nothing is drawn from, or left changed in, the global generators,
    and torch computes on one thread with deterministic algorithms. So the net may be a member of
    :class:`~certified_ensembles.DeepPartitionAggregation`, which trains many of them as one
    (:meth:`fit_together`).

    Parameters
    ----------
    module : class or callable
        Class of :class:`torch.nn.Module`, or a function that returns one, of which each fit
        builds a new network that returns logits. Arguments are given as ``module__name``;
        `in_channels`, `n_features` and `n_classes` are filled in where it takes them and you give
        none. If it takes a `generator`, its weights are drawn from that.
    random_state : int, default=0
        The seed. None is refused.
    classes : array-like of shape (n_classes,), default=None
        The labels, which also fix the number of outputs. None means those in `y`.
    normalize : {"channel", "feature"} or None, default="channel"
        Subtract the mean and divide by the standard deviation of the net's own training rows: of
        each channel of images (of all numbers of a table), or of each single number.
    crop_padding : int, default=0
        If positive, images get a black border of this width in training, and a random window of
        the old size is cut out.
    flip : bool, default=False
        Whether images are flipped at random in training, left to right. Not for digits.
    lr_milestones : tuple of int, default=()
        Epochs after which the rate is multiplied by `lr_factor`.
    lr_factor : float, default=0.2
        See `lr_milestones`.
    stack_size : int, default=None
        Members that :meth:`fit_together` trains as one: a multiple of 8, or 1 for one after
        the other. None means 8 on a CPU, up to 32 there if the module has no convolutions and
        few weights, else 1 for members of more than 12 batches; on other devices as many as half
        of their memory takes, at most 128. It changes results by rounding.
    precision : {"float32", "float64", "bfloat16"}, default="float32"
        Of weights and sums. "bfloat16" is mixed precision: products in bfloat16, weights and
        sums in float32. A member's bits depend on its company in none of them.
    criterion : class, default=torch.nn.CrossEntropyLoss
        The loss, of logits.
    optimizer, lr, max_epochs, batch_size, device, callbacks, verbose, **kwargs
        As in :class:`skorch.NeuralNetClassifier`, with the defaults of skorch, but ``verbose=0``.
        Of the iterator's arguments only ``iterator_train__shuffle`` (default True) is used.

    Attributes
    ----------
    module_ : torch.nn.Module
        The trained network.
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    mean_, scale_ : ndarray
        What is subtracted from a row, and then divided by.

    See Also
    --------
    certified_ensembles.nets.paper_settings : The papers' parameters.

    Notes
    -----
    Rows are n x features or n x channels x height x width, of any numeric type; bytes stay bytes
    until they are normalised. A last batch of one row joins the batch before it, and a
    single training row counts twice, because batch normalisation cannot learn from one row.
    ``train_split`` is None: no row is held back.

    :meth:`fit` runs skorch's own loop, with callbacks. :meth:`fit_together` computes the same in
    another order, so that weights agree up to rounding, not to the bit. The ensembles always
    train through :meth:`fit_together`; where a net cannot be stacked (a module with operations
    other than the usual layers, such as dropout; callbacks; another criterion or optimizer) that
    fits one member after the other, as it does with large members on a CPU (see `stack_size`).
    Which of the two it is depends on the parameters and on the number of a member's own rows.

    Same bits are promised for the same device, library versions and machine type.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from certified_ensembles.nets import LinearHead, SeededNetClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> net = SeededNetClassifier(LinearHead, max_epochs=20, lr=0.1).fit(X[:1000], y[:1000])
    >>> bool(net.score(X[1000:], y[1000:]) > 0.8)
    True
    """

    def __init__(
        self,
        module,
        *,
        criterion=nn.CrossEntropyLoss,
        train_split=None,
        classes=None,
        random_state=0,
        normalize="channel",
        crop_padding=0,
        flip=False,
        lr_milestones=(),
        lr_factor=0.2,
        stack_size=None,
        precision="float32",
        verbose=0,
        **kwargs,
    ):
        super().__init__(
            module,
            criterion=criterion,
            train_split=train_split,
            classes=classes,
            verbose=verbose,
            **kwargs,
        )
        self.random_state = random_state
        self.normalize = normalize
        self.crop_padding = crop_padding
        self.flip = flip
        self.lr_milestones = lr_milestones
        self.lr_factor = lr_factor
        self.stack_size = stack_size
        self.precision = precision

    # ------------------------------------------------------------ parameters

    @property
    def classes_(self):
        """Sorted labels: those of `classes`, else those of the rows seen."""
        if self.classes is not None:
            return np.unique(np.asarray(self.classes))
        return super().classes_

    @property
    def members_per_batch(self):
        """Members that one call of :meth:`fit_together` should get, of similar sizes if it can."""
        return 1 if self.stack_size == 1 else 2 * max(self.stack_size or 0, _MOST_SLOTS)

    @property
    def shuffles(self):
        """Whether rows are shuffled before each epoch."""
        return self.get_params_for("iterator_train").get("shuffle", True)

    @property
    def runs_no_user_code(self):
        """Whether no code of the user runs during the training but the module."""
        return (
            type(self) is SeededNetClassifier
            and self.callbacks in (None, "disable")
            and not self.compile
        )

    # ------------------------------------------------------------ training

    def prepare(self, X, y):
        """Note labels, shape and constants of the training rows.

        Returns
        -------
        X : Tensor
            As bytes or floats, not normalised.
        codes : Tensor of int64
            Indices into ``classes_``.
        """
        check_settings(self)
        X, y = as_rows(X, self.precision), np.asarray(y)
        if y.ndim != 1 or len(y) != len(X) or not len(y):
            raise ValueError(
                f"X has {len(X)} rows and y has shape {y.shape}; pass one label a row, and at "
                "least one row."
            )
        if X.ndim != 4 and (self.crop_padding or self.flip):
            raise ValueError(
                f"crop_padding={self.crop_padding!r} and flip={self.flip!r} are for images, n x "
                f"channels x height x width, but X has {X.ndim} axes."
            )
        self.classes_inferred_ = np.unique(y)
        foreign = np.setdiff1d(self.classes_inferred_, self.classes_)
        if len(foreign):
            raise ValueError(
                f"y holds labels that are not among classes={self.classes_.tolist()}: "
                f"{foreign[:5].tolist()}."
            )
        self.row_shape_ = tuple(X.shape[1:])
        self.mean_, self.scale_ = constants_of(X.numpy(), self.normalize)
        return X, torch.from_numpy(np.searchsorted(self.classes_, y))

    def initial_module(self, shape):
        """Return a new network with the weights that the seed means."""
        module = seeded_module(
            self.module,
            self.get_params_for("module"),
            shape,
            len(self.classes_),
            self.random_state,
        )
        return module.to(PRECISIONS[self.precision])

    def initialize_module(self):
        """Build the network, for the rows seen last."""
        self.module_ = self.initial_module(self.row_shape_)
        return self

    def check_data(self, X, y=None):
        """Do nothing: labels are known, and y holds their indices by now."""

    def check_outputs(self, n_outputs):
        """Refuse a network with fewer outputs than classes."""
        if n_outputs < len(self.classes_):
            raise ValueError(
                f"The module returns {n_outputs} logits for {len(self.classes_)} classes; give it "
                "one output a class (module__...)."
            )

    def get_iterator(self, dataset, training=False):
        """Return the batches of one epoch after the other, drawn by the seed."""
        if training:
            return Epochs(self, dataset.X, dataset.y)
        return super().get_iterator(dataset, training)

    def infer(self, x, **fit_params):
        """Run the network forward, in the precision asked for."""
        with products_in(self.precision, self.device):
            logits = super().infer(x, **fit_params)
        return logits.to(PRECISIONS[self.precision])

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        """Return the loss of a batch."""
        self.check_outputs(y_pred.shape[1])
        return super().get_loss(y_pred, y_true, *args, **kwargs)

    def on_epoch_begin(self, net, **kwargs):
        """Begin an epoch with its learning rate."""
        super().on_epoch_begin(net, **kwargs)
        self.set_rates(self.optimizer_, len(self.history) - 1)

    def set_rates(self, optimizer, epoch):
        """Set the learning rate of an epoch, counted from 0."""
        if self.lr_milestones:
            set_rates(optimizer, self.lr_factor ** sum(epoch >= m for m in self.lr_milestones))

    def fit(self, X, y):
        """Train on rows and labels, forgetting what was learned before.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, channels, height, width)
        y : array-like of shape (n,)
            Labels: strings or numbers.

        Returns
        -------
        self : SeededNetClassifier
        """
        with built_aside(self) as new:
            new.fit_prepared(*at_least_two(*new.prepare(X, y)))
        return self

    def fit_prepared(self, X, codes):
        """Train on what :meth:`prepare` returned, at least two rows of it."""
        self._stopped_by = None
        with reproducible():
            self.initialize()
            is_known = self.runs_no_user_code and operations_of(self.module_) is not None
            with global_seed(int(stream(self.random_state, 2) % 2**32), needed=not is_known):
                self.notify("on_train_begin", X=X, y=codes)
                try:
                    self.fit_loop(X, codes)
                except KeyboardInterrupt as interrupt:
                    if interrupt is not self._stopped_by:
                        raise
                self.notify("on_train_end", X=X, y=codes)
        return self.finish(self.module_)

    def notify(self, method_name, **cb_kwargs):
        """Call a method of all callbacks, and note if one of them asks to stop, as skorch does.

        It raises KeyboardInterrupt. So does Ctrl-C, after which a net is not trained.
        """
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as interrupt:
            if raised_by_a_statement(interrupt):
                self._stopped_by = interrupt
            raise

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Refuse: a net that goes on training is no function of its rows and seed."""
        raise AttributeError(
            "SeededNetClassifier has no partial_fit: a net that goes on training is no function "
            "of its rows and seed. Use fit."
        )

    def finish(self, module):
        """Keep a trained network, and nothing that only training needs."""
        with self._current_init_context("module"):
            self.module_ = module.eval()
        for name in ("optimizer_", "criterion_", "_stopped_by"):
            if name in vars(self):
                delattr(self, name)
        self.virtual_params_, self.initialized_ = {}, False
        return self

    def __getstate__(self):
        # Of skorch's own, the network is pickled apart, by a pickler that does not know classes
        # of a notebook. Here it comes along, from any device by way of the CPU.
        state = vars(self).copy()
        module = state.get("module_")
        if module is not None and any(p.device.type != "cpu" for p in module.parameters()):
            state["module_"] = copy.deepcopy(module).cpu()
        return state

    def __setstate__(self, state):
        state = dict(state)
        # Falls back to the CPU, with a warning, where there is no such device.
        state["device"] = self._check_device(state["device"], get_map_location(state["device"]))
        vars(self).update(state)

    @classmethod
    def fit_together(cls, members, rows, labels):
        """Train many members as one; each ends as if the others were not there.

        Parameters
        ----------
        members : list of SeededNetClassifier
            Clones that differ in `random_state` alone; they are fitted in place.
        rows : list of array-like
            The rows of each member, of one shape but any number.
        labels : list of array-like
            The labels of each member.

        Returns
        -------
        members : list of SeededNetClassifier
            The fitted members.

        Notes
        -----
        Members whose batches fill up to the same sizes (see below) share a stack, which always
        has the same number of slots; those left over train on nothing. A batch is filled up to a
        multiple of 4 rows, at most a quarter more (without convolutions, to a power of two; the
        last of more than four to the size of the others), with rows of weight zero that batch
        normalisation leaves out. The sizes follow from the number of a member's own rows. So the
        shape of every operation does, and no operation adds across slots: a member's weights
        are, bit for bit, a function of its own rows and seed, whoever trains beside it.
        """
        if not members:
            return []
        first = clone(members[0])
        first.prepare(rows[0], labels[0])
        first.initialize()  # refuses parameters that do not exist
        with contextlib.ExitStack() as stack:
            new = [stack.enter_context(built_aside(member)) for member in members]
            if first.stack_size == 1:
                for member, X, y in zip(new, rows, labels, strict=True):
                    member.fit(X, y)
            else:
                fit_side_by_side(new, rows, labels, first.stack_size)
        return members

    # ------------------------------------------------------------ prediction

    def decision_function(self, X):
        """Return the logits.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows as in :meth:`fit`.

        Returns
        -------
        scores : ndarray of shape (n, n_classes)
            In the order of ``classes_``, two columns for two classes; -inf where a logit is
            not a number. A row's scores do not depend on what the rows beside it hold; they
            may depend, by rounding, on its place among them.
        """
        self.check_is_fitted()
        return self._scores(as_rows(X, self.precision))

    @classmethod
    def scores_together(cls, members, block):
        """Return the :meth:`decision_function` of every member on the same rows, bit for bit.

        Parameters
        ----------
        members : list of SeededNetClassifier
            Fitted.
        block : array-like of shape (n, ...)

        Returns
        -------
        scores : list of ndarray of shape (n, n_classes of the member)
        """
        if not members:
            return []
        X = as_rows(block, members[0].precision)
        scores = []
        for member in members:
            reseed(int(member.random_state))  # a module of the user's may draw when it answers
            scores.append(member._scores(X))
        return scores

    def _scores(self, X):
        if tuple(X.shape[1:]) != self.row_shape_:
            raise ValueError(
                f"X has rows of shape {tuple(X.shape[1:])}, but the net was trained on rows of "
                f"shape {self.row_shape_}."
            )
        device, dtype = torch.device(self.device), PRECISIONS[self.precision]
        module = self.module_.to(device).eval()
        mean, scale = (a.to(device) for a in as_constants(self, dtype))
        parts = [np.empty((0, len(self.classes_)), np.float32)]
        with reproducible(), torch.no_grad(), products_in(self.precision, device):
            for start in range(0, len(X), _BLOCK_ROWS):
                stop = min(start + _BLOCK_ROWS, len(X))
                block = X[torch.arange(start, start + _BLOCK_ROWS).clamp(max=stop - 1)]
                logits = module((block.to(device).to(dtype) - mean) / scale)
                self.check_outputs(logits.shape[1])
                logits = logits[: stop - start, : len(self.classes_)].to(dtype).cpu().numpy()
                parts.append(np.where(np.isnan(logits), -np.inf, logits))
        return np.concatenate(parts)

    def predict(self, X):
        """Return the label with the largest logit; ties go to the smaller label.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows as in :meth:`fit`.

        Returns
        -------
        y_pred : ndarray of shape (n,)
        """
        self.check_is_fitted()
        return self.classes_[self.decision_function(X).argmax(axis=1)]

    def predict_proba(self, X):
        """Return the softmax of the logits; what the module returns for `torch.nn.NLLLoss`.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows as in :meth:`fit`.

        Returns
        -------
        proba : ndarray of shape (n, n_classes)
        """
        scores = self.decision_function(X).astype(np.float64)
        if self.criterion is nn.NLLLoss:
            return scores
        best = scores.max(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            shares = np.exp(np.where(scores == best, 0.0, scores - best))
        return shares / shares.sum(axis=1, keepdims=True)
