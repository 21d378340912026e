"""Draw the idea of a partition ensemble, from rows to a radius, for README.md and docs/index.rst.

    python docs/_pictures/idea.py [docs/_static]

Four files: wide and tall, for pages and telephones; each for light pages and for dark ones.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

THEMES = {
    "light": {
        "ink": "#1d2530",
        "soft": "#5b6672",
        "box": "#eef0f3",
        "edge": "#8a9099",
        "good": "#2f7fc1",
        "bad": "#d9822b",
        "on": "#ffffff",
    },
    "dark": {
        "ink": "#e8ebef",
        "soft": "#a6b0bb",
        "box": "#2a313a",
        "edge": "#77818d",
        "good": "#4b98d8",
        "bad": "#e2913f",
        "on": "#10151b",
    },
}
N_MEMBERS = 7
# Partition of each training row, as a hash might have it, and the hostile rows among them.
PARTITIONS = (3, 0, 5, 1, 6, 2, 4, 1, 5, 0, 3, 6, 2, 4)
HOSTILE = (3, 8)
DISSENT = 3  # the member that errs by itself
STAGES = ("training rows", "a hash deals", "partitions", "members", "votes")


class Canvas:
    """A sheet on which stages follow one another along one axis and members along the other."""

    def __init__(self, theme, *, tall):
        self.color, self.tall = THEMES[theme], tall
        self.size = (4.1, 7.0) if tall else (9.8, 4.3)  # inches, which are the coordinates, too
        self.fig = plt.figure(figsize=self.size)
        self.ax = self.fig.add_axes([0, 0, 1, 1])
        self.ax.set(xlim=(0, self.size[0]), ylim=(0, self.size[1]))
        self.ax.axis("off")

    def box(self, x, y, width, height, text="", *, face="box", edge="edge", **how):
        """Draw a box about (x, y) with one or more lines of text."""
        self.ax.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=self.color[face],
                edgecolor=self.color[edge],
                linewidth=how.pop("line", 1.2),
                zorder=2,
            )
        )
        self.text(x, y, text, **how)

    def text(self, x, y, text, *, color="ink", size=9, weight="normal", ha="center"):
        """Write one or more lines about (x, y)."""
        how = {"color": self.color[color], "size": size, "weight": weight, "zorder": 3}
        self.ax.text(x, y, text, ha=ha, va="center", linespacing=1.25, **how)

    def arrow(self, start, end, color, *, faint=False):
        """Draw an arrow."""
        self.ax.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=8,
                color=self.color[color],
                alpha=0.55 if faint else 1,
                linewidth=0.9 if faint else 1.5,
                shrinkA=0,
                shrinkB=1,
                zorder=1,
            )
        )

    def place(self, stage, across):
        """Return x and y: where a stage is, at a share of the way across the sheet."""
        if self.tall:
            return 0.88 + 3.15 * across, self.size[1] - stage
        return stage, 3.72 - 2.72 * across


def draw_stages(sheet):
    """Draw rows, partitions, members and votes, and what joins them."""
    tall = sheet.tall
    stages = (0.35, 1.85, 2.65, 3.45) if tall else (0.8, 3.35, 4.75, 6.05)
    small = (0.18, 0.3) if tall else (0.62, 0.15)
    cell = (0.41, 0.42) if tall else (0.86, 0.3)
    reach = [size / 2 for size in ((small[1], cell[1]) if tall else (small[0], cell[0]))]
    flow = (0, -1) if tall else (1, 0)

    def edge(place, half, way):
        return place[0] + way * half * flow[0], place[1] + way * half * flow[1]

    hit = {PARTITIONS[row] for row in HOSTILE}
    across = [(i + 0.5) / N_MEMBERS for i in range(N_MEMBERS)]
    for row, partition in enumerate(PARTITIONS):
        place = sheet.place(stages[0], (row + 0.5) / len(PARTITIONS))
        color = "bad" if row in HOSTILE else "good"
        sheet.box(*place, *small, face=color, edge=color)
        target = edge(sheet.place(stages[1], across[partition]), reach[1], -1)
        sheet.arrow(edge(place, reach[0], 1), target, color, faint=row not in HOSTILE)
    for i in range(N_MEMBERS):
        color = "bad" if i in hit else "edge"
        partition, member, vote = (sheet.place(stage, across[i]) for stage in stages[1:])
        sheet.box(*partition, *cell, edge=color)
        for side, row in zip(
            (-1, 1), [j for j, p in enumerate(PARTITIONS) if p == i], strict=True
        ):
            chip = "bad" if row in HOSTILE else "good"
            x, y = partition[0] + side * (0.1 if tall else 0.2), partition[1]
            sheet.box(x, y, *((0.13, 0.24) if tall else (0.32, 0.12)), face=chip, edge=chip)
        sheet.box(*member, *cell, f"{i + 1}" if tall else f"member {i + 1}", edge=color, size=8.5)
        face = "edge" if i == DISSENT else "good"
        name = "ham" if i == DISSENT else "spam"
        line = 2.6 if i in hit else 1.2
        edges = "bad" if i in hit else face
        how = {"color": "on", "weight": "bold", "size": 7.6 if tall else 8.5}
        sheet.box(*vote, *cell, name, face=face, edge=edges, line=line, **how)
        sheet.arrow(edge(partition, reach[1], 1), edge(member, reach[1], -1), color)
        sheet.arrow(edge(member, reach[1], 1), edge(vote, reach[1], -1), color)


COUNT = "6 spam : 1 ham\na lead of 5"
RADIUS = "radius 2"
WHY = ("Two hostile rows reach", "two votes at most: 4 : 3.", "Still spam. That is a proof.")


def draw_wide(sheet):
    """Draw headings, and the count beside the votes."""
    for x, name in zip((0.8, 2.05, 3.35, 4.75, 6.05), STAGES, strict=True):
        sheet.text(x, 4.05, name, weight="bold", size=10)
    sheet.text(8.35, 4.05, "lead and radius", weight="bold", size=10)
    sheet.arrow((6.52, 2.9), (7.0, 2.9), "edge")
    sheet.box(8.35, 2.9, 2.6, 0.9, COUNT, size=12)
    sheet.arrow((8.35, 2.43), (8.35, 2.06), "edge")
    sheet.box(
        8.35, 1.75, 2.6, 0.58, RADIUS, face="good", edge="good", color="on", weight="bold", size=15
    )
    sheet.text(8.35, 1.12, "\n".join(WHY), size=9.5)
    sheet.box(0.42, 0.42, 0.34, 0.13, face="bad", edge="bad")
    sheet.text(0.72, 0.42, "hostile: inserted, or deleted.", ha="left", size=9.5)
    words = "A row reaches one partition, so one member, so one vote, whatever is in it."
    sheet.text(9.65, 0.42, words, ha="right", size=9.5)


def draw_tall(sheet):
    """Draw headings between the stages, and the count below the votes."""
    for stage, name in zip((0.35, 1.85, 2.65, 3.45), ("training\nrows", *STAGES[2:]), strict=True):
        sheet.text(0.04, sheet.size[1] - stage, name, ha="left", weight="bold", size=8.5)
    sheet.box(0.13, sheet.size[1] - 1.0, 0.14, 0.14, face="bad", edge="bad")
    sheet.text(0.26, sheet.size[1] - 1.0, "hostile", ha="left", size=8.5)
    sheet.arrow((2.05, 3.4), (2.05, 2.98), "edge")
    sheet.box(2.05, 2.66, 3.2, 0.6, COUNT, size=11)
    sheet.arrow((2.05, 2.35), (2.05, 2.08), "edge")
    sheet.box(
        2.05, 1.8, 3.2, 0.5, RADIUS, face="good", edge="good", color="on", weight="bold", size=14
    )
    sheet.text(2.05, 1.2, "\n".join(WHY), size=9.5)
    words = "A row reaches one partition, so one member,\nso one vote, whatever is in it."
    sheet.text(2.05, 0.45, words, size=9.5)


def main(folder):
    matplotlib.rcParams.update({"svg.hashsalt": "the idea", "font.family": "DejaVu Sans"})
    for theme in THEMES:
        for tall in (False, True):
            sheet = Canvas(theme, tall=tall)
            draw_stages(sheet)
            (draw_tall if tall else draw_wide)(sheet)
            name = f"idea_{'tall' if tall else 'wide'}_{theme}.svg"
            sheet.fig.savefig(folder / name, transparent=True, metadata={"Date": None})
            plt.close(sheet.fig)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "_static"))
