"""The network as a student's function sees it: a module whose logits and gradients are the grader's
answers."""

import numpy as np
import torch

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
