"""Tables as spreadsheets read and save them."""

import csv
import io
import re
from pathlib import Path

from helpers.files import written_whole


def read_table(path, needed) -> list[dict[str, str]]:
    """The rows of a CSV file as whatever spreadsheet saved it: in UTF-8, UTF-16 or cp1252, with
    commas, semicolons or tabs, with or without a line ``sep=;``.

    Raises:
        ValueError: a column of ``needed`` is missing.
    """
    raw = Path(path).read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = raw.decode("utf-16")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("cp1252", "replace")
    text = re.sub(r"\A\"?sep=.\"?\r?\n", "", text)
    tables = [list(csv.reader(io.StringIO(text, newline=""), delimiter=d)) for d in ",;\t"]
    headers, *rows = max(tables, key=lambda rows: len(rows[0]) if rows else 0) or [[]]
    headers = [header.strip().lower() for header in headers]
    if missing := set(needed) - set(headers):
        raise ValueError(
            f"{path} lacks the columns {', '.join(sorted(missing))}: restore them, or move the "
            "file away"
        )
    return [
        dict(zip(headers, [_unescaped(cell.strip()) for cell in row], strict=False))
        for row in rows
        if any(row)
    ]


def write_csv(path, columns, rows):
    """Written whole; a text that a spreadsheet would take for a formula gets a leading
    apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_escaped(value) for value in row])
    with written_whole(path) as whole:
        whole.write_text(buffer.getvalue(), encoding="utf-8")


_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def _escaped(value):
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _unescaped(text):
    """What ``_escaped`` was given; the apostrophe of 't Hooft is his own."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text
