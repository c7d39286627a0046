"""The tasks of exercise 6: each check is one test of one behaviour, and 85 % of them passed is the
bonus point."""

import numpy as np
import torch

from helpers.attribution.gradients import saliency
from helpers.attribution.targets import probability
from helpers.course.grading.tasks import (
    MODEL,
    PYPLOT,
    array,
    gradients,
    keys,
    relative_error,
    same,
    shaped,
    task,
    tasks_in,
    unless,
    wrong,
)

SHELF, SCRATCH = "captum_1_off_the_shelf", "captum_2_from_scratch"
EVERYTHING = None  # of captum may be called
NOISE = 0.3


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
    import torch

    point = image.clone().requires_grad_()
    logits = model(point)
    (found,) = torch.autograd.grad(logits[0, logits[0].argmax()], point)
    return found.abs() if absolute else found


def _path(image, baseline, num_samples):
    import torch

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


WHOLE = "one value for each value of the image"


@task(SHELF, 3, EVERYTHING, _gradient)
def get_gradient(given, call):
    image, _, gradient = _one(given)
    answer = call(MODEL, image)
    yield 1, WHOLE, shaped(answer, image.shape)
    least = given.gradient(image, given.logits(image).argmin(1))
    mistakes = {
        "signed: captum's Saliency takes absolute values unless it is told not to": gradient,
        "of the least likely class": least.abs(),
        "the gradient times the image": (gradient * image).abs(),
    }
    problem = same(answer, gradient.abs(), mistakes)
    yield 1, "the size of the gradient of the predicted class", problem
    other = given.pixels[1:2]
    yield 1, "and of another image", same(call(MODEL, other), given.gradient(other).abs())


@task(SHELF, 3, EVERYTHING, _integrated)
def get_integrated_gradients(given, call):
    image, aim, gradient = _one(given)
    answer = call(MODEL, image)
    yield 1, WHOLE, shaped(answer, image.shape)
    expected = _along(given, image, aim)
    mistakes = {
        "its absolute value": expected.abs(),
        "the gradient alone, at the image": gradient,
        "from white: captum's own baseline, zero, is black": _along(
            given, image, aim, torch.ones_like(image)
        ),
    }
    problem = same(answer, expected, mistakes)
    yield 1, "Integrated Gradients of the predicted class from black", problem
    rise = float((given.logits(image) - given.logits(0 * image))[0, int(aim)])
    total = float(array(answer).sum())
    said = f"the sum is {total:.3g}, the rise {rise:.3g}"
    problem = unless(abs(total - rise) <= 0.02 * abs(rise), answer, said)
    yield 1, "its sum is the rise of the logit from black to the image", problem


def _along(given, image, aim, baseline=0.0):
    """Integrated Gradients by Gauss-Legendre with 50 nodes, captum's rule."""
    nodes, weights = np.polynomial.legendre.leggauss(50)
    alphas, weights = torch.from_numpy(np.stack([1 + nodes, weights]) / 2).reshape(2, -1, 1, 1, 1)
    each = given.gradient(baseline + alphas[:, None] * (image - baseline), aim)
    return (each[:, 0] * weights).sum(0, keepdim=True) * (image - baseline)


@task(SHELF, 5, EVERYTHING, _smoothgrad)
def get_smoothgrad(given, call):
    image, aim, gradient = _one(given)
    answer = call(MODEL, image)
    yield 1, WHOLE, shaped(answer, image.shape)
    yield 1, "ten samples unless another number is asked for", gradients(answer, 10)
    yield 1, "as many samples as num_samples says", gradients(call(MODEL, image, 7, NOISE), 7)
    mistakes = {"signed": gradient, "squared: nt_type must be 'smoothgrad'": gradient.square()}
    problem = same(call(MODEL, image, 3, 1e-6), gradient.abs(), mistakes)
    yield 1, "with next to no noise, the size of the gradient", problem
    many = 400
    noisy = given.gradient((image + NOISE * given.fields(many))[:, None], aim)
    mistakes = {
        "the mean of signed gradients: NoiseTunnel smooths what Saliency returns, sizes": (
            noisy.mean(0)
        ),
        "the gradient without noise": gradient.abs(),
    }
    # two means of so many draws differ by 8 to 22 % on these pictures, few of which weigh much
    answer = call(MODEL, image, many, NOISE)
    problem = same(answer, noisy.abs().mean(0), mistakes, tolerance=0.4)
    yield 1, f"the mean over noise of strength {NOISE:g}", problem


@task(SHELF, 3, EVERYTHING, _aggregate)
def aggregate_attribution(given, call):
    attribution = given.normal(20, 1, 3, 5, 7).float()
    answer = call(attribution)
    yield 1, "no batch and no channels are left: (H, W)", shaped(answer, (5, 7))
    mistakes = {
        "the mean over channels": attribution.mean(1)[0],
        "the sum of absolute values: signs cancel here": attribution.abs().sum(1)[0],
        "the largest channel": attribution.amax(1)[0],
    }
    problem = same(_squeezed(answer), attribution.sum(1)[0], mistakes)
    yield 1, "the sum over channels", problem
    constant = _squeezed(call(torch.full((1, 3, 4, 4), 2.0)))
    yield 1, "of a constant, three times it", same(constant, torch.full((4, 4), 6.0))


def _squeezed(answer):
    """Its values judged apart from a batch of one that was left."""
    if array(answer).ndim == 3:
        answer.arrays[""] = answer.arrays[""][0]
    return answer


@task(SHELF, 3, EVERYTHING, _normalize)
def normalize_attribution(given, call):
    attribution = given.normal(21, 6, 5).float()
    attribution = attribution + 0.5 * attribution.sign()  # no value near 0
    size = attribution.abs()
    expected = (size - size.min()) / (size.max() - size.min())
    answer = call(attribution)
    values = array(answer) if array(answer).size else np.full(1, np.nan)
    low, high = values.min(), values.max()
    problem = unless(np.allclose([low, high], [0, 1]), answer, f"from {low:.3g} to {high:.3g}")
    yield 1, "from 0 to 1", problem
    signed = attribution - attribution.min()
    mistakes = {
        "without the absolute value": signed / signed.max(),
        "without the minimum subtracted": size / size.max(),
        "divided by the old maximum: divide after the subtraction": (
            (size - size.min()) / size.max()
        ),
    }
    problem = same(answer, expected, mistakes)
    yield 1, "absolute value, minus the minimum, over the maximum of that", problem
    yield 1, "the scale of the map does not matter", same(call(40 * attribution), expected)


@task(SHELF, 4, EVERYTHING, _plot)
def plot_attributions(given, call):
    image, maps = given.pixels[0], torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0))
    answer = call(PYPLOT, image, maps, ("first", "second"))
    found = {"axes": [0], "rows": [0], "titles": b""} | answer.arrays
    n, rows = int(found["axes"][0]), int(found["rows"][0])
    said = f"{n} subplots with a picture, where 3 were expected"
    yield 1, "as many subplots as maps, and one for the image", unless(n == 3, answer, said)
    yield 1, "in one row", unless(rows == 1 and n > 1, answer, f"{rows} rows")
    wanted = [image.permute(1, 2, 0).numpy(), *maps.numpy()]
    shown = [found.get(str(i), np.empty(0)) for i in range(3)]
    right = [
        one.shape == other.shape and relative_error(one, other) < 1e-3
        for one, other in zip(shown, wanted, strict=True)
    ]
    said = f"shapes {', '.join(str(one.shape) for one in shown)}: not what was given, in order"
    problem = unless(all(right), answer, said)
    yield 1, "first the image, channels last, then the maps", problem
    titles = bytes(found["titles"]).decode("utf-8", "replace")
    named = titles.split("\n")[1:] == ["first", "second"]
    problem = unless(named, answer, f"titles {titles.splitlines()}")
    yield 1, "each map under its method's name", problem


@task(SCRATCH, 4, (), _custom_gradient)
def get_custom_gradient(given, call):
    image, aim, gradient = _one(given)
    answer = call(MODEL, image)
    yield 1, WHOLE, shaped(answer, image.shape)
    classes = torch.arange(len(given.facts["classes"]))
    mistakes = {
        "its absolute value, which was not asked for": gradient.abs(),
        "the gradient of all logits, not of the predicted class's": sum(
            given.gradient(image, k[None]) for k in classes
        ),
        "the gradient of the probability, not of the logit": saliency(
            given.network, image.double(), probability(aim)
        ),
        "the gradient times the image": gradient * image,
    }
    yield 1, "the gradient of the predicted class's logit, signed", same(answer, gradient, mistakes)
    problem = same(call(MODEL, image, True), gradient.abs(), {"still signed": gradient})
    yield 1, "its size, with absolute=True", problem
    problem = gradients(answer, 1) or answer.changed
    yield 1, "one gradient is asked for, and the image stays as it was", problem


@task(SCRATCH, 4, (), _path)
def get_path(given, call):
    image, baseline = given.pixels[:1], 0.2 * given.pixels[1:2]
    answer = call(image, baseline, 5)
    yield 1, "a list of num_samples images", _listed(answer, 5)

    def check(place, alpha, mistakes=None):
        point = baseline + alpha * (image - baseline)
        found = answer.arrays.get(str(place), np.empty(0))
        return answer.problem or wrong(found, point, mistakes, tolerance=1e-4)

    yield 1, "it begins at the baseline", check(0, 0, {"the image": image})
    short = "one step short of the image: both ends are on the path"
    mistakes = {short: baseline + 0.8 * (image - baseline), "the baseline": baseline}
    yield 1, "and ends at the image", check(4, 1, mistakes)
    yield 1, "the steps between are equal", check(1, 0.25)


def _listed(answer, n):
    if answer.problem or answer.kind == "dict":
        return keys(answer, range(n))
    if answer.kind == "array" and len(np.atleast_1d(array(answer))) == n:
        return "one tensor of all points, where a list of images was expected"
    if answer.kind != "tuple":
        return f"a list was expected, found a {answer.kind}"
    return None if len(answer.arrays) == n else f"{len(answer.arrays)} images, where {n} belong"


_EARLIER = {"get_custom_gradient": _custom_gradient, "get_path": _path}


@task(SCRATCH, 4, (), _custom_integrated, _EARLIER)
def get_custom_integrated_gradients(given, call):
    image, aim, _ = _one(given)

    def along(n):
        """The points of the path, and the gradient at each."""
        points = torch.linspace(0, 1, n)[:, None, None, None, None] * image
        return points, given.gradient(points, aim)

    points, each = along(6)
    answer = call(MODEL, image, 6)
    yield 1, WHOLE, shaped(answer, image.shape)
    mistakes = {
        "the mean gradient, not yet times the image minus the baseline": each.mean(0),
        "the sum over the path: the mean belongs here": each.sum(0) * image,
        "the sum over the path, not times the image": each.sum(0),
        "of sizes: absolute=True": each.abs().mean(0) * image,
        "the class predicted at each point of the path: fix the image's own": (
            given.gradient(points).mean(0) * image
        ),
        "without the image at the end of the path": each[:-1].mean(0) * image,
    }
    problem = same(answer, each.mean(0) * image, mistakes)
    yield 1, "the mean gradient along the path, times the image minus black", problem
    yield 1, "the network is asked for num_samples gradients", gradients(answer, 6)
    problem = same(call(MODEL, image, 11), along(11)[1].mean(0) * image)
    yield 1, "with another number of points, too", problem


TASKS = tasks_in(globals())
