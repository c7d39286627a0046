"""Errors that say what was wrong, what was found and what to do."""

import difflib


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
