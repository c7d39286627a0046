"""Errors that say what was wrong, what was found and what to do."""

import difflib
import math
import operator
from collections.abc import Iterable, Mapping, Set

import numpy as np
import torch


def choose(name, options, what):
    """``name`` if it is one of ``options``, else a ValueError that lists the nearest of them."""
    options = [str(option) for option in options]
    if name in options:
        return name
    near = difflib.get_close_matches(str(name), options, n=3, cutoff=0.5)
    known = (
        f"did you mean {' or '.join(map(repr, near))}?"
        if near
        else f"known: {', '.join(options[:12])}" + ("…" if len(options) > 12 else "")
    )
    raise ValueError(f"unknown {what} {name!r}; {known}")


def at_least_one(value, name) -> int:
    """``value`` as an int of at least 1, or an error that names it."""
    try:
        if isinstance(value, bool):
            raise TypeError
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, found {value!r}") from None
    if value < 1:
        raise ValueError(f"{name} must be at least 1, found {value}")
    return value


def one_or_several(setting, name, check):
    """``({label: value}, several)`` of a setting that may be one value or several, each value as
    ``check`` returns it.

    Several are a list, tuple, range or array, in its order, or a set, sorted: labelled by
    themselves, repeats once; or a dict from labels. The label of one value is the setting's name.
    """
    if (
        isinstance(setting, (str, bytes))
        or not isinstance(setting, Iterable)
        or getattr(setting, "ndim", 1) == 0
    ):
        return {name: check(setting)}, False
    if isinstance(setting, Mapping):
        found = {label: check(value) for label, value in setting.items()}
    else:
        values = [check(value) for value in setting]
        if isinstance(setting, Set):
            values.sort(key=lambda value: value if isinstance(value, int) else str(value))
        found = dict(zip(values, values, strict=True))
    if not found:
        raise ValueError(f"{name} is empty: give one value or several")
    return found, True


def check_range(input_range):
    """(low, high) as floats, low < high."""
    try:
        low, high = map(float, input_range)
    except (TypeError, ValueError):
        raise ValueError(f"input_range must be a pair (low, high), found {input_range!r}") from None
    if not low < high or not math.isfinite(high - low):
        raise ValueError(f"input_range must be finite with low < high, found {input_range!r}")
    return low, high


def check_seed(seed, n):
    """A list of one int for all inputs or N ints, from an int or N of them: each of 0 … 2³² − 1, so
    that (seed, index) names draws that no other pair shares."""
    many = isinstance(seed, (list, tuple, range, np.ndarray, torch.Tensor)) and getattr(
        seed, "ndim", 1
    )
    values = list(seed) if many else [seed]
    try:
        values = [operator.index(value) for value in values]
    except TypeError:
        raise TypeError(
            f"seed must be an integer, or {n} of them, one an input, found {seed!r}"
        ) from None
    if many and len(values) != n:
        raise ValueError(
            f"seed must be one integer, or one for each of the {n} inputs, found {len(values)}"
        )
    if not all(0 <= value < 2**32 for value in values):
        raise ValueError(f"seeds must lie in 0 … 2**32 - 1, found {seed!r}")
    return values
