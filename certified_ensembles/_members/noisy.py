"""Members trained on noisy copies of the labels: randomized smoothing of any classifier."""

import numpy as np

from .._data.containers import own_copy
from .._deterministic import one_thread
from .._jobs import in_turn, progress
from .._spec import cache_report
from ..certificates.monte_carlo import monte_carlo_radius
from .partition import PartitionMembers
from .stored import stored
from .training import Job, counting_kept, train


def noisy_codes(codes, n_classes, noise, seed):
    """Replace each label, with probability `noise`, by one of the others, all alike.

    Parameters
    ----------
    codes : ndarray of shape (n_train,), int
        Labels in 0..n_classes - 1.
    n_classes : int
        At least 2.
    noise : float
        Between 0 and 1.
    seed : sequence of int
        The same seed and length give the same replacements, place by place.

    Returns
    -------
    codes : ndarray of shape (n_train,), int
    """
    rng = np.random.default_rng(seed)
    replaced = rng.random(len(codes)) < noise
    shift = rng.integers(1, n_classes, len(codes))
    return np.where(replaced, (codes + shift) % n_classes, codes)


class NoisyMembers(PartitionMembers):
    """Members that see all rows, and labels of which each one has its own noise.

    Parameters
    ----------
    features : LabelFreeFeatures
        What comes before the members; fitted here.
    estimator : classifier
        Unfitted; cloned and seeded for each draw.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    memory : str, object with the joblib.Memory interface or None

    Attributes
    ----------
    estimators : list of classifier
        One for each draw.
    """

    def __init__(self, features, estimator, classes, *, memory):
        super().__init__(estimator, classes, open_set=False, memory=memory)
        self._features = features

    def fit(self, X, codes, noise, seeds, *, n_jobs, verbose):
        """Train one member on each of many noisy label vectors.

        Parameters
        ----------
        X : training rows
        codes : ndarray of shape (n_train,), int
            Labels as class indices.
        noise : float
        seeds : list of int
            One for each draw, one after the other. The first one decides the noise, so it must
            not be known to whoever writes the labels: the confidence is over draws made after
            the labels were fixed.
        n_jobs, verbose
            As in the estimators.

        Returns
        -------
        self : NoisyMembers
        """
        rows, _ = self._features.fit_rows(X).in_canonical_order()
        view, codes = self.spec.view(rows), self._features.arrange(codes)
        rows, self.views = view.hand_out(rows), [view] * len(seeds)
        n_classes, copies = len(self.classes), self._features.row_of_copy

        def calls():
            for i, member in enumerate(self.spec.clones(seeds)):
                noisy = noisy_codes(codes, n_classes, noise, [seeds[0], i])
                # A member must not know which of two copies has which label.
                noisy = noisy[np.lexsort((noisy, copies))]
                job = Job.of(self.spec, member, rows, self.classes[noisy], {}, seeds[i])
                yield job, self.spec.store

        with cache_report() as report, one_thread():
            bar = progress(in_turn(_fit_draw, calls(), n_jobs), len(seeds), "fit", verbose)
            self.estimators = stored(list(counting_kept(bar, report)), self.spec.store)
        self.seeds, self.noise = seeds, noise
        self.steps, self.n_train = [], len(codes)
        self.seen = np.ones((len(seeds), n_classes), dtype=bool)
        return self

    def _all_votes(self, X, **how):
        return np.concatenate(list(self.votes(self._features.transform(X), **how)))

    def winners(self, X, **how):
        """Return the class index with most votes for each test row."""
        return self._all_votes(X, **how).argmax(axis=1)

    def shares(self, X, **how):
        """Return the shares of the votes, of shape (n_samples, n_classes)."""
        return self._all_votes(X, **how) / len(self.estimators)

    def certify(self, X, *, noise, confidence, certificate, **how):
        """Return winners, and the flips that each survives with the given confidence.

        Only the noise with which the labels were drawn is proven, whatever is given here.
        """
        return monte_carlo_radius(
            self._all_votes(X, **how),
            self.noise,
            confidence,
            n_draws=len(self.estimators),
            max_radius=self.n_train,
        )


def _fit_draw(job, store):
    # The draws share their rows, and the steps of a pipeline may write on what they get.
    with one_thread():
        return train([job._replace(X=own_copy(job.X))], store)[0]
