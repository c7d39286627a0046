"""A clean environment of the lowest versions that requirements.txt admits, ipywidgets 7.7.1 as in
Colab among them: every notebook runs to its end in a fake Colab, and the tests pass. Takes several
GB and some minutes."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from environments import environment, pip
from test_colab import NOTEBOOKS, fake_colab  # noqa: F401

from helpers.course.run import ROOT

REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lowest():
    """The environment's Python; captum is left out."""
    # The lowest torch has no wheels for a newer Python than 3.12.
    names = ("python3.10", "python3.11", "python3.12")
    found = (
        [sys.executable]
        if sys.version_info < (3, 13)
        else [path for name in names if (path := shutil.which(name))]
    )
    if not found:
        pytest.skip(f"the lowest torch needs one of {', '.join(names)}, and none is on the path")
    return environment(
        "lowest",
        re.sub("^captum.*", "", REQUIREMENTS.replace(">=", "=="), flags=re.MULTILINE),
        found[0],
    )


def installed(python):
    """{package: version}"""
    code = "import json, importlib.metadata as m; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    return json.loads(
        subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end_in_colab_and_moves_no_package(
    path, lowest, fake_colab, tmp_path
):  # noqa: F811
    pip(lowest, "uninstall", "--yes", "captum")
    before = installed(lowest)
    assert before["ipywidgets"] == "7.7.1"
    (tmp_path / "empty").mkdir()
    command = [
        lowest,
        "-m",
        "papermill",
        path,
        tmp_path / path.name,
        "-k",
        "python3",
        "--cwd",
        tmp_path / "empty",
    ]
    process = subprocess.run(
        list(map(str, command)), env=fake_colab, capture_output=True, text=True, timeout=1800
    )
    assert process.returncode == 0, process.stderr[-3000:]
    after = installed(lowest)
    assert after.pop("captum") and after == before


def test_the_tests_pass_with_the_lowest_versions(lowest):
    """All but those in a browser: the JupyterLab of today does not show widgets of ipywidgets 7."""
    captum = re.search(r"^captum.*", REQUIREMENTS, re.MULTILINE)[0]
    pip(lowest, "install", captum.replace(">=", "=="))
    command = [lowest, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile", "-m", "not slow"]
    command = [*map(str, command), "--ignore=tests/browser/test_browser.py"]
    process = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=7200,
    )
    assert process.returncode == 0, process.stdout[-5000:]
