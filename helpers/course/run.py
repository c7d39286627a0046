"""Re-execute the notebooks and build the site from them.

python -m helpers run                                   # the assignments, to build/site
python -m helpers run --all                             # and the evidence behind them
python -m helpers run --model resnet50 --images mine    # on another network and other pictures
python -m helpers run --in-place notebooks/NAME.ipynb   # refresh the outputs that are committed
"""

import argparse
import io
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import nbformat
import papermill
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from helpers.course.colab import ROOT, name_of, stamp
from helpers.files import written_whole

OVERVIEW = ROOT / "data" / "overview.png"


def run(notebooks, out, parameters=None, *, frames=None) -> list[dict]:
    """Execute each notebook into ``out``, whether it fails or not; in processes of their own, as
    many at a time as there are cores, four at most, with one thread each unless ``OMP_NUM_THREADS``
    says otherwise.

    Args:
        notebooks: paths.
        out: a folder; a notebook goes where it lies in notebooks/, another one beside them.
        parameters: values for the ``parameters`` cell, e.g. {"MODEL": "resnet50"}.
        frames: True or False whether panels leave frames that move without a kernel; None: those
            of evidence pages alone, as it is committed.

    Returns:
        for each notebook, in the order given, {"name": where it lies, "path": the executed copy,
        "seconds", "error"}; path is None where nothing could be executed, error is None, or says
        which cell failed and how.
    """
    out, notebooks = Path(out), [Path(path) for path in notebooks]
    jobs = min(os.cpu_count() or 1, 4)
    results = {}
    with (
        # A fresh process, because one that forks while libraries hold threads may hang.
        ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool,
        tqdm(total=len(notebooks), desc="notebooks", file=sys.stderr) as bar,
    ):
        begun = {}
        for path in notebooks:
            name = name_of(path)
            moving = frames if frames is not None else name.startswith("evidence/")
            work = (path, out / name, parameters or {}, moving)
            begun[pool.submit(_execute, *work)] = path
        for done in as_completed(begun):
            path = begun[done]
            bar.set_postfix_str(path.stem)
            bar.update()
            try:
                results[path] = done.result()
            except Exception as failure:  # the process itself died
                results[path] = _result(path, None, 0.0, f"{type(failure).__name__}: {failure}")
    return [results[path] for path in notebooks]


def _execute(path, target, parameters, frames):
    """One notebook, in a process that does nothing else meanwhile: it sets the environment and the
    folder that the kernel starts in."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    os.environ.pop("HELPERS_FRAMES", None)
    if frames:
        os.environ["HELPERS_FRAMES"] = "1"
    target.parent.mkdir(parents=True, exist_ok=True)
    target, start, error = target.resolve(), time.monotonic(), None
    if not (target.exists() and target.samefile(path)):
        target.unlink(missing_ok=True)  # of an earlier run
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # papermill and nbformat on their own deprecations
        try:
            # From its own folder, as Jupyter would, so that its relative paths mean the same.
            papermill.execute_notebook(
                str(path.resolve()),
                str(target),
                parameters=parameters,
                cwd=str(path.resolve().parent),
                kernel_name="python3",
                language="python",
                progress_bar=False,
                extra_arguments=["--log-level=ERROR"],
            )
        except PapermillExecutionError as failure:
            error = f"cell [{failure.exec_count}]: {failure.ename}: {failure.evalue}"
        except Exception as failure:  # a kernel that died, a notebook that is no notebook
            error = f"{_running_cell(target)}{type(failure).__name__}: {failure}"
        written = target.is_file()
        if written:
            _save(tidy(nbformat.read(target, as_version=4)), target)
    return _result(path, target if written else None, time.monotonic() - start, error)


def _result(path, written, seconds, error):
    return {"name": name_of(path), "path": written, "seconds": seconds, "error": error}


def tidy(notebook):
    """Drop what only a live kernel can show (the widgets' state and views; their text stays) and
    what papermill adds; join what was printed in one go, which a kernel cuts into pieces by the
    clock: the pieces would tear tables apart."""
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        for added in ("papermill", "execution"):
            cell.metadata.pop(added, None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


def overview():
    """The picture at the top of the README: two photographs and a scene, explained by SmoothGrad
    with more and more noise. A figure that says in words what is seen."""
    import matplotlib.pyplot as plt
    import torch
    from torch.nn import functional

    from helpers.attribution.smoothgrad import smoothgrad
    from helpers.benchmark.images import load_images
    from helpers.benchmark.models import load_model
    from helpers.display.plotting import color_limits, reduced, show_map, show_pixels
    from helpers.evaluate import logits_of

    model = load_model("efficientnet_lite0", device="cpu")
    # the rocket and the cup, both in the public domain
    photos = load_images("photos")[[2, 1]].pixels
    scene = functional.interpolate(
        load_images("scenes", 1).pixels, photos.shape[-2:], mode="bilinear", antialias=True
    )
    pixels, strengths = torch.cat([photos, scene]), (0.0, 0.02, 0.05, 0.15, 0.3)
    target = logits_of(model, pixels).argmax(1)
    figure, axes = plt.subplots(
        len(pixels), 1 + len(strengths), figsize=(12.8, 6.9), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for ax, picture in zip(axes[:, 0], pixels, strict=True):
        show_pixels(ax, picture)
    axes[0, 0].set_title("picture", fontsize=17)
    for column, strength in zip(axes.T[1:], strengths, strict=True):
        n = 50 if strength else 1
        values = reduced(smoothgrad(model, pixels, target, noise=strength, n_samples=n), "unsigned")
        column[0].set_title(f"noise {strength:.0%}" if strength else "no noise", fontsize=17)
        for row, limit in enumerate(color_limits(values[:, None])[:, 0]):
            show_map(column[row], values[row], limit, "unsigned")
    return figure


def write_overview(path=OVERVIEW):
    """``overview`` as a file, in 256 colours: a third of the size, and no eye sees it."""
    import matplotlib.pyplot as plt
    from PIL import Image

    figure, drawn = overview(), io.BytesIO()
    figure.savefig(drawn, dpi=80)
    plt.close(figure)
    with written_whole(path) as whole, Image.open(drawn) as image:
        image.convert("RGB").quantize(256).save(whole, "PNG", optimize=True)


def _save(notebook, path):
    with written_whole(path) as whole:
        whole.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _running_cell(target):
    """Which cell was at work when the kernel died: the last that papermill has a time for. Nothing
    where none was."""
    cells = nbformat.read(target, as_version=4).cells if target.is_file() else []
    codes = [cell.metadata.get("papermill", {}) for cell in cells if cell.cell_type == "code"]
    begun = sum(bool(times.get("start_time")) for times in codes)
    return f"cell [{begun}]: " if begun else ""


def _images(given):
    """The notebooks run in their own folder: a path is made absolute, a source's name is left."""
    from helpers.benchmark.images import SOURCES

    path = Path(given).expanduser()
    return str(path.resolve()) if given not in SOURCES and path.exists() else given


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m helpers run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebooks", nargs="*", help="default: all assignments, in notebooks/")
    parser.add_argument("--all", action="store_true", help="the evidence notebooks too")
    parser.add_argument("--model", help="value for MODEL: a name for load_model")
    parser.add_argument("--images", help="value for IMAGES: a source or a folder for load_images")
    parser.add_argument("--seed", type=int, help="value for SEED")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build", help="folder for the site (default: build/)"
    )
    parser.add_argument(
        "--in-place", action="store_true", help="write the outputs back into the notebooks instead"
    )
    arguments = parser.parse_args(arguments)
    home = ROOT / "notebooks"
    notebooks = [Path(path) for path in arguments.notebooks] or sorted(home.glob("*.ipynb"))
    if arguments.all:
        notebooks += sorted((home / "evidence").glob("*.ipynb"))
    missing = [str(path) for path in notebooks if not path.is_file()]
    if missing or not notebooks:
        parser.error(f"no such notebook: {', '.join(missing) or home}")
    images = arguments.images and _images(arguments.images)
    chosen = {"MODEL": arguments.model, "IMAGES": images, "SEED": arguments.seed}
    parameters = {name: value for name, value in chosen.items() if value not in (None, "")}
    if arguments.in_place and parameters:
        parser.error(
            "--in-place refreshes what is committed, which is the shipped configuration: leave the "
            "parameters out"
        )
    start = time.monotonic()
    if arguments.in_place:
        results, first = _refresh(notebooks, picture=arguments.all), None
    else:
        from helpers.course.site import build

        results = run(notebooks, arguments.out / "notebooks", parameters, frames=True)
        said = ", ".join(f"{name} = {value!r}" for name, value in parameters.items())
        first = build(arguments.out, results, note=f"Executed with {said}." if said else "")
    failed = [result for result in results if result["error"]]
    for result in results:
        state = "FAILED" if result["error"] else "ok"
        print(f"{state:6}  {result['seconds']:5.0f} s  {result['name'].removesuffix('.ipynb')}")
        if result["error"]:
            print(f"        {result['error']}")
    print(
        f"{len(results) - len(failed)} of {len(results)} notebooks ran to the end, "
        f"in {time.monotonic() - start:.0f} s; "
        + (f"open {first}" if first else "nothing was written" if failed else "written in place")
    )
    sys.exit(1 if failed else 0)


def _refresh(notebooks, *, picture):
    """Execute notebooks and write all of them back, or none if one failed."""
    with tempfile.TemporaryDirectory() as scratch:
        results = run(notebooks, scratch)
        if not any(result["error"] for result in results):
            for path, result in zip(notebooks, results, strict=True):
                _save(stamp(nbformat.read(result["path"], as_version=4), result["name"]), path)
            if picture:
                write_overview()
    return results
