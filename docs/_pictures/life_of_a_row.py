"""Draw the life of a row, from fit to certify, for docs/architecture.rst.

    python docs/_pictures/life_of_a_row.py [docs/_static/life_of_a_row.svg]

All text stands in light boxes, and lines are neither light nor dark: the picture has no background
of its own, so that it can be read on a light page and on a dark one.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

TRAINING, TEST, NEUTRAL, INK = "#2f7fc1", "#d9822b", "#8a9099", "#1d2530"
LIGHT = {TRAINING: "#e3effa", TEST: "#fcecd9", NEUTRAL: "#eef0f3"}
SIZE = (8.6, 8.9)  # inches, which are the coordinates, too


def box(ax, left, bottom, width, height, color, title, text="", room="", *, faint=False):
    """Draw a box with a title, some words, and the room that does this."""
    ax.add_patch(
        FancyBboxPatch(
            (left, bottom),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=LIGHT[color],
            edgecolor=color,
            linewidth=0.8 if faint else 1.6,
        )
    )
    lines = [(title, {"weight": "bold", "size": 10.5})]
    lines += [(line, {"size": 9}) for line in text.split("\n") if line]
    lines += [(room, {"size": 8.2, "family": "monospace", "color": "#4a5563"})] if room else []
    step = 0.2
    top = bottom + height / 2 + step * (len(lines) - 1) / 2
    for i, (line, how) in enumerate(lines):
        how = {"color": INK, **how}
        ax.text(left + width / 2, top - i * step, line, ha="center", va="center", **how)


def arrow(ax, start, end, color, *, faint=False):
    """Draw an arrow."""
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=13,
            color=color,
            linewidth=1.2 if faint else 2.0,
            shrinkA=1,
            shrinkB=1,
        )
    )


def draw_entry(ax):
    """Draw both rows and the door through which they go."""
    box(ax, 0.2, 8.0, 3.9, 0.75, TRAINING, "a training row", "(0.5, 'Rome', True), labelled yes")
    box(ax, 4.5, 8.0, 3.9, 0.75, TEST, "a test row", "(0.7, 'Oslo', None)")
    box(
        ax,
        0.2,
        6.3,
        8.2,
        1.3,
        NEUTRAL,
        "the door",
        "Check the container. Bring the rows into one form: numbers in one block,\n"
        "other cells as codes with the different values beside them.\n"
        "Nothing behind it asks what the container was.",
        "_data/validation  _data/containers",
    )
    arrow(ax, (2.15, 8.0), (2.15, 7.6), TRAINING)
    arrow(ax, (6.45, 8.0), (6.45, 7.6), TEST)


def draw_ways(ax):
    """Draw what happens to either row between the door and the members."""
    box(
        ax,
        0.2,
        5.1,
        3.9,
        0.85,
        TRAINING,
        "partition",
        "the hash of its own bytes, modulo k",
        "hashers",
    )
    box(
        ax,
        0.2,
        3.75,
        3.9,
        1.0,
        TRAINING,
        "hand out and train",
        "own rows in canonical order; types, levels\nand seed of this member alone",
        "_data/views  _members  _linear",
    )
    box(
        ax,
        4.5,
        5.1,
        3.9,
        0.85,
        TEST,
        "block",
        "with others, in a shape that they cannot change",
        "_data/blocks",
    )
    box(
        ax,
        4.5,
        3.75,
        3.9,
        1.0,
        TEST,
        "shape for each member",
        "the types and levels that this member was\ntrained on; unknown levels are missing",
        "_data/views",
    )
    for x, color in ((2.15, TRAINING), (6.45, TEST)):
        arrow(ax, (x, 6.3), (x, 5.95), color)
        arrow(ax, (x, 5.1), (x, 4.75), color)


def draw_members(ax):
    """Draw the members: one of them sees the training row, all are asked about the test row."""
    names = ["member 0", "member 1", "member 2", "member k - 1"]
    ballots = ["votes yes", "votes yes", "votes no", "votes yes"]
    left = [0.2, 2.3, 4.4, 6.5]
    for i, (name, ballot, x) in enumerate(zip(names, ballots, left, strict=True)):
        color = TRAINING if i == 0 else NEUTRAL
        box(ax, x, 2.5, 1.9, 0.65, color, name, ballot, faint=i != 0)
        arrow(ax, (6.45, 3.75), (x + 1.35, 3.15), TEST, faint=True)
        arrow(ax, (x + 0.95, 2.5), (4.3 + 0.35 * (i - 1.5), 2.05), NEUTRAL, faint=True)
    arrow(ax, (2.15, 3.75), (0.75, 3.15), TRAINING)
    ax.text(6.4, 2.83, "...", ha="center", va="center", color=NEUTRAL, weight="bold", size=12)
    box(
        ax,
        0.2,
        1.2,
        8.2,
        0.85,
        NEUTRAL,
        "count, and certify",
        "a theorem on the votes alone: it never sees a row or a member",
        "_members/voting  certificates",
    )
    arrow(ax, (4.3, 1.2), (4.3, 0.85), NEUTRAL)
    box(
        ax,
        2.3,
        0.15,
        4.0,
        0.7,
        NEUTRAL,
        "Certificate(y_pred, radius)",
        "so many training rows cannot change y_pred",
    )


def main(path):
    matplotlib.rcParams.update({"svg.hashsalt": "life of a row", "font.family": "DejaVu Sans"})
    fig = plt.figure(figsize=SIZE)
    ax = fig.add_axes([0, 0, 1, 1])
    ax.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]))
    ax.axis("off")
    draw_entry(ax)
    draw_ways(ax)
    draw_members(ax)
    metadata = {"Date": None} if str(path).endswith(".svg") else None
    fig.savefig(path, transparent=True, metadata=metadata)


if __name__ == "__main__":
    static = Path(__file__).resolve().parents[1] / "_static"
    main(sys.argv[1] if len(sys.argv) > 1 else static / "life_of_a_row.svg")
