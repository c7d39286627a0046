"""The student's side: run inside the sandbox, execute a notebook's cells, then call its functions
as the grader asks.

Nothing here is trusted by the grader: what it sends back is arrays, which are scored elsewhere, and
text and pictures for a person to look at.
"""

import os
import signal
import sys
import threading
from contextlib import contextmanager

import numpy as np
import torch

from helpers.course.grading.cells import Cells
from helpers.course.grading.guard import freed
from helpers.course.grading.remote import RemoteModel, said
from helpers.course.grading.wire import LIMIT, receive, send
from helpers.course.lesson import called


class OutOfTime(BaseException):
    """Not an Exception, so that ``except Exception`` in a student's loop does not swallow it."""


class Line:
    """The line to the grader, one question at a time, never cut off in the middle of a message by
    the clock."""

    def __init__(self):
        self._incoming, self._outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)  # what bypasses sys.stdout is no message
        self._lock, self._busy, self._late = threading.RLock(), False, False
        signal.signal(signal.SIGPROF, self._ring)

    def tell(self, message, arrays=None):
        with self._whole():
            send(self._outgoing, message, arrays)

    def hear(self):
        with self._whole():
            return receive(self._incoming, LIMIT)

    def ask(self, message, arrays):
        with self._whole():
            send(self._outgoing, message, arrays)
            return receive(self._incoming, LIMIT)

    @contextmanager
    def clock(self, seconds):
        """OutOfTime is raised after ``seconds`` of CPU time, and every second from then on, should
        it be caught."""
        self._late = False
        signal.setitimer(signal.ITIMER_PROF, seconds, 1)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    @contextmanager
    def _whole(self):
        with self._lock:
            self._busy = True
            try:
                yield
            finally:
                self._busy = False
        if self._late:
            self._late = False
            raise OutOfTime

    def _ring(self, *_):
        if self._busy:
            self._late = True
        else:
            raise OutOfTime


def call(line, cells, request, arrays):
    """One function with the grader's arguments; (message, arrays) to send back."""
    function = cells.namespace.get(request["call"])
    if not callable(function):
        return {"raised": f"there is no function {request['call']}"}, {}
    model = RemoteModel(line, request["facts"])
    arguments = [
        (kind, arrays[value] if kind == "tensor" else value) for kind, value in request["arguments"]
    ]
    try:
        with _instead(cells.namespace, request["instead"]):
            clock = line.clock(request["seconds"])
            kind, returned, changed = called(function, arguments, model, request["permits"], clock)
        return {"returned": kind, "changed": changed}, returned
    except OutOfTime:
        return {"raised": f"it took longer than {request['seconds']} s"}, {}
    except BaseException as error:
        return {"raised": said(error)}, {}


@contextmanager
def _instead(namespace, sources):
    """Within this block functions of the notebook are others, name → source, that may call the
    package."""
    before = {name: namespace[name] for name in sources if name in namespace}
    for name, source in sources.items():
        found = {}
        exec(source, found)
        namespace[name] = freed(found[name])
    try:
        yield
    finally:
        for name in sources:
            namespace.pop(name, None)
        namespace.update(before)


def report(told):
    """(message, arrays) that say what a cell showed."""
    pictures = told.pop("pictures")
    arrays = {str(i): np.frombuffer(data, np.uint8) for i, (_, data) in enumerate(pictures)}
    return {"cell": told, "kinds": [kind for kind, _ in pictures]}, arrays


def main():
    line = Line()
    torch.set_num_threads(1)
    start, _ = line.hear()
    cells = Cells(line.clock, OutOfTime, start["seconds"])
    line.tell({"imported": True})
    for cell in start["cells"]:
        line.tell({"begins": cell["id"]})
        line.tell(*report(cells.run(cell["source"])))
    if start["sliders"]:
        line.tell({"begins": "sliders"})
        line.tell(*report(cells.move_sliders()))
    line.tell({"ready": True})
    while True:
        try:
            request, arrays = line.hear()
        except EOFError:
            sys.stdout.flush()
            os._exit(0)  # without the students' atexit
        line.tell(*call(line, cells, request, arrays))


if __name__ == "__main__":
    main()
