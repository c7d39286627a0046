"""A notebook's checks: grading's own questions, asked where the student works, with a seed that is
everyone's.

    my_smoothgrad = check("my_smoothgrad")
"""

import os
import sys
import time
from contextlib import nullcontext
from functools import lru_cache

from helpers.checks import choose
from helpers.course.grading.guard import freed, guarded
from helpers.course.grading.remote import (
    SECONDS,
    Answer,
    Pyplot,
    RemoteModel,
    asked,
    changed,
    returned_by,
    said,
)

PUBLIC = 2026  # of the pictures and the network that a check asks about; grading takes another


def check(name):
    """Ask a function of the notebook what grading would, print what is right and which mistake the
    rest looks like, and return the function to go on with: the student's, or, until it passes, a
    ``StandIn`` that calls the package and says so.

    Under nbgrader a check that fails raises AssertionError, which is what costs the points there.
    While a submission is graded it returns the student's function as it is: the grader asks.

    Args:
        name: of the function, as it stands in the cell that calls this.
    """
    mine = yours(sys._getframe(1).f_globals.get(name))
    try:
        asked_for = task(name)
    except ImportError:  # the grader's sandbox: what the checks know stays outside
        return mine
    found = examine(asked_for, mine, seed=seed_in(sys._getframe(1).f_globals))
    failed = [reason for _, _, reason in found if reason]
    if not failed:
        print(f"✓ {name}: {len(found)} of {len(found)} checks pass")
        return mine
    if len(set(failed)) == 1 and len(failed) == len(found):
        print(f"✗ {name}: {failed[0]}")
    else:
        for _, text, reason in found:
            print(f"✗ {text}\n      {reason}" if reason else f"✓ {text}")
    if os.environ.get("NBGRADER_EXECUTION"):
        raise AssertionError(f"{name}: {len(failed)} of {len(found)} checks fail")
    print(f"Until it passes, this page goes on with the package's {name}.")
    return StandIn(name, asked_for.helper, mine)


class StandIn:
    """The package's answer to a task, in place of a student's function that does not pass yet. It
    says so, once a cell, where it is used."""

    def __init__(self, name, helper, yours):
        self.__name__, self.helper, self.yours = name, helper, yours
        self._said = None

    def __call__(self, *arguments, **named):
        cell = _cell_number()
        if cell is None or cell != self._said:
            print(f"[{self.__name__}: the package's, not yours]")
            self._said = cell
        return freed(self.helper)(*arguments, **named)


def yours(function):
    """What a student wrote, also behind a ``StandIn``."""
    return function.yours if isinstance(function, StandIn) else function


def task(name):
    """The task of a function's name, with the points of course.toml.

    Raises:
        ValueError: there is none. ImportError: in the grader's sandbox.
    """
    # not score.TASKS: students do not get the grader
    from helpers.course.grading import (
        tasks,
        tasks_captum,
        tasks_further,
        tasks_ig,
        tasks_relatives,
        tasks_smoothgrad,
    )

    rooms = (tasks_smoothgrad, tasks_ig, tasks_relatives, tasks_captum, tasks_further)
    known = {each.name: each for room in rooms for each in room.TASKS}
    return tasks.worth(known[choose(name, known, "function")])


def seed_in(namespace) -> int:
    """The seed of a notebook's checks: everyone's, unless its SEED is another than 0."""
    seed = namespace.get("SEED")
    return PUBLIC + seed if type(seed) is int and seed > 0 else PUBLIC


def examine(task, function, *, seed=PUBLIC) -> list[tuple[float, str, str | None]]:
    """What grading would find of a function: [(points, what is checked, None or the reason why they
    are lost)]."""
    if function is None:
        return [(task.points, "all checks", f"there is no function {task.name}")]
    given = _given(seed)
    try:
        return list(task.judge(given, lambda *values: _answer(task, function, values, given)))
    except Exception as error:  # a form of answer that the judge did not foresee
        return [(task.points, "all checks", f"the answer cannot be read: {said(error)}")]


class _Here:
    """The grader's side of a ``RemoteModel``, in the same process."""

    def __init__(self, network, answer):
        self.network, self.answer = network, answer

    def ask(self, message, arrays):
        return asked(self.network, message["model"], arrays, self.answer)


def called(function, arguments, model, permits, clock=None):
    """Call a student's function while it is judged: (kind, arrays) as ``remote.returned_by`` has
    them, and what it changed, or None.

    Args:
        arguments: as ``tasks.arguments`` makes them.
        permits: as for ``guard.guarded``.
        clock: a context that the call runs in.
    """
    import numpy as np
    import torch

    give = {
        "model": lambda _: model,
        "tensor": lambda array: torch.from_numpy(array.copy()),
        "generator": np.random.default_rng,
        "pyplot": lambda _: Pyplot(),
        "tuple": tuple,
        "value": lambda value: value,
    }
    given = [give[kind](value) for kind, value in arguments]
    tensors = [value if kind == "tensor" else None for kind, value in arguments]
    with guarded(permits), clock or nullcontext():
        return *returned_by(function, given), changed(given, tensors)


def _answer(task, function, values, given):
    from helpers.course.grading.tasks import arguments

    answer, begun = Answer(), time.process_time()
    model = RemoteModel(_Here(given.network, answer), given.facts)
    try:
        found = called(function, arguments(values), model, task.permits)
        answer.kind, answer.arrays, answer.changed = found
        if (seconds := time.process_time() - begun) > SECONDS:
            answer.problem = f"it took {seconds:.0f} s; grading stops it after {SECONDS}"
    except Exception as error:
        answer.problem = said(error)
    return answer


@lru_cache
def _given(seed):
    from helpers.course.grading.tasks import Given

    return Given(seed)


def _cell_number():
    """Which cell runs; None outside of IPython."""
    if "IPython" not in sys.modules:
        return None
    shell = sys.modules["IPython"].get_ipython()
    return shell and shell.execution_count
