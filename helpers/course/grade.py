"""Grade submissions by re-executing them.

python -m helpers grade SUBMISSIONS --out GRADES

SUBMISSIONS holds a folder of notebooks for each student, or notebooks named like
ada_smoothgrad_1_method.ipynb. GRADES gets index.html, a page for each student, grades.csv, and
marks.csv, where a person fills in the column "mark" for figures and observations; running the same
command again adds them up, and grades only what is new or changed.
"""

import argparse
import atexit
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import nbformat
import torch
from tqdm import tqdm

from helpers.course import syllabus
from helpers.course.grading.book import read_marks, summary, update_marks, write_grades
from helpers.course.grading.course import HELPERS, copy_course
from helpers.course.grading.handed_in import handed_in, readable
from helpers.course.grading.pages import (
    hidden,
    student_file,
    write_feedback,
    write_overview,
    write_student,
    zip_feedback,
)
from helpers.course.grading.reading import MOST_BYTES
from helpers.course.grading.sandbox import Limits, isolation
from helpers.course.grading.score import (
    BY_HAND,
    Setting,
    empty_record,
    grade_notebook,
    not_run,
)
from helpers.course.grading.similarity import alike
from helpers.course.grading.tables import read_table, write_csv
from helpers.course.grading.tasks import Given
from helpers.files import written_whole
from helpers.workers import WorkersLostError, completed, executor

NOTEBOOKS = HELPERS.parent / "notebooks"
_WARNING = (
    "WARNING: this system allows no namespaces, so submissions run with limits on time and memory "
    "but are not walled off from "
    "your files, the network and each other. Grade strangers' work on Linux as root or with "
    "unprivileged user namespaces "
    "(util-linux: unshare, setpriv, prlimit), or in a throw-away virtual machine."
)


class CannotGrade(RuntimeError):
    """This machine or this course would give everybody wrong grades, so nobody gets any."""


def grade(
    submissions,
    out,
    *,
    sources=NOTEBOOKS,
    only=None,
    seed=None,
    workers=None,
    address=None,
    isolated=None,
    limits=None,
    roster=None,
    anonymous=False,
    markers=(),
) -> dict:
    """Grade a folder of submissions into the folder ``out``.

    Args:
        sources: the folder of source notebooks; what it does not hold is not graded.
        only: names of the notebooks to grade; None for all that anybody handed in.
        seed: of the pictures and the network that functions are judged on; by default drawn once
            and kept in ``out``.
        workers: processes at a time; by default one for each processor.
        address: of a Dask scheduler: submissions are executed on its cluster, each worker with
            walls of its own. They must see the submissions and the sources here.
        isolated: whether to use namespaces; by default where the system allows it.
        limits: a ``Limits``.
        roster: the path of students.csv, as ``handed_in`` reads it.
        anonymous: whether marks.csv and the pages that a marker reads call students by a code, of
            which names.csv says whose it is.
        markers: names of those among whom marks.csv shares the students.

    Returns:
        student → ``book.summary``.

    Raises:
        CannotGrade: the solved edition does not get full points here.
        WorkersLostError: as for ``completed``; what was graded is kept.
    """
    sources = {
        name: Path(sources, f"{name}.ipynb")
        for name in BY_HAND
        if Path(sources, f"{name}.ipynb").is_file()
    }
    sources = {name: path for name, path in sources.items() if only is None or name in only}
    if not sources:
        raise ValueError(f"no source notebook to grade against; known: {', '.join(BY_HAND)}")
    out = Path(out)
    students = handed_in(submissions, sources.values(), students=roster, out=out)
    if only is None:  # what nobody handed in was not asked for yet
        sources = {
            name: path
            for name, path in sources.items()
            if any(name in files for files in students.values())
        } or sources
    out.mkdir(parents=True, exist_ok=True)
    isolated = isolation() == "namespaces" if isolated is None else isolated
    workers = workers or os.cpu_count() or 1
    torch.set_num_threads(1)
    _sweep()
    seed = _seed(out, seed)
    with _prepared(isolated, limits or Limits()) as setting:
        records = _grade_all(students, sources, out, seed, setting, workers, address)
    code = _code(seed)
    names = _names(out, students, code)
    shown, without_names = (
        (code, hidden(students, code)) if anonymous else (str, lambda page, *_: page)
    )
    if anonymous:
        write_csv(out / "names.csv", ("code", "student"), sorted(names.items()))
    marks, notes = update_marks(
        out / "marks.csv", records, shown=shown, names=names, markers=markers
    )
    summaries = {
        student: summary(
            student,
            records[student],
            marks,
            sources,
            handed=handed,
            lateness=syllabus.lateness(),
        )
        for student, handed in students.items()
    }
    notes += _similar(out, records, sources, shown) + _other_editions(records)
    for pages in ("students", "feedback"):  # of those who are gone too
        shutil.rmtree(out / pages, ignore_errors=True)
    order = sorted(students, key=shown) if anonymous else list(students)
    for before, student, after in zip([None, *order], order, [*order[1:], None], strict=False):
        try:
            whole = {name: _whole(out, student, name) for name in sources}
            files = {
                name: students[student][name][0]
                for name in sources
                if students[student].get(name) and not anonymous
            }
            total = summaries[student]
            about = whole, sources, marks, total, before, after, files
            write_student(out, student, *about, shown=shown, without_names=without_names)
            write_feedback(out, student, whole, marks, total)
        except Exception as error:  # costs this page, and no other
            said = f"its page could not be written: {type(error).__name__}: {error}"
            summaries[student]["problems"].append(said)
            print(f"{student}: {said}", file=sys.stderr)
    notes += write_grades(out, summaries)
    zip_feedback(out, students)
    total = {name: summaries[name] for name in order}
    write_overview(out, records, total, isolated, notes, shown, without_names)
    for note in notes:
        print(note, file=sys.stderr)
    return summaries


@contextmanager
def _prepared(isolated, limits):
    """A ``Setting`` without pictures, with a course folder for the while."""
    with tempfile.TemporaryDirectory(prefix=f"{_WORKING}{os.getpid()}-") as folder:
        course = Path(folder, "course")
        copy_course(course, sandbox=True)
        Path(folder).chmod(0o755)
        yield Setting(course, None, isolated, limits)


@lru_cache
def _given(seed):
    """Its pictures, network and references, computed once."""
    given = Given(seed)
    given.prepare()
    return given


def _variant(seed, student, handed):
    """The seed of what a student is asked: as many as course.toml has variants, drawn by the id or,
    where nobody knows it, the name."""
    number = syllabus.variant_of(handed.about.get("id") or student)
    return seed if number == 0 else (seed + number * 7919) % 2**31


def _code(seed):
    """A student's name → a code that says nothing of it, for those who mark; a code stays."""

    def code(student):
        known = re.fullmatch(r"s-[0-9a-f]{8}", student)
        return student if known else f"s-{_hash(str(seed), student)[:8]}"

    return code


def _names(out, students, code):
    """Code → student: of those who handed in, of whom marks.csv and names.csv know."""
    known = {code(name): name for name, *_ in read_marks(out / "marks.csv")}
    if (out / "names.csv").is_file():
        rows = read_table(out / "names.csv", ("code", "student"))
        known |= {row["code"]: row["student"] for row in rows}
    return known | {code(name): name for name in students}


def _other_editions(records):
    said = Counter(one["edition"] for own in records.values() for one in own.values())
    return [f"{n} notebooks: {text}" for text, n in said.items() if text]


def _similar(out, records, sources, shown):
    """Write similarity.csv; what to know of it."""
    functions = {
        student: {
            task: text for record in own.values() for task, text in record["functions"].items()
        }
        for student, own in records.items()
    }
    ours = {}
    for source in sources.values():
        for cell in nbformat.read(source, as_version=4).cells:
            ours |= dict.fromkeys(re.findall(r"^def (\w+)", cell.source, re.M), cell.source)
    found = [(*told, shown(a), shown(b)) for *told, a, b in alike(functions, ours)]
    write_csv(out / "similarity.csv", ("alike", "task", "student", "student"), found)
    return [f"{len(found)} pairs of functions are alike: similarity.csv"] if found else []


def _grade_all(students, sources, out, seed, setting, workers, address):
    """student → notebook → record, from ``out`` where they are there already; each is written as
    soon as it is known."""
    code = _code_here()
    records, todo = {student: {} for student in students}, []
    for student, files in students.items():
        own = _variant(seed, student, files)
        version = _hash(code, repr((own, setting.isolated)))
        for name, source in sources.items():
            path = files.get(name, [None])[0]
            kept = _record_file(out, student, name)
            key = _hash(version, _content(path), source.read_bytes())
            record = _kept(kept, key)
            if record is None:
                todo.append((student, name, path, source, kept, key, own))
            else:
                records[student][name] = _slim(record)
    if not todo:
        return records
    _solved_first({(source, own) for _, _, _, source, *_, own in todo}, setting)
    slots = list(range(workers))

    def here(i, path, source, own):
        slot = slots.pop()
        try:
            return i, _one(path, source, replace(setting, given=_given(own)), slot)
        finally:
            slots.append(slot)

    work = [(i, path, source, own) for i, (_, _, path, source, *_, own) in enumerate(todo)]
    if address is not None:
        where = setting.isolated, setting.limits, code
        work = [
            (i, path and path.absolute(), source.absolute(), own, *where)
            for i, path, source, own in work
        ]
    with executor(workers, address, threads=True) as pool:
        graded = completed(pool, here if address is None else _elsewhere, work)
        for i, record in tqdm(graded, total=len(work), desc="notebooks", unit="", file=sys.stderr):
            student, name, path, _, kept, key, _ = todo[i]
            n_files = len(students[student].get(name, ()))
            record["remarks"] += students[student].remarks if path is not None else []
            if n_files > 1:
                taken = readable(path.name)
                record["remarks"].append(f"{n_files} files may be this notebook; {taken} was taken")
            with written_whole(kept) as whole:
                # what was not graded is tried again the next time
                told = {"key": key if _settled(record) else None, "record": record}
                whole.write_text(json.dumps(told), encoding="utf-8")
            records[student][name] = _slim(record)
    return {student: {name: own[name] for name in sources} for student, own in records.items()}


def _one(path, source, setting, slot):
    try:
        return grade_notebook(path, source, setting, slot=slot)
    except Exception as error:
        # a flaw of ours must not cost the others their grades, nor this one a silent 0
        said = f"{_FAILED}, grade by hand: {type(error).__name__}: {error}"
        return not_run(empty_record(), source.stem, said)


_FAILED = "the grader itself failed"


def _settled(record):
    """Whether the next run need not try again."""
    if record["problem"] is not None:
        return not record["problem"].startswith(_FAILED)
    return all(task["earned"] is not None for task in record["tasks"])


def _elsewhere(i, path, source, seed, isolated, limits, code):
    """``_one`` in a worker of a cluster, with a course folder and walls of its own."""
    if code != _code_here():
        raise CannotGrade("a worker has another version of this package: the same on all machines")
    if isolated and isolation() != "namespaces":
        raise CannotGrade("a worker's system allows no namespaces: submissions would not be walled")
    for needed in (path or source, source):
        if not os.path.lexists(needed):
            raise CannotGrade(f"a worker does not see {needed}: put it on a shared file system")
    # as root, the limits of a walled process count its user: two workers of a machine need two
    setting = replace(_lasting(isolated, limits), given=_given(seed))
    return i, _one(path, source, setting, os.getpid() % 1000)


@lru_cache(1)
def _lasting(isolated, limits):
    """The setting of a worker, prepared once; its folder stays until the process ends."""
    _sweep()
    prepared = _prepared(isolated, limits)
    atexit.register(prepared.__exit__, None, None, None)
    return prepared.__enter__()


def _code_here():
    return _hash(*sorted(path.read_bytes() for path in HELPERS.rglob("*.py")))


_full = set()  # settings and notebooks of which the solved edition has got full points


def _solved_first(wanted, setting):
    """Grade the solved edition within the same walls, before anybody else: what it does not get
    here, nobody could. ``wanted``: pairs (source, seed).

    Raises:
        CannotGrade.
    """
    for source, seed in tqdm(sorted(wanted), desc="the solved edition", unit="", file=sys.stderr):
        key = (source.read_bytes(), seed, setting.isolated, setting.limits)
        if key in _full:
            continue
        record = grade_notebook(source, source, replace(setting, given=_given(seed)))
        if failed := [task for task in record["tasks"] if task["earned"] != task["points"]]:
            why = "; ".join(
                f"{task['name']} {task['earned'] or 0} of {task['points']} points: "
                f"{next(check['reason'] for check in task['checks'] if check['reason'])}"
                for task in failed
            )
            raise CannotGrade(
                f"nobody was graded: here the solved edition itself, {source}, loses points ({why}"
                f"{'; ' + record['errors'][0] if record['errors'] else ''})"
            )
        _full.add(key)


def _content(path):
    """What tells one state of a submitted file from another; nothing but plain files is opened, and
    none that is too large to be graded."""
    if path is None:
        return "missing"
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode) or about.st_size > MOST_BYTES:
        return f"{about.st_mode} {about.st_size} {about.st_mtime_ns}"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _record_file(out, student, notebook):
    return out / "records" / student_file(student) / f"{notebook}.json"


def _whole(out, student, notebook):
    """A record with its pictures, which are kept in files alone: a course's would fill memory."""
    text = _record_file(out, student, notebook).read_text(encoding="utf-8")
    return json.loads(text)["record"]


def _slim(record):
    cells = {name: {**told, "pictures": []} for name, told in record["cells"].items()}
    return {**record, "cells": cells}


_WORKING = "grading-"


def _sweep():
    """Remove the working folders of graders that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_WORKING}*-*"):
        pid = path.name.removeprefix(_WORKING).partition("-")[0]
        if os.name != "posix" or not pid.isdigit() or path.is_symlink():
            continue
        try:
            os.kill(int(pid), 0)  # asks whether there is such a process, no more
        except (ProcessLookupError, OverflowError):
            shutil.rmtree(path, ignore_errors=True)
        except PermissionError:  # there is, and it is somebody else's
            pass


def _kept(path, key):
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept["record"] if kept.get("key") == key else None


def _seed(out, seed):
    """The seed of these grades: given, or the one kept in ``out``, or a new one that nobody
    knows."""
    path = out / "seed.json"
    if seed is None:
        seed = json.loads(path.read_text())["seed"] if path.is_file() else secrets.randbelow(2**31)
    with written_whole(path) as whole:
        whole.write_text(json.dumps({"seed": seed}))
    return seed


def _hash(*parts):
    digest = hashlib.sha256()
    for part in parts:
        part = part if isinstance(part, bytes) else part.encode()
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m helpers grade",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("submissions", type=Path, help="the folder of submissions, or a zip of it")
    parser.add_argument("--out", type=Path, required=True, help="the folder for grades and pages")
    parser.add_argument(
        "--notebooks",
        type=Path,
        default=NOTEBOOKS,
        help="the source notebooks (default: this repository's)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(BY_HAND),
        metavar="NAME",
        help="grade these notebooks alone",
    )
    parser.add_argument(
        "--seed",
        type=int,
        help="of the pictures and network used to judge (default: drawn once, kept in OUT)",
    )
    parser.add_argument(
        "--workers", type=int, help="how many at a time (default: one for each processor)"
    )
    parser.add_argument(
        "--dask", metavar="ADDRESS", help="of a scheduler: execute on its cluster's workers"
    )
    parser.add_argument(
        "--students",
        type=Path,
        metavar="FILE",
        help="a table: pattern of a folder's or file's name, student, id, email, group, extension "
        "(days); default: students.csv among the submissions",
    )
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="call students by a code wherever marks are given; names.csv says whose it is",
    )
    parser.add_argument(
        "--markers", nargs="+", default=[], metavar="NAME", help="share the marks among these"
    )
    parser.add_argument(
        "--require-isolation", action="store_true", help="refuse to run without namespaces"
    )
    arguments = parser.parse_args(arguments)
    if not arguments.submissions.exists():
        parser.error(f"no such folder: {arguments.submissions}")
    beside = arguments.submissions / "students.csv"
    if arguments.students is None and beside.is_file():
        arguments.students = beside
    if isolation() != "namespaces":
        if arguments.require_isolation:
            parser.error(_WARNING.removeprefix("WARNING: "))
        print(_WARNING, file=sys.stderr)
    try:
        summaries = grade(
            arguments.submissions,
            arguments.out,
            sources=arguments.notebooks,
            only=arguments.only,
            seed=arguments.seed,
            workers=arguments.workers,
            address=arguments.dask,
            roster=arguments.students,
            anonymous=arguments.anonymous,
            markers=arguments.markers,
        )
    except (CannotGrade, ValueError, ImportError, WorkersLostError) as error:
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        print(
            "\nInterrupted: what was graded is kept; run the same command to go on.",
            file=sys.stderr,
        )
        os._exit(130)  # the processes at work end with this one
    waiting = sum(each["waiting"] for each in summaries.values())
    not_graded = sum(each["not_graded"] for each in summaries.values())
    print(
        f"{len(summaries)} submissions graded; {waiting} marks are yours to give, in "
        f"{arguments.out / 'marks.csv'}; "
        f"open {arguments.out / 'index.html'}"
    )
    if not_graded:
        print(
            f"{not_graded} notebooks could NOT be graded: see the problems there", file=sys.stderr
        )
    return 1 if not_graded else 0
