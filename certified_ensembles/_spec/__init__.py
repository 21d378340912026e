"""What is cloned for each member: how it is seeded, cached and shown rows.

Types and parameters decide, never rows: `MemberSpec` is made once for all members. A member that
is kept is known by `recipe_of` (its parameters, its code, the versions of what trains it), its
rows and its seed. All training goes through `fit_seeded`.
"""

from .code_key import content_key, recipe_of
from .members import ByValue, MemberSpec, fit_seeded

__all__ = ["ByValue", "MemberSpec", "content_key", "fit_seeded", "recipe_of"]
