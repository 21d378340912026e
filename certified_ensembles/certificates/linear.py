"""The exact number of label flips that a linear smoother survives (any label-free weights).

A linear smoother scores class c at a test point by S_c = sum_j a_j [y_j = c], with weights a_j
that do not depend on the labels: ridge, kernel ridge, nearest neighbours, cluster votes. One
flipped label moves one weight from one score to another, so the worst r flips are the r largest
moves, and the radius is a selection problem. It is solved by throwing away, with one threshold
from a sample of the columns, all moves that are too small to be among them.
"""

import numpy as np

from ._flip_selection import flips_within_leads
from ._group_selection import GroupedWeights, check_groups, groups_within_leads
from ._scored_blocks import LabelSortedWeights, leads


def linear_smoother_radius(weights, y, n_classes, *, groups=None, open_set=False):
    """Winner of a linear smoother, and the exact number of label flips it survives.

    With `groups`, the number of groups of labels (annotators) that it survives, each of which
    may be rewritten entirely.

    Parameters
    ----------
    weights : array-like of shape (n_samples, n_train)
        Weight of every training label at every test point. It must not depend on the labels.
        Taken as the exact numbers that the doubles stand for.
    y : array-like of shape (n_train,)
        Training labels as integer codes in 0..n_classes - 1. A class may have no row. Nothing
        depends on the order of the rows (with the columns of `weights` in the same order).
    n_classes : int
        Number of classes K, at least 1.
    groups : array-like of shape (n_train,), default=None
        Who wrote each label: integers or names. The radius then counts groups, and one group
        costs 1 however many of its labels are changed. It must be fixed before labels are. None:
        each label is a group of its own.
    open_set : bool, default=False
        False: a flipped label becomes another of the K classes. True: the attacker may also
        write a label never seen, which sorts before all others (see Notes).

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        Code of the class with the largest score; ties go to the smaller code.
    radius : ndarray of shape (n_samples,), int64
        Largest number r in 0..n_train such that no change of r or fewer training labels changes
        the winner. The value is exact: where it is less than n_train, some change of r + 1
        labels does. (With `open_set`, r + 2 where the r + 1 worst changes leave the new label
        without a row.) With `groups`, read "groups" for "labels", and the number of groups for
        n_train.

    Raises
    ------
    ValueError
        If `weights` is not a real matrix with one column per label, is not finite or would
        overflow, if `y` holds anything but codes below `n_classes`, or if `groups` does not
        hold one group for each label.

    See Also
    --------
    linear_smoother_winner : The winners alone, in one pass.

    Notes
    -----
    *Theorem.* Let c be the winner and b a rival. One changed label lowers S_c - S_b by at most

    ===========  ==================  ==================  ===================
    weight       label c             label b             any other label
    ===========  ==================  ==================  ===================
    a_j > 0      2 a_j               0                   a_j
    a_j < 0      0                   2 abs(a_j)          abs(a_j)
    ===========  ==================  ==================  ===================

    and changes of different labels add up. So c stays ahead of b exactly as long as the sum of
    the r largest entries stays below S_c - S_b, or equals it where c < b. The radius is the
    least such r over all rivals. Averaging the scores over uniform label noise multiplies all
    margins by one factor: the same number certifies the soft-smoothed classifier at every noise.

    *Groups.* A group lowers S_c - S_b by at most the sum of the entries of its labels, and can do
    so. With `groups` these sums take the place of the entries.

    *Open label set.* A label never seen that sorts first is one more rival, with score 0, that
    wins ties. Where the winning score is not positive, the radius is 0.

    *Rounding.* The numbers returned are those of exact real arithmetic on the given doubles.
    Rows of votes, counts or multiples of one number (1/k) are summed without error. Elsewhere
    the scores and partial sums carry an error of at most ``16 n (n + 8) u max_j abs(a_j)`` with
    n = n_train and u = 2**-53, and a comparison closer than that is settled by an exactly rounded
    sum. So neither result depends on the order of the rows, the other test points, or the BLAS.

    *Cost.* A few passes over each row of weights: no sort of a whole row, unless the radius is
    of the order of n_train. Groups take a pass more to add them up, and a sort of as many
    numbers as there are groups. Memory beyond the weights is a few MiB (or a few rows, where rows
    are larger). It is fastest where training rows are sorted by label; otherwise the columns are
    brought into that order block by block.

    References
    ----------
    .. [1] E. Rosenfeld, E. Winston, P. Ravikumar and J. Z. Kolter, "Certified Robustness to
       Label-Flipping Attacks via Randomized Smoothing", ICML 2020 (the linear smoother).

    Examples
    --------
    Five neighbours vote 4 to 1. One flip leaves 3 to 2; a second one loses.

    >>> import numpy as np
    >>> from certified_ensembles.certificates import linear_smoother_radius
    >>> winner, radius = linear_smoother_radius(np.ones((1, 5)), [1, 1, 1, 0, 1], n_classes=2)
    >>> winner.tolist(), radius.tolist()
    ([1], [1])

    One of two annotators wrote the first two labels, another the rest, and either of them can
    turn the vote.

    >>> linear_smoother_radius(
    ...     np.ones((1, 5)), [1, 1, 1, 0, 1], n_classes=2, groups=["ann", "ann", "bo", "bo", "bo"]
    ... )
    (array([1]), array([0]))
    """
    n_train = np.size(y)
    if groups is not None:
        groups = check_groups(groups, n_train)
        # Groups of one label each are labels.
        groups = None if groups.max(initial=-1) + 1 == n_train else groups
    if groups is None:
        smoother, radii, most = LabelSortedWeights(weights, y, n_classes), _radii, n_train
    else:
        smoother, radii = GroupedWeights(weights, y, n_classes, groups), groups_within_leads
        most = smoother.n_groups
    winner = np.zeros(len(smoother), dtype=np.int64)
    radius = np.full(len(smoother), most, dtype=np.int64)
    n_rivals = smoother.n_classes + bool(open_set)
    for block in smoother.blocks():
        winner[block.rows] = block.winner
        if n_rivals > 1:
            # A label never seen sorts before every known one, and wins ties as smaller ones do.
            rivals = np.arange(n_rivals)
            wins_ties = (rivals < block.winner[:, None]) | (rivals >= smoother.n_classes)
            radius[block.rows] = radii(smoother, block, leads(block, n_rivals), wins_ties)
    return winner, radius


def _radii(smoother, block, lead, wins_ties) -> np.ndarray:
    toward = smoother.toward(block)
    return flips_within_leads(toward, smoother.label, block.winner, lead, wins_ties, block.slack)


def linear_smoother_winner(weights, y, n_classes):
    """Winner of a linear smoother: the first output of `linear_smoother_radius`, and only that.

    Parameters
    ----------
    weights : array-like of shape (n_samples, n_train)
        Weight of every training label at every test point, label-free.
    y : array-like of shape (n_train,)
        Training labels as integer codes in 0..n_classes - 1.
    n_classes : int
        Number of classes, at least 1.

    Returns
    -------
    winner : ndarray of shape (n_samples,), int64
        Code of the class with the largest sum of weights in exact arithmetic; ties go to the
        smaller code. It depends on nothing else: not on the order of the training rows, nor on
        the other test points.

    Raises
    ------
    ValueError
        As `linear_smoother_radius`.

    Examples
    --------
    Three tenths each: a tie, and it goes to class 0.

    >>> from certified_ensembles.certificates import linear_smoother_winner
    >>> linear_smoother_winner([[0.1] * 6], [1, 1, 0, 0, 1, 0], n_classes=2).tolist()
    [0]
    """
    smoother = LabelSortedWeights(weights, y, n_classes)
    winner = np.zeros(len(smoother), dtype=np.int64)
    for block in smoother.blocks():
        winner[block.rows] = block.winner
    return winner
