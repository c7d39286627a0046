"""A source notebook that starts fast, and submissions made from it."""

import json
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

SOLVED = {
    "solution-gradient": """def my_gradient(model, pixels, target):
    ### BEGIN SOLUTION
    pixels = pixels.clone().requires_grad_()
    return torch.autograd.grad(model(pixels).gather(1, target[:, None]).sum(), pixels)[0]
    ### END SOLUTION""",
    "solution-smoothgrad": """def my_smoothgrad(model, pixels, target, fields, noise):
    ### BEGIN SOLUTION
    return sum(my_gradient(model, pixels + noise * field, target) for field in fields) / len(fields)
    ### END SOLUTION""",
    "figure": """### BEGIN SOLUTION
figure, ax = plt.subplots(figsize=(1, 1))
ax.imshow(my_gradient(model, pixels, target)[0].abs().sum(0))
### END SOLUTION""",
    "observation": "**Observation.** It is smoother: 1.95 against 2.40.",
}


def _cell(id, source, *, points=None, solution=False, tags=(), new=new_code_cell):
    cell = new(source)
    cell["id"], cell.metadata["tags"] = id, list(tags)
    if solution or points is not None:
        cell.metadata["nbgrader"] = {
            "grade": points is not None,
            "grade_id": id,
            "locked": not solution,
            "schema_version": 3,
            "solution": solution,
            "task": False,
        } | ({"points": points} if points else {})
    return cell


def make_source(path):
    """A solved smoothgrad_1_method.ipynb in few lines."""
    cells = [
        _cell("title", "# SmoothGrad 1: the method", new=new_markdown_cell),
        _cell("bootstrap", "from pathlib import Path\nassert Path('../helpers').is_dir()"),
        _cell("parameters", "MODEL = 'scenes'\nIMAGES = None\nSEED = 0\nN_PICTURES = 40"),
        _cell(
            "imports",
            "import matplotlib.pyplot as plt\nimport torch\n\n"
            "from helpers import check, load_model\n\n"
            "model = load_model(MODEL)\npixels = torch.rand(2, 3, 32, 32)\n"
            "target = torch.tensor([1, 2])",
        ),
        _cell("solution-gradient", SOLVED["solution-gradient"], solution=True, tags=["solution"]),
        _cell(
            "check-gradient",
            "my_gradient = check('my_gradient')",
            points=4,
        ),
        _cell(
            "solution-smoothgrad", SOLVED["solution-smoothgrad"], solution=True, tags=["solution"]
        ),
        _cell(
            "check-smoothgrad",
            "assert N_PICTURES < 40, 'the grading profile is small'\n"
            "my_smoothgrad = check('my_smoothgrad')",
            points=8,
        ),
        _cell("figure", SOLVED["figure"], solution=True, tags=["solution"], points=4),
        _cell("measured", "print('total variation 1.95')", tags=["nbval-check-output"]),
        _cell("observation", SOLVED["observation"], solution=True, points=4, new=new_markdown_cell),
    ]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(
        new_notebook(
            cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        ),
        path,
    )
    return path


def submission(source, path, changes=None, *, edit=None):
    """A copy of a source notebook with other text in some cells (id → source); ``edit`` changes the
    list of cells."""
    notebook = json.loads(Path(source).read_text())
    for cell in notebook["cells"]:
        cell["source"] = (changes or {}).get(cell["id"], cell["source"])
    if edit is not None:
        notebook["cells"] = edit(notebook["cells"])
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(notebook))
    return Path(path)
