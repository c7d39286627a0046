"""Clean environments beside this one, kept in build/ for as long as what they were asked to hold
stays the same."""

import subprocess
import sys

from helpers.course.run import ROOT


def pip(python, *arguments):
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    process = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def environment(name, wanted, python=sys.executable):
    """The Python of build/NAME, which holds the requirements in the text ``wanted``; made by
    ``python``."""
    folder = ROOT / "build" / name
    own, ready = folder / "bin" / "python", folder / "wanted.txt"
    if not ready.is_file() or ready.read_text(encoding="utf-8") != wanted:
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
        asked = folder / "asked.txt"
        asked.write_text(wanted, encoding="utf-8")
        pip(own, "install", "-r", asked)
        asked.rename(ready)
    return own
