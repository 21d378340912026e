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
from .stack import BatchedModule, bytes_of_slot, has_convolutions
from .tracing import operations_of


def padded_length(length, to_power_of_two=False):
    """Return the number of rows that a batch is padded to.

    Parameters
    ----------
    length : int
        The number of rows in the batch.
    to_power_of_two : bool, default=False
        True pads to a power of two, at least 16, so that more members are alike; False to a
        multiple of 4, at most a quarter more.

    Examples
    --------
    >>> [padded_length(n) for n in (2, 13, 50, 128)]
    [4, 16, 56, 128]
    >>> [padded_length(n, to_power_of_two=True) for n in (2, 13, 50, 128)]
    [16, 16, 64, 128]
    """
    if to_power_of_two:
        return max(16, 1 << (length - 1).bit_length())
    step = max(4, 1 << max(0, length.bit_length() - 3))
    return -(-length // step) * step


# The last of more batches than this is padded to the size of the others: it is at most an eighth
# of the rows.
_FEW_BATCHES = 4


def padded_lengths(lengths, to_power_of_two):
    """Return the numbers of rows that the batches of an epoch are padded to.

    Parameters
    ----------
    lengths : tuple of int
        As :func:`batch_lengths` returns it.
    to_power_of_two : bool
        As in :func:`padded_length`.

    Examples
    --------
    >>> padded_lengths((32, 32, 5), to_power_of_two=False)
    (32, 32, 8)
    >>> padded_lengths((32, 32, 32, 32, 5), to_power_of_two=False)
    (32, 32, 32, 32, 32)
    """
    padded = [padded_length(length, to_power_of_two) for length in lengths]
    if len(padded) > _FEW_BATCHES:
        padded[-1] = max(padded[-1], padded[0])
    return tuple(padded)


# Optimizers that change each weight by its own gradients alone, in the same steps for all slots.
_ELEMENTWISE = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
)


# Arguments of an optimizer that choose its implementation, or that not every one of these takes.
_IMPLEMENTATIONS = {"fused", "foreach", "capturable", "differentiable"}


class SlotJob:
    """What one slot trains: a member, its rows, how they fall into batches, and its draws."""

    def __init__(self, member, X, y):
        self.member = member
        X, codes = member.prepare(X, y)
        self.shape = tuple(X.shape[1:])
        self.X, self.codes = at_least_two(X, codes)
        self.lengths = batch_lengths(len(self.codes), member.batch_size)
        self.module = member.initial_module(self.shape)
        self.operations = _operations_to_batch(member, self.module)

    def key(self):
        """Return a key that is equal for members whose training takes the same operations.

        They have the same shapes, too. The key says nothing but what the member's own rows,
        parameters and seed say. (A module may draw its layers, not only its weights.)
        """
        module = self.module
        to_power_of_two = _pads_to_power_of_two(self.member, module)
        self.padded_lengths = padded_lengths(self.lengths, to_power_of_two)
        design = repr(module), tuple(self.operations), tuple(p.shape for p in module.parameters())
        return (self.shape, design, self.padded_lengths, self.X.dtype)

    def start(self):
        """Seed the draws, and lay out the padded batches of an epoch one behind the other."""
        member, n = self.member, len(self.codes)
        self.draws = Draws(
            member.random_state, n, member.crop_padding, member.flip, member.shuffles
        )
        # For every place in the padded batches: which of the epoch's rows, and its weight.
        places, self.sample_weight, begin = [], [], 0
        for length, padded in zip(self.lengths, self.padded_lengths, strict=True):
            rows, n_padding = list(range(begin, begin + length)), padded - length
            places += rows + rows[:1] * n_padding
            self.sample_weight += [1 / length] * length + [0.0] * n_padding
            begin += length
        self.row_of_place = torch.tensor(places)


def fit_side_by_side(members, rows, labels, n_slots=None):
    """Train members side by side in a fixed number of slots; alone where that cannot be.

    Parameters
    ----------
    members : list of SeededNetClassifier
        Unfitted; they differ in random_state alone.
    rows, labels : list of arrays
        Those of each member.
    n_slots : int, default=None
        The number of slots; those without a member train on nothing. None lets the network and
        the number of a member's rows decide.

    Returns
    -------
    members : list of SeededNetClassifier
        The same objects, fitted.
    """
    groups = defaultdict(list)
    with reproducible():
        for member, X, y in zip(members, rows, labels, strict=True):
            job = SlotJob(member, X, y)
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


def _operations_to_batch(member, module):
    """Return the operations of a batched module, or None; by types and parameters alone."""
    if (
        not member.runs_no_user_code
        or member.criterion is not nn.CrossEntropyLoss
        or member.get_params_for("criterion").keys() - {"label_smoothing"}
        or member.optimizer not in _ELEMENTWISE
        or any(name.startswith("optimizer__param_groups") for name in vars(member))
    ):
        return None
    return operations_of(module)


# Many slots pay where a call costs more than what it computes; elsewhere little padding pays more.
# Bytes of weights of a batched module beyond which a CPU gains nothing from more slots.
_MOST_WEIGHT_BYTES = 1 << 21
# The most batches in an epoch of members that a CPU trains side by side where a step is mostly
# arithmetic. Full slots gain little there, and few modules are full, as each number of batches
# has its own.
_MOST_BATCHES = 12


def _pads_to_power_of_two(member, module):
    return torch.device(member.device).type == "cpu" and not has_convolutions(module)


def _slots_of(job):
    """Return the number of slots, by what members of one key sample_weight and by the device.

    A CPU gets as many slots as are fast: up to 32 where weights are so few that calls cost more
    than arithmetic, and a single one, so that the member is trained alone, where both weights
    and batches are many. Other devices get as many as take half of their memory, at most 128:
    more are no faster, and slots that are left empty cost time.
    """
    device, largest = torch.device(job.member.device), max(job.padded_lengths)
    if device.type == "cpu":
        weights = sum(p.numel() for p in job.module.parameters())
        slots = _MOST_WEIGHT_BYTES // max(4 * weights, 1) // 8 * 8
        if has_convolutions(job.module):
            slots = 0
        if not slots and len(job.padded_lengths) > _MOST_BATCHES:
            return 1
        return min(32, max(8, slots))
    slot_bytes = bytes_of_slot(
        job.module, job.operations, job.shape, largest, over_patches(device)
    )
    return min(128, max(8, memory_of(device) // 2 // slot_bytes // 8 * 8))


def memory_of(device):
    """Return the bytes of a device, rounded down to a power of two; 16 GiB where nobody says.

    Drivers keep a little memory for themselves, some more than others: that must not decide
    shapes.
    """
    if device.type != "cuda":
        return 1 << 34
    total = torch.cuda.get_device_properties(device).total_memory
    return 1 << (total.bit_length() - 1)


def over_patches(device):
    """Say whether convolutions are products over patches, or else grouped convolutions.

    A CPU is several times faster at grouped convolutions; a graphics card is slow at many groups
    of few channels.
    """
    return device.type != "cpu"


def _train(jobs, n_slots):
    """Train members whose keys are equal, one a slot."""
    member = jobs[0].member
    device, dtype = torch.device(member.device), PRECISIONS[member.precision]
    with reproducible():
        for job in jobs:
            job.start()
        module, operations = jobs[0].module, jobs[0].operations
        batched = BatchedModule(module, operations, n_slots, device, dtype, over_patches(device))
        for slot, job in enumerate(jobs):
            batched.load(slot, job.module)
        data = _SlotData(jobs, n_slots, device, dtype)
    with reproducible(strict=False):  # only known operations run from here on
        run_sgd(batched, data, member, jobs[0].padded_lengths, device, dtype)
    for slot, job in enumerate(jobs):
        batched.store(slot, job.module)
        job.member.finish(job.module)
        del job.module, job.draws


def run_sgd(batched, data, member, lengths, device, dtype):
    """Take all steps of the training of all slots, by the member's optimizer.

    Parameters
    ----------
    batched : BatchedModule
    data : _SlotData
    member : SeededNetClassifier
        Any of the members: they differ in their seeds alone.
    lengths : tuple of int
        The padded lengths of the batches of an epoch.
    device, dtype
        As in :class:`BatchedModule`.
    """
    loss_params = member.get_params_for("criterion")
    named = [("weights", batched.weights)]
    _, optimizer_params = member.get_params_for_optimizer("optimizer", named)
    has_fused = inspect.signature(member.optimizer).parameters.keys() & {"fused"}
    if (
        has_fused
        and device.type in ("cpu", "cuda")
        and not _IMPLEMENTATIONS & optimizer_params.keys()
    ):
        optimizer_params["fused"] = True  # one pass over the weights instead of several
    optimizer = member.optimizer([batched.weights], **optimizer_params)
    for epoch in range(member.max_epochs):
        member.set_rates(optimizer, epoch)
        data.new_epoch()
        stop = 0
        for length in lengths:
            start, stop = stop, stop + length
            X, codes, sample_weight = data.batch(start, stop)
            batched.weights.grad.zero_()
            with products_in(member.precision, device):
                logits = batched(X, sample_weight)
            if epoch == 0:
                member.check_outputs(logits.shape[2])
            loss = F.cross_entropy(
                logits.to(dtype).flatten(0, 1), codes.flatten(), reduction="none", **loss_params
            )
            loss.backward(sample_weight.flatten())
            optimizer.step()


class _SlotData:
    """The rows of all slots on the device, and the batches that the members draw from them."""

    def __init__(self, jobs, n_slots, device, dtype):
        self._jobs, self._n_slots, self._device, self._dtype = jobs, n_slots, device, dtype
        # The draws of all members stand one behind the other: which of them belongs to each place.
        starts = np.cumsum([0, *(len(job.codes) for job in jobs[:-1])])
        self._drawn = torch.cat(
            [job.row_of_place + int(a) for job, a in zip(jobs, starts, strict=True)]
        )
        self._places = len(jobs[0].row_of_place)
        member = jobs[0].member
        self._padding, self._augment = member.crop_padding, member.crop_padding or member.flip
        shape = jobs[0].shape
        X = torch.zeros((n_slots, self._places, *shape), dtype=jobs[0].X.dtype)
        codes = torch.zeros((n_slots, self._places), dtype=torch.int64)
        self._sample_weight = torch.zeros((n_slots, self._places), dtype=dtype)
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
            self._sample_weight[slot] = torch.tensor(job.sample_weight, dtype=dtype)
            mean[slot], scale[slot] = as_constants(job.member, dtype)
        self._first = torch.arange(n_slots, device=device)[:, None] * self._places
        self._sample_weight = self._sample_weight.to(device)
        self._codes = codes.flatten().to(device)
        self._mean, self._scale = mean.to(device), scale.to(device)
        X = X.to(device)
        # Rows that no draw changes are normalised once.
        self._X = (X if self._augment else self._normalised(X)).flatten(0, 1)

    def _normalised(self, X):
        return (X.to(self._dtype) - self._mean) / self._scale

    def new_epoch(self):
        """Let every member draw the order, the crops and the flips of its next epoch."""
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
        return X, self._codes[chosen], self._sample_weight[:, start:stop]
