"""A panel for activation maximisation: the picture that a network wants most, as it grows."""

from functools import lru_cache

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch

from helpers.attribution.maximisation import maximise
from helpers.benchmark.images import ImageSet
from helpers.display.panel import Panel, PictureRow, per_cent
from helpers.display.plotting import describe, named, show_pixels
from helpers.evaluate import logits_of, probabilities

STEPS = (0, 2, 8, 32)
REGULARISERS = {
    "none": {},
    "total variation": {"total_variation": 300},
    "jitter": {"jitter": 4},
    "blur": {"blur": 0.5},
    "norm": {"norm": 300},
}
LENGTHS = {"pixels": 0.02, "fourier": 0.1, "generator": 0.03}  # of a usual step
CANDIDATES = 40  # of a generator's start


def explore_maximisation(model, generator=None, *, other=None, steps=STEPS, strip=None) -> Panel:
    """The picture that the model answers most strongly to, after each number of steps, with sliders
    for the step, the regulariser and the prior.

    generator: adds "generator" to what may be climbed: its code, from the best of 40.
    other: a network that is asked too what it sees; over each picture stands what both give the
        class.
    steps: after how many steps a picture is shown.
    strip: by default what is climbed, or without a generator three lengths of the step.
    """
    ways = [*LENGTHS][: 2 if generator is None else 3]
    size = (len(model.mean), model.input_size, model.input_size)
    blank = ImageSet(torch.zeros(1, *size), ("",))
    row = PictureRow(blank, n=len(steps), cell=1.5)

    @lru_cache(maxsize=32)
    def climbed(target, start, climb, step, regulariser, prior):
        how = REGULARISERS[regulariser] | {"prior": prior}
        if climb == "generator":
            how |= {"parametrisation": generator, "candidates": CANDIDATES}
        else:
            how |= {"parametrisation": climb, "size": size}
        how |= {"n_steps": steps, "step_size": step * LENGTHS[climb], "seed": start}
        found = maximise(model, target, **how)
        pixels = torch.cat(list(found.values()))
        asked = [model] + ([other] if other is not None else [])
        return pixels, [probabilities(logits_of(one, pixels))[:, target] for one in asked]

    def draw(target, start, climb, step, regulariser, prior=0.0):
        used = "none" if climb != "pixels" and regulariser == "blur" else regulariser
        weight = prior if climb == "generator" else 0.0
        pixels, shares = climbed(target, start, climb, step, used, weight)
        for place, (n, one) in enumerate(zip(steps, pixels, strict=True)):
            said = " · ".join(per_cent(round(float(share[place]), 2)) for share in shares)
            row.picture(place, one, f"step {n}\n{said}")
        noted = " (not here)" if used != regulariser else ""
        return row.figure, (
            f"“{model.classes[target]}”, start {start} · {climb} climbed, steps of {step:g} "
            f"times the usual, regulariser {regulariser}{noted}"
            + (f", prior {prior:g}" if generator is not None else "")
            + (" · per cent: what this network and another give the class" if other else "")
        )

    names = [(name, k) for k, name in enumerate(model.classes)]
    weight = widgets.FloatSlider(0.0, min=0, max=30, step=0.5, description="prior")
    return Panel(
        draw,
        strip=strip or ({"climb": ways} if len(ways) > 2 else {"step": (0.25, 1, 4)}),
        alt=f"each frame shows one picture after {named(map(str, steps))} steps of an ascent",
        target=widgets.Dropdown(options=names, description="class"),
        start=widgets.IntSlider(0, min=0, max=9, description="start"),
        climb=widgets.Dropdown(options=ways, description="climb"),
        step=widgets.FloatSlider(1.0, min=0.25, max=4, step=0.25, description="step"),
        regulariser=widgets.Dropdown(options=list(REGULARISERS), description="regulariser"),
        **({"prior": weight} if generator is not None else {}),
    )


def plot_pictures(rows, *, titles=None, cell=1.15, alt=None):
    """Pictures as they are, a labelled row each.

    rows: {label: (N, C, H, W)}. titles: {label: a text over each of its pictures}.

    Returns:
        (figure, axes), axes of shape (rows, N).
    """
    n = max(map(len, rows.values()))
    titled = titles or {}
    heights = [1.3 if label in titled else 1.0 for label in rows]
    figure, axes = plt.subplots(
        len(rows),
        n,
        squeeze=False,
        layout="constrained",
        figsize=(cell * n + 1.2, cell * sum(heights)),
        gridspec_kw={"height_ratios": heights},
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for line, (label, pixels) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.set_axis_off()
        for ax, one in zip(line, pixels, strict=False):
            show_pixels(ax, one)
        for ax, text in zip(line, titled.get(label, ()), strict=False):
            ax.set_title(text, fontsize=9)
        place = {"ha": "right", "va": "center", "fontsize": 9}
        line[0].text(-0.06, 0.5, label, transform=line[0].transAxes, **place)
    describe(figure, alt or f"{n} pictures in a row, a row for each of {named(rows, 30)}.")
    return figure, axes
