"""The training settings of the papers, by name, and those that a member may have."""

from numbers import Integral

from skorch.dataset import Dataset
from torch import nn
from torch.utils.data import DataLoader

from ._training import PRECISIONS

_GIDARIS = {
    "lr": 0.1,
    "lr_factor": 0.2,
    "batch_size": 128,
    "optimizer__momentum": 0.9,
    "optimizer__nesterov": True,
    "optimizer__weight_decay": 5e-4,
}

_SETTINGS = {
    "nin": {
        **_GIDARIS,
        "max_epochs": 200,
        "lr_milestones": (60, 120, 160),
        "crop_padding": 4,
        "normalize": "channel",
    },
    "rotnet-head": {
        **_GIDARIS,
        "max_epochs": 100,
        "lr_milestones": (35, 70, 85),
        "normalize": None,
    },
    "simclr-head": {
        "lr": 1.0,
        "lr_factor": 0.2,
        "batch_size": 512,
        "optimizer__momentum": 0.9,
        "max_epochs": 100,
        "lr_milestones": (60, 75, 90),
        "normalize": None,
    },
}


def paper_settings(name):
    """Return the settings with which the papers train a kind of member.

    Parameters
    ----------
    name : {"nin", "rotnet-head", "simclr-head"}
        The supervised `NetworkInNetwork` on images; the convolutional head on features of a
        RotNet (`ConvHead`); the linear head on features of SimCLR (`LinearHead`).

    Returns
    -------
    settings : dict
        Keyword arguments of :class:`SeededNetClassifier`. Images of objects are flipped as
        well: add ``flip=True``, but not for digits and traffic signs, which have a direction.

    Notes
    -----
    "nin" and "rotnet-head" are the settings of Gidaris et al. [2]_ that the DPA paper [1]_ takes
    over: SGD with Nesterov momentum and weight decay, whose rate falls to a fifth three times.
    Of the linear heads on SimCLR the DPA paper states rate, batch and epochs; the momentum
    and the three drops are those of the implementation that it names [3]_.

    References
    ----------
    .. [1] Levine and Feizi, "Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks", ICLR 2021.
    .. [2] Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting
       Image Rotations", ICLR 2018.
    .. [3] Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020.

    Examples
    --------
    >>> from certified_ensembles.nets import NetworkInNetwork, SeededNetClassifier, paper_settings
    >>> net = SeededNetClassifier(NetworkInNetwork, **paper_settings("nin"))
    >>> net.max_epochs, net.lr
    (200, 0.1)
    """
    if name not in _SETTINGS:
        raise ValueError(f"name={name!r} is unknown; choose one of {sorted(_SETTINGS)}.")
    return dict(_SETTINGS[name])


def check_settings(net):
    """Refuse what would make the training depend on more than rows and seed."""
    seed, size = net.random_state, net.stack_size
    if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
        raise ValueError(
            f"random_state={seed!r} is refused: a net that is trained with another seed each "
            "time has no certificate. Pass a non-negative integer, such as random_state=0."
        )
    if isinstance(net.module, nn.Module):
        raise ValueError(
            f"module is an object, of {type(net.module).__name__}, which a second training "
            "would find trained: pass the class, and its arguments as module__name."
        )
    is_default_or_one = size is None or size == 1
    if not is_default_or_one and (not isinstance(size, Integral) or size % 8 or size < 1):
        raise ValueError(f"stack_size={size!r} is neither 1 nor a multiple of 8.")
    for name, least in (("batch_size", 1), ("max_epochs", 0), ("crop_padding", 0)):
        value = getattr(net, name)
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name}={value!r} is no integer of {least} or more.")
    for name, allowed in (
        ("train_split", (None,)),
        ("warm_start", (False,)),
        ("iterator_train", (DataLoader,)),
        ("normalize", ("channel", "feature", None)),
        ("precision", tuple(PRECISIONS)),
        ("dataset", (Dataset,)),
    ):
        value = getattr(net, name)
        if not any(value is a or (isinstance(value, str) and value == a) for a in allowed):
            raise ValueError(
                f"{name}={value!r} is refused, so that the training is a function of rows and "
                f"seed; leave it at {', '.join(map(repr, allowed))}."
            )
