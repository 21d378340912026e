"""The nearest rows in an order that no rounding, shape or neighbour can change."""

import numpy as np

# Rows more than are wanted, so that few test rows have ties at the edge of the selection.
_SPARE = 16
# Training rows converted to doubles at a time.
_CHUNK_ROWS = 4096
# Differences held while distances are computed one by one.
_BLOCK_ELEMENTS = 1 << 22
# Squared norms beyond this may overflow on the way to a distance.
_WILD = 1e300


class NearestRows:
    """Training rows, to be ordered by their distance from a test row.

    The squared distance is ``sum_f (x_f - t_f)^2``, added in the order of the features, each
    operation rounded to a double; equal distances keep the order of the training rows.

    A matrix product gives all distances at once with a bounded error. It only sorts out what is
    far apart: rows whose order the error could turn are measured by the definition. So the
    shape of the product, the BLAS and its threads do not matter.

    Parameters
    ----------
    rows : ndarray of shape (n_train, n_features), float32 or float64
    """

    def __init__(self, rows):
        self.rows = np.ascontiguousarray(rows)
        with np.errstate(over="ignore"):
            self.norms = np.concatenate([_norms(chunk) for _, chunk in self._chunks()])
        self.wild = np.flatnonzero(~(self.norms < _WILD))
        self.whole = all(np.array_equal(chunk, np.rint(chunk)) for _, chunk in self._chunks())

    def _chunks(self):
        for start in range(0, len(self.rows), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            yield rows, self.rows[rows].astype(np.float64, copy=False)

    def find(self, X, n_nearest):
        """Return the nearest training rows of a block of test rows.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
        n_nearest : int
            At most the number of training rows.

        Returns
        -------
        index : ndarray of shape (n_samples, n_nearest), int
            Training rows, the nearest first.
        """
        X = X.astype(np.float64, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            low, slack = self._bounds(X)
        n_train, n_kept = len(self.rows), n_nearest + _SPARE
        if n_kept >= n_train:
            return self._sorted(X, np.tile(np.arange(n_train), (len(X), 1)), low, slack, n_nearest)
        kept = np.argpartition(low, (n_nearest - 1, n_kept - 1), axis=1)[:, :n_kept]
        kept_low = np.take_along_axis(low, kept, axis=1)
        # Some n_nearest rows are no farther than this, so nor is any of the nearest.
        reach = (kept_low + 2 * self._slack_of(slack, kept))[:, :n_nearest].max(axis=1)
        index = self._sorted(X, kept, kept_low, slack, n_nearest)
        for i in np.flatnonzero(kept_low.max(axis=1) <= reach):  # others may be as near
            near = np.flatnonzero(low[i] <= reach[i])[None]
            own = (slack[0][i : i + 1], slack[1])
            index[i] = self._sorted(X[i : i + 1], near, low[i : i + 1, near[0]], own, n_nearest)[0]
        return index

    def _bounds(self, X):
        """Return lower bounds of all squared distances, and by how much they may be too low.

        The slack of test row i and training row j is half of what lies between the lower
        and the upper bound, the sum of two numbers.
        """
        norms = _norms(X)
        low = np.empty((len(X), len(self.rows)))
        for rows, chunk in self._chunks():
            np.matmul(X, chunk.T, out=low[:, rows])
        low *= -2
        low += self.norms
        low += norms[:, None]
        n_features = X.shape[1]
        if (
            self.whole
            and max(norms.max(), self.norms.max()) < 2.0**50
            and np.array_equal(X, np.rint(X))
        ):
            return low, (np.zeros(len(X)), np.zeros(len(self.norms)))  # sums of integers are exact
        # Products, norms and the definition itself are each wrong by no more than about
        # (n_features + 3) units of rounding of |x|^2 + |t|^2; this is several times that.
        unit = 8 * (n_features + 16) * 2.0**-53
        slack = (unit * norms + 1e-300, unit * self.norms)
        low -= slack[1]
        low -= slack[0][:, None]
        wild = np.flatnonzero(~(norms < _WILD))
        slack[0][wild], slack[1][self.wild] = 0, 0
        self._measure_into(low, X, np.arange(len(X)), self.wild)
        self._measure_into(low, X, wild, np.arange(len(self.norms)))
        return low, slack

    def _measure_into(self, low, X, i, j):
        if len(i) and len(j):
            i, j = (a.ravel() for a in np.meshgrid(i, j, indexing="ij"))
            low[i, j] = self.measure(X, i, j)

    @staticmethod
    def _slack_of(slack, index):
        return slack[0][:, None] + slack[1][index]

    def _sorted(self, X, index, low, slack, n_nearest):
        """Return the first of the candidates in the order of their distances, row by row."""
        by_row = np.argsort(index, axis=1)
        index, low = (np.take_along_axis(a, by_row, axis=1) for a in (index, low))
        order = np.argsort(low, axis=1, kind="stable")
        index, low = (np.take_along_axis(a, order, axis=1) for a in (index, low))
        exact = not slack[0].any() and not slack[1].any()
        if not exact:
            self._settle(X, index, low, slack)
        return index[:, :n_nearest]

    def _settle(self, X, index, low, slack):
        """Put in order, in place, what the bounds leave open."""
        high = np.maximum.accumulate(low + 2 * self._slack_of(slack, index), axis=1)
        starts = np.ones(low.shape, dtype=bool)  # of groups that are apart from all before
        np.greater(low[:, 1:], high[:, :-1], out=starts[:, 1:])
        alone = starts.copy()
        alone[:, :-1] &= starts[:, 1:]
        i, place = np.nonzero(~alone)
        if not len(i):
            return
        distance = self.measure(X, i, index[i, place])
        group = np.cumsum(starts, axis=1)[i, place]
        rows = index[i, place]
        # Groups keep their places; inside of one, distance and then the order of rows decide.
        index[i, place] = rows[np.lexsort((rows, distance, group, i))]

    def measure(self, X, i, j):
        """Return the squared distances of test rows i and training rows j by the definition."""
        out = np.empty(len(i))
        step = max(1, _BLOCK_ELEMENTS // max(1, X.shape[1]))
        with np.errstate(over="ignore"):
            for start in range(0, len(i), step):
                part = slice(start, start + step)
                square = X[i[part]] - self.rows[j[part]]
                square *= square
                # Running sums have one order of summation only.
                out[part] = np.add.accumulate(square, axis=1, out=square)[:, -1]
        return out


def _norms(rows):
    return np.einsum("ij,ij->i", rows, rows)


def smallest(values, k):
    """Return the columns of the k smallest entries of each row.

    They come in increasing order; ties go to the smaller column.
    """
    n_rows, n_columns = values.shape
    width = n_columns // (16 * k)
    if width > 1:
        # k minima of disjoint groups bound the k-th smallest entry from above: one cheap
        # pass, after which few candidates are left to sort.
        n_groups = n_columns // width
        minima = values[:, : n_groups * width].reshape(n_rows, n_groups, width).min(axis=2)
        bound = np.partition(minima, k - 1, axis=1)[:, k - 1]
    else:
        bound = np.partition(values, k - 1, axis=1)[:, k - 1]
    row, column = np.nonzero(values <= bound[:, None])
    # lexsort is stable and the candidates of a row come by column.
    order = np.lexsort((values[row, column], row))
    first = np.searchsorted(row, np.arange(n_rows))
    return column[order[first[:, None] + np.arange(k)]]
