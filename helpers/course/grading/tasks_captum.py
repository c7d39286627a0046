"""The tasks of exercise 6: each check is one test of one behaviour, and 85 % of them passed is the
bonus point."""

import numpy as np
import torch

from helpers.course.grading.tasks import (
    MODEL,
    PYPLOT,
    gradients,
    keys,
    relative_error,
    same,
    task,
)

SHELF, SCRATCH = "captum_1_off_the_shelf", "captum_2_from_scratch"
EVERYTHING = None  # of captum may be called
NOISE = 0.3
_GRADIENT = """
def get_custom_gradient(model, image, absolute=False):
    import torch
    point = image.clone().requires_grad_()
    logits = model(point)
    (found,) = torch.autograd.grad(logits[0, logits[0].argmax()], point)
    return found.abs() if absolute else found
"""
_PATH = """
def get_path(image, baseline, num_samples):
    import torch
    return [baseline + a * (image - baseline) for a in torch.linspace(0, 1, num_samples)]
"""


def _predicted(model, image):
    with torch.no_grad():
        return int(model(image).argmax(1))


def _gradient(model, image):
    from captum.attr import Saliency

    return Saliency(model).attribute(image, target=_predicted(model, image))


def _integrated(model, image):
    from captum.attr import IntegratedGradients

    return IntegratedGradients(model).attribute(image, target=_predicted(model, image))


def _smoothgrad(model, image, num_samples=10, stdevs=0.3):
    from captum.attr import NoiseTunnel, Saliency

    return NoiseTunnel(Saliency(model)).attribute(
        image,
        target=_predicted(model, image),
        nt_type="smoothgrad",
        nt_samples=num_samples,
        stdevs=stdevs,
    )


def _aggregate(attribution):
    return attribution.sum(1)[0]


def _normalize(attribution):
    size = attribution.abs()
    size = size - size.min()
    return size / size.max()


def _plot(plt, image, attributions, method_names):
    _, axes = plt.subplots(1, len(attributions) + 1, figsize=(3 * len(attributions) + 3, 3))
    axes[0].imshow(image.permute(1, 2, 0))
    axes[0].set_title("input")
    for ax, attribution, name in zip(axes[1:], attributions, method_names, strict=True):
        ax.imshow(attribution, cmap="gray_r")
        ax.set_title(name)
    for ax in axes:
        ax.axis("off")


def _custom_gradient(model, image, absolute=False):
    found = {}
    exec(_GRADIENT, found)
    return found["get_custom_gradient"](model, image, absolute)


def _path(image, baseline, num_samples):
    return [baseline + a * (image - baseline) for a in torch.linspace(0, 1, num_samples)]


def _custom_integrated(model, image, num_samples):
    from helpers.attribution.integrated_gradients import integrated_gradients

    return integrated_gradients(
        model, image, _predicted(model, image), n_steps=num_samples, rule="endpoints"
    )


def _one(given):
    """One image, its class, and the gradient of that class's logit there."""
    image, aim = given.pixels[:1], given.predicted[:1]
    return image, aim, given.gradient(image, aim)


@task(SHELF, 3, EVERYTHING, _gradient)
def get_gradient(given, call):
    image, _, gradient = _one(given)
    answer = call(MODEL, image)
    yield 1, "one value for each value of the image", _shape(answer, image)
    mistakes = {
        "signed: captum's Saliency takes absolute values unless it is told not to": gradient,
        "of the least likely class": lambda: given.gradient(
            image, given.logits(image).argmin(1)
        ).abs(),
        "the gradient times the image": (gradient * image).abs(),
    }
    yield (
        1,
        "the size of the gradient of the predicted class",
        same(answer, gradient.abs(), mistakes),
    )
    other = given.pixels[1:2]
    yield (
        1,
        "and of another image",
        same(call(MODEL, other), given.gradient(other, given.predicted[1:2]).abs()),
    )


@task(SHELF, 3, EVERYTHING, _integrated)
def get_integrated_gradients(given, call):
    image, aim, gradient = _one(given)
    answer = call(MODEL, image)
    yield 1, "one value for each value of the image", _shape(answer, image)
    expected = _along(given, image, aim)
    mistakes = {
        "its absolute value": expected.abs(),
        "the gradient alone, at the image": gradient,
        "from white: captum's own baseline, zero, is black": lambda: _along(
            given, image, aim, torch.ones_like(image)
        ),
    }
    yield (
        1,
        "Integrated Gradients of the predicted class from black",
        same(answer, expected, mistakes),
    )
    rise = (given.logits(image) - given.logits(0 * image))[0, int(aim)]
    total = 0.0 if answer.problem else float(answer.arrays.get("", np.zeros(1)).sum())
    near = abs(total - float(rise)) <= 0.02 * abs(float(rise))
    said = None if near else f"the sum is {total:.3g}, the rise {float(rise):.3g}"
    yield 1, "its sum is the rise of the logit from black to the image", answer.problem or said


def _along(given, image, aim, baseline=None, n=50):
    """Integrated Gradients by Gauss-Legendre, captum's rule."""
    baseline = torch.zeros_like(image) if baseline is None else baseline
    nodes, weights = np.polynomial.legendre.leggauss(n)
    path = [baseline + (1 + float(x)) / 2 * (image - baseline) for x in nodes]
    each = torch.cat([given.gradient(point, aim) for point in path])
    mean = (each * torch.from_numpy(weights / 2).reshape(-1, 1, 1, 1)).sum(0, keepdim=True)
    return mean * (image - baseline)


@task(SHELF, 5, EVERYTHING, _smoothgrad)
def get_smoothgrad(given, call):
    image, aim, gradient = _one(given)
    answer = call(MODEL, image)
    yield 1, "one value for each value of the image", _shape(answer, image)
    yield 1, "ten samples unless another number is asked for", gradients(answer, 10)
    yield 1, "as many samples as num_samples says", gradients(call(MODEL, image, 7, NOISE), 7)
    yield (
        1,
        "with next to no noise, the size of the gradient",
        same(
            call(MODEL, image, 3, 1e-6),
            gradient.abs(),
            {"signed": gradient, "squared: nt_type must be 'smoothgrad'": gradient.square()},
        ),
    )
    many = 400
    noisy = torch.stack(
        [given.gradient(image + NOISE * field, aim) for field in given.fields(many)]
    )
    expected = noisy.abs().mean(0)
    # two means of so many draws differ by 8 to 22 % on these pictures, few of which weigh much
    yield (
        1,
        f"the mean over noise of strength {NOISE:g}",
        same(
            call(MODEL, image, many, NOISE),
            expected,
            {
                "the mean of signed gradients: NoiseTunnel smooths what Saliency returns, sizes": (
                    noisy.mean(0)
                ),
                "the gradient without noise": gradient.abs(),
            },
            tolerance=0.4,
        ),
    )


@task(SHELF, 3, EVERYTHING, _aggregate)
def aggregate_attribution(given, call):
    attribution = given.rng(20).standard_normal((1, 3, 5, 7))
    attribution = torch.from_numpy(attribution).float()
    answer = call(attribution)
    yield (
        1,
        "no batch and no channels are left: (H, W)",
        (
            None
            if not answer.problem and answer.arrays.get("", np.empty(0)).shape == (5, 7)
            else answer.problem
            or f"shape {answer.arrays.get('', np.empty(0)).shape}, where (5, 7) was expected"
        ),
    )
    found = _squeezed(answer)
    mistakes = {
        "the mean over channels": attribution.mean(1)[0],
        "the sum of absolute values: signs cancel here": attribution.abs().sum(1)[0],
        "the largest channel": attribution.amax(1)[0],
    }
    yield 1, "the sum over channels", same(found, attribution.sum(1)[0], mistakes)
    yield (
        1,
        "of a constant, three times it",
        same(_squeezed(call(torch.full((1, 3, 4, 4), 2.0))), torch.full((4, 4), 6.0)),
    )


@task(SHELF, 3, EVERYTHING, _normalize)
def normalize_attribution(given, call):
    attribution = torch.from_numpy(given.rng(21).standard_normal((6, 5))).float()
    attribution = attribution + 0.5 * attribution.sign()  # no value near 0
    size = attribution.abs()
    expected = (size - size.min()) / (size.max() - size.min())
    answer = call(attribution)
    values = answer.arrays.get("", np.full(1, np.nan)) if not answer.problem else np.full(1, np.nan)
    yield (
        1,
        "from 0 to 1",
        (
            None
            if np.isclose(values.min(), 0, atol=1e-6) and np.isclose(values.max(), 1, atol=1e-6)
            else answer.problem or f"from {values.min():.3g} to {values.max():.3g}"
        ),
    )
    low = attribution - attribution.min()
    mistakes = {
        "without the absolute value": low / low.max(),
        "without the minimum subtracted": size / size.max(),
        "divided by the old maximum: divide after the subtraction": (size - size.min())
        / size.max(),
    }
    yield (
        1,
        "absolute value, minus the minimum, over the maximum of that",
        same(answer, expected, mistakes),
    )
    yield 1, "the scale of the map does not matter", same(call(40 * attribution), expected)


@task(SHELF, 4, EVERYTHING, _plot)
def plot_attributions(given, call):
    image, maps = given.pixels[0], torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0))
    answer = call(PYPLOT, image, maps, ("first", "second"))
    found = {} if answer.problem else answer.arrays
    n = int(found["axes"][0]) if "axes" in found else 0
    yield (
        1,
        "as many subplots as maps, and one for the image",
        (
            None
            if n == 3
            else answer.problem or f"{n} subplots with a picture, where 3 were expected"
        ),
    )
    rows = int(found["rows"][0]) if "rows" in found else 0
    yield 1, "in one row", None if rows == 1 and n > 1 else answer.problem or f"{rows} rows"
    wanted = [image.permute(1, 2, 0).numpy(), *maps.numpy()]
    shown = [found.get(str(i), np.empty(0)) for i in range(3)]
    right = [
        one.shape == other.shape and relative_error(one, other) < 1e-3
        for one, other in zip(shown, wanted, strict=True)
    ]
    yield (
        1,
        "first the image, channels last, then the maps",
        (
            None
            if all(right)
            else answer.problem
            or f"shapes {', '.join(str(one.shape) for one in shown)}: not what was given, in order"
        ),
    )
    titles = bytes(found.get("titles", np.empty(0, np.uint8))).decode("utf-8", "replace")
    yield (
        1,
        "each map under its method's name",
        (
            None
            if titles.split("\n")[1:] == ["first", "second"]
            else answer.problem or f"titles {titles.splitlines()}"
        ),
    )


@task(SCRATCH, 4, (), _custom_gradient)
def get_custom_gradient(given, call):
    image, _, gradient = _one(given)
    answer = call(MODEL, image)
    yield 1, "one value for each value of the image", _shape(answer, image)
    mistakes = {
        "its absolute value, which was not asked for": gradient.abs(),
        "the gradient of all logits, not of the predicted class's": lambda: sum(
            given.gradient(image, torch.tensor([k])) for k in range(len(given.facts["classes"]))
        ),
        "the gradient of the probability, not of the logit": lambda: _of_probability(given, image),
        "the gradient times the image": gradient * image,
    }
    yield 1, "the gradient of the predicted class's logit, signed", same(answer, gradient, mistakes)
    yield (
        1,
        "its size, with absolute=True",
        same(call(MODEL, image, True), gradient.abs(), {"still signed": gradient}),
    )
    yield (
        1,
        "one gradient is asked for, and the image stays as it was",
        gradients(answer, 1) or answer.changed,
    )


def _of_probability(given, image):
    points = image.double().requires_grad_()
    return torch.autograd.grad(given.network(points).softmax(1).max(), points)[0]


@task(SCRATCH, 4, (), _path)
def get_path(given, call):
    image, baseline = given.pixels[:1], 0.2 * given.pixels[1:2]
    answer = call(image, baseline, 5)
    yield 1, "a list of num_samples images", keys_or_count(answer, 5)
    points = [answer.arrays.get(str(i), np.empty(0)) for i in range(5)]
    yield 1, "it begins at the baseline", _near(answer, points[0], baseline, {"the image": image})
    yield (
        1,
        "and ends at the image",
        _near(
            answer,
            points[4],
            image,
            {
                "one step short of it: both ends are on the path": baseline
                + 0.8 * (image - baseline),
                "the baseline": baseline,
            },
        ),
    )
    yield (
        1,
        "the steps between are equal",
        _near(answer, points[1], baseline + 0.25 * (image - baseline), {}),
    )


@task(
    SCRATCH,
    4,
    (),
    _custom_integrated,
    {"get_custom_gradient": _GRADIENT, "get_path": _PATH},
)
def get_custom_integrated_gradients(given, call):
    image, aim, _ = _one(given)
    n = 6
    answer = call(MODEL, image, n)
    yield 1, "one value for each value of the image", _shape(answer, image)
    alphas = torch.linspace(0, 1, n)
    each = torch.stack([given.gradient(a * image, aim) for a in alphas])
    expected = each.mean(0) * image
    mistakes = {
        "the mean gradient, not yet times the image minus the baseline": each.mean(0),
        "the sum over the path: the mean belongs here": each.sum(0) * image,
        "the sum over the path, not times the image": each.sum(0),
        "of sizes: absolute=True": each.abs().mean(0) * image,
        "the class predicted at each point of the path: fix the image's own": lambda: (
            torch.stack(
                [given.gradient(a * image, given.logits(a * image).argmax(1)) for a in alphas]
            ).mean(0)
            * image
        ),
        "without the image at the end of the path": each[:-1].mean(0) * image,
    }
    yield (
        1,
        "the mean gradient along the path, times the image minus black",
        same(answer, expected, mistakes),
    )
    yield 1, "the network is asked for num_samples gradients", gradients(answer, n)
    more = torch.stack([given.gradient(a * image, aim) for a in torch.linspace(0, 1, 11)])
    yield (
        1,
        "with another number of points, too",
        same(call(MODEL, image, 11), more.mean(0) * image),
    )


def keys_or_count(answer, n):
    if answer.problem:
        return answer.problem
    if answer.kind == "array" and len(answer.arrays[""]) == n:
        return "one tensor of all points, where a list of images was expected"
    return keys(answer, range(n)) if answer.kind == "dict" else _counted(answer, n)


def _counted(answer, n):
    if answer.kind != "tuple":
        return f"a list was expected, found a {answer.kind}"
    return None if len(answer.arrays) == n else f"{len(answer.arrays)} images, where {n} belong"


def _near(answer, found, expected, mistakes):
    if answer.problem:
        return answer.problem
    expected = np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        return f"shape {found.shape}, where {expected.shape} was expected"
    if relative_error(found, expected) < 1e-4:
        return None
    for name, values in mistakes.items():
        if relative_error(found, np.asarray(values, np.float64)) < 1e-4:
            return f"it is {name}"
    return "it is elsewhere"


def _shape(answer, image):
    if answer.problem:
        return answer.problem
    found = answer.arrays.get("", np.empty(0)).shape
    if found == tuple(image.shape):
        return None
    return f"shape {found}, where {tuple(image.shape)} was expected"


def _squeezed(answer):
    """Its values judged apart from a batch of one that was left."""
    if not answer.problem and answer.arrays.get("", np.empty(0)).ndim == 3:
        answer.arrays[""] = answer.arrays[""][0]
    return answer


TASKS = (
    get_gradient,
    get_integrated_gradients,
    get_smoothgrad,
    aggregate_attribution,
    normalize_attribution,
    plot_attributions,
    get_custom_gradient,
    get_path,
    get_custom_integrated_gradients,
)
