"""One map, read and drawn in several ways: what each reading finds of a truth, what a cut-off of
outliers and a factor of the input change, for several kinds of pictures; see ``studies``."""

from functools import partial

from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import integrated_gradients
from helpers.attribution.smoothgrad import smoothgrad
from helpers.benchmark.images import load_images
from helpers.benchmark.models import load_model
from helpers.benchmark.mosaics import make_mosaics
from helpers.measures.controls import random_map
from helpers.measures.quality import pair_contrast, pixel_auc, rank_correlation, relevance_mass
from helpers.studies.headlines import BENCHMARK
from helpers.studies.photographs import NETWORKS, mosaics

READINGS = {
    "positive": lambda maps: maps.sum(1, keepdim=True).clamp(min=0),
    "negative": lambda maps: (-maps.sum(1, keepdim=True)).clamp(min=0),
    "both signs": lambda maps: maps.sum(1, keepdim=True).abs(),
    "absolute": lambda maps: maps.abs().sum(1, keepdim=True),
}
CAPS = (100, 99, 95, 90)  # percentiles of a map's sizes; 100 cuts nothing off
SEEN = 0.1  # of the end of the colour scale: what is smaller looks like zero


def readings(model, images, target, seeds, *, n=5, short=False):
    """Each method's map, read in four ways ("METHOD, READING"), against where the evidence lies:
    the cell of a mosaic, or the part that the network reads.

    Readings: the positive part of the sum over channels, the negative part, its size ("both signs":
    what signed colours show), and the sum of the channels' sizes ("absolute"). "mass", "auc" and,
    of mosaics, "contrast": the same grid explained for two of its classes. "like the picture": the
    rank correlation of the map's sizes with the pixels' brightness. Of the absolute gradient cut
    off at a percentile of its sizes (", cap …"): mass, auc, and "seen", the share of the pixels
    that reach a tenth of the colour scale. "log10 end": of the 99th percentile. n: gradients a map,
    where it can be chosen. short: without SmoothGrad and the path from black.
    """
    on_mosaics = "cell" in images.masks
    mask = images.masks["cell" if on_mosaics else model.part]
    maps = _maps(model, images.pixels, target, seeds, n, short)
    others = {}
    if on_mosaics:
        others = _maps(model, images.pixels, images.labels["other"], seeds, n, short)
    found = {}
    for name, values in maps.items():
        for how, read in READINGS.items():
            row = found[f"{name}, {how}"] = {
                "mass": relevance_mass(read(values), mask),
                "auc": pixel_auc(read(values), mask),
            }
            if on_mosaics:
                both = read(values), read(others[name]), mask, images.masks["other"]
                row["contrast"] = pair_contrast(*both)
        row["like the picture"] = rank_correlation(values, images.pixels, "unsigned")
    sizes = READINGS["absolute"](maps["gradient"])
    for percentile in CAPS:
        end = sizes.flatten(1).quantile(percentile / 100, dim=1)[:, None, None, None]
        row = found[f"gradient, absolute, cap {percentile}"] = {
            "mass": relevance_mass(sizes.minimum(end), mask),
            "auc": pixel_auc(sizes.minimum(end), mask),
            "seen": (sizes >= SEEN * end).float().mean((1, 2, 3)),
        }
        if percentile == 99:
            row["log10 end"] = end.flatten().log10()
    return found


def _maps(model, pixels, target, seeds, n, short):
    gradient, unknowing = saliency(model, pixels, target), random_map(model, pixels)
    maps = {"gradient": gradient}
    if not short:
        how = {"n_samples": n, "noise": 0.05, "seed": seeds}
        maps["SmoothGrad 5 %"] = smoothgrad(model, pixels, target, **how)
    for baseline in ("mean",) if short else ("mean", "black"):
        how = {"baseline": baseline, "n_steps": n}
        maps[f"IG {baseline}"] = integrated_gradients(model, pixels, target, **how)
    return maps | {
        "gradient × input": gradient * pixels,
        "gradient × (input − mean)": gradient * (pixels - pixels.mean((2, 3), keepdim=True)),
        "random": unknowing,
        "random × input": unknowing * pixels,
    }


def small_mosaics(model, n):
    """n mosaics of the pictures that an embedded network was trained on, the same for every
    training seed: what the first one answers."""
    first = load_model(model.name, device="cpu")
    return make_mosaics(first, load_images(first.images), n, gap=0, seed=1)


# name -> (function, number of pictures, split, networks, where each network's pictures come from)
STUDIES = {
    "reading": (readings, 100, "test", BENCHMARK),
    "reading_mosaics": (readings, 48, "", (*BENCHMARK, "digits"), small_mosaics),
    "photos_reading": (partial(readings, short=True), 30, "", NETWORKS, mosaics),
}
