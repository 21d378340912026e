"""What each rival of a winner is short of, and what each member can give it."""

import numpy as np

# A rival that nobody votes for; abstentions are -1.
PHANTOM = -2


def nearest_rivals(votes, winner, open_set):
    """Return the rivals of each winner, the nearest first, and the gaps they have to exceed.

    Parameters
    ----------
    votes : ndarray of shape (n_samples, n_classes), int64
    winner : ndarray of shape (n_samples,), int64
    open_set : bool
        Whether the phantom takes part; it then stands first.

    Returns
    -------
    rivals, gaps : ndarrays of shape (n_samples, n_rivals), int64
        Whoever takes more than the gap from the winner's lead makes the rival win.
    """
    most = votes[np.arange(len(votes)), winner]
    # Ties go to the smaller index, so a smaller rival needs one vote less.
    gaps = most[:, None] - votes - (np.arange(votes.shape[1]) < winner[:, None])
    gaps[np.arange(len(votes)), winner] = np.iinfo(gaps.dtype).max
    # The nearest rivals first: they leave little to look at for the others.
    rivals = np.argsort(gaps, axis=1, kind="stable")[:, :-1]
    gaps = np.take_along_axis(gaps, rivals, axis=1)
    if open_set:
        rivals = np.insert(rivals, 0, PHANTOM, axis=1)
        gaps = np.insert(gaps, 0, most - 1, axis=1)
    return rivals, gaps


def powers(ballots, winner, rival):
    """Return what each member takes from the gap if it votes for the rival: 0, 1 or 2.

    Parameters
    ----------
    ballots : ndarray of shape (n_samples, n_members), signed int
    winner, rival : ndarrays of shape (n_samples,), int

    Returns
    -------
    power : ndarray of shape (n_samples, n_members), int8
    """
    # Equal types compare five times as fast.
    c, b = winner[:, None].astype(ballots.dtype), rival[:, None].astype(ballots.dtype)
    power = (ballots == c).view(np.int8) - (ballots == b).view(np.int8)
    power += np.int8(1)
    return power
