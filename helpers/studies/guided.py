"""Does guided backprop follow the object, the class, the ground? Beside its relatives, smoothed and
not; see ``studies``."""

from functools import partial

import torch

from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import integrated_gradients
from helpers.attribution.relatives import backward_with, deconvnet_rule, grad_cam, guided_backprop
from helpers.attribution.smoothgrad import smoothgrad
from helpers.benchmark.images import on_ground
from helpers.evaluate import logits_of
from helpers.measures.quality import correlation, pixel_auc, rank_correlation, relevance_mass
from helpers.studies.headlines import BENCHMARK, masks_of
from helpers.studies.photographs import NETWORKS, photographs, scene_mosaics

PLAIN = 0.0  # contrast of the ground
GUIDED = "guided backprop"
METHODS = ("gradient", "SmoothGrad 5 %", "SmoothGrad 15 %", "IG mean", "deconvnet", GUIDED)
METHODS += (f"{GUIDED}, 5 %", f"{GUIDED}, 15 %", "Grad-CAM", "guided Grad-CAM")
# a gradient of a photograph takes a tenth of a second; more about mosaics is in ``photographs``
PHOTOS = ("gradient", "SmoothGrad 15 %", GUIDED, f"{GUIDED}, 15 %", "Grad-CAM", "guided Grad-CAM")
MOSAICS = (GUIDED, "Grad-CAM", "guided Grad-CAM")


def guided(model, images, target, seeds, *, n=16, methods=METHODS, grounds=False, far=False):
    """Each method with ``n`` gradients where it averages, smoothed ones on the same noise.

    "alike": the rank correlation of the signed maps of two classes of one picture, ``target`` and
    the other cell's class of a mosaic, else the runner-up; 0 where a map is all zeros. "alike,
    sizes": the same of unsigned maps; "alike, far": with the class in the middle of the network's
    order, if ``far``. Where the truth is known, "mass", "mass other" and "auc" as in ``headlines``,
    "contrast" on mosaics. If ``grounds``, "mass plain" and "auc plain": the same objects on a
    ground of one colour; and "moved", "moved plain": 1 − the correlation with the unsmoothed map.
    """
    order = logits_of(model, images.pixels).argsort(1, descending=True)
    second = torch.where(order[:, 0] == target, order[:, 1], order[:, 0])
    second = images.labels.get("other", second).to(target)
    masks = masks_of(model, images) if images.masks else {}
    maps, others = (_maps(model, images.pixels, aim, seeds, n, methods) for aim in (target, second))
    found = {}
    for name, values in maps.items():
        row = found[name] = {
            "alike": _alike(values, others[name], "signed"),
            "alike, sizes": _alike(values, others[name], "unsigned"),
        }
        for suffix, mask in masks.items():
            row[f"mass{suffix}"] = relevance_mass(values, mask)
        if masks:
            row["auc"] = pixel_auc(values, masks[""])
        if "other" in images.labels:
            there = [relevance_mass(others[name], masks[suffix]) for suffix in ("", " other")]
            row["contrast"] = (row["mass"] - row["mass other"] + there[1] - there[0]) / 2
    if far:
        middle = _maps(model, images.pixels, order[:, order.shape[1] // 2], seeds, n, methods)
        for name, values in maps.items():
            found[name]["alike, far"] = _alike(values, middle[name], "signed")
    if grounds:
        plain = on_ground(images, PLAIN).pixels
        found["gradient"]["right plain"] = (logits_of(model, plain).argmax(1) == target).float()
        there = _maps(model, plain, target, seeds, n, methods)
        for name, values in there.items():
            found[name]["mass plain"] = relevance_mass(values, masks[""])
            found[name]["auc plain"] = pixel_auc(values, masks[""])
            first = GUIDED if name.startswith(f"{GUIDED}, ") else "gradient"
            if name.endswith("%"):
                found[name]["moved"] = 1 - correlation(maps[name], maps[first])
                found[name]["moved plain"] = 1 - correlation(values, there[first])
    return found


def _maps(model, pixels, target, seeds, n, methods):
    """{method: maps}"""
    asked = model, pixels, target
    smooth = partial(smoothgrad, *asked, n_samples=n, seed=seeds)
    make = {
        "gradient": lambda: saliency(*asked),
        "SmoothGrad 5 %": lambda: smooth(noise=0.05),
        "SmoothGrad 15 %": lambda: smooth(noise=0.15),
        "IG mean": lambda: integrated_gradients(*asked, baseline="mean", n_steps=n),
        "deconvnet": lambda: backward_with(*asked, deconvnet_rule),
        GUIDED: lambda: guided_backprop(*asked),
        f"{GUIDED}, 5 %": lambda: smooth(noise=0.05, attribution=guided_backprop),
        f"{GUIDED}, 15 %": lambda: smooth(noise=0.15, attribution=guided_backprop),
        "Grad-CAM": lambda: grad_cam(*asked),
        "guided Grad-CAM": lambda: maps[GUIDED] * maps["Grad-CAM"],
    }
    maps = {}
    for name in methods:
        maps[name] = make[name]()
    return maps


def _alike(first, second, how):
    flat = [maps.flatten(1).abs().amax(1) == 0 for maps in (first, second)]
    return torch.where(flat[0] | flat[1], 0.0, rank_correlation(first, second, how).nan_to_num())


_OF_PHOTOS = partial(guided, n=4, methods=PHOTOS, far=True)
_OF_SCENES = partial(guided, n=8, methods=(*MOSAICS, "SmoothGrad 15 %"))
# name -> (function, number of pictures, split, networks, where each network's pictures come from)
STUDIES = {
    "guided": (partial(guided, grounds=True), 60, "test", BENCHMARK),
    "guided_mosaics": (_OF_SCENES, 20, "", BENCHMARK, scene_mosaics),
    "guided_photos": (_OF_PHOTOS, 12, "", NETWORKS, photographs),
}
