"""The tasks, their functions called in this process: right answers earn everything, wrong ones lose
what they should."""

import copy
import inspect
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from solutions import right

import helpers
from helpers.attribution.smoothgrad import smoothgrad
from helpers.course import lesson, syllabus
from helpers.course.grading import score, tasks_captum
from helpers.course.grading.guard import suspicious
from helpers.course.grading.remote import Answer, RemoteModel, asked
from helpers.course.grading.score import ASSIGNMENTS, BY_HAND, TASKS, points_of, tasks_of
from helpers.course.grading.student import call
from helpers.course.grading.tasks import Given, arguments, relative_error, worth
from helpers.course.lesson import examine

BY_NAME = {task.name: task for task in TASKS}
# each of whose checks asks for one behaviour; those of exercise 6 have tests of their own
WHOLE = [task for task in TASKS if task not in tasks_captum.TASKS]


@pytest.fixture(scope="module")
def given():
    return Given(11)


class NoSandbox:
    """A session and a student's line in one, without a process between them."""

    def __init__(self, given, namespace):
        self.network, self.facts, self.namespace = given.network, given.facts, namespace

    def ask(self, message, arrays):
        return asked(self.network, message["model"], arrays, self.answer)

    def clock(self, seconds):
        from contextlib import nullcontext

        return nullcontext()

    def call(self, function, values, permits, instead=None):
        self.answer, arrays, told = Answer(), {}, []
        for number, (kind, value) in enumerate(values):
            if kind == "tensor":
                arrays[str(number)] = np.ascontiguousarray(value)
                value = str(number)
            told.append((kind, value))
        request = {"call": function, "arguments": told, "permits": permits, "seconds": 10}
        request |= {"instead": instead or {}, "facts": self.facts}
        message, returned = call(self, SimpleNamespace(namespace=self.namespace), request, arrays)
        self.answer.problem = message.get("raised")
        self.answer.changed = message.get("changed")
        self.answer.kind, self.answer.arrays = message.get("returned", "array"), returned
        return self.answer


def judged(given, task, namespace):
    """{check: reason or None} and the points earned."""
    session = NoSandbox(given, namespace)
    checks = list(
        task.judge(given, lambda *values: session.call(task.name, arguments(values), task.permits))
    )
    assert sum(points for points, _, _ in checks) == task.points
    return {text: reason for _, text, reason in checks}, sum(
        points for points, _, reason in checks if not reason
    )


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_right_answer_earns_all_points(given, task):
    reasons, earned = judged(given, task, right())
    assert earned == task.points, reasons


@pytest.mark.parametrize("task", WHOLE, ids=lambda task: task.name)
def test_a_result_written_down_earns_nothing(given, task):
    """The right answers for another seed, whatever the arguments: right in shape, and computed by
    nobody."""
    other, answers = Given(13), []
    session = NoSandbox(other, right())

    def noted(*values):
        answer = session.call(task.name, arguments(values), task.permits)
        answers.append(answer.arrays if answer.kind == "dict" else [*answer.arrays.values()])
        return answer

    list(task.judge(other, noted))
    canned = iter(answers)

    def hard_coded(*_):
        values = next(canned)
        return (
            values if isinstance(values, dict) else tuple(values) if len(values) > 1 else values[0]
        )

    _, earned = judged(given, task, {task.name: hard_coded})
    assert earned == (6 if task.name == "my_baseline" else 0), (
        "black, white and noise may be written down"
    )


WRONG = {
    "my_gradient": (
        "return -0 + torch.autograd.grad(model(p := "
        "pixels.clone().requires_grad_()).max(1).values.sum(), p)[0]",
        "predicted class",
        1,
    ),
    "my_smoothgrad": (
        "return sum(my_gradient(model, pixels + noise * f, target).abs() for f in fields) / "
        "len(fields)",
        "absolute",
        1,
    ),
    "my_noise_study": (
        "return torch.stack([my_smoothgrad(model, pixels, target, fields, s) for s in strengths])",
        "gradients of a picture",
        8,
    ),
    "my_counts": (
        "return {n: my_smoothgrad(model, pixels, target, fields[:n], noise) for n in counts}",
        "gradients of a picture",
        8,
    ),
    "my_noise": ("return np.random.default_rng(0).standard_normal(shape)", "another generator", 2),
    "my_aggregate": (
        "return gradients.median(0).values if how == 'median' else gradients.mean(0)",
        "lower of the middle two",
        1,
    ),
    "my_integrated_gradients": (
        "return pixels * my_smoothgrad(model, pixels, target, torch.zeros(n_steps, 3, 32, 32), 0)",
        "gradient × input",
        2,
    ),
    "my_baseline": ("return torch.zeros_like(pixels)", "relative error", 2),
    "my_expected_gradients": (
        "mean = references.mean(0).expand_as(pixels)\n"
        "    return my_integrated_gradients(model, pixels, target, mean, n_steps)",
        "one path from the mean",
        0,
    ),
    "my_nodes": ("return np.arange(n) / n, np.full(n, 1 / n)", "relative error", 2),
    "my_steps": (
        "return {n: my_integrated_gradients(model, pixels, target, baseline, n) for n in steps}",
        "midpoint",
        1,
    ),
    "my_retained_accuracy": (
        "return (model(pixels).argmax(1) == target).float().mean().expand(len(fractions))",
        "relative error",
        0,
    ),
    "my_rank_correlation": (
        "ranks = [m.sum(1).flatten(1).argsort(1).argsort(1).numpy() for m in (first, second)]\n"
        "    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(*ranks)])",
        "signed sums",
        0,
    ),
    "my_steps_quality": ("return torch.ones(len(steps))", "", 0),
    "my_relu_rule": ("return gradient.clamp(min=0)", "the deconvnet's rule", 0),
    "my_smoothed": (
        "return attribution(pixels + noise * fields.mean(0))",
        "of the mean of the noisy copies",
        0,
    ),
    "my_cam": (
        "coarse = (weights[:, :, None, None] * maps).sum(1, keepdim=True).relu()\n"
        "    return torch.nn.functional.interpolate(coarse, size, mode='bilinear')",
        "CAM keeps its sign",
        0,
    ),
    "my_grad_cam": (
        "coarse = (gradients * maps).sum(1, keepdim=True).relu()\n"
        "    return torch.nn.functional.interpolate(coarse, size, mode='bilinear')",
        "not averaged over places",
        1,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_loses_points_for_a_reason(given, name):
    body, reason, most = WRONG[name]
    namespace = right()
    signature = inspect.signature(namespace[name])
    exec(f"def {name}{signature}:\n    {body}", namespace)
    reasons, earned = judged(given, BY_NAME[name], namespace)
    assert earned <= most
    assert any(reason in (text or "") for text in reasons.values()), reasons


# Task → (the helper that would answer it, its module, the answer written with it).
HELPERS = {
    "my_gradient": ("saliency", "attribution.gradients", "f(model, pixels, target)"),
    "my_smoothgrad": (
        "smoothgrad",
        "attribution.smoothgrad",
        "f(model, pixels, target, n_samples=len(fields), noise=noise)",
    ),
    "my_noise_study": (
        "smoothgrad",
        "attribution.smoothgrad",
        "torch.stack([f(model, pixels, target, n_samples=len(fields), noise=s) for s in "
        "strengths])",
    ),
    "my_counts": (
        "smoothgrad",
        "attribution.smoothgrad",
        "{n: f(model, pixels, target, n_samples=n, noise=noise) for n in counts}",
    ),
    "my_noise": (
        "noise_field",
        "noise",
        "f(shape, int(generator.integers(2**32)), 0, distribution=distribution)",
    ),
    "my_aggregate": (
        "make_accumulator",
        "attribution.aggregates",
        "[(a := f(how, len(gradients))), [a.update(g) for g in gradients]] and a.result()",
    ),
    "my_integrated_gradients": (
        "integrated_gradients",
        "attribution.integrated_gradients",
        "f(model, pixels, target, baseline=baseline, n_steps=n_steps)",
    ),
    "my_baseline": (
        "make_baseline",
        "attribution.integrated_gradients",
        "f(name, lambda x: x, pixels, seed=int(generator.integers(2**32)))",
    ),
    "my_expected_gradients": (
        "integrated_gradients",
        "attribution.integrated_gradients",
        "f(model, pixels, target, baseline='samples', references=references, n_steps=n_steps)",
    ),
    "my_nodes": ("nodes_and_weights", "attribution.integrated_gradients", "f(rule, n)"),
    "my_steps": (
        "integrated_gradients",
        "attribution.integrated_gradients",
        "{n: f(model, pixels, target, baseline=baseline, n_steps=n) for n in steps}",
    ),
    "my_cam": ("cam", "attribution.relatives", "f(maps, maps)"),
    "my_grad_cam": ("grad_cam", "attribution.relatives", "f(maps, gradients)"),
    "my_rank_correlation": (
        "rank_correlation",
        "measures.quality",
        "f(first, second, 'unsigned')",
    ),
    "my_retained_accuracy": (
        "retained_accuracy",
        "measures.faithfulness",
        "f(model, pixels, maps, fractions, target=target).float().mean(0)",
    ),
    "my_steps_quality": (
        "retained_accuracy",
        "measures.faithfulness",
        "torch.stack([f(model, pixels, n * pixels, fractions, target=target) for n in steps])",
    ),
    "my_relu_rule": ("guided_rule", "attribution.relatives", "f(gradient, activation)"),
    "my_smoothed": (
        "smoothgrad",
        "attribution.smoothgrad",
        "f(attribution, pixels, 0, attribution=lambda m, p, t: m(p), n_samples=len(fields))",
    ),
}
HELPERS |= {
    "my_total_variation": ("_variation", "attribution.maximisation", "f(pixels)"),
    "my_ascent": (
        "maximise",
        "attribution.maximisation",
        "f(model, target, n=len(start), n_steps=n_steps, step_size=step_size)",
    ),
    "my_reading": ("reduce_channels", "attribution.gradients", "f(maps, 'signed')"),
    "my_relu_rule": ("guided_rule", "attribution.relatives", "f(gradient, activation)"),
    "my_smoothed": (
        "smoothgrad",
        "attribution.smoothgrad",
        "f(attribution, pixels, n_samples=len(fields), noise=noise)",
    ),
    "my_capped": ("color_limits", "display.plotting", "f(values)"),
}
PATHS = {
    "from the module": "from helpers.{module} import {name} as f",
    "from the package": "from helpers import {name} as f",
    "as an attribute": "import helpers.{module}\nf = helpers.{module}.{name}",
    "by text": "import importlib\n"
    "f = getattr(importlib.import_module('helpers.{module}'), '{name}')",
    "from sys.modules": "import sys\nf = vars(sys.modules['helpers.{module}'])['{name}']",
    "in a default": "from helpers.{module} import {name}\nf = lambda *a, g={name}, **k: g(*a, **k)",
    "in a partial": "import functools\nfrom helpers.{module} import {name}\n"
    "f = functools.partial({name})",
}


def test_each_task_has_a_helper_that_is_tried():
    assert set(HELPERS) == {task.name for task in WHOLE}


@pytest.mark.parametrize("task", WHOLE, ids=lambda task: task.name)
def test_the_helper_that_would_answer_is_blocked_by_whatever_path(given, task):
    name, module, answer = HELPERS[task.name]
    namespace = right()
    signature = inspect.signature(namespace[task.name])
    names = ", ".join(signature.parameters)
    handed_on = name in helpers.__all__
    paths = [path for path in PATHS if path != "from the package" or handed_on]
    for number, path in enumerate(paths):
        exec(PATHS[path].format(name=name, module=module), namespace)
        exec(
            f"def way_{number}{signature}:\n    return {answer.replace('f(', f'f_{number}(')}",
            namespace,
        )
        namespace[f"f_{number}"] = namespace["f"]
    exec(
        f"""def {task.name}{signature}:
    for way in range({len(paths)}):
        try:
            globals()["way_" + str(way)]({names})
        except PermissionError as error:
            blocked.append((way, str(error)))
        else:
            leaks.append(way)
    raise PermissionError("blocked on every path")""",
        namespace,
    )
    namespace |= {"blocked": [], "leaks": []}
    reasons, earned = judged(given, task, namespace)
    assert earned == 0 and all("blocked on every path" in reason for reason in reasons.values())
    assert namespace["leaks"] == [] and {way for way, _ in namespace["blocked"]} == set(
        range(len(paths))
    )
    assert all("is blocked while the function" in error for _, error in namespace["blocked"])


def test_a_helper_is_free_again_after_its_task(given):
    judged(given, BY_NAME["my_smoothgrad"], right())
    found = smoothgrad(given.network, given.pixels.double(), given.target, n_samples=1)
    assert found.shape == given.pixels.shape


def test_captum_is_blocked_too(given):
    from captum.attr import IntegratedGradients, Saliency

    def my_integrated_gradients(model, pixels, target, baseline, n_steps):
        return IntegratedGradients(model).attribute(
            pixels, baseline, target=target, n_steps=n_steps
        )

    def my_gradient(model, pixels, target):
        return Saliency(model).attribute(pixels, target=target, abs=False)

    for function in (my_integrated_gradients, my_gradient):
        _, earned = judged(given, BY_NAME[function.__name__], {function.__name__: function})
        assert earned == 0


WAYS_ROUND = {  # task → ways to the answer that are none of the student's own
    "my_gradient": [
        "from helpers.attribution.relatives import guided_backprop as f\n"
        "    return f(model, pixels, target)",
        "from captum.attr import Deconvolution as D\n    return D(model).attribute(pixels, target)",
        "from captum._utils.gradient import compute_gradients as f\n"
        "    return f(model, pixels, target)[0]",
    ],
    "my_noise": [
        "from helpers import noise\n    draw, std, _ = noise._DISTRIBUTIONS[distribution]\n"
        "    return draw(shape, generator) / std",
        "return kept_noise[distribution](shape, generator)",
    ],
    "my_aggregate": [
        "[made[how].update(g) for g in gradients]\n    return made[how].result()",
        "made[how]._n = len(gradients)\n    return type(made[how]).result(made[how])",
    ],
    "my_nodes": [
        "from captum.attr._utils.approximation_methods import approximation_parameters as f\n"
        "    a, b = f('riemann_middle')\n    return b(n), a(n)",
    ],
    "my_integrated_gradients": [
        "from captum.attr import IntegratedGradients as I\n"
        "    return I(model)._attribute(pixels, baseline, target, n_steps=n_steps)",
    ],
    "my_retained_accuracy": [
        "from helpers.measures import faithfulness\n    return faithfulness._positions([0], 4)",
    ],
}


@pytest.mark.parametrize("name", WAYS_ROUND)
def test_what_a_task_does_not_permit_is_blocked(given, name):
    from helpers import noise
    from helpers.attribution.aggregates import make_accumulator

    made = {how: make_accumulator(how, 20) for how in ("mean", "median", "variance")}
    for body in WAYS_ROUND[name]:
        namespace = right()
        namespace["made"] = made
        namespace["kept_noise"] = {law: told[0] for law, told in noise._DISTRIBUTIONS.items()}
        exec(f"def {name}{inspect.signature(namespace[name])}:\n    {body}", namespace)
        reasons, earned = judged(given, BY_NAME[name], namespace)
        assert earned == 0, body
        assert any("is blocked" in (reason or "") for reason in reasons.values()), (body, reasons)


def test_importing_is_free_and_what_a_task_permits_runs(given):
    def my_smoothgrad(model, pixels, target, fields, noise):
        from captum.attr import visualization

        from helpers.attribution.gradients import saliency
        from helpers.attribution.relatives import guided_backprop

        assert visualization and guided_backprop
        return sum(saliency(model, pixels + noise * f, target) for f in fields) / len(fields)

    reasons, earned = judged(given, BY_NAME["my_smoothgrad"], {"my_smoothgrad": my_smoothgrad})
    assert earned == 8, reasons


def test_captum_may_be_imported_while_a_function_is_judged():
    code = """
import sys
from helpers.course.grading.guard import guarded
assert "captum" not in sys.modules
with guarded(()):
    from captum.attr import IntegratedGradients, Saliency
    for call in (lambda: Saliency(len), lambda: IntegratedGradients.attribute(None, None)):
        try:
            call()
        except PermissionError as error:
            print(error)
Saliency(len)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    assert done.stdout.count("is blocked") == 2 and not done.stderr, done


@pytest.mark.parametrize(
    "name, before, wrong",
    [
        (
            "my_smoothgrad",
            "my_gradient",
            "lambda model, pixels, target: -good(model, pixels, target)",
        ),
        ("my_steps", "my_nodes", "lambda rule, n: (good(rule, n)[0], 2 * good(rule, n)[1])"),
        ("my_steps_quality", "my_retained_accuracy", "lambda *a: 1 - good(*a)"),
    ],
)
def test_one_mistake_costs_its_points_once(given, name, before, wrong):
    namespace, task = right(), BY_NAME[name]
    namespace["good"] = namespace[before]
    if name == "my_steps_quality":  # as the task permits
        from helpers import integrated_gradients

        namespace["my_integrated_gradients"] = lambda m, p, t, b, n: integrated_gradients(
            m, p, t, baseline=b, n_steps=n
        )
    namespace[before] = eval(wrong, namespace)
    session = NoSandbox(given, namespace)
    assert score._judge(task, given, session, None)["earned"] < task.points
    once = score._judge(task, given, session, None, [before])
    assert once["earned"] == task.points and before in once["remark"], once
    assert namespace[before] is not namespace["good"], "and the student's own is back"


@pytest.mark.parametrize("as_what", [np.stack, lambda pair: torch.from_numpy(np.stack(pair)), list])
def test_a_pair_may_be_an_array(given, as_what):
    namespace = right()
    good = namespace["my_nodes"]
    namespace["my_nodes"] = lambda rule, n: as_what(good(rule, n))
    assert judged(given, BY_NAME["my_nodes"], namespace)[1] == 10


@pytest.mark.parametrize(
    "way",
    [
        *("backward", "jacobian", "func.grad", "vmap", "vectorized", "batched", "copy", "weights"),
        "jacrev",
    ],
)
def test_any_way_to_a_gradient_is_fine(given, way):
    def my_gradient(model, pixels, target):
        if way == "backward":
            pixels = pixels.clone().requires_grad_()
            model(pixels)[range(len(target)), target].sum().backward()
            return pixels.grad
        if way == "jacobian":
            return torch.autograd.functional.jacobian(
                lambda x: model(x).gather(1, target[:, None]).sum(), pixels
            )
        if way == "func.grad":
            return torch.func.grad(lambda x: model(x).gather(1, target[:, None]).sum())(pixels)
        if way == "jacrev":
            return torch.func.jacrev(lambda x: model(x).gather(1, target[:, None]).sum())(pixels)
        if way == "vectorized":
            return torch.autograd.functional.jacobian(
                lambda x: model(x).gather(1, target[:, None]).sum(), pixels, vectorize=True
            )
        if way == "batched":
            x = pixels.clone().requires_grad_()
            logits = model(x)
            which = torch.zeros(len(x), *logits.shape)
            which[range(len(x)), range(len(x)), target] = 1
            return torch.autograd.grad(logits, x, which, is_grads_batched=True)[0].sum(0)
        if way in ("copy", "weights"):
            other = copy.deepcopy(model).double() if way == "copy" else model
            weight = next(other.parameters())
            x = pixels.to(weight.device, weight.dtype).requires_grad_()
            assert x.dtype == (torch.float64 if way == "copy" else torch.float32)
            return torch.autograd.grad(other(x).gather(1, target[:, None]).sum(), x)[0].float()
        one = torch.func.grad(lambda x, t: model(x[None])[0].gather(0, t[None]).sum())
        return torch.func.vmap(one)(pixels, target)

    reasons, earned = judged(given, BY_NAME["my_gradient"], {"my_gradient": my_gradient})
    assert earned == 4, reasons


def test_the_network_counts_what_it_is_asked(given):
    session = NoSandbox(given, {})
    session.answer = Answer()
    model = RemoteModel(session, given.facts)
    points = given.pixels.clone().requires_grad_()
    model(points)[:, 0].sum().backward()
    assert (session.answer.logits, session.answer.gradients) == (3, 3)
    torch.testing.assert_close(
        points.grad.double(),
        given.gradient(given.pixels, torch.zeros(3, dtype=int)),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_network_survives_nonsense(given):
    session = NoSandbox(given, {"my_gradient": lambda model, pixels, target: model(pixels[0])})
    answer = session.call("my_gradient", arguments([*()]), [])
    assert "TypeError" in answer.problem
    reasons, earned = judged(given, BY_NAME["my_gradient"], session.namespace)
    assert earned == 0 and all(reasons.values())


@pytest.mark.parametrize("seed", [3, 11])
def test_rounding_moves_no_gradient(seed):
    """Or a right answer in float32 would be wrong for some seeds: with ReLU, by a percent for
    these."""
    given = Given(seed)
    gradient, pixels = given.gradient(given.pixels, given.target), given.pixels.double()
    for number in range(10):
        moved = pixels * (
            1 + 1e-7 * torch.from_numpy(given.rng(number).standard_normal(tuple(pixels.shape)))
        )
        assert relative_error(given.gradient(moved, given.target).numpy(), gradient.numpy()) < 1e-4


def test_every_law_has_to_draw_from_the_generator(given):
    namespace = right()
    good = namespace["my_noise"]

    def my_noise(distribution, shape, generator):
        return good(
            distribution,
            shape,
            np.random.default_rng() if distribution == "rademacher" else generator,
        )

    reasons, earned = judged(given, BY_NAME["my_noise"], {"my_noise": my_noise})
    assert (
        earned == 8
        and "rademacher: the same generator gave other numbers"
        in reasons["all draws come from the generator"]
    )


def test_points_add_up():
    totals = {group: sum(map(points_of, names)) for group, names in ASSIGNMENTS.items()}
    others = {"Beyond": 20, "Relatives": 80, "Exercise 6": 33}
    assert {group: totals.pop(group) for group in others} == others
    assert set(totals.values()) == {100}
    assert [points_of(name) for name in BY_HAND] == [20] * 6 + [40, 40, 100] + [20] * 5 + [21, 12]
    for name in BY_HAND:
        assert sum(t.points for t in tasks_of(name)) + sum(
            p for _, p in BY_HAND[name]
        ) == points_of(name)


@pytest.mark.parametrize("points", [5, 7, 0.3])
def test_the_course_may_give_a_task_other_points(given, monkeypatch, points):
    entry = replace(syllabus.entry("smoothgrad_3_sample_count"), parts={"my_counts": points})
    monkeypatch.setattr(syllabus, "load", lambda: (entry,))
    task = worth(BY_NAME["my_counts"])
    assert task.points == points == lesson.task("my_counts").points
    assert judged(given, task, right())[1] == pytest.approx(points)
    other = worth(BY_NAME["my_gradient"])  # of a notebook that this course leaves out
    assert other.points == BY_NAME["my_gradient"].points


@pytest.mark.parametrize("task", WHOLE, ids=lambda task: task.name)
def test_the_package_goes_on_where_a_student_has_not_arrived(given, task):
    """A notebook's stand-in answers as a right solution does, calls apart that it may not make."""
    found = examine(replace(task, permits=None), task.helper, seed=given.seed)
    assert not [reason for _, _, reason in found if reason]


@pytest.mark.parametrize(
    "source, words",
    [
        ("def my_gradient(model):\n    f.__code__ = g", ["__code__"]),
        ("import importlib\nimportlib.reload(x)", ["reload"]),
        ("from helpers.course.grading import tasks", ["helpers.course.grading"]),
        ("return smoothgrad(model, pixels)", ["smoothgrad"]),
        ("return my_smoothgrad(model, pixels)  # reloaded", []),
    ],
)
def test_words_that_could_undo_the_grading_are_seen(source, words):
    assert suspicious(source, ["smoothgrad", "captum"]) == words
