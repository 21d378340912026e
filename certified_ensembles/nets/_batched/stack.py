"""A network in many copies, one weight set a slot, run and trained as one.

The copies stand side by side in every tensor. No operation adds across copies, and the shape of
each depends on the network, the number of slots and the number of rows that a batch is padded to.
Which rows and weights the other slots hold, or whether they hold any, does not enter the
arithmetic of a slot.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from .._modules import SquareMaps
from .ops import MaskedNorm, PatchConv, Product, is_pointwise, places

# Vector instructions work on some numbers at a time; the numbers that are left over go through
# other instructions, which may round differently. So no number is left over: the weights of every
# layer are padded to a multiple of this many.
_WIDTH = 64


def has_convolutions(module):
    """Say whether a network has convolutions."""
    return any(isinstance(layer, nn.Conv2d) for layer in module.modules())


def bytes_of_slot(module, operations, shape, n_rows, patches):
    """Return about how much memory a step of training takes, for each copy in a stack.

    Parameters
    ----------
    module : torch.nn.Module
    operations : list of Operation
    shape : tuple of int
        The shape of a row.
    n_rows : int
        The number of rows in a batch.
    patches : bool
        As in :class:`BatchedModule`.

    Returns
    -------
    n_bytes : int
        The memory of all values on the way forward, of a few more of the largest on the way
        back, of unfolded patches and their gradients, and of weights with the optimizer's state.
    """
    sketch = copy.deepcopy(module).to("meta").train()  # shapes without numbers
    values = {-1: torch.empty(2, *shape, device="meta", dtype=torch.float32)}
    sizes, unfolded = [], [0]
    for place, (what, layer, places_given) in enumerate(operations):
        given = [values[i] for i in places_given]
        if what == "layer":
            run = sketch.get_submodule(layer)
            values[place] = run.float()(*given)
            if isinstance(run, nn.Conv2d) and patches and not is_pointwise(run):
                unfolded.append(math.prod(run.weight.shape[1:]) * values[place][0, 0].numel())
        elif what == "flatten":
            values[place] = given[0].flatten(1)
        else:
            values[place] = sum(given) if what == "sum" else what(*given)
        sizes.append(values[place][0].numel())
    weights = sum(p.numel() for p in module.parameters())
    width = max(p.element_size() for p in module.parameters())
    return width * (n_rows * (sum(sizes) + 3 * max(sizes) + 3 * max(unfolded)) + 4 * weights)


class BatchedModule:
    """The copies of one network, one a slot.

    Parameters
    ----------
    module : torch.nn.Module
        Any copy.
    operations : list of Operation
        What it computes, from :func:`operations_of`.
    n_slots : int
        Number of copies, a multiple of 8.
    device, dtype
        The device and the type of weights and sums.
    patches : bool
        Whether convolutions are matrix products over unfolded patches, else grouped
        convolutions. Maps are then kept as (slots, channels, rows, ...), else as (rows, slots,
        channels, ...).

    Attributes
    ----------
    weights : torch.nn.Parameter of one axis
        The weights of all slots.
    """

    def __init__(self, module, operations, n_slots, device, dtype, patches):
        self.n_slots, self._operations, self._patches = n_slots, operations, patches
        shapes = {name: p.shape for name, p in module.named_parameters()}
        sizes = {name: n_slots * shape.numel() for name, shape in shapes.items()}
        total = sum(-(-size // _WIDTH) * _WIDTH for size in sizes.values())
        self.weights = nn.Parameter(torch.zeros(total, dtype=dtype, device=device))
        self.weights.grad = torch.zeros_like(self.weights)
        # One long vector for the optimiser, of which every layer sees its piece.
        self._parameters, start = {}, 0
        for name, shape in shapes.items():
            piece = slice(start, start + sizes[name])
            view = self.weights.detach()[piece].view(n_slots, *shape).requires_grad_()
            view.grad = self.weights.grad[piece].view(n_slots, *shape)
            self._parameters[name] = view
            start += -(-sizes[name] // _WIDTH) * _WIDTH
        self._buffers = {
            name: b.to(device, dtype if b.is_floating_point() else b.dtype)
            .expand(n_slots, *b.shape)
            .clone()
            for name, b in module.named_buffers()
        }
        names = {operation.layer for operation in operations} - {None}
        self._layers = {name: module.get_submodule(name) for name in names}
        last = {given: place for place, op in enumerate(operations) for given in op.given}
        self._last_used = [
            [old for old in last if last[old] == place] for place in range(len(operations))
        ]
        self._flattens_input = all(
            op.what == "flatten" or isinstance(self._layers.get(op.layer), nn.Flatten)
            for op in operations
            if -1 in op.given
        )

    def load(self, slot, module):
        """Copy the weights and running statistics of a module into a slot."""
        with torch.no_grad():
            for name, value in module.named_parameters():
                self._parameters[name][slot].copy_(value)
            for name, value in module.named_buffers():
                self._buffers[name][slot].copy_(value)

    def store(self, slot, module):
        """Copy the weights and running statistics of a slot into a module."""
        with torch.no_grad():
            for name, value in module.named_parameters():
                value.copy_(self._parameters[name][slot])
            for name, value in module.named_buffers():
                value.copy_(self._buffers[name][slot])

    # ------------------------------------------------------------ forward, in training mode

    def __call__(self, X, sample_weight):
        """Return the logits of all copies.

        Parameters
        ----------
        X : Tensor of shape (n_slots, n_rows, ...)
        sample_weight : Tensor of shape (n_slots, n_rows)
            1 / (number of rows of the slot) for its rows, 0 for those that pad the batch.

        Returns
        -------
        logits : Tensor of shape (n_slots, n_rows, n_outputs)
        """
        values = {-1: X}
        if X.ndim == 5:  # most nets without convolutions want rows, not maps
            values[-1] = X.flatten(2) if self._flattens_input else self._as_maps(X)
        for place, (what, layer, places_given) in enumerate(self._operations):
            given = [values[given] for given in places_given]
            if what == "layer":
                values[place] = self._run(layer, *given, sample_weight)
            elif what == "flatten":
                values[place] = self._as_rows(*given)
            elif what == "sum":
                values[place] = given[0] + given[1]
            else:
                values[place] = what(*given)
            for old in self._last_used[place]:  # frees the memory of what no gradient needs
                del values[old]
        return values[place]

    def _run(self, target, x, sample_weight):
        layer = self._layers[target]
        if isinstance(layer, nn.Conv2d):
            return self._convolve(target, layer, x)
        if isinstance(layer, nn.Linear):
            weight, bias = self._parameter(target, "weight"), self._parameter(target, "bias")
            y = Product.apply(x, weight.transpose(1, 2))
            return y if bias is None else y + bias[:, None]
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            return self._normalise(target, layer, x, sample_weight)
        if isinstance(layer, nn.Flatten):
            return self._as_rows(x)
        if isinstance(layer, SquareMaps):
            if x.ndim == 5:
                return x
            return self._as_maps(layer(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            return x.mean(dim=(3, 4), keepdim=True)
        if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
            return layer(x.flatten(0, 2)).unflatten(0, x.shape[:3])
        return layer(x)

    def _parameter(self, target, name):
        return self._parameters.get(f"{target}.{name}" if target else name)

    # Maps have the axes (slots, channels, rows) if patches else (rows, slots, channels).

    def _as_maps(self, x):
        order = (0, 2, 1, 3, 4) if self._patches else (1, 0, 2, 3, 4)
        return x.permute(order).contiguous()

    def _as_rows(self, x):
        if x.ndim == 3:
            return x
        order = (0, 2, 1, 3, 4) if self._patches else (1, 0, 2, 3, 4)
        return x.permute(order).flatten(2)

    def _convolve(self, target, layer, x):
        weight, bias = self._parameter(target, "weight"), self._parameter(target, "bias")
        if self._patches:
            y = PatchConv.apply(x, weight.flatten(2), layer)
            return y if bias is None else y + bias[:, :, None, None, None]
        y = F.conv2d(
            x.flatten(1, 2),
            weight.flatten(0, 1),
            None if bias is None else bias.flatten(),
            layer.stride,
            layer.padding,
            layer.dilation,
            groups=self.n_slots,
        )
        return y.unflatten(1, (self.n_slots, -1))

    def _normalise(self, target, layer, x, sample_weight):
        weight, bias = self._parameter(target, "weight"), self._parameter(target, "bias")
        y, mean, variance = MaskedNorm.apply(
            x, weight, bias, sample_weight, layer.eps, self._patches
        )
        if layer.track_running_stats:
            with torch.no_grad():
                n = 1 / sample_weight.amax(dim=1, keepdim=True) * places(x)
                unbiased = variance * (n / (n - 1).clamp(min=1))
                prefix = f"{target}." if target else ""
                for name, new in (("running_mean", mean), ("running_var", unbiased)):
                    old = self._buffers[prefix + name]
                    old.mul_(1 - layer.momentum).add_(new * layer.momentum)
                self._buffers[prefix + "num_batches_tracked"] += 1
        return y
