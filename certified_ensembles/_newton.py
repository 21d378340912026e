"""Newton's method for the log-losses of many members at once, each with its own steps.

The objective is scikit-learn's: the sum of the log-losses plus ridge / 2 |w|^2, the intercept
free. Weights are kept in coordinates in which the rows' features are uncorrelated, at most as
many as a member has rows; lengths and angles are those of the weights themselves. Newton's
equations are solved by conjugate gradients with the exact Hessian, preconditioned by what the
Hessian would be if all rows were equally uncertain, in single precision where numbers are
moderate: a direction need not be exact. A step is shortened until the objective falls; objective
and gradient are in double precision.

Arrays have the axes (member, class, row). Products are taken matrix by matrix, sums run along
one member's own axes, and a member that has finished is left alone: nothing that one member
does shows in another.
"""

import numpy as np

# Relative fall of the objective that counts as none: scikit-learn's choice.
_FLAT = 64 * np.finfo(float).eps
# Steps in a row without a fall before a member stops: the gradient may still shrink.
_IDLE = 3
_ARMIJO = 1e-4
_MOST_HALVINGS = 40
_MOST_PRODUCTS = 250
# Newton's equations are solved to this relative accuracy, and finer as the gradient vanishes: by
# this power of how far it has (more wastes products on steps that are not the last).
_ACCURACY, _FINER = 0.2, 1 / 3
# Curvature of the bias where all rows are certain.
_FLATTEST = 1e-12


def _dot(a, b):
    return np.vecdot(a.reshape(len(a), -1), b.reshape(len(b), -1))


def _each(scalars):
    return scalars[:, None, None]


# ---------------------------------------------------------------- losses


class Softmax:
    """Log-loss over three or more classes; padded classes and rows count nothing.

    Parameters
    ----------
    Y : ndarray of shape (n_members, n_classes, n_rows)
        One in the place of a row's own class, else zero.
    classes : ndarray of shape (n_members, n_classes)
        One for a member's classes, zero for padding.
    rows : ndarray of shape (n_members, n_rows)
        One for a member's rows, zero for padding.
    """

    def __init__(self, Y, classes, rows):
        self.Y, self.classes, self.rows = Y, classes, rows
        self.n_classes = classes.sum(axis=1)

    def value(self, Z):
        """Return the loss, and the probabilities, which are zero for padding."""
        # The logits of a row sum to zero, so that the zeros of padding are never above all.
        top = Z.max(axis=1, keepdims=True)
        P = Z - top
        np.exp(P, out=P)
        P *= self.classes[:, :, None]
        total = P.sum(axis=1, keepdims=True)
        P *= self.rows[:, None, :] / total
        top += np.log(total)
        return np.vecdot(top[:, 0], self.rows) - _dot(self.Y, Z), P

    def bend(self, P, t):
        """Return the second derivatives of the loss times t."""
        q = P * t
        q -= P * q.sum(axis=1, keepdims=True)
        return q

    def curvature(self, P):
        """Return the mean second derivative of each member; exact for equal probabilities."""
        spread = P.sum(axis=(1, 2)) - _dot(P, P)
        return spread / (self.rows.sum(axis=1) * (self.n_classes - 1))

    def centre(self, b):
        """Take away what is common to all classes, which changes no probability."""
        b -= ((b.sum(axis=1) / self.n_classes)[:, None] * self.classes).astype(b.dtype, copy=False)
        return b

    def take(self, keep):
        return Softmax(self.Y[keep], self.classes[keep], self.rows[keep])


class Sigmoid:
    """Log-loss of two classes: one logit, of the second class."""

    def __init__(self, Y, rows):
        self.Y, self.rows = Y, rows

    def value(self, Z):
        small = np.exp(-np.abs(Z))
        loss = np.maximum(Z, 0) + np.log1p(small)
        P = np.where(Z < 0, small, 1.0) / (1 + small) * self.rows[:, None, :]
        return np.vecdot(loss[:, 0], self.rows) - _dot(self.Y, Z), P

    def bend(self, P, t):
        return (P - P * P) * t

    def curvature(self, P):
        return (P.sum(axis=(1, 2)) - _dot(P, P)) / self.rows.sum(axis=1)

    def centre(self, b):
        return b

    def take(self, keep):
        return Sigmoid(self.Y[keep], self.rows[keep])


# ---------------------------------------------------------------- the method


def minimise(X, scatter, loss, ridge, n_rows, largest_mean, *, intercept, tol, max_iter, rough):
    """Minimise the sum of log-losses plus ridge / 2 |w|^2 for a stack of members.

    Parameters
    ----------
    X : ndarray of shape (n_members, n_rows, n_coordinates)
        The rows in coordinates without correlation, centred if there is an intercept.
    scatter : ndarray of shape (n_members, n_coordinates)
        The sum of squares of each coordinate.
    loss : Softmax or Sigmoid
    ridge : float
    n_rows : ndarray of shape (n_members,)
        Without padding.
    largest_mean : ndarray of shape (n_members,)
        The largest absolute mean of a feature: what centring hides of the gradient.
    intercept : bool
    tol : float
        Largest entry of the gradient of the objective over n_rows at which to stop.
    max_iter : int
        Most steps.
    rough : dtype
        In which directions are found.

    Returns
    -------
    weights : ndarray of shape (n_members, n_classes, n_coordinates)
    bias : ndarray of shape (n_members, n_classes)
        For centred rows.
    error : ndarray of shape (n_members, n_classes, n_rows)
        Probabilities less the truth.
    n_iter : ndarray of shape (n_members,), int
    converged : ndarray of shape (n_members,), bool
        By the gradient, or as far as double precision goes.
    """
    state = _State(X, scatter, loss, ridge, intercept, rough)
    weights, bias, error = np.zeros_like(state.w), np.zeros_like(state.b), np.zeros_like(loss.Y)
    n_iter, converged = np.zeros(len(X), dtype=int), np.zeros(len(X), dtype=bool)
    here = np.arange(len(X))
    for step in range(max_iter + 1):
        state.differentiate()
        done = state.steepest(largest_mean[here]) <= tol * n_rows[here]
        idle = state.idle >= _IDLE
        done |= idle & (state.hoped <= state.least)
        stop = done | idle | ~np.isfinite(state.f) | (step == max_iter)
        if stop.any():
            gone = here[stop]
            weights[gone], bias[gone] = state.w[stop], loss.take(gone).centre(state.b[stop])
            error[gone] = state.error[stop]
            n_iter[gone], converged[gone] = step, done[stop]
            here, state = here[~stop], state.take(~stop)
            if not len(here):
                break
        state.move(*state.direction())
    return weights, bias, error, n_iter, converged


class _State:
    """Where the members of a stack are, and the derivatives there."""

    def __init__(self, X, scatter, loss, ridge, intercept, rough):
        self.X, self.scatter, self.loss = X, scatter, loss
        self.rough_X, self.rough = X.astype(rough, copy=False), rough
        self.ridge, self.intercept = ridge, intercept
        n_members, n_classes, _ = loss.Y.shape
        self.w = np.zeros((n_members, n_classes, X.shape[2]))
        self.wx, self.b = np.zeros_like(loss.Y), np.zeros((n_members, n_classes))
        self.f, self.P = loss.value(self.wx)  # wx: logits without the bias
        self.idle, self.hoped = np.zeros(n_members, dtype=int), np.full(n_members, np.inf)
        self.first = None

    def take(self, keep):
        other = object.__new__(_State)
        for name, value in vars(self).items():
            if name == "loss":
                value = value.take(keep)
            elif isinstance(value, np.ndarray):
                value = value[keep]
            setattr(other, name, value)
        return other

    def _logits(self, w):
        return w @ self.X.transpose(0, 2, 1)

    def differentiate(self):
        self.least = _FLAT * np.maximum(self.loss.rows.sum(axis=1), np.abs(self.f))
        self.error = self.P - self.loss.Y
        self.g = self.error @ self.X + self.ridge * self.w
        self.gb = self.error.sum(axis=2) if self.intercept else np.zeros_like(self.b)

    def steepest(self, largest_mean):
        """Bound the largest entry of the gradient, by the lengths of its rows."""
        bias = np.abs(self.gb).max(axis=1)
        longest = np.sqrt(np.vecdot(self.g, self.g).max(axis=1))
        return np.maximum(longest + largest_mean * bias, bias)

    def direction(self):
        """Solve Newton's equations: return the step, its logits and the step of the bias."""
        loss, X, rough = self.loss, self.rough_X, self.rough
        ridge, P = rough(self.ridge), self.P.astype(rough, copy=False)
        mean = np.maximum(loss.curvature(self.P), 0)
        scale = 1 / (self.ridge + mean[:, None] * self.scatter)[:, None, :]
        flatness = np.maximum(mean * loss.rows.sum(axis=1), _FLATTEST)[:, None]
        # As large as one: a gradient that vanishes does not vanish in single precision.
        size = np.maximum(np.abs(self.g).max(axis=(1, 2)), np.abs(self.gb).max(axis=1))
        size[~(size > 0)] = 1.0
        r, rb = self.g / _each(-size), loss.centre(self.gb / -size[:, None])
        r, rb, scale, flatness = (a.astype(rough, copy=False) for a in (r, rb, scale, flatness))
        v, vb = r * scale, rb / flatness
        x, xb = np.zeros_like(v), np.zeros_like(vb)
        rz = _dot(r, v) + np.vecdot(rb, vb)
        true = rz * size**2
        self.first = true if self.first is None else self.first
        goal = rz * np.minimum(_ACCURACY**2, (true / self.first) ** _FINER)
        on = rz > 0
        for _ in range(_MOST_PRODUCTS):
            t = v @ X.transpose(0, 2, 1)
            t += vb[:, :, None]
            q = loss.bend(P, t)
            h = q @ X
            h += ridge * v
            hb = q.sum(axis=2)
            bend = _dot(v, h) + np.vecdot(vb, hb)
            on &= bend > 0
            s = np.where(on, rz, 0) / np.where(on, bend, 1)
            x += _each(s) * v
            h *= _each(s)
            r -= h
            z = r * scale
            new = _dot(r, z)
            if self.intercept:
                xb += s[:, None] * vb
                rb = loss.centre(rb - s[:, None] * hb)
                zb = rb / flatness
                new += np.vecdot(rb, zb)
            on &= new > goal
            if not on.any():
                break
            t = np.where(on, new, 0) / np.where(on, rz, 1)
            v *= _each(t)
            v += z
            if self.intercept:
                vb = zb + t[:, None] * vb
            # Nothing is added to what has ended: infinity times zero would be.
            v[~on], vb[~on] = 0.0, 0.0
            rz = new
        x, xb = x * _each(size), xb * size[:, None]
        return x, self._logits(x), xb

    def move(self, x, xx, xb):
        """Step along a direction, half as far for as long as the objective does not fall."""
        slope = _dot(self.g, x) + np.vecdot(self.gb, xb)
        ww, wx, squared = _dot(self.w, self.w), _dot(self.w, x), _dot(x, x)
        s = np.ones(len(x))
        for _ in range(_MOST_HALVINGS):
            logits, b = self.wx + _each(s) * xx, self.b + s[:, None] * xb
            f, P = self.loss.value(logits + b[:, :, None])
            f += self.ridge / 2 * (ww + s * (2 * wx + s * squared))
            short = ~(f <= self.f + _ARMIJO * s * slope + self.least)
            if not short.any():
                break
            s = np.where(short, s / 2, s)
        self.idle = np.where(self.f - f <= self.least, self.idle + 1, 0)
        self.hoped = -slope
        self.w, self.wx, self.b = self.w + _each(s) * x, logits, b
        self.f, self.P = f, P
