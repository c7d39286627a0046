"""An assignment on a real ImageNet network and real photographs, few and small."""

import nbformat

from helpers.course.run import ROOT, run

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL = {
    "N_PICTURES": 2,
    "N_MEASURED": 3,
    "N_SAMPLES": 4,
    "N_STEPS": 8,
    "STEPS": [5, 10, 20],
}


def on_photographs(path, photos):
    """The notebook's parameters for a run on photographs."""
    (given,) = (
        cell.source
        for cell in nbformat.read(path, as_version=4).cells
        if cell.get("id") == "parameters"
    )
    sizes = {name: value for name, value in SMALL.items() if f"\n{name} = " in given}
    return {"MODEL": "squeezenet1_1", "IMAGES": str(photos)} | sizes


def executed(path, out, parameters):
    (result,) = run([path], out, parameters)
    assert result["error"] is None, f"{path.name}: {result['error']}"
    return nbformat.read(out / path.name, as_version=4)


def runs_on_photographs(path, out, photos):
    """In a kernel of its own, on pictures of the size that the network was trained on."""
    notebook = executed(path, out, on_photographs(path, photos))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(
        output.output_type == "error" or output.get("name") == "stderr" for output in outputs
    )
