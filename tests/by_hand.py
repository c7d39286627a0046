"""Small maps and masks, written out."""

import torch


def grid(*rows):
    """One single-channel map (1, 1, H, W)."""
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def inside(*rows):
    return grid(*rows).bool()


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
