"""What a network computes, as a list of operations, where all of them are of the usual sort.

The forward method runs once, on a stand-in that notes what is done with it. Nothing is patched
(as `torch.fx` does, for all threads), so that other threads may run networks meanwhile.
"""

import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .._modules import SquareMaps

# Each number that comes out depends on one that goes in.
_POINTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus,
    nn.Hardtanh, nn.Hardswish, nn.Identity,
)  # fmt: skip
_POINTWISE_FUNCTIONS = (torch.relu, F.relu, torch.tanh, F.tanh, torch.sigmoid, F.gelu, F.silu)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Operation(NamedTuple):
    """One step of a network."""

    what: Any  # "layer", "sum", "flatten" or a pointwise function
    layer: str | None  # name of the layer
    given: tuple  # places, in the list, of what goes in; -1 is the input


class _UnknownOperationError(Exception):
    """A network does what cannot be stacked."""


class _StandIn:
    """What a network is run on: it notes operations instead of computing."""

    def __init__(self, place, notes):
        self.place, self.notes = place, notes

    def noted(self, what, layer, *given):
        if not all(isinstance(value, _StandIn) for value in given):
            raise _UnknownOperationError
        self.notes.append(Operation(what, layer, tuple(value.place for value in given)))
        return _StandIn(len(self.notes) - 1, self.notes)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        first = next(arg for arg in args if isinstance(arg, _StandIn))
        kwargs = kwargs or {}
        if function is torch.flatten and not kwargs:
            return first.flatten(*args[1:])
        if function is torch.add and not kwargs and len(args) == 2:
            return first.noted("sum", None, *args)
        if function in _POINTWISE_FUNCTIONS and len(args) == 1 and kwargs.keys() <= {"inplace"}:
            return first.noted(function, None, first)
        raise _UnknownOperationError

    def __add__(self, other):
        return self.noted("sum", None, self, other)

    __radd__ = __iadd__ = __add__

    def __bool__(self):
        raise _UnknownOperationError  # it decides by its data

    def flatten(self, *axes):
        if axes not in ((1,), (1, -1)):
            raise _UnknownOperationError
        return self.noted("flatten", None, self)

    def relu(self):
        return self.noted(torch.relu, None, self)

    def tanh(self):
        return self.noted(torch.tanh, None, self)


class _Noted(nn.Module):
    """Stands for a layer of the network."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, x):
        return x.noted("layer", self.name, x)


def operations_of(module):
    """Return the operations of a network, or None where they cannot be stacked.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    operations : list of Operation or None
        The last gives the output. It depends on the module's type and parameters alone.
    """
    layers = {}
    for name, part in module.named_modules():
        if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks:
            return None
        if type(part) is SquareMaps or (
            type(part).__module__.startswith("torch.nn.") and not isinstance(part, _CONTAINERS)
        ):
            if not _is_known(part):
                return None
            layers[name] = part
    parameters = dict(module.named_parameters(remove_duplicate=False))
    if len({id(p) for p in parameters.values()}) < len(parameters):
        return None  # a weight in two places
    if not parameters or not all(p.requires_grad for p in parameters.values()):
        return None
    try:
        notes = _noted_run(module, layers)
    except Exception:  # whatever fails on a stand-in is not of the usual sort
        return None
    used = [note.layer for note in notes if note.layer is not None]
    with_state = {name for name, layer in layers.items() if layer.state_dict()}
    owned = {f"{name}.{key}" if name else key for name in with_state
             for key in layers[name].state_dict()}  # fmt: skip
    once = all(used.count(name) == 1 for name in with_state)
    return notes if once and owned == set(module.state_dict()) else None


def _noted_run(module, layers):
    sketch = copy.deepcopy(module)
    for name in layers:
        parent, _, own = name.rpartition(".")
        if not name:
            sketch = _Noted(name)
        else:
            setattr(sketch.get_submodule(parent), own, _Noted(name))
    notes = []
    out = sketch(_StandIn(-1, notes))
    if not isinstance(out, _StandIn) or out.place != len(notes) - 1 or not notes:
        raise _UnknownOperationError
    return notes


def _is_known(layer):
    """Say whether a layer of torch is one that can be stacked, in this form."""
    if type(layer) is nn.Conv2d:
        return (layer.groups == 1 and layer.padding_mode == "zeros"
                and not isinstance(layer.padding, str))  # fmt: skip
    if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d):
        return layer.momentum is not None
    if type(layer) is nn.Flatten:
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if type(layer) is nn.AdaptiveAvgPool2d:
        return layer.output_size in (1, (1, 1))
    if type(layer) is nn.MaxPool2d:
        return not layer.return_indices
    return type(layer) in (nn.Linear, nn.AvgPool2d, SquareMaps, *_POINTWISE)
