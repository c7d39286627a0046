"""Whatever takes a target takes it in every way to say one, and further arguments of the model. The
functions are found by inspection: a new one is tried, or says here why it cannot be."""

import inspect
import pkgutil
from collections.abc import Mapping
from importlib import import_module

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers.attribution import gradients, maximisation, relatives, targets
from helpers.attribution.smoothgrad import smoothgrad
from helpers.attribution.targets import logit, margin, probability, region, resolve_target
from helpers.benchmark.images import ImageSet
from helpers.measures.controls import oracle, random_network
from helpers.measures.scoring import score
from helpers.studies.explain import explain

N, K, CLASS = 3, 5, 2
FEW = {"n_samples": 3}
STEPS = {"n_steps": 3}
FRACTIONS = (0.0, 0.5, 1.0)


def public():
    """{name: function} of all that takes a target, but for the studies, which are given labels."""
    found = {"explain": explain}
    for room in ("attribution", "measures", "display"):
        package = import_module(f"helpers.{room}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, function in vars(import_module(module.name)).items():
                own = inspect.isfunction(function) and function.__module__ == module.name
                if own and name[0] != "_" and "target" in inspect.signature(function).parameters:
                    found[name] = function
    return found


PUBLIC = public()


def settled(function):
    """Of what the methods call once a target is settled."""
    return lambda m, x, t, **k: function(m, x, resolve_target(m, x, t, **k), **k)


def panel(name, **settings):
    def shown(model, x, target):
        images = ImageSet(x, tuple("pqr"))
        found = PUBLIC[name](model, images, target=target, **settings)
        found.frames()
        return found

    return shown


def hidden(name):
    def measured(model, x, target, **more):
        found = PUBLIC[name](model, x, x - 0.5, target=target, fractions=FRACTIONS, **more)
        return getattr(found, "probability", found)

    return measured


def picture_of(model, x, target):
    show = dict(fill=torch.zeros_like(x), using=lambda m, x, *rest: torch.ones(1))
    figure, axes = PUBLIC["plot_hidden"](model, x, {"map": x}, target, **show)
    plt.close(figure)
    return [ax.get_title() for ax in axes.flat]


def segmented(model, x, target):
    """The region's mean, of a network that names every pixel, says what the logit says."""
    wide = lambda x: model(x)[..., None, None].expand(-1, -1, 4, 4)  # noqa: E731
    return gradients.saliency(wide, x, region(target, torch.ones(4, 4).bool()))


def factory(make):
    return lambda m, x, t, **k: gradients.saliency(m, x, make(t), **k)


CALLS = {  # name -> (model, pixels, target, extra=…) → what is compared
    **{
        name: PUBLIC[name]
        for name in (
            *("saliency", "gradient_x_input", "guided_backprop", "grad_cam", "cam", "feature_maps"),
            *("guided_grad_cam", "last_spatial_layer", "random_map", "blurred_random_map", "sobel"),
            *("distance_from_mean", "resolve_target"),
        )
    },
    "smoothgrad": lambda *a, **k: smoothgrad(*a, **FEW, **k),
    **{
        name: lambda *a, of=PUBLIC[name], **k: of(*a, **STEPS, **k)
        for name in ("integrated_gradients", "path_gradient")
    },
    "integrated_gradients_nodes": lambda *a, **k: PUBLIC["integrated_gradients_nodes"](
        *a, nodes={"w": ((0.2, 0.7), (0.4, 0.6))}, **k
    ),
    "converged_integrated_gradients": lambda *a, **k: PUBLIC["converged_integrated_gradients"](
        *a, tolerance=0.5, **k
    ),
    "make_baseline": lambda *a, **k: PUBLIC["make_baseline"]("adversarial", *a, **k),
    "completeness_gap": lambda m, x, t, **k: PUBLIC["completeness_gap"](m, x, "black", x, t, **k),
    "backward_with": lambda *a, **k: relatives.backward_with(*a, relatives.guided_rule, **k),
    "applicable": lambda *a, **k: dict(
        relatives.applicable({"a": gradients.saliency, "b": relatives.grad_cam}, *a, **k)
    ),
    "stream": settled(
        lambda m, x, t, **k: torch.stack(list(gradients.stream(m, t, lambda i: x + i, 2, **k)), 1)
    ),
    "input_gradient": settled(gradients.input_gradient),
    "explained": settled(targets.explained),
    "explained_in": settled(lambda m, x, t: targets.explained_in(m(x), t, N)),
    "logit": factory(logit),
    "probability": factory(probability),
    "log_probability": factory(targets.log_probability),
    "margin": factory(margin),
    "region": segmented,
    "maximise": lambda m, x, t: maximisation.maximise(m, t, n=N, size=(3, 8, 8), n_steps=2),
    "starts": lambda m, x, t: maximisation.starts(m, t, n=N, size=(3, 8, 8), candidates=4)[0],
    "hide": lambda m, x, t, **k: PUBLIC["hide"](
        x, x - 0.5, 0.5, fill="adversarial", model=m, target=t, **k
    ),
    "infidelity": lambda m, x, t, **k: PUBLIC["infidelity"](m, x, x, t, **FEW, **k),
    "max_sensitivity": lambda *a, **k: PUBLIC["max_sensitivity"](*a, **FEW, **k),
    **{
        name: hidden(name)
        for name in ("hiding_curves", "retained_accuracy", "deletion", "insertion")
    },
    "transfer": lambda m, x, t: PUBLIC["transfer"]([m, lambda x: -m(x)], x, t),
    "score": lambda m, x, t, **k: score(m, ImageSet(x, tuple("pqr"[: len(x)])), t, x, **k),
    "plot_hidden": picture_of,
    "explore_maps": panel("explore_maps", n_samples=2, strip={"noise": (0.1, 0.2, 0.3)}),
    "explore_smoothgrad": panel("explore_smoothgrad", n_samples=2),
    "explore_integrated_gradients": panel("explore_integrated_gradients", n_steps=5),
    "explore_path": panel("explore_path", n_steps=5),
    "explore_hiding": lambda m, x, t: panel("explore_hiding", maps={"own": x})(m, x, t),
    "explain": lambda m, x, t, **k: torch.stack(
        [one for _, one in explain(gradients.saliency, m, x, t, batch_size=2, progress=False, **k)]
    ),
    # no parameter of their own, but what they make has one
    "random_network": random_network(),
    "oracle": lambda m, x, t, **k: oracle(x[:, :1] > 0.5)(m, x, t, **k),
}
NO_TARGET = {"count_for_reliability": "a reliability to be reached"}
# Where a callable is refused: what it says.
REFUSES = {
    **dict.fromkeys(("probability", "log_probability", "margin", "logit"), "is of a class"),
    "region": "region is of a class",
    "retained_accuracy": "needs a class as target, found a callable: hiding_curves",
    "plot_hidden": "needs a class as target, found a callable: explore_hiding",
    "transfer": "whether networks name it needs a class as target",
}
# What a class's probability is the callable of; what makes another number of one.
OF_PROBABILITY = ("hiding_curves", "deletion", "insertion")
OF_ITS_OWN = {"score": "measured below", "resolve_target": "a class stays a class"}
NOT_OF_ONE_HOT = {"region": "it asks no network how many classes there are"}
NOT_OF_NONE = {
    "maximise": "target must say what is to rise",
    "starts": None,  # of nothing, the candidates are asked about what the first are like
    "transfer": "needs a class as target, found None",
    "region": "region needs a class",
}
NO_EXTRA = {
    **dict.fromkeys(("explained_in", "input_gradient"), "the model was asked, or is asked as is"),
    **dict.fromkeys((*REFUSES.keys() - {"retained_accuracy"},), "no model, or one of pictures"),
    **dict.fromkeys(("maximise", "starts"), "makes pictures, for a model of pictures alone"),
    **{name: "shows pictures" for name in CALLS if name.startswith("explore_")},
}
PANELS = tuple(name for name in CALLS if name.startswith("explore_"))


def test_whatever_takes_a_target_is_tried():
    assert PUBLIC.keys() - CALLS.keys() == NO_TARGET.keys()
    assert CALLS.keys() - PUBLIC.keys() == {"random_network", "oracle"}
    lacks = {
        name for name, f in PUBLIC.items() if "extra" not in inspect.signature(f).parameters
    } - NO_TARGET.keys()
    assert lacks == NO_EXTRA.keys()


class Pooled(nn.Module):
    """A classifier with a name for each class, and one of a table beside it: CAM takes it too."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.features.extend([nn.Conv2d(6, 8, 3), nn.ReLU()])
        self.head = nn.Linear(8, K)

    def forward(self, x, gate=None):
        x = x if gate is None else x * gate
        return self.head(self.features(x).mean((2, 3)))


class Bound(nn.Module):
    def __init__(self, model, *extra):
        super().__init__()
        self.model, self.extra = model, extra

    def forward(self, x):
        return self.model(x, *self.extra)


@pytest.fixture
def model():
    return Pooled().double().eval()


def flat(found):
    """The tensors in what a function returns, and the texts; of a panel, its map."""
    if isinstance(found, torch.Tensor):
        return [found.detach().double()]
    if isinstance(found, Mapping):
        return [each for value in found.values() for each in flat(value)]
    if isinstance(found, (list, tuple)):
        return [each for value in found for each in flat(value)]
    if hasattr(found, "_kept"):
        return flat(found._kept)
    return [found]


def same(found, expected, **tolerance):
    found, expected = flat(found), flat(expected)
    assert len(found) == len(expected) > 0 or not found
    for a, b in zip(found, expected, strict=True):
        if isinstance(b, torch.Tensor):
            torch.testing.assert_close(a, b, **({"rtol": 1e-9, "atol": 1e-12} | tolerance))
        else:
            assert a is b or a == b


CLASSES = torch.full((N,), CLASS)
WAYS = {
    "(N,)": CLASSES,
    "one-hot": F.one_hot(CLASSES, K),
    "bool one-hot": F.one_hot(CLASSES, K).bool(),
    "logit": logit(CLASS),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_class_may_be_said_in_every_way(name, model, pictures):
    call, ways = CALLS[name], dict(WAYS)
    if name in PANELS:  # each is drawn
        ways = {"one-hot": WAYS["one-hot"]}
    if name in NOT_OF_ONE_HOT:
        ways = {"(N,)": CLASSES}
    elif name in ("probability", "log_probability", "margin", "logit"):
        del ways["logit"]
    expected = call(model, pictures, CLASS)
    for way in ways.values():
        found = call(model, pictures, way)
        same(found, expected)
        if name in PANELS:
            assert found._status == expected._status and found.image.value == expected.image.value


@pytest.mark.parametrize("name", CALLS)
def test_a_callable_means_what_the_class_means_or_is_refused(name, model, pictures):
    call = CALLS[name]
    pick = lambda output: output[:, CLASS]  # noqa: E731
    if name in REFUSES:
        with pytest.raises(TypeError, match=REFUSES[name]):
            call(model, pictures, pick)
        return
    if name in OF_PROBABILITY:
        pick = probability(CLASS)
    if name == "make_baseline" or name == "hide":  # a class is made less likely than the others
        pick = margin(CLASS)
    found, expected = call(model, pictures, pick), call(model, pictures, CLASS)
    if name in PANELS:
        assert "your target" in found._status and "your target" not in expected._status
    if name not in OF_ITS_OWN:
        same(found, expected)


@pytest.mark.parametrize("name", CALLS)
def test_without_a_target_it_is_what_the_model_predicts(name, model, pictures):
    call = CALLS[name]
    if name in NOT_OF_NONE:
        if NOT_OF_NONE[name]:
            with pytest.raises(TypeError, match=NOT_OF_NONE[name]):
                call(model, pictures, None)
        return
    found = call(model, pictures, None)
    same(found, call(model, pictures, model(pictures).argmax(1)))


@pytest.mark.parametrize("name", sorted(CALLS.keys() - NO_EXTRA.keys()))
def test_further_arguments_go_along(name, model, pictures):
    call, gate = CALLS[name], torch.tensor([0.5, 1.5, 1.0]).double().reshape(N, 1, 1, 1)
    together = flat(call(model, pictures, CLASS, extra=(gate,)))
    for i in range(N):
        one, own = pictures[i : i + 1], gate[i : i + 1]
        alone = flat(call(model, one, CLASS, extra=(own,)))
        same([a[i : i + 1] if isinstance(a, torch.Tensor) else a for a in together], alone)
        if name not in ("random_network", "last_spatial_layer"):  # which look at names
            same(alone, call(Bound(model, own), one, CLASS))


def test_what_a_callable_scores_is_by_how_much_it_moves():
    """By hand: a picture of 100 pixels 1, 2, …, 100 hundredths, its sum explained and its values
    its map. Hiding the 2, 5, 10 and 20 largest takes their sum, the 50, 80, 90 and 95 smallest
    theirs."""
    x = (torch.arange(1.0, 101.0) / 100).reshape(1, 1, 10, 10).double()
    total = lambda output: output.sum(1)  # noqa: E731
    found = score(nn.Flatten(), ImageSet(x, ("ramp",)), total, x, fills=("black",))
    below = lambda n: n * (n + 1) / 200  # noqa: E731
    for order, taken in (
        ("lowest", [below(n) for n in (50, 80, 90, 95)]),
        ("highest", [below(100) - below(100 - n) for n in (2, 5, 10, 20)]),
    ):
        assert found[f"{order} hidden, black"].item() == pytest.approx(-sum(taken) / 4)
