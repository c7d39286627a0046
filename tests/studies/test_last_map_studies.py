"""CAM and Grad-CAM against the size of the last map, each value had another way."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers.attribution.gradients import saliency
from helpers.attribution.relatives import cam, grad_cam
from helpers.benchmark.classifier import Classifier, WeightsNotFoundError
from helpers.benchmark.images import ImageSet, load_images
from helpers.benchmark.models import load_model
from helpers.evaluate import logits_of
from helpers.measures.quality import pixel_auc, relevance_mass
from helpers.studies import last_maps as module
from helpers.studies.compute import recompute
from helpers.studies.last_maps import last_maps, photos_layers, report_maps
from helpers.studies.store import load_results

SEEDS = [5, 9]


def has_report():
    try:
        return module.report_folder()
    except WeightsNotFoundError:
        return None


needs_report = pytest.mark.skipif(
    not has_report(), reason="HELPERS_REPORT names no folder with week7/, the report's networks"
)


@pytest.fixture(scope="module")
def scenes():
    model, images = load_model("scenes", device="cpu"), load_images("scenes", 2)
    target = images.labels["shape"]
    return model, images, target, last_maps(model, images, target, SEEDS)


def test_each_map_is_the_one_that_its_name_says(scenes):
    model, images, target, found = scenes
    pixels, mask = images.pixels, images.masks["shape"]
    coarse = grad_cam(model, pixels, target, enlarge="none")

    def enlarged(values):
        return F.interpolate(values, (64, 64), mode="bilinear")

    def scaled(values):
        return values / values.amax((1, 2, 3), keepdim=True)

    last, finer = (
        grad_cam(model, pixels, target),
        grad_cam(model, pixels, target, layer="network.5"),
    )
    expected = {
        "CAM": cam(model, pixels, target),
        "CAM, nearest": cam(model, pixels, target, enlarge="nearest"),
        "Grad-CAM": last,
        "Grad-CAM, nearest": grad_cam(model, pixels, target, enlarge="nearest"),
        "averaged to 4": enlarged(F.avg_pool2d(coarse, 2)),
        "averaged to 2": enlarged(F.avg_pool2d(coarse, 4)),
        "averaged to 8": last,
        "block 4": finer,
        "block 4, averaged": enlarged(
            F.avg_pool2d(grad_cam(model, pixels, target, layer="network.5", enlarge="none"), 2)
        ),
        "block 5": last,
        "the part itself": enlarged(F.avg_pool2d(mask.float(), 8)),
        "last + finer": scaled(last) + scaled(finer),
        "last × finer": last * finer,
        "gradient": saliency(model, pixels, target),
    }
    for name, maps in expected.items():
        for measure, of in {"mass": relevance_mass, "auc": pixel_auc}.items():
            assert found[name][measure] == pytest.approx(of(maps, mask), rel=1e-4), (name, measure)
    touched = F.max_pool2d(mask.float(), 8) > 0
    assert found["Grad-CAM"]["cells"] == pytest.approx(relevance_mass(coarse, touched), rel=1e-4)
    assert found["random"]["cells"] == pytest.approx(touched.flatten(1).float().mean(1))


def test_a_random_map_does_not_ask_the_network(scenes):
    _, images, target, found = scenes
    other = last_maps(load_model("scenes", seed=1), images, target, SEEDS)
    for measure, values in found["random"].items():
        assert other["random"][measure].equal(values)
    assert not other["Grad-CAM"]["mass"].equal(found["Grad-CAM"]["mass"])


def test_what_a_last_map_is_too_coarse_for_has_no_value():
    model, images = load_model("scenes-4x4", device="cpu"), load_images("scenes", 1)
    found = last_maps(model, images, images.labels["shape"], SEEDS[:1])
    assert found["averaged to 8"] == {} and found["averaged to 2"]["mass"] > 0


def test_a_map_of_zeros_counts_as_one_that_knows_nothing():
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., :2] = True
    found = module._measured(torch.zeros(1, 3, 8, 8), mask)
    assert [found[k].item() for k in ("mass", "auc", "zeros")] == [0.25, 0.5, 1]


def _tiny(name):
    torch.manual_seed(1)
    network = nn.Sequential()
    for i, (n_in, n_out) in enumerate(((3, 4), (4, 5), (5, 6))):
        layers = nn.Conv2d(n_in, n_out, 3, padding=1), nn.Softplus(), nn.AvgPool2d(2)
        network.add_module(f"b{i}", nn.Sequential(*layers))
    network.add_module("mean", nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", nn.Flatten())
    network.add_module("head", nn.Linear(6, 3))
    about = dict(classes=("a", "b", "c"), input_size=32, part="class", images="photos")
    return Classifier(network, mean=[0.5] * 3, std=[0.5] * 3, name=name, **about).eval()


def test_photographs_are_asked_by_layer(monkeypatch):
    layers = {"a net": {2: "b0", 4: "b1", 8: "b2"}, "b net": {2: "b0", 4: "b1", 32: "b2"}}
    monkeypatch.setattr(module, "LAYERS", layers)
    mask = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    mask[..., :32, :32] = True
    images = ImageSet(torch.rand(2, 3, 64, 64), ("a", "b"), masks={"cell": mask})
    target, tables = torch.tensor([0, 2]), []
    for name in layers:
        model = _tiny(name)
        tables.append(photos_layers(model, images, target, SEEDS))
        finer = grad_cam(model, images.pixels, target, layer="network.b1")
        last = grad_cam(model, images.pixels, target)
        joined = relevance_mass(last * finer, mask).nan_to_num(0.25)  # of zeros, the area
        assert tables[-1]["last × finer"]["mass"] == pytest.approx(joined, rel=1e-4)
        share = relevance_mass(finer, mask).nan_to_num(0.25)
        assert tables[-1]["stride 4"]["mass"] == pytest.approx(share, rel=1e-4)
    assert "stride 32" in tables[0] and not tables[0]["stride 32"]  # one table for both
    assert tables[1]["stride 32"]["mass"].equal(tables[1]["Grad-CAM"]["mass"])


def test_without_the_report_the_error_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.setenv("HELPERS_REPORT", str(tmp_path))
    with pytest.raises(WeightsNotFoundError, match="set HELPERS_REPORT"):
        module.report_folder()


@needs_report
def test_the_reports_networks_are_those_that_it_speaks_of():
    from torchvision.datasets import MNIST

    digits = MNIST(module.report_folder() / "mnist", train=False, download=False)
    pixels, labels = digits.data[:2000, None].float() / 255, digits.targets[:2000]
    for name, accuracy, size in (("cam_old", 0.976, 3), ("cam_new", 0.949, 6)):
        network = module.report_network(name)
        right = logits_of(network, pixels).argmax(1) == labels
        assert right.float().mean().item() == pytest.approx(accuracy, abs=0.001)
        found = grad_cam(network, pixels[:1], enlarge="none")
        assert tuple(found.shape) == (1, 1, size, size)
    made = module.generated_digits(3)
    assert made.shape == (3, 1, 28, 28) and 0 <= made.min() < made.max() <= 1


@needs_report
@pytest.mark.parametrize("name", ["report_maps", "report_mosaics"])
def test_the_stored_values_of_the_report_are_computed_again(name):
    for seed in (0, 1):  # of either network
        assert "agree with the stored ones" in recompute(load_results(name), seed=seed)


@needs_report
def test_the_reports_blocks_are_its_rectified_convolutions():
    model, images = module.report_network("cam_new"), module.report_digits(None, 2)
    found = report_maps(model, images, images.labels["class"], SEEDS)
    block = grad_cam(model, images.pixels, images.labels["class"], layer="network.4")
    assert found["block 2"]["mass"] == pytest.approx(
        relevance_mass(block, images.pixels > module.INK), rel=1e-4
    )
