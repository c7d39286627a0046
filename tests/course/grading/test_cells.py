"""Moving the controls of a notebook as a reader would."""

import json
import subprocess
import sys
from contextlib import nullcontext

from helpers.course.grading.cells import Cells

DEPENDENT = """
import ipywidgets
picture = ipywidgets.Dropdown(options=[0, 1], description="picture")
aim = ipywidgets.Dropdown(options=[("a", 5), ("b", 6)], description="class")
moved = []
picture.observe(lambda change: setattr(aim, "options", [("c", 7), ("d", 8)]), names="value")
aim.observe(lambda change: moved.append(change["new"]), names="value")
"""


def test_a_choice_that_another_control_took_away_is_not_made():
    cells = Cells(lambda seconds: nullcontext(), TimeoutError, 10)
    assert cells.run(DEPENDENT)["error"] is None
    assert cells.move_sliders()["error"] is None
    assert cells.namespace["picture"].value == 0 and 7 in cells.namespace["moved"]


def test_an_error_in_a_callback_names_the_control_and_the_move():
    cells = Cells(lambda seconds: nullcontext(), TimeoutError, 10)
    cells.run("import ipywidgets\nnoise = ipywidgets.IntSlider(0, 0, 5, description='noise')")
    cells.run("noise.observe(lambda change: 1 / 0, names='value')")
    assert cells.move_sliders()["error"].startswith("noise at 5: ZeroDivisionError")


FIGURES = {
    "png": ("import matplotlib.pyplot as plt\nplt.plot([1, 2])", ["image/png"]),
    "jpeg": (
        "import io\nfrom PIL import Image as I\nfrom IPython.display import Image\n"
        "f = io.BytesIO()\nI.new('RGB', (9, 9)).save(f, 'JPEG')\n"
        "display(Image(f.getvalue(), format='jpeg'))",
        ["image/jpeg"],
    ),
    "animated gif": (
        "import io\nfrom PIL import Image as I\nfrom IPython.display import Image\n"
        "f = io.BytesIO()\n"
        "frames = [I.new('P', (9, 9), i) for i in range(3)]\n"
        "frames[0].save(f, 'GIF', save_all=True, append_images=frames[1:])\n"
        "Image(f.getvalue(), format='gif')",
        ["image/gif"],
    ),
    "jshtml": (
        "from matplotlib.animation import FuncAnimation\nfrom IPython.display import HTML\n"
        "import matplotlib.pyplot as plt\nfigure = plt.figure(figsize=(1, 1))\n"
        "a = FuncAnimation(figure, lambda i: [], frames=5)\nplt.close()\nHTML(a.to_jshtml())",
        ["image/png"] * 3,
    ),
    "film": (
        "from IPython.display import HTML, Video\ndisplay(Video(b'x' * 99, embed=True, "
        "mimetype='video/mp4'))\n"
        "HTML('<video><source src=\"data:video/mp4;base64,AAAA\\nBBBB\"></video>')",
        ["video/mp4"] * 2,
    ),
    "400 dpi": (
        "import numpy as np, matplotlib.pyplot as plt\n"
        "plt.figure(figsize=(9, 6), dpi=400)\n"
        "plt.imshow(np.random.default_rng(0).random((2400, 3600)));",
        ["image/jpeg"],
    ),
    "seven": (
        "import matplotlib.pyplot as plt\nfor i in range(7):\n    plt.figure(figsize=(1, 1))\n"
        "    plt.plot([i])\n    plt.show()",
        ["image/png"] * 7,
    ),
    "widget": (
        "%matplotlib widget\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])",
        ["image/png"],
    ),
    "svg": (
        "import matplotlib.pyplot as plt\n%config InlineBackend.figure_format = 'svg'\n"
        "plt.plot([1, 2])",
        ["image/svg+xml"],
    ),
}


SHOW = """
import io, json, sys
from contextlib import nullcontext
from PIL import Image
from helpers.course.grading.cells import Cells

cells, told = Cells(lambda seconds: nullcontext(), TimeoutError, 10), {}
for name, source in json.loads(sys.argv[1]).items():
    shown = cells.run(source)
    for kind, picture in shown["pictures"]:
        if kind not in ("image/svg+xml", "video/mp4"):
            Image.open(io.BytesIO(picture)).load()
    told[name] = [shown["error"], [kind for kind, _ in shown["pictures"]]]
    assert all(len(picture) < 2**21 for _, picture in shown["pictures"]), name
print(json.dumps(told))
"""


def test_a_figure_reaches_the_marker():
    """In a process of its own, as in the sandbox: matplotlib belongs to one shell."""
    sources = json.dumps({name: source for name, (source, _) in FIGURES.items()})
    command = [sys.executable, "-W", "ignore", "-c", SHOW, sources]
    done = subprocess.run(command, capture_output=True, text=True)
    expected = {name: [None, kinds] for name, (_, kinds) in FIGURES.items()}
    assert json.loads(done.stdout) == expected, done.stderr
