"""How good is a map? Measures of it against ground truth and against other maps; those that ask the
network: ``faithfulness``.

Every measure returns one value a picture, (N,), so that pictures can be paired; none of them sees
the display. Maps are (N, C, H, W); a pixel's *relevance* is |A| summed over channels ("unsigned")
or A summed over channels ("signed"). Sums are in float64; the values come in float32, or in the
maps' own type where that is wider.

A batch that makes no sense (shapes, NaN, infinite values) raises ValueError. Where a measure is not
defined for one picture (each docstring says where) that picture's value is nan, which
``statistics`` refuses, so it cannot go unseen.
"""

import numpy as np
import torch

from helpers.attribution.gradients import reduce_channels
from helpers.evaluate import at_least_float32

# Against the truth


def relevance_mass(maps, mask) -> torch.Tensor:
    """The share of a map's total size that lies on a mask, (N,), in [0, 1] (Arras et al. 2022,
    arXiv:2003.07258, eq. 1).

    |A| is summed over channels. A map that knows nothing scores the share of the mask's area; so an
    empty mask scores 0 and a full one 1, whatever the map. A map of zeros has no mass to lie
    anywhere: nan.

    Args:
        maps: (N, C, H, W).
        mask: (N, 1, H, W) bool.
    """
    check_maps(maps)
    _check_mask(maps, mask)
    size, inside = relevance(maps, "unsigned"), mask[:, 0].cpu().numpy()
    with np.errstate(invalid="ignore"):
        return _values((size * inside).sum((1, 2)) / size.sum((1, 2)), maps)


def pixel_auc(maps, mask) -> torch.Tensor:
    """The chance that a pixel on the mask has more relevance than one off it, (N,), in [0, 1]: the
    area under the ROC curve.

    From ranks (Mann and Whitney 1947), ties counted half: a constant map scores 0.5, as a map that
        knows nothing does. An
    empty or full mask has no such pair: nan. Args as ``relevance_mass``; only the order of |A|,
        summed over channels, counts.
    """
    check_maps(maps)
    _check_mask(maps, mask)
    inside = mask.flatten(1).cpu().numpy()
    ranks = _ranks(relevance(maps, "unsigned").reshape(len(maps), -1))
    n_in = inside.sum(1).astype(float)
    n_out = inside.shape[1] - n_in
    with np.errstate(invalid="ignore"):
        auc = ((ranks * inside).sum(1) - n_in * (n_in + 1) / 2) / (n_in * n_out)
    return _values(auc, maps)


def pair_contrast(
    first, second, first_mask, second_mask, *, measure=relevance_mass
) -> torch.Tensor:
    """How far a method follows the network, on one picture that two networks read differently,
    (N,), in [−1, 1]; 0 for any map that ignores the network, exactly.

    ½ [m(first, first_mask) − m(second, first_mask) + m(second, second_mask) − m(first,
    second_mask)]

    Args:
        first, second: the method's maps (N, C, H, W) of the same pictures, for either network.
        first_mask, second_mask: (N, 1, H, W) bool, the part that either network reads.
        measure: (maps, mask) → (N,): ``relevance_mass`` or ``pixel_auc``.
    """
    return (
        measure(first, first_mask)
        - measure(second, first_mask)
        + measure(second, second_mask)
        - measure(first, second_mask)
    ) / 2


def dilate(mask, pixels) -> torch.Tensor:
    """The mask (N, 1, H, W) grown by a disc: every pixel whose centre is within ``pixels`` of one
    on it; 0 leaves it as it is. An empty mask stays empty."""
    if mask.dtype != torch.bool or mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(
            f"the mask must be bool of shape (N, 1, H, W), found {mask.dtype} {tuple(mask.shape)}"
        )
    if not 0 <= pixels < float("inf"):
        raise ValueError(f"a mask is dilated by at least 0 pixels, found {pixels!r}")
    reach = torch.arange(-int(pixels), int(pixels) + 1, device=mask.device)
    disc = (reach[:, None] ** 2 + reach**2 <= pixels**2).float()[None, None]
    return torch.nn.functional.conv2d(mask.float(), disc, padding=int(pixels)) > 0.5


# On its own


def total_variation(maps, how="signed") -> torch.Tensor:
    """How rough a map is, (N,), ≥ 0: the mean absolute difference of neighbouring pixels (to the
    right and below, both counted) over the mean absolute pixel (Rudin, Osher and Fatemi 1992,
    anisotropic, made free of scale).

    0 for a constant map; 2 √2 expected for independent normal values, whatever their size. A map of
    zeros has no scale: nan.

    Args:
        maps: (N, C, H, W), H and W at least 2. how: as for ``reduce_channels``.
    """
    check_maps(maps)
    if min(maps.shape[2:]) < 2:
        raise ValueError(
            f"neighbours need maps of at least 2 × 2 pixels, found {tuple(maps.shape)}"
        )
    values = relevance(maps, how)
    steps = np.abs(np.diff(values, axis=1)).mean((1, 2)) + np.abs(np.diff(values, axis=2)).mean(
        (1, 2)
    )
    with np.errstate(invalid="ignore"):
        return _values(steps / np.abs(values).mean((1, 2)), maps)


# Against another map


def correlation(first, second, how="signed") -> torch.Tensor:
    """Pearson's correlation of two maps of a picture over its pixels, (N,), in [−1, 1]; nan where
    either is constant.

    first, second: (N, C, H, W), C may differ. how: "signed" adds up the channels, "unsigned" their
        absolute values.
    """
    return _values(_pearson(*_both(first, second, how)), first)


def rank_correlation(first, second, how="signed") -> torch.Tensor:
    """Spearman's rank correlation, (N,), in [−1, 1], ties given their mean rank; otherwise as
    ``correlation``."""
    ranks = map(_ranks, _both(first, second, how))
    return _values(_pearson(*ranks), first)


def ssim(first, second, how="unsigned") -> torch.Tensor:
    """Structural similarity of two maps of a picture, (N,), in [−1, 1] (Wang et al. 2004: Gaussian
    window, σ = 1.5, 11 × 11).

    Each map is divided by its largest absolute pixel, so the data range is 1 ("unsigned": [0, 1])
    or 2 ("signed": [−1, 1]), and only the pattern counts; a map of zeros has none: nan. Other
        arguments as ``correlation``; H and W at least 11.
    """
    from skimage.metrics import structural_similarity  # here, since it takes a while to import

    if min(first.shape[2:]) < 11:
        raise ValueError(
            f"ssim needs maps of at least 11 × 11 pixels, its window, found {tuple(first.shape)}"
        )
    first_values, second_values = (
        values.reshape(-1, *first.shape[2:]) for values in _both(first, second, how)
    )
    result = np.full(len(first), np.nan)
    span = 2.0 if how == "signed" else 1.0
    for i, (x, y) in enumerate(zip(first_values, second_values, strict=True)):
        if x.any() and y.any():
            result[i] = structural_similarity(
                x / np.abs(x).max(),
                y / np.abs(y).max(),
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=span,
            )
    return _values(result, first)


def check_maps(maps, pixels=None):
    if not isinstance(maps, torch.Tensor) or maps.ndim != 4 or maps.numel() == 0:
        found = tuple(maps.shape) if isinstance(maps, torch.Tensor) else type(maps).__name__
        raise ValueError(f"the maps must be a tensor of shape (N, C, H, W), found {found}")
    if not torch.isfinite(maps).all():
        raise ValueError("the maps hold NaN or infinite values")
    if pixels is not None and (len(maps), *maps.shape[2:]) != (len(pixels), *pixels.shape[2:]):
        raise ValueError(
            f"the maps must fit the pictures {tuple(pixels.shape)}, found {tuple(maps.shape)}"
        )


def _check_mask(maps, mask):
    if mask.dtype != torch.bool or mask.shape != (len(maps), 1, *maps.shape[2:]):
        raise ValueError(
            f"the mask must be bool of shape {(len(maps), 1, *maps.shape[2:])}, "
            f"found {mask.dtype} {tuple(mask.shape)}"
        )


def relevance(maps, how) -> np.ndarray:
    """``reduce_channels`` in float64, (N, H, W), so that a tie is a tie."""
    return reduce_channels(maps.detach().cpu().double(), how).numpy()


def _values(values, maps):
    """A measure's float64 values, back where the maps are: in float32 at least, whatever they
    are."""
    return torch.from_numpy(values).to(maps.device, at_least_float32(maps.dtype))


def _both(first, second, how):
    """Both maps of each picture as (N, H × W)."""
    check_maps(first)
    check_maps(second)
    if (len(first), *first.shape[2:]) != (len(second), *second.shape[2:]):
        raise ValueError(
            "the maps must be of the same pictures, "
            f"found {tuple(first.shape)} and {tuple(second.shape)}"
        )
    return [relevance(maps, how).reshape(len(maps), -1) for maps in (first, second)]


def _ranks(rows):
    """The values of each row (N, M) in order: 1, 2, …, M, ties given their mean rank.
    (scipy.stats has it too, and takes a second to import.)"""
    ranks = np.empty(rows.shape)
    for row, values in zip(ranks, rows, strict=True):
        _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
        row[:] = (counts.cumsum() - (counts - 1) / 2)[places]
    return ranks


def _pearson(x, y):
    constant = (np.ptp(x, axis=1) == 0) | (np.ptp(y, axis=1) == 0)
    # Divided by the largest first: the squares of very small maps would not be told from 0.
    x, y = (v / np.where(constant, 1, np.abs(v).max(1))[:, None] for v in (x, y))
    x, y = (v - v.mean(1, keepdims=True) for v in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return np.where(constant, np.nan, np.clip(r, -1, 1))
