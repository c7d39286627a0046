"""Integrated Gradients: accumulate the gradient along the straight path from a baseline to the
input.

Sundararajan, Taly and Yan 2017, arXiv:1703.01365.
"""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import roots_legendre

from helpers.attribution.gradients import in_own_dtype, stream
from helpers.attribution.targets import Score, explained, explained_in, margin, resolve_target
from helpers.checks import at_least_one, check_range, check_seed, choose, one_or_several
from helpers.evaluate import (
    ask,
    at_least_float32,
    check_pixels,
    default_batch_size,
    evaluation,
    logits_of,
    one_class,
)

RULES = ("midpoint", "left", "right", "trapezoid", "gauss_legendre", "endpoints")
BASELINES = ("black", "white", "mean", "blur", "noise", "farthest", "adversarial", "samples")
BLUR_SIGMA = 0.1  # of the shorter side
PGD = {"radius": 0.1, "step_size": 0.02, "step_num": 20}  # shares of the input range, and steps
GAP_FLOOR = 1e-2  # logits; a smaller |f(x) − f(x′)| counts as this in a relative gap


class ConvergenceWarning(UserWarning):
    """``max_steps`` was not enough for some inputs."""


class ConvergedMap(NamedTuple):
    """``attribution`` (N, ...); ``n_steps`` (N,) int64, the gradients evaluated for each input;
    ``gap`` (N,), the relative completeness gap |ΣA − (f(x) − f(x′))| / max(|f(x) − f(x′)|,
    GAP_FLOOR)."""

    attribution: torch.Tensor
    n_steps: torch.Tensor
    gap: torch.Tensor


def integrated_gradients(
    model,
    pixels,
    target=None,
    *,
    baseline="black",
    n_steps=50,
    rule="midpoint",
    references=None,
    input_range=(0.0, 1.0),
    extra=(),
    batch_size=None,
    seed=0,
    progress=False,
):
    """How much each input value adds to a logit on the way from a baseline x′ to the input x.

    A(x) = (x − x′) ⊙ Σⱼ wⱼ ∇f(x′ + αⱼ (x − x′)), Σⱼ wⱼ = 1 (arXiv:1703.01365, eq. 1 and 3). The map
    sums to f(x) − f(x′), up to the error of the sum that stands for the integral
    (``completeness_gap``).

    Args:
        model, pixels, target, extra: as for ``saliency``. ``target=None`` is the class predicted
            for the input, all along the path.
        baseline: a name from ``BASELINES`` (see ``make_baseline``), or a tensor of the shape of
            ``pixels`` or of one input; "samples" averages the integrals from each of ``references``
            (expected gradients, Erion et al. 2021, arXiv:1906.10670), ``n_steps`` each.
        n_steps: gradient evaluations for each input (and reference); several (a list, tuple, range,
            set or array) are taken from one pass over their nodes, {n_steps: map}: a node that
            several of them share is evaluated once.
        rule: "midpoint", "left", "right", "trapezoid" (n_steps ≥ 2), "gauss_legendre" or
            "endpoints" (the plain mean over ``linspace(0, 1, n_steps)``, both ends counted whole);
            weights sum to 1 for all. Several, likewise: {rule: map}.
        references: (R, ...) inputs, for ``baseline="samples"``.
        input_range: (low, high) of the inputs: what black, white, farthest, noise and adversarial
            mean.
        batch_size, progress: as for ``smoothgrad``.
        seed: of the "noise" baseline; an int, or N of them.

    Returns:
        (N, ...): signed, in logits. Added up in float32 at least, and in the dtype of ``pixels``
            unless a value would become 0 or infinite there. Of several n_steps or rules a dict of
            them, in the order given, a set's sorted.

    Raises:
        TypeError, ValueError: as ``saliency``; n_steps < 1; an unknown rule or baseline; a baseline
            of another shape; several n_steps and several rules at once.
    """
    steps, by_steps = one_or_several(n_steps, "n_steps", lambda n: at_least_one(n, "n_steps"))
    rules, by_rule = one_or_several(rule, "rule", lambda name: choose(name, RULES, "rule"))
    if by_steps and by_rule:
        raise ValueError(
            "n_steps and rule name several each, and a call varies one setting: give one of them a "
            "single value, or every sum to integrated_gradients_nodes"
        )
    nodes = {
        label if by_steps else rule_label: nodes_and_weights(rule, n)
        for label, n in steps.items()
        for rule_label, rule in rules.items()
    }
    maps = integrated_gradients_nodes(
        model,
        pixels,
        target,
        nodes=nodes,
        baseline=baseline,
        references=references,
        input_range=input_range,
        extra=extra,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    return maps if by_steps or by_rule else maps["rule"]


def integrated_gradients_nodes(
    model,
    pixels,
    target=None,
    *,
    nodes,
    baseline="black",
    references=None,
    input_range=(0.0, 1.0),
    extra=(),
    batch_size=None,
    seed=0,
    progress=False,
) -> dict:
    """``integrated_gradients`` under several sums at once, {name: map}: every rule, say, at every
    number of steps.

    Args: as ``integrated_gradients``, with
        nodes: {name: (positions α, weights)}, as from ``nodes_and_weights``. A position that
            several share is evaluated once.
    """
    positions, weights = _shared_nodes(nodes.values())
    _check_goes_with_samples(baseline, references)
    with evaluation(model):
        target = resolve_target(model, pixels, target, extra=extra, batch_size=batch_size)
        pixels = pixels.detach()
        if references is None:
            origins = [
                make_baseline(
                    baseline, model, pixels, target, seed=seed, input_range=input_range, extra=extra
                )
            ]
        else:
            origins = _check_references(model, pixels, references)
        wide = pixels.to(at_least_float32(pixels.dtype))
        maps = [torch.zeros_like(wide) for _ in nodes]
        for number, origin in enumerate(origins):
            label = (
                f"reference {number + 1} of {len(origins)}"
                if progress is True and len(origins) > 1
                else progress
            )
            sums = _weighted_sums(
                model, pixels, target, origin, positions, weights, extra, batch_size, label
            )
            for total, gradient_sum in zip(maps, sums, strict=True):
                total += (wide - origin) * gradient_sum / len(origins)
    return {name: in_own_dtype(each, pixels.dtype) for name, each in zip(nodes, maps, strict=True)}


def path_gradient(
    model,
    pixels,
    target=None,
    *,
    baseline="black",
    n_steps=50,
    rule="midpoint",
    extra=(),
    batch_size=None,
    seed=0,
):
    """Integrated Gradients without its factor (x − x′): the mean gradient on the way, Σⱼ wⱼ ∇f(x′ +
    αⱼ (x − x′)), signed, in logits per unit of input. It sees where x = x′, where the product is
    blind. Args: as ``integrated_gradients``, any baseline but "samples"."""
    nodes, weights = nodes_and_weights(rule, n_steps)
    with evaluation(model):
        target = resolve_target(model, pixels, target, extra=extra, batch_size=batch_size)
        origin = make_baseline(baseline, model, pixels, target, seed=seed, extra=extra)
        (mean,) = _weighted_sums(
            model, pixels.detach(), target, origin, nodes, weights[None], extra, batch_size, False
        )
    return in_own_dtype(mean, pixels.dtype)


def converged_integrated_gradients(
    model,
    pixels,
    target=None,
    *,
    baseline="black",
    tolerance=0.01,
    max_steps=2048,
    input_range=(0.0, 1.0),
    extra=(),
    batch_size=None,
    seed=0,
) -> ConvergedMap:
    """Integrated Gradients with as many steps as each input needs, no node evaluated twice.

    The trapezoid rule on 2, 4, 8, … intervals (its nodes nest), until for an input both the
    completeness gap |ΣA − (f(x) − f(x′))| / max(|f(x) − f(x′)|, GAP_FLOOR) and the change of the
    map since the last doubling, ‖Aₙ − A_previous‖₁ / ‖Aₙ‖₁, are at most ``tolerance``. The second
    is there since attributions that cancel can meet completeness while the map is still wrong. What
    an input gets does not depend on the others in the batch.

    Args:
        baseline: any but "samples".
        tolerance: > 0.
        max_steps: the most gradients for one input, at least 3; 3, 5, 9, … 2ᵏ + 1 are tried, so
            2048 allows 1025. Where that is not enough, a ``ConvergenceWarning`` names the inputs,
            and their maps are the best there were.
        Others as ``integrated_gradients``.
    """
    max_steps = at_least_one(max_steps, "max_steps")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be greater than 0, found {tolerance!r}")
    if max_steps < 3:
        raise ValueError(
            f"max_steps must be at least 3, the ends and the middle of the path, found {max_steps}"
        )
    with evaluation(model):
        target = resolve_target(model, pixels, target, extra=extra, batch_size=batch_size)
        pixels = pixels.detach()
        origin = make_baseline(
            baseline, model, pixels, target, seed=seed, input_range=input_range, extra=extra
        )
        span = pixels.to(at_least_float32(pixels.dtype)) - origin
        rise = _rise(model, pixels, origin, target, extra, batch_size).to(span.dtype)

        def gradient_mean(active, nodes):
            weights = np.full((1, len(nodes)), 1 / len(nodes))
            (mean,) = _weighted_sums(
                model,
                pixels[active],
                target[active],
                origin[active],
                nodes,
                weights,
                [each[active] for each in extra],
                batch_size,
                False,
                active,
            )
            return mean

        active = torch.arange(len(pixels), device=pixels.device)
        attribution, gap = torch.zeros_like(span), torch.full_like(rise, torch.inf)
        n_steps = torch.zeros(len(pixels), dtype=torch.int64, device=pixels.device)
        intervals, means = 1, gradient_mean(active, np.array([0.0, 1.0]))
        previous = span * means
        while len(active) and 2 * intervals + 1 <= max_steps:
            middles = (np.arange(intervals) + 0.5) / intervals
            means = (means + gradient_mean(active, middles)) / 2
            intervals *= 2
            current = span[active] * means
            attribution[active], n_steps[active] = current, intervals + 1
            gap[active] = (_sum(current) - rise[active]).abs() / rise[active].abs().clamp_min(
                GAP_FLOOR
            )
            size, change = _sum(current.abs()), _sum((current - previous).abs())
            going = ~((gap[active] <= tolerance) & (change <= tolerance * size))
            active, means, previous = active[going], means[going], current[going]
        if len(active):
            numbers = ", ".join(map(str, active[:10].tolist())) + ("…" if len(active) > 10 else "")
            warnings.warn(
                f"{len(active)} of {len(pixels)} inputs did not converge to {tolerance:g} in "
                f"{intervals + 1} gradients, and the next doubling would pass "
                f"max_steps={max_steps} (numbers {numbers}; largest relative gap "
                f"{float(gap[active].max()):.2g}): raise max_steps or tolerance",
                ConvergenceWarning,
                stacklevel=2,
            )
    return ConvergedMap(in_own_dtype(attribution, pixels.dtype), n_steps, gap)


def make_baseline(
    name, model, pixels, target=None, *, seed=0, input_range=(0.0, 1.0), extra=()
) -> torch.Tensor:
    """The point x′ where the path starts, of the shape of ``pixels``. With (low, high) the input
    range:

    - "black", "white": low, high everywhere.
    - "mean": the input's own mean colour, the mean over all but the first two dimensions.
    - "blur": the input under a Gaussian of σ = 0.1 × its shorter side (edges repeated), channels
      apart.
    - "noise": uniform in [low, high) at each value, from ``seed`` (an int: one field for all
      inputs; or N of them).
    - "farthest": at each value the end of the range that is farther from the input (the middle goes
      to high).
    - "adversarial": a nearby input that lowers the margin of ``target`` over the largest other
      logit, or what a callable makes of the output: captum's projected gradient descent, 20 signed
      steps of 0.02 × (high − low), within ±0.1 × (high − low) and the input range.
    - a tensor is checked and given the shape of ``pixels``; it may hold one baseline for each input
      or one for all.

    ("samples" is no single point: give ``references`` to ``integrated_gradients``.)
    """
    low, high = check_range(input_range)
    check_pixels(model, pixels)
    pixels = pixels.detach()
    if isinstance(name, torch.Tensor):
        check_pixels(model, name, "the baseline")
        if name.shape not in (pixels.shape, pixels.shape[1:], (1, *pixels.shape[1:])):
            raise ValueError(
                f"a baseline must have the shape of the pixels {tuple(pixels.shape)} or of one of "
                f"them {tuple(pixels.shape[1:])}, found {tuple(name.shape)}"
            )
        return name.detach().to(pixels.dtype).expand_as(pixels).clone()
    if not isinstance(name, str):
        raise TypeError(
            f"a baseline must be a name ({', '.join(BASELINES)}) or a tensor, found "
            f"{type(name).__name__}"
        )
    match choose(name, BASELINES, "baseline"):
        case "black":
            return torch.full_like(pixels, low)
        case "white":
            return torch.full_like(pixels, high)
        case "mean":
            spatial = _spatial_dims(name, pixels)
            wide = at_least_float32(pixels.dtype)
            mean = pixels.mean(spatial, keepdim=True, dtype=wide).to(pixels.dtype)
            return mean.expand_as(pixels).clone()
        case "blur":
            spatial = _spatial_dims(name, pixels)
            sigma = [0.0, 0.0] + [BLUR_SIGMA * min(pixels.shape[2:])] * len(spatial)
            return pixels.new_tensor(
                gaussian_filter(pixels.cpu().double().numpy(), sigma, mode="nearest")
            )
        case "noise":
            # Three words of entropy: no noise sample of SmoothGrad, which has two, draws the same
            # stream.
            seeds = check_seed(seed, len(pixels))
            fields = [
                np.random.default_rng(np.random.SeedSequence([s, 0, 1])).uniform(
                    low, high, tuple(pixels.shape[1:])
                )
                for s in seeds
            ]
            return pixels.new_tensor(np.stack(fields)).expand_as(pixels).clone()
        case "farthest":
            return torch.where(
                pixels > (low + high) / 2,
                torch.full_like(pixels, low),
                torch.full_like(pixels, high),
            )
        case "adversarial":
            return _adversarial(model, pixels, target, low, high, extra)
    raise ValueError("'samples' is no single baseline: give references to integrated_gradients")


def completeness_gap(
    model,
    pixels,
    baseline,
    attribution,
    target=None,
    *,
    references=None,
    seed=0,
    input_range=(0.0, 1.0),
    extra=(),
) -> torch.Tensor:
    """ΣA − (f(x) − f(x′)) for each input, (N,), in logits; 0 for an exact integral
    (arXiv:1703.01365, proposition 1).

    Args:
        baseline, references, target, seed, input_range, extra: as they were for the attribution.
            For "samples" f(x′) is the mean of the logit over the references; a tensor (R, ...)
            with R other than 1 or N is taken for such references too.
        attribution: the shape of ``pixels``.
    """
    with evaluation(model):
        target = resolve_target(model, pixels, target, extra=extra)
        if not isinstance(attribution, torch.Tensor):
            raise TypeError(
                f"the attribution must be a torch.Tensor, found {type(attribution).__name__}"
            )
        if attribution.shape != pixels.shape:
            raise ValueError(
                f"the attribution must have the shape of the pixels, {tuple(pixels.shape)}, found "
                f"{tuple(attribution.shape)}"
            )
        if (
            isinstance(baseline, torch.Tensor)
            and baseline.shape[1:] == pixels.shape[1:]
            and len(baseline) not in (1, len(pixels))
        ):
            references, baseline = baseline, "samples"
        _check_goes_with_samples(baseline, references)
        if references is None:
            origin = make_baseline(
                baseline, model, pixels, target, seed=seed, input_range=input_range, extra=extra
            )
            rise = _rise(model, pixels, origin, target, extra)
        else:
            origins = _check_references(model, pixels, references)
            if extra or isinstance(target, Score):  # what a reference gives depends on the input
                there = [_wide(explained(model, one, target, extra=extra)) for one in origins]
                there = torch.stack(there).mean(0)
            else:
                logits = _wide(logits_of(model, references.to(pixels.dtype))).mean(0)
                there = one_class(logits.expand(len(pixels), -1), target)
            rise = _wide(explained(model, pixels, target, extra=extra)) - there
    return _sum(attribution.detach()) - rise


def nodes_and_weights(rule, n) -> tuple[np.ndarray, np.ndarray]:
    """The n positions α on [0, 1] (0: baseline, 1: input) and their weights, which sum to 1;
    float64. The only one of "endpoints" for n = 1 is 0, the first of ``linspace(0, 1, 1)``."""
    n = at_least_one(n, "n_steps")
    i = np.arange(n)
    match choose(rule, RULES, "rule"):
        case "midpoint":
            return (i + 0.5) / n, np.full(n, 1 / n)
        case "left":
            return i / n, np.full(n, 1 / n)
        case "right":
            return (i + 1) / n, np.full(n, 1 / n)
        case "trapezoid":
            if n < 2:
                raise ValueError(
                    "the trapezoid rule has both ends of the path as nodes: n_steps must be at "
                    "least 2, found 1"
                )
            weights = np.full(n, 1 / (n - 1))
            weights[[0, -1]] /= 2
            return i / (n - 1), weights
        case "endpoints":
            return i / max(1, n - 1), np.full(n, 1 / n)
    nodes, weights = roots_legendre(n)
    return (nodes + 1) / 2, weights / weights.sum()


def _shared_nodes(sums):
    """The distinct nodes (J,) of K pairs (nodes, weights), and the weight of each in each of them,
    (K, J)."""
    each = list(sums)
    everything = np.concatenate([nodes for nodes, _ in each])
    order = np.argsort(everything, kind="stable")
    # further apart than rounding puts equal ones
    is_new = np.concatenate([[True], np.diff(everything[order]) > 1e-12])
    place = np.empty(len(order), int)
    place[order] = np.cumsum(is_new) - 1
    weights = np.zeros((len(each), place.max() + 1))
    start = 0
    for row, (nodes, own) in zip(weights, each, strict=True):
        row[place[start : start + len(nodes)]] = own
        start += len(nodes)
    return everything[order][is_new], weights


def _weighted_sums(
    model, pixels, target, origin, nodes, weights, extra, batch_size, progress, numbers=None
):
    """[Σⱼ weights[k, j] ∇f(origin + nodes[j] (pixels − origin)) for each k], in float32 at least,
    from one pass over the nodes. ``numbers``: what an error calls the rows."""
    own, wide = pixels.dtype, at_least_float32(pixels.dtype)
    sums = [torch.zeros_like(pixels, dtype=wide) for _ in weights]
    ends = origin.to(wide), pixels.to(wide)
    gradients = stream(
        model,
        target,
        lambda j: torch.lerp(*ends, float(nodes[j])).to(own),
        len(nodes),
        extra=extra,
        batch_size=batch_size,
        progress=progress,
        place=lambda j, row: (
            f"α = {nodes[j]:.4g} of the path (0: the baseline, 1: the input) of input "
            f"{row if numbers is None else int(numbers[row])}"
        ),
    )
    for column, gradient in zip(weights.T, gradients, strict=True):
        for total, weight in zip(sums, column, strict=True):
            if weight:
                total.add_(gradient, alpha=float(weight))
    return sums


def _rise(model, pixels, origin, target, extra=(), batch_size=None):
    """f(x) − f(x′), (N,)."""
    there, here = (
        _wide(explained(model, points, target, extra=extra, batch_size=batch_size))
        for points in (origin, pixels)
    )
    return here - there


def _wide(values):
    return values.to(at_least_float32(values.dtype))


def _sum(maps):
    return maps.reshape(len(maps), -1).sum(1, dtype=at_least_float32(maps.dtype))


def _spatial_dims(name, pixels):
    if pixels.ndim < 3:
        raise ValueError(
            f"the {name} baseline needs inputs with channels and places, (N, C, ...), found "
            f"{tuple(pixels.shape)}"
        )
    return tuple(range(2, pixels.ndim))


def _check_goes_with_samples(baseline, references):
    if (isinstance(baseline, str) and baseline == "samples") != (references is not None):
        raise ValueError(
            "references, (R, ...) inputs, go with baseline='samples', and only with it"
        )


def _check_references(model, pixels, references):
    check_pixels(model, references, "references")
    if references.shape[1:] != pixels.shape[1:]:
        raise ValueError(
            f"references must be (R, {', '.join(map(str, pixels.shape[1:]))}), inputs like the "
            f"pixels, found {tuple(references.shape)}"
        )
    return [reference.detach().to(pixels.dtype).expand_as(pixels) for reference in references]


def _adversarial(model, pixels, target, low, high, extra):
    from captum.robust import PGD as CaptumPGD  # here, since captum takes a second to import

    scale = high - low
    with evaluation(model), warnings.catch_warnings():
        # captum announces that it asks for gradients
        warnings.filterwarnings("ignore", "Input Tensor")
        target = resolve_target(model, pixels, target, extra=extra)
        lowered = target if isinstance(target, Score) else margin(target)
        score = resolve_target(model, pixels, lowered, extra=extra)
        sizes = [len(part) for part in pixels.split(default_batch_size(pixels))]
        found = []
        for part, aim, *more in zip(
            *(each.split(sizes) for each in (pixels, score, *extra)), strict=True
        ):
            attack = CaptumPGD(
                lambda points, more=more: ask(model, points, more),
                lambda output, aim, part=part: -explained_in(output, aim, len(part)),
                lower_bound=low,
                upper_bound=high,
            )
            moved = attack.perturb(
                part.clone(),
                radius=scale * PGD["radius"],
                step_size=scale * PGD["step_size"],
                step_num=PGD["step_num"],
                target=aim,
            )
            found.append(moved.detach())
    return torch.cat(found)
