"""The assignments on a real ImageNet network and real photographs, and on other networks of the
benchmark."""

import sys

import matplotlib.pyplot as plt
import nbformat
import pytest
from photographs import NOTEBOOKS, executed, on_photographs, runs_on_photographs

import helpers.benchmark.models
from helpers.course.run import ROOT

SIZE = 40
"""Of the photographs in `make test`, in pixels: a gradient there takes a fifteenth of the time that
it takes at 224."""
FEW = ("00_start_here", "smoothgrad_5_aggregation", "ig_2_baseline", "ig_4_hiding")
"""Of each kind one; the others in `make test-all`."""
LARGE = ("ig_5_beyond_hiding",)  # on pictures this small a map of random layers may be all zeros
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def small_pictures(monkeypatch, real_network):
    """Networks of torchvision ask for pictures of ``SIZE``; they take any."""
    load = helpers.benchmark.models.load_model

    def load_small(name, **options):
        model = load(name, **options)
        model.input_size = min(model.input_size, SIZE)
        return model

    monkeypatch.setattr(helpers.benchmark.models, "load_model", load_small)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stem in FEW else pytest.mark.slow, id=path.stem)
        for path in NOTEBOOKS
        if path.stem not in LARGE
    ],
)
def test_runs_on_small_photographs(path, small_pictures, photos, monkeypatch, capsys, recwarn):
    """Every cell in this process, without a kernel's start and imports."""
    monkeypatch.chdir(ROOT / "notebooks")
    monkeypatch.setattr(sys, "path", list(sys.path))
    space = {"__name__": "__main__"}
    with plt.rc_context():
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, f"cell {cell.id}", "exec"), space)
            if cell.get("id") == "parameters":
                space |= on_photographs(path, photos)
    assert plt.get_fignums()
    plt.close("all")
    assert not capsys.readouterr().err
    assert not [
        str(each.message) for each in recwarn if each.category in (UserWarning, RuntimeWarning)
    ]


@pytest.mark.slow
@each_notebook
def test_runs_on_photographs(path, tmp_path, real_network, photos):
    runs_on_photographs(path, tmp_path, photos)


@pytest.mark.slow
@each_notebook
@pytest.mark.parametrize(
    "parameters", [{"MODEL": "scenes-shortcut"}, {"MODEL": "scenes-letters", "SEED": 3}], ids=str
)
def test_runs_on_the_other_embedded_networks(path, tmp_path, parameters):
    executed(path, tmp_path, parameters)
