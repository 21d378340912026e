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
from .losses import dot

# Relative fall of the objective that counts as none: scikit-learn's choice.
_FLAT = 64 * np.finfo(float).eps
# Steps in a row without a fall before a member stops: the gradient may still shrink.
_MOST_STALLED = 3
# A step is taken once the objective falls by this share of what its slope predicts, after at most
# so many halvings of the step.
_ARMIJO = 1e-4
_MOST_HALVINGS = 40
# Steps of the method of conjugate gradients, at most, in one solution of Newton's equations.
_MOST_PRODUCTS = 250
# Newton's equations are solved to this relative accuracy, and finer as the gradient vanishes: by
# this power of how far it has (more wastes products on steps that are not the last).
_ACCURACY, _FINER = 0.2, 1 / 3
# Curvature of the bias where all rows are certain.
_FLATTEST = 1e-12
# The smallest mean curvature of rows that the preconditioner works with: with a smaller one its
# inverse would not be accurate in single precision.
_FLATTEST_MEAN = 1e-4
# The preconditioner of a member is computed anew once its mean curvature has changed by the first
# factor and the last direction took more products than the number of rows over the second one.
_NEAR = 4.0
_ROWS_PER_PRODUCT = 20


def _each(scalars):
    return scalars[:, None, None]


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

    def prepare(self, low_precision):
        self.low_precision_X = self.X.astype(low_precision, copy=False)

    def logits(self, w):
        return w @ self.X.transpose(0, 2, 1)

    def gradient(self, error):
        return error @ self.X

    def image(self, w, logits=None):
        """Return weights such that ``(w * image(w)).sum()`` is the square of their length."""
        return w

    def preconditioner(self, ridge, curvature, low_precision, n_products):
        """Return what solves Newton's equations if all rows have one curvature.

        Parameters
        ----------
        ridge : float
        curvature : ndarray of shape (n_members,)
        low_precision : dtype
        n_products : ndarray of shape (n_members,), int
            How many products the last solution of Newton's equations took.

        Returns
        -------
        solve : callable
            ``solve(residual)`` returns the solution and its :meth:`image`.
        """
        scale = 1 / (ridge + curvature[:, None] * self.scatter)[:, None, :]
        scale = scale.astype(low_precision, copy=False)

        def solve(residual):
            z = residual * scale
            return z, z

        return solve

    def null_space_part(self, residual, ridge):
        return 0.0

    def low_precision_logits(self, image):
        return image @ self.low_precision_X.transpose(0, 2, 1)

    def low_precision_gradient(self, error):
        return error @ self.low_precision_X


class Rows:
    """Weights of rows, fewer than features: those of features are ``w @ X``.

    Parameters
    ----------
    K : ndarray of shape (n_members, n_rows, n_rows)
        Products of the rows, centred if there is an intercept.
    """

    def __init__(self, K):
        self.K, self.size = K, K.shape[1]

    def prepare(self, low_precision):
        # The inverse of each member's preconditioner, and the mean curvature that it is for.
        self.inverse = np.empty(self.K.shape, low_precision)
        self.inverse_curvature = np.full(len(self.K), np.nan)

    def logits(self, w):
        return w @ self.K

    def gradient(self, error):
        return error

    def image(self, w, logits=None):
        return w @ self.K if logits is None else logits

    def preconditioner(self, ridge, curvature, low_precision, n_products):
        curvature = np.maximum(curvature, _FLATTEST_MEAN)
        # An inverse costs much: it serves while the curvature is near, or while few products do.
        of_inverse = self.inverse_curvature
        is_near = (curvature < _NEAR * of_inverse) & (_NEAR * curvature > of_inverse)
        converges = (n_products < self.size // _ROWS_PER_PRODUCT) & np.isfinite(of_inverse)
        (outdated,) = np.nonzero(~(is_near | converges))
        if len(outdated):
            system = self.K[outdated] * _each(curvature[outdated])
            diagonal = np.arange(self.size)
            system[:, diagonal, diagonal] += ridge
            self.inverse[outdated] = inverses(system)
            self.inverse_curvature[outdated] = curvature[outdated]
        ridge = low_precision(ridge)
        curvature = _each(self.inverse_curvature).astype(low_precision)

        def solve(residual):
            z = residual @ self.inverse
            image = ridge * z
            np.subtract(residual, image, out=image)
            image /= curvature
            return z, image

        return solve

    def null_space_part(self, residual, ridge):
        """Return what weights still lack along rows that depend on each other.

        Such weights change no logit, so that the method of conjugate gradients takes no heed of
        them, but in time they would drown the others. (The inverse hardly shrinks them.)
        """
        for _ in range(3):
            residual = residual @ self.inverse
            residual *= ridge
        return residual / ridge

    def low_precision_logits(self, image):
        return image.copy()

    def low_precision_gradient(self, error):
        return error


# ---------------------------------------------------------------- the method


def minimise(
    space, log_loss, ridge, n_rows, largest_mean, *, intercept, tol, max_iter, low_precision
):
    """Minimise the sum of log-losses plus ridge / 2 |w|^2 for a stack of members.

    Parameters
    ----------
    space : Features or Rows
    log_loss : Softmax or Sigmoid
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
    low_precision : dtype
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
    solver = _NewtonSolver(space, log_loss, ridge, intercept, low_precision)
    weights, bias = np.zeros_like(solver.w), np.zeros_like(solver.b)
    error, n_members = np.zeros_like(log_loss.Y), len(n_rows)
    n_iter, converged = np.zeros(n_members, dtype=int), np.zeros(n_members, dtype=bool)
    active = np.arange(n_members)
    for iteration in range(max_iter + 1):
        solver.update_gradient()
        done, stop = solver.check_convergence(largest_mean[active], tol * n_rows[active])
        stop |= iteration == max_iter
        if stop.any():
            ended = active[stop]
            weights[ended] = solver.w[stop]
            bias[ended] = log_loss.take(ended).centre(solver.b[stop])
            error[ended] = solver.error[stop]
            n_iter[ended], converged[ended] = iteration, done[stop]
            active, solver = active[~stop], solver.take(~stop)
            if not len(active):
                break
        solver.line_search(*solver.inner_solve())
    return weights, bias, error, n_iter, converged


def _take_members(space, keep):
    other = object.__new__(type(space))
    for name, value in vars(space).items():
        setattr(other, name, value[keep] if isinstance(value, np.ndarray) else value)
    return other


def _next_direction(direction, factor, z, active):
    """Return the next direction; zeros for members that have ended (infinite factors)."""
    direction *= factor
    direction += z
    direction[~active] = 0.0
    return direction


class _NewtonSolver:
    """Newton's method for a stack of members: where each is, and the derivatives there."""

    def __init__(self, space, log_loss, ridge, intercept, low_precision):
        self.space, self.log_loss, self.low_precision = space, log_loss, low_precision
        self.ridge, self.intercept = ridge, intercept
        space.prepare(low_precision)
        n_members, n_classes, _ = log_loss.Y.shape
        self.w = np.zeros((n_members, n_classes, space.size))
        self.b = np.zeros((n_members, n_classes))
        self.logits = np.zeros_like(log_loss.Y)  # without the bias
        self.objective, self.P = log_loss.loss(self.logits)
        self.n_stalled = np.zeros(n_members, dtype=int)
        self.predicted_decrease = np.full(n_members, np.inf)
        self.first_residual = None
        self.n_products = np.zeros(n_members, dtype=int)  # that the last inner solution took

    def take(self, keep):
        other = object.__new__(_NewtonSolver)
        for name, value in vars(self).items():
            if name == "log_loss":
                value = value.take(keep)
            elif name == "space":
                value = _take_members(value, keep)
            elif isinstance(value, np.ndarray):
                value = value[keep]
            setattr(other, name, value)
        return other

    def update_gradient(self):
        n_rows = self.log_loss.rows.sum(axis=1)
        self.least_decrease = _FLAT * np.maximum(n_rows, np.abs(self.objective))
        self.error = self.P - self.log_loss.Y
        self.g = self.space.gradient(self.error) + self.ridge * self.w
        self.gb = self.error.sum(axis=2) if self.intercept else np.zeros_like(self.b)

    def check_convergence(self, largest_mean, tol):
        """Say which members have converged, and which stop (all that have, and more).

        Parameters
        ----------
        largest_mean, tol : ndarray of shape (n_members,)
        """
        done = self.gradient_norm(largest_mean) <= tol
        stalled = self.n_stalled >= _MOST_STALLED
        done |= stalled & (self.predicted_decrease <= self.least_decrease)
        return done, done | stalled | ~np.isfinite(self.objective)

    def gradient_norm(self, largest_mean):
        """Bound the largest entry of the gradient, by the lengths of its rows."""
        bias = np.abs(self.gb).max(axis=1)
        squares = np.vecdot(self.g, self.space.image(self.g)).max(axis=1)
        longest = np.sqrt(np.maximum(squares, 0))
        return np.maximum(longest + largest_mean * bias, bias)

    def inner_solve(self):
        """Solve Newton's equations: return the step, its logits and the step of the bias."""
        log_loss, space = self.log_loss, self.space
        curvature = np.maximum(log_loss.curvature(self.P), 0)
        solve = space.preconditioner(self.ridge, curvature, self.low_precision, self.n_products)
        bias_curvature = np.maximum(curvature * log_loss.rows.sum(axis=1), _FLATTEST)[:, None]
        # As large as one: a gradient that vanishes does not vanish in single precision.
        size = np.maximum(np.abs(self.g).max(axis=(1, 2)), np.abs(self.gb).max(axis=1))
        size[~(size > 0)] = 1.0
        residual, bias_residual, bias_curvature = (
            a.astype(self.low_precision, copy=False)
            for a in (
                self.g / _each(-size),
                log_loss.centre(self.gb / -size[:, None]),
                bias_curvature,
            )
        )
        step, step_bias, residual = self._conjugate_gradients(
            solve, bias_curvature, residual, bias_residual, size
        )
        step += space.null_space_part(residual, self.low_precision(self.ridge))
        step, step_bias = step * _each(size), step_bias * size[:, None]
        return step, space.logits(step), step_bias

    def _conjugate_gradients(self, solve, bias_curvature, r, rb, size):
        """Solve Newton's equations with the right-hand side ``r, rb``, which is overwritten.

        Parameters
        ----------
        solve : callable
            The preconditioner of the weights.
        bias_curvature : ndarray of shape (n_members, 1)
            The preconditioner of the bias.
        r : ndarray of shape (n_members, n_classes, space.size)
        rb : ndarray of shape (n_members, n_classes)
        size : ndarray of shape (n_members,)
            What the right-hand sides were divided by.

        Returns
        -------
        x, xb : ndarray of the shapes of r and rb
        r : ndarray of shape (n_members, n_classes, space.size)
            The residual.
        """
        log_loss, space, ridge = self.log_loss, self.space, self.low_precision(self.ridge)
        P = self.P.astype(self.low_precision, copy=False)
        (v, image), vb = solve(r), rb / bias_curvature
        x, xb = np.zeros_like(v), np.zeros_like(vb)
        rz = dot(r, image) + np.vecdot(rb, vb)
        goal = rz * self._accuracy(rz * size**2)
        active = rz > 0
        self.n_products = np.zeros_like(self.n_stalled)
        for _ in range(_MOST_PRODUCTS):
            self.n_products += active
            t = space.low_precision_logits(image)
            t += vb[:, :, None]
            q = log_loss.hessian_product(P, t)
            hb = q.sum(axis=2)
            h = space.low_precision_gradient(q)
            h += ridge * v
            curvature = dot(image, h) + np.vecdot(vb, hb)
            active &= curvature > 0
            s = np.where(active, rz, 0) / np.where(active, curvature, 1)
            x += _each(s) * v
            h *= _each(s)
            r -= h
            z, z_image = solve(r)
            new = dot(r, z_image)
            if self.intercept:
                xb += s[:, None] * vb
                rb = log_loss.centre(rb - s[:, None] * hb)
                zb = rb / bias_curvature
                new += np.vecdot(rb, zb)
            active &= new > goal
            if not active.any():
                break
            factor = _each(np.where(active, new, 0) / np.where(active, rz, 1))
            v = _next_direction(v, factor, z, active)
            image = v if z_image is z else _next_direction(image, factor, z_image, active)
            if self.intercept:
                vb = zb + factor[:, :, 0] * vb
            vb[~active] = 0.0
            rz = new
        return x, xb, r

    def _accuracy(self, squared_residual):
        """Return the share of the squared residual at which the inner solver may stop."""
        if self.first_residual is None:
            self.first_residual = squared_residual
        return np.minimum(_ACCURACY**2, (squared_residual / self.first_residual) ** _FINER)

    def line_search(self, step, step_logits, step_bias):
        """Step along a direction, half as far for as long as the objective does not fall."""
        image = self.space.image(step, step_logits)
        slope = dot(self.g, image) + np.vecdot(self.gb, step_bias)
        # |w + s step|^2 = ww + s (2 wx + s xx)
        ww = dot(self.w, self.space.image(self.w, self.logits))
        wx, xx = dot(self.w, image), dot(step, image)
        s = np.ones(len(step))
        for _ in range(_MOST_HALVINGS):
            logits = self.logits + _each(s) * step_logits
            bias = self.b + s[:, None] * step_bias
            objective, P = self.log_loss.loss(logits + bias[:, :, None])
            objective += self.ridge / 2 * (ww + s * (2 * wx + s * xx))
            bound = self.objective + _ARMIJO * s * slope + self.least_decrease
            too_long = ~(objective <= bound)
            if not too_long.any():
                break
            s = np.where(too_long, s / 2, s)
        has_stalled = self.objective - objective <= self.least_decrease
        self.n_stalled = np.where(has_stalled, self.n_stalled + 1, 0)
        self.predicted_decrease = -slope
        self.w, self.logits, self.b = self.w + _each(s) * step, logits, bias
        self.objective, self.P = objective, P
