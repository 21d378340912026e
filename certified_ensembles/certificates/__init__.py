"""Theorems as pure functions on arrays: no estimator in sight."""

from .finite import finite_aggregation_radius, finite_run_off_radius
from .plurality import plurality_radius, threat_cost
from .runoff import run_off_radius

__all__ = [
    "finite_aggregation_radius",
    "finite_run_off_radius",
    "plurality_radius",
    "run_off_radius",
    "threat_cost",
]
