"""The tasks of the notebooks on the gradient's relatives."""

import torch
from torch.nn import functional as F

from helpers.course.grading.tasks import Task, of, same, task

# --- relatives_2_cam ------------------------------------------------------------------------------

_CAM = [
    *of("helpers.attribution.relatives", "cam", "grad_cam", "guided_grad_cam", "_enlarged"),
    *of("captum.attr", "LayerGradCam.attribute", "LayerAttribution.interpolate"),
]


def _enlarge(coarse, size, **how):
    return F.interpolate(coarse, tuple(size), **{"mode": "bilinear"} | how)


def _weigh(maps, weights):
    return (weights[:, :, None, None] * maps).sum(1, keepdim=True)


def _cam(maps, weights, size):
    return _enlarge(_weigh(maps, weights), size)


def _grad_cam(maps, gradients, size):
    return _enlarge(_weigh(maps, gradients.mean((2, 3))).relu(), size)


def _layer(given, word, n=3, channels=6, places=(3, 5)):
    """What a layer with ReLUs returned, and the logit's gradient there, which differs from place
    to place."""
    rng = given.rng(21, word)
    maps = torch.from_numpy(rng.standard_normal((n, channels, *places))).float().relu()
    bias = torch.from_numpy(rng.standard_normal((n, channels, 1, 1)))
    noise = torch.from_numpy(rng.standard_normal((n, channels, *places)))
    return maps, (bias + noise).float()


@task("relatives_2_cam", 6, _CAM, _cam)
def my_cam(given, call):
    maps, gradients = _layer(given, 1)
    weights, size = gradients.mean((2, 3)), (13, 20)
    coarse = _weigh(maps.double(), weights.double())
    mistakes = {
        "the positive part: CAM keeps its sign": _enlarge(coarse, size).relu(),
        "the positive part, taken before enlarging: CAM keeps its sign": _enlarge(
            coarse.relu(), size
        ),
        "the mean over channels, not the sum": _enlarge(coarse / maps.shape[1], size),
        "the sum of the maps without the weights": _enlarge(maps.sum(1, keepdim=True), size),
        "with the weights' sizes, without their signs": _enlarge(_weigh(maps, weights.abs()), size),
        "with softmaxed weights: CAM takes them as they are": _enlarge(
            _weigh(maps, weights.softmax(1)), size
        ),
        "with the weights of the first picture for all": _enlarge(
            _weigh(maps, weights[:1].expand_as(weights)), size
        ),
        "enlarged with align_corners=True, which moves the places": _enlarge(
            coarse, size, align_corners=True
        ),
        "enlarged by the nearest place, not bilinearly": _enlarge(coarse, size, mode="nearest"),
        "enlarged bicubically, not bilinearly": _enlarge(coarse, size, mode="bicubic"),
        "divided by the number of places": _enlarge(coarse / maps[0, 0].numel(), size),
    }
    answer = call(maps, weights, size)
    yield (
        5,
        "the weighted sum of the channels, with its sign, enlarged bilinearly",
        same(answer, _enlarge(coarse, size), mistakes),
    )
    still = call(maps, weights, (3, 5))
    yield 1, "enlarged to its own size it stays as it is", same(still, coarse)


@task("relatives_2_cam", 6, _CAM, _grad_cam)
def my_grad_cam(given, call):
    maps, gradients = _layer(given, 2)
    size, places = (13, 20), maps[0, 0].numel()
    weights = gradients.double().mean((2, 3))
    coarse = _weigh(maps.double(), weights)
    each = (gradients * maps).sum(1, keepdim=True)
    mistakes = {
        "without the ReLU": _enlarge(coarse, size),
        "with the ReLU after enlarging: it comes before": _enlarge(coarse, size).relu(),
        "with the absolute value, where the ReLU belongs": _enlarge(coarse.abs(), size),
        "gradient × maps place by place: the gradient is not averaged over places": _enlarge(
            each.relu(), size
        ),
        "gradient × maps place by place, without the ReLU": _enlarge(each, size),
        "weighted by the mean of |gradient|": _enlarge(
            _weigh(maps, gradients.abs().mean((2, 3))).relu(), size
        ),
        "weighted by the positive gradients alone": _enlarge(
            _weigh(maps, gradients.relu().mean((2, 3))).relu(), size
        ),
        "weighted by the sum over places, not their mean": _enlarge(places * coarse.relu(), size),
        "the mean over channels, not the sum": _enlarge(coarse.relu() / maps.shape[1], size),
        "weighted by the mean over all pictures": _enlarge(
            _weigh(maps, weights.mean(0, keepdim=True).expand_as(weights)).relu(), size
        ),
        "enlarged with align_corners=True, which moves the places": _enlarge(
            coarse.relu(), size, align_corners=True
        ),
        "enlarged by the nearest place, not bilinearly": _enlarge(
            coarse.relu(), size, mode="nearest"
        ),
    }
    answer = call(maps, gradients, size)
    yield (
        4,
        "the channels weighted by their mean gradient, summed, rectified, enlarged bilinearly",
        same(answer, _enlarge(coarse.relu(), size), mistakes),
    )
    still = call(maps, gradients, (3, 5))
    yield 1, "enlarged to its own size it stays as it is", same(still, coarse.relu(), mistakes)
    against = call(maps, -gradients, size)
    expected = _enlarge((-coarse).relu(), size)
    yield 1, "with all gradients turned round, what spoke against", same(against, expected)


TASKS: tuple[Task, ...] = (my_cam, my_grad_cam)
