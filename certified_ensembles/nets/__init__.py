"""Networks as members and representations, trained to the bit by rows and seed."""

try:
    import skorch  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "certified_ensembles.nets needs torch and skorch: pip install certified-ensembles[torch]"
    ) from error

from ._classifier import SeededNetClassifier
from ._frozen import FrozenFeatures
from ._modules import ConvHead, LinearHead, NetworkInNetwork, ResNet18
from ._self_supervised.rotnet import RotNet
from ._self_supervised.simclr import SimCLR
from ._settings import paper_settings

__all__ = [
    "ConvHead",
    "FrozenFeatures",
    "LinearHead",
    "NetworkInNetwork",
    "ResNet18",
    "RotNet",
    "SeededNetClassifier",
    "SimCLR",
    "paper_settings",
]
