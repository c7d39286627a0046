"""What every headline of the notebooks rests on, asked of one network and pictures at a time, so
that one finding can be read off for every recipe of training, another architecture, other
backgrounds and mosaics of photographs alike; see ``studies``."""

import warnings
from functools import partial

import torch

from helpers.attribution.aggregates import AGGREGATES
from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import integrated_gradients, make_baseline
from helpers.attribution.relatives import grad_cam, guided_backprop
from helpers.attribution.smoothgrad import smoothgrad
from helpers.benchmark.models import EMBEDDED
from helpers.evaluate import NotApplicableError, evaluation, logits_of
from helpers.measures.controls import distance_from_mean, random_map, random_network, sobel
from helpers.measures.faithfulness import retained_accuracy
from helpers.measures.quality import correlation, pixel_auc, relevance_mass
from helpers.measures.scoring import HIDDEN, OTHER_PART
from helpers.studies.smoothgrad import DISTRIBUTIONS, NOISE, watched
from helpers.studies.steps import relative_gap, rise_from, size

TIES = 1e-6  # so little noise that it decides nothing but which of equal values max pooling takes
STRENGTHS = (TIES, 0.01, 0.02, 0.05, 0.1, 0.15, 0.3)
OTHERS = ("uniform", "laplace", "rademacher", "sparse")  # distributions, beside the normal one
COUNTS = (3, 25, 50)  # few; half of many; many
BASELINES = ("black", "white", "mean", "blur")
STEPS = (5, 50)  # and n
PAIRED = ("gradient", "SmoothGrad 5 %", "SmoothGrad 15 %", "guided backprop", "Grad-CAM")
PAIRED += tuple(f"IG {name}" for name in BASELINES)


def headlines(model, images, target, seeds, *, hidden=("mean",), paired=PAIRED, **sizes):
    """Each method with the settings that a headline compares (16 gradients a map, where a number
    can be chosen; ``sizes`` of ``_maps`` for another), and the controls.

    All maps are measured on one scale: an aggregate of squares enters as its root, so that

    - "mass" compares sizes with sizes, and "squares", the share of the squared map on the part,
      compares squares with squares ("mass other", "squares other": on the part that the other
      network reads, or in another cell of a mosaic);
    - "squares, debiased": of Σ (mean² − variance / n), which noise in the mean does not add to;
    - "auc", and "highest hidden, FILL" as in ``scoring.score``.

    Own measures: "right", whether the network gives ``target``; "contrast", of mosaics and the
    settings ``paired``, half of what the target's cell gains and the other's loses when the target
    is explained instead of the other's class; "answer kept", the share of the noisy pictures that
    the network still gives ``target``; "stability", the correlation of the maps of two halves of
    the most samples; "error", ‖A − A₅₀‖₁ / ‖A₅₀‖₁, against the most steps; "gap", the completeness
    gap as a share of the rise.
    """
    maps, own = _maps(model, images, target, seeds, **sizes)
    own["gradient"] = {"right": (logits_of(model, images.pixels).argmax(1) == target).float()}
    found = {}
    masks = masks_of(model, images)
    for name, values in maps.items():
        row = found[name] = dict(own.get(name, {}))
        if values is None:  # a setting without values, so that all networks have one table
            continue
        for suffix, mask in masks.items():
            row[f"mass{suffix}"] = relevance_mass(values, mask)
            row[f"squares{suffix}"] = relevance_mass(values.square(), mask)
        row["auc"] = pixel_auc(values, masks[""])
        for fill in hidden:
            how = dict(order="highest", fill=fill, target=target)
            kept = retained_accuracy(model, images.pixels, values, HIDDEN["highest"], **how)
            row[f"highest hidden, {fill}"] = kept.float().mean(1)
    if "other" in images.labels:  # one network, and another of the grid's classes
        others, _ = _maps(model, images, images.labels["other"], seeds, only=paired, **sizes)
        for name in [name for name in paired if others[name] is not None]:
            there = [relevance_mass(others[name], masks[suffix]) for suffix in ("", " other")]
            row = found[name]
            row["contrast"] = (row["mass"] - row["mass other"] + there[1] - there[0]) / 2
    return found


def masks_of(model, images):
    """{"": of the part that the network reads, " other": of the other}"""
    own = getattr(model, "part", None)
    names = ("cell", "other") if "cell" in images.masks else (own, OTHER_PART.get(own))
    return {
        suffix: images.masks[name]
        for suffix, name in zip(("", " other"), names, strict=True)
        if name in images.masks
    }


def _maps(
    model,
    images,
    target,
    seeds,
    *,
    n=16,
    strengths=STRENGTHS,
    distributions=OTHERS,
    counts=COUNTS,
    steps=STEPS,
    only=None,
):
    """{setting: maps}, and {setting: {own measure: (N,)}}; ``n`` gradients a map, ``only`` some of
    the settings."""
    pixels, maps, own = images.pixels, {}, {}
    wanted = (lambda name: True) if only is None else only.__contains__
    smooth = partial(smoothgrad, model, pixels, target, seed=seeds)
    for name, attribution in {
        "gradient": saliency,
        "guided backprop": guided_backprop,
        "Grad-CAM": grad_cam,
        "random": random_map,
        "Sobel": sobel,
        "|x − mean|": distance_from_mean,
        "random network": random_network(saliency),
    }.items():
        if wanted(name):
            try:
                maps[name] = attribution(model, pixels, target)
            except NotApplicableError:
                maps[name] = None
    few, half, many = counts
    shared = {}  # what else the gradients of noise of 15 % give, from one pass
    more = {count: First(count, "mean") for count in counts} | {
        aggregate: First(n, aggregate)
        for aggregate in ("mean_abs", "mean_square", "variance", "median")
    }
    for noise in strengths:
        name = f"SmoothGrad {round(100 * noise, 4):g} %"
        if wanted(name):
            also = more if only is None and noise == NOISE else {}
            maps[name], own[name], found = _smoothed(model, images, target, seeds, noise, n, also)
            shared |= found
    if only is None:
        for distribution in distributions:
            law, match = DISTRIBUTIONS[distribution]
            maps[f"SmoothGrad 15 %, {distribution}"] = smooth(
                noise=NOISE, n_samples=n, distribution=law, match=match
            )
        maps |= {f"SmoothGrad 15 %, n = {count}": shared[count] for count in (few, many)}
        halves = shared[half], 2 * shared[many] - shared[half]
        own[f"SmoothGrad 15 %, n = {many}"] = {"stability": correlation(*halves)}
        maps |= {
            "mean abs": shared["mean_abs"],
            "root mean square": shared["mean_square"].sqrt(),
            "root variance": shared["variance"].sqrt(),
            "median": shared["median"],
        }
    for baseline in BASELINES:
        if wanted(f"IG {baseline}"):
            several = sorted({n, *steps} if only is None and baseline == "black" else {n})
            found, gaps = _integrated(model, pixels, target, baseline, several)
            for count, values in found.items():
                name = f"IG {baseline}" + (f", n = {count}" if count != n else "")
                maps[name], own[name] = values, {"gap": gaps[count]}
                if len(found) > 1 and count != max(found):
                    last = found[max(found)]
                    own[name]["error"] = size(values - last) / size(last)
    return maps, own


class First:
    """An accumulator of the first n gradients alone, so that one pass serves several numbers."""

    def __init__(self, n, aggregate):
        self.n, self.within = n, AGGREGATES[aggregate]()

    def update(self, gradient):
        if self.n:
            self.n -= 1
            self.within.update(gradient)

    def result(self):
        return self.within.result()


def _smoothed(model, images, target, seeds, noise, n, also):
    """(the map of n gradients, its own measures, {label: map}) of the accumulators ``also``."""
    asked, seen = watched(model)
    n_samples = max([n, *(each.n for each in also.values())])
    with evaluation(model):  # which smoothgrad cannot see to, since ``asked`` is a plain callable
        found = smoothgrad(
            asked,
            images.pixels,
            target,
            noise=noise,
            n_samples=n_samples,
            aggregate={"map": First(n, "mean"), "spread": First(n, "variance"), **also},
            seed=seeds,
        )
    mean, variance = found.pop("map"), found.pop("spread")
    kept = torch.cat(seen["answers"]).reshape(n_samples, -1)[:n] == target
    debiased = mean.square() - variance / n
    mask = masks_of(model, images)[""]
    share = (debiased * mask).sum((1, 2, 3)) / debiased.sum((1, 2, 3))
    return mean, {"answer kept": kept.float().mean(0), "squares, debiased": share}, found


def _integrated(model, pixels, target, baseline, several):
    origin = make_baseline(baseline, model, pixels, target)
    with warnings.catch_warnings(action="ignore"):  # few steps leave a gap: it is measured here
        found = integrated_gradients(model, pixels, target, baseline=origin, n_steps=several)
    rise = rise_from(model, pixels, target, origin)
    return found, {n: relative_gap(maps, rise) for n, maps in found.items()}


BENCHMARK = ("scenes", "scenes-letters")  # the same pictures: one reads the shape, one the letter
NETWORKS = tuple(name for name in EMBEDDED if name != "scenes-shortcut" and not name[-1].isdigit())
# name -> (function, number of pictures, split, networks)
STUDIES = {
    "headlines": (headlines, 100, "test", NETWORKS),
    "headlines_strong": (headlines, 100, "strong", BENCHMARK),
}
