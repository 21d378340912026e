"""Theorems as pure functions on arrays: no estimator in sight."""

from .ablation import ablation_poisoned_probability
from .collective import (
    CollectiveCertificate,
    collective_run_off_survivors,
    collective_survivors,
)
from .condorcet import condorcet_radius
from .finite import finite_aggregation_radius, finite_run_off_radius
from .finite_targets import finite_target_radius, finite_top_k_radius
from .flips import flips_from_margin
from .grid import block_frontier, grid_frontier
from .knapsack import priced_plurality_radius, turning_prices
from .linear import linear_smoother_radius, linear_smoother_winner
from .linear_interval import linear_smoother_interval, linear_smoother_interval_radius
from .median_windows import median_window_interval, median_window_radius
from .medians import lower_median, median_interval, median_radius
from .monte_carlo import monte_carlo_radius
from .neighbors import nearest_neighbor_radius
from .plurality import plurality_radius
from .priced_targets import priced_target_radius, priced_top_k_radius
from .runoff import run_off_radius
from .runoff_targets import run_off_target_radius
from .smoothing import chernoff_log_error
from .targets import target_radius, top_k_radius
from .threats import threat_cost
from .windows import survives_members, window_radius

__all__ = [
    "CollectiveCertificate",
    "ablation_poisoned_probability",
    "block_frontier",
    "chernoff_log_error",
    "collective_run_off_survivors",
    "collective_survivors",
    "condorcet_radius",
    "finite_aggregation_radius",
    "finite_run_off_radius",
    "finite_target_radius",
    "finite_top_k_radius",
    "flips_from_margin",
    "grid_frontier",
    "linear_smoother_interval",
    "linear_smoother_interval_radius",
    "linear_smoother_radius",
    "linear_smoother_winner",
    "lower_median",
    "median_interval",
    "median_radius",
    "median_window_interval",
    "median_window_radius",
    "monte_carlo_radius",
    "nearest_neighbor_radius",
    "plurality_radius",
    "priced_plurality_radius",
    "priced_target_radius",
    "priced_top_k_radius",
    "run_off_radius",
    "run_off_target_radius",
    "survives_members",
    "target_radius",
    "threat_cost",
    "top_k_radius",
    "turning_prices",
    "window_radius",
]
