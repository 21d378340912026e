"""Attack an estimator's own promise: refit on poisoned data and look for a broken certificate."""

from ._attacks import Attack
from ._audit import AuditReport, BrokenCertificateError, check_certificate

__all__ = ["Attack", "AuditReport", "BrokenCertificateError", "check_certificate"]

# Tracebacks and pickles name the public module.
for _public in (Attack, AuditReport, BrokenCertificateError):
    _public.__module__ = __name__
