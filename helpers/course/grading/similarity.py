"""Which functions of two students are alike beyond what right answers share: a list for a person to
look at, and no verdict."""

import keyword
import re
from collections import Counter, defaultdict
from itertools import combinations

LONG = 4  # tokens that must agree in a row
ALIKE, FEWEST = 0.6, 12  # share of such runs in common, of at least so many
_TOKEN = re.compile(
    r"#[^\n]*|'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|\"[^\"\n]*\"|\.?\w+|[^\w\s]", re.DOTALL
)


def alike(functions, ours) -> list[tuple[float, str, str, str]]:
    """(share in common, task, student, student), the most alike first.

    Args:
        functions: student → task → source.
        ours: task → the source of our own answer; what it shares with a student says nothing.
    """
    found = []
    for task in sorted({task for own in functions.values() for task in own}):
        runs = {student: _runs(own[task]) for student, own in functions.items() if task in own}
        seen = Counter(run for own in runs.values() for run in own)
        common = {run for run, n in seen.items() if n > max(3, 0.2 * len(runs))}
        common |= _runs(ours.get(task, ""))
        owners = defaultdict(list)
        for student, own in runs.items():
            runs[student] = own - common
            for run in runs[student]:
                owners[run].append(student)
        shared = Counter(pair for own in owners.values() for pair in combinations(sorted(own), 2))
        for (first, second), n in shared.items():
            share = n / min(len(runs[first]), len(runs[second]))
            if n >= FEWEST and share >= ALIKE:
                found.append((round(share, 2), task, first, second))
    return sorted(found, key=lambda each: (-each[0], *each[1:]))


def _runs(source):
    """The runs of ``LONG`` tokens in a source, without comments and texts, and whatever its
    variables are called."""
    tokens = [token for token in _TOKEN.findall(source) if token[0] not in "#'\""]
    plain = [
        "name" if re.match(r"[^\W\d]", token) and not keyword.iskeyword(token) else token
        for token in tokens
    ]
    return {tuple(plain[i : i + LONG]) for i in range(len(plain) - LONG + 1)}
