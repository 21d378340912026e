"""Newton's method for the log-losses of many members at once, each with its own steps.

The objective is scikit-learn's: the sum of the log-losses plus ridge / 2 |w|^2, the intercept
free. Weights are those of features without correlation (:class:`Features`) or, where a member
has fewer rows than features, of its rows (:class:`Rows`); lengths and angles are those of the
weights of features in either case. Newton's equations are solved by conjugate gradients with the
exact Hessian, preconditioned by what the Hessian would be if all rows were equally uncertain, in
single precision where numbers are moderate: a direction need not be exact. A step is shortened
until the objective falls; objective and gradient are in double precision.

Arrays have the axes (member, class, row). Products are taken matrix by matrix, sums run along
one member's own axes, and a member that has finished is left alone: nothing that one member
does shows in another.
"""

import numpy as np

from .cholesky import inverses

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
# Mean curvature at which the preconditioner takes rows at least: single precision needs it.
_FLATTEST_MEAN = 1e-4
# It is computed anew when the curvature has changed by this factor.
_NEAR = 4.0
# And if the last direction took so many products that they cost as much: more for more rows.
_DEAR = 20


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


# ---------------------------------------------------------------- what weights are of


class Features:
    """Weights of features without correlation.

    Parameters
    ----------
    X : ndarray of shape (n_members, n_rows, n_features)
        The rows, centred if there is an intercept.
    scatter : ndarray of shape (n_members, n_features)
        The sum of squares of each feature.
    """

    def __init__(self, X, scatter):
        self.X, self.scatter, self.size = X, scatter, X.shape[2]

    def prepare(self, rough):
        self.rough_X = self.X.astype(rough, copy=False)

    def logits(self, w):
        return w @ self.X.transpose(0, 2, 1)

    def gradient(self, error):
        return error @ self.X

    def image(self, w, logits=None):
        """Return weights such that ``(w * image(w)).sum()`` is the square of their length."""
        return w

    def preconditioner(self, ridge, mean, rough, products):
        """Return what solves Newton's equations for rows of one curvature, and its image."""
        scale = 1 / (ridge + mean[:, None] * self.scatter)[:, None, :]
        scale = scale.astype(rough, copy=False)

        def solve(r):
            z = r * scale
            return z, z

        return solve

    def unseen(self, r, ridge):
        return 0.0

    def rough_logits(self, image):
        return image @ self.rough_X.transpose(0, 2, 1)

    def rough_gradient(self, error):
        return error @ self.rough_X


class Rows:
    """Weights of rows, fewer than features: those of features are ``w @ X``.

    Parameters
    ----------
    K : ndarray of shape (n_members, n_rows, n_rows)
        Products of the rows, centred if there is an intercept.
    """

    def __init__(self, K):
        self.K, self.size = K, K.shape[1]

    def prepare(self, rough):
        self.at = np.full(len(self.K), np.nan)
        self.inverse = np.empty(self.K.shape, rough)

    def logits(self, w):
        return w @ self.K

    def gradient(self, error):
        return error

    def image(self, w, logits=None):
        return w @ self.K if logits is None else logits

    def preconditioner(self, ridge, mean, rough, products):
        mean = np.maximum(mean, _FLATTEST_MEAN)
        # The inverse is dear: it serves while the mean is near, or while few products do.
        near = (mean < _NEAR * self.at) & (_NEAR * mean > self.at)
        soon = (products < self.size // _DEAR) & np.isfinite(self.at)
        (new,) = np.nonzero(~(near | soon))
        if len(new):
            system = self.K[new] * _each(mean[new])
            diagonal = np.arange(self.size)
            system[:, diagonal, diagonal] += ridge
            self.inverse[new], self.at[new] = inverses(system), mean[new]
        ridge, mean = rough(ridge), _each(self.at).astype(rough)

        def solve(r):
            z = r @ self.inverse
            image = ridge * z
            np.subtract(r, image, out=image)
            image /= mean
            return z, image

        return solve

    def unseen(self, r, ridge):
        """Return what weights still lack along rows that depend on each other.

        Such weights change no logit, so that the method of conjugate gradients takes no heed of
        them, but in time they would drown the others. (The inverse hardly shrinks them.)
        """
        for _ in range(3):
            r = r @ self.inverse
            r *= ridge
        return r / ridge

    def rough_logits(self, image):
        return image.copy()

    def rough_gradient(self, error):
        return error


# ---------------------------------------------------------------- the method


def minimise(space, loss, ridge, n_rows, largest_mean, *, intercept, tol, max_iter, rough):
    """Minimise the sum of log-losses plus ridge / 2 |w|^2 for a stack of members.

    Parameters
    ----------
    space : Features or Rows
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
    weights : ndarray of shape (n_members, n_classes, space.size)
    bias : ndarray of shape (n_members, n_classes)
        For centred rows.
    error : ndarray of shape (n_members, n_classes, n_rows)
        Probabilities less the truth.
    n_iter : ndarray of shape (n_members,), int
    converged : ndarray of shape (n_members,), bool
        By the gradient, or as far as double precision goes.
    """
    state = _State(space, loss, ridge, intercept, rough)
    weights, bias, error = np.zeros_like(state.w), np.zeros_like(state.b), np.zeros_like(loss.Y)
    n_members = len(n_rows)
    n_iter, converged = np.zeros(n_members, dtype=int), np.zeros(n_members, dtype=bool)
    here = np.arange(n_members)
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


def _taken(space, keep):
    other = object.__new__(type(space))
    for name, value in vars(space).items():
        setattr(other, name, value[keep] if isinstance(value, np.ndarray) else value)
    return other


def _onward(v, t, z, on):
    """Return the next direction; none for members that have ended, where t may be infinite."""
    v *= t
    v += z
    v[~on] = 0.0
    return v


class _State:
    """Where the members of a stack are, and the derivatives there."""

    def __init__(self, space, loss, ridge, intercept, rough):
        self.space, self.loss, self.rough = space, loss, rough
        self.ridge, self.intercept = ridge, intercept
        space.prepare(rough)
        n_members, n_classes, _ = loss.Y.shape
        self.w = np.zeros((n_members, n_classes, space.size))
        self.wx, self.b = np.zeros_like(loss.Y), np.zeros((n_members, n_classes))
        self.f, self.P = loss.value(self.wx)  # wx: logits without the bias
        self.idle, self.hoped = np.zeros(n_members, dtype=int), np.full(n_members, np.inf)
        self.first = None
        self.products = np.zeros(n_members, dtype=int)  # that the last direction took

    def take(self, keep):
        other = object.__new__(_State)
        for name, value in vars(self).items():
            if name == "loss":
                value = value.take(keep)
            elif name == "space":
                value = _taken(value, keep)
            elif isinstance(value, np.ndarray):
                value = value[keep]
            setattr(other, name, value)
        return other

    def differentiate(self):
        self.least = _FLAT * np.maximum(self.loss.rows.sum(axis=1), np.abs(self.f))
        self.error = self.P - self.loss.Y
        self.g = self.space.gradient(self.error) + self.ridge * self.w
        self.gb = self.error.sum(axis=2) if self.intercept else np.zeros_like(self.b)

    def steepest(self, largest_mean):
        """Bound the largest entry of the gradient, by the lengths of its rows."""
        bias = np.abs(self.gb).max(axis=1)
        squares = np.vecdot(self.g, self.space.image(self.g)).max(axis=1)
        longest = np.sqrt(np.maximum(squares, 0))
        return np.maximum(longest + largest_mean * bias, bias)

    def direction(self):
        """Solve Newton's equations: return the step, its logits and the step of the bias."""
        loss, space, rough = self.loss, self.space, self.rough
        ridge, P = rough(self.ridge), self.P.astype(rough, copy=False)
        mean = np.maximum(loss.curvature(self.P), 0)
        solve = space.preconditioner(self.ridge, mean, rough, self.products)
        flatness = np.maximum(mean * loss.rows.sum(axis=1), _FLATTEST)[:, None]
        # As large as one: a gradient that vanishes does not vanish in single precision.
        size = np.maximum(np.abs(self.g).max(axis=(1, 2)), np.abs(self.gb).max(axis=1))
        size[~(size > 0)] = 1.0
        r, rb = self.g / _each(-size), loss.centre(self.gb / -size[:, None])
        r, rb, flatness = (a.astype(rough, copy=False) for a in (r, rb, flatness))
        (v, image), vb = solve(r), rb / flatness
        x, xb = np.zeros_like(v), np.zeros_like(vb)
        rz = _dot(r, image) + np.vecdot(rb, vb)
        true = rz * size**2
        self.first = true if self.first is None else self.first
        goal = rz * np.minimum(_ACCURACY**2, (true / self.first) ** _FINER)
        on = rz > 0
        self.products = np.zeros_like(self.idle)
        for _ in range(_MOST_PRODUCTS):
            self.products += on
            t = space.rough_logits(image)
            t += vb[:, :, None]
            q = loss.bend(P, t)
            hb = q.sum(axis=2)
            h = space.rough_gradient(q)
            h += ridge * v
            bend = _dot(image, h) + np.vecdot(vb, hb)
            on &= bend > 0
            s = np.where(on, rz, 0) / np.where(on, bend, 1)
            x += _each(s) * v
            h *= _each(s)
            r -= h
            z, z_image = solve(r)
            new = _dot(r, z_image)
            if self.intercept:
                xb += s[:, None] * vb
                rb = loss.centre(rb - s[:, None] * hb)
                zb = rb / flatness
                new += np.vecdot(rb, zb)
            on &= new > goal
            if not on.any():
                break
            t = _each(np.where(on, new, 0) / np.where(on, rz, 1))
            v = _onward(v, t, z, on)
            image = v if z_image is z else _onward(image, t, z_image, on)
            if self.intercept:
                vb = zb + t[:, :, 0] * vb
            vb[~on] = 0.0
            rz = new
        x += space.unseen(r, ridge)
        x, xb = x * _each(size), xb * size[:, None]
        return x, space.logits(x), xb

    def move(self, x, xx, xb):
        """Step along a direction, half as far for as long as the objective does not fall."""
        image = self.space.image(x, xx)
        slope = _dot(self.g, image) + np.vecdot(self.gb, xb)
        ww = _dot(self.w, self.space.image(self.w, self.wx))
        wx, squared = _dot(self.w, image), _dot(x, image)
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
