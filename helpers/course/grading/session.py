"""The grader's side of one submission's process: send it the cells, host the network that it asks,
take arrays back."""

import base64
import sys
import time
from contextlib import contextmanager

import numpy as np

from helpers.course.grading.reading import FILMS, PICTURES
from helpers.course.grading.remote import Answer, asked
from helpers.course.grading.sandbox import Sandbox
from helpers.course.grading.wire import WireError, receive, send

MOST_BYTES = 128 * 2**20  # of all that one process may send
MOST_PICTURED = 24 * 2**20  # of them pictures that are kept


class Died(Exception):
    """The student's process is gone, or is being ended; the message says why, ``during`` in which
    cell or function."""

    def __init__(self, reason, during):
        super().__init__(reason)
        self.during = during


class Session:
    """One process, from its start to its end; a context manager.

    Args:
        course: the folder it sees.
        network: the network it may ask: a module from float64 pixels to logits.
        facts: what the student's ``model`` knows of itself: name, classes, input_size, part,
            images.
    """

    def __init__(self, course, network, facts, *, isolated, limits, slot=0):
        self.network, self.facts = network, facts
        self.limits = limits
        command = [sys.executable, "-m", "helpers.course.grading.student"]
        self.started = time.monotonic()
        self.seconds = {}
        """What took how long: "start" (interpreter and imports), "notebook"."""
        self.results = {}
        """id (or "sliders") → {"error", "text", "pictures"} of the cells that ran."""
        self.sandbox = Sandbox(course, command, self.limits, isolated=isolated, slot=slot)
        self._during, self._received, self._pictured = "the start", 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sandbox.close()

    def run(self, cells, *, sliders=True) -> dict[str, dict]:
        """Execute the cells, and move their sliders; ``results``.

        Raises:
            Died: ``during`` is then the id of the cell at work.
        """
        self._send({"cells": cells, "sliders": sliders, "seconds": self.limits.cell})
        self._expect("imported")
        self.seconds["start"] = time.monotonic() - self.started
        begun = time.monotonic()
        for name in [*(cell["id"] for cell in cells), *(["sliders"] if sliders else [])]:
            self._during = name
            self._expect("begins")
            told, pictures = self._expect("cell")
            self._pictured += sum(picture.nbytes for picture in pictures.values())
            if self._pictured > MOST_PICTURED:
                pictures = {}
            self.results[name] = _plain(told, pictures)
        self._during = "the end"
        self._expect("ready")
        self.seconds["notebook"] = time.monotonic() - begun
        return self.results

    def call(self, function, arguments, permits=(), instead=None) -> Answer:
        """Call the student's function. ``arguments``: pairs (kind, value), as ``tasks.arguments``
        makes them; ``permits``: as for ``guard.guarded``; ``instead``: functions of the notebook,
        name → source, that stand there meanwhile.

        Raises:
            Died.
        """
        answer, arrays, told = Answer(), {}, []
        for number, (kind, value) in enumerate(arguments):
            if kind == "tensor":
                arrays[str(number)] = np.ascontiguousarray(value)
                value = str(number)
            told.append((kind, value))
        self._during = function
        request = {
            "call": function,
            "facts": self.facts,
            "arguments": told,
            "permits": None if permits is None else list(permits),
            "instead": instead or {},
            "seconds": self.limits.cell,
        }
        self._send(request, arrays)
        while True:
            message, arrays = self._receive()
            if "model" not in message:
                break
            self._send(*asked(self.network, message["model"], arrays, answer))
        if "returned" in message:
            answer.kind, answer.arrays = str(message["returned"])[:50], arrays
            answer.changed = str(message["changed"])[:200] if message.get("changed") else None
        else:
            answer.problem = str(message.get("raised", "nothing came back"))[:1000]
        return answer

    def _expect(self, key):
        message, arrays = self._receive()
        if key not in message:
            self._fail("it did not keep to the protocol")
        return message, arrays

    def _send(self, message, arrays=None):
        with self._awaited():
            send(self.sandbox.stdin, message, arrays)

    def _receive(self):
        with self._awaited():
            message, arrays = receive(self.sandbox.stdout)
            self.sandbox.heard()
        self._received += sum(array.nbytes for array in arrays.values()) + len(str(message))
        if self._received > MOST_BYTES:
            self._fail(f"it sent more than {MOST_BYTES / 2**20:.0f} MiB")
        return message, arrays

    @contextmanager
    def _awaited(self):
        """The process has to read, or to write; it is gone if it does not."""
        self.sandbox.awaited = True
        try:
            yield
        except (EOFError, OSError):
            self._fail(None)
        except WireError as error:
            self._fail(f"it did not keep to the protocol: {error}")
        finally:
            self.sandbox.awaited = False

    def _fail(self, reason):
        status = self.sandbox.close()
        reason = reason or self.sandbox.killed
        if reason is None:
            last = self.sandbox.errors.strip().splitlines()[-1:]
            number = status - 128 if status > 128 else -status
            how = f"signal {number}" if number > 0 else f"status {status}"
            reason = f"its process ended by itself ({how}{': ' + last[0][:200] if last else ''})"
        raise Died(reason, self._during)


def _plain(told, pictures):
    """A cell's report with only what it should hold; pictures as data URLs."""
    cell = told["cell"] if isinstance(told["cell"], dict) else {}
    error, kinds = cell.get("error"), told.get("kinds")
    shown = [
        f"data:{kind};base64,{base64.b64encode(pictures[str(place)].tobytes()).decode()}"
        for place, kind in enumerate(kinds if isinstance(kinds, list) else ())
        if kind in PICTURES + FILMS and str(place) in pictures
    ]
    return {
        "error": None if error is None else str(error)[:2000],
        "text": str(cell.get("text", ""))[:25_000],
        "pictures": shown,
    }
