"""Training that is a function of rows and seed: one thread, seeded generators, plain floats."""

from .generators import OwnGenerators, global_seed, reseed, seeded
from .seeding import draws_globally, is_net, may_draw, one_job, parts_of, seeded_clones
from .shared import ProcessWide
from .sums import add_up
from .threads import one_thread

__all__ = [
    "OwnGenerators",
    "ProcessWide",
    "add_up",
    "draws_globally",
    "global_seed",
    "is_net",
    "may_draw",
    "one_job",
    "one_thread",
    "parts_of",
    "reseed",
    "seeded",
    "seeded_clones",
]
