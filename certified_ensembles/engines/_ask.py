"""Answers for test rows that stay with an engine."""

import functools

from ._dask import answers_of_blocks, cluster_of


def asked_where_rows_are(answer):
    """Make a method answer for a Dask collection on its cluster, as a Dask collection.

    Without a cluster, and for any other rows, it is the method itself. The estimator says by its
    ``_answers_apart`` whether it takes part, and by ``_form_of(method)`` what comes.
    """

    @functools.wraps(answer)
    def answer_there(self, X, *args, **how):
        client = cluster_of(X) if self._answers_apart else None
        if client is None:
            return answer(self, X, *args, **how)
        return answers_of_blocks(client, self, answer.__name__, X, args, how)

    return answer_there
