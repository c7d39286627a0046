"""What all grading tests share."""

import pytest
from submissions import make_source

from helpers.course.grading.sandbox import Limits


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("source") / "smoothgrad_1_method.ipynb")


# So small that what a hostile submission gets hold of is nothing to this machine.
SMALL = Limits(
    cell=2,
    idle=6,
    wall=3600,
    cpu=40,
    memory=1400 * 2**20,
    disk=32 * 2**20,
    file=8 * 2**20,
    processes=40,
)


@pytest.fixture(scope="session")
def small_limits():
    return SMALL
