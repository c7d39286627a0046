"""The notebooks on Integrated Gradients on real photographs; a file of its own, since a file's
tests share a process."""

import pytest
from photographs import NOTEBOOKS, runs_on_photographs

HERE = [path for path in NOTEBOOKS if path.stem.startswith("ig_")]


@pytest.mark.parametrize("path", HERE, ids=lambda path: path.stem)
def test_runs_on_photographs(path, tmp_path, real_network, photos):
    runs_on_photographs(path, tmp_path, photos)
