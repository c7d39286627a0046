"""How good is a map? Measures of it against ground truth, against the network, and against other maps.

Every measure returns one value a picture, (N,), so that pictures can be paired; none of them sees the display. Maps are
(N, C, H, W); a pixel's *relevance* is |A| summed over channels ("unsigned") or A summed over channels ("signed").

A batch that makes no sense (shapes, NaN, infinite values) raises ValueError. Where a measure is not defined for one picture
(each docstring says where) that picture's value is nan, which ``statistics`` refuses, so it cannot go unseen.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata

from helpers.checks import choose
from helpers.gradients import _inside_loop, _positive, evaluation, logits_of, one_class, resolve_target, saliency
from helpers.integrated_gradients import make_baseline
from helpers.smoothgrad import check_seed

ORDERS = ("lowest", "highest")
REDUCTIONS = ("signed", "unsigned")
FRACTIONS = tuple(i / 20 for i in range(21))


class HidingCurves(NamedTuple):
    """``retained`` (N, F) bool, whether the network still says the target, and ``probability`` (N, F), its softmax."""

    retained: torch.Tensor
    probability: torch.Tensor


# Against the truth


def relevance_mass(maps, mask) -> torch.Tensor:
    """The share of a map's total size that lies on a mask, (N,), in [0, 1] (Arras et al. 2022, arXiv:2003.07258, eq. 1).

    |A| is summed over channels. A map that knows nothing scores the share of the mask's area; so an empty mask scores 0 and a
    full one 1, whatever the map. A map of zeros has no mass to lie anywhere: nan.

    Args:
        maps: (N, C, H, W).
        mask: (N, 1, H, W) bool.
    """
    _check_maps(maps)
    _check_mask(maps, mask)
    size = maps.abs().sum(1, keepdim=True)
    return (size * mask).flatten(1).sum(1) / size.flatten(1).sum(1)


def pixel_auc(maps, mask) -> torch.Tensor:
    """The chance that a pixel on the mask has more relevance than one off it, (N,), in [0, 1]: the area under the ROC curve.

    From ranks (Mann and Whitney 1947), ties counted half: a constant map scores 0.5, as a map that knows nothing does. An
    empty or full mask has no such pair: nan. Args as ``relevance_mass``; only the order of |A|, summed over channels, counts.
    """
    _check_maps(maps)
    _check_mask(maps, mask)
    inside = mask.flatten(1).cpu().numpy()
    ranks = rankdata(_relevance(maps, "unsigned").reshape(len(maps), -1), axis=1)
    n_in = inside.sum(1).astype(float)
    n_out = inside.shape[1] - n_in
    with np.errstate(invalid="ignore"):
        auc = ((ranks * inside).sum(1) - n_in * (n_in + 1) / 2) / (n_in * n_out)
    return torch.from_numpy(auc).to(maps)


def pair_contrast(first, second, first_mask, second_mask, *, measure=relevance_mass) -> torch.Tensor:
    """How far a method follows the network, on one picture that two networks read differently, (N,), in [−1, 1]; 0 for any map
    that ignores the network, exactly.

    ½ [m(first, first_mask) − m(second, first_mask) + m(second, second_mask) − m(first, second_mask)]

    Args:
        first, second: the method's maps (N, C, H, W) of the same pictures, for either network.
        first_mask, second_mask: (N, 1, H, W) bool, the part that either network reads.
        measure: (maps, mask) → (N,): ``relevance_mass`` or ``pixel_auc``.
    """
    return (measure(first, first_mask) - measure(second, first_mask)
            + measure(second, second_mask) - measure(first, second_mask)) / 2  # fmt: skip


def dilate(mask, pixels) -> torch.Tensor:
    """The mask (N, 1, H, W) grown by a disc: every pixel whose centre is within ``pixels`` of one on it; 0 leaves it as it is.
    An empty mask stays empty."""
    if mask.dtype != torch.bool or mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(f"the mask must be bool of shape (N, 1, H, W), found {mask.dtype} {tuple(mask.shape)}")
    if not 0 <= pixels < float("inf"):
        raise ValueError(f"a mask is dilated by at least 0 pixels, found {pixels!r}")
    reach = torch.arange(-int(pixels), int(pixels) + 1, device=mask.device)
    disc = (reach[:, None] ** 2 + reach**2 <= pixels**2).float()[None, None]
    return torch.nn.functional.conv2d(mask.float(), disc, padding=int(pixels)) > 0.5


# Against the network


def hide(pixels, maps, fraction, *, fill="mean", order="lowest", seed=0, model=None, target=None) -> torch.Tensor:
    """The pictures with a share of their pixels replaced, those of the lowest or the highest unsigned relevance.

    Args:
        pixels, maps: (N, C, H, W); a pixel is replaced in all channels at once.
        fraction: the share, in [0, 1]; round(fraction × H W) pixels.
        fill: what replaces them: a name that ``make_baseline`` knows ("mean", "blur", "noise", "black", "white", …), or a
            tensor. A fill that is also the baseline of the map makes the test circular.
        order: "lowest" or "highest". Ties are broken by chance, from ``seed``, so a constant map hides random pixels.
        seed: of the ties and of "noise"; an int, the same for all pictures, or N of them.
        model, target: needed for the fill "adversarial" alone.
    """
    _check_maps(maps, pixels)
    fill = make_baseline(fill, model, pixels, target, seed=seed)
    return _replaced(pixels, fill, _positions(maps, seed), fraction, choose(order, ORDERS, "order"))


def hiding_curves(model, pixels, maps, fractions=FRACTIONS, *, order="lowest", fill="mean", target=None,
                  seed=0) -> HidingCurves:  # fmt: skip
    """What the network says as ever more pixels are hidden: both curves from the same passes, one a fraction.

    Args: as ``hide``; ``fractions`` F shares in [0, 1]; ``target`` the label, by default what the network says unhidden.
    """
    _check_maps(maps, pixels)
    choose(order, ORDERS, "order")
    target = resolve_target(model, pixels, target)
    fill, positions = make_baseline(fill, model, pixels, target, seed=seed), _positions(maps, seed)
    logits = [logits_of(model, _replaced(pixels.detach(), fill, positions, share, order)) for share in fractions]
    if not logits:
        raise ValueError("fractions must name at least one share of the pixels, found none")
    return HidingCurves(torch.stack([row.argmax(1) == target for row in logits], 1),
                        torch.stack([one_class(row.softmax(1), target) for row in logits], 1))  # fmt: skip


def retained_accuracy(model, pixels, maps, fractions, *, order="lowest", fill="mean", target=None, seed=0) -> torch.Tensor:
    """Whether the network still says the label when a share of the pixels is hidden, (N, F) bool. Args: ``hiding_curves``.

    With ``order="lowest"`` a good map keeps the label (what it calls unimportant is), with "highest" it loses it.
    """
    return hiding_curves(model, pixels, maps, fractions, order=order, fill=fill, target=target, seed=seed).retained


def deletion(model, pixels, maps, *, fractions=FRACTIONS, fill="mean", target=None, seed=0) -> torch.Tensor:
    """The mean softmax probability of the target while the most relevant pixels are hidden first, (N,), in [0, 1]; lower is
    better (Petsiuk et al. 2018, arXiv:1806.07421, algorithm 1; they fill with grey). Args: ``hiding_curves``."""
    curves = hiding_curves(model, pixels, maps, fractions, order="highest", fill=fill, target=target, seed=seed)
    return curve_area(fractions, curves.probability)


def insertion(model, pixels, maps, *, fractions=FRACTIONS, fill="blur", target=None, seed=0) -> torch.Tensor:
    """The mean softmax probability of the target while the most relevant pixels are put back first into a picture of fill,
    (N,), in [0, 1]; higher is better (Petsiuk et al. 2018, as ``deletion``; they blur). The same as hiding the least
    relevant first, read backwards. Args: ``hiding_curves``."""
    curves = hiding_curves(model, pixels, maps, fractions, order="lowest", fill=fill, target=target, seed=seed)
    return curve_area(fractions, curves.probability)


def curve_area(fractions, values) -> torch.Tensor:
    """The mean height of curves (N, F) over F ≥ 2 increasing fractions, (N,): trapezoid area over the width."""
    at = torch.as_tensor(tuple(fractions), dtype=values.dtype if values.is_floating_point() else torch.float32)
    if values.ndim != 2 or at.shape != values.shape[1:] or len(at) < 2 or not (at.diff() > 0).all():
        raise ValueError(
            f"values must be (N, F) for F increasing fractions, at least 2; found {tuple(values.shape)} for {at.tolist()}"
        )
    at = at.to(values.device)
    return torch.trapezoid(values.to(at.dtype), at, dim=1) / (at[-1] - at[0])


def infidelity(model, pixels, maps, target=None, *, noise=0.15, n_samples=50, baseline=None, normalize=True,
               seed=0) -> torch.Tensor:  # fmt: skip
    """How badly a map foretells what noise does to the logit, (N,), in squared logits, ≥ 0 (Yeh et al. 2019, arXiv:1901.09392,
    definition 2.1): E_I [(β I·A − (f(x) − f(x − I)))²] over normal noise I, as captum computes it.

    Args:
        noise: standard deviation of I, in units of input.
        baseline: for a map that carries the factor (x − x′), its x′ (as for ``make_baseline``): the map is divided by it (0
            where it is 0), since I·A needs a map in logits per unit of input.
        normalize: β is the factor, one a picture, that suits the map best, so only its pattern counts and controls without
            units can take part; a map of zeros then scores E[(f(x) − f(x − I))²], the most there is. False: β = 1.
        seed: an int, the same noise for all pictures, or N of them.
    """
    from captum.metrics import infidelity as captum_infidelity  # here, since captum takes a second to import

    _check_maps(maps, pixels)
    if maps.shape != pixels.shape:
        raise ValueError(f"infidelity needs maps of the shape of the pixels, {tuple(pixels.shape)}, found {tuple(maps.shape)}")
    if not 0 < noise < float("inf"):
        raise ValueError(f"noise must be greater than 0, found {noise!r}")
    target, pixels = resolve_target(model, pixels, target), pixels.detach()
    if baseline is not None:
        factor = pixels - make_baseline(baseline, model, pixels, target, seed=seed)
        maps = torch.where(factor == 0, 0, maps / torch.where(factor == 0, 1, factor))
    fields = _fields(pixels, seed, 3, lambda rng, shape: noise * rng.standard_normal(shape))

    def perturb(points):
        field = next(fields)
        return field, points - field

    def logit(points):  # captum asks for the clean one again with every field
        return clean if points.equal(pixels) else one_class(logits_of(model, points), target)

    clean = one_class(logits_of(model, pixels), target)
    # One field a call, for all pictures: what a picture gets then depends on (seed, number) alone.
    values = captum_infidelity(logit, perturb, pixels, maps.to(pixels), n_perturb_samples=_positive(n_samples, "n_samples"),
                               max_examples_per_batch=len(pixels), normalize=normalize)  # fmt: skip
    return values.clamp_min(0)  # with β it is a difference, whose rounding can be negative


def max_sensitivity(model, pixels, target=None, *, attribution=saliency, radius=0.02, n_samples=10, seed=0) -> torch.Tensor:
    """How far a map moves when the input hardly does, (N,), ≥ 0 (Yeh et al. 2019, arXiv:1901.09392, definition 2.2, over the
    size of the map as in captum): max over δ of ‖A(x + δ) − A(x)‖₂ / ‖A(x)‖₂. A map of zeros has no size: nan.

    Args:
        attribution: any callable (model, pixels, target) → map. The target is fixed on the clean input.
        radius: δ is uniform in ±radius at each value; x + δ is not clipped.
        seed: an int, the same n_samples of δ for all pictures, or N of them.
    """
    from captum.metrics import sensitivity_max

    if not 0 < radius < float("inf"):
        raise ValueError(f"radius must be greater than 0, found {radius!r}")
    with evaluation(model):
        target, pixels = resolve_target(model, pixels, target), pixels.detach()
    fields = _fields(pixels, seed, 4, lambda rng, shape: rng.uniform(-radius, radius, shape))
    sizes = []

    def explain(points):
        (points,) = points if isinstance(points, tuple) else (points,)
        with torch.enable_grad():
            maps = attribution(model, points, target).detach()
        if not torch.isfinite(maps).all():
            raise ValueError("the maps hold NaN or infinite values")
        sizes.append(maps.flatten(1).norm(dim=1))
        return (maps.contiguous(),)  # a tuple: captum takes the rows of a bare tensor for separate inputs

    token = _inside_loop.set(True)  # x + δ may leave [0, 1]
    try:
        moved = sensitivity_max(explain, pixels, lambda points: points + next(fields), perturb_radius=radius,
                                n_perturb_samples=_positive(n_samples, "n_samples"),
                                max_examples_per_batch=len(pixels))  # fmt: skip
    finally:
        _inside_loop.reset(token)
    return torch.where(sizes[0] == 0, torch.nan, moved)


# Against another map


def correlation(first, second, how="signed") -> torch.Tensor:
    """Pearson's correlation of two maps of a picture over its pixels, (N,), in [−1, 1]; nan where either is constant.

    first, second: (N, C, H, W), C may differ. how: "signed" adds up the channels, "unsigned" their absolute values.
    """
    return torch.from_numpy(_pearson(*_both(first, second, how))).to(first)


def rank_correlation(first, second, how="signed") -> torch.Tensor:
    """Spearman's rank correlation, (N,), in [−1, 1], ties given their mean rank; otherwise as ``correlation``."""
    return torch.from_numpy(_pearson(*(rankdata(values, axis=1) for values in _both(first, second, how)))).to(first)


def ssim(first, second, how="unsigned") -> torch.Tensor:
    """Structural similarity of two maps of a picture, (N,), in [−1, 1] (Wang et al. 2004: Gaussian window, σ = 1.5, 11 × 11).

    Each map is divided by its largest absolute pixel, so the data range is 1 ("unsigned": [0, 1]) or 2 ("signed": [−1, 1]), and
    only the pattern counts; a map of zeros has none: nan. Other arguments as ``correlation``; H and W at least 11.
    """
    from skimage.metrics import structural_similarity  # here, since it takes a while to import

    if min(first.shape[2:]) < 11:
        raise ValueError(f"ssim needs maps of at least 11 × 11 pixels, its window, found {tuple(first.shape)}")
    first_values, second_values = (values.reshape(-1, *first.shape[2:]) for values in _both(first, second, how))
    result = torch.full((len(first),), torch.nan, dtype=first.dtype)
    span = 2.0 if how == "signed" else 1.0
    for i, (x, y) in enumerate(zip(first_values, second_values, strict=True)):
        if x.any() and y.any():
            result[i] = structural_similarity(x / np.abs(x).max(), y / np.abs(y).max(), gaussian_weights=True, sigma=1.5,
                                              use_sample_covariance=False, data_range=span)  # fmt: skip
    return result.to(first.device)


def _check_maps(maps, pixels=None):
    if not isinstance(maps, torch.Tensor) or maps.ndim != 4 or maps.numel() == 0:
        found = tuple(maps.shape) if isinstance(maps, torch.Tensor) else type(maps).__name__
        raise ValueError(f"the maps must be a tensor of shape (N, C, H, W), found {found}")
    if not torch.isfinite(maps).all():
        raise ValueError("the maps hold NaN or infinite values")
    if pixels is not None and (len(maps), *maps.shape[2:]) != (len(pixels), *pixels.shape[2:]):
        raise ValueError(f"the maps must fit the pictures {tuple(pixels.shape)}, found {tuple(maps.shape)}")


def _check_mask(maps, mask):
    if mask.dtype != torch.bool or mask.shape != (len(maps), 1, *maps.shape[2:]):
        raise ValueError(
            f"the mask must be bool of shape {(len(maps), 1, *maps.shape[2:])}, found {mask.dtype} {tuple(mask.shape)}"
        )


def _relevance(maps, how):
    """(N, H, W), float64, numpy: sums in float64, so that a tie is a tie."""
    values = maps.detach().cpu().double()
    return (values if choose(how, REDUCTIONS, "reduction") == "signed" else values.abs()).sum(1).numpy()


def _both(first, second, how):
    """Both maps of each picture as (N, H × W)."""
    _check_maps(first)
    _check_maps(second)
    if (len(first), *first.shape[2:]) != (len(second), *second.shape[2:]):
        raise ValueError(f"the maps must be of the same pictures, found {tuple(first.shape)} and {tuple(second.shape)}")
    return [_relevance(maps, how).reshape(len(maps), -1) for maps in (first, second)]


def _pearson(x, y):
    constant = (np.ptp(x, axis=1) == 0) | (np.ptp(y, axis=1) == 0)
    # Divided by the largest first: the squares of very small maps would not be told from 0.
    x, y = (v / np.where(constant, 1, np.abs(v).max(1))[:, None] for v in (x, y))
    x, y = (v - v.mean(1, keepdims=True) for v in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return np.where(constant, np.nan, np.clip(r, -1, 1))


def _positions(maps, seed):
    """The place of every pixel in the order of unsigned relevance, lowest 0, (N, H, W); ties in an order drawn by the seed."""
    relevance = _relevance(maps, "unsigned").reshape(len(maps), -1)
    seeds = check_seed(seed, len(maps))
    draws = [np.random.default_rng(np.random.SeedSequence([s, 0, 2])).random(relevance.shape[1])
             for s in ([seeds] * len(maps) if isinstance(seeds, int) else seeds)]  # fmt: skip
    order = np.stack([np.lexsort((draw, values)) for draw, values in zip(draws, relevance, strict=True)])
    return torch.from_numpy(order.argsort(1).reshape(len(maps), *maps.shape[2:]))


def _replaced(pixels, fill, positions, fraction, order):
    if not 0 <= fraction <= 1:
        raise ValueError(f"the share of pixels to hide must lie in [0, 1], found {fraction!r}")
    n = positions[0].numel()
    count = round(fraction * n)
    hidden = positions < count if order == "lowest" else positions >= n - count
    return torch.where(hidden[:, None].to(pixels.device), fill, pixels)


def _fields(pixels, seed, stream, draw):
    """Noise fields number 0, 1, … of (seed, stream), each for all pictures. Three words of entropy: no sample of SmoothGrad's,
    which has two, draws the same."""
    seeds = check_seed(seed, len(pixels))
    index = 0
    while True:
        fields = [draw(np.random.default_rng(np.random.SeedSequence([s, index, stream])), tuple(pixels.shape[1:]))
                  for s in ([seeds] if isinstance(seeds, int) else seeds)]  # fmt: skip
        yield torch.from_numpy(np.stack(fields)).to(pixels).expand_as(pixels)
        index += 1
