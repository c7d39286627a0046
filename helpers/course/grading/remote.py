"""A student's function at work: the network as it sees it, a module whose logits and gradients are
the grader's answers; what it returned. In the sandbox and in the notebook's own checks alike."""

import traceback
from dataclasses import dataclass, field

import numpy as np
import torch

SECONDS = 15  # of processor time, for one call
# that one call may ask the network about: too few to find a gradient from logits, value by value
MOST_ROWS = 3000
# of one picture, and of all in one question; so many values go through the network at once
MOST_VALUES, MOST_ASKED, AT_ONCE = 3 * 128**2, 2**22, 2**18
MOST_KEYS = 1000  # of a dict that a function returns
MOST_RETURNED = 32 * 2**20  # bytes, of one array


class RemoteModel(torch.nn.Module):
    """A network that lives in the grader's process. Here it is a function from pixels to logits,
    differentiable once; the grader counts every row that it was asked for, and its weights are
    nowhere in this process."""

    def __init__(self, line, facts):
        super().__init__()
        self.line, self.facts, self.device = line, facts, torch.device("cpu")
        # nothing depends on it, but a model has a dtype and a device
        self.weight = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        for name, value in facts.items():
            setattr(self, name, tuple(value) if isinstance(value, list) else value)

    def __deepcopy__(self, memo):  # another module, the same line
        return RemoteModel(self.line, self.facts).to(self.weight.dtype).train(self.training)

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
        (pixels,) = ctx.saved_tensors
        if not _in_old_batch(weights):
            return _Gradient.apply(pixels, weights, ctx.line), None
        # is_grads_batched and jacobian(vectorize=True): torch's former vmap, which asks no rule
        level = torch._C._vmapmode_increment_nesting() - 1
        torch._C._vmapmode_decrement_nesting()
        weights = torch._remove_batch_dim(weights, level, 1, 0)
        found = _Gradient.vmap(None, (None, 0), pixels, weights, ctx.line)[0]
        return torch._add_batch_dim(found, 0, level), None

    @staticmethod
    def vmap(info, in_dims, pixels, line):
        pixels = pixels.movedim(in_dims[0], 0)
        return _Logits.apply(pixels.flatten(0, 1), line).unflatten(0, pixels.shape[:2]), 0


class _Gradient(torch.autograd.Function):
    """Of the sum of logits × weights, with respect to the pixels. Without one of its own: no task
    asks for it."""

    @staticmethod
    def forward(pixels, weights, line):
        asked = weights.flatten(1).any(1)  # of the others the gradient is 0
        found = torch.zeros_like(pixels)
        tensors = {"points": pixels[asked], "weights": weights[asked]}
        if asked.any():
            found[asked] = _asked(line, {"model": "gradient"}, tensors).to(pixels.dtype)
        return found

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, _):
        raise NotImplementedError("this network has first derivatives only")

    @staticmethod
    def vmap(_, in_dims, pixels, weights, line):
        n = next(
            values.shape[dim]
            for values, dim in zip((pixels, weights), in_dims, strict=False)
            if dim is not None
        )

        def spread(values, dim):
            values = values.expand(n, *values.shape) if dim is None else values.movedim(dim, 0)
            return values.flatten(0, 1)

        both = [
            spread(values, dim) for values, dim in zip((pixels, weights), in_dims, strict=False)
        ]
        return _Gradient.apply(*both, line).unflatten(0, (n, -1)), 0


_in_old_batch = getattr(torch._C._functorch, "is_legacy_batchedtensor", lambda _: False)


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
    changed: None, or what the function did to a tensor that it was given.
    logits, gradients: how many rows the network was asked for.
    """

    problem: str | None = None
    changed: str | None = None
    kind: str = "array"
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    logits: int = 0
    gradients: int = 0


def asked(network, what, arrays, answer) -> tuple[dict, dict]:
    """The grader's answer to a ``RemoteModel``: "logits" or "gradient" of the network in float64,
    counted in ``answer``; (message, arrays) to send back."""
    try:
        points = arrays["points"]
        rows, values = len(points), max(1, points[:1].size)
        if answer.logits + answer.gradients + rows > MOST_ROWS:
            raise ValueError(f"the network was asked about more than {MOST_ROWS} pictures")
        if values > MOST_VALUES or max(each.size for each in arrays.values()) > MOST_ASKED:
            raise ValueError(
                f"the network was asked about pictures of shape {points.shape}: of at most "
                f"{MOST_VALUES} values each, and {MOST_ASKED} in all"
            )
        if what == "logits":
            answer.logits += rows
        else:
            answer.gradients += rows
        step, found = max(1, AT_ONCE // values), []
        for start in range(0, max(rows, 1), step):
            part = torch.from_numpy(points[start : start + step]).double()
            with torch.set_grad_enabled(what != "logits"):
                logits = network(part.requires_grad_(what != "logits"))
            if what == "logits":
                found.append(logits)
            else:
                weights = torch.from_numpy(arrays["weights"][start : start + step]).double()
                found += torch.autograd.grad(logits, part, weights)
        return {}, {"answer": torch.cat(found).numpy()}
    except Exception as error:  # whatever it was asked: it is the student's mistake
        return {"error": f"{type(error).__name__}: {str(error)[:500]}"}, {}


def packed(value) -> tuple[str, dict]:
    """What a function returned as (kind, name → array); a dict's keys become text, and a tuple's
    places."""
    if isinstance(value, dict):
        if len(value) > MOST_KEYS:
            raise ValueError(f"a dict of {len(value)} keys, of at most {MOST_KEYS}")
        return "dict", {str(key)[:100]: to_array(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)) and any(
        isinstance(each, (torch.Tensor, np.ndarray)) for each in value
    ):
        if len(value) > MOST_KEYS:
            raise ValueError(f"a {type(value).__name__} of {len(value)}, of at most {MOST_KEYS}")
        return "tuple", {str(place): to_array(each) for place, each in enumerate(value)}
    if value is None:
        raise TypeError("it returned None: is a `return` missing?")
    return "array", {"": to_array(value)}


class Pyplot:
    """matplotlib.pyplot for one call, which then says what was drawn: {"axes", "rows": how many
    subplots show a picture, in how many rows; "0", "1", …: the pictures; "titles": theirs, a line
    each}."""

    def __init__(self):
        import matplotlib.pyplot as plt

        self._plt, self._before = plt, set(plt.get_fignums())

    def __getattr__(self, name):
        return getattr(self._plt, name)

    def show(self, *args, **kwargs):
        """Nothing: what was shown is often closed, and then nothing is left to be looked at."""

    close = show

    def drawn(self):
        new = sorted(set(self._plt.get_fignums()) - self._before)
        axes = [ax for n in new for ax in self._plt.figure(n).axes if ax.images]
        titles = "\n".join(ax.get_title() for ax in axes).encode()
        found = {str(i): np.ma.getdata(ax.images[0].get_array()) for i, ax in enumerate(axes)}
        found["axes"] = np.array([len(axes)])
        found["rows"] = np.array([len({round(sum(ax.get_position().intervaly), 1) for ax in axes})])
        for number in new:
            self._plt.close(number)
        return found | {"titles": np.frombuffer(titles, np.uint8)}


def returned_by(function, arguments):
    """What a function returned or, where it was given a ``Pyplot``, drew, ``packed``."""
    value = function(*arguments)
    pyplot = next((each for each in arguments if isinstance(each, Pyplot)), None)
    return packed(value if pyplot is None else pyplot.drawn())


def changed(values, originals) -> str | None:
    """What a function did to the tensors that it was given, ``values``, once ``originals`` (None:
    no tensor). The page hands it tensors that it needs afterwards."""
    for value, original in zip(values, originals, strict=True):
        if original is None:
            continue
        if value.grad is not None:  # the next call adds to it
            return "it left a gradient in a tensor that it was given: use a copy of it"
        if not np.array_equal(value.detach().numpy(), original):
            return "it changed a tensor that it was given: use a copy of it"
    return None


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
        if "implicitly created only for scalar" in said:
            said += " (torch.autograd.grad wants one number: add the logits up)"
        return "not written yet" if said == "NotImplementedError" else said + line[:200]
    except Exception:  # an error whose own text raises
        return type(error).__name__
