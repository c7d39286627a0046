"""Write what students get.

python -m helpers release --repository https://github.com/COURSE/HANDOUT    # to build/release

The notebooks with solutions, observations and outputs cleared, the helpers and the data, and a
README. The solutions, the tests and the grader stay behind. In Colab the notebooks fetch the
repository that they are handed out in.
"""

import argparse
import re
import shutil
from pathlib import Path

import nbformat

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
_SOLVED = re.compile(r"This is the solved edition[.;] [Yy]our own work stands between [^.;\n]*")
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

You are graded by running your notebook again and asking your functions about other pictures and
another network than yours, so a result that is written down instead of computed earns nothing, nor
does calling the helper that a task asks you to write.
Figures and observations are marked by a person.
"""


def student_version(notebook):
    """A copy of a source notebook with solutions, the cells a person marks and all outputs
    cleared."""
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
            cell.source = _SOLVED.sub(
                "Your own work goes where it says YOUR CODE HERE", cell.source
            )
    return notebook


def _cleared(cell):
    if cell.cell_type == "markdown":
        return WORDS_STUB
    if not _SOLUTION.search(cell.source):
        return CODE_STUB
    return _SOLUTION.sub(
        lambda found: "\n".join(found[1] + line for line in CODE_STUB.splitlines()), cell.source
    )


def release(out, *, sources=ROOT / "notebooks", repository=None) -> list[Path]:
    """Write the students' edition into the folder ``out``, which is emptied first; the notebooks'
    paths.

    Args:
        repository: the address at https://github.com that this edition will have, for Colab, which
            then takes its branch ``main``; by default the notebooks' own, where the solutions lie
            too.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()) and not (out / ".release").is_file():
        raise ValueError(f"{out} holds something else than a release: choose an empty folder")
    shutil.rmtree(out, ignore_errors=True)
    copy_course(out)
    (out / ".release").write_text("written by python -m helpers release\n")
    for name in ("LICENSE", "requirements.txt", "pyproject.toml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        (out / name).write_text(
            text.replace(origin()[0], repository or origin()[0]), encoding="utf-8"
        )
    written = []
    for path in sorted(Path(sources).glob("*.ipynb")):
        notebook = student_version(nbformat.read(path, as_version=4))
        if repository:
            stamp(notebook, path.name, repository.rstrip("/"), "main")
        target = out / "notebooks" / path.name
        with written_whole(target) as whole:
            whole.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        written.append(target)
    (out / "README.md").write_text(_README, encoding="utf-8")
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
    arguments = parser.parse_args(arguments)
    written = release(arguments.out, repository=arguments.repository)
    print(f"{len(written)} notebooks in {arguments.out}; students start at its README.md")
    if not arguments.repository:
        print(
            f"In Colab they fetch {origin()[0]}, solutions included: --repository names another "
            "place."
        )
