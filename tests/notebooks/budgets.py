"""What an assignment may cost its reader, counted: words, lines, printed numbers, columns."""

import re

WORDS, LINES, NUMBERS, COLUMNS, FOLDED = 900, 12, 60, 88, 0.25
MODEL_ANSWER = 100


def is_folded(cell):
    return "hide-input" in cell.metadata.get("tags", [])


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def words(notebook) -> int:
    """Of all that is written, hints and answers included; of formulas and links only the words."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    text = re.sub(
        r"\$\$.*?\$\$|\$[^$\n]*\$|<[^>]+>|`[^`]*`|\]\([^)]*\)", " ", text, flags=re.DOTALL
    )
    return len(re.findall(r"\w[\w’'.-]*", text))


def visible_lines(cell) -> int:
    """Of a cell, without blank lines, comments, signatures, docstrings, decorators and markers."""
    source = re.sub(r'"""(?:.|\n)*?"""', "", cell.source)
    source = re.sub(r"^\s*def [^:]*(?:\([^)]*\))[^:]*:\s*$", "", source, flags=re.MULTILINE)
    return sum(bool(re.sub(r"#.*", "", line).strip()) for line in source.splitlines())


def folded_share(notebook) -> float:
    counted = [
        (is_folded(cell), sum(bool(line.strip()) for line in cell.source.splitlines()))
        for cell in code_cells(notebook)
    ]
    return sum(n for folded, n in counted if folded) / sum(n for _, n in counted)


def printed(notebook) -> int:
    """Decimals that the page shows as text; alt texts are not printed."""
    found = 0
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" not in data:
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
