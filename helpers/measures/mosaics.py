"""Judging a map of a mosaic: how much of it lies in the target's cell. ``quality.pair_contrast``
compares the maps of one grid for two of its classes, with ``masks["cell"]`` and ``masks["other"]``;
``grid_contrast`` those for all of them.
"""

import torch

from helpers.measures.quality import relevance_mass


def cell_shares(maps, mask) -> dict[str, torch.Tensor]:
    """The share of a map in the target's cell, each (N,), in [0, 1]; by chance the cell's share
    of the area, 1/k² without gaps.

    "positive" is that of the grid pointing game, Σ_cell A⁺ / Σ A⁺ with A⁺ the positive part of the
    sum over channels (the localisation metric of Böhle et al. 2021, arXiv:2104.00032, and Rao et
    al. 2022, arXiv:2205.10435); nan where nothing is positive. "absolute" is
    ``relevance_mass``; "squared" that of A², for maps that are compared with squares.

    Args:
        maps: (N, C, H, W), signed.
        mask: (N, 1, H, W) bool, ``masks["cell"]``.
    """
    return {
        "positive": relevance_mass(maps.sum(1, keepdim=True).clamp(min=0), mask),
        "absolute": relevance_mass(maps, mask),
        "squared": relevance_mass(maps.square(), mask),
    }


def grid_contrast(maps, masks) -> torch.Tensor:
    """How far the map of one grid moves with the class that is explained, (N,), in [-1, 1]: the
    share of a map in the cell of its own class minus that in another's, averaged over all ordered
    pairs of the k² cells. 0 for a map that is the same for every class, wherever it lies; for two
    cells it is ``quality.pair_contrast``.

    Args:
        maps: (k², N, C, H, W), the maps of the same pictures for the class of each cell.
        masks: (k², N, 1, H, W) bool, the cells in the same order.
    """
    shares = torch.stack([torch.stack([relevance_mass(m, mask) for mask in masks]) for m in maps])
    own = shares.diagonal().sum(-1)
    return own / len(maps) - (shares.sum((0, 1)) - own) / (len(maps) * (len(maps) - 1))
