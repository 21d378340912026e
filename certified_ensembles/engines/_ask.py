"""Answers for test rows that stay with an engine."""

import functools

from ._dask import answers_of_blocks, cluster_of
from ._ray import answers_of_dataset, is_dataset


def asked_where_rows_are(answer):
    """Make a method answer for a Dask collection on its cluster, and for a Dataset of Ray.

    Of a collection a collection comes, of a Dataset the same with further columns.

    Without a cluster, and for any other rows, it is the method itself. The estimator says by its
    ``_answers_apart`` whether it takes part, and by ``_form_of(method, ...)`` what comes.
    """

    @functools.wraps(answer)
    def answer_there(self, X, *args, **how):
        if self._answers_apart and is_dataset(X):
            return answers_of_dataset(self, answer.__name__, X, args, how)
        client = cluster_of(X) if self._answers_apart else None
        if client is None:
            return answer(self, X, *args, **how)
        return answers_of_blocks(client, self, answer.__name__, X, args, how)

    return answer_there
