"""Log-losses of many members at once, as functions of their logits.

Arrays have the axes (member, class, row); sums run along one member's own axes.
"""

import numpy as np


def dot(a, b):
    """Return the sum of the products of all numbers of each member."""
    return np.vecdot(a.reshape(len(a), -1), b.reshape(len(b), -1))


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

    def loss(self, Z):
        """Return the loss, and the probabilities, which are zero for padding."""
        # The logits of a row sum to zero, so that the zeros of padding are never above all.
        top = Z.max(axis=1, keepdims=True)
        P = Z - top
        np.exp(P, out=P)
        P *= self.classes[:, :, None]
        total = P.sum(axis=1, keepdims=True)
        P *= self.rows[:, None, :] / total
        top += np.log(total)
        return np.vecdot(top[:, 0], self.rows) - dot(self.Y, Z), P

    def hessian_product(self, P, t):
        """Return the second derivatives of the loss, by the logits, times t."""
        q = P * t
        q -= P * q.sum(axis=1, keepdims=True)
        return q

    def curvature(self, P):
        """Return the mean second derivative of each member; exact for equal probabilities."""
        spread = P.sum(axis=(1, 2)) - dot(P, P)
        return spread / (self.rows.sum(axis=1) * (self.n_classes - 1))

    def centre(self, bias):
        """Take away what is common to all classes, which changes no probability."""
        common = (bias.sum(axis=1) / self.n_classes)[:, None] * self.classes
        bias -= common.astype(bias.dtype, copy=False)
        return bias

    def take(self, keep):
        return Softmax(self.Y[keep], self.classes[keep], self.rows[keep])


class Sigmoid:
    """Log-loss of two classes: one logit, of the second class."""

    def __init__(self, Y, rows):
        self.Y, self.rows = Y, rows

    def loss(self, Z):
        small = np.exp(-np.abs(Z))
        loss = np.maximum(Z, 0) + np.log1p(small)
        P = np.where(Z < 0, small, 1.0) / (1 + small) * self.rows[:, None, :]
        return np.vecdot(loss[:, 0], self.rows) - dot(self.Y, Z), P

    def hessian_product(self, P, t):
        return (P - P * P) * t

    def curvature(self, P):
        return (P.sum(axis=(1, 2)) - dot(P, P)) / self.rows.sum(axis=1)

    def centre(self, bias):
        return bias

    def take(self, keep):
        return Sigmoid(self.Y[keep], self.rows[keep])
