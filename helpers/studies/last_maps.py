"""CAM and Grad-CAM against the size of the map that they weigh: on scenes, by the last map and by
layer; on mosaics of photographs, by layer; and on the two networks of a student's report, whose old
one ends in 3 × 3 places and whose new one in 6 × 6. Those two, their generator and MNIST are not
shipped: they are read from the folders week7/ and mnist/ that lie in $HELPERS_REPORT;
see ``studies``."""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from helpers.attribution.gradients import saliency
from helpers.attribution.relatives import cam, feature_maps, grad_cam
from helpers.benchmark.classifier import Classifier, WeightsNotFoundError
from helpers.benchmark.images import ImageSet
from helpers.benchmark.mosaics import make_mosaics
from helpers.evaluate import logits_of
from helpers.measures.quality import pixel_auc, relevance_mass
from helpers.studies.photographs import NETWORKS as PHOTO_NETWORKS
from helpers.studies.photographs import mosaics

NETWORKS = ("scenes-2x2", "scenes-4x4", "scenes", "scenes-16x16")
REPORT = ("cam_old", "cam_new")
SIZES = (2, 4, 8)  # that a finer last map is averaged to
INK = 0.2  # a pixel of a digit, from this brightness on
# {setting: name in the network}; the layers before the last map, coarser and coarser
LAYERS = {
    "efficientnet_lite0": {4: "blocks.1", 8: "blocks.2", 16: "blocks.4", 32: "blocks.6"},
    "squeezenet1_1": {4: "features.4", 8: "features.7", 16: "features.12"},
}


def last_maps(model, images, target, seeds):
    """On scenes: CAM and Grad-CAM of the last map, Grad-CAM enlarged otherwise or averaged to
    fewer places first, Grad-CAM of each of the five blocks, the last map joined with block 4, and
    block 4 averaged to as few places as the last map has.
    "the part itself": its mask, averaged to the size of the last map; "random": random places."""
    blocks = [name for name, module in model.named_modules() if _is_block(module)]
    layers = {f"block {i}": name for i, name in enumerate(blocks, 1)}
    found = _judged(model, images, target, seeds, layers, "block 4", SIZES)
    fewer = feature_maps(model, images.pixels, target)[0].shape[2:]
    finer = grad_cam(model, images.pixels, target, layer=layers["block 4"], enlarge="none")
    averaged = _enlarged(F.adaptive_avg_pool2d(finer, fewer), images.pixels)
    mask = images.masks[model.part]
    return found | {"block 4, averaged": _measured(averaged, mask)}


def photos_layers(model, images, target, seeds):
    """On mosaics of photographs: Grad-CAM by layer, named by its stride in pixels, and of the last
    map, on which CAM applies too; "finer" is the layer of half the last one's stride."""
    layers = {f"stride {n}": f"network.{name}" for n, name in LAYERS[model.name].items()}
    finer = list(layers)[-2]  # the last one is as coarse as the last map
    found = _judged(model, images, target, seeds, layers, finer, (4, 8))
    return found | {"stride 32": found.pop("stride 32", {})}  # one order for both networks


def report_maps(model, images, target, seeds):
    """On digits: the report's networks by layer, the ink or, of mosaics, the cell as the truth."""
    layers = {"block 1": "network.1", "block 2": "network.4"}
    return _judged(model, images, target, seeds, layers, "block 2", (3,))


def _is_block(module):
    return isinstance(module, nn.Sequential) and isinstance(module[0], nn.Conv2d)


def _judged(model, images, target, seeds, layers, finer, sizes):
    """The measures "mass" and "auc", a map of zeros counted as one that knows nothing; "zeros",
    whether it is one; "cells", the mass that lies in places which the part touches."""
    pixels, mask = images.pixels, images.masks["cell" if "cell" in images.masks else model.part]
    found = grad_cam(model, pixels, target, layer=[None, *layers.values()], enlarge="none")
    last = found.pop(None)
    size, by_class = tuple(last.shape[2:]), cam(model, pixels, target, enlarge="none")
    part = F.adaptive_avg_pool2d(mask.to(last), size)
    drawn = [torch.rand(size, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    coarse = {"CAM": by_class, "Grad-CAM": last} | dict(zip(layers, found.values(), strict=True))
    coarse |= {"the part itself": part, "random": torch.stack(drawn)[:, None].to(last)}
    coarse |= {
        f"averaged to {n}": F.adaptive_avg_pool2d(last, n) if n <= min(size) else None
        for n in sizes
    }
    maps = {n: None if v is None else _enlarged(v, pixels) for n, v in coarse.items()}
    maps |= {
        f"{name}, nearest": _enlarged(coarse[name], pixels, "nearest")
        for name in ("CAM", "Grad-CAM", "the part itself")
    }
    first, second = (
        values / values.flatten(1).amax(1).clamp_min(1e-12)[:, None, None, None]
        for values in (maps["Grad-CAM"], maps[finer])
    )
    maps |= {"last + finer": (first + second) / 2, "last × finer": first * second}
    maps["gradient"] = saliency(model, pixels, target)
    measured = {name: _measured(values, mask) for name, values in maps.items()}
    touched = F.adaptive_max_pool2d(mask.to(last), size) > 0
    measured["Grad-CAM"]["cells"] = _mass(last, touched)
    measured["random"]["cells"] = _mass(torch.ones_like(last), touched)
    return measured


def _enlarged(coarse, pixels, how="bilinear"):
    return F.interpolate(coarse, pixels.shape[2:], mode=how)


def _measured(values, mask):
    if values is None:
        return {}
    zeros = values.flatten(1).abs().sum(1) == 0
    return {
        "mass": _mass(values, mask),
        "auc": pixel_auc(values, mask),
        "zeros": zeros.float(),
    }


def _mass(values, mask):
    knows_nothing = (values.flatten(1).abs().sum(1) == 0)[:, None, None, None]
    return relevance_mass(torch.where(knows_nothing, 1.0, values), mask)


# --- the report's networks ------------------------------------------------------------------------


def report_folder() -> Path:
    """Where week7/ and mnist/ lie: in the folder that HELPERS_REPORT names.

    Raises:
        WeightsNotFoundError: it names none.
    """
    folder = os.environ.get("HELPERS_REPORT")
    if not folder or not Path(folder, "week7").is_dir():
        raise WeightsNotFoundError(
            f"the report's networks are not shipped, and there is no week7/ in {folder or '.'}: "
            "set HELPERS_REPORT to the folder that holds week7/ and mnist/"
        )
    return Path(folder)


def report_network(name, *, seed=0, device="cpu") -> Classifier:
    """``"cam_old"``: three convolutions and two poolings, 28 × 28 pixels to 3 × 3 places, then
    global average pooling and one linear layer; ``"cam_new"``: the same with padding, to 6 × 6."""
    new = name == "cam_new"
    padding = [nn.ZeroPad2d(2)] if new else []
    network = nn.Sequential(
        *(nn.Conv2d(1, 32, 4 if new else 3), nn.ReLU(), nn.Sequential(*padding, nn.MaxPool2d(2))),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Sequential(*padding, nn.MaxPool2d(2))),
        *(nn.Conv2d(64, 128, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)),
    )
    stored = load_file(report_folder() / "week7" / f"{name}.safetensors")
    places = {"conv1": 0, "conv2": 3, "conv3": 6, "fc": 10}
    network.load_state_dict(
        {f"{places[key.split('.')[0]]}.{key.split('.')[1]}": v for key, v in stored.items()}
    )
    about = dict(classes=tuple("0123456789"), input_size=28, part="ink", images="digits")
    return Classifier(network, mean=[0.0], std=[1.0], name=name, **about).eval().to(device)


def generated_digits(n, *, seed=0) -> torch.Tensor:
    """n digits of the report's generator, (n, 1, 28, 28): whatever it makes of random numbers."""
    stored = load_file(report_folder() / "week7" / "generator.safetensors")
    values = torch.randn(n, 100, generator=torch.Generator().manual_seed(seed))
    for layer, bend in (("dense1", torch.relu), ("dense2", torch.sigmoid)):
        values = bend(F.linear(values, stored[f"{layer}.weight"], stored[f"{layer}.bias"]))
    return values.reshape(n, 1, 28, 28)


@lru_cache(1)
def _mnist() -> ImageSet:
    """The test digits that both networks name rightly, in their order, of the first 2,000."""
    from torchvision.datasets import MNIST

    digits = MNIST(report_folder() / "mnist", train=False, download=False)
    pixels, labels = digits.data[:2000, None].float() / 255, digits.targets[:2000]
    right = [logits_of(report_network(name), pixels).argmax(1) == labels for name in REPORT]
    kept = torch.nonzero(right[0] & right[1])[:, 0].tolist()
    return ImageSet(
        pixels,
        tuple(f"test digit {i}" for i in range(len(labels))),
        {"class": labels, "ink": labels},
        {"ink": pixels > INK},
        dict.fromkeys(("class", "ink"), tuple("0123456789")),
    )[kept]


def report_digits(model, n) -> ImageSet:
    """n of the digits, the same for both networks."""
    return _mnist()[np.sort(np.random.default_rng(0).permutation(len(_mnist()))[:n]).tolist()]


def report_mosaics(model, n) -> ImageSet:
    """n mosaics of four digits, 56 × 56 pixels, the same for both networks, which both name the
    target."""
    grids = make_mosaics(report_network("cam_old"), _mnist()[range(400)], 4 * n, gap=0, neutral=1)
    target = grids.labels["class"]
    right = logits_of(report_network("cam_new"), grids.pixels).argmax(1) == target
    return grids[torch.nonzero(right)[:n, 0].tolist()]


# name -> (function, number of pictures, split, networks, own pictures, loaded by)
STUDIES = {
    "last_maps": (last_maps, 100, "test", NETWORKS),
    "photos_layers": (photos_layers, 30, "", PHOTO_NETWORKS, mosaics),
    "report_maps": (report_maps, 200, "", REPORT, report_digits, report_network),
    "report_mosaics": (report_maps, 60, "", REPORT, report_mosaics, report_network),
}
