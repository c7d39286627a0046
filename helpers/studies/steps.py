"""The measurements of the notebook on the number of steps of Integrated Gradients; see
``studies``."""

import warnings
from functools import partial

import torch

from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import (
    GAP_FLOOR,
    ConvergenceWarning,
    converged_integrated_gradients,
    integrated_gradients,
    integrated_gradients_nodes,
    nodes_and_weights,
)
from helpers.evaluate import logits_of, one_class, probabilities
from helpers.measures.quality import correlation
from helpers.measures.scoring import score

RULES = ("midpoint", "left", "right", "trapezoid", "gauss_legendre")  # those that were measured
STEPS = (5, 10, 20, 50, 100, 200)
N_DENSE = 2000


def step_error(
    model, images, target, seeds, *, steps=STEPS, n_dense=N_DENSE, softmax=False, tolerance=0.01
):
    """Integrated Gradients from black with each of RULES and number of steps (setting "RULE, n"),
    against a dense sum.

    n counts sections of the path. The trapezoid rule takes n + 1 gradients for them, the others n;
    so every node but those of Gauss and Legendre lies on the grid of the dense sum (the trapezoid
    rule on ``n_dense`` sections), where 2n divides it.

    Own measures: "log10 error", of ‖A − dense‖₁ / ‖dense‖₁ over all values of the map; "gap", the
        size of the completeness
    gap over |f(x) − f(x′)| (at least GAP_FLOOR). Setting "dense": its gap, and as its error half
    the distance of the two sums, on the even and on the odd nodes, that it is the mean of. Setting
    "converged": ``converged_integrated_gradients`` with the given tolerance, and "gradients", how
        many it took.

    softmax: explain the probability of ``target`` instead of its logit.
    """
    explained = (lambda pixels: probabilities(model(pixels))) if softmax else model
    sums = {
        f"{rule}, {n}": nodes_and_weights(rule, n + (rule == "trapezoid"))
        for rule in RULES
        for n in steps
    }
    halves = {
        "even": nodes_and_weights("trapezoid", n_dense // 2 + 1),
        "odd": nodes_and_weights("midpoint", n_dense // 2),
    }
    maps = integrated_gradients_nodes(explained, images.pixels, target, nodes=sums | halves)
    even, odd = maps.pop("even"), maps.pop("odd")
    dense = (even + odd) / 2
    rise = rise_from(explained, images.pixels, target, 0 * images.pixels)

    def relative(difference):
        return (size(difference) / size(dense)).clamp_min(1e-7).log10()

    def measures(values):
        return {"log10 error": relative(values - dense), "gap": relative_gap(values, rise)}

    with warnings.catch_warnings():
        # how many steps it took, and whether that was enough, is stored
        warnings.simplefilter("ignore", ConvergenceWarning)
        converged = converged_integrated_gradients(
            explained, images.pixels, target, tolerance=tolerance
        )
    return {name: measures(values) for name, values in maps.items()} | {
        "dense": measures(dense) | {"log10 error": relative((even - odd) / 2)},
        "converged": measures(converged.attribution) | {"gradients": converged.n_steps.float()},
    }


def step_quality(model, images, target, seeds, *, steps=(1, 2, 3, *STEPS)):
    """The common measures of Integrated Gradients from black, by the midpoint rule, over the number
    of steps; and of the plain gradient. Own measure: "like last", the correlation with the map of
    the most steps."""
    maps = integrated_gradients(model, images.pixels, target, n_steps=sorted(steps))
    last = maps[max(steps)]
    found = {"gradient": score(model, images, target, saliency(model, images.pixels, target))}
    return found | {
        str(n): score(model, images, target, values) | {"like last": correlation(values, last)}
        for n, values in maps.items()
    }


def size(maps) -> torch.Tensor:
    """‖A‖₁ over all values of each map, (N,)."""
    return maps.flatten(1).abs().sum(1)


def rise_from(model, pixels, target, origin) -> torch.Tensor:
    """f(x) − f(x′), (N,)."""
    ends = [one_class(logits_of(model, points), target) for points in (pixels, origin)]
    return ends[0] - ends[1]


def relative_gap(maps, rise) -> torch.Tensor:
    """The size of the completeness gap as a share of the rise (at least GAP_FLOOR), (N,)."""
    return (maps.flatten(1).sum(1) - rise).abs() / rise.abs().clamp_min(GAP_FLOOR)


# name -> (function, number of pictures, split)
STUDIES = {
    "step_error": (step_error, 50, "test"),
    "step_error_softmax": (partial(step_error, softmax=True), 10, "test"),
    "step_quality": (step_quality, 150, "test"),
}
