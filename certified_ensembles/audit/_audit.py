"""Attack an estimator's own promise: refit on poisoned data and look for a broken certificate."""

import time
import warnings
from collections import Counter
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pickle import PicklingError
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_consistent_length, check_random_state
from tqdm.auto import tqdm

from .._certificate import CertificateWarning, certify, effective_threat, find_ensemble
from .._data.containers import n_rows
from .._data.forms import as_cuttable
from ..certificates.threats import THREATS
from ._attacks import ATTACKS, Attack, apply_edit, hostile_edits
from ._columns import attack_columns, members_of_rows, rows_survived, touched_members
from ._elsewhere import refit_elsewhere
from ._numbers import Promise, answers_as_ballots, differs, question_about
from ._questions import ask_again, ask_in_company, ask_otherwise, probe_hasher
from ._same_data import SAME_DATA
from ._words import as_change, as_list

__all__ = ["Attack", "AuditReport", "BrokenCertificateError", "check_certificate"]

_TYPE_CHANGED = "a column's type changed"


class AuditReport(NamedTuple):
    """What an estimator has survived.

    Attributes
    ----------
    n_attacks : dict of str to int
        Number of refits (or questions) of each kind.
    smallest_slack : int or None
        The smallest ``n_operations - radius`` over all predictions that did change: 1 means
        that an attack one operation beyond the radius succeeded, None that none did.
    refused : dict of str to str
        Kinds of attacked data that `fit`, or of hostile test rows that an answer, refused at
        least once, with the message. Nothing was predicted there, so no promise was broken; but
        whoever brings such a row stops everybody.
    """

    n_attacks: dict
    smallest_slack: int | None
    refused: dict


class BrokenCertificateError(AssertionError):
    """A promise was broken; the attributes hold everything needed to see it again.

    Attributes
    ----------
    attack : Attack
        The attacked training data.
    test_index : int or None
        The test row whose prediction changed.
    radius : int or None
        Its certified radius.
    """

    def __init__(self, message, attack, test_index=None, radius=None):
        super().__init__(message)
        self.attack, self.test_index, self.radius = attack, test_index, radius


def check_certificate(
    estimator, X, y, X_test, *, groups=None, n_attacks=50, random_state=0, verbose=0
):
    """Refit an estimator on attacked data and raise if one of its certificates breaks.

    A search for counterexamples, not a proof: passing means that none of these attacks
    worked. It finds what voids certificates in practice: a member without a seed, state that
    members share, a step fitted on all rows, a partition that depends on other rows, on their
    order or on the type of the array, a member that sees what a foreign row made of a column's
    type (a ``1`` among bools, a word among numbers, a new level), an answer that depends on the
    test rows beside it, or that is another one when it is asked for again, in another thread or in
    another process.

    Parameters
    ----------
    estimator : estimator with ``fit``, ``predict`` and ``certify``
        Or a pipeline that ends in one. It is cloned, never fitted itself, and its `memory` is
        left out, since a cache hides unseeded members.
    X : array-like, sparse matrix, dataframe or sequence of str
        Training rows, n_train of them. A few hundred rows and a few dozen members are enough.
    y : array-like of shape (n_train,)
        Labels, or targets of a regressor.
    X_test : as X
        Rows to predict, with which attacks are also built.
    groups : array-like of shape (n_train,), default=None
        Sources, if the estimator is to be fitted with them: an operation is then anything that
        one source does.
    n_attacks : int, default=50
        Number of poisoned refits, spread over all kinds and budgets. Refits on the same data
        in another form (order, type, memory layout, `n_jobs`, thread, process) come on top, and
        so does one refit for each cell that changes a column's type and for each hostile
        magnitude.
    random_state : int, RandomState instance or None, default=0
        Of the attacks. With the same integer the same counterexample is found again.
    verbose : int, default=0
        If positive, show a progress bar.

    Returns
    -------
    report : AuditReport
        Number of attacks of each kind, the smallest slack, and what `fit` refused.

    Raises
    ------
    BrokenCertificateError
        An `AssertionError` that says in words which operations on which rows break which
        promise; its attribute ``attack`` holds the attacked data. So does an exception of the
        estimator about the data as they are, in other types or in another order.
    TypeError
        If the estimator has no method ``certify``.

    Notes
    -----
    A regressor is asked how many operations leave its predictions within a tolerance, half of the
    median width of its intervals, and is held to the intervals themselves as well.

    For ensembles that show ``ballots`` (or ``answers``) and ``partition_`` it also checks the
    step on which their proof stands: rows that nobody touched keep their partition, and members
    whose partitions nobody touched keep all their ballots.

    An ensemble with a ``frontier`` is also attacked by columns or words: some are rewritten in all
    training rows and in all test rows, so that they tell one label, every second time with rows
    poisoned besides. Its radii are those of rows alone.

    Strings have other hashes in another process, so that a fit there finds members that walk
    through a set. Rows of a hostile size (1e39, 1e200, 1e308, NaN) are tried there too, since
    training on them may never end: what takes more than half a minute and twenty times as long as
    the clean fit is ended, and stands in ``refused``. No process is started while joblib's active
    backend is one of threads, as in ``joblib.parallel_config("threading")``.

    Warnings during the refits are silenced; a :class:`~certified_ensembles.CertificateWarning` is
    quoted in the message.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from certified_ensembles import DeepPartitionAggregation
    >>> from certified_ensembles.audit import check_certificate
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = DeepPartitionAggregation(n_partitions=15)
    >>> report = check_certificate(clf, X[::2], y[::2], X[1::6], n_attacks=5)
    >>> report.n_attacks["rows reordered"]
    1
    """
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31))
    return _Audit(estimator, X, y, X_test, groups, rng).run(n_attacks, verbose)


# ---------------------------------------------------------------- one fit and what it says


@dataclass
class _Outcome:
    """What a fitted estimator says of the test rows; ballots are labels, None an abstention."""

    y_pred: np.ndarray
    radius: dict
    ballots: np.ndarray | None
    partition: np.ndarray | None
    members: np.ndarray | None

    def at(self, rows):
        ballots = None if self.ballots is None else self.ballots[rows]
        radius = {threat: r[rows] for threat, r in self.radius.items()}
        return _Outcome(self.y_pred[rows], radius, ballots, self.partition, self.members)


def _names_remedy(error):
    """Say whether an error is the ensemble's own about a member that cannot answer."""
    return any("on_error" in text for text in (str(error), *getattr(error, "__notes__", ())))


class _Audit:
    """The clean data and the clean outcome, which every attack is held against."""

    def __init__(self, estimator, X, y, X_test, groups, rng):
        self.X, self.y = as_cuttable(X), np.asarray(y)
        self.X_test, self.rng = as_cuttable(X_test), rng
        self.groups = None if groups is None else np.asarray(groups)
        check_consistent_length(self.X, self.y, self.groups)
        self.prefix = f"{estimator.steps[-1][0]}__" if isinstance(estimator, Pipeline) else ""
        self.estimator = self.with_params(estimator, memory=None, verbose=0)
        self.count, self.refused, self.slack, self.warnings = Counter(), {}, None, {}
        self.threats = None

    def with_params(self, estimator, /, **params):
        """Return a clone, with parameters of the certifying estimator changed if it has them."""
        estimator = clone(estimator)
        known = estimator.get_params(deep=True)
        params = {self.prefix + name: value for name, value in params.items()}
        return estimator.set_params(**{k: v for k, v in params.items() if k in known})

    def fit(self, X, y, groups, estimator=None):
        fit_params = {} if groups is None else {self.prefix + "groups": groups}
        return clone(estimator or self.estimator).fit(X, y, **fit_params)

    def ask(self, fitted, X_test):
        radius = {}
        for threat in self.threats or self.find_threats(fitted, X_test):
            y_pred, radius[threat] = certify(fitted, X_test, threat, **self.question)
        inner, ballots = find_ensemble(fitted), None
        rows = self.rows_of_ensemble(fitted, X_test)
        by_columns = hasattr(inner, "frontier")
        if by_columns:  # certify counts columns, and attacks on rows are counted here
            radius = {threat: rows_survived(inner, rows, threat) for threat in radius}
        if hasattr(inner, "answers"):
            ballots = answers_as_ballots(inner.answers(rows))
        elif hasattr(inner, "ballots"):
            codes = inner.ballots(rows)
            labels = np.append(np.asarray(inner.classes_, dtype=object), None)
            # An abstention is -1, and None comes last.
            ballots = labels[codes]
        # Attacks that aim at the members of a partition know of one member each.
        partition = None if by_columns else getattr(inner, "partition_", None)
        return _Outcome(np.asarray(y_pred), radius, ballots, partition, members_of_rows(inner))

    def rows_of_ensemble(self, fitted, X_test):
        """Return test rows as they come to the certifying estimator."""
        return fitted[:-1].transform(X_test) if self.prefix else X_test

    def find_threats(self, fitted, X_test):
        """Return the threats that the estimator certifies, its default one first."""
        default = effective_threat(fitted)
        # An error here is the estimator's own.
        certify(fitted, X_test, **self.question)
        self.threats = [default]
        for threat in (t for t in THREATS if t != default):
            try:
                certify(fitted, X_test, threat, **self.question)
            except ValueError:
                continue
            self.threats.append(threat)
        return self.threats

    def quietly(self, function, *args):
        """Call a function; keep what a CertificateWarning says for the message."""
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            result = function(*args)
        for warning in caught:
            if issubclass(warning.category, CertificateWarning):
                self.warnings[str(warning.message)] = None
        return result

    # ------------------------------------------------------------ the run

    def run(self, n_attacks, verbose):
        start = time.perf_counter()
        self.fitted = self.quietly(self.fit, self.X, self.y, self.groups)
        ensemble = find_ensemble(self.fitted)
        rows = self.rows_of_ensemble(self.fitted, self.X_test)
        self.question = question_about(ensemble, ensemble, rows, self.y)
        self.clean = self.quietly(self.ask, self.fitted, self.X_test)
        self.promise = Promise(ensemble, rows, self.clean.y_pred, self.question)
        self.seconds = time.perf_counter() - start
        if getattr(ensemble, "certificate", None) == "monte_carlo":
            # Its seed was drawn by that fit; each refit repeats the draws.
            self.estimator = self.with_params(self.estimator, random_state=ensemble.seed_)
            ensemble.set_params(random_state=ensemble.seed_)
        # Noise models know the labels seen and no others, and say so.
        closed = getattr(ensemble, "classes", None), getattr(ensemble, "bounds", None)
        open_set = closed == (None, None)
        self.open_set = open_set and getattr(ensemble, "certificate", "exact") == "exact"
        self.largest = max(1, *(int(r.max(initial=0)) for r in self.clean.radius.values()))
        table = [
            k for k, (_, sources) in ATTACKS.items() if not sources or self.groups is not None
        ]
        # A hostile row is nothing to an estimator that promises nothing about inserted rows.
        edits = list(hostile_edits(self)) if self.promises("insertion_deletion") else []
        steps = 5 + len(SAME_DATA) + n_attacks + len(edits)
        with tqdm(total=steps, desc="audit", disable=not verbose) as bar:
            for question in (probe_hasher, ask_again, ask_otherwise, ask_in_company):
                question(self)
                bar.update()
            for kind, variant in SAME_DATA.items():
                for words, data in variant(self):
                    self.refit(Attack(kind, words, *data[:3]), data[3], *data[4:])
                bar.update()
            for i in range(n_attacks):
                kind = table[i % len(table)]
                budget = 1 if i < len(table) else int(self.rng.integers(1, self.largest + 1))
                edit = ATTACKS[kind][0](self, budget)
                if edit is not None:
                    self.refit(apply_edit(self, kind, edit))
                bar.update()
            for edit in edits:
                self.refit(apply_edit(self, _TYPE_CHANGED, edit))
                bar.update()
            refit_elsewhere(self)
            bar.update()
        if hasattr(ensemble, "frontier"):
            attack_columns(self, 2 + n_attacks // 3)
        self.fit_again()
        return AuditReport(dict(self.count), self.slack, self.refused)

    def promises(self, threat):
        return threat in self.clean.radius

    def fit_and_ask(self, attack, estimator=None):
        """Return what a fit on attacked data says, or the error that its answers end in."""
        fitted = self.quietly(self.fit, attack.X, attack.y, attack.groups, estimator)
        try:
            return self.quietly(self.ask, fitted, self.X_test)
        except Exception as error:
            return error

    def refit(self, attack, order=None, estimator=None, run=None):
        """Fit on attacked data, by run instead of fit_and_ask if given, and hold to the claims."""
        if attack.n_operations and not any(map(self.promises, attack.n_operations)):
            return
        try:
            after = (run or self.fit_and_ask)(attack, estimator)
        except (TimeoutError, BrokenExecutor, PicklingError) as error:
            self.refuse(attack, error)
            return
        except Exception as error:
            # Other data may be refused, which breaks no promise; these very data were taken.
            if not attack.n_operations:
                self.fail_to("fit the data that it took before", attack, error)
            self.refuse(attack, error)
            return
        if isinstance(after, Exception):
            if not attack.n_operations or not _names_remedy(after):
                self.fail_to("answer test rows that it answered before", attack, after)
            self.refuse(attack, after)
            return
        self.count[attack.kind] += 1
        if not attack.n_operations:
            self.same(attack, after, order=np.arange(len(self.y)) if order is None else order)
        else:
            self.within_radius(attack, after)
            self.untouched_members(attack, after)

    def fit_again(self):
        """Fit the very object that has been fitted and asked: nothing it remembers may count."""
        fit_params = {} if self.groups is None else {self.prefix + "groups": self.groups}
        attack = Attack("same object fitted again", "none", self.X, self.y, self.groups)
        try:
            self.quietly(lambda: self.fitted.fit(self.X, self.y, **fit_params))
            after = self.quietly(self.ask, self.fitted, self.X_test)
        except Exception as error:
            self.fail_to("fit and answer a second time", attack, error)
        self.same(attack, after, order=np.arange(len(self.y)))
        self.count[attack.kind] += 1

    def refuse(self, attack, error):
        message = f"{type(error).__name__}: {error}"
        if _names_remedy(error) and "on_error" not in message:
            message += ' (With on_error="abstain" only the member that gets the row abstains.)'
        self.refused.setdefault(attack.kind, message)

    # ------------------------------------------------------------ the claims

    def same(self, attack, after, rows=None, order=None):
        """Without an operation nothing may change: no prediction, partition, ballot or radius."""
        rows = np.arange(n_rows(self.X_test)) if rows is None else rows
        before = self.clean.at(rows)
        for i in np.flatnonzero(differs(after.y_pred, before.y_pred))[:1]:
            radius = max(int(r[i]) for r in before.radius.values())
            self.fail(
                f"changes the prediction of test row {rows[i]} from "
                f"{as_change(before.y_pred[i], after.y_pred[i])} without any operation "
                f"(certified radius: {radius})",
                attack,
                int(rows[i]),
                radius,
            )
        if order is not None and before.members is not None:
            old, new = before.members[order], after.members
            moved = np.flatnonzero((old != new).any(axis=1))
            for i in moved[:1]:
                self.fail(
                    f"moves {len(moved)} training rows to other partitions without any operation, "
                    f"for instance row {order[i]} from {as_list(old[i])} to {as_list(new[i])}",
                    attack,
                )
        if before.ballots is not None:
            other = after.ballots != before.ballots
            for i, j in np.argwhere(other)[:1]:
                self.fail(
                    f"changes ballots of {other.any(axis=0).sum()} of {other.shape[1]} "
                    f"members without any operation, such as {j} on test row {rows[i]} "
                    f"from {before.ballots[i, j]!r} to {after.ballots[i, j]!r}",
                    attack,
                    int(rows[i]),
                )
        for threat, radius in before.radius.items():
            for i in np.flatnonzero(after.radius[threat] != radius)[:1]:
                self.fail(
                    f"changes the radius of test row {rows[i]} (threat={threat!r}) from "
                    f" {radius[i]} to {after.radius[threat][i]} without any operation",
                    attack,
                    int(rows[i]),
                    int(radius[i]),
                )

    def within_radius(self, attack, after):
        changed = self.promise.left(after.y_pred)
        for threat, n_operations in attack.n_operations.items():
            radius = self.clean.radius.get(threat)
            if radius is None:
                continue
            for i in np.flatnonzero(self.promise.outside(after.y_pred, threat, n_operations))[:1]:
                self.fail(
                    f"takes the prediction of test row {i}, now {after.y_pred[i]!r}, out of its "
                    f"certified interval for {n_operations} operations (threat={threat!r})",
                    attack,
                    int(i),
                    int(radius[i]),
                )
            if not changed.any():
                continue
            slack = n_operations - radius[changed]
            i = np.flatnonzero(changed)[slack.argmin()]
            if slack.min() <= 0:
                self.fail(
                    f"changes the prediction of test row {i} from "
                    f"{as_change(self.clean.y_pred[i], after.y_pred[i])} with {n_operations} "
                    f"operation{'s' * (n_operations != 1)}, within its certified radius of "
                    f"{radius[i]} (threat={threat!r})",
                    attack,
                    int(i),
                    int(radius[i]),
                )
            self.slack = min(int(slack.min()), self.slack or int(slack.min()))

    def untouched_members(self, attack, after):
        """Rows that nobody touched stay in their partition, and so do ballots of the others."""
        before = self.clean
        if before.ballots is None or before.members is None:
            return
        old, new = before.members[attack.origin], after.members[attack.kept]
        moved = np.flatnonzero((old != new).any(axis=1))
        if len(moved):
            i = moved[0]
            self.fail(
                f"moves {len(moved)} rows that it does not touch to other partitions, for instance"
                f" training row {attack.origin[i]} from partition {as_list(old[i])} to "
                f"{as_list(new[i])}",
                attack,
            )
        touched = touched_members(attack, before, after)
        spread = getattr(find_ensemble(self.fitted), "spread_degree", 1)
        changed = np.flatnonzero((after.ballots != before.ballots).any(axis=0))
        if spread == 1:
            changed = np.setdiff1d(changed, touched)
            if len(changed):
                self.fail(
                    f"changes ballots of {len(changed)} members whose partitions it does "
                    f"not touch, for instance of member {changed[0]}",
                    attack,
                )
        elif len(changed) > spread * len(touched):
            self.fail(
                f"touches {len(touched)} partitions, each seen by {spread} members, and "
                f"changes the ballots of {len(changed)} members",
                attack,
            )

    def fail_to(self, what, attack, error):
        """Report an exception as a finding: what was taken before is refused."""
        try:
            self.fail(f"makes it fail to {what}: {type(error).__name__}: {error}", attack)
        except BrokenCertificateError as broken:
            raise broken from error

    def fail(self, what, attack, test_index=None, radius=None):
        name = type(find_ensemble(self.fitted)).__name__
        sources = "" if attack.groups is None else f", {self.prefix}groups=attack.groups"
        asked = "" if attack.X_test is None else ", asked about attack.X_test,"
        lines = [
            f"The certificate of {name} is void: {attack.kind!r} {what}.",
            f"  The attack: {attack.words}.",
            "  Replay: attack = error.attack; compare clone(estimator).fit(attack.X, attack.y"
            f"{sources}){asked} with a fit on the data as they were. The same random_state finds "
            "it.",
            *(f"  A fit warned: {message}" for message in self.warnings),
            "  A member must be a function of its own rows and its seed, the partition of a row "
            "a function of that row. Look for random draws without a random_state, shared state, "
            "steps fitted on all rows, hashers that add up floats, types or levels that all rows "
            "of a table give to a column, threads that add up in any order, sets whose order "
            "follows from hash(), clocks and files.",
        ]
        raise BrokenCertificateError("\n".join(lines), attack, test_index, radius)
