"""The grade book: marks that people give, and what everything adds up to."""

import csv
import io
import re
from pathlib import Path

from helpers.course.grading.score import ASSIGNMENTS, BY_HAND, NOT_HANDED_IN, points_of
from helpers.files import written_whole

MARK_COLUMNS = ("student", "notebook", "task", "points", "mark", "remark")


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


def read_marks(path) -> dict[tuple[str, str, str], dict]:
    """(student, notebook, task) → its row of marks.csv, as it stands in the file."""
    if not Path(path).is_file():
        return {}
    found = {}
    for row in read_table(path, ("student", "notebook", "task", "mark")):
        row = {column: row.get(column, "") for column in MARK_COLUMNS}
        found[row["student"], row["notebook"], row["task"]] = row
    return found


def update_marks(path, records) -> dict:
    """Write marks.csv with a row for each mark that a person has to give, keeping what stands in
    it. Returns all rows.

    records: student → notebook → record.
    """
    marks = read_marks(path)
    for student, notebooks in records.items():
        for notebook, record in notebooks.items():
            for item in record["by_hand"] if record["problem"] is None else ():
                row = dict(
                    zip(
                        MARK_COLUMNS,
                        (student, notebook, item["name"], str(item["points"]), "", ""),
                        strict=True,
                    )
                )
                marks.setdefault((student, notebook, item["name"]), row)
    notebooks = list(BY_HAND)
    rows = sorted(
        marks.values(),
        key=lambda row: (
            row["student"],
            notebooks.index(row["notebook"]) if row["notebook"] in BY_HAND else 99,
        ),
    )
    write_csv(path, MARK_COLUMNS, [[row[column] for column in MARK_COLUMNS] for row in rows])
    return marks


def mark_of(marks, student, notebook, item):
    """(the mark or None, what is wrong with it or None) for one item a person marks."""
    said = marks.get((student, notebook, item["name"]), {}).get("mark", "").replace(",", ".")
    if not said:
        return None, None
    try:
        mark = float(said)
    except ValueError:
        mark = -1
    if not 0 <= mark <= item["points"]:
        return None, f"the mark {said!r} is no number from 0 to {item['points']}"
    return mark, None


def summary(student, records, marks, notebooks) -> dict:
    """What one student's records and marks add up to.

    Returns:
        {"notebooks": name → {"automatic", "by_hand", "earned", "points"}, "totals": assignment →
        (earned, of), "waiting": marks that nobody gave yet, "not_graded": notebooks, "missing":
        names of notebooks not handed in, "problems": [text]}; what was not graded earned None.
    """
    missing = [name for name in notebooks if records[name]["problem"] == NOT_HANDED_IN]
    result = {
        "notebooks": {},
        "waiting": 0,
        "not_graded": 0,
        "missing": missing,
        "problems": [],
    }
    for name in notebooks:
        record = records[name]
        open_tasks = [task for task in record["tasks"] if task["earned"] is None]
        automatic, by_hand = sum(task["earned"] or 0 for task in record["tasks"]), 0
        for item in record["by_hand"] if record["problem"] is None else ():
            mark, wrong = mark_of(marks, student, name, item)
            by_hand += mark or 0
            result["waiting"] += mark is None
            if wrong:
                result["problems"].append(f"{name}, {item['name']}: {wrong}")
        if record["problem"] and name not in missing:
            result["problems"].append(f"{name}: {record['problem']}")
        elif n_errors := len(record["errors"]):
            result["problems"].append(f"{name}: errors in {n_errors} cell{'s' * (n_errors > 1)}")
        if open_tasks and not record["problem"]:
            why = {task["checks"][0]["reason"] for task in open_tasks}
            which = ", ".join(task["name"] for task in open_tasks)
            result["problems"].append(f"{name}: not graded: {which}: {'; '.join(sorted(why))}")
        result["not_graded"] += bool(open_tasks)
        result["notebooks"][name] = {
            "automatic": None if open_tasks else automatic,
            "by_hand": by_hand,
            "earned": None if open_tasks else automatic + by_hand,
            "points": points_of(name),
        }
    result["totals"] = {}
    for assignment, names in ASSIGNMENTS.items():
        own = [result["notebooks"][name] for name in names if name in notebooks]
        if own:
            earned = [each["earned"] for each in own]
            known = None if None in earned else sum(earned)
            result["totals"][assignment] = (known, sum(each["points"] for each in own))
    return result


def number(earned, unknown=""):
    """Points as text; ``unknown`` where nobody knows them yet."""
    return unknown if earned is None else f"{earned:g}"


def write_grades(path, summaries):
    """grades.csv: student, each notebook, each assignment, the marks that are waiting, what was not
    handed in, the problems."""
    if not summaries:
        return
    first = next(iter(summaries.values()))
    columns = [
        "student",
        *first["notebooks"],
        *(f"{name} (of {of})" for name, (_, of) in first["totals"].items()),
        "marks waiting",
        "not handed in",
        "problems",
    ]
    rows = [
        [
            student,
            *(number(one["earned"]) for one in total["notebooks"].values()),
            *(number(earned) for earned, _ in total["totals"].values()),
            total["waiting"],
            ", ".join(total["missing"]),
            "; ".join(total["problems"]),
        ]
        for student, total in summaries.items()
    ]
    write_csv(path, columns, rows)


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
