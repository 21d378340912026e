"""Where to write the names of curves: beside them, in their colour, covering nothing.

Every text is tried at points along its line, at a few spots around each point; what a reader
would mind has a price, and the cheapest place wins. That is quick, and the same every time.
"""

import numpy as np

__all__ = ["NameLayout"]

# A spot beside a point: alignment of the text, offset in points, price. Beyond _LEAD points a
# thin line leads back to the curve.
_SPOTS = [
    ("left", "bottom", 5, 3, 0),
    ("left", "center", 7, 0, 2),
    ("right", "top", -5, -4, 6),
    ("left", "top", 5, -4, 8),
    ("right", "bottom", -5, 4, 8),
    ("center", "bottom", 0, 5, 10),
    ("center", "top", 0, -5, 10),
]
_SPOTS += [
    (side, "center", sign * right, up, 40 + right / 4 + abs(up) / 2)
    for side, sign in (("left", 1), ("right", -1))
    for right in (30, 60, 90, 120)
    for up in (0, -30, 30)
]
_LEAD = 20
_SAMPLES = 160  # points along a curve, of which every fourth may carry its name
_FORBIDDEN = 1e4


class NameLayout:
    """Names of "steps-pre" curves on one axes. Distances are pixels of the figure as it is now.

    Parameters
    ----------
    ax : matplotlib Axes
        With its final limits.
    curves : list of matplotlib Line2D
        The curves that no text should cover.
    gid : str
        Marks the texts written, so that they can be found and removed.
    """

    def __init__(self, ax, curves, gid):
        self.ax = ax
        self.gid = gid
        self.point = ax.figure.dpi / 72
        self.lines = curves
        self.paths = [self._sample(*_stairs(line)) for line in curves]
        self.dashed = np.empty(0)
        self.written = []

    def keep_clear_of(self, levels):
        """Take horizontal lines at these y values, over the whole width, as obstacles."""
        to_pixels = self.ax.transData.transform
        self.dashed = np.array([to_pixels((0, level))[1] for level in levels])

    def write_beside_curve(self, index, words):
        """Write near the middle of a curve's height, where no other curve is near."""
        anchors = self.paths[index][::4]
        height = (anchors[:, 1] - self.ax.bbox.y0) / self.ax.bbox.height
        color = self.lines[index].get_color()
        self._write(words, anchors, 40 * abs(height - 0.55), index, color=color, fontsize=9.5)

    def write_beside_levels(self, words):
        """Write above or below one of the horizontal lines, best at its right end."""
        right = np.linspace(self.ax.bbox.x1, self.ax.bbox.x0, 20)
        anchors = np.array([(x, y) for y in self.dashed for x in right])
        price = np.tile(np.arange(20), len(self.dashed))
        ink = self.ax.yaxis.label.get_color()
        self._write(words, anchors, price, None, color=ink, alpha=0.7, fontsize=8.5)

    def _sample(self, x, y):
        """Sample a path at equal steps of its length on the screen."""
        corners = self.ax.transData.transform(np.column_stack([x, y]))
        length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
        at = np.linspace(0, length[-1], _SAMPLES)
        return np.column_stack([np.interp(at, length, corners[:, axis]) for axis in (0, 1)])

    def _write(self, words, anchors, price, own, **style):
        from matplotlib.patheffects import withStroke
        from matplotlib.text import Text

        text = self.ax.annotate(
            words,
            xy=(0, 0),
            xycoords="data",
            xytext=(0, 0),
            textcoords="offset points",
            gid=self.gid,
            path_effects=[withStroke(linewidth=3, foreground=self.ax.get_facecolor())],
            arrowprops={"arrowstyle": "-", "color": style["color"], "lw": 0.8, "shrinkA": 0},
            **style,
        )
        extent = Text.get_window_extent(text)  # an Annotation's own adds its line
        boxes = self._boxes(anchors, extent.width, extent.height)
        cost = self._cost(boxes, own) + np.add.outer(price, [spot[4] for spot in _SPOTS]).ravel()
        best = int(np.argmin(cost))
        side, level, right, up, _ = _SPOTS[best % len(_SPOTS)]
        text.xy = self.ax.transData.inverted().transform(anchors[best // len(_SPOTS)])
        text.set(ha=side, va=level, position=(right, up))
        text.arrow_patch.set_visible(np.hypot(right, up) > _LEAD)
        self.written.append(boxes[best])

    def _boxes(self, anchors, width, height):
        """Return (left, bottom, right, top) of a text at every anchor and spot."""
        shift = {"left": 0, "center": -0.5, "right": -1, "bottom": 0, "top": -1}
        corner = [
            (right * self.point + shift[side] * width, up * self.point + shift[level] * height)
            for side, level, right, up, _ in _SPOTS
        ]
        low = (anchors[:, None] + np.array(corner)).reshape(-1, 2)
        return np.hstack([low, low + np.array([width, height])])

    def _cost(self, boxes, own):
        """Price what a reader minds: leaving the axes, covering, and standing by a stranger."""
        frame = self.ax.bbox.extents
        cost = 1000.0 * np.maximum(frame[:2] - boxes[:, :2], 0).sum(axis=1)
        cost += 1000.0 * np.maximum(boxes[:, 2:] - frame[2:], 0).sum(axis=1)
        for other in self.written:
            apart = np.maximum(boxes[:, :2] - other[2:], other[:2] - boxes[:, 2:]).max(axis=1)
            cost += _FORBIDDEN * (apart < 3 * self.point)
        for y in self.dashed:
            apart = np.maximum(boxes[:, 1] - y, y - boxes[:, 3]) / self.point
            cost += 60.0 * (apart < 1)
            if own is not None:  # a name by a dashed line might seem to belong to it
                cost += 3.0 * np.maximum(10 - apart, 0)
        for index, path in enumerate(self.paths):
            apart = _distance(boxes, path) / self.point
            cost += 60.0 * (apart < 1).sum(axis=1)
            if own is not None and index != own:
                cost += 4.0 * np.maximum(20 - apart.min(axis=1), 0)
        return cost


def _stairs(line):
    """Return the corners that "steps-pre" draws."""
    x, y = line.get_xdata(), line.get_ydata()
    return np.repeat(x, 2)[:-1], np.repeat(y, 2)[1:]


def _distance(boxes, points):
    """Return the larger of the gaps across and upward, of every box from every point."""
    across = np.maximum(boxes[:, [0]] - points[:, 0], points[:, 0] - boxes[:, [2]])
    upward = np.maximum(boxes[:, [1]] - points[:, 1], points[:, 1] - boxes[:, [3]])
    return np.maximum(across, upward)
