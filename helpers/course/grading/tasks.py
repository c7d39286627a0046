"""What a task is: one function, its points, what it may call, and the checks that earn the points.

The modules beside this one, ``tasks_…``, hold the tasks themselves.
"""

import hashlib
import inspect
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps

import numpy as np
import torch

from helpers.attribution.gradients import input_gradient
from helpers.benchmark.models import load_model
from helpers.benchmark.scenes import SIZE, render, sample_scene
from helpers.course import syllabus
from helpers.evaluate import logits_of

TOLERANCE = 1e-3  # relative L2 error: the network computes in float64, the student in float32
AT_ONCE = 64  # points whose gradients are computed together
MODEL = object()
"""Stands for the network among the arguments of a call."""
PYPLOT = object()
"""Stands for matplotlib.pyplot; what was drawn with it comes back as the answer."""


@dataclass(frozen=True)
class Generator:
    """Stands for numpy.random.default_rng(seed) among the arguments of a call."""

    seed: int


@dataclass(frozen=True)
class Task:
    """``judge(given, call)`` yields (points, what is checked, None or the reason why they are lost)
    for each check; their points add up to ``points``, of which course.toml makes others where it
    says so. ``call(*arguments)`` calls the student's function and returns an ``Answer``.
    ``permits``: the attribution code that it may call, "module:name"; None: all of it.
    ``helper`` takes the same arguments and calls the package: a notebook goes on with it.
    ``instead``: earlier functions of the notebook that this one may build on → the source of right
    ones, so that their mistakes cost points once."""

    notebook: str
    name: str
    points: int
    permits: tuple[str, ...] | None
    helper: Callable
    judge: Callable[["Given", Callable], Iterator[tuple[int, str, str | None]]]
    instead: dict[str, str] = field(default_factory=dict)


def task(notebook, points, permits, helper, instead=None):
    """Decorator: makes a ``Task`` of a judge, which bears the name of the student's function.
    ``permits``: the package's functions that it may call; None: all attribution code.
    ``instead``: {earlier function of the notebook: a right one}."""
    if permits is not None:
        permits = tuple(f"{each.__module__}:{each.__qualname__}" for each in permits)
    sources = {name: _source(name, right) for name, right in (instead or {}).items()}
    return lambda judge: Task(notebook, judge.__name__, points, permits, helper, judge, sources)


def tasks_in(namespace):
    """The tasks that a module defines, in order."""
    return tuple(each for each in namespace.values() if isinstance(each, Task))


def _source(name, helper):
    """What defines a student's function as the package's: an import, or a helper of a task, which
    imports within itself what it needs."""
    if helper.__module__.startswith(__package__):
        return f"{inspect.getsource(helper)}\n{name} = {helper.__name__}"
    return f"from {helper.__module__} import {helper.__name__} as {name}"


def worth(task):
    """A task with the points that course.toml gives it, its checks in proportion."""
    parts = next((each.parts for each in syllabus.load() if each.name == task.notebook), {})
    points = parts.get(task.name, task.points)
    if points == task.points:
        return task

    def judge(given, call):
        for own, text, reason in task.judge(given, call):
            yield own * points / task.points, text, reason

    return replace(task, points=points, judge=judge)


def remembered(reference):
    """Decorator for a reference, ``reference(given, *arguments)``: computed once for a seed, not
    for each student."""
    kept = {}

    @wraps(reference)
    def wrapper(given, *arguments):
        plain = [x.numpy() if isinstance(x, torch.Tensor) else repr(x) for x in arguments]
        key = given.seed, hashlib.sha256(pickle.dumps(plain)).digest()
        if key not in kept:
            kept[key] = reference(given, *arguments)
        return kept[key]

    return wrapper


class Given:
    """What a seed makes of the grading profile: pictures and a network that no student has seen,
    the same for all students.

    The network is an embedded one whose weights were moved at random, so its maps are like those of
    the notebooks and its weights are not among the course's files; and whose kinks are rounded off,
    so that a right answer in float32 is as good as the references, which are computed in float64.
    """

    size = 32

    def __init__(self, seed):
        self.seed, self._pictures = seed, ()

    def rng(self, *words):
        """A generator for one purpose, named by integers."""
        return np.random.default_rng([self.seed, *words])

    @cached_property
    def network(self):
        rng, network = self.rng(1), load_model("scenes", device="cpu").requires_grad_(False)
        for values in network.parameters():
            if values.ndim > 1:  # of convolutions and of the linear layer
                values += 0.05 * values.std() * _normal(rng, *values.shape)
        return _smooth(network.double())

    @cached_property
    def facts(self):
        return {
            "name": "scenes",
            "classes": self.network.classes,
            "input_size": self.size,
            "part": "shape",
            "images": "scenes",
        }

    def prepare(self):
        """Compute what is the same for all, before several threads ask for it."""
        self.large_pictures(16)
        return self.target, self.predicted

    def pictures(self, n):
        """(n, 3, 32, 32) float32 in (0, 1), without 0.5, which is as far from black as from white:
        drawn for this seed."""
        pixels = torch.nn.functional.avg_pool2d(self.large_pictures(n), SIZE // self.size)
        return torch.where((pixels - 0.5).abs() < 1e-3, 0.49, pixels)

    def large_pictures(self, n):
        """(n, 3, 64, 64) float32 in (0, 1), the size that the network was trained on, so that it
        tells them apart."""
        if len(self._pictures) < n:
            scenes = [render(sample_scene("train", i, seed=1000 + self.seed))[0] for i in range(n)]
            self._pictures = 0.02 + 0.96 / 255 * torch.from_numpy(np.stack(scenes)).float()
        return self._pictures[:n]

    @cached_property
    def pixels(self):
        return self.pictures(3)

    @cached_property
    def predicted(self):
        return self.logits(self.pixels).argmax(1)

    @cached_property
    def target(self):
        """(3,): the best class, the second and the third, so that a prediction is not taken for the
        target."""
        return self.logits(self.pixels).argsort(1, descending=True)[range(3), range(3)]

    def fields(self, n, word=2):
        """(n, 3, 32, 32) float32, standard normal."""
        return _normal(self.rng(word), n, 3, self.size, self.size)

    def normal(self, word, *shape):
        """float64, standard normal."""
        return torch.from_numpy(self.rng(word).standard_normal(shape))

    def logits(self, pixels):
        return logits_of(self.network, pixels.double())

    @remembered
    def gradient(self, points, target=None):
        """Reference: float64, at any points: (N, C, H, W), or (K, N, C, H, W) several of each
        picture. Without a target, of the class that the network says at each point."""
        each = points.double().flatten(0, -4)
        target = self.logits(each).argmax(1) if target is None else target
        aim = target.repeat(len(each) // len(target))
        parts = zip(each.split(AT_ONCE), aim.split(AT_ONCE), strict=True)
        found = [input_gradient(self.network, *part) for part in parts]
        return torch.cat(found).reshape(points.shape)


def _normal(rng, *shape):
    return torch.from_numpy(rng.standard_normal(shape, np.float32))


def _smooth(network):
    """Round off the kinks, in place: at a kink, rounding can move a gradient by a percent."""
    for name, child in network.named_children():
        if isinstance(child, torch.nn.ReLU):
            setattr(network, name, torch.nn.Softplus(beta=20))
        elif isinstance(child, torch.nn.MaxPool2d):
            setattr(network, name, torch.nn.LPPool2d(8, child.kernel_size))
        else:
            _smooth(child)
    return network


def arguments(values):
    """The arguments of a call as ``Session.call`` takes them."""
    told = []
    for value in values:
        if value is MODEL:
            told.append(("model", None))
        elif value is PYPLOT:
            told.append(("pyplot", None))
        elif isinstance(value, Generator):
            told.append(("generator", value.seed))
        elif isinstance(value, torch.Tensor):
            value = value if value.dtype == torch.int64 else value.float()
            told.append(("tensor", value.numpy()))
        else:
            told.append(("tuple" if isinstance(value, tuple) else "value", value))
    return told


def same(answer, expected, mistakes=None, *, tolerance=TOLERANCE) -> str | None:
    """None if the one array that came back is the expected one, else what is wrong with it.

    mistakes: {description: the array that a known mistake would give}, or a function that computes
        it; if what came back is one of them, the reason names it.
    """
    if answer.problem:
        return answer.problem
    if answer.kind == "tuple":
        return "one tensor was expected, found a list or tuple: torch.stack(…) makes one of a list"
    if answer.kind != "array":
        return f"one tensor was expected, found a {answer.kind}"
    reason = wrong(array(answer), expected, mistakes, tolerance=tolerance)
    return f"{reason}; {answer.changed}" if reason and answer.changed else reason


def array(answer) -> np.ndarray:
    """The one array that came back; an empty one where none did."""
    return answer.arrays.get("", np.empty(0))


def shaped(answer, shape) -> str | None:
    """None if the one array that came back has this shape."""
    found, shape = array(answer).shape, tuple(shape)
    return unless(found == shape, answer, f"shape {found}, where {shape} was expected")


def unless(right, answer, otherwise) -> str | None:
    """None if an answer is right, else the problem that it had, or what it is otherwise."""
    return None if right else answer.problem or otherwise


def same_noise(call, arguments, answer, expected, mistakes) -> str | None:
    """As ``same``, of a function that is given its noise: where it draws some of its own, two calls
    with the same arguments differ."""
    problem = same(answer, expected, mistakes)
    if problem and "allowed" in problem:
        first, second = array(answer), array(call(*arguments))
        if first.shape == second.shape and relative_error(first, second) > TOLERANCE:
            return "two calls with the same arguments differ: use the noise of `fields`, draw none"
    return problem


def wrong(found, expected, mistakes=None, *, tolerance=TOLERANCE) -> str | None:
    """As ``same``, of an array."""
    expected = np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        return f"shape {found.shape}, where {expected.shape} was expected"
    found = np.asarray(found, np.float64)
    if not np.isfinite(found).all():
        return f"{int((~np.isfinite(found)).sum())} values are NaN or infinite"
    if (error := relative_error(found, expected)) <= tolerance:
        return None
    for name, values in (mistakes() if callable(mistakes) else mistakes or {}).items():
        values = np.asarray(values, np.float64)
        if values.shape == found.shape and relative_error(found, values) <= tolerance:
            return f"relative error {error:.2g}: this is {name}"
    norm = np.linalg.norm(expected)
    ratio = float((found * expected).sum() / norm**2) if norm else 0
    if ratio and relative_error(found, ratio * expected) <= tolerance:
        return f"relative error {error:.2g}: right but for a factor of {ratio:.3g}"
    return f"relative error {error:.2g}, allowed {tolerance:g}"


def relative_error(found, expected) -> float:
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-12))


def keys(answer, expected) -> str | None:
    """None if a dict with these keys came back."""
    if answer.problem:
        return answer.problem
    if answer.kind != "dict":
        what = "an array" if answer.kind == "array" else f"a {answer.kind}"
        return f"a dict was expected, found {what}"
    if set(answer.arrays) != set(map(str, expected)):
        found = ", ".join(sorted(answer.arrays))[:300]
        return f"keys {found}, where {', '.join(map(str, expected))} were expected"
    return None


def gradients(answer, expected, mistakes=None, *, pictures=1) -> str | None:
    """None if the network was asked for so many rows of gradients, and the call ended well.

    mistakes: {another number of rows: what it looks like}.
    pictures: how many pictures were asked about at once: with more than one the reason counts the
        gradients of each, as the task does.
    """
    if answer.problem or answer.gradients == expected:
        return answer.problem
    looks = (mistakes or {}).get(answer.gradients)
    found, needed = (f"{rows / pictures:.4g}" for rows in (answer.gradients, expected))
    each = "for each picture" if pictures > 1 else "of a picture"
    said = f"the network was asked for {found} gradients {each}, where {needed} are needed"
    return f"{said}: {looks}" if looks else said
