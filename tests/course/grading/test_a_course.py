"""A whole course, as docs/instructors.md says: changed, handed out, pushed, solved by four
students, handed in as Canvas and Moodle hand it over, graded, marked, graded again, given back."""

import ast
import csv
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile

import nbformat
import pytest
import yaml
from solutions import RIGHT

from helpers.course.release import ROOT

FIRST, SECOND = "smoothgrad_1_method", "captum_2_from_scratch"
SHELF = "captum_1_off_the_shelf"
PARTS = {"my_gradient": 6, "my_smoothgrad": 8, "figure": 4, "observation": 2}
PAGE = (ROOT / "docs" / "instructors.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", PAGE, flags=re.M | re.S)
SECTION = PAGE.split("## 9. ")[1].split("## 10. ")[0]
ENV = os.environ | {
    "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    **{f"GIT_{who}_NAME": "staff" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "staff@x.edu" for who in ("AUTHOR", "COMMITTER")},
}
FUNCTIONS = {
    each.name: ast.get_source_segment(RIGHT, each)
    for each in ast.parse(RIGHT).body
    if isinstance(each, ast.FunctionDef)
}
for name in ("get_gradient", "get_custom_integrated_gradients"):  # both call it
    FUNCTIONS[name] = f"{FUNCTIONS['predicted']}\n\n\n{FUNCTIONS[name]}"
FIGURE = """aims = logits_of(network, photos.pixels).argmax(1)
columns = {"gradient": my_gradient(network, photos.pixels, aims)}
figure, axes = plot_maps(photos.pixels, columns, how="unsigned")"""
UNCONVENTIONAL = {
    **FUNCTIONS,
    "my_gradient": """class Slope:
    def __call__(self, model, pixels, target):
        with torch.enable_grad():
            leaf = torch.nn.Parameter(pixels.detach().clone())
            picked = model(leaf)[torch.arange(len(leaf)), target]
            picked.backward(torch.ones_like(picked))
        return leaf.grad


my_gradient = Slope()""",
    "get_path": """def get_path(image, baseline, num_samples):
    steps = torch.linspace(0, 1, num_samples)
    return list(torch.stack([baseline * (1 - s) + image * s for s in steps]))""",
}
WRONG = FUNCTIONS | {
    "my_gradient": FUNCTIONS["my_gradient"].replace("return ", "return -"),
    "get_path": FUNCTIONS["get_path"].replace("num_samples - 1", "num_samples"),
}
STUDENTS = {"ada": FUNCTIONS, "bob": UNCONVENTIONAL, "cyd": WRONG, "dan": FUNCTIONS}


def run(command, folder, status=0):
    """What a shell command printed."""
    command = command.replace("make release ", "python -m helpers release ")
    done = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=ENV, capture_output=True, text=True
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def block(*words):
    """The one block of the documentation's commands that holds these words."""
    (found,) = [text for text in BLOCKS if all(word in text for word in words)]
    return found


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A clone whose course.toml an instructor changed."""
    clone = tmp_path_factory.mktemp("course") / "clone"
    ignored = shutil.ignore_patterns("__pycache__", "evidence", "study-*")
    for name in ("helpers", "data", "notebooks"):
        shutil.copytree(ROOT / name, clone / name, ignore=ignored)
    for name in ("LICENSE", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    file = clone / "notebooks" / "course.toml"
    text = file.read_text(encoding="utf-8")
    parts = ", ".join(f"{part} = {points}" for part, points in PARTS.items())
    text, first = re.subn(
        rf'(name = "{FIRST}".*?)^parts = .*?$',
        rf"\1due = 2027-02-01\nparts = {{ {parts} }}",
        text,
        count=1,
        flags=re.M | re.S,
    )
    text, second = re.subn(
        rf'(name = "{SECOND}".*?bonus = )0.85', r"\g<1>0.5", text, count=1, flags=re.S
    )
    text, gone = re.subn(
        r'\[\[notebook\]\]\nname = "ig_5_beyond_hiding".*?(?=\[\[)', "", text, flags=re.S
    )
    assert first == second == gone == 1
    file.write_text("late_days = 0\nlate_cost = 0.1\n" + text, encoding="utf-8")
    return clone


@pytest.fixture(scope="module")
def handout(course):
    """A fresh clone of the repository that the documentation's commands pushed."""
    bare = course.parent / "handout.git"
    run(f"git init -q --bare -b main {bare}", course)
    run(block("make release").replace("https://github.com/COURSE/HANDOUT.git", str(bare)), course)
    run(f"git clone -q {bare} handout", course.parent)
    return course.parent / "handout"


def solved(handout, functions, name, words="It is 0.36 against 0.30."):
    """The bytes of a notebook that a student filled in."""
    notebook = nbformat.read(handout / "notebooks" / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if "YOUR ANSWER HERE" in cell.source:
            cell.source = words
        elif cell.cell_type == "code" and "YOUR CODE HERE" in cell.source:
            asked = re.search(r"^def (\w+)", cell.source, flags=re.M)
            cell.source = functions[asked[1]] if asked else FIGURE
    return nbformat.writes(notebook).encode()


def zipped(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def table(path, key):
    with open(path, encoding="utf-8", newline="") as file:
        return {row[key]: row for row in csv.DictReader(file)}


def marked(path, given):
    """Type marks, student → task → (mark, remark), and save as a German Excel does."""
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    for row in rows:
        if (found := given.get(row["student"], {}).get(row["task"])) is not None:
            row["mark"], row["remark"] = found
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], delimiter=";")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode("cp1252"))


def test_the_handout_says_what_the_course_says(handout):
    read = nbformat.read(handout / "notebooks" / f"{FIRST}.ipynb", as_version=4)
    words = "\n".join(cell.source for cell in read.cells)
    assert "## 2. Write it (6 + 8 points)" in words and "Say it (2 points)" in words
    told = {cell.id: cell.metadata.nbgrader for cell in read.cells if "nbgrader" in cell.metadata}
    assert told["check-gradient"]["points"] == 6 and told["observation"]["points"] == 2
    text = (handout / "notebooks" / f"{SECOND}.ipynb").read_text(encoding="utf-8")
    assert "50 % of them, 6, gets the bonus point" in text
    names = {path.name for path in (handout / "notebooks").glob("*.ipynb")}
    assert len(names) == 17 and "ig_5_beyond_hiding.ipynb" not in names
    for path in (handout / "notebooks").glob("*.ipynb"):
        links = re.findall(r"\]\(([\w./-]+\.ipynb)\)", path.read_text(encoding="utf-8"))
        assert set(links) <= names, path.name


def checks(handout):
    """The commands of the handout's workflow, without those that install."""
    workflow = yaml.safe_load((handout / ".github/workflows/checks.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["checks"]["steps"] if "run" in step]
    return " && ".join(step for step in steps if not step.startswith("pip"))


@pytest.mark.slow
def test_its_workflow_passes_on_what_was_handed_out_and_on_what_was_solved(handout):
    assert "0 notebooks are begun" in run(checks(handout), handout)
    work = handout.parent / "ada"
    run(f"git clone -q {handout} {work}", handout)
    for name in (FIRST, SECOND):
        (work / "notebooks" / f"{name}.ipynb").write_bytes(solved(handout, FUNCTIONS, name))
    told = run(checks(handout), work)
    assert "14 of 14 points" in told and "12 of 12" in told and "100%: the bonus point" in told
    path = work / "notebooks" / f"{FIRST}.ipynb"
    path.write_bytes(solved(handout, WRONG, FIRST))
    assert "FAILED  my_gradient" in run(checks(handout), work, status=1)


@pytest.mark.slow
def test_the_solved_edition_gets_every_point_as_the_documentation_tries_it(course):
    told = run(block("build/trial"), course)
    assert "1 submissions graded; 2 marks are yours to give" in told
    assert table(course / "build/trial-grades/grades.csv", "student")["me"][FIRST] == "14"


@pytest.mark.slow
def test_from_a_canvas_download_to_what_is_given_back(course, handout):
    downloads, grades = course / "downloads", course / "build" / "grades"
    numbers = {name: 11111 * (i + 1) for i, name in enumerate(STUDENTS)}
    command = "python -m helpers grade downloads --out build/grades"

    def name(student, notebook, attachment, later=""):
        late = "LATE_" if student == "dan" else ""
        return f"{student}x_{late}{numbers[student]}_{attachment}_{notebook}{later}.ipynb"

    for archive, notebook in (("submissions", FIRST), ("submissions (1)", SECOND)):
        files = {
            name(student, notebook, 900001 + i): solved(handout, functions, notebook)
            for i, (student, functions) in enumerate(STUDENTS.items())
            if (student, notebook) != ("dan", SECOND)
        }
        zipped(downloads / f"{archive}.zip", files)
    told = run(command, course)
    assert "4 submissions graded; 8 marks are yours to give" in told
    got = table(grades / "grades.csv", "student")
    assert [got[f"{s}x"][FIRST] for s in STUDENTS] == ["14", "14", got["cydx"][FIRST], "12.6"]
    assert 8 <= float(got["cydx"][FIRST]) < 14, "one mistake costs its points once"
    assert [got[f"{s}x"][SECOND] for s in ("ada", "bob")] == ["12", "12"]
    assert got["danx"]["not handed in"] == SECOND
    assert [got[f"{s}x"]["Bonus points (of 1)"] for s in STUDENTS] == ["1", "1", "1", "0"]
    assert got["danx"]["days late"].startswith(f"{FIRST}: 1"), "Canvas says LATE, and no day"

    marked(
        grades / "marks.csv",
        {
            "adax": {"figure": ("4", "schön"), "observation": ("1,5", "")},
            "cydx": {"figure": ("2", ""), "observation": ("0", "says “always”")},
        },
    )
    assert "4 marks are yours to give" in run(command, course)
    got = table(grades / "grades.csv", "student")
    assert got["adax"][FIRST] == "19.5" and got["danx"][FIRST] == "12.6"

    again = {
        name("ada", FIRST, 900101, "-1"): solved(handout, FUNCTIONS, FIRST, "0.36, on scenes."),
        name("cyd", FIRST, 900103, "-2"): solved(handout, FUNCTIONS, FIRST),
    }
    zipped(downloads / "submissions (2).zip", again)
    run(command, course)
    got = table(grades / "grades.csv", "student")
    assert got["adax"][FIRST] == "19.5" and got["cydx"][FIRST] == "16"
    assert "observation: handed in anew since it was marked" in got["adax"]["problems"]
    assert "handed in anew" not in got["cydx"]["problems"], "the same words and figure"

    canvas = list(csv.reader((grades / "canvas.csv").open(encoding="utf-8", newline="")))
    assert canvas[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", FIRST, SECOND]
    assert canvas[1] == ["Points Possible", "", "", "", "", "20", "12"]
    assert canvas[2] == ["adax", "11111", "", "", "", "19.5", "12"]
    assert canvas[5] == ["danx", "44444", "", "", "", "12.6", ""]
    page = (grades / "feedback" / "adax.html").read_text(encoding="utf-8")
    assert "1.5 of 2" in page and "schön" in page and "cydx" not in page
    with zipfile.ZipFile(grades / "feedback.zip") as archive:
        assert "adax_11111_900101_feedback.html" in archive.namelist()
        assert "danx_LATE_44444_900004_feedback.html" in archive.namelist()
        assert archive.read("adax_11111_900101_feedback.html").decode("utf-8") == page

    places = SECTION.split("`build/grades/reference`")[0]
    told = {path.name for path in grades.iterdir()} - {"reference", "seed.json"}
    assert not [name for name in told if not re.search(rf"[`/]{re.escape(name)}`", places)], told
    for archive in downloads.glob("*.zip"):  # and a student is deleted
        with zipfile.ZipFile(archive) as opened:
            kept = {name: opened.read(name) for name in opened.namelist() if "cydx" not in name}
        zipped(archive, kept)
    shutil.rmtree(grades / "records" / "cydx")
    rows = (grades / "marks.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = "".join(row for row in rows if not row.startswith("cydx"))
    (grades / "marks.csv").write_text(kept, encoding="utf-8")
    assert "3 submissions graded" in run(command, course)
    files = [path for path in grades.rglob("*") if path.is_file() and path.suffix != ".zip"]
    assert not [path for path in files if "cydx" in str(path) or b"cydx" in path.read_bytes()]


@pytest.mark.slow
def test_from_a_moodle_download_to_what_is_given_back(course, handout):
    downloads = course / "moodle"
    for i, notebook in enumerate((SHELF, SECOND)):  # each assignment counts its participants anew
        files = {
            f"{who}_{500 + 100 * i + j}_assignsubmission_file_/{notebook}.ipynb": solved(
                handout, FUNCTIONS, notebook
            )
            for j, who in enumerate(("Ada Lovelace", "Zoë Brown"))
        }
        zipped(downloads / f"ML27-Part {i}-77{i}.zip", files)
    said = "pattern;email;group\nAda Lovelace_*;ada@x.edu;B\n"
    (downloads / "students.csv").write_bytes(said.encode("cp1252"))
    told = run("python -m helpers grade moodle --out build/moodle", course)
    assert "2 submissions graded" in told
    assert "not in moodle.csv, as their email is not known: Zoë Brown" in told
    got = table(course / "build/moodle/grades.csv", "student")
    assert [got[who][SHELF] for who in ("Ada Lovelace", "Zoë Brown")] == ["21", "21"]
    assert [got[who][SECOND] for who in ("Ada Lovelace", "Zoë Brown")] == ["12", "12"]
    with open(course / "build/moodle/moodle.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["Full name", "Email address", SHELF, SECOND],
        ["Ada Lovelace", "ada@x.edu", "21", "12"],
    ]
    with zipfile.ZipFile(course / "build/moodle/feedback.zip") as archive:
        ways = {f"Zoë Brown_{n}_assignfeedback_file_/feedback.html" for n in (501, 601)}
        assert ways <= set(archive.namelist())
