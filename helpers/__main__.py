"""The one door for commands: python -m helpers COMMAND [ARGUMENTS]; each explains itself with
--help."""

import sys
from importlib import import_module
from importlib.util import find_spec

COMMANDS = {
    "run": ("helpers.course.run", "re-execute the notebooks and write them as pages"),
    "explain": ("helpers.studies.maps", "write the maps of a folder of pictures to a store"),
    "studies": ("helpers.studies.compute", "compute the stored measurements again"),
    "train": (
        "helpers.benchmark.training",
        "draw the pictures and train the networks of the benchmark",
    ),
    "release": ("helpers.course.release", "write the students' edition"),
    "precheck": ("helpers.course.precheck", "run a notebook's visible checks before handing it in"),
    "grade": ("helpers.course.grade", "grade what was handed in"),
    "colab": ("helpers.course.colab", "write the repository's address into notebooks and README"),
}
"""Command → (the module with its ``main(arguments)``, imported when it is called; what it does)."""


def _is_here(module):
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its room is
        return False


def main(arguments):
    # The students' edition holds fewer modules, and so fewer commands.
    here = {name: told for name, told in COMMANDS.items() if _is_here(told[0])}
    command, *rest = arguments or ["--help"]
    if command in here:
        return import_module(here[command][0]).main(rest)
    lines = [f"  {name:10}{purpose}" for name, (_, purpose) in here.items()]
    usage = "\n".join(["usage: python -m helpers COMMAND [ARGUMENTS]", "", *lines])
    if command in ("-h", "--help"):
        print(usage)
        return 0
    print(f"unknown command {command!r}\n{usage}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
