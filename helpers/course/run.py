"""Re-execute the notebooks and write them as pages.

python -m helpers run                                   # all of them, to build/
python -m helpers run --model resnet50 --images mine    # on another network and other pictures
python -m helpers run --in-place                        # refresh the outputs that are committed
"""

import argparse
import html
import os
import re
import sys
import tempfile
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import papermill
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import integrated_gradients
from helpers.attribution.smoothgrad import smoothgrad
from helpers.benchmark.images import SOURCES, load_images
from helpers.benchmark.models import DATA, load_model
from helpers.course.colab import ROOT, name_of, stamp
from helpers.display.plotting import color_limits, outline, reduced, show_map, show_pixels
from helpers.evaluate import logits_of
from helpers.files import written_whole

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:3rem auto;padding:0 1rem}"
    "td{padding:.3rem 1rem .3rem 0}"
)


def run(notebooks, out, parameters=None, *, timeout=None) -> list[dict]:
    """Execute each notebook into ``out`` as .ipynb and .html, whether it fails or not, and write an
    index page.

    Args:
        notebooks: paths.
        out: a folder.
        parameters: values for the ``parameters`` cell, e.g. {"MODEL": "resnet50"}.
        timeout: seconds for a cell; None for no limit.

    Returns:
        for each notebook {"name", "title", "page", "seconds", "error"}; page is None where nothing
        could be executed, error is None, or says which cell failed and how.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    results = []
    with tqdm(notebooks, desc="notebooks", file=sys.stderr) as bar:
        for path in map(Path, bar):
            bar.set_postfix_str(path.stem)
            start, error = time.monotonic(), None
            target = out / path.name
            if not (target.exists() and target.samefile(path)):
                target.unlink(missing_ok=True)  # of an earlier run
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # papermill and nbformat on their own deprecations
                try:
                    # From the notebook's own folder, as Jupyter would, so that its relative paths
                    # mean the same.
                    papermill.execute_notebook(
                        str(path),
                        str(target),
                        parameters=parameters or {},
                        cwd=str(path.parent),
                        kernel_name="python3",
                        language="python",
                        progress_bar=False,
                        extra_arguments=["--log-level=ERROR"],
                        execution_timeout=timeout,
                    )
                except PapermillExecutionError as failure:
                    error = f"cell [{failure.exec_count}]: {failure.ename}: {failure.evalue}"
                except Exception as failure:  # a kernel that died, a notebook that is no notebook
                    error = f"{_running_cell(target)}{type(failure).__name__}: {failure}"
            title, page = path.stem, None
            if target.is_file():
                page = target.with_suffix(".html")
                notebook = tidy(nbformat.read(target, as_version=4))
                title = next(
                    (
                        c.source.splitlines()[0].lstrip("# ")
                        for c in notebook.cells
                        if c.source.startswith("# ")
                    ),
                    title,
                )
                _write(target, nbformat.writes(notebook) + "\n")
                _write(page, to_html(notebook, title))
            results.append(
                {
                    "name": path.stem,
                    "title": title,
                    "page": page and page.name,
                    "seconds": time.monotonic() - start,
                    "error": error,
                }
            )
    _write(out / "index.html", _index(results, parameters))
    return results


def tidy(notebook):
    """Drop what only a live kernel can show (the widgets' state and views; their text stays) and
    what papermill adds; join what was printed in one go, which a kernel cuts into pieces by the
    clock: the pieces would tear tables apart."""
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {k: v for k, v in cell.metadata.items() if k not in ("papermill", "execution")}
        )
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


def to_html(notebook, title) -> str:
    """A page that needs no network: in place of a picture from elsewhere, such as a badge, stand
    its words."""
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="")
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    return re.sub(r'<img alt="([^"]*)" src="https?:[^>]*>', r"\1", page)


def write_overview(path):
    """The picture at the top of the README: two scenes beside two photographs, explained by the
    same three methods."""
    methods = {
        "gradient": saliency,
        "SmoothGrad": smoothgrad,
        "Integrated\nGradients": integrated_gradients,
    }
    halves = {
        "scenes: the truth is outlined": ("scenes", load_images("scenes", 2)),
        # the rocket and the cup, both in the public domain
        "photographs: the truth is not known": (
            "efficientnet_lite0",
            load_images("photos")[[2, 1]],
        ),
    }
    figure = plt.figure(figsize=(12.8, 4.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    for half, (title, (name, images)) in zip(
        figure.subfigures(1, 2, wspace=0.02), halves.items(), strict=True
    ):
        half.suptitle(title, fontsize=20)
        model = load_model(name, device="cpu")
        masks, answers = images.masks.get(model.part), logits_of(model, images.pixels).argmax(1)
        axes = half.subplots(len(images), 1 + len(methods))
        for ax, pixels, answer in zip(axes[:, 0], images.pixels, answers, strict=True):
            show_pixels(ax, pixels)
            ax.set_title(f"“{model.classes[answer]}”", fontsize=17)
        for column, (title, method) in zip(axes.T[1:], methods.items(), strict=True):
            values = reduced(method(model, images.pixels), "unsigned")
            column[0].set_title(title, fontsize=17)
            for row, limit in enumerate(color_limits(values[:, None])[:, 0]):
                show_map(column[row], values[row], limit, "unsigned")
                if masks is not None:
                    outline(column[row], masks[row])
    with written_whole(path) as whole:
        figure.savefig(whole, dpi=90)
    plt.close(figure)


def _write(path, text):
    with written_whole(path) as whole:
        whole.write_text(text, encoding="utf-8")


def _running_cell(target):
    """Which cell was at work when the kernel died: the last that papermill has a time for. Nothing
    where none was."""
    cells = nbformat.read(target, as_version=4).cells if target.is_file() else []
    codes = [cell.metadata.get("papermill", {}) for cell in cells if cell.cell_type == "code"]
    begun = sum(bool(times.get("start_time")) for times in codes)
    return f"cell [{begun}]: " if begun else ""


def _index(results, parameters):
    def link(result):
        title = html.escape(result["title"])
        return f'<a href="{html.escape(result["page"])}">{title}</a>' if result["page"] else title

    rows = "".join(
        f"<tr><td>{link(r)}</td><td>{r['seconds']:.0f} s</td>"
        f"<td>{'ok' if r['error'] is None else html.escape(r['error'])}</td></tr>"
        for r in results
    )
    said = (
        ", ".join(f"{k} = {v!r}" for k, v in (parameters or {}).items())
        or "the embedded networks and pictures"
    )
    return (
        f'<!doctype html><meta charset="utf-8"><title>Notebooks</title><style>{_STYLE}</style>'
        "<h1>Notebooks</h1>"
        f"<p>Executed with {html.escape(said)}.</p><table>{rows}</table>"
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m helpers run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebooks", nargs="*", help="default: all in notebooks/")
    parser.add_argument("--model", help="value for MODEL: a name for load_model")
    parser.add_argument("--images", help="value for IMAGES: a source or a folder for load_images")
    parser.add_argument("--seed", type=int, help="value for SEED")
    parser.add_argument(
        "--out", default=ROOT / "build", help="folder for the pages (default: build/)"
    )
    parser.add_argument(
        "--in-place", action="store_true", help="write the outputs back into the notebooks instead"
    )
    arguments = parser.parse_args(arguments)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebooks = [Path(path) for path in arguments.notebooks] or sorted(
        (ROOT / "notebooks").glob("*.ipynb")
    )
    missing = [str(path) for path in notebooks if not path.is_file()]
    if missing or not notebooks:
        parser.error(f"no such notebook: {', '.join(missing) or ROOT / 'notebooks'}")
    images = arguments.images
    if images and images not in SOURCES and Path(images).expanduser().exists():
        images = str(Path(images).expanduser().resolve())  # the notebooks run in their own folder
    chosen = {"MODEL": arguments.model or None, "IMAGES": images or None, "SEED": arguments.seed}
    parameters = {name: value for name, value in chosen.items() if value is not None}
    if arguments.in_place and parameters:
        parser.error(
            "--in-place refreshes what is committed, which is the shipped configuration: leave the "
            "parameters out"
        )
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if arguments.in_place else Path(arguments.out)
        results = run(notebooks, out, parameters)
        failed = [result for result in results if result["error"]]
        if arguments.in_place and not failed:
            for path in notebooks:
                notebook = stamp(nbformat.read(out / path.name, as_version=4), name_of(path))
                _write(path, nbformat.writes(notebook) + "\n")
            if not arguments.notebooks:
                write_overview(DATA / "overview.png")
    for result in results:
        print(
            f"{'FAILED' if result['error'] else 'ok':6}  {result['seconds']:5.0f} s  "
            f"{result['name']}"
        )
        if result["error"]:
            print(f"        {result['error']}")
    where = "in place" if arguments.in_place else f"open {Path(arguments.out) / 'index.html'}"
    print(
        f"{len(results) - len(failed)} of {len(results)} notebooks ran to the end; "
        + ("" if failed and arguments.in_place else where)
    )
    sys.exit(1 if failed else 0)
