"""The same notebooks on a real ImageNet network and real photographs, and off the shipped configuration."""

import nbformat
import pytest

from helpers.run import ROOT, run

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONG = ("smoothgrad_3_sample_count",)  # minutes on photographs: its references take hundreds of samples


def executed(path, out, parameters):
    (result,) = run([path], out, parameters, timeout=300)
    assert result["error"] is None, f"{path.name}: {result['error']}"
    return nbformat.read(out / path.name, as_version=4)


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in LONG)) for path in NOTEBOOKS]
)
def test_runs_on_photographs(path, tmp_path, real_network, photos):
    notebook = executed(path, tmp_path, {"MODEL": "squeezenet1_1", "IMAGES": str(photos), "N_PICTURES": 2})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("no masks" in output.get("text", "") for output in outputs), "says that the truth is not known here"
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("parameters", [{"MODEL": "scenes-shortcut"}, {"MODEL": "scenes-letters", "SEED": 3}], ids=str)
@pytest.mark.slow
def test_runs_on_the_other_embedded_networks(path, tmp_path, parameters):
    executed(path, tmp_path, parameters)
