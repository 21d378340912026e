"""Undefended models as their attacker sees them, and the search for the fewest flips."""

import warnings

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import euclidean_distances

from ..certificates._exact_sums import sum_error_bound
from ..certificates.linear import linear_smoother_winner
from ..smoothers import LinearSmoother
from ..smoothers._weights import weights_rule
from .influence import Influence, check_model, decision_values, runner_up


def victim_of(estimator, X, codes, classes, orders):
    """Return what answers for a victim: by weights, if it is a linear smoother, or by fits."""
    rule = weights_rule(estimator)
    if rule is not None and rule.refusal(estimator) is None:
        return _SmootherVictim(estimator, X, codes, classes)
    if not is_classifier(estimator):
        raise ValueError(f"estimator={estimator!r} is no classifier: pass one.")
    return _FittedVictim(estimator, X, codes, classes, "influence" in orders)


class _Path:
    """Labels flipped one by one: the first `n` of an order are changed."""

    def __init__(self, codes, order, c, b):
        self.codes, self.order, self.c, self.b = codes, order, c, b

    def __len__(self):
        return len(self.order)

    def labels(self, n_flips):
        """Return the labels after so many flips."""
        labels = self.codes.copy()
        flipped = self.order[:n_flips]
        labels[flipped] = np.where(labels[flipped] == self.b, self.c, self.b)
        return labels


class _Target:
    """One test row: predicted class c, rival b, and the orders in which labels may be flipped."""

    def __init__(self, victim, row, c, b, drop, *, lead=None, weights=None):
        self.victim, self.row, self.c, self.b = victim, row, int(c), int(b)
        self.drop, self.lead, self.weights = drop, lead, weights

    def path(self, order, reverse):
        """Return the flips in an order, or from its end."""
        codes = self.victim.codes
        if order == "influence":
            places = np.argsort(-self.drop, kind="stable")
        else:
            distance = euclidean_distances(self.row[None], self.victim.X)[0]
            places = np.argsort(distance, kind="stable")
            places = places[codes[places] != self.b]
        return _Path(codes, places[::-1] if reverse else places, self.c, self.b)

    def guess(self, path):
        """Return how many flips of a path suffice by first-order influence."""
        if self.drop is None:
            return 1
        return 1 + int(np.count_nonzero(np.cumsum(self.drop[path.order]) < self.lead))


class _SmootherVictim:
    """A linear smoother: the scores after any flips are sums of its weights."""

    def __init__(self, estimator, X, codes, classes):
        self.X, self.codes, self.n_classes = X, codes, len(classes)
        self.smoother = LinearSmoother(estimator).fit(X)

    def targets(self, X_test):
        for rows, weights in self.smoother.iter_weights(X_test):
            winner = linear_smoother_winner(weights, self.codes, self.n_classes)
            scores = weights @ np.eye(self.n_classes)[self.codes]
            rival = runner_up(scores, winner)
            for row, row_weights, c, b in zip(X_test[rows], weights, winner, rival, strict=True):
                times = 1.0 + (self.codes == c) - 3.0 * (self.codes == b)
                yield _Target(self, row, c, b, times * row_weights, weights=row_weights)

    def least(self, target, paths, recompute, max_flips):
        """Return the least number of flips over all paths, and the labels."""
        best, labels = max_flips + 1, self.codes
        for _, path in paths:
            m = self._first_change(target, path, best - 1)
            if m < best:
                best, labels = m, path.labels(m)
        return (best, labels) if best <= max_flips else (len(self.codes) + 1, self.codes)

    def _first_change(self, target, path, most):
        flipped = path.order[:most]
        old = self.codes[flipped]
        new = np.where(old == path.b, path.c, path.b)
        moves = np.zeros((len(flipped), self.n_classes))
        place = np.arange(len(flipped))
        moves[place, old] -= target.weights[flipped]
        moves[place, new] += target.weights[flipped]
        scores = np.bincount(self.codes, target.weights, self.n_classes) + np.cumsum(moves, 0)
        lead = scores[:, target.c] - np.delete(scores, target.c, axis=1).max(axis=1)
        slack = sum_error_bound(len(self.codes), np.abs(target.weights).max(initial=0.0))
        # Sums tell where to look; whether the prediction changes is decided in exact arithmetic.
        for m in np.flatnonzero(lead <= slack) + 1:
            labels = path.labels(m)
            winner = linear_smoother_winner(target.weights[None], labels, self.n_classes)[0]
            if winner != target.c:
                return int(m)
        return most + 1


class _FittedVictim:
    """Any classifier: whether flips change a prediction is found out by a fit on them."""

    def __init__(self, estimator, X, codes, classes, needs_influence):
        if needs_influence:
            check_model(estimator)
        self.estimator, self.X, self.codes, self.classes = estimator, X, codes, classes
        self.clean = self.fit(clone(estimator), codes)
        self.influence = Influence(self.clean, X) if needs_influence else None
        # In other estimators, such as forests, a warm start means something else.
        self.warm = type(estimator) is LogisticRegression

    def fit(self, model, codes):
        with warnings.catch_warnings():
            # A victim that stops early is attacked as it is.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(self.X, self.classes[codes])

    def targets(self, X_test):
        values = decision_values(self.clean, X_test)
        c = np.searchsorted(self.classes, self.clean.predict(X_test))
        rival = runner_up(values, c)
        drops = [None] * len(X_test)
        if self.influence is not None:
            drops = self.influence.drops(self.codes, X_test, c, rival)
        for i, row in enumerate(X_test):
            lead = values[i, c[i]] - values[i, rival[i]]
            yield _Target(self, row, c[i], rival[i], drops[i], lead=lead)

    def least(self, target, paths, recompute, max_flips):
        """Return the least number of flips found over all paths, and the labels."""
        search = _Search(self, target)
        best, best_path = max_flips + 1, None
        for kind, path in paths:
            most = min(best - 1, len(path))
            if most < 1:
                continue
            if best_path is None:
                if recompute == "schedule" and kind == ("influence", False):
                    m = search.along_renewed(path, most)
                else:
                    m = search.along(path, target.guess(path), most)
            else:
                m = search.along(path, most, most)
            if m <= most:
                best, best_path = m, path
        if best_path is not None and self.warm:
            best = self._confirmed(target, best_path, best, max_flips)
        if best_path is None or best > max_flips:
            return len(self.codes) + 1, self.codes
        return best, best_path.labels(best)

    def _confirmed(self, target, path, n_flips, max_flips):
        """Return the number at which a fit from scratch changes its prediction as well."""
        most, step = min(len(path), max_flips), 1
        while n_flips <= most:
            labels = path.labels(n_flips)
            if len(np.unique(labels)) == 1:
                return n_flips
            model = self.fit(clone(self.estimator), labels)
            if model.predict(target.row[None])[0] != self.classes[target.c]:
                return n_flips
            n_flips, step = n_flips + step, 2 * step
        return max_flips + 1


class _Search:
    """Fits on poisoned labels for one test row, each from where the last one ended."""

    def __init__(self, victim, target):
        self.victim, self.target = victim, target
        self.model = clone(victim.estimator)
        if victim.warm:
            self.model.set_params(warm_start=True)
            for name in ("coef_", "intercept_", "classes_"):
                setattr(self.model, name, np.array(getattr(victim.clean, name)))

    def lead(self, labels):
        """Return the lead of the clean prediction; not positive where it has changed."""
        c, classes = self.target.c, self.victim.classes
        present = np.unique(labels)
        if len(present) == 1:
            return -1.0
        fresh = not self.victim.warm or len(present) < len(classes)
        model = clone(self.victim.estimator) if fresh else self.model
        model = self.victim.fit(model, labels)
        row = self.target.row[None]
        changed = model.predict(row)[0] != classes[c]
        values = decision_values(model, row)[0]
        is_predicted = model.classes_ == classes[c]
        lead = values[is_predicted].sum() - values[~is_predicted].max()
        # The prediction decides; values only guide the search.
        return -abs(lead) if changed else max(abs(lead), np.finfo(float).tiny)

    def along(self, path, guess, most):
        """Return the number of flips found by doubling and narrowing, most + 1 if none."""
        low, low_lead = 0, self.target.lead
        m = min(max(guess, 1), most)
        while True:
            lead = self.lead(path.labels(m))
            if lead <= 0:
                return self._narrow(path, low, low_lead, m, lead)
            if m == most:
                return most + 1
            low, low_lead, m = m, lead, min(2 * m, most)

    def along_renewed(self, path, most):
        """Do the same, with the rest of the path ordered again whenever it has doubled."""
        codes = self.victim.codes
        low, low_lead, m = 0, self.target.lead, 1
        while True:
            lead = self.lead(path.labels(m))
            if lead <= 0:
                return self._narrow(path, low, low_lead, m, lead)
            if m == most:
                return most + 1
            if len(self.model.classes_) == len(self.victim.classes):
                renewed = Influence(self.model, self.victim.X)
                row, c, b = self.target.row[None], [self.target.c], [self.target.b]
                drop = renewed.drops(codes, row, np.array(c), np.array(b))[0]
                rest = path.order[m:]
                path.order[m:] = rest[np.argsort(-drop[rest], kind="stable")]
            low, low_lead, m = m, lead, min(2 * m, most)

    def _narrow(self, path, low, low_lead, high, high_lead):
        """Return the least number in low + 1..high that interpolation and halving lead to."""
        halve = False
        while high - low > 1:
            m = (low + high) // 2
            if not halve and low_lead > high_lead:
                m = low + int(np.ceil((high - low) * low_lead / (low_lead - high_lead)))
                m = min(max(m, low + 1), high - 1)
            lead = self.lead(path.labels(m))
            if lead <= 0:
                high, high_lead = m, lead
            else:
                low, low_lead = m, lead
            halve = not halve
        return high
