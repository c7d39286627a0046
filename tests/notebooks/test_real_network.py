"""The same notebooks on a real ImageNet network and real photographs, and off the shipped
configuration."""

import pytest
from photographs import NOTEBOOKS, executed, runs_on_photographs

LONG = (
    "smoothgrad_3_sample_count",
)  # minutes on photographs: its references take hundreds of samples
HERE = [path for path in NOTEBOOKS if not path.stem.startswith("ig_")]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in LONG))
        for path in HERE
    ],
)
def test_runs_on_photographs(path, tmp_path, real_network, photos):
    runs_on_photographs(path, tmp_path, photos)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "parameters", [{"MODEL": "scenes-shortcut"}, {"MODEL": "scenes-letters", "SEED": 3}], ids=str
)
@pytest.mark.slow
def test_runs_on_the_other_embedded_networks(path, tmp_path, parameters):
    executed(path, tmp_path, parameters)
