"""What a function may call while it is judged: torch, numpy, scipy, the student's own, and of
attribution code what its task permits.

Importing is free. Every function of attribution code, under whatever name it was imported, asks
here before it runs. This holds against an honest student, and one who tries a helper; what happens
in one's own process can be undone there, so ``suspicious`` words get a remark for the marker.
"""

import gc
import importlib.machinery
import re
import sys
import types
from contextlib import contextmanager
from weakref import WeakKeyDictionary

GUARDED = (
    "helpers.attribution",
    "helpers.measures",
    "helpers.noise",
    "helpers.studies",
    "helpers.display",
    "captum",
)
_SUSPICIOUS = re.compile(
    r"__code__|\breload\b|gc\.get_objects|\bsubprocess\b|\bfork\b|helpers\.(?:course\.)?grading"
    r"|setprofile|settrace|sys\.modules|\bmeta_path\b|\bctypes\b"
)
_permitted, _inside = None, 0  # names while a function is judged; calls deep in permitted code
_guards = WeakKeyDictionary()  # function → what stands in its place
_seen = None  # how many modules there were when functions were looked for


def suspicious(source, names=()) -> list[str]:
    """The words in a cell that could undo what is here, or that a task does not permit."""
    blocked = [name for name in names if re.search(rf"\b{name}\b", source)]
    return sorted({*_SUSPICIOUS.findall(source), *blocked})


@contextmanager
def guarded(permits):
    """Within this block functions of attribution code raise, but for ``permits``, names as
    "module:function", and what these call themselves; None permits everything."""
    global _permitted, _inside
    if permits is None:
        yield
        return
    # whatever cut off the function before
    _permitted, _inside = frozenset(permits), 0
    late = _Late()
    sys.meta_path.insert(0, late)
    try:
        _stand_guard()
        yield
    finally:
        _permitted = None
        sys.meta_path.remove(late)
        for function, guard in _guards.items():
            function.__code__ = guard.code


def freed(function):
    """The function, for whom everything is permitted."""

    def free(*args, **kwargs):
        with _within():
            return function(*args, **kwargs)

    return free


@contextmanager
def _within():
    global _inside
    _inside += 1
    try:
        yield
    finally:
        _inside -= 1


class _Guard:
    """What stands in a function's place while another is judged."""

    def __init__(self, function):
        self.code = function.__code__
        self.name = f"{function.__globals__['__name__']}:{function.__qualname__}"
        self.call = types.FunctionType(
            self.code,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        self.call.__kwdefaults__ = function.__kwdefaults__
        self.call.is_behind_a_guard = True
        plain = _asks.__code__
        self.asks = plain.replace(
            co_consts=tuple(self if each == "guard" else each for each in plain.co_consts),
            co_freevars=self.code.co_freevars,
            co_name=self.code.co_name,
        )

    def __call__(self, *args, **kwargs):
        if _permitted is None or _inside or self.name in _permitted:
            with _within():
                return self.call(*args, **kwargs)
        raise PermissionError(
            f"{self.name.partition(':')[2]} is blocked while the function it would answer is "
            "graded: write out what it does"
        )


def _asks(*args, **kwargs):
    guard = "guard"  # each function's own takes this place
    return guard(*args, **kwargs)


def _stand_guard():
    """Put guards in place of all functions of attribution code that there are."""
    global _seen
    if _seen != len(sys.modules):
        _seen = len(sys.modules)
        functions = [each for each in gc.get_objects() if type(each) is types.FunctionType]
        for each in functions:
            known = each in _guards or hasattr(each, "is_behind_a_guard")
            if not known and _is_guarded(each.__globals__.get("__name__")):
                _guards[each] = _Guard(each)
    for function, guard in _guards.items():
        function.__code__ = guard.asks


def _is_guarded(name):
    return isinstance(name, str) and any(
        name == each or name.startswith(f"{each}.") for each in GUARDED
    )


class _Late:
    """Asked first for each module: attribution code imported while a function is judged runs, and
    its functions are then guarded too."""

    def find_spec(self, name, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path) if _is_guarded(name) else None
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module):
            with _within():
                run(module)
            if not _inside:
                _stand_guard()

        spec.loader.exec_module = exec_module
        return spec
