"""What predictions shall not leave: given bounds, or a distance from each of them."""

import numpy as np


class AllowedRange:
    """What predictions shall not leave, as `certify` of a regressor is asked.

    Parameters
    ----------
    n : int
        Number of rows.
    tolerance, lower, upper : float, array-like of shape (n,) or None
        A distance from the prediction, 0 where nothing else is given; or bounds.
    """

    def __init__(self, n, tolerance, lower, upper):
        self.tolerance = None
        if lower is None and upper is None:
            self.tolerance = check_bound(0.0 if tolerance is None else tolerance, "tolerance", n)
            if (self.tolerance < 0).any():
                raise ValueError(
                    f"tolerance has the value {self.tolerance.min()} and must be at least 0: it "
                    "is how far a prediction may move."
                )
        elif tolerance is not None:
            raise ValueError(
                f"tolerance={tolerance!r} was passed together with lower or upper: it bounds the "
                "distance from the prediction, and they bound its value. Pass one or the other."
            )
        else:
            self.lower = check_bound(-np.inf if lower is None else lower, "lower", n)
            self.upper = check_bound(np.inf if upper is None else upper, "upper", n)

    def __call__(self, medians, rows):
        """Return the bounds of a slice of the rows, whose predictions are given."""
        if self.tolerance is None:
            return self.lower[rows], self.upper[rows]
        lower, upper = within_tolerance(medians, self.tolerance[rows])
        unknown = np.isnan(medians)  # nobody answers, and nothing is promised
        return np.where(unknown, -np.inf, lower), np.where(unknown, np.inf, upper)


def check_bound(bound, name, n):
    """Return a bound as n doubles, or say what is wrong with it."""
    values = np.asarray(bound)
    if values.dtype.kind not in "biuf" or values.shape not in ((), (n,)):
        raise ValueError(
            f"{name} must be one number, or one for each of the {n} rows; got dtype "
            f"{values.dtype} and shape {values.shape}."
        )
    if np.isnan(values).any():
        raise ValueError(
            f"{name} holds NaN, which bounds nothing: pass an infinite value instead."
        )
    return np.broadcast_to(values.astype(np.float64), n)


def within_tolerance(values, tolerance):
    """Return the smallest and the largest doubles that lie within a distance of values.

    Parameters
    ----------
    values : ndarray of shape (n_samples,), float64
    tolerance : float or ndarray of shape (n_samples,), float64
        At least 0.

    Returns
    -------
    lower, upper : ndarrays of shape (n_samples,)
        In exact arithmetic: a sum that was rounded outwards is moved in.
    """
    lower, error = _sum_and_error(values, -tolerance)
    lower = np.where(error > 0, np.nextafter(lower, np.inf), lower)
    upper, error = _sum_and_error(values, tolerance)
    return lower, np.where(error < 0, np.nextafter(upper, -np.inf), upper)


def _sum_and_error(a, b):
    """Return sums as they are rounded, and what rounding took away (NaN beyond all doubles)."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = a + b
        part = total - a
        return total, (a - (total - part)) + (b - part)
