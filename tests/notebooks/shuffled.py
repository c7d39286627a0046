"""Run inside a notebook's kernel: the same claims of data in which there is nothing to find.

- the settings of a stored study change places, for each measure, network and training seed: in
  shuffle 0 for every picture by itself, which leaves no difference; in others for all pictures
  alike, which leaves the differences elsewhere;
- the pixels of a map change places before its measure is taken, and the two sides of a paired
  difference change them picture by picture;
- nothing stops at a claim that does not hold: it says so.
"""

import ast
from dataclasses import replace

import numpy as np
import torch

from helpers.measures import quality, statistics
from helpers.studies import compute, store

SHUFFLE = 0  # which of the shuffles
rng = np.random.default_rng(SHUFFLE)
load, check = store.load_results, statistics.check_claim
paired, compared = statistics.paired_difference, statistics.compare


def load_shuffled(name):
    found = load(name)
    values = {measure: np.ascontiguousarray(of) for measure, of in found.values.items()}
    for of in values.values():
        for rows in of.reshape(-1, *of.shape[2:]):  # a network's and a training seed's
            there = np.flatnonzero(~np.isnan(rows).all(1))
            shape = (len(there), rows.shape[1] if SHUFFLE == 0 else 1)
            order = rng.random(shape).argsort(0)
            rows[there] = np.take_along_axis(rows[there], order, 0)
    return replace(found, values=values)


def check_without_stopping(*args, **how):
    return check(*args, **how | {"shipped": False})


def paired_shuffled(first, second, **how):
    first, second = (np.asarray(values, dtype=float) for values in (first, second))
    swapped = rng.random(first.shape[-1]) < 0.5
    sides = np.where(swapped, second, first), np.where(swapped, first, second)
    return paired(*sides, **how)


def compare_shuffled(family, **how):
    """The two sides of every difference exchanged, picture by picture."""
    sides = {}
    for name, differences in family.items():
        differences = np.asarray(differences, dtype=float)
        sides[name] = differences * rng.choice([-1, 1], differences.shape[-1])
    return compared(sides, **how)


def of_scattered(measure):
    def measured(maps, *args, **how):
        order = torch.from_numpy(rng.permutation(maps[0, 0].numel()))
        scattered = maps.flatten(2)[..., order.to(maps.device)].reshape(maps.shape)
        return measure(scattered, *args, **how)

    return measured


class Unstopped(ast.NodeTransformer):
    """``assert`` says what it finds and goes on."""

    def visit_Assert(self, node):
        line = ast.parse("print('asserted' if TEST else 'not asserted')").body[0]
        line.value.args[0].test = node.test
        return ast.fix_missing_locations(ast.copy_location(line, node))


store.load_results = load_shuffled
statistics.check_claim, statistics.paired_difference = check_without_stopping, paired_shuffled
statistics.compare = compare_shuffled
compute.recompute = lambda *args, **how: "not recomputed"
for name in ("relevance_mass", "pixel_auc", "correlation", "rank_correlation", "ssim"):
    setattr(quality, name, of_scattered(getattr(quality, name)))
get_ipython().ast_transformers.append(Unstopped())  # noqa: F821
