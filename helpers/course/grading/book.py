"""The grade book: marks that people give, and what everything adds up to."""

import math
from collections import Counter
from pathlib import Path

from helpers.course import syllabus
from helpers.course.grading.handed_in import ABOUT
from helpers.course.grading.score import ASSIGNMENTS, BY_HAND, NOT_HANDED_IN, points_of
from helpers.course.grading.tables import read_table, write_csv

MARK_COLUMNS = ("student", "notebook", "task", "points", "mark", "remark", "marker", "work")
DAY = 24 * 3600
BONUS = "Bonus points"
_MOODLE = ("email", "Email address"), ("id", "ID number")


def read_marks(path) -> dict[tuple[str, str, str], dict]:
    """(student, notebook, task) → its row of marks.csv, as it stands in the file."""
    if not Path(path).is_file():
        return {}
    found = {}
    for row in read_table(path, ("student", "notebook", "task", "mark")):
        row = {column: row.get(column, "") for column in MARK_COLUMNS}
        found[row["student"], row["notebook"], row["task"]] = row
    return found


def update_marks(path, records, *, shown=str, names=(), markers=()) -> tuple[dict, list[str]]:
    """Write marks.csv with a row for each mark that a person has to give, keeping what stands in
    it. Returns all rows, and what a person should know of them.

    A mark belongs to the work it was given for, of which the column "work" holds a digest: where a
    student is gone and the same work has another name now, the mark goes along.

    Args:
        records: student → notebook → record.
        shown: a student's name → how the file and the notes call him; a code's is the code.
        names: pairs of what the file may call a student, and the name.
        markers: names of those among whom the marks are shared.
    """
    names, notes = dict(names), []
    marks = {
        (names.get(student, student), *rest): row
        for (student, *rest), row in read_marks(path).items()
    }
    gone = {key: row for key, row in marks.items() if key[0] not in records and row["mark"]}
    shares = Counter(row["marker"] for row in marks.values())
    for student, notebooks in records.items():
        own = [row["marker"] for key, row in marks.items() if key[0] == student and row["marker"]]
        marker = own[0] if own else min(markers, key=lambda name: shares[name], default="")
        for notebook, record in notebooks.items():
            for item in record["by_hand"] if record["problem"] is None else ():
                key = student, notebook, item["name"]
                row = marks.setdefault(key, dict.fromkeys(MARK_COLUMNS, ""))
                if not row["mark"] and (old := _moved(gone, key, item["work"], records)):
                    row |= {"mark": gone[old]["mark"], "remark": gone[old]["remark"]}
                    notes.append(
                        f"{', '.join([shown(student), *key[1:]])}: the mark is that of "
                        f"{shown(old[0])}, for the same work"
                    )
                if not row["mark"] or not row["work"]:
                    row["work"] = item["work"]
                row |= {"notebook": notebook, "task": item["name"], "points": f"{item['points']:g}"}
                row["marker"] = row["marker"] or marker
                shares[row["marker"]] += 1
    if gone:
        who = ", ".join(sorted({shown(student) for student, *_ in gone}))
        notes.append(f"{len(gone)} marks are of nobody who handed in, and are kept: {who}")
    notebooks = list(BY_HAND)
    order = sorted(
        marks,
        key=lambda key: (
            shown(key[0]),
            notebooks.index(key[1]) if key[1] in BY_HAND else 99,
        ),
    )
    for key in order:
        marks[key]["student"] = shown(key[0])
    write_csv(
        path, MARK_COLUMNS, [[marks[key][column] for column in MARK_COLUMNS] for key in order]
    )
    return marks, notes


def _moved(gone, key, work, records):
    """The key of the one mark of somebody who is gone that was given for this work, if it is nobody
    else's."""
    if not work:
        return None
    found = [old for old, row in gone.items() if old[1:] == key[1:] and row["work"] == work]
    claims = sum(
        item["work"] == work
        for own in records.values()
        for item in (own[key[1]]["by_hand"] if key[1] in own else ())
        if item["name"] == key[2]
    )
    return found[0] if len(found) == claims == 1 else None


def changed(marks, student, notebook, item) -> bool:
    """Whether what was marked has been handed in anew since."""
    row = marks.get((student, notebook, item["name"]), {})
    return bool(row.get("mark")) and row.get("work", "") != item["work"]


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


def summary(student, records, marks, notebooks, *, handed=None, lateness=(0, 0)) -> dict:
    """What one student's records and marks add up to.

    Args:
        handed: the student's ``handed_in.Handed``, for "about" and when it was handed in.
        lateness: as ``syllabus.lateness`` says it: (days that cost nothing, the share of a
            notebook's points that each further day costs).

    Returns:
        {"notebooks": name → {"automatic", "by_hand", "earned", "points"}, "totals": assignment →
        (earned, of), and ``BONUS`` where notebooks give bonus points, "waiting": marks that nobody
        gave yet, "not_graded": notebooks, "missing":
        names of notebooks not handed in, "problems": [text], "about": {"id", …}, "late": name →
        days, "dated": name → by what, where that is not the course system's date}; what was not
        graded earned None.
    """
    missing = [name for name in notebooks if records[name]["problem"] == NOT_HANDED_IN]
    result = {
        "notebooks": {},
        "waiting": 0,
        "not_graded": 0,
        "missing": missing,
        "problems": [],
        "about": {} if handed is None else handed.about,
        "late": {},
        "dated": {},
    }
    free, cost = lateness
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
            if changed(marks, student, name, item):
                result["problems"].append(
                    f"{name}, {item['name']}: handed in anew since it was marked; look again, and "
                    "empty its column work"
                )
        if record["problem"] and name not in missing:
            result["problems"].append(f"{name}: {record['problem']}")
        elif n_errors := len(record["errors"]):
            result["problems"].append(f"{name}: errors in {n_errors} cell{'s' * (n_errors > 1)}")
        if open_tasks and not record["problem"]:
            why = {task["checks"][0]["reason"] for task in open_tasks}
            which = ", ".join(task["name"] for task in open_tasks)
            result["problems"].append(f"{name}: not graded: {which}: {'; '.join(sorted(why))}")
        result["not_graded"] += bool(open_tasks)
        days = _days_late(handed, name)
        if days:
            result["late"][name], result["dated"][name] = days, handed.dated.get(name, "")
        charged, free = max(0, days - free), max(0, free - days)
        kept = max(0, 1 - cost * charged)
        result["notebooks"][name] = {
            "automatic": None if open_tasks else automatic,
            "by_hand": by_hand,
            "earned": None if open_tasks else (automatic + by_hand) * kept,
            "points": points_of(name),
        }
    result["totals"] = {}
    for assignment, names in ASSIGNMENTS.items():
        own = [result["notebooks"][name] for name in names if name in notebooks]
        if own:
            earned = [each["earned"] for each in own]
            known = None if None in earned else sum(earned)
            result["totals"][assignment] = (known, sum(each["points"] for each in own))
    shares = {name: syllabus.entry(name).bonus for name in notebooks}
    earned = [
        None
        if (got := result["notebooks"][name])["earned"] is None
        else got["earned"] >= round(share * got["points"], 9)
        for name, share in shares.items()
        if share
    ]
    if earned:
        result["totals"][BONUS] = (None if None in earned else sum(earned), len(earned))
    return result


def _days_late(handed, name):
    """Whole days begun after a notebook was due; 0 where nobody knows when it was handed in, and
    one at least where the course system calls it late."""
    due = syllabus.entry(name).due
    if due is None or handed is None:
        return 0
    when, late = handed.when.get(name), float(name in handed.late)
    if when is not None:
        late = max(late, (when - due).total_seconds() / DAY)
    return max(0, math.ceil(late - int(handed.about.get("extension") or 0)))


def number(earned, unknown=""):
    """Points as text; ``unknown`` where nobody knows them yet."""
    return unknown if earned is None else f"{earned:g}"


def write_grades(out, summaries):
    """grades.csv for people, and canvas.csv and moodle.csv for course systems, where what is not
    graded or was not handed in stays empty. Returns what a person should know of them."""
    if not summaries:
        return []
    first = next(iter(summaries.values()))
    known = [key for key in ABOUT if any(key in total["about"] for total in summaries.values())]
    columns = [
        "student",
        *known,
        *first["notebooks"],
        *(f"{name} (of {of:g})" for name, (_, of) in first["totals"].items()),
        "marks waiting",
        "not handed in",
        "days late",
        "problems",
    ]
    rows = [
        [
            student,
            *(total["about"].get(key, "") for key in known),
            *(number(one["earned"]) for one in total["notebooks"].values()),
            *(number(earned) for earned, _ in total["totals"].values()),
            total["waiting"],
            ", ".join(total["missing"]),
            ", ".join(f"{name}: {n}{total['dated'][name]}" for name, n in total["late"].items()),
            "; ".join(total["problems"]),
        ]
        for student, total in summaries.items()
    ]
    write_csv(Path(out, "grades.csv"), columns, rows)
    grades = {
        student: [
            "" if name in total["missing"] else number(one["earned"])
            for name, one in total["notebooks"].items()
        ]
        for student, total in summaries.items()
    }
    about = {student: total["about"].get for student, total in summaries.items()}
    canvas = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *first["notebooks"]]
    points = [number(one["points"]) for one in first["notebooks"].values()]
    rows = [
        [student, get("id", ""), "", get("email", ""), get("group", ""), *grades[student]]
        for student, get in about.items()
    ]
    write_csv(
        Path(out, "canvas.csv"), canvas, [["Points Possible", "", "", "", "", *points], *rows]
    )
    # Moodle takes a row without what it looks people up by for the person of the row before
    key, column = next(
        (each for each in _MOODLE if any(get(each[0]) for get in about.values())), _MOODLE[0]
    )
    rows = [[student, get(key), *grades[student]] for student, get in about.items() if get(key)]
    write_csv(Path(out, "moodle.csv"), ["Full name", column, *first["notebooks"]], rows)
    unknown = [student for student, get in about.items() if not get(key)]
    if not rows or not unknown:
        return []
    return [f"not in moodle.csv, as their {key} is not known: {', '.join(unknown)}"]
