"""Certified defences against training-data poisoning, as scikit-learn estimators."""

from . import (
    abstention,
    attacks,
    audit,
    certificates,
    datasets,
    display,
    encoding,
    engines,
    features,
    hashers,
    kernels,
    metrics,
    neighbors,
    planning,
    report,
    representations,
    smoothers,
)
from ._certificate import Certificate, CertificateWarning, CertifiedInterval, certify
from .dpa import DeepPartitionAggregation
from .feature_partition import FeaturePartitionAggregation
from .label_flip import LabelFlipSmoothingClassifier
from .label_noise import LabelNoiseRegressor
from .regression import DeepPartitionRegressor
from .ssdpa import SemiSupervisedDPA

__version__ = "0.1.0.dev0"

__all__ = [
    "Certificate",
    "CertificateWarning",
    "CertifiedInterval",
    "DeepPartitionAggregation",
    "DeepPartitionRegressor",
    "FeaturePartitionAggregation",
    "LabelFlipSmoothingClassifier",
    "LabelNoiseRegressor",
    "SemiSupervisedDPA",
    "abstention",
    "attacks",
    "audit",
    "certificates",
    "certify",
    "datasets",
    "display",
    "encoding",
    "engines",
    "features",
    "hashers",
    "kernels",
    "metrics",
    "neighbors",
    "planning",
    "report",
    "representations",
    "smoothers",
]
