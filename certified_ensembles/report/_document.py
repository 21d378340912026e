"""Parts of a report, written as plain text or as HTML."""

from html import escape
from textwrap import wrap
from typing import NamedTuple

_WIDTH, _BAR = 88, 40  # characters of a line, and of the longest bar
_STYLE = """<style>
.certified-report { font-family: inherit; line-height: 1.45; max-width: 60em; }
.certified-report h3, .certified-report h4 { margin: 1em 0 0.3em; }
.certified-report ul { margin: 0.2em 0; padding-left: 1.3em; }
.certified-report p { margin: 0.3em 0; }
.certified-report table { border-collapse: collapse; margin: 0.3em 0; }
.certified-report th, .certified-report td { padding: 0.15em 0.8em; text-align: right;
  border-bottom: 1px solid rgba(128, 128, 128, 0.35); }
.certified-report th:first-child, .certified-report td:first-child { text-align: left; }
.certified-report .bar { display: inline-block; height: 0.8em; background: #2a7ab9; }
.certified-report .wrong { background: #e4572e; }
.certified-report .bars td, .certified-report .things td { text-align: left; }
.certified-report ul.void { border-left: 4px solid #e4572e; padding-left: 1.6em; }
.certified-report .small { opacity: 0.8; font-size: 90%; }
</style>"""


class Words(NamedTuple):
    """Sentences under a title.

    Attributes
    ----------
    title : str
    lines : sequence of str
    loud : bool
        Whether nobody may overlook them.
    """

    title: str
    lines: tuple
    loud: bool = False

    def text(self):
        """Return the part as lines of plain text."""
        return [*_heading(self.title), *_wrapped(self.lines, "- ", "  ")]

    def html(self):
        """Return the part as HTML."""
        kind = ' class="void"' if self.loud else ""
        items = "".join(f"<li>{escape(line)}</li>" for line in self.lines)
        return f"{_html_heading(self.title)}<ul{kind}>{items}</ul>"


class Table(NamedTuple):
    """A table of short texts.

    Attributes
    ----------
    title : str
    header : sequence of str
    rows : sequence of sequences of str
    notes : sequence of str
    """

    title: str
    header: tuple
    rows: list
    notes: tuple = ()

    def text(self):
        """Return the part as lines of plain text."""
        cells = [list(self.header), *map(list, self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        # What has no header is a list of things and what they are.
        align = str.rjust if any(self.header) else str.ljust
        lines = []
        for first, *rest in cells if any(self.header) else cells[1:]:
            own = [first.ljust(widths[0])]
            own += [align(cell, width) for cell, width in zip(rest, widths[1:], strict=True)]
            lines.append(("  " + "  ".join(own)).rstrip())
        return [*_heading(self.title), *lines, *_wrapped(self.notes, "  ", "  ")]

    def html(self):
        """Return the part as HTML."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self.header)
        head = f"<tr>{head}</tr>" if any(self.header) else ""
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        notes = "".join(f'<p class="small">{escape(note)}</p>' for note in self.notes)
        kind = "" if any(self.header) else ' class="things"'
        return f"{_html_heading(self.title)}<table{kind}>{head}{body}</table>{notes}"


class Bars(NamedTuple):
    """Numbers of rows as bars, the right ones first.

    Attributes
    ----------
    title : str
    labels : sequence of str
    right, wrong : sequences of int
        How many are predicted right, and how many are not.
    """

    title: str
    labels: list
    right: list
    wrong: list

    def text(self):
        """Return the part as lines of plain text."""
        width = max(map(len, self.labels))
        most = max(1, *(a + b for a, b in zip(self.right, self.wrong, strict=True)))
        digits = len(f"{most:,}")
        lines = []
        for label, right, wrong in zip(self.labels, self.right, self.wrong, strict=True):
            bar = "#" * round(right / most * _BAR) + "x" * round(wrong / most * _BAR)
            lines.append(f"  {label.rjust(width)}  {right + wrong:{digits},}  {bar}".rstrip())
        return [*_heading(self.title), *lines, "  # predicted right, x not"]

    def html(self):
        """Return the part as HTML."""
        most = max(1, *(a + b for a, b in zip(self.right, self.wrong, strict=True)))
        rows = "".join(
            f"<tr><td>{escape(label)}</td><td>{right + wrong:,}</td><td>"
            f'<span class="bar" style="width:{20 * right / most:.2f}em"></span>'
            f'<span class="bar wrong" style="width:{20 * wrong / most:.2f}em"></span></td></tr>'
            for label, right, wrong in zip(self.labels, self.right, self.wrong, strict=True)
        )
        note = '<p class="small">Blue: predicted right. Red: not.</p>'
        return f'{_html_heading(self.title)}<table class="bars">{rows}</table>{note}'


def _wrapped(texts, first, others):
    for text in texts:
        yield from wrap(text, _WIDTH, initial_indent=first, subsequent_indent=others)


def _heading(title):
    return ["", title, "-" * len(title)] if title else [""]


def _html_heading(title):
    return f"<h4>{escape(title)}</h4>" if title else ""


def as_text(title, parts):
    """Return a document as plain text."""
    lines = [title, "=" * len(title)]
    for part in parts:
        lines += part.text()
    return "\n".join(lines)


def as_html(title, parts):
    """Return a document as HTML, to stand inside a page."""
    body = "".join(part.html() for part in parts)
    return f'{_STYLE}<div class="certified-report"><h3>{escape(title)}</h3>{body}</div>'
