"""What estimators of members on partitions share.

What enters: rows, targets and the parameters of an estimator. What leaves: trained members, and
their answers put together. `base` trains and asks members of any kind, `partitions` deals rows out
by a hash, a source or a period, `voting` counts the ballots of classifiers. The rule of this room:
whatever differs among kinds of members is asked of the members.
"""

from .base import BasePartitionEnsemble
from .partitions import BaseRowPartitionEnsemble
from .voting import BaseVotingEnsemble

__all__ = ["BasePartitionEnsemble", "BaseRowPartitionEnsemble", "BaseVotingEnsemble"]
