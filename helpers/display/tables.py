"""Tables that read well on a page and as text: few decimals, the best in bold, long ones folded.

Plain HTML rather than pandas' Styler: nothing to import, and no style sheet whose random names
would change the page each time it is run.
"""

import textwrap
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from numbers import Integral, Real

from helpers.checks import choose
from helpers.measures.statistics import Comparison, Estimate, SeedEstimate

WIDTH, WIDEST = 100, 46  # characters of a line of text, and of a column
MISSING = "–"
# What studies call a measure: what it is called on a page, and which side is better.
MEASURES = {
    "mass": ("share on the part ↑", "high"),
    "mass +2": ("share, part + 2 px ↑", "high"),
    "auc": ("pixel AUC ↑", "high"),
    "auc +2": ("AUC, part + 2 px ↑", "high"),
    "contrast": ("pair contrast ↑", "high"),
    "contrast +2": ("contrast, part + 2 px ↑", "high"),
    "lowest hidden, mean": ("keep test, mean fill ↑", "high"),
    "lowest hidden, blur": ("keep test, blur fill ↑", "high"),
    "highest hidden, mean": ("remove test, mean fill ↓", "low"),
    "highest hidden, blur": ("remove test, blur fill ↓", "low"),
    "stability": ("repeatability ↑", "high"),
    "total variation": ("total variation ↓", "low"),
}


@dataclass(frozen=True, repr=False)
class Table:
    """What ``table`` returns: a notebook shows it as HTML, ``print`` as aligned text.

    Attributes:
        columns: the columns' titles.
        cells: {row label: their texts}, in the order of the columns.
        bold: the (row label, column title) pairs that are best.
        numeric: the titles of the columns that hold a number.
        caption, fold: as given.
    """

    columns: tuple
    cells: dict
    bold: frozenset
    numeric: frozenset
    caption: str
    fold: int

    def _repr_html_(self):
        head = "".join(
            f'<th scope="col" style="text-align:{self._side(title)}">{escape(title)}</th>'
            for title in ("", *self.columns)
        )
        body = "".join(
            f'<tr><th scope="row" style="text-align:left">{escape(label)}</th>'
            + "".join(map(self._cell, [label] * len(texts), self.columns, texts))
            + "</tr>\n"
            for label, texts in self.cells.items()
        )
        # a narrow screen scrolls the table, not the page
        shown = (
            '<div style="overflow-x:auto"><table class="dataframe" '
            'style="font-variant-numeric:tabular-nums">\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
        )
        if len(self.cells) > self.fold:
            summary = f"{escape(self.caption) or 'Table'} ({len(self.cells)} rows)"
            return f"<details><summary>{summary}</summary>\n{shown}</details>"
        if not self.caption:
            return shown
        # above the table, not within: a caption is as narrow as its table
        above = f"<figcaption>{escape(self.caption)}</figcaption>"
        return f'<figure style="margin:0">{above}\n{shown}</figure>'

    def _side(self, column):
        return "right" if column in self.numeric else "left"

    def _cell(self, label, column, text):
        wrap = "nowrap" if len(text) <= WIDEST else "normal"
        shown = f"<b>{escape(text)}</b>" if (label, column) in self.bold else escape(text)
        return f'<td style="text-align:{self._side(column)};white-space:{wrap}">{shown}</td>'

    def __repr__(self):
        labels = [_wrapped(label, WIDEST) for label in self.cells]
        first = _Column("", labels, "left")
        others = [
            _Column(
                title,
                [_wrapped(texts[i], WIDEST) for texts in self.cells.values()],
                self._side(title),
            )
            for i, title in enumerate(self.columns)
        ]
        blocks = [[first]]
        for column in others:
            if len(blocks[-1]) > 1 and sum(c.width + 2 for c in [*blocks[-1], column]) - 2 > WIDTH:
                blocks.append([first])
            blocks[-1].append(column)
        lines = textwrap.wrap(self.caption, WIDTH)
        for number, block in enumerate(blocks):
            lines += [""] * (number > 0)
            for row in zip(*(column.lines for column in block), strict=True):
                for parts in zip_longest(*row, fillvalue=""):
                    padded = [c.aligned(part) for c, part in zip(block, parts, strict=True)]
                    lines.append("  ".join(padded).rstrip())
        return "\n".join(lines)


class _Column:
    """A column of text: each entry a list of lines, the title's first."""

    def __init__(self, title, entries, side):
        widest = max((len(line) for entry in entries for line in entry), default=0)
        self.lines = [_wrapped(title, min(max(widest, 20), WIDEST)), *entries]
        self.width = max(len(line) for entry in self.lines for line in entry)
        self.side = side

    def aligned(self, text):
        return text.rjust(self.width) if self.side == "right" else text.ljust(self.width)


def table(rows, *, caption="", best=None, digits=2, fold=8) -> Table:
    """A table of numbers and estimates.

    Args:
        rows: {row label: {column title: a number, an Estimate, a SeedEstimate (over its seeds), a
            Comparison (with the p-value after Holm's correction), a text or None}}. A column that a
            row lacks, None and nan show as "–". A unit stands in the column's title.
        caption: a line above the table, or the line that unfolds it.
        best: {column title: "high" or "low"}: the best of the column is bold, and whatever equals
            it in the decimals shown.
        digits: decimals of what is no whole number, for all columns or as {column title: digits},
            2 for those it lacks.
        fold: a table of more rows is folded.

    Raises:
        ValueError: no rows, two labels that read the same, ``best`` names no column, or neither
            side. TypeError: a cell of another kind.
    """
    named = {str(label): {str(c): value for c, value in row.items()} for label, row in rows.items()}
    columns = tuple(dict.fromkeys(column for row in named.values() for column in row))
    if not columns or len(named) < len(rows):
        raise ValueError(f"rows need columns, and labels that differ; found {list(rows)}")
    places = {c: digits.get(c, 2) if isinstance(digits, dict) else digits for c in columns}
    means = {c: {label: _mean(row.get(c)) for label, row in named.items()} for c in columns}
    numeric = {c for c in columns if any(mean is not None for mean in means[c].values())}
    bold = set()
    for column, side in (best or {}).items():
        choose(column, columns, "column of best")
        extreme = {"high": max, "low": min}[choose(side, ("high", "low"), "side of best")]
        shown = {k: round(m, places[column]) for k, m in means[column].items() if m is not None}
        bold |= {(k, column) for k, mean in shown.items() if mean == extreme(shown.values())}
    cells = {k: tuple(_text(row.get(c), places[c]) for c in columns) for k, row in named.items()}
    return Table(columns, cells, frozenset(bold), frozenset(numeric), caption, fold)


def study_table(study, measures, network=None, settings=None, **how) -> Table:
    """``table`` of some measures of a study (``Results.table``), by the names that readers know
    (``MEASURES``; a measure that is not among them keeps its own), the best of each in bold."""
    known = {name: MEASURES.get(name, (name, None)) for name in measures}
    rows = study.table({name: title for name, (title, _) in known.items()}, network, settings)
    how = {"best": {title: side for title, side in known.values() if side}} | how
    return table(rows, **how)


def _mean(value):
    """The number that stands for a cell, or None."""
    if isinstance(value, Comparison):
        value = value.estimate
    if isinstance(value, SeedEstimate):
        value = value.overall
    if isinstance(value, Estimate):
        value = value.mean
    if hasattr(value, "item"):  # of numpy or torch
        value = value.item()
    if value is None or isinstance(value, str) or value != value:
        return None
    if not isinstance(value, Real):
        raise TypeError(f"a table's cells are numbers, estimates or texts, found {value!r}")
    return value


def _text(value, digits):
    if isinstance(value, Comparison):
        p = "< 1e-10" if value.adjusted < 1e-10 else f"= {value.adjusted:.2g}"
        return f"{_text(value.estimate, digits)}, p {p}"
    if isinstance(value, SeedEstimate):
        value = value.overall
    if isinstance(value, Estimate) and value.low == value.low:
        return "{:z.{d}f} [{:z.{d}f}, {:z.{d}f}]".format(*value[:3], d=digits)
    if isinstance(value, str):
        return value
    mean = _mean(value)
    if mean is None:
        return MISSING
    return str(mean) if isinstance(mean, Integral) else f"{mean:z.{digits}f}"


def _wrapped(text, width):
    return textwrap.wrap(text, width) or [""]
