"""Exercise 6: right answers of several kinds pass every test, wrong ones lose the test that names
them, and the values are captum's."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from solutions import right

from helpers.course.grading import score, tasks_captum
from helpers.course.grading.tasks import Given
from helpers.course.lesson import examine, task
from helpers.evaluate import logits_of

WRONG = [
    ("get_gradient", "return Saliency(model).attribute(image, target=predicted(model, image), "
     "abs=False)", "signed"),
    ("get_gradient", "return Saliency(model).attribute(image, target=int(model(image).argmin()))",
     "least likely"),
    ("get_gradient", "return image * get_custom_gradient(model, image, True)", "times the image"),
    ("get_integrated_gradients", "return IntegratedGradients(model).attribute(image, "
     "baselines=torch.ones_like(image), target=predicted(model, image))", "from white"),
    ("get_integrated_gradients", "return IntegratedGradients(model).attribute(image, "
     "target=predicted(model, image)).abs()", "absolute value"),
    ("get_integrated_gradients", "return get_custom_gradient(model, image)", "gradient alone"),
    ("get_smoothgrad", "return NoiseTunnel(Saliency(model)).attribute(image, "
     "nt_samples=num_samples, stdevs=stdevs, nt_type='smoothgrad_sq', "
     "target=predicted(model, image))", "squared"),
    ("get_smoothgrad", "return NoiseTunnel(Saliency(model)).attribute(image, "
     "nt_samples=num_samples, stdevs=stdevs, abs=False, target=predicted(model, image))",
     "signed"),
    ("get_smoothgrad", "return NoiseTunnel(Saliency(model)).attribute(image, nt_samples=5, "
     "stdevs=stdevs, target=predicted(model, image))", "5 gradients"),
    ("aggregate_attribution", "return attribution.mean(1)[0]", "mean over channels"),
    ("aggregate_attribution", "return attribution.abs().sum(1)[0]", "signs cancel"),
    ("aggregate_attribution", "return attribution.sum(1)", "(1, 5, 7)"),
    ("normalize_attribution", "a = attribution - attribution.min()\n    return a / a.max()",
     "without the absolute value"),
    ("normalize_attribution", "a = attribution.abs()\n    return a / a.max()",
     "without the minimum"),
    ("normalize_attribution", "a = attribution.abs()\n    return (a - a.min()) / a.max()",
     "old maximum"),
    ("plot_attributions", "plt.subplots(len(attributions) + 1, 1)", "0 subplots"),
    ("plot_attributions", "_, axes = plt.subplots(3, 1)\n    for ax, x in zip(axes, "
     "[image.permute(1, 2, 0), *attributions]): ax.imshow(x)", "3 rows"),
    ("plot_attributions", "_, axes = plt.subplots(1, 3)\n    for ax, x in zip(axes, "
     "[image.permute(2, 1, 0), *attributions]): ax.imshow(x)", "not what was given"),
    ("get_custom_gradient", "x = image.clone().requires_grad_()\n    return "
     "torch.autograd.grad(model(x).max(), x)[0].abs()", "absolute value"),
    ("get_custom_gradient", "x = image.clone().requires_grad_()\n    return "
     "torch.autograd.grad(model(x).sum(), x)[0]", "all logits"),
    ("get_custom_gradient", "x = image.clone().requires_grad_()\n    return "
     "torch.autograd.grad(model(x).softmax(1).max(), x)[0]", "probability"),
    ("get_custom_gradient", "return Saliency(model).attribute(image, target=0)", "blocked"),
    ("get_custom_gradient", "image.requires_grad_()\n    model(image).max().backward()\n    "
     "return image.grad.abs() if absolute else image.grad", "left a gradient"),
    ("get_path", "return [baseline + i / num_samples * (image - baseline) for i in "
     "range(num_samples)]", "one step short"),
    ("get_path", "return [image + i / (num_samples - 1) * (baseline - image) for i in "
     "range(num_samples)]", "the image"),
    ("get_path", "return torch.cat([torch.lerp(baseline, image, i / (num_samples - 1)) for i in "
     "range(num_samples)])", "one tensor"),
    ("get_custom_integrated_gradients", "return sum(get_custom_gradient(model, p) for p in "
     "get_path(image, 0 * image, num_samples)) / num_samples * image", "at each point"),
    ("get_custom_integrated_gradients", "c = predicted(model, image)\n    path = torch.cat("
     "get_path(image, 0 * image, num_samples)).requires_grad_()\n    return torch.autograd.grad("
     "model(path)[:, c].sum(), path)[0].mean(0, keepdim=True)", "not yet times the image"),
    ("get_custom_integrated_gradients", "c = predicted(model, image)\n    path = torch.cat("
     "get_path(image, 0 * image, num_samples)).requires_grad_()\n    return image * torch.autograd"
     ".grad(model(path)[:, c].sum(), path)[0].sum(0, keepdim=True)", "sum over the path"),
]  # fmt: skip


@pytest.mark.parametrize("each", tasks_captum.TASKS, ids=lambda each: each.name)
def test_another_right_answer_passes_every_test(each):
    found = examine(each, right()[each.name])
    assert not [reason for *_, reason in found if reason]
    assert sum(points for points, *_ in found) == each.points == len(found)


@pytest.mark.parametrize(("name", "body", "words"), WRONG)
def test_a_wrong_one_loses_the_test_that_names_its_mistake(name, body, words):
    captum = {each.__name__: each for each in (IntegratedGradients, NoiseTunnel, Saliency)}
    namespace = right() | captum
    exec(f"def {name}{inspect.signature(namespace[name])}:\n    {body}", namespace)
    reasons = [reason for *_, reason in examine(task(name), namespace[name]) if reason]
    assert any(words in reason for reason in reasons), reasons


def test_captum_is_no_remark_where_it_is_asked_for():
    def remarks(name, source):
        cell = {"kind": "code", "theirs": True, "source": source, "id": "a"}
        return score._suspicions(name, SimpleNamespace(cells=[cell]))

    body = "    from captum.attr import Saliency\n    return Saliency(model).attribute(image)"
    assert not remarks(tasks_captum.SHELF, f"def get_gradient(model, image):\n{body}")
    assert remarks(tasks_captum.SCRATCH, f"def get_custom_gradient(model, image):\n{body}")


def test_the_references_are_captums():
    given = Given(3)
    image, aim, gradient = tasks_captum._one(given)
    network, exact = given.network, image.double()
    assert int(aim) == int(logits_of(network, exact).argmax())
    assert Saliency(network).attribute(exact, target=aim).allclose(gradient.abs())
    theirs = IntegratedGradients(network).attribute(exact, target=aim)
    assert tasks_captum._along(given, image, aim).allclose(theirs, atol=1e-8)
    torch.manual_seed(0)
    tunnel = NoiseTunnel(Saliency(network)).attribute(
        exact, target=aim, nt_samples=400, stdevs=tasks_captum.NOISE
    )
    noisy = torch.stack(
        [given.gradient(image + tasks_captum.NOISE * f, aim).abs() for f in given.fields(400)]
    ).mean(0)
    assert (tunnel - noisy).norm() / noisy.norm() < 0.3
