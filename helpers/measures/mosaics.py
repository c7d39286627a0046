"""Judging a map of a mosaic: how much of it lies in the target's cell. ``quality.pair_contrast``
compares the maps of one grid for two of its classes, with ``masks["cell"]`` and ``masks["other"]``.
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
