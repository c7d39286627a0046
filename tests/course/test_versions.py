"""Clean environments of other versions, ipywidgets 7.7.1 as in Colab in both: the lowest that
requirements.txt admits, and Colab's torch beside the others of today. Every notebook runs to its
end in a fake Colab, and the tests pass. Takes several GB and some minutes each."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from environments import environment, pip
from test_colab import HERE, NOTEBOOKS, fake_colab  # noqa: F401

from helpers.course.colab import stamp
from helpers.course.run import ROOT

REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")
COLAB = {"torch": "2.11.*", "torchvision": "0.26.*", "ipywidgets": "7.7.1", "numpy": "2.*"}

pytestmark = pytest.mark.slow


def _colab():
    pinned = re.compile(rf"^({'|'.join(COLAB)})>=.*", re.MULTILINE)
    return pinned.sub(lambda line: f"{line[1]}=={COLAB[line[1]]}", REQUIREMENTS)


# Name → (what it holds, the Pythons that may hold it: the lowest torch has no newer wheels).
ENVIRONMENTS = {
    "lowest": (REQUIREMENTS.replace(">=", "=="), ("3.11", "3.12")),
    "colab": (_colab(), ("3.13",)),
}


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def python(request):
    """The environment's Python; captum is left out."""
    wanted, versions = ENVIRONMENTS[request.param]
    own = "{}.{}".format(*sys.version_info)
    names = [sys.executable if own == v else shutil.which(f"python{v}") for v in versions]
    for path in filter(None, names):
        if subprocess.run([path, "--version"], capture_output=True).returncode == 0:
            break
    else:
        pytest.skip(f"needs Python {' or '.join(versions)}, and none is on the path")
    return environment(request.param, re.sub("^captum.*", "", wanted, flags=re.MULTILINE), path)


def installed(python):
    """{package: version}"""
    code = (
        "import json, importlib.metadata as m; "
        "print(json.dumps({d.name: d.version for d in m.distributions()}))"
    )
    process = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(process.stdout)


@pytest.mark.parametrize("path", NOTEBOOKS.values(), ids=NOTEBOOKS)
def test_a_notebook_runs_to_its_end_in_colab_and_moves_no_package(
    python,
    path,
    fake_colab,  # noqa: F811
    tmp_path,
):
    pip(python, "uninstall", "--yes", "captum")
    before = installed(python)
    assert before["ipywidgets"] == "7.7.1"
    (tmp_path / "empty").mkdir()
    stamped = tmp_path / f"stamped-{path.name}"
    nbformat.write(stamp(nbformat.read(path, as_version=4), path.name, *HERE), stamped)
    command = [python, "-m", "papermill", stamped, tmp_path / path.name, "-k", "python3"]
    process = subprocess.run(
        [*map(str, command), "--cwd", str(tmp_path / "empty")],
        env=fake_colab,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    after = installed(python)
    assert after.pop("captum") and after == before


def test_the_tests_pass(python):
    """All but those in a browser: the JupyterLab of today does not show widgets of ipywidgets 7."""
    captum = re.search(r"^captum.*", REQUIREMENTS, re.MULTILINE)[0]
    pip(python, "install", captum.replace(">=", "==") if "lowest" in str(python) else captum)
    command = [python, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile", "-m", "not slow"]
    process = subprocess.run(
        [*map(str, command), "--ignore=tests/browser/test_browser.py"],
        cwd=ROOT,
        env={"OMP_NUM_THREADS": "1"} | os.environ,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout[-5000:]
