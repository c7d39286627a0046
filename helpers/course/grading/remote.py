"""A student's function at work: the network as it sees it, a module whose logits and gradients are
the grader's answers; what it may not call; what it returned. In the sandbox and in the notebook's
own checks alike."""

import importlib
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

# that one call may ask the network about: too few to find a gradient from logits, value by value
MOST_ROWS = 3000
MOST_RETURNED = 32 * 2**20  # bytes, of one array


class RemoteModel(torch.nn.Module):
    """A network that lives in the grader's process. Here it is a function from pixels to logits,
    differentiable once; the grader counts every row that it was asked for, and its weights are
    nowhere in this process."""

    def __init__(self, line, facts):
        super().__init__()
        self.line, self.device = line, torch.device("cpu")
        for name, value in facts.items():
            setattr(self, name, tuple(value) if isinstance(value, list) else value)

    def forward(self, pixels):
        return _Logits.apply(pixels, self.line)


class _Logits(torch.autograd.Function):
    @staticmethod
    def forward(pixels, line):
        return _asked(line, {"model": "logits"}, {"points": pixels}).to(pixels.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pixels, ctx.line = inputs
        ctx.save_for_backward(pixels)

    @staticmethod
    def backward(ctx, weights):
        return _Gradient.apply(ctx.saved_tensors[0], weights, ctx.line), None

    @staticmethod
    def vmap(info, in_dims, pixels, line):
        pixels = pixels.movedim(in_dims[0], 0)
        return _Logits.apply(pixels.flatten(0, 1), line).unflatten(0, pixels.shape[:2]), 0


class _Gradient(torch.autograd.Function):
    """Of the sum of logits × weights, with respect to the pixels. Without one of its own: no task
    asks for it."""

    @staticmethod
    def forward(pixels, weights, line):
        return _asked(line, {"model": "gradient"}, {"points": pixels, "weights": weights}).to(
            pixels.dtype
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, _):
        raise NotImplementedError("this network has first derivatives only")

    @staticmethod
    def vmap(info, in_dims, pixels, weights, line):
        def spread(values, dim):
            values = (
                values.expand(info.batch_size, *values.shape)
                if dim is None
                else values.movedim(dim, 0)
            )
            return values.flatten(0, 1)

        both = [
            spread(values, dim) for values, dim in zip((pixels, weights), in_dims, strict=False)
        ]
        return _Gradient.apply(*both, line).unflatten(0, (info.batch_size, -1)), 0


def _asked(line, message, tensors):
    reply, arrays = line.ask(message, {name: to_array(value) for name, value in tensors.items()})
    if "error" in reply:
        raise ValueError(reply["error"])
    return torch.from_numpy(arrays["answer"])


def to_array(value) -> np.ndarray:
    """A tensor, array or number as a contiguous numpy array of numbers, if it is one and not too
    large."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()
    value = np.asarray(value)
    if value.dtype.kind not in "biuf":
        raise TypeError(f"an array of {value.dtype} where numbers were expected")
    if value.nbytes > MOST_RETURNED:
        raise ValueError(
            f"an array of {value.nbytes / 2**20:.0f} MiB, of at most {MOST_RETURNED / 2**20:.0f}"
        )
    return np.ascontiguousarray(value).reshape(value.shape)


@dataclass
class Answer:
    """What one call gave. ``problem`` is None, or why there is nothing to score.

    arrays: name → array, {"": array} for one that is no dict or tuple.
    logits, gradients: how many rows the network was asked for.
    """

    problem: str | None = None
    kind: str = "array"
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    logits: int = 0
    gradients: int = 0


def asked(network, what, arrays, answer) -> tuple[dict, dict]:
    """The grader's answer to a ``RemoteModel``: "logits" or "gradient" of the network in float64,
    counted in ``answer``; (message, arrays) to send back."""
    try:
        points = torch.from_numpy(arrays["points"]).double()
        rows = len(points)
        if answer.logits + answer.gradients + rows > MOST_ROWS:
            raise ValueError(f"the network was asked about more than {MOST_ROWS} pictures")
        if what == "logits":
            answer.logits += rows
            with torch.no_grad():
                return {}, {"answer": network(points).numpy()}
        answer.gradients += rows
        with torch.enable_grad():
            logits = network(points.requires_grad_())
            (gradient,) = torch.autograd.grad(
                logits, points, torch.from_numpy(arrays["weights"]).double()
            )
        return {}, {"answer": gradient.numpy()}
    except Exception as error:  # whatever it was asked: it is the student's mistake
        return {"error": f"{type(error).__name__}: {str(error)[:500]}"}, {}


def packed(value) -> tuple[str, dict]:
    """What a function returned as (kind, name → array); a dict's keys become text, and a tuple's
    places."""
    if isinstance(value, dict):
        return "dict", {str(key): to_array(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)) and any(
        isinstance(each, (torch.Tensor, np.ndarray)) for each in value
    ):
        return "tuple", {str(place): to_array(each) for place, each in enumerate(value)}
    if value is None:
        raise TypeError("it returned None: is a `return` missing?")
    return "array", {"": to_array(value)}


def said(error):
    """An error in a line, with the line of the notebook it came from."""
    try:
        where = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if "ipython-input" in frame.filename
        ]
        line = f", at `{where[-1].line}`" if where and where[-1].line else ""
        said = f"{type(error).__name__}: {str(error)[:500]}".removesuffix(": ")
        return "not written yet" if said == "NotImplementedError" else said + line[:200]
    except Exception:  # an error whose own text raises
        return type(error).__name__


def _blocked(*args, **kwargs):
    import sys

    raise PermissionError(
        f"you may not call {sys._getframe().f_code.co_name} in this task: write out what it does"
    )


@contextmanager
def blocked(names):
    """Within this block the functions "module:name" and methods "module:Class.name" raise, however
    they were imported."""
    undo, hidden = [], []
    try:
        for name in names:
            module, _, path = name.partition(":")
            *within, last = path.split(".")
            if not module.startswith("helpers") and module not in sys.modules:
                sys.modules[module] = (
                    None  # may not be imported now either; importing it here would cost seconds
                )
                hidden.append(module)
            if sys.modules.get(module, undo) is None:
                continue
            try:
                owner = importlib.import_module(module)
                for part in within:
                    owner = getattr(owner, part)
                old = getattr(owner, last)
            except (ImportError, AttributeError):
                continue
            code = _blocked.__code__.replace(co_name=path)
            if getattr(old, "__code__", None) and not old.__code__.co_freevars and not within:
                # reaches every name that it was imported under
                undo.append((old, "__code__", old.__code__))
                old.__code__ = code
            else:
                undo.append((owner, last, old))
                setattr(owner, last, type(_blocked)(code, {"__builtins__": __builtins__}))
        yield
    finally:
        for module in hidden:
            sys.modules.pop(module, None)
        for owner, last, old in reversed(undo):
            setattr(owner, last, old)
