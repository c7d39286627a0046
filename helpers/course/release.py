"""Write what students get.

python -m helpers release --repository https://github.com/COURSE/HANDOUT    # to build/release

The assignments with solutions, observations, answers and outputs cleared, the helpers, the data and
a README. The solutions, the tests, the grader and all that was measured stay behind: the studies,
their values and the evidence pages. In Colab the notebooks fetch the repository that they are
handed out in.
"""

import argparse
import re
import shutil
from pathlib import Path

import nbformat

from helpers.course import syllabus
from helpers.course.colab import origin, stamp
from helpers.course.grading.course import HELPERS, copy_course
from helpers.course.grading.repair import is_solution
from helpers.files import written_whole

ROOT = HELPERS.parent
# nbgrader's own
CODE_STUB, WORDS_STUB = (
    "# YOUR CODE HERE\nraise NotImplementedError()",
    "YOUR ANSWER HERE",
)
_SOLUTION = re.compile(
    r"^([ \t]*)### BEGIN SOLUTION.*?### END SOLUTION[^\n]*", re.DOTALL | re.MULTILINE
)
_ANSWER = re.compile(r'\n*<details class="answer">.*?</details>', re.DOTALL)
_EVIDENCE = (  # a sentence about it, a bracket, then any other link
    (re.compile(r"\*\*The evidence\*\*:[^\n]*?\]\(evidence/[^)]*\)\.?[ ]*"), ""),
    (re.compile(r" ?\(\[[^\]]*\]\(evidence/[^)]*\)\)"), ""),
    (re.compile(r"\[([^\]]*)\]\(evidence/[^)]*\)"), r"\1"),
)
_LINK = re.compile(r"\[([^]]*)\]\(([\w-]+\.ipynb)\)")
_README = """# Assignment: gradient explanations, measured

Open the notebooks in `notebooks/` in Jupyter, and write your own functions and observations where
they say YOUR CODE HERE and YOUR ANSWER HERE. Leave the other cells as they are: bootstrap,
parameters and checks are restored when you are graded.

```
python3 -m venv .venv && . .venv/bin/activate
# Windows: py -m venv .venv, then .venv\\Scripts\\activate
pip install -r requirements.txt && pip install --no-deps -e .
python -m jupyter lab notebooks
```

Before handing in, run the visible checks of a notebook:

```
python -m helpers precheck notebooks/smoothgrad_1_method.ipynb
```

Pushed to GitHub, the notebooks that you began are checked in the same way on every push: see the
tab *Actions* (`.github/workflows/checks.yml`).

You are graded by running your notebook again and asking your functions about other pictures and
another network than yours, so a result that is written down instead of computed earns nothing, nor
does calling the helper that a task asks you to write.
Figures and observations are marked by a person.
"""


_WORKFLOW = """name: checks

# The visible checks of every notebook that was written in, on each push and pull request. This is
# no grade: a grade asks about other pictures and another network.
on:
  push:
  pull_request:

permissions:
  contents: read

jobs:
  checks:
    runs-on: ubuntu-latest
    timeout-minutes: 60
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
          cache: pip
          cache-dependency-path: requirements.txt
      - run: pip install -r requirements.txt && pip install --no-deps -e .
      - run: python -m helpers precheck --begun --json result.json --threshold 0.85
      - uses: actions/upload-artifact@v4
        if: always()
        with:
          name: result
          path: result.json
"""


def student_version(notebook):
    """A copy of a source notebook with solutions, the cells a person marks, answers to self-tests,
    links to evidence and all outputs cleared."""
    notebook = nbformat.from_dict(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if is_solution(cell):
            cell.source = _cleared(cell)
        elif "### BEGIN SOLUTION" in cell.source and cell.cell_type == "code":
            raise ValueError(
                f"cell {cell.get('id')} holds a solution and has no solution tag or nbgrader "
                "metadata"
            )
        else:
            cell.source = _ANSWER.sub("", cell.source)
            for pattern, kept in _EVIDENCE:
                cell.source = pattern.sub(kept, cell.source)
    return notebook


def _cleared(cell):
    if cell.cell_type == "markdown":
        return WORDS_STUB
    if not _SOLUTION.search(cell.source):
        return CODE_STUB
    return _SOLUTION.sub(_stub, cell.source)


def _stub(found):
    """In a function an error, so that a check can say that it is not written; outside of one only
    the comment, so that the notebook runs to its end."""
    lines = CODE_STUB.splitlines() if found[1] else CODE_STUB.splitlines()[:1]
    return "\n".join(found[1] + line for line in lines)


def edition(name) -> dict:
    """What a notebook of a release says of it in its metadata as "course", for grading."""
    return {"version": origin()[1], "parts": syllabus.entry(name).parts}


def release(out, *, sources=ROOT / "notebooks", repository=None, student="") -> list[Path]:
    """Write the students' edition into the folder ``out``, which is emptied first; the notebooks'
    paths.

    Args:
        repository: the address at https://github.com that this edition will have, for Colab, which
            then takes its branch ``main``; by default the notebooks' own, where the solutions lie
            too.
        student: whose own edition it is, by an id: its notebooks draw other pictures.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()) and not (out / ".release").is_file():
        raise ValueError(f"{out} holds something else than a release: choose an empty folder")
    shutil.rmtree(out, ignore_errors=True)
    copy_course(out)
    (out / ".release").write_text(f"written by python -m helpers release, {origin()[1]}\n")
    for name in ("LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, out)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    if repository:
        address = f'Repository = "{repository.rstrip("/")}"'
        project = re.sub(r"^Repository = .*$", address, project, flags=re.MULTILINE)
    (out / "pyproject.toml").write_text(project, encoding="utf-8")
    written, names = [], {f"{entry.name}.ipynb" for entry in syllabus.load()}
    seed = syllabus.seed_of(student, Path(sources, "course.toml"))
    for entry in syllabus.load():
        path = Path(sources, f"{entry.name}.ipynb")
        notebook = student_version(nbformat.read(path, as_version=4))
        syllabus.with_points(notebook, entry)
        notebook.metadata["course"] = edition(entry.name)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":  # a link to what this course leaves out is words
                cell.source = _LINK.sub(lambda m: m[0] if m[2] in names else m[1], cell.source)
            if cell.get("id") == "parameters":
                cell.source = re.sub(r"^SEED = 0\b", f"SEED = {seed}", cell.source, flags=re.M)
        if repository:
            stamp(notebook, path.name, repository.rstrip("/"), "main")
        target = out / "notebooks" / path.name
        with written_whole(target) as whole:
            whole.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        written.append(target)
    shutil.copy(Path(sources, "course.toml"), out / "notebooks")
    workflow = out / ".github" / "workflows" / "checks.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text(_WORKFLOW, encoding="utf-8")
    opens = syllabus.evidence_opens(Path(sources, "course.toml"))
    later = f"\nThe evidence behind the assignments opens on {opens:%d %B %Y}.\n" if opens else ""
    (out / "README.md").write_text(_README + later, encoding="utf-8")
    return written


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m helpers release",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "release", help="default: build/release"
    )
    parser.add_argument(
        "--repository",
        help="where this edition will be published, for Colab: https://github.com/OWNER/NAME",
    )
    parser.add_argument(
        "--student",
        default="",
        metavar="ID",
        help="whose own edition it is: notebooks and checks draw other pictures",
    )
    arguments = parser.parse_args(arguments)
    written = release(arguments.out, repository=arguments.repository, student=arguments.student)
    print(f"{len(written)} notebooks in {arguments.out}; students start at its README.md")
    if not arguments.repository:
        where = f"fetch {origin()[0]}, solutions included" if origin()[0] else "have no address"
        print(f"In Colab they {where}: --repository names one.")
