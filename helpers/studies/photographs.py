"""The findings on photographs and real networks: on mosaics, whose truth is certified, and on
single photographs, which have none; see ``studies``. The photographs are the reader's own, labelled
by their files' WordNet ids: the folders in $HELPERS_PHOTOS."""

import os
import warnings
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from helpers.attribution.aggregates import AGGREGATES
from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import (
    integrated_gradients,
    integrated_gradients_nodes,
    nodes_and_weights,
)
from helpers.attribution.relatives import grad_cam, guided_backprop
from helpers.attribution.smoothgrad import smoothgrad
from helpers.benchmark.images import ImageSet, load_images
from helpers.benchmark.models import load_model
from helpers.benchmark.mosaics import make_mosaics
from helpers.evaluate import logits_of
from helpers.measures.controls import cascade, random_map, sobel
from helpers.measures.faithfulness import retained_accuracy
from helpers.measures.mosaics import grid_contrast
from helpers.measures.quality import rank_correlation
from helpers.noise import draw_field
from helpers.studies.headlines import BENCHMARK, First, headlines
from helpers.studies.steps import relative_gap, rise_from, size

NETWORKS = ("efficientnet_lite0", "squeezenet1_1")
STRENGTHS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.3)
RULES = ("midpoint", "left", "gauss_legendre")
STEPS = (5, 20, 50)
N_DENSE = 128
COUNTS = (3, 5, 10, 25, 50)
OTHER_COPIES = 500_000  # added to a seed
FILLS = ("mean", "imputed")
# of ``headlines``: a gradient of a mosaic takes half a second
SHORT = dict(n=8, strengths=(0.02, 0.05, 0.15), distributions=("uniform",), counts=(3, 4, 8))
SHORT |= dict(steps=(5, 16), paired=("gradient", "SmoothGrad 5 %", "IG black", "IG mean"))
HIDDEN = {"lowest": (0.5, 0.8), "highest": (0.05, 0.2)}  # shares of the pixels
METHODS = {
    "gradient": saliency,
    "SmoothGrad 5 %": partial(smoothgrad, noise=0.05, n_samples=16),
    "SmoothGrad 15 %": partial(smoothgrad, noise=0.15, n_samples=16),
    "IG black": partial(integrated_gradients, n_steps=16),
    "IG mean": partial(integrated_gradients, baseline="mean", n_steps=16),
    "guided backprop": guided_backprop,
    "Grad-CAM": grad_cam,
    "Sobel": sobel,
    "random": random_map,
}


def folders() -> list[Path]:
    """The folders of photographs in $HELPERS_PHOTOS.

    Raises:
        FileNotFoundError: there are none.
    """
    named = [Path(name) for name in os.environ.get("HELPERS_PHOTOS", "").split(os.pathsep) if name]
    if not named or not all(folder.is_dir() for folder in named):
        raise FileNotFoundError(
            "the photographs of these studies are not shipped: set HELPERS_PHOTOS to a folder of "
            f"photographs with WordNet ids in their names (several with {os.pathsep!r} between), "
            f"found {os.environ.get('HELPERS_PHOTOS')!r}"
        )
    return named


@lru_cache(1)
def _photographs(folders) -> ImageSet:
    return load_images([file for folder in folders for file in sorted(folder.rglob("*.JPEG"))])


def photographs(model, n) -> ImageSet:
    """n of the photographs that the model names rightly, drawn without replacement."""
    images = _photographs(tuple(folders()))
    right = logits_of(model, images.pixels, batch_size=8).argmax(1) == images.labels["class"]
    kept = np.flatnonzero(right.cpu().numpy())
    return images[np.sort(np.random.default_rng(0).permutation(kept)[:n]).tolist()]


def mosaics(model, n) -> ImageSet:
    """n mosaics of the photographs, not those that the design was chosen on."""
    return make_mosaics(model, _photographs(tuple(folders())), n, seed=1)


def scene_mosaics(model, n) -> ImageSet:
    """n mosaics of scenes, the same for every training seed: what the first one answers."""
    first = load_model(model.name, device="cpu")
    return make_mosaics(first, load_images("scenes"), n, gap=0, seed=1)


def photos_noise(model, images, target, seeds, *, n_samples=10):
    """How far SmoothGrad goes from the photograph: "answer kept", the share of noisy copies that
    the network still gives ``target``, for each noise strength."""
    found, pixels = {}, images.pixels
    for noise in STRENGTHS:
        kept = [
            logits_of(model, (pixels + noise * _field(pixels, seeds, i))).argmax(1) == target
            for i in range(n_samples)
        ]
        found[f"{noise:g}"] = {"answer kept": torch.stack(kept).float().mean(0)}
    return found


def photos_steps(model, images, target, seeds, *, steps=STEPS, n_dense=N_DENSE):
    """``steps.step_error`` for photographs: from black, each rule and number of steps against
    ``n_dense`` sections. "log10 error", of the map, and "gap", of the sum."""
    sums = {f"{rule}, {n}": nodes_and_weights(rule, n) for rule in RULES for n in steps}
    sums["dense"] = nodes_and_weights("trapezoid", n_dense + 1)
    maps = integrated_gradients_nodes(model, images.pixels, target, nodes=sums)
    rise, dense = rise_from(model, images.pixels, target, 0 * images.pixels), maps["dense"]
    found = {}
    for name, values in maps.items():
        found[name] = {"gap": relative_gap(values, rise)}
        if name != "dense":
            found[name]["log10 error"] = (size(values - dense) / size(dense)).log10()
    return found


def photos_samples(model, images, target, seeds, *, counts=COUNTS, noise=0.05):
    """What the number of copies, their distribution and how they are combined change, at a noise
    under which most copies are still named: "like", the rank correlation of unsigned maps with that
    of as many other copies as the most. An aggregate of squares enters as its root."""
    most, pixels = max(counts), images.pixels
    smooth = partial(smoothgrad, model, pixels, target, noise=noise, n_samples=most)
    ways = {f"n = {n}": First(n, "mean") for n in counts}
    ways |= {name: AGGREGATES[name]() for name in ("mean_abs", "mean_square", "variance", "median")}
    maps = {"gradient": saliency(model, pixels, target)} | smooth(seed=seeds, aggregate=ways)
    for squares in ("mean_square", "variance"):
        maps[f"root {squares}".replace("_", " ")] = maps.pop(squares).sqrt()
    maps |= {law: smooth(seed=seeds, distribution=law) for law in ("uniform", "laplace")}
    other = smooth(seed=[seed + OTHER_COPIES for seed in seeds])
    return {
        name: {"like": rank_correlation(each, other, "unsigned")} for name, each in maps.items()
    }


def contrast(model, images, target, seeds, *, n=8):
    """A mosaic explained for the class of each of its cells: "contrast", ``grid_contrast``, of the
    methods that ``n`` gradients a map can afford."""
    cells = [name for name in images.masks if name.startswith("cell ")]
    masks = torch.stack([images.masks[name] for name in cells])
    methods = {
        "gradient": saliency,
        "SmoothGrad 5 %": partial(smoothgrad, noise=0.05, n_samples=n, seed=seeds),
        "IG mean": partial(integrated_gradients, baseline="mean", n_steps=n),
        "guided backprop": guided_backprop,
        "Grad-CAM": grad_cam,
        "Sobel": sobel,
    }
    found = {}
    for name, method in methods.items():
        with warnings.catch_warnings(action="ignore"):  # few steps leave a gap
            maps = [method(model, images.pixels, images.labels[cell]) for cell in cells]
        found[name] = {"contrast": grid_contrast(torch.stack(maps), masks)}
    return found


def photos_hiding(model, images, target, seeds, *, fills=FILLS):
    """METHODS judged by hiding pixels, as ``scoring.score`` does, under a fill that leaves the
    pictures' world and one that does not ("imputed"); "random" says what chance gives."""
    found = {}
    for name, attribution in METHODS.items():
        maps = attribution(model, images.pixels, target)
        found[name] = {}
        for order, fractions in HIDDEN.items():
            for fill in fills:
                how = dict(order=order, fill=fill, target=target, seed=seeds)
                kept = retained_accuracy(model, images.pixels, maps, fractions, **how)
                found[name][f"{order} hidden, {fill}"] = kept.float().mean(1)
    return found


def photos_randomisation(model, images, target, seeds):
    """How like the trained network's map each method's stays while its blocks are drawn anew from
    the output backwards (Adebayo et al. 2018, arXiv:1810.03292): "like", the rank correlation of
    unsigned maps after one block, a quarter, half, and all of them."""
    methods = {name: METHODS[name] for name in ("gradient", "guided backprop", "Grad-CAM")}
    methods["IG black"] = partial(integrated_gradients, n_steps=8)
    first = {name: method(model, images.pixels, target) for name, method in methods.items()}
    found, stages = {}, list(cascade(model, layers=blocks(model)))
    for said, share in {"one block": 0, "25 %": 0.25, "50 %": 0.5, "100 %": 1}.items():
        forgetful = stages[max(0, round(share * len(stages)) - 1)][1]
        for name, method in methods.items():
            maps = method(forgetful, images.pixels, target)
            flat = maps.flatten(1).abs().amax(1) == 0  # nothing to rank
            maps[flat] = first[name][flat]
            like = rank_correlation(maps, first[name], "unsigned")
            found[f"{name}, {said}"] = {"like": torch.where(flat, 0.0, like)}
    return found


def blocks(model) -> list[str]:
    """The names of a classifier's blocks that learn, from the output backwards: the children of its
    network, a sequence's own each for itself."""

    def inside(name, module):
        if isinstance(module, (nn.Sequential, nn.ModuleList)):
            for key, child in module.named_children():
                yield from inside(f"{name}.{key}", child)
        elif any(True for _ in module.parameters()):
            yield name

    named = model.network.named_children()
    return [block for name, child in named for block in inside(f"network.{name}", child)][::-1]


def _field(pixels, seeds, index):
    fields = [draw_field(tuple(pixels.shape[1:]), seed, index, "normal", "std") for seed in seeds]
    return torch.from_numpy(np.stack(fields)).to(pixels)


# name -> (function, number of pictures, split, networks, where each network's pictures come from)
STUDIES = {
    "photos_mosaics": (partial(headlines, hidden=(), **SHORT), 100, "", NETWORKS, mosaics),
    "scenes_mosaics": (partial(headlines, hidden=(), **SHORT), 60, "", BENCHMARK, scene_mosaics),
    "photos_noise": (photos_noise, 100, "", NETWORKS, photographs),
    "photos_contrast": (contrast, 20, "", NETWORKS, mosaics),
    "scenes_contrast": (contrast, 60, "", BENCHMARK, scene_mosaics),
    "photos_samples": (photos_samples, 20, "", NETWORKS, photographs),
    "photos_steps": (photos_steps, 20, "", NETWORKS, photographs),
    "photos_hiding": (photos_hiding, 30, "", NETWORKS, photographs),
    "photos_randomisation": (photos_randomisation, 20, "", NETWORKS, photographs),
}
