"""Certified defences against training-data poisoning, as scikit-learn estimators."""

from . import audit, certificates, datasets, display, features, hashers, metrics
from ._certificate import Certificate, CertificateWarning
from .dpa import DeepPartitionAggregation

__version__ = "0.1.0.dev0"

__all__ = [
    "Certificate",
    "CertificateWarning",
    "DeepPartitionAggregation",
    "audit",
    "certificates",
    "datasets",
    "display",
    "features",
    "hashers",
    "metrics",
]
