"""Does a map say what the network does? Measures that ask the network again: pixels hidden, inputs
perturbed.

As in ``quality``: one value a picture, (N,), from maps (N, C, H, W); nan where a docstring says
that there is none.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import make_baseline
from helpers.attribution.targets import Score, explained, resolve_target
from helpers.checks import at_least_one, check_seed, choose
from helpers.evaluate import (
    at_least_float32,
    check_classes,
    evaluation,
    logits_of,
    noisy_points,
    one_class,
    probabilities,
    says,
)
from helpers.measures.quality import check_maps, relevance

ORDERS = ("lowest", "highest")
IMPUTED = "imputed"
NOISE = 0.01  # standard deviation, on imputed pixels
FRACTIONS = tuple(i / 20 for i in range(21))


class HidingCurves(NamedTuple):
    """``retained`` (N, F) bool, whether the network still says the target, and ``probability`` (N,
    F), the target's softmax, or the sigmoid of a network with one logit. Of a target that is a
    callable, None and what it makes of the output."""

    retained: torch.Tensor | None
    probability: torch.Tensor


def hide(
    pixels,
    maps,
    fraction,
    *,
    fill="mean",
    order="lowest",
    seed=0,
    model=None,
    target=None,
    extra=(),
) -> torch.Tensor:
    """The pictures with a share of their pixels replaced, those of the lowest or the highest
    unsigned relevance.

    Args:
        pixels, maps: (N, C, H, W); a pixel is replaced in all channels at once.
        fraction: the share, in [0, 1]; round(fraction × H W) pixels.
        fill: what replaces them: a name that ``make_baseline`` knows ("mean", "blur", "noise",
            "black", "white", …); "imputed", what the pixels left say of them, so that pictures stay
            like pictures (ROAD's noisy linear imputation, arXiv:2202.00449); or a tensor. A fill
            that is also the baseline of the map makes the test circular.
        order: "lowest" or "highest". Ties are broken by chance, from ``seed``, so a constant map
            hides random pixels.
        seed: of the ties and of "noise"; an int, the same for all pictures, or N of them.
        model, target, extra: needed for the fill "adversarial" alone.
    """
    check_maps(maps, pixels)
    fill, positions = _fill(fill, model, pixels, target, seed, extra), _positions(maps, seed)
    return _replaced(pixels, fill, positions, fraction, choose(order, ORDERS, "order"), seed)


def hiding_curves(
    model,
    pixels,
    maps,
    fractions=FRACTIONS,
    *,
    order="lowest",
    fill="mean",
    target=None,
    seed=0,
    extra=(),
) -> HidingCurves:
    """What the network says as ever more pixels are hidden: both curves from the same passes, one a
    fraction.

    Args: as ``hide``; ``fractions`` F shares in [0, 1]; ``target`` the label, by default what the
        network says unhidden, or a callable, as for ``saliency``; ``extra``, further arguments of
        the model. A network with one logit is asked about what that logit stands for:
        its sigmoid, and whether it is above ½.

    Raises:
        ValueError: besides ``hide``'s: no fractions; a network that returns probabilities instead
            of logits (``retained_accuracy`` takes it), or NaN.
    """
    hidden, target = _hidden(model, pixels, maps, fractions, order, fill, target, seed, extra)
    if isinstance(target, Score):
        asked = [explained(model, points, target, extra=extra) for points in hidden]
        return HidingCurves(None, torch.stack(asked, 1))
    logits = _logits(model, hidden, target, extra)
    rows = probabilities(logits).unbind(1)
    return HidingCurves(
        says(logits, target[:, None]), torch.stack([one_class(row, target) for row in rows], 1)
    )


def retained_accuracy(
    model, pixels, maps, fractions, *, order="lowest", fill="mean", target=None, seed=0, extra=()
) -> torch.Tensor:
    """Whether the network still says the label when a share of the pixels is hidden, (N, F) bool.
    Args: ``hiding_curves``.

    With ``order="lowest"`` a good map keeps the label (what it calls unimportant is), with
    "highest" it loses it.

    Raises:
        TypeError: the target is a callable, which names no label.
    """
    hidden, target = _hidden(model, pixels, maps, fractions, order, fill, target, seed, extra)
    if isinstance(target, Score):
        raise TypeError(
            "whether the network still says a label needs a class as target, found a callable: "
            "hiding_curves, deletion and insertion take one"
        )
    return says(_logits(model, hidden, target, extra), target[:, None])


def deletion(
    model, pixels, maps, *, fractions=FRACTIONS, fill="mean", target=None, seed=0, extra=()
) -> torch.Tensor:
    """The mean probability of the target, or what a callable makes of the output, while the most
    relevant pixels are hidden first, (N,), in [0, 1]; lower is better (Petsiuk et al. 2018,
    arXiv:1806.07421, algorithm 1; they fill with grey). Args: ``hiding_curves``."""
    curves = hiding_curves(
        model,
        pixels,
        maps,
        fractions,
        order="highest",
        fill=fill,
        target=target,
        seed=seed,
        extra=extra,
    )
    return curve_area(fractions, curves.probability)


def insertion(
    model, pixels, maps, *, fractions=FRACTIONS, fill="blur", target=None, seed=0, extra=()
) -> torch.Tensor:
    """The mean probability of the target, or what a callable makes of the output, while the most
    relevant pixels are put back first into a picture of fill, (N,), in [0, 1]; higher is better
    (Petsiuk et al. 2018, as ``deletion``; they blur). The same as hiding the least relevant first,
    read backwards. Args: ``hiding_curves``."""
    curves = hiding_curves(
        model,
        pixels,
        maps,
        fractions,
        order="lowest",
        fill=fill,
        target=target,
        seed=seed,
        extra=extra,
    )
    return curve_area(fractions, curves.probability)


def curve_area(fractions, values) -> torch.Tensor:
    """The mean height of curves (N, F) over F ≥ 2 increasing fractions, (N,): trapezoid area over
    the width."""
    at = torch.as_tensor(tuple(fractions), dtype=at_least_float32(values.dtype))
    if values.ndim != 2 or at.shape != values.shape[1:] or len(at) < 2 or not (at.diff() > 0).all():
        raise ValueError(
            "values must be (N, F) for F increasing fractions, at least 2; "
            f"found {tuple(values.shape)} for {at.tolist()}"
        )
    at = at.to(values.device)
    return torch.trapezoid(values.to(at.dtype), at, dim=1) / (at[-1] - at[0])


def infidelity(
    model,
    pixels,
    maps,
    target=None,
    *,
    noise=0.15,
    n_samples=50,
    baseline=None,
    normalize=True,
    seed=0,
    extra=(),
) -> torch.Tensor:
    """How badly a map foretells what noise does to the logit, (N,), in squared logits, ≥ 0 (Yeh et
    al. 2019, arXiv:1901.09392, definition 2.1): E_I [(β I·A − (f(x) − f(x − I)))²] over normal
    noise I, as captum computes it.

    Args:
        noise: standard deviation of I, in units of input.
        baseline: for a map that carries the factor (x − x′), its x′ (as for ``make_baseline``): the
            map is divided by it (0 where it is 0), since I·A needs a map in logits per unit of
            input.
        normalize: β is the factor, one a picture, that suits the map best, so only its pattern
            counts and controls without units can take part; a map of zeros then scores E[(f(x) −
            f(x − I))²], the most there is. False: β = 1.
        seed: an int, the same noise for all pictures, or N of them.
    """
    from captum.metrics import (
        infidelity as captum_infidelity,  # here, since captum takes a second to import
    )

    check_maps(maps, pixels)
    if maps.shape != pixels.shape:
        raise ValueError(
            f"infidelity needs maps of the shape of the pixels, {tuple(pixels.shape)}, "
            f"found {tuple(maps.shape)}"
        )
    if not 0 < noise < float("inf"):
        raise ValueError(f"noise must be greater than 0, found {noise!r}")
    target, pixels = resolve_target(model, pixels, target, extra=extra), pixels.detach()
    if baseline is not None:
        factor = pixels - make_baseline(baseline, model, pixels, target, seed=seed, extra=extra)
        maps = torch.where(factor == 0, 0, maps / torch.where(factor == 0, 1, factor).double())
    fields = _fields(pixels, seed, 3, lambda rng, shape: noise * rng.standard_normal(shape))

    def perturb(points):
        field = next(fields).double()
        return field, points - field

    def logit(points):  # captum asks for the clean one again with every field
        points = points.to(pixels.dtype)
        return clean if points.equal(pixels) else _logit(points)

    def _logit(points):
        return explained(model, points, target, extra=extra).double()

    clean = _logit(pixels)
    # One field a call, for all pictures: what a picture gets then depends on (seed, number) alone.
    values = captum_infidelity(
        logit,
        perturb,
        pixels.double(),  # squares of very small or large maps leave the range of float32
        maps.to(pixels.device).double(),
        n_perturb_samples=at_least_one(n_samples, "n_samples"),
        max_examples_per_batch=len(pixels),
        normalize=normalize,
    )
    # With β it is a difference, whose rounding can be negative.
    return values.clamp_min(0).to(at_least_float32(pixels.dtype))


def max_sensitivity(
    model, pixels, target=None, *, attribution=saliency, radius=0.02, n_samples=10, seed=0, extra=()
) -> torch.Tensor:
    """How far a map moves when the input hardly does, (N,), ≥ 0 (Yeh et al. 2019, arXiv:1901.09392,
    definition 2.2, over the size of the map as in captum): max over δ of ‖A(x + δ) − A(x)‖₂ /
    ‖A(x)‖₂. A map of zeros has no
        size: nan.

    Args:
        attribution: any callable (model, pixels, target) → map (with ``extra=``, where there is
            any). The target is fixed on the clean input.
        radius: δ is uniform in ±radius at each value; x + δ is not clipped.
        seed: an int, the same n_samples of δ for all pictures, or N of them.
    """
    from captum.metrics import sensitivity_max

    if not 0 < radius < float("inf"):
        raise ValueError(f"radius must be greater than 0, found {radius!r}")
    with evaluation(model):
        target, pixels = resolve_target(model, pixels, target, extra=extra), pixels.detach()
    given = {"extra": extra} if extra else {}
    fields = _fields(pixels, seed, 4, lambda rng, shape: rng.uniform(-radius, radius, shape))
    sizes = []

    def explain(points):
        (points,) = points if isinstance(points, tuple) else (points,)
        with torch.enable_grad():
            maps = (
                attribution(model, points, target, **given).detach().double()
            )  # norms are of squares
        if not torch.isfinite(maps).all():
            raise ValueError("the maps hold NaN or infinite values")
        sizes.append(maps.flatten(1).norm(dim=1))
        # a tuple: captum takes the rows of a bare tensor for separate inputs
        return (maps.contiguous(),)

    with noisy_points():  # x + δ may leave [0, 1]
        moved = sensitivity_max(
            explain,
            pixels,
            lambda points: points + next(fields),
            perturb_radius=radius,
            n_perturb_samples=at_least_one(n_samples, "n_samples"),
            max_examples_per_batch=len(pixels),
        )
    return torch.where(sizes[0] == 0, torch.nan, moved).to(at_least_float32(pixels.dtype))


def _hidden(model, pixels, maps, fractions, order, fill, target, seed, extra):
    """The pictures with each share hidden, one share after the other, and the target, resolved."""
    check_maps(maps, pixels)
    choose(order, ORDERS, "order")
    fractions = list(fractions)
    if not fractions:
        raise ValueError("fractions must name at least one share of the pixels, found none")
    target = resolve_target(model, pixels, target, extra=extra)
    fill, positions = _fill(fill, model, pixels, target, seed, extra), _positions(maps, seed)
    pixels = pixels.detach()
    return (_replaced(pixels, fill, positions, each, order, seed) for each in fractions), target


def _logits(model, hidden, target, extra):
    """The logits (N, F, K) of F batches of pictures."""
    logits = torch.stack([logits_of(model, points, extra=extra) for points in hidden], 1)
    check_classes(0, int(target.max()), logits.shape[2])
    return logits


def _positions(maps, seed):
    """The place of every pixel in the order of unsigned relevance, lowest 0, (N, H, W); ties in an
    order drawn by the seed."""
    values = relevance(maps, "unsigned").reshape(len(maps), -1)
    seeds = check_seed(seed, len(maps))
    draws = [
        np.random.default_rng(np.random.SeedSequence([s, 0, 2])).random(values.shape[1])
        for s in (seeds * len(maps) if len(seeds) == 1 else seeds)
    ]
    order = np.stack([np.lexsort((draw, row)) for draw, row in zip(draws, values, strict=True)])
    return torch.from_numpy(order.argsort(1).reshape(len(maps), *maps.shape[2:]))


def _fill(fill, model, pixels, target, seed, extra):
    """The picture of fill, or IMPUTED, which is made anew of what each share leaves."""
    if isinstance(fill, str) and fill == IMPUTED:
        return fill
    return make_baseline(fill, model, pixels, target, seed=seed, extra=extra)


def _replaced(pixels, fill, positions, fraction, order, seed):
    if not 0 <= fraction <= 1:
        raise ValueError(f"the share of pixels to hide must lie in [0, 1], found {fraction!r}")
    n = positions[0].numel()
    count = round(fraction * n)
    hidden = positions < count if order == "lowest" else positions >= n - count
    fill = _imputed(pixels, hidden, seed) if isinstance(fill, str) else fill
    return torch.where(hidden[:, None].to(pixels.device), fill, pixels)


def _imputed(pixels, hidden, seed):
    """What the rest of a picture says of its hidden pixels: each the weighted mean of its eight
    neighbours, direct ones twice as heavy as diagonal ones, solved for all at once, and a little
    noise (ROAD, arXiv:2202.00449, section 4)."""
    filled = pixels.detach().cpu().double().numpy().copy()
    for picture, hide in zip(filled, hidden.numpy(), strict=True):
        if hide.all():
            picture[:] = picture.mean((1, 2), keepdims=True)
        elif hide.any():
            picture[:, hide] = _harmonic(picture, hide)
    noise = next(_fields(pixels, seed, 3, lambda rng, shape: rng.normal(0, NOISE, shape)))
    return (pixels.new_tensor(filled) + noise).clamp(0, 1)


def _harmonic(picture, hide):
    """(C, M) values of the M hidden pixels."""
    number = np.full(np.add(hide.shape, 2), -1)  # of a hidden pixel; -1 known, -2 outside
    number[[0, -1]] = number[:, [0, -1]] = -2
    number[1:-1, 1:-1][hide] = np.arange(hide.sum())
    around = np.pad(picture, ((0, 0), (1, 1), (1, 1)))
    y, x = np.nonzero(hide)
    rows, known, weight = [], np.zeros((len(picture), len(y))), np.zeros(len(y))
    for dy, dx in product((-1, 0, 1), repeat=2):
        if dy or dx:
            heavy, there = 1.0 if dy and dx else 2.0, number[y + 1 + dy, x + 1 + dx]
            weight += heavy * (there > -2)
            known += heavy * (there == -1) * around[:, y + 1 + dy, x + 1 + dx]
            (of,) = np.nonzero(there >= 0)
            rows.append((of, there[of], np.full(len(of), -heavy)))
    rows.append((np.arange(len(y)), np.arange(len(y)), weight))
    row, column, value = map(np.concatenate, zip(*rows, strict=True))
    system = sparse.csc_array((value, (row, column)), shape=(len(y), len(y)))
    # which is symmetric: without saying so, large holes take a hundred times as long
    said = dict(permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True})
    return sparse.linalg.splu(system, **said).solve(known.T).T


def _fields(pixels, seed, stream, draw):
    """Noise fields number 0, 1, … of (seed, stream), each for all pictures. Three words of entropy:
    no sample of SmoothGrad's, which has two, draws the same."""
    seeds = check_seed(seed, len(pixels))
    index = 0
    while True:
        fields = [
            draw(
                np.random.default_rng(np.random.SeedSequence([s, index, stream])),
                tuple(pixels.shape[1:]),
            )
            for s in seeds
        ]
        yield torch.from_numpy(np.stack(fields)).to(pixels).expand_as(pixels)
        index += 1
