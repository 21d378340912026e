"""Training of many members as one: each ends as if the others were not there."""

import inspect
from collections import defaultdict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .._training import (
    PRECISIONS,
    Draws,
    as_constants,
    at_least_two,
    augmented,
    batch_lengths,
    products_in,
    reproducible,
)
from .stack import Stack, bytes_of_slot, has_convolutions
from .tracing import operations_of


def filled_up(length, coarse=False):
    """Return the number of rows that a batch is filled up to.

    Parameters
    ----------
    length : int
    coarse : bool, default=False
        To a power of two, at least 16, so that more members are alike; else to a multiple of 4,
        at most 1/4 more.

    Examples
    --------
    >>> [filled_up(n) for n in (2, 13, 50, 128)]
    [4, 16, 56, 128]
    >>> [filled_up(n, coarse=True) for n in (2, 13, 50, 128)]
    [16, 16, 64, 128]
    """
    if coarse:
        return max(16, 1 << (length - 1).bit_length())
    step = max(4, 1 << max(0, length.bit_length() - 3))
    return -(-length // step) * step


# Where a last batch is at most an eighth of the rows, it is filled up to the others' size.
_FEW_BATCHES = 4


def filled_lengths(lengths, coarse):
    """Return what the batches of an epoch are filled up to.

    Parameters
    ----------
    lengths : tuple of int
        As :func:`batch_lengths` returns it.
    coarse : bool
        As in :func:`filled_up`.

    Examples
    --------
    >>> filled_lengths((32, 32, 5), coarse=False)
    (32, 32, 8)
    >>> filled_lengths((32, 32, 32, 32, 5), coarse=False)
    (32, 32, 32, 32, 32)
    """
    filled = [filled_up(length, coarse) for length in lengths]
    if len(filled) > _FEW_BATCHES:
        filled[-1] = max(filled[-1], filled[0])
    return tuple(filled)


# Each weight is changed by its own gradients alone, and all of a stack take the same steps.
_ELEMENTWISE = (
    torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad,
)  # fmt: skip


# Arguments of an optimiser that choose its loop, or that not every loop has.
_LOOPS = {"fused", "foreach", "capturable", "differentiable"}


class _Job:
    """One member on its way: its rows, how they fall into batches, its draws."""

    def __init__(self, member, X, y):
        self.member = member
        X, codes = member.prepare(X, y)
        self.shape = tuple(X.shape[1:])
        self.X, self.codes = at_least_two(X, codes)
        self.lengths = batch_lengths(len(self.codes), member.batch_size)
        self.module = member.initial_module(self.shape)
        self.operations = _to_stack(member, self.module)

    def key(self):
        """Return what members share if they share every operation of the training and its shape.

        It says nothing but what the member's own rows, parameters and seed say. (A module may
        draw its layers, not only its weights.)
        """
        module = self.module
        coarse = _is_coarse(self.member, module)
        self.filled = filled_lengths(self.lengths, coarse)
        design = repr(module), tuple(self.operations), tuple(p.shape for p in module.parameters())
        return (self.shape, design, self.filled, self.X.dtype)

    def start(self):
        member, n = self.member, len(self.codes)
        self.draws = Draws(member.random_state, n, member.crop_padding, member.flip,
                           member.shuffles)  # fmt: skip
        # For every place in the filled batches: which of the epoch's rows, and its weight.
        self.place, self.share, begin = [], [], 0
        for length, filled in zip(self.lengths, self.filled, strict=True):
            own = list(range(begin, begin + length))
            self.place += own + own[:1] * (filled - length)
            self.share += [1 / length] * length + [0.0] * (filled - length)
            begin += length
        self.place = torch.tensor(self.place)


def fit_side_by_side(members, rows, labels, n_slots=None):
    """Train members in stacks of a fixed number of slots, those that cannot be stacked alone.

    Parameters
    ----------
    members : list of SeededNetClassifier
        Unfitted; they differ in random_state alone.
    rows, labels : list of arrays
        Those of each member.
    n_slots : int, default=None
        Copies in a stack; those without a member train on nothing. None lets the network and
        the number of a member's rows decide.

    Returns
    -------
    members : list of SeededNetClassifier
        The same objects, fitted.
    """
    groups = defaultdict(list)
    with reproducible():
        for member, X, y in zip(members, rows, labels, strict=True):
            job = _Job(member, X, y)
            if job.operations is None:
                member.fit_prepared(job.X, job.codes)
            else:
                groups[job.key()].append(job)
    for jobs in groups.values():
        slots = n_slots or _slots_of(jobs[0])
        if slots == 1:
            for job in jobs:
                job.member.fit_prepared(job.X, job.codes)
            continue
        for start in range(0, len(jobs), slots):
            _train(jobs[start : start + slots], slots)
    return members


def _to_stack(member, module):
    """Return the operations to stack, or None; by types and parameters alone."""
    if (
        not member.plain
        or member.criterion is not nn.CrossEntropyLoss
        or member.get_params_for("criterion").keys() - {"label_smoothing"}
        or member.optimizer not in _ELEMENTWISE
        or any(name.startswith("optimizer__param_groups") for name in vars(member))
    ):
        return None
    return operations_of(module)


# Where a call costs more than what it computes, wide stacks pay; else little that is filled up.
# Bytes of weights in a stack beyond which a CPU gains nothing from more of them.
_STACKED_WEIGHTS = 1 << 21
# Most batches of an epoch of members in a stack where a step is mostly arithmetic. A full stack
# gains little there, and few are full: each number of batches has its own.
_STACKED_BATCHES = 12


def _is_coarse(member, module):
    return torch.device(member.device).type == "cpu" and not has_convolutions(module)


def _slots_of(job):
    """Return how many copies a stack has: by what members of one key share, and by the device.

    On a CPU as many as are fast: more where weights are so few that calls cost more than they,
    and one, so that the member is trained alone, where they are many and so are the batches.
    Elsewhere as many as take half of the device's memory, at most 128. Beyond that none is
    faster, and those that are left empty cost.
    """
    device, largest = torch.device(job.member.device), max(job.filled)
    if device.type == "cpu":
        weights = sum(p.numel() for p in job.module.parameters())
        slots = _STACKED_WEIGHTS // max(4 * weights, 1) // 8 * 8
        if has_convolutions(job.module):
            slots = 0
        if not slots and len(job.filled) > _STACKED_BATCHES:
            return 1
        return min(32, max(8, slots))
    own = bytes_of_slot(job.module, job.operations, job.shape, largest, over_patches(device))
    return min(128, max(8, memory_of(device) // 2 // own // 8 * 8))


def memory_of(device):
    """Return the bytes of a device, rounded down to a power of two; 16 GiB where nobody says.

    Drivers keep a little for themselves, some more than others: that must not decide shapes.
    """
    if device.type != "cuda":
        return 1 << 34
    total = torch.cuda.get_device_properties(device).total_memory
    return 1 << (total.bit_length() - 1)


def over_patches(device):
    """Say how convolutions are computed: products over patches, or groups of channels.

    A CPU is several times faster at the latter; what graphics cards do with many groups of few
    channels is slow.
    """
    return device.type != "cpu"


def _train(jobs, n_slots):
    """Train one stack of members whose keys are equal."""
    member = jobs[0].member
    device, dtype = torch.device(member.device), PRECISIONS[member.precision]
    with reproducible():
        for job in jobs:
            job.start()
        module, operations = jobs[0].module, jobs[0].operations
        stack = Stack(module, operations, n_slots, device, dtype, over_patches(device))
        for slot, job in enumerate(jobs):
            stack.load(slot, job.module)
        data = _Data(jobs, n_slots, device, dtype)
    with reproducible(careful=False):  # all that is computed from here on is known
        _descend(stack, data, member, jobs[0].filled, device, dtype)
    for slot, job in enumerate(jobs):
        stack.store(slot, job.module)
        job.member.finish(job.module)
        del job.module, job.draws


def _descend(stack, data, member, filled, device, dtype):
    """Take all steps of the training of a stack."""
    loss_params = member.get_params_for("criterion")
    named = [("weights", stack.weights)]
    _, optimizer_params = member.get_params_for_optimizer("optimizer", named)
    has_fused = inspect.signature(member.optimizer).parameters.keys() & {"fused"}
    if has_fused and device.type in ("cpu", "cuda") and not _LOOPS & optimizer_params.keys():
        optimizer_params["fused"] = True  # one pass over the weights instead of several
    optimizer = member.optimizer([stack.weights], **optimizer_params)
    for epoch in range(member.max_epochs):
        member.set_rates(optimizer, epoch)
        data.new_epoch()
        stop = 0
        for length in filled:
            start, stop = stop, stop + length
            X, codes, share = data.batch(start, stop)
            stack.weights.grad.zero_()
            with products_in(member.precision, device):
                logits = stack(X, share)
            if epoch == 0:
                member.check_outputs(logits.shape[2])
            loss = F.cross_entropy(
                logits.to(dtype).flatten(0, 1), codes.flatten(), reduction="none", **loss_params
            )
            loss.backward(share.flatten())
            optimizer.step()


class _Data:
    """The rows of a stack on the device, and the batches that the members draw from them."""

    def __init__(self, jobs, n_slots, device, dtype):
        self._jobs, self._n_slots, self._device, self._dtype = jobs, n_slots, device, dtype
        # Where, in the draws of all members one behind the other, each place finds its own.
        starts = np.cumsum([0, *(len(job.codes) for job in jobs[:-1])])
        self._drawn = torch.cat([job.place + int(a) for job, a in zip(jobs, starts, strict=True)])
        self._places = len(jobs[0].place)
        member = jobs[0].member
        self._padding, self._augment = member.crop_padding, member.crop_padding or member.flip
        shape = jobs[0].shape
        X = torch.zeros((n_slots, self._places, *shape), dtype=jobs[0].X.dtype)
        codes = torch.zeros((n_slots, self._places), dtype=torch.int64)
        self._share = torch.zeros((n_slots, self._places), dtype=dtype)
        mean = torch.zeros((n_slots, 1, *[1] * len(shape)), dtype=dtype)
        scale = torch.ones_like(mean)
        if member.normalize == "feature":
            mean, scale = (a.expand(n_slots, 1, *shape).clone() for a in (mean, scale))
        elif member.normalize == "channel" and len(shape) > 1:
            mean, scale = (
                a.expand(n_slots, 1, shape[0], *[1] * (len(shape) - 1)).clone()
                for a in (mean, scale)
            )
        for slot, job in enumerate(jobs):
            X[slot, : len(job.X)], codes[slot, : len(job.X)] = job.X, job.codes
            self._share[slot] = torch.tensor(job.share, dtype=dtype)
            mean[slot], scale[slot] = as_constants(job.member, dtype)
        self._first = torch.arange(n_slots, device=device)[:, None] * self._places
        self._share = self._share.to(device)
        self._codes = codes.flatten().to(device)
        self._mean, self._scale = mean.to(device), scale.to(device)
        X = X.to(device)
        # What no draw changes is normalised once.
        self._X = (X if self._augment else self._normalised(X)).flatten(0, 1)

    def _normalised(self, X):
        return (X.to(self._dtype) - self._mean) / self._scale

    def new_epoch(self):
        """Let every member draw."""
        self._order, self._offsets, self._flips = (
            None if drawn[0] is None else self._placed(torch.cat(drawn)).to(self._device)
            for drawn in zip(*(job.draws.epoch() for job in self._jobs), strict=True)
        )
        self._order += self._first

    def _placed(self, drawn):
        """Return what was drawn for each place; zeros in slots without a member."""
        out = drawn.new_zeros((self._n_slots, self._places, *drawn.shape[1:]))
        torch.index_select(drawn, 0, self._drawn, out=out[: len(self._jobs)].flatten(0, 1))
        return out

    def batch(self, start, stop):
        """Return rows, class indices and weights in some places of the epoch, slot by slot."""
        chosen = self._order[:, start:stop]
        shape = chosen.shape
        X = self._X[chosen.flatten()]
        if self._augment:
            offsets, flips = (
                None if drawn is None else drawn[:, start:stop].flatten(0, 1)
                for drawn in (self._offsets, self._flips)
            )
            X = augmented(X, offsets, flips, self._padding)
        X = X.unflatten(0, shape)
        if self._augment:
            X = self._normalised(X)
        return X, self._codes[chosen], self._share[:, start:stop]
