"""The README and the pages of docs/ say what the files say; their code runs."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from cluster import PATIENCE
from PIL import Image

from helpers.benchmark.images import load_images
from helpers.benchmark.models import EMBEDDED, load_card, training_seeds
from helpers.course.run import ROOT
from helpers.course.syllabus import load

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
NUMBERS = DOCS["where_the_numbers_come_from.md"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def card_row(card):
    """The row of the table for a card: accuracy, then the swaps as shares of the own
    part's."""
    swaps = card["swaps"]
    (own,) = (part for part in swaps if "ratio_to_own" not in swaps[part])
    shares = [
        "own part"
        if part == own
        else "–"
        if part not in swaps
        else f"{swaps[part]['ratio_to_own']:.3f}"
        for part in ("shape", "letter", "distractors", "background", "patch")
    ]
    return " | ".join(
        [
            f"| {card['name']}",
            str(card["training_seed"]),
            f"{card['accuracy']['value']:.1%}",
            *shares,
            f"{swaps[own]['answer_follows']['value']:.1%} |",
        ]
    )


def recipe_row(name):
    """The row of a network of another recipe or shape: the range over its training seeds of the
    accuracy, and of the background's swap ratio by the noise that lies over the pictures."""
    cards = [load_card(name, seed=seed) for seed in training_seeds(name)]
    ratios = [[card["swaps"]["background"]["ratio_to_own"] for card in cards]] + [
        [card["under_noise"][noise]["background"][0] for card in cards]
        for noise in ("0.05", "0.15", "0.3")
    ]
    shown = [
        f"{min(row):.2f}" + (f" – {max(row):.2f}" if f"{min(row):.2f}" != f"{max(row):.2f}" else "")
        for row in ratios
    ]
    lowest = min(card["accuracy"]["value"] for card in cards)
    certified = "yes" if max(ratios[0]) <= 0.05 else "no"
    return " | ".join([f"| {name}", str(len(cards)), f"{lowest:.1%}", *shown, f"{certified} |"])


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        (name, seed)
        for name in ("scenes", "scenes-letters", "scenes-shortcut")
        for seed in training_seeds(name)
    ],
)
def test_the_table_of_networks_quotes_the_cards(name, seed):
    assert card_row(load_card(name, seed=seed)) in NUMBERS


@pytest.mark.parametrize("name", [name for name in EMBEDDED if name != "scenes-shortcut"])
def test_the_table_of_recipes_quotes_the_cards(name):
    assert recipe_row(name) in NUMBERS, recipe_row(name)


def test_the_speed_table_is_the_one_that_make_bench_wrote():
    results = (ROOT / "tests" / "bench" / "results.md").read_text(encoding="utf-8")
    _, *parts = results.split("### ")
    page = DOCS["speed.md"].split("<!-- bench -->\n")[1].split("<!-- end of bench -->")[0]
    assert parts and page == "".join(f"## {part}" for part in parts)


def test_the_readme_is_read_in_a_minute():
    assert len(README.splitlines()) <= 125
    (alt,) = re.findall(r"!\[([^]]*)\]\(data/overview.png\)", README)
    assert len(alt.split()) >= 8


def test_the_readme_lists_the_course_in_reading_order():
    rows = re.findall(r"^\| \[(\w+)\]\(notebooks/\1.ipynb\) \| (.*?) \| (\d+) ", README, re.M)
    assert rows == [(entry.name, entry.question, str(entry.minutes)) for entry in load()]


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{name}" for name in DOCS)])
def test_every_link_leads_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert ((ROOT / page).parent / link).exists(), link


@pytest.mark.parametrize("page", ["README.md", "scale.md", "your_own_network.md", "extend.md"])
def test_the_code_runs_as_it_stands(page, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.get(page, README), re.M | re.S)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    for name in ("smooth", "paths", "maps", "price", "of_class_2", "words"):
        if name in names and not isinstance(names[name], dict):
            assert names[name].isfinite().all() and names[name].abs().sum() > 0
    if page == "README.md":  # a regression, a segmentation network, a sentence: by hand
        price, tables, weight = names["price"], names["tables"], names["prices"].weight
        assert price.allclose(weight.expand_as(tables))
        corner, kernel = names["corner"], names["segmenter"].weight[2]
        mean = names["torch"].nn.functional.conv_transpose2d(corner[None].float(), kernel[None])
        assert names["of_class_2"].allclose((mean[..., 2:-2, 2:-2] / corner.sum()), atol=1e-5)
        said, logits = names["words"], names["reader"](names["sentence"])[0]
        rise = (logits.max() - names["reader"][1].bias[logits.argmax()]).item()
        assert said.shape == (1, 4) and said.sum().item() == pytest.approx(rise, abs=1e-4)
    if page == "extend.md":
        share = names["both"]["sign"]
        assert 0 <= share.min() < share.max() <= 1
        # by hand: all the weight in one pixel, 3 rows and 4 columns from the other
        maps, mask = names["torch"].zeros(1, 3, 9, 9), names["torch"].zeros(1, 1, 9, 9).bool()
        maps[0, :, 1, 2], mask[0, 0, 4, 6] = -2, True
        assert names["distance_of_centres"](maps, mask).item() == pytest.approx(5)


SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)


@pytest.mark.skipif(sys.platform == "win32", reason="the lines are for a POSIX shell")
@pytest.mark.parametrize("lines", SHELL, ids=["folder", "cluster"])
def test_a_folder_and_a_cluster_run_as_they_stand(lines, tmp_path):
    if "dask" in lines:
        pytest.importorskip("distributed", reason="Dask is an optional requirement")
        with socket.socket() as taken:
            if taken.connect_ex(("127.0.0.1", 8786)) == 0:
                pytest.skip("something else is at the port that README names")
    (tmp_path / "my_pictures").mkdir()
    for i, pixels in enumerate(load_images("scenes", 6).pixels):
        picture = Image.fromarray((pixels * 255).byte().permute(1, 2, 0).numpy())
        picture.save(tmp_path / "my_pictures" / f"{i}.png")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with (tmp_path / "said").open("w+b") as said:
        process = subprocess.Popen(
            ["bash", "-e", "-c", lines],
            cwd=tmp_path,
            env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            assert process.wait(PATIENCE) == 0, (tmp_path / "said").read_text()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what the page starts in the background
    root = zarr.open_group(tmp_path / re.search(r"--out (\S+)", lines)[1], mode="r")
    assert root["maps"].shape == (6, 64, 64) and len(root.attrs["answers"]) == 6
    assert np.isfinite(root["maps"][:]).all()


def test_what_50_000_pictures_cost_follows_from_what_was_measured():
    page = DOCS["scale.md"]
    results = (ROOT / "tests" / "bench" / "results.md").read_text(encoding="utf-8")

    def measured(stage):
        found = re.findall(rf"^\| {stage}.*?\| one core.*?\| ([\d.]+) \|$", results, re.M)
        return float(found[0])

    gradient, read, write = map(measured, ("one gradient", "read", "write: signed"))
    hours = 50_000 * 50 * gradient / 1000 / 3600
    for row in (
        f"| one core | {1000 / gradient:.1f} | {hours / 24:.1f} days |",
        f"| 64 such cores | {64_000 / gradient:.0f} | {hours / 64:.1f} hours |",
        f"reading it takes {read:.1f} ms of a core and writing its map {write:.1f} ms, the 50 "
        f"gradients {gradient * 50 / 1000:.0f} s of a core",
        f"up to some {round(50_000 / (read / 2 + write), -3):,.0f} a second",
        f"beyond {round(1000 / (read / 2 + write), -2):,.0f} a second",
    ):
        assert row in page, row
    assert (read + write) / (50 * gradient) < 1 / 1000
    assert f"{2_500_000 / 1000 / 60:.0f} minutes" in page and f"{39_063 / 1000:.0f} seconds" in page


def test_what_make_offers_is_in_the_readme():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.search(r"^\.PHONY: (.*)", makefile, re.M)[1].split():
        assert f"make {target}" in README or f"make {target}" in "".join(DOCS.values()), target


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_what_there_is(path):
    flow = yaml.safe_load(path.read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)", makefile, re.M)[1].split()
    assert {"name", "jobs", "permissions"} <= flow.keys()
    for job in flow["jobs"].values():
        assert job["runs-on"] and job["steps"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert "@v" in step.get("uses", "@v"), "a version is named"
            words = step.get("run", "").split()
            if words[:1] == ["make"]:
                assert words[1] in targets
            for word in words:
                assert not word.startswith("tests/") or (ROOT / word).exists(), word


def test_the_workflows_test_three_systems_and_publish_the_site():
    flows = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in WORKFLOWS}
    jobs = flows["tests"]["jobs"].values()
    systems = {str(job["runs-on"]) for job in jobs}
    systems |= {s for job in jobs for s in job.get("strategy", {}).get("matrix", {}).get("os", [])}
    assert {"ubuntu-latest", "windows-latest", "macos-latest"} <= systems
    steps = [step for job in flows["site"]["jobs"].values() for step in job["steps"]]
    assert any(step.get("run") == "make run" for step in steps)
    assert any(step.get("with", {}).get("path") == "build/site" for step in steps)
