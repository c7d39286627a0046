"""Messages between the grader and a student's process: JSON and arrays, nothing that could execute
on arrival.

A message is a dict of JSON values and a dict of numpy arrays. On the wire: two lengths, the JSON,
the arrays as safetensors.
"""

import json
import struct
from typing import BinaryIO

import numpy as np
from safetensors.numpy import load, save

_LENGTHS = struct.Struct("<II")
LIMIT = 64 * 2**20
"""The most bytes of one message."""
MOST_TEXT = 2**20  # of them JSON: a list in it takes thirty times its two bytes


class WireError(Exception):
    """What arrived is no message, or too large a one."""


def send(stream: BinaryIO, message: dict, arrays: dict | None = None):
    """``arrays``: name → numpy array, of any layout in memory (safetensors itself would mix up one
    that is not contiguous)."""
    arrays = {
        name: np.ascontiguousarray(array).reshape(array.shape)
        for name, array in (arrays or {}).items()
    }
    text, data = json.dumps(message).encode(), save(arrays) if arrays else b""
    stream.write(_LENGTHS.pack(len(text), len(data)))
    stream.write(text)
    stream.write(data)
    stream.flush()


def receive(stream: BinaryIO, most_text=MOST_TEXT) -> tuple[dict, dict]:
    """(message, arrays), these in the order of their names, places of a tuple as numbers.
    ``most_text``: bytes of JSON.

    Raises:
        EOFError: the other side is gone.
        WireError: not what ``send`` writes, or more than ``LIMIT`` bytes.
    """
    n_text, n_data = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if n_text + n_data > LIMIT:
        raise WireError(f"a message of {n_text + n_data} bytes, of at most {LIMIT}")
    if n_text > most_text:
        raise WireError(f"a message with {n_text} bytes of text, of at most {most_text}")
    text, data = _exactly(stream, n_text), _exactly(stream, n_data)
    try:
        message = json.loads(text)
        found = load(data) if data else {}  # in any order
        arrays = {name: found[name] for name in sorted(found, key=lambda name: (len(name), name))}
    except (
        Exception
    ) as error:  # safetensors has errors of its own; deep nesting is a RecursionError
        raise WireError(f"not a message: {type(error).__name__}: {error}") from None
    if not isinstance(message, dict):
        raise WireError("not a message: not a JSON object")
    return message, arrays


def _exactly(stream, n):
    data = stream.read(n)
    if len(data) < n:
        raise EOFError
    return data
