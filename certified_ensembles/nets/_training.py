"""The parts of a member's training: its batches, its draws, its constants, its machine.

Everything here is a function of one member's rows and seed. Draws come from a generator of the
member's own, on the CPU, so that every device sees the same ones.
"""

import contextlib
import dis
import inspect
import os

import numpy as np
import torch

from .._deterministic import ProcessWide, global_seed, one_thread
from ._augment import crop, draw_crops, draw_flips, flip

PRECISIONS = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.float32,  # weights and sums are float32, products bfloat16
}


# ---------------------------------------------------------------- batches


def batch_lengths(n, batch_size):
    """Return how many rows each step of an epoch sees.

    Parameters
    ----------
    n : int
        Rows, at least 2.
    batch_size : int

    Returns
    -------
    lengths : tuple of int
        A last batch of one row joins the batch before it: batch normalisation cannot
        tell a row from the mean of a single one.
    """
    lengths = [batch_size] * (n // batch_size)
    rest = n % batch_size
    if rest == 1 and lengths:
        lengths[-1] += 1
    elif rest:
        lengths.append(rest)
    return tuple(lengths)


def at_least_two(X, y):
    """Return rows and labels, a single row twice: batch normalisation needs two."""
    return (X.repeat(2, *[1] * (X.ndim - 1)), y.repeat(2)) if len(y) == 1 else (X, y)


def stream(seed, use):
    """Return the seed of a further stream of draws: the seed itself begins the weights."""
    state = np.random.SeedSequence([int(seed), use]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


class Draws:
    """The order and the shifts of the rows of one member, epoch after epoch.

    Parameters
    ----------
    seed : int
    n : int
        Rows.
    crop_padding : int
    flip : bool
    shuffle : bool
    """

    def __init__(self, seed, n, crop_padding, flip, shuffle):
        self._generator = torch.Generator().manual_seed(stream(seed, 1))
        self._n, self._padding, self._flip, self._shuffle = n, crop_padding, flip, shuffle

    def epoch(self):
        """Return the order of the rows, and for each place in it where to crop and flip.

        Returns
        -------
        order : Tensor of shape (n,), int64
        offsets : Tensor of shape (n, 2), int64, or None
        flips : Tensor of shape (n,), bool, or None
        """
        n, generator = self._n, self._generator
        order = torch.randperm(n, generator=generator) if self._shuffle else torch.arange(n)
        offsets = draw_crops(n, self._padding, generator) if self._padding else None
        return order, offsets, draw_flips(n, generator) if self._flip else None


def augmented(X, offsets, flips, padding):
    """Return images cropped (out of a black border) and flipped as drawn; None leaves them."""
    X = X if offsets is None else crop(X, offsets, padding)
    return X if flips is None else flip(X, flips)


# ---------------------------------------------------------------- constants


def as_rows(X, precision):
    """Return rows as a tensor: bytes stay bytes, all other numbers become floats.

    Raises
    ------
    ValueError
        If X is no dense array of numbers.
    """
    if hasattr(X, "tocsr"):
        raise ValueError("X is a sparse matrix; nets take dense rows, so pass X.toarray().")
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu().numpy()
    X = np.asarray(X)
    if X.ndim < 2 or X.dtype.kind not in "biuf":
        raise ValueError(
            f"X has {X.ndim} axes and type {X.dtype}; nets take numbers, n x features or "
            "n x channels x height x width."
        )
    if X.dtype != np.uint8:
        double = PRECISIONS[precision] == torch.float64
        with np.errstate(all="ignore"):  # beyond single precision
            X = X.astype(np.float64 if double else np.float32)
    return torch.from_numpy(np.array(X, order="C"))


def constants_of(X, normalize):
    """Return mean and scale of a member's own rows, to broadcast against them.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
    normalize : {"channel", "feature"} or None

    Returns
    -------
    mean, scale : ndarray of float64
        0 and 1 for None; the scale is 1 where values do not vary.
    """
    if normalize is None:
        return np.zeros(()), np.ones(())
    axes = (0,) if normalize == "feature" else (0, *range(2 if X.ndim > 2 else 1, X.ndim))
    with np.errstate(all="ignore"):
        mean = X.mean(axis=axes, dtype=np.float64, keepdims=True)[0]
        scale = np.sqrt(np.square(X - mean).mean(axis=axes, dtype=np.float64, keepdims=True)[0])
    return mean, np.where(scale > 0, scale, 1.0)


def as_constants(net, dtype):
    """Return mean and scale of a net as tensors."""
    return torch.from_numpy(net.mean_).to(dtype), torch.from_numpy(net.scale_).to(dtype)


class Epochs:
    """The batches of one net's training: every iteration is the next epoch.

    Parameters
    ----------
    net : SeededNetClassifier
        Its labels, shape and constants noted.
    X : Tensor of shape (n, ...)
        Not normalised.
    codes : Tensor of shape (n,), int64
    """

    def __init__(self, net, X, codes):
        self._net = net
        self._device, self._dtype = torch.device(net.device), PRECISIONS[net.precision]
        self._X, self._codes = X.to(self._device), codes.to(self._device)
        self._lengths = batch_lengths(len(codes), net.batch_size)
        self._draws = Draws(net.random_state, len(codes), net.crop_padding, net.flip, net.shuffles)
        self._mean, self._scale = (a.to(self._device) for a in as_constants(net, self._dtype))

    def __len__(self):
        return len(self._lengths)

    def __iter__(self):
        drawn = [None if d is None else d.to(self._device) for d in self._draws.epoch()]
        stop = 0
        for length in self._lengths:
            start, stop = stop, stop + length
            order, offsets, flips = (None if d is None else d[start:stop] for d in drawn)
            X = augmented(self._X[order], offsets, flips, self._net.crop_padding)
            yield (X.to(self._dtype) - self._mean) / self._scale, self._codes[order]


# ---------------------------------------------------------------- weights


def seeded_module(module, kwargs, shape, n_classes, seed):
    """Build a network whose weights depend on its seed alone.

    Parameters
    ----------
    module : callable
        A class of modules, or a function that returns one.
    kwargs : dict
        Its arguments. `in_channels`, `n_features`, `n_classes` and `generator` are filled in
        where the callable takes them and the user has not given them.
    shape : tuple of int
        Of a row.
    n_classes : int
    seed : int

    Returns
    -------
    module : torch.nn.Module
        On the CPU.
    """
    known = {
        "in_channels": shape[0],
        "n_features": int(np.prod(shape)),
        "n_classes": n_classes,
        "generator": torch.Generator().manual_seed(int(seed)),
    }
    try:
        taken = inspect.signature(module).parameters
    except ValueError:
        taken = {}
    kwargs = {name: value for name, value in known.items() if name in taken} | kwargs
    with global_seed(seed):  # also for what a module does not draw from the generator it takes
        return module(**kwargs)


def set_rates(optimizer, factor):
    """Multiply the learning rates that an optimizer began with by a factor."""
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
        group["lr"] = group["initial_lr"] * factor


# ---------------------------------------------------------------- machine


class _Repeatable(ProcessWide):
    """Context in which torch chooses algorithms that give the same bits every time."""

    def _begin(self):
        self._before = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.allow_tf32,
            torch.backends.cuda.matmul.allow_tf32,
            torch.utils.deterministic.fill_uninitialized_memory,
        )
        # cuBLAS adds in a fixed order only with a workspace of a fixed size.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        self._switch(True, False, True, False, False, False, False)

    def _end(self):
        self._switch(*self._before)

    @staticmethod
    def _switch(on, warn_only, cudnn, benchmark, tf32_cudnn, tf32_matmul, fill):
        torch.use_deterministic_algorithms(on, warn_only=warn_only)
        torch.backends.cudnn.deterministic = cudnn
        torch.backends.cudnn.benchmark = benchmark
        torch.backends.cudnn.allow_tf32 = tf32_cudnn
        torch.backends.cuda.matmul.allow_tf32 = tf32_matmul
        torch.utils.deterministic.fill_uninitialized_memory = fill


class _FilledMemory(ProcessWide):
    """Context, inside of `_Repeatable`, in which torch fills new memory before it is used."""

    def _begin(self):
        torch.utils.deterministic.fill_uninitialized_memory = True

    def _end(self):
        torch.utils.deterministic.fill_uninitialized_memory = False


_repeatable, _filled_memory = _Repeatable(), _FilledMemory()


@contextlib.contextmanager
def reproducible(*, strict=True):
    """Run torch on one thread, with algorithms that repeat themselves; restore all after.

    Parameters
    ----------
    strict : bool, default=True
        Whether new memory is filled before it is used, for modules that read what they never
        wrote. False is for operations that are known not to do so, as filling takes as long as
        some of them. The switch belongs to the process, so memory is filled while any thread is
        strict.
    """
    with one_thread(), _repeatable(), _filled_memory() if strict else contextlib.nullcontext():
        yield


def products_in(precision, device):
    """Return the context in which a network is run forward."""
    if precision == "bfloat16":
        return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


# ---------------------------------------------------------------- how training ends

# The operation to which Python compiles a statement `raise`.
_RAISE = dis.opmap["RAISE_VARARGS"]


def raised_by_a_statement(error):
    """Say whether an exception comes from a statement `raise`, not from a signal."""
    at = error.__traceback__
    while at.tb_next is not None:
        at = at.tb_next
    return at.tb_frame.f_code.co_code[at.tb_lasti] == _RAISE
