"""Rows that stay with an engine: hashed where they are, and never all in one process.

Two functions serve engines of any kind. `partition_numbers` says of a batch of rows in which
partitions they are, and `write_partitions` writes files by partition, which ``fit_partitions`` of
an ensemble reads. The rest is for the ensembles: a fit, and answers, where the rows are. The rule
of this room: what runs on an engine is what runs in one process, on fewer rows.
"""

from ._ask import asked_where_rows_are
from ._folder import FolderRows
from ._plan import FitPlan
from ._source import source_of
from ._whole import Whole
from ._write import partition_numbers, write_partitions

__all__ = [
    "FitPlan",
    "FolderRows",
    "Whole",
    "asked_where_rows_are",
    "partition_numbers",
    "source_of",
    "write_partitions",
]
