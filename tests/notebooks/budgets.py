"""What an assignment may cost its reader, counted: words, lines, printed numbers, columns."""

import re

WORDS, LINES, NUMBERS, COLUMNS, FOLDED = 900, 12, 60, 88, 0.25
MODEL_ANSWER = 100


def is_folded(cell):
    return "hide-input" in cell.metadata.get("tags", [])


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def words(notebook) -> int:
    """Of all that is written, split at blanks: hints, answers, formulas, names of code, too."""
    return sum(len(c.source.split()) for c in notebook.cells if c.cell_type == "markdown")


def visible_lines(cell) -> int:
    """Of a cell, blank ones and comments too; where a student writes, without what was there: the
    signature, its docstring and the markers."""
    source = cell.source
    if "solution" in cell.metadata.get("tags", []):
        source = re.sub(r'^\s*"""(?:.|\n)*?"""\n', "", source, flags=re.MULTILINE)
        source = re.sub(r"^def .*:\n|^\s*### (?:BEGIN|END) SOLUTION\n?", "", source, flags=re.M)
    return len(source.splitlines())


def folded_share(notebook) -> float:
    counted = [
        (is_folded(cell), sum(bool(line.strip()) for line in cell.source.splitlines()))
        for cell in code_cells(notebook)
    ]
    return sum(n for folded, n in counted if folded) / sum(n for _, n in counted)


def printed(notebook) -> int:
    """Decimals that the page shows as text or reads aloud, as a figure's alt text."""
    found = 0
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            text = "".join(output.get("text", "")) + "".join(data.get("text/plain", ""))
            found += len(re.findall(r"\d+\.\d+", text))
    return found


def longest_line(notebook) -> int:
    return max(len(line) for cell in code_cells(notebook) for line in cell.source.splitlines())


def of(notebook) -> dict:
    """All of them, for a table."""
    return {
        "words": words(notebook),
        "code lines": sum(len(cell.source.splitlines()) for cell in code_cells(notebook)),
        "longest visible cell": max(
            visible_lines(cell) for cell in code_cells(notebook) if not is_folded(cell)
        ),
        "folded": round(folded_share(notebook), 2),
        "printed numbers": printed(notebook),
        "widest line": longest_line(notebook),
        "figures": sum(
            "image/png" in output.get("data", {})
            for cell in code_cells(notebook)
            for output in cell.outputs
        ),
    }
