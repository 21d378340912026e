"""What a network computes, as a list of operations, where all of them can be batched.

The forward method runs once, on a stand-in that records what is done with it. Nothing is patched
(as `torch.fx` does, for all threads), so that other threads may run networks meanwhile.
"""

import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .._modules import SquareMaps

# Layers and functions of which each number that comes out depends on one that goes in.
_POINTWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Hardtanh,
    nn.Hardswish,
    nn.Identity,
)
_POINTWISE_FUNCTIONS = (torch.relu, F.relu, torch.tanh, F.tanh, torch.sigmoid, F.gelu, F.silu)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Operation(NamedTuple):
    """One step of a network."""

    what: Any  # "layer", "sum", "flatten" or a pointwise function
    layer: str | None  # the name of the layer
    given: tuple  # the operations whose results go in, by their index; -1 is the input


class _UnknownOperationError(Exception):
    """The network holds an operation that cannot be batched."""


class _StandIn:
    """What a network is run on: it records operations instead of computing."""

    def __init__(self, place, operations):
        self.place, self.operations = place, operations

    def record(self, what, layer, *given):
        if not all(isinstance(value, _StandIn) for value in given):
            raise _UnknownOperationError
        self.operations.append(Operation(what, layer, tuple(value.place for value in given)))
        return _StandIn(len(self.operations) - 1, self.operations)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        first = next(arg for arg in args if isinstance(arg, _StandIn))
        kwargs = kwargs or {}
        if function is torch.flatten and not kwargs:
            return first.flatten(*args[1:])
        if function is torch.add and not kwargs and len(args) == 2:
            return first.record("sum", None, *args)
        if function in _POINTWISE_FUNCTIONS and len(args) == 1 and kwargs.keys() <= {"inplace"}:
            return first.record(function, None, first)
        raise _UnknownOperationError

    def __add__(self, other):
        return self.record("sum", None, self, other)

    __radd__ = __iadd__ = __add__

    def __bool__(self):
        raise _UnknownOperationError  # it decides by its data

    def flatten(self, *axes):
        if axes not in ((1,), (1, -1)):
            raise _UnknownOperationError
        return self.record("flatten", None, self)

    def relu(self):
        return self.record(torch.relu, None, self)

    def tanh(self):
        return self.record(torch.tanh, None, self)


class _RecordingLayer(nn.Module):
    """Stands for a layer of the network, and records that it runs."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, x):
        return x.record("layer", self.name, x)


def operations_of(module):
    """Return the operations of a network, or None where they cannot be batched.

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
        operations = _trace(module, layers)
    except Exception:  # whatever fails on a stand-in cannot be batched
        return None
    used = [op.layer for op in operations if op.layer is not None]
    with_state = {name for name, layer in layers.items() if layer.state_dict()}
    owned = {
        f"{name}.{key}" if name else key
        for name in with_state
        for key in layers[name].state_dict()
    }
    once = all(used.count(name) == 1 for name in with_state)
    return operations if once and owned == set(module.state_dict()) else None


def _trace(module, layers):
    sketch = copy.deepcopy(module)
    for name in layers:
        parent, _, attribute = name.rpartition(".")
        if not name:
            sketch = _RecordingLayer(name)
        else:
            setattr(sketch.get_submodule(parent), attribute, _RecordingLayer(name))
    operations = []
    out = sketch(_StandIn(-1, operations))
    if not isinstance(out, _StandIn) or out.place != len(operations) - 1 or not operations:
        raise _UnknownOperationError
    return operations


def _is_known(layer):
    """Say whether a layer of torch is one that can be batched, with its settings."""
    if type(layer) is nn.Conv2d:
        return (
            layer.groups == 1
            and layer.padding_mode == "zeros"
            and not isinstance(layer.padding, str)
        )
    if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d):
        return layer.momentum is not None
    if type(layer) is nn.Flatten:
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if type(layer) is nn.AdaptiveAvgPool2d:
        return layer.output_size in (1, (1, 1))
    if type(layer) is nn.MaxPool2d:
        return not layer.return_indices
    return type(layer) in (nn.Linear, nn.AvgPool2d, SquareMaps, *_POINTWISE)
