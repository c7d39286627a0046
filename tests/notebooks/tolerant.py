"""Guarded cells under nbval: what they print agrees in its words, and in its numbers within a
tolerance.

Another processor, number of threads or version of torch rounds otherwise, so a cell tagged
``nbval-check-output`` is compared line by line as words, spacing apart, and numbers:

- a number with a decimal point may differ by ``ABSOLUTE`` units of its last printed digit, or by
  ``RELATIVE`` of itself if that is more;
- a number without one is a count or a setting, and agrees exactly;
- a cell's metadata may say otherwise: ``"tolerance": {"absolute": 0.02}`` (as printed, in place of
  the units) or ``"relative"`` for its decimals, ``"count": 1`` for its counts.

A table is compared as the text that it has beside its HTML. Evidence pages take minutes, so their
cells are marked ``slow``.
"""

import re
from functools import partial
from itertools import zip_longest

from nbval.plugin import IPyNbCell

ABSOLUTE, RELATIVE = 1.5, 0.005
NUMBER = re.compile(r"(?<![\w.])([+\-−]?\d+(?:\.\d+)?(?:e[+\-]?\d+)?)(?!\w)")
PATIENCE = 3600  # seconds for a kernel's last message; nbval's 5 assume an idle machine


class Printed(str):
    """What a guarded cell printed; equal to another if only its numbers differ, and little."""

    def __new__(cls, text, tolerance):
        printed = super().__new__(cls, text)
        printed.tolerance = tolerance
        return printed

    def __eq__(self, other):
        return not disagreement(self, other, **self.tolerance)

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


def disagreement(stored, found, *, absolute=None, relative=RELATIVE, count=0) -> str:
    """Where two texts disagree first, in words; empty where they agree."""
    lines = zip_longest(stored.splitlines(), found.splitlines())
    for number, (before, after) in enumerate(lines, 1):
        where = f"line {number}: stored {before!r}, found {after!r}"
        if before is None or after is None:
            return where
        # words at the even places, numbers at the odd ones
        before, after = NUMBER.split(before), NUMBER.split(after)
        if [words.split() for words in before[::2]] != [words.split() for words in after[::2]]:
            return f"{where}: other words"
        for one, other in zip(before[1::2], after[1::2], strict=True):
            one, other = one.replace("−", "-"), other.replace("−", "-")
            if "." in one and "." in other:
                places, _, exponent = one.partition(".")[2].partition("e")
                unit = 10.0 ** (int(exponent or 0) - len(places))
                allowed = ABSOLUTE * unit if absolute is None else absolute
                allowed = max(allowed, relative * abs(float(one)))
            else:
                allowed = count
            if abs(float(one) - float(other)) > allowed:
                return f"{where}: {one} and {other} differ by more than {allowed:.2g}"
    return ""


def pytest_itemcollected(item):
    if isinstance(item, IPyNbCell):
        if item.path.parent.name == "evidence":
            item.add_marker("slow")
        item.sanitize = partial(Printed, tolerance=item.cell.metadata.get("tolerance", {}))
        item.output_timeout = PATIENCE
        item.parent.skip_compare = {*item.parent.skip_compare, "text/html"}


def pytest_assertrepr_compare(left, right):
    if isinstance(left, Printed):
        return ["", disagreement(left, right, **left.tolerance)]
