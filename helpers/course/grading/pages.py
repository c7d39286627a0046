"""The pages an instructor reads: an overview, and one for each student."""

import base64
import hashlib
import html
import os
import re
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote

import mistune
import nbformat
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from helpers.course.grading.book import changed, mark_of, number
from helpers.course.grading.score import (
    BY_HAND,
    NOT_HANDED_IN,
    by_hand_cells,
    points_of,
)
from helpers.files import written_whole

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True
)
_ENVIRONMENT.filters["points"] = lambda earned: number(earned, "not graded")
_markdown = mistune.create_markdown(escape=True, plugins=["table"])


def student_file(student) -> str:
    """A file name for a student: the name itself where that is harmless, else made so and told
    apart by a hash."""
    harmless = re.sub(r"[^\w.-]+", "_", student, flags=re.ASCII).strip("._")[:60]
    return (
        harmless
        if harmless == student
        else f"{harmless}-{hashlib.sha256(student.encode()).hexdigest()[:8]}"
    )


def hidden(students, shown):
    """(page, student=None) → the page with codes, ``shown``, where its text says who somebody is:
    on a student's own page his name, each word of it and what his files are called, of the others
    there what cannot be taken for a plain word."""
    called = {
        student: {student, *handed.called, *map(handed.about.get, ("id", "email"))} - {None, ""}
        for student, handed in students.items()
    }
    codes = {_joined(name): shown(who) for who, names in called.items() for name in names}
    every = _whole(name for names in called.values() for name in names)
    several = _whole(n for names in called.values() for n in names if len(_words(n)) > 1)

    def without_names(page, student=None):
        own = called.get(student, ())
        words = {word for name in own for word in _words(name) if len(word) > 2}
        steps = [(_whole(own), shown(student)), (_whole(words, 0), shown(student))] if own else []
        steps += [(several if own else every, lambda found: codes[_joined(found[0])])]

        def plain(text):
            text = html.unescape(text)
            for names, code in steps:
                text = names.sub(code, text)
            return escape(text)

        head, style, body = page.partition("</style>")
        pieces = re.split(r"(<[^>]*>)", body)  # texts and tags in turn
        pieces[::2] = map(plain, pieces[::2])
        for place, tag in enumerate(pieces[1::2]):
            pieces[2 * place + 1] = re.sub(r'(?<= alt=")[^"]*', lambda said: plain(said[0]), tag)
        return head + style + "".join(pieces)

    return without_names


def _words(name):
    return re.findall(r"[^\W\d_]+", name)


def _joined(name):
    return re.sub(r"[\W_]+", "", name).casefold()


def _whole(names, flags=re.IGNORECASE):
    """Finds each of the names as a whole, whatever stands between its words."""
    each = {r"[\W_]*".join(re.findall(r"[^\W_]+", name)) for name in names}
    each = sorted((name for name in each if len(name) > 1), key=len, reverse=True)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(each) or '(?!)'})(?![^\W_])", flags)


def write_student(
    out,
    student,
    records,
    sources,
    marks,
    total,
    before=None,
    after=None,
    files=None,
    *,
    shown=str,
    without_names=lambda page, student: page,
):
    """students/NAME.html. ``before``, ``after``: the students whose pages it links to; ``files``:
    notebook → the file that was graded; ``shown``: a student's name → how the page calls him;
    ``without_names``: as ``hidden`` makes it."""
    pages = {}
    for name, record in records.items():
        items = [
            {**_marked(item, student, name, record, marks), **_theirs(item, record), "ours": ours}
            for item, ours in zip(record["by_hand"], _ours(out, name, sources[name]), strict=True)
        ]
        file = (files or {}).get(name)
        link = file and quote(os.fsencode(os.path.relpath(file.resolve(), Path(out, "students"))))
        pages[name] = {**record, "by_hand": items, "link": link}
    linked = [
        other and (shown(other), f"{student_file(shown(other))}.html") for other in (before, after)
    ]
    page = _ENVIRONMENT.get_template("student.html").render(
        title=shown(student),
        student=shown(student),
        records=pages,
        total=total,
        before=linked[0],
        after=linked[1],
    )
    path = Path(out) / "students" / f"{student_file(shown(student))}.html"
    _write(path, without_names(page, student))


def write_feedback(out, student, records, marks, total):
    """feedback/NAME.html, to give back: reasons, marks and remarks, and nothing of ours."""
    pages = {
        name: {
            **record,
            "by_hand": [_marked(item, student, name, record, marks) for item in record["by_hand"]],
        }
        for name, record in records.items()
    }
    page = _ENVIRONMENT.get_template("feedback.html").render(
        title=student, records=pages, total=total
    )
    _write(Path(out) / "feedback" / f"{student_file(student)}.html", page)


def zip_feedback(out, students):
    """feedback.zip: the pages under the names by which Moodle and Canvas know whose they are.

    Args:
        students: student → ``handed_in.Handed``.
    """
    with (
        written_whole(Path(out) / "feedback.zip") as whole,
        zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for student, handed in students.items():
            page = Path(out) / "feedback" / f"{student_file(student)}.html"
            for name in handed.back if page.is_file() else ():
                archive.write(page, name)


def _marked(item, student, notebook, record, marks):
    """An item with its mark and the marker's remark."""
    row = marks.get((student, notebook, item["name"]), {})
    return {
        **item,
        "mark": mark_of(marks, student, notebook, item)[0],
        "remark": row.get("remark", ""),
        "changed": changed(marks, student, notebook, item),
    }


def write_overview(
    out, records, summaries, isolated, notes=(), shown=str, without_names=lambda page: page
):
    """index.html: how each task went, and a line for each student."""
    rows = [
        (shown(student), f"students/{student_file(shown(student))}.html", total)
        for student, total in summaries.items()
    ]
    first = next(iter(summaries.values()), {"notebooks": {}, "totals": {}})
    page = _ENVIRONMENT.get_template("overview.html").render(
        title="Grades",
        rows=rows,
        isolated=isolated,
        anonymous=shown is not str,
        notes=notes,
        waiting=sum(total["waiting"] for total in summaries.values()),
        names=list(first["notebooks"]),
        points={name: points_of(name) for name in first["notebooks"]},
        totals=[(name, of) for name, (_, of) in first["totals"].items()],
        tasks=_tasks(records),
    )
    _write(Path(out) / "index.html", without_names(page))


def _tasks(records):
    """For each task, of those who handed it in: the mean, how many have full points, and the three
    commonest reasons."""
    by_task = {}
    for own in records.values():
        for name, record in own.items():
            for task in record["tasks"] if record["problem"] != NOT_HANDED_IN else ():
                if task["earned"] is None:
                    continue
                by_task.setdefault((name, task["name"], task["points"]), []).append(task)
    lines = []
    for (notebook, name, points), tasks in sorted(
        by_task.items(), key=lambda item: list(BY_HAND).index(item[0][0])
    ):
        reasons = Counter()
        for task in tasks:
            reasons.update(
                {
                    re.sub(r"-?\d[\d.e+-]*", "…", c["reason"])[:120]
                    for c in task["checks"]
                    if c["reason"]
                }
            )
        lines.append(
            {
                "notebook": notebook,
                "name": name,
                "points": points,
                "n": len(tasks),
                "reasons": reasons.most_common(3),
                "mean": sum(task["earned"] for task in tasks) / len(tasks),
                "full": sum(task["earned"] == points for task in tasks),
            }
        )
    return lines


def _theirs(item, record):
    """The student's words and pictures for one mark."""
    cells = [record["cells"].get(name, {}) for name in item["ids"]]
    pictures = [picture for told in cells for picture in told.get("pictures", [])]
    errors = [told["error"] for told in cells if told.get("error")]
    errors = [
        "it is not written yet" if error == "NotImplementedError" else error for error in errors
    ]
    why = errors[0] if errors else "the cell is empty" if item["ids"] else "the cell is missing"
    words = Markup(_student_markdown(item["words"], item.get("attachments", {})))
    return {"pictures": pictures, "words_html": words, "why": why}


def _student_markdown(text, attachments):
    """A student's words as HTML, their pictures only where they were pasted into the notebook: an
    address could be that of ours, or of another student's."""

    class Pasted(mistune.HTMLRenderer):
        def image(self, text, url, title=None):
            shown = attachments.get(unquote(url).removeprefix("attachment:"))
            if shown is None:
                return f"[a picture that is not in the notebook: {escape(text)}]"
            return f'<img alt="{escape(text)}" src="{escape(shown)}">'

    return mistune.create_markdown(renderer=Pasted(escape=True), plugins=["table"])(text)


@cache
def _ours(out, name, source):
    """For each mark of a notebook, what the source has there: words, pictures (written beside the
    pages), measured tables."""
    cells = nbformat.read(source, as_version=4).cells
    tables = [
        _text(cell)
        for cell in cells
        if "nbval-check-output" in cell.metadata.get("tags", []) and _text(cell)
    ]
    found = []
    for cell in by_hand_cells(source):
        if cell.cell_type == "markdown":
            found.append(
                {"words_html": Markup(_markdown(cell.source)), "pictures": [], "tables": tables}
            )
            continue
        pictures = [
            output.data["image/png"]
            for output in cell.outputs
            if "image/png" in output.get("data", {})
        ]
        files = [f"reference/{name}-{cell.id}-{number}.png" for number in range(len(pictures))]
        for file, picture in zip(files, pictures, strict=True):
            with written_whole(Path(out) / file) as whole:
                whole.write_bytes(base64.b64decode(picture))
        found.append({"words_html": "", "pictures": files, "tables": []})
    nothing = {"words_html": "", "pictures": [], "tables": []}
    return found + [nothing] * (len(BY_HAND[name]) - len(found))


def _text(cell):
    return "".join(
        output.get("text", "") for output in cell.outputs if output.output_type == "stream"
    )


def _write(path, text):
    with written_whole(path) as whole:
        whole.write_text(text, encoding="utf-8")
