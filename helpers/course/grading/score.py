"""From a notebook to a record: repaired, executed, each task's function called and scored, whatever
happens on the way."""

import hashlib
import json
import time
import traceback
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import nbformat

from helpers.course import syllabus
from helpers.course.grading import tasks_captum, tasks_ig, tasks_relatives, tasks_smoothgrad
from helpers.course.grading.guard import suspicious
from helpers.course.grading.reading import BadNotebook, read_notebook
from helpers.course.grading.repair import is_solution, repair
from helpers.course.grading.sandbox import Limits
from helpers.course.grading.session import Died, Session
from helpers.course.grading.tasks import Given, Task, arguments, worth
from helpers.course.release import edition

TASKS: tuple[Task, ...] = (
    *tasks_smoothgrad.TASKS,
    *tasks_ig.TASKS,
    *tasks_relatives.TASKS,
    *tasks_captum.TASKS,
)
HELPERS_OF_TASKS = (
    *("saliency", "smoothgrad", "integrated_gradients", "make_baseline", "nodes_and_weights"),
    *("make_accumulator", "retained_accuracy", "rank_correlation", "noise_field", "captum"),
)
"""What would answer a task, or much of it."""
BY_HAND = {
    entry.name: tuple(
        (part, points)
        for part, points in entry.parts.items()
        if part not in {task.name for task in TASKS}
    )
    for entry in syllabus.load()
    if entry.parts
}
"""Notebook → (what a person marks, points), in the order of the notebook's cells."""
ASSIGNMENTS = {
    group: [entry.name for entry in entries if entry.parts]
    for group, entries in groupby(syllabus.load(), lambda entry: entry.group)
}
ASSIGNMENTS = {group: names for group, names in ASSIGNMENTS.items() if names}
NOT_HANDED_IN = "it was not handed in"
MOST_WORDS = 20_000  # characters, that a person marks
NOT_GRADED = "not graded"  # what a check says that the grader did not manage to run
ATTEMPTS = 4
"""Processes for one notebook: a cell or function that kills one is left out of the next, and in the
last, all cells that no task needs."""
_LEFT_OUT = (None, "the cells that no task and no mark needs", "the cells that no task needs")


@dataclass
class Setting:
    """What is the same for all submissions: the folder that their processes see, the pictures, the
    walls."""

    course: Path
    given: Given
    isolated: bool
    limits: Limits


def points_of(notebook) -> int:
    """All points of a notebook."""
    return syllabus.entry(notebook).points


def tasks_of(notebook):
    return [worth(task) for task in TASKS if task.notebook == notebook]


def empty_record():
    return {
        "problem": None,
        "tasks": [],
        "by_hand": [],
        "cells": {},
        "errors": [],
        "remarks": [],
        "seconds": {},
        "peak": 0,
        "functions": {},
        "edition": None,
    }


def _other_edition(theirs, name):
    """What to say of a notebook that another release was made of than graded by; None of one that
    does not say its release."""
    ours, said = edition(name), []
    if theirs.get("version", ours["version"]) != ours["version"]:
        said.append(f"handed out as {str(theirs['version'])[:20]}, graded by {ours['version']}")
    if theirs.get("parts", ours["parts"]) != ours["parts"]:
        said.append("the points in course.toml were others when it was handed out")
    return "; ".join(said) or None


def not_run(record, notebook, problem):
    """The record of a notebook of which nothing could be executed: 0 points where it was not handed
    in, else none that anybody knows."""
    outcome = lost if problem == NOT_HANDED_IN else not_graded
    record["problem"] = problem
    record["tasks"] = [outcome(task, problem) for task in tasks_of(notebook)]
    record["by_hand"] = [
        {"name": what, "points": points, "ids": [], "words": "", "work": ""}
        for what, points in BY_HAND[notebook]
    ]
    return record


def grade_notebook(path, source, setting, *, slot=0) -> dict:
    """The record of one notebook of a submission, JSON values only.

    Args:
        path: the submission's notebook, or None where there is none.
        source: the source notebook's path.
        setting: a ``Setting``.

    Returns:
        {"problem": why nothing could be executed, or None; "tasks": [{"name", "points", "earned"
        (None: not graded), "checks": [{"text", "points", "earned", "reason"}]}]; "by_hand":
        [{"name", "points", "ids", "words"}]; "cells": id → {"error", "text", "pictures"};
        "errors", "remarks": [text]; "seconds": {"start", "notebook", "total"}; "peak": bytes;
        "functions": task → the source of the cell that defines it; "edition": what to say where it
        was made from another release, or None}
    """
    name, record = Path(source).stem, empty_record()
    try:
        if path is None:
            raise BadNotebook(NOT_HANDED_IN)
        handed = read_notebook(path)
    except BadNotebook as error:
        return not_run(record, name, str(error))
    repaired = repair(handed.cells, nbformat.read(source, as_version=4), seed=7)
    record["edition"] = _other_edition(handed.edition, name)
    record["remarks"] = [*filter(None, [record["edition"]]), *repaired.remarks]
    record["by_hand"] = _by_hand(name, source, repaired)
    record["functions"] = {
        task.name: cell["source"][:MOST_WORDS]
        for cell in repaired.cells
        for task in tasks_of(name)
        if cell["kind"] == "code" and f"def {task.name}(" in cell["source"]
    }
    record["remarks"] += _suspicions(name, repaired)
    begun = time.monotonic()
    _execute(record, repaired, tasks_of(name), setting, slot)
    record["seconds"]["total"] = time.monotonic() - begun
    errors = [
        (cell["id"], record["cells"].get(cell["id"], {}).get("error"))
        for cell in [*repaired.cells, {"id": "sliders"}]
    ]
    record["errors"] = [f"{name}: {error}" for name, error in errors if error]
    shown = {name for item in record["by_hand"] for name in item["ids"]}
    record["cells"] = {
        name: told
        for name, told in record["cells"].items()
        if name in shown or name.startswith("check-") or told["error"]
    }
    for name in record["cells"].keys() - shown:
        record["cells"][name]["pictures"] = []
    # a record is written to files, and no file holds half a character
    return json.loads(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace"))


def _execute(record, repaired, tasks, setting, slot):
    """Run and score, in as many processes as it takes, each without what killed the one before."""
    fatal, done, level, why = {}, {}, 0, None
    parts = (None, repaired.for_marks, repaired.for_tasks)
    code = [
        {"id": cell["id"], "source": cell["source"]}
        for cell in repaired.cells
        if cell["kind"] == "code"
    ]
    names = {task.name for task in tasks}
    for attempt in range(ATTEMPTS):
        level = 2 if attempt == ATTEMPTS - 1 else level
        session = Session(
            setting.course,
            setting.given.network,
            setting.given.facts,
            isolated=setting.isolated,
            slot=slot,
            limits=setting.limits,
        )
        with session:
            try:
                cells = [
                    cell if cell["id"] not in fatal else {**cell, "source": ""}
                    for cell in code
                    if level == 0 or cell["id"] in parts[level]
                ]
                session.run(cells, sliders="sliders" not in fatal and level == 0)
                for task in tasks:
                    if task.name not in done:
                        failed = [
                            each for each in done if done[each]["earned"] != done[each]["points"]
                        ]
                        killed = fatal.get(task.name)
                        done[task.name] = _judge(task, setting.given, session, killed, failed)
                break
            except Died as end:
                why = str(end)
                if session.sandbox.spent and level < 2:
                    level += 1
                    record["remarks"].append(f"{why}; it was run again without {_LEFT_OUT[level]}")
                else:
                    fatal[end.during] = why
            finally:
                # what an earlier process showed of a cell stays where this one has nothing
                record["cells"] |= session.results
                record["peak"] = max(record["peak"], session.sandbox.peak)
                for what, seconds in session.seconds.items():
                    record["seconds"][what] = record["seconds"].get(what, 0) + seconds
        if ends := {"the start", "the end"} & fatal.keys():
            fatal["all"] = fatal[ends.pop()]
            break
    else:
        fatal["all"] = f"its process died {ATTEMPTS} times, the last time because {why}"
    for name, reason in fatal.items():
        if name not in names | {"all"}:
            record["cells"][name] = {"error": reason, "text": "", "pictures": []}
    record["remarks"] += [told.pop("remark") for told in done.values() if "remark" in told]
    record["tasks"] = [
        done.get(task.name)
        or (
            lost(task, fatal[task.name])
            if task.name in fatal
            else not_graded(task, fatal.get("all", "not reached"))
        )
        for task in tasks
    ]


def _judge(task, given, session, killed, earlier=()):
    """The record of one task. A process that dies in it costs the task its points, and no other:
    Died is raised once, and in the next process ``killed`` says how that went.

    earlier: names of functions that lost points before. Where this one builds on them it is judged
    again on right ones, so that a mistake costs its points once.
    """
    if killed:
        return lost(task, killed)
    record = _asked(task, given, session, {})
    instead = {name: source for name, source in task.instead.items() if name in earlier}
    if instead and record["earned"] is not None and record["earned"] < task.points:
        again = _asked(task, given, session, instead)
        if (again["earned"] or 0) > record["earned"]:
            said = f"judged with the package's {', '.join(instead)}, whose mistake costs once"
            return again | {"remark": f"{task.name} was {said}"}
    return record


def _asked(task, given, session, instead):
    """The record of one task, its function asked once."""
    record = {"name": task.name, "points": task.points, "earned": 0, "checks": []}

    def call(*values):
        return session.call(task.name, arguments(values), task.permits, instead)

    try:
        for points, text, reason in task.judge(given, call):
            record["checks"].append(
                {
                    "text": text,
                    "points": points,
                    "earned": 0 if reason else points,
                    "reason": reason,
                }
            )
    except Died:
        raise
    except Exception as error:  # a form of answer that the judge did not foresee
        where = traceback.extract_tb(error.__traceback__)[-1]
        return not_graded(
            task,
            f"the answer could not be scored: {type(error).__name__}: {str(error)[:300]} "
            f"({where.name})",
        )
    reasons = {check["reason"] for check in record["checks"]}
    if len(reasons) == 1 and None not in reasons:
        return lost(task, *reasons)
    record["earned"] = round(sum(check["earned"] for check in record["checks"]), 9)
    return record


def lost(task, reason):
    """The record of a task that earned nothing, for one reason."""
    checks = [{"text": "all checks", "points": task.points, "earned": 0, "reason": reason}]
    return {"name": task.name, "points": task.points, "earned": 0, "checks": checks}


def _suspicions(name, repaired):
    """Remarks on a student's cells that mention what could undo the grading within their process,
    or what a task does not permit."""
    found = []
    for cell in repaired.cells:
        if cell["kind"] == "code" and cell["theirs"]:
            tasks = [task for task in tasks_of(name) if f"def {task.name}(" in cell["source"]]
            tasks = [task for task in tasks if task.permits is not None]  # others may call all
            free = {each.partition(":")[2] for task in tasks for each in task.permits}
            blocked = [name for name in HELPERS_OF_TASKS if tasks and name not in free]
            if words := suspicious(cell["source"], blocked):
                found.append(f"cell {cell['id']} mentions {', '.join(words)}: look at it")
    return found


def not_graded(task, reason):
    """The record of a task that the grader did not manage to judge: a person has to look."""
    checks = [{"text": NOT_GRADED, "points": task.points, "earned": None, "reason": reason}]
    return {"name": task.name, "points": task.points, "earned": None, "checks": checks}


def by_hand_cells(source):
    """The cells of a source notebook that a person marks, in order."""
    cells = nbformat.read(source, as_version=4).cells
    return [
        cell
        for cell in cells
        if is_solution(cell) and (cell.metadata.get("nbgrader") or {}).get("grade")
    ]


def _by_hand(name, source, repaired):
    """For each mark a person gives: the ids of the cells that show it, and the words."""
    items, cells = [], by_hand_cells(source)
    for number, (what, points) in enumerate(BY_HAND[name]):
        cell = cells[number] if number < len(cells) else None
        ids = [own["id"] for own in repaired.cells if cell is not None and own["of"] == cell.id]
        shown = [own for own in repaired.cells if own["id"] in ids]
        words = [
            own["source"] if own["kind"] != "code" else f"```python\n{own['source']}\n```"
            for own in shown
            if own["kind"] != "code" or cell.cell_type == "markdown"
        ]
        words = "\n\n".join(words)
        if len(words) > MOST_WORDS:
            words = words[:MOST_WORDS] + f"\n\n[cut off here, of {len(words)} characters]"
        pasted = {name: url for own in shown for name, url in own["attachments"].items()}
        work = [own["source"] for own in shown if own["source"].strip()]
        work += pasted.values()
        items.append(
            {
                "name": what,
                "points": points,
                "ids": ids,
                "words": words,
                "attachments": pasted,
                "work": hashlib.sha256("\0".join(work).encode()).hexdigest()[:12] if work else "",
            }
        )
    return items
