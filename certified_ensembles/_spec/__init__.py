"""What is cloned for each member: how it is seeded, cached and shown rows.

Types and parameters decide, never rows: `MemberSpec` is made once for all members. A member that
is kept is known by `recipe_of` (its parameters, its code, the versions of what trains it), its
rows and its seed. All training goes through `fit_seeded`, and all that is kept through a store.
"""

from .code_key import content_key, recipe_of
from .fixed_steps import FixedSteps, bare, maps_rows_apart
from .members import MemberSpec, fit_seeded
from .report import cache_report
from .store import AbsentError, DamagedError, Outcome, Shelved, store_of

__all__ = [
    "AbsentError",
    "DamagedError",
    "FixedSteps",
    "MemberSpec",
    "Outcome",
    "Shelved",
    "bare",
    "cache_report",
    "content_key",
    "fit_seeded",
    "maps_rows_apart",
    "recipe_of",
    "store_of",
]
