"""Attack an estimator's own promise: refit on poisoned data and look for a broken certificate."""

from ._attacks import Attack
from ._audit import AuditReport, BrokenCertificateError, check_certificate

__all__ = ["Attack", "AuditReport", "BrokenCertificateError", "check_certificate"]
