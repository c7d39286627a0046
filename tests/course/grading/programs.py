"""Fifty notebooks as students hand them in: right, unconventional, wrong, broken and hostile."""

import json

from submissions import SOLVED

SMOOTHGRAD = """def my_smoothgrad(model, pixels, target, fields, noise):
    total = torch.zeros_like(pixels)
    for field in fields:
        total += my_gradient(model, pixels + noise * field, target){}
    return total / len(fields)"""
SIGNATURE = "def my_smoothgrad(model, pixels, target, fields, noise):\n    "
RIGHT = SOLVED["solution-smoothgrad"]


def gradient(source):
    return {"solution-gradient": source}


def smooth(source):
    return {"solution-smoothgrad": source}


def body(source):
    return smooth(SIGNATURE + source.replace("\n", "\n    "))


def after(source):
    return smooth(f"{source}\n\n{RIGHT}")


def inside(source):
    return body(source + "\n" + RIGHT.split("\n", 1)[1].replace("\n    ", "\n").strip())


def without_names(cells):
    return [{**cell, "id": str(i), "metadata": {}} for i, cell in enumerate(cells)]


def backwards(cells):
    return [*cells[:4], *cells[:3:-1]]


def with_own_cells(cells):
    own = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": 7}
    helper = {**own, "id": "mine", "source": "def mean_of(maps):\n    return sum(maps) / len(maps)"}
    return [*cells[:4], helper, *cells[4:], {**own, "id": "x", "source": "%time 1 + 1\n!echo x"}]


def other_line_ends(cells):
    return [{**cell, "source": "".join(cell["source"]).replace("\n", "\r\n")} for cell in cells]


def large_outputs(cells):
    output = {"output_type": "stream", "name": "stdout", "text": "x" * 2**22}
    return [
        {**cell, "outputs": [output] * 2} if cell["cell_type"] == "code" else cell for cell in cells
    ]


# name → (changed cells, how its list of cells is changed, automatic points of 12)
RIGHT_ONES = {
    "as ours": {},
    "a loop": smooth(SMOOTHGRAD.format("")),
    "stacked": body(
        "return torch.stack([my_gradient(model, pixels + noise * f, target) for f in fields])"
        ".mean(dim=0)"
    ),
    "one batch": body(
        "n, points = len(fields), (pixels + noise * fields[:, None]).flatten(0, 1)\n"
        "return my_gradient(model, points, target.repeat(n)).view(n, *pixels.shape).mean(0)"
    ),
    "backward": gradient(
        "def my_gradient(model, pixels, target):\n"
        "    x = pixels.detach().clone().requires_grad_(True)\n"
        "    model(x)[torch.arange(len(x)), target].sum().backward()\n    return x.grad"
    ),
    "functional": gradient(
        "def my_gradient(model, pixels, target):\n"
        "    score = lambda x: model(x).gather(1, target[:, None]).sum()\n"
        "    return torch.func.grad(score)(pixels)"
    ),
    "jacobian": gradient(
        "from torch.autograd.functional import jacobian\n\n\n"
        "def my_gradient(model, pixels, target):\n"
        "    return jacobian(lambda x: model(x).gather(1, target[:, None]).sum(), pixels)"
    ),
    "lambda": smooth(
        "my_smoothgrad = lambda m, x, t, fields, s: sum(my_gradient(m, x + s * f, t) "
        "for f in fields) / len(fields)"
    ),
    "a class": smooth(
        "class Smooth:\n    def __call__(self, model, pixels, target, fields, noise):\n"
        "        maps = map(lambda f: my_gradient(model, pixels + noise * f, target), fields)\n"
        "        return torch.stack(tuple(maps)).mean(0)\n\n\nmy_smoothgrad = Smooth()"
    ),
    "partial": smooth(
        "from functools import partial\n\n\ndef blurred(how, model, pixels, target, fields, noise):"
        "\n    return how([my_gradient(model, pixels + noise * f, target) for f in fields])\n\n\n"
        "my_smoothgrad = partial(blurred, lambda maps: sum(maps) / len(maps))"
    ),
    "numpy": body(
        "import numpy as np\n"
        "maps = [my_gradient(model, pixels + noise * f, target).numpy() for f in fields]\n"
        "return torch.from_numpy(np.mean(maps, axis=0))"
    ),
    "double": gradient(
        "import copy\n\n\ndef my_gradient(model, pixels, target):\n"
        "    x = pixels.double().requires_grad_()\n    logits = copy.deepcopy(model).double()(x)\n"
        "    return torch.autograd.grad(logits.gather(1, target[:, None]).sum(), x)[0]"
    ),
    "running mean": body(
        "mean = 0 * pixels\nfor n, field in enumerate(fields, 1):\n"
        "    mean = mean + (my_gradient(model, pixels + noise * field, target) - mean) / n\n"
        "return mean"
    ),
    "weights": body(
        "maps = torch.stack([my_gradient(model, pixels + noise * f, target) for f in fields])\n"
        "return torch.einsum('f,fnchw->nchw', torch.full((len(maps),), 1 / len(maps)), maps)"
    ),
    "recursion": body(
        "g = my_gradient(model, pixels + noise * fields[0], target)\nn = len(fields)\n"
        "rest = my_smoothgrad(model, pixels, target, fields[1:], noise) if n > 1 else 0\n"
        "return (g + (n - 1) * rest) / n"
    ),
    "letters": body(
        "σ, größe = noise, len(fields)\n"
        "return sum(my_gradient(model, pixels + σ * ε, target) for ε in fields) / größe  # ∑"
    ),
    "decorated": gradient(
        "@torch.enable_grad()\n" + SOLVED["solution-gradient"].replace("    ### BEGIN", "    # ###")
    ),
    "given away": after("my_own_notes = 'θ' * 1000\nprint(my_own_notes)"),
}
CHANGED = {
    "without names": ({}, without_names, 12),
    "backwards": ({}, backwards, 12),
    "own cells": (
        body("return mean_of([my_gradient(model, pixels + noise * f, target) for f in fields])"),
        with_own_cells,
        12,
    ),
    "line ends": ({}, other_line_ends, 12),
    "outputs": ({}, large_outputs, 12),
}
WRONG = {
    "absolute": (smooth(SMOOTHGRAD.format(".abs()")), 5),
    "over noise": (smooth(SMOOTHGRAD.format(" / noise")), 5),
    "sum": (smooth(SMOOTHGRAD.format("").replace(" / len(fields)", "")), 5),
    "pixels": (gradient("def my_gradient(model, pixels, target):\n    return pixels"), 8),
    "half": (smooth("raise NotImplementedError()"), 4),
    "nothing": (dict.fromkeys(SOLVED, "raise NotImplementedError()"), 0),
    "syntax": (smooth("def my_smoothgrad(:"), 4),
    "indented": (smooth(RIGHT.replace("    return", "  return\n      return")), 4),
    "none": (body("sum(fields)"), 4),
    "a list": (body("return [1, 2, 3]"), 4),
    "words": (body("return 'smooth'"), 4),
    "shape": (body("return pixels.mean(0)"), 4),
    "not a number": (body("return pixels / 0 * 0"), 4),
    "arguments": (smooth("def my_smoothgrad(model, pixels):\n    return pixels"), 4),
    "the helper": (
        body("from helpers import smoothgrad\nreturn smoothgrad(model, pixels, target)"),
        4,
    ),
    "raises": (body("raise KeyError('\\ud800')"), 4),
    "deep": (body("return my_smoothgrad(model, pixels, target, fields, noise)"), 4),
}
HOSTILE = {
    "exits": (after("import os\nos._exit(1)"), 4),
    "exits late": (inside("import os\nos._exit(0)"), 4),
    "loops": (inside("while True: pass"), 4),
    "memory": (after("x = bytearray(50 * 2**30)"), 4),
    "kills": (inside("import os\nos.kill(os.getpid(), 9)"), 4),
    "deletes": (after("import shutil\nshutil.rmtree('/', ignore_errors=True)"), 12),
    "prints": (after("for _ in range(100): print('x' * 2**22)"), 12),
    "crashes": (inside("import ctypes\nctypes.string_at(0)"), 4),
    "sleeps": (inside("import time\ntime.sleep(10**6)"), 4),
    "lies": (
        inside(
            "import gc\nfor line in gc.get_objects():\n    if type(line).__name__ == 'Line':\n"
            "        line._outgoing.write(b'\\xff' * 100)\n        line._outgoing.flush()"
        ),
        4,
    ),
    "fills": (
        after(
            "try:\n    for i in range(100): open(f'{i}', 'wb').write(bytes(2**20))\n"
            "except OSError as error: print(error)"
        ),
        12,
    ),
}
PROGRAMS = (
    {name: (changes, None, 12) for name, changes in RIGHT_ONES.items()}
    | CHANGED
    | {name: (changes, None, points) for name, (changes, points) in (WRONG | HOSTILE).items()}
)
NO_NOTEBOOKS = {"no JSON": "no JSON", "empty": "", "a list": json.dumps([1, 2])}
"""Not graded: nobody knows what their points are."""
HANDED_IN_AS = (  # by whatever course system; {} is the student
    "{}_smoothgrad_1_method.ipynb",
    "{}/smoothgrad_1_method.ipynb",
    "{}_12345_67890_smoothgrad_1_method-1.ipynb",
    "{}_1234_assignsubmission_file_/smoothgrad_1_method (3).ipynb",
    "ps1_{}_attempt_2027-02-01-11-00-00_smoothgrad_1_method.ipynb",
    "12345-67890 - {} - Jan 15, 2027 1230 PM/SmoothGrad 1 Method (2).IPYNB",
)
