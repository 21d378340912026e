"""The training loop of the representations: seeded, deterministic, and resumed after a kill."""

import contextlib
import hashlib
import math
import os
import pickle
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

# A checkpoint of a ResNet18 with its momentum takes 90 MB: once a minute is often enough.
_SECONDS_BETWEEN_CHECKPOINTS = 60.0
# What reading a damaged checkpoint may raise.
_UNREADABLE = (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError)


def resolve_device(device):
    """Return the torch device that a ``device`` parameter names.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"} or str
        "auto" is the GPU where there is one. "cuda:1" and the like name one of several.

    Returns
    -------
    device : torch.device

    Raises
    ------
    ValueError
        If it is unknown, or a GPU is wanted and there is none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is unknown: pass 'auto', 'cpu', 'cuda' or 'cuda:0'."
        ) from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} needs a GPU, and torch finds none: pass 'auto' or 'cpu'."
        )
    return resolved


# ---------------------------------------------------------------- checkpoints


class Checkpoint:
    """The state of one training, in a file of its own inside a folder.

    The name of the file holds a digest of what the result depends on, so that trainings on other
    rows or with other parameters may share the folder and never meet.

    Parameters
    ----------
    folder : path-like or None
        Made if it does not exist. None keeps nothing.
    name : str
        Beginning of the file's name.
    identity : str or None
        All that the weights depend on, in words and digests.
    """

    def __init__(self, folder, name, identity):
        self.path = None
        if folder is None:
            return
        self.identity = identity
        digest = hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()
        self.path = Path(folder) / f"{name.lower()}-{digest}.pt"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._name, self._saved = name, time.monotonic()

    def load(self, device):
        """Return the saved state, or None where there is none.

        Warns
        -----
        UserWarning
            If the file is damaged, or the folder holds only checkpoints of other trainings.
        """
        if self.path is None:
            return None
        if not self.path.exists():
            others = len(list(self.path.parent.glob(f"{self._name.lower()}-*.pt")))
            if others:
                self._warn(
                    f"checkpoint={str(self.path.parent)!r} holds {others} checkpoint(s) of "
                    f"{self._name}, none of them of these rows, these parameters, this version "
                    "of torch and this kind of device"
                )
            return None
        try:
            # Tensors, numbers and strings only: unlike a pickle, the file cannot run code.
            state = torch.load(self.path, map_location=device, weights_only=True)
            if state["identity"] == self.identity:
                return state
            problem = "belongs to another training"
        except _UNREADABLE as error:
            problem = f"cannot be read ({type(error).__name__})"
        self._warn(f"The checkpoint {str(self.path)!r} {problem}")
        return None

    @staticmethod
    def _warn(problem):
        # To the line that called fit.
        warnings.warn(f"{problem}: training starts from the beginning.", UserWarning, stacklevel=7)

    def save(self, make_state, *, now=False):
        """Write a state to the file, in one step, if the last time is long enough ago.

        Parameters
        ----------
        make_state : callable
            Returns the state, a dictionary.
        now : bool
            Write it in any case.
        """
        due = self.path is not None and (
            now or time.monotonic() - self._saved >= _SECONDS_BETWEEN_CHECKPOINTS
        )
        if not due:
            return
        # Whoever is killed while writing leaves the old file as it was.
        handle, part = tempfile.mkstemp(dir=self.path.parent, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save({"identity": self.identity, **make_state()}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
        self._saved = time.monotonic()


def environment(device):
    """Return what the rounding depends on besides rows and parameters, as a string."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return f"torch {torch.__version__} on {where}"


# ---------------------------------------------------------------- learning rates


def steps(rate, drops, factor):
    """Return a schedule: the rate is multiplied by a factor after each of some epochs."""
    return lambda epoch: rate * factor ** sum(epoch >= drop for drop in drops)


def cosine(rate, epochs, warmup):
    """Return a schedule: half a cosine from the rate down to a thousandth of it.

    It rises in a straight line from a fiftieth of the rate during the epochs of `warmup`.
    """

    def at(epoch):
        lowest = rate / 1000
        return lowest + (rate - lowest) * (1 + math.cos(math.pi * epoch / epochs)) / 2

    def schedule(epoch):
        if epoch >= warmup:
            return at(epoch)
        start = rate / 50
        return start + (at(min(warmup, epochs)) - start) * epoch / warmup

    return schedule


# ---------------------------------------------------------------- the loop


def train(
    module,
    batch_loss,
    n_rows,
    generator,
    *,
    epochs,
    batch_size,
    schedule,
    momentum,
    nesterov,
    weight_decay,
    checkpoint,
    name,
    verbose,
):
    """Train a network by stochastic gradient descent, from where the checkpoint ends.

    Parameters
    ----------
    module : torch.nn.Module
        On its device; changed in place.
    batch_loss : callable
        ``batch_loss(rows, generator)``, from indices of rows and the source of all draws to a
        tuple: the loss to descend, and the one to report, both tensors of no axes.
    n_rows : int
    generator : torch.Generator
        On the CPU; the only source of chance.
    epochs : int
    batch_size : int
        The most rows in a batch. All batches have this size or, where it does not divide the
        rows, sizes that differ by at most one: none is so small that its statistics mean nothing.
    schedule : callable
        From the time in epochs, a float from 0, to the learning rate.
    momentum, nesterov, weight_decay
        As in :class:`torch.optim.SGD`.
    checkpoint : Checkpoint
    name : str
        For the progress bar.
    verbose : int

    Returns
    -------
    losses : ndarray of shape (epochs,)
        Mean of the reported loss over the rows of each epoch.

    Raises
    ------
    ValueError
        If the loss is no longer finite.
    """
    device = next(module.parameters()).device
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=schedule(0.0),
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
    )
    losses = []
    state = checkpoint.load(device)
    if state is not None:
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"].cpu())
        losses = list(state["losses"])

    def make_state():
        weights, momenta = module.state_dict(), optimizer.state_dict()
        draws = generator.get_state()
        return {"module": weights, "optimizer": momenta, "generator": draws, "losses": losses}

    module.train()
    bar_options = {"total": epochs, "initial": len(losses), "desc": name, "unit": "epoch"}
    bar = tqdm(range(len(losses), epochs), disable=not verbose, **bar_options)
    for epoch in bar:
        order = torch.randperm(n_rows, generator=generator)
        batches = order.tensor_split(math.ceil(n_rows / batch_size))
        losses.append(
            _train_epoch(module, optimizer, batch_loss, batches, generator, schedule, epoch)
        )
        bar.set_postfix(loss=f"{losses[-1]:.4f}")
        if not math.isfinite(losses[-1]):
            raise ValueError(
                f"{name} diverged in epoch {epoch + 1}: its loss is {losses[-1]}. Lower "
                "learning_rate."
            )
        checkpoint.save(make_state, now=epoch + 1 == epochs)
    module.eval()
    return np.array(losses)


def _train_epoch(module, optimizer, batch_loss, batches, generator, schedule, epoch):
    """Take one step a batch, and return the mean of the reported loss over all rows."""
    device = next(module.parameters()).device
    total = torch.zeros((), dtype=torch.float64, device=device)
    for i, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = schedule(epoch + i / len(batches))
        loss, reported = batch_loss(batch, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += reported.detach() * len(batch)
    return total.item() / sum(len(batch) for batch in batches)
