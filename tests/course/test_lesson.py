"""A check names the mistake that a student's function looks like, as grading does: one judge."""

import pytest
from solutions import right

from helpers.course.lesson import examine, task

# (task, a wrong answer, which may call the right ones, and words that its check says)
GRADIENT = "def my_gradient(model, pixels, target):\n    x = pixels.clone().requires_grad_()\n    "
SMOOTHGRAD = "def my_smoothgrad(model, pixels, target, fields, noise):\n    "
EACH = "each = [my_gradient(model, pixels + noise * f, target) for f in fields]\n    "
COUNTS = """
def my_counts(model, pixels, target, counts, fields, noise):
    total, maps = torch.zeros_like(pixels), {}
    for n, field in enumerate(fields[: max(counts)], %d):
        total += my_gradient(model, pixels + noise * field, target)
        if n in counts:
            maps[n] = %s
    return %s
"""
PASSES = """
def my_counts(model, pixels, target, counts, fields, noise):
    return {n: my_smoothgrad(model, pixels, target, %s, noise) for n in counts}
"""
PLANTED = [
    ("my_gradient", f"{GRADIENT}logits = model(x).gather(1, target[:, None])\n    "
     "return torch.autograd.grad(logits.mean(), x)[0]", "divided by the number of pictures"),
    ("my_gradient", f"{GRADIENT}return torch.autograd.grad(model(x).sum(), x)[0]",
     "of all logits, not of the target's"),
    ("my_gradient", f"{GRADIENT}return torch.autograd.grad(model(x).amax(1).sum(), x)[0]",
     "of the predicted class"),
    ("my_gradient", f"{GRADIENT}logits = model(x).softmax(1).gather(1, target[:, None])\n    "
     "return torch.autograd.grad(logits.sum(), x)[0]", "probability, not of its logit"),
    ("my_smoothgrad", f"{SMOOTHGRAD}{EACH}return sum(each)", "the sum over the fields"),
    ("my_smoothgrad", f"{SMOOTHGRAD}{EACH}return sum(g.abs() for g in each) / len(each)",
     "the mean of the absolute gradients"),
    ("my_smoothgrad", f"{SMOOTHGRAD}{EACH.replace('noise * f', 'f')}return sum(each) / len(each)",
     "noise of standard deviation 1"),
    ("my_smoothgrad", f"{SMOOTHGRAD}return my_gradient(model, pixels + noise * fields.mean(0), "
     "target)", "the gradient at the mean of the noisy copies"),
    ("my_counts", COUNTS % (1, "total.clone()", "maps"), "the sum over the fields, not the mean"),
    ("my_counts", COUNTS % (1, "total / max(counts)", "maps"), "divided by the largest count"),
    ("my_counts", COUNTS % (1, "total", "{n: m / n for n, m in maps.items()}"),
     "`+=` changed the tensor after it was stored"),
    ("my_counts", COUNTS % (0, "total / n", "maps"),
     "a field too many"),
    ("my_counts", PASSES % "fields", "the mean over all fields"),
    ("my_counts", PASSES % "fields[-n:]", "the mean over the last n fields"),
    ("my_counts", PASSES % "fields[:n]", "a pass of its own for each count"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wrong", "words"), PLANTED)
def test_a_planted_mistake_is_named(name, wrong, words):
    namespace = right()
    exec(wrong, namespace)
    found = examine(task(name), namespace[name])
    assert any(words in reason for _, _, reason in found if reason), found
    assert sum(points for points, _, reason in found if reason) > 0


@pytest.mark.parametrize("name", ["my_gradient", "my_smoothgrad", "my_counts"])
def test_a_right_answer_has_no_mistake(name):
    assert not [reason for *_, reason in examine(task(name), right()[name]) if reason]
