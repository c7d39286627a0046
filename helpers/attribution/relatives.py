"""The gradient's relatives, called like it, (model, pixels, target=None) → map.

``pixels`` (N, C, H, W), ``target`` as for ``saliency``. Guided backprop and Grad-CAM watch one call
of the model, every function of torch in it, so they also see what no module of its own does; the
model is left as it was found.
"""

import re
import warnings
from contextlib import suppress
from functools import partial

import torch
from torch import nn
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F
from torch.nn.modules import module as any_module
from torch.overrides import TorchFunctionMode

from helpers.attribution.gradients import _NO_GRADIENT, _NOT_FINITE, in_own_dtype, saliency
from helpers.attribution.targets import explained_in, resolve_target
from helpers.checks import choose
from helpers.evaluate import (
    NotApplicableError,
    ask,
    at_least_float32,
    dtype_for,
    evaluation,
)

ENLARGE = ("bilinear", "nearest", "none")


def gradient_x_input(model, pixels, target=None, *, extra=()) -> torch.Tensor:
    """x ⊙ ∇f(x), signed, in logits (Shrikumar et al. 2016, arXiv:1605.01713): Integrated Gradients
    from black with the single node at its end."""
    return pixels.detach() * saliency(model, pixels, target, extra=extra)


def guided_backprop(model, pixels, target=None, *, extra=()) -> torch.Tensor:
    """The gradient under another backward rule: every ReLU also drops what is negative on its way
    back (Springenberg et al. 2015, arXiv:1412.6806). Signed.

    A ReLU is ``relu``, ``relu6``, or ``clamp`` or ``hardtanh`` from 0 up: as module or function, in
    place or not, used once or often. What is no rectifier keeps its own gradient: pooling,
    normalisation, attention's softmax, and what saturates on both sides, sigmoid and tanh, as in
    the gates of squeeze-and-excitation.

    Raises:
        TypeError: the model is not a module.
        NotApplicableError: no ReLU lies between input and logits; or another rectifier does (SiLU,
            GELU, Hardswish, LeakyReLU, …) or a function with a backward of its own, for which there
            is no rule, so that the map would be the plain gradient in part; or the model is
            compiled or scripted.
        ValueError: a map is not finite.
    """
    return _under(_GuidedRule, model, pixels, target, extra)


def backward_with(model, pixels, target, rule, *, extra=()) -> torch.Tensor:
    """The gradient under a backward rule of your own, at every ReLU as ``guided_backprop`` names
    them; all else sends its own gradient back. With ``guided_rule`` it is guided backprop.

    rule: (gradient, activation) → what goes on backwards, all three of one shape: the gradient that
        reaches the ReLU's output, and that output, ≥ 0. Where a ReLU6 is full, nothing goes on,
        whatever the rule says: above 6 it is flat.

    Raises:
        TypeError, ValueError, NotApplicableError: as ``guided_backprop``; ValueError: the rule
            returns something of another shape.
    """
    return _under(partial(_OwnRule, rule=rule), model, pixels, target, extra)


def guided_rule(gradient, activation) -> torch.Tensor:
    """What is positive on its way back goes on, where the ReLU was open (Springenberg et al. 2015,
    arXiv:1412.6806)."""
    return gradient.clamp(min=0) * (activation > 0)


def deconvnet_rule(gradient, activation) -> torch.Tensor:
    """What is positive on its way back goes on, wherever (Zeiler and Fergus 2014,
    arXiv:1311.2901)."""
    return gradient.clamp(min=0)


def _under(rule_for, model, pixels, target, extra):
    """The gradient, the rule put on every ReLU of one call."""
    _must_be_open(model, "guided backprop")
    with evaluation(model):
        target = resolve_target(model, pixels, target, extra=extra)
        with rule_for(model) as rule:
            points, logit, between = _one_logit(model, pixels, target, extra)
        rule.check(between)
        (gradient,) = torch.autograd.grad(logit, points)
    return _finished(gradient, pixels)


def grad_cam(model, pixels, target=None, *, layer=None, enlarge="bilinear", extra=()):
    """The channels of a feature map, weighted by their mean gradient, added up, rectified and
    enlarged: which places speak for the class (Selvaraju et al. 2017, arXiv:1610.02391, eq. 1 and
    2). (N, C, H, W), ≥ 0, the same in every channel. For a network that ends in global average
    pooling and one linear layer it is the positive part of ``cam``, divided by the number of
    places.

    layer: the module whose output is weighted, or its name, as in ``model.named_modules()``; of
        several runs in one call, the last. (N, C, H, W), or (N, H, W, C) in networks that keep
        channels last, or tokens: (N, H·W, C), or (N, 1 + H·W, C) with the class token before the
        places. By default the last feature map, whether or not a module returns it: what the
        global pooling, or else the head, is given. Several, in a list: {layer: map} from one pass.
    enlarge: ``"bilinear"`` or ``"nearest"``, to the pixels' height and width; ``"none"`` leaves the
        map as coarse as the layer, (N, 1, h, w).

    Raises:
        TypeError: the model is not a module, or ``layer`` neither a module nor a name.
        ValueError: no such layer, or it does not run, has no height and width, or does not reach
            the logit; or a map is not finite; or ``enlarge`` is none of the three.
        NotApplicableError: there is no default, because the logits come from a class token or from
            several maps (the error lists the choices); or the model is compiled or scripted.
    """
    choose(enlarge, ENLARGE, "enlarge")
    several = isinstance(layer, (list, tuple))
    if several and not layer:
        raise ValueError("layer is an empty list: name at least one, or none for the last map")
    asked = list(layer) if several else [layer]
    maps = [
        _enlarged(
            (gradient.mean((2, 3), keepdim=True) * values).sum(1, keepdim=True).relu(),
            pixels,
            enlarge,
        )
        for values, gradient in _weighed(model, pixels, target, asked, "Grad-CAM", extra)
    ]
    return dict(zip(asked, maps, strict=True)) if several else maps[0]


def cam(model, pixels, target=None, *, enlarge="bilinear", extra=()) -> torch.Tensor:
    """The class activation map (Zhou et al. 2016, arXiv:1512.04150, eq. 2): the channels of the
    last feature map, weighted by the class's weights in the linear layer behind the global average
    pooling. (N, C, H, W), signed, in logits, the same in every channel: the mean of the coarse map
    plus the class's bias is the logit. A network whose pooling is given one map a class, as a
    SqueezeNet, has that map.

    enlarge: as for ``grad_cam``; ``"none"``: (N, 1, h, w).

    Raises:
        TypeError, ValueError: as ``grad_cam``.
        NotApplicableError: the logit is not a weighted sum of the last map's means, because
            something else than average pooling and one linear layer stands behind it: Grad-CAM is
            what remains; or as ``grad_cam``.
    """
    choose(enlarge, ENLARGE, "enlarge")
    ((values, gradient),) = _weighed(model, pixels, target, [None], "CAM", extra)
    places = values.shape[2] * values.shape[3]
    return _enlarged((places * gradient * values).sum(1, keepdim=True), pixels, enlarge)


def feature_maps(model, pixels, target=None, *, layer=None, extra=()):
    """What CAM and Grad-CAM weigh and add up: (maps, gradients of the target's logit), both
    (N, C, h, w). ``layer`` and errors as for ``grad_cam``; of several, {layer: (maps,
    gradients)}."""
    several = isinstance(layer, (list, tuple))
    asked = list(layer) if several else [layer]
    found = _weighed(model, pixels, target, asked, "Grad-CAM", extra)
    return dict(zip(asked, found, strict=True)) if several else found[0]


def guided_grad_cam(model, pixels, target=None, *, layer=None, extra=()) -> torch.Tensor:
    """Guided backprop times Grad-CAM, pixel by pixel: fine lines, and only where Grad-CAM sees the
    class (Selvaraju et al. 2017, arXiv:1610.02391, section 3.2). Signed; arguments and errors are
    those of the two."""
    lines = guided_backprop(model, pixels, target, extra=extra)
    return lines * grad_cam(model, pixels, target, layer=layer, extra=extra)


def _weighed(model, pixels, target, layers, method, extra):
    """[(feature maps (N, C, h, w), their gradient)] of each layer, None for the last map."""
    _must_be_open(model, method)
    modules = [_submodule(model, layer) for layer in layers]
    with evaluation(model):
        target = resolve_target(model, pixels, target, extra=extra)
        if pixels.ndim != 4:
            raise ValueError(
                f"{method} needs a convolutional network, which is given pictures (N, C, H, W), "
                f"found {tuple(pixels.shape)}"
            )
        with _FeatureMaps(model, pixels, modules) as maps:
            points, logit, between = _one_logit(model, pixels, target, extra)
        found = [
            maps.last(points, logit, between) if module is None else maps.of_the_layer(module)
            for module in modules
        ]
        on_grid = [maps.grid_of(values) for values in found]
        for module, values in zip(modules, found, strict=True):
            if values.grad_fn not in between:
                raise ValueError(f"layer {maps.names[module]!r} does not reach the logit")
        gradients = torch.autograd.grad(logit, found)
        if method == "CAM":
            _must_be_mean_and_linear(_between(found[0], logit), on_grid[0](gradients[0]))
    exact = at_least_float32(found[0].dtype)
    return [
        tuple(lay(each.detach()).to(exact) for each in pair)
        for lay, *pair in zip(on_grid, found, gradients, strict=True)
    ]


# As autograd names them: what keeps a logit a weighted sum.
_LINEAR = re.compile(
    "Mean|Sum|AdaptiveAvgPool|AvgPool|Addmm|Mm|T$|Add|Div|Mul|Linear|Gather|Slice|Select|Expand|"
    ".*View|.*Reshape|Transpose|Permute|Squeeze|Unsqueeze|AsStrided|Clone|ToCopy"
)


def _must_be_mean_and_linear(behind, gradient):
    """Raise unless nothing bends behind the maps, and each place has the same weight."""
    kinds = {node.name().lstrip("_").split("Backward")[0] for node in behind}
    other = sorted(kind for kind in kinds if not _LINEAR.match(kind))
    if not other and not gradient.allclose(
        gradient[..., :1, :1].expand_as(gradient), rtol=1e-4, atol=0
    ):
        other = ["a weight of its own for each place"]
    if other:
        raise NotApplicableError(
            "CAM needs a network that ends in global average pooling and one linear layer; behind "
            f"the last feature map stands {', '.join(other)}: Grad-CAM weights any layer's maps by "
            "their gradient instead"
        )


def _enlarged(coarse, pixels, how):
    if how == "none":
        return _finished(coarse, pixels)
    fine = F.interpolate(coarse, pixels.shape[2:], mode=how)
    return _finished(fine.expand_as(pixels).contiguous(), pixels)


def last_spatial_layer(model, pixels, target=None, *, extra=()) -> nn.Module:
    """The module whose output Grad-CAM weights by default, the outermost of those that return it.

    Raises:
        TypeError, ValueError: as ``grad_cam``; or no module returns that map, but a function.
    """
    _must_be_open(model, "Grad-CAM")
    with evaluation(model):
        with _FeatureMaps(model, pixels, []) as maps:
            target = resolve_target(model, pixels, target, extra=extra)
            points, logit, between = _one_logit(model, pixels, target, extra)
        values = maps.last(points, logit, between)
    for name, output in reversed(maps.of_modules):
        if any(tensor is values for tensor in _tensors(output)):
            return model.get_submodule(name)
    raise ValueError("no module returns the last feature map: a function does, behind the last one")


def applicable(attributions, model, pixels, target=None, *, extra=()):
    """(name, map) of each of {name: attribution} that means something for the model; of one that
    refuses (``NotApplicableError``) there is a warning instead."""
    for name, attribution in attributions.items():
        try:
            yield name, attribution(model, pixels, target, **({"extra": extra} if extra else {}))
        except NotApplicableError as refusal:
            warnings.warn(f"{name} is left out: {refusal}", stacklevel=2)


def _finished(maps, pixels):
    """In the pixels' own dtype where it fits, or an error that says which map is not finite."""
    bad = ~maps.flatten(1).isfinite().all(1)
    if bad.any():
        raise ValueError(_NOT_FINITE.format(place=f"input {int(bad.nonzero()[0])}"))
    return in_own_dtype(maps, pixels.dtype)


def _must_be_open(model, method):
    """Raise unless it is a module that runs as Python, call by call."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{method} looks into the layers of a torch.nn.Module, found {type(model).__name__}"
        )
    for name, module in model.named_modules():
        compiled = (
            type(module).__name__ == "OptimizedModule"
            or getattr(module, "_compiled_call_impl", None) is not None
            or hasattr(module.forward, "_torchdynamo_orig_callable")
        )
        if compiled or isinstance(module, torch.jit.ScriptModule):
            how = "compiled (torch.compile)" if compiled else "scripted or traced (torch.jit)"
            raise NotApplicableError(
                f"{method} looks into the layers, and {repr(name) if name else 'the model'} is "
                f"{how}, so nothing inside is to be seen: pass the model as it was before; "
                "saliency, smoothgrad and integrated_gradients take it as it is"
            )


def _one_logit(model, pixels, target, extra=()):
    """(the points that the model was given, the sum of what is explained, ``_between`` them)."""
    points = (pixels.clone() if pixels.is_inference() else pixels).detach()
    points = points.to(dtype_for(model, points.dtype)).requires_grad_()
    logit = explained_in(ask(model, points, extra), target, len(points)).sum()
    between = _between(points, logit) if logit.requires_grad else ()
    if not between:
        raise ValueError(_NO_GRADIENT)
    return points, logit, between


def _between(points, logit, without=None):
    """The nodes of autograd's graph on a way from the points to the logit that does not lead
    through ``without``."""
    above, todo = {}, [logit.grad_fn]
    while todo:
        node = todo.pop()
        for below, _ in node.next_functions:
            if below not in (None, without):
                if below not in above:
                    todo.append(below)
                above.setdefault(below, []).append(node)
    start = get_gradient_edge(points).node
    found, todo = set(), [start]
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += above.get(node, ())
    return found - {start}


class _Watch(TorchFunctionMode):
    """Sees (``saw``) every function of torch that a model calls, and in which of its modules."""

    def __init__(self, model):
        super().__init__()
        self.names = {module: name for name, module in model.named_modules()}
        self.inside = []

    def __enter__(self):
        # Hooks for all modules there are, so none is put on the model's own.
        self.hooks = (
            any_module.register_module_forward_pre_hook(self.enters),
            any_module.register_module_forward_hook(self.leaves, always_call=True),
        )
        return super().__enter__()

    def __exit__(self, *error):
        for hook in self.hooks:
            hook.remove()
        return super().__exit__(*error)

    def enters(self, module, args):
        self.inside.append(self.names.get(module, ""))

    def leaves(self, module, args, output):
        self.inside.pop()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if self.inside:  # not what a target makes of the output
            self.saw(getattr(func, "__name__", "").split(".")[0], args, kwargs or {}, output)
        return output


# --- guided backprop ------------------------------------------------------------------------------

# As autograd names them: what bends like a ReLU and has no rule (Elu: also selu; Erf: a
# GELU written out); and what TorchScript hides.
_UNRULED = re.compile(
    "Relu|LeakyRelu|Prelu|Rrelu|Elu|Celu|Gelu|Erf|Silu|Hardswish|Mish|Softplus|LogSigmoid|"
    "Threshold|Hardshrink|Softshrink|torch::jit"
)
_ELEMENTWISE = re.compile("Add|Sub|Mul|Div|Pow|Exp|Sigmoid|Tanh|Hardsigmoid|Hardtanh|Clamp|Relu")
_ONE_RELU = re.compile("Relu|Hardtanh|Clamp")
_BOUNDED = ("hardtanh", "hardtanh_", "clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_min_")


class _GuidedRule(_Watch):
    """Puts the rule on the output of every ReLU: what comes back to it is rectified, then its own
    gradient lets through what was positive on the way there."""

    def __init__(self, model):
        super().__init__(model)
        self.ruled, self.where = set(), {}

    def saw(self, name, args, kwargs, output):
        if not isinstance(output, torch.Tensor) or output.grad_fn is None:
            return
        self.where[output.grad_fn] = self.inside[-1] if self.inside else ""
        low = kwargs.get("min", kwargs.get("min_val", args[1] if len(args) > 1 else None))
        if name in ("relu", "relu_", "relu6") or (
            name in _BOUNDED and low is not None and not torch.as_tensor(low).any()
        ):
            high = kwargs.get("max", kwargs.get("max_val", args[2] if len(args) > 2 else None))
            self.put(output, 6 if name == "relu6" else high if name in _BOUNDED[:6] else None)
            self.ruled.add(output.grad_fn)

    def put(self, output, high):
        output.register_hook(lambda gradient: gradient.clamp(min=0))

    def check(self, between):
        """Raise unless the rule reaches every rectifier there."""
        if missed := self.missed(between):
            raise NotApplicableError(
                "guided backprop has a rule for ReLU alone, and between input and logits there is "
                f"also {'; '.join(f'{what}{_in(names)}' for what, names in missed.items())}: the "
                "map would be the plain gradient, in part or whole. Take saliency, smoothgrad or "
                "integrated_gradients, or a network with ReLUs throughout"
            )
        if not self.ruled & between:
            raise NotApplicableError(
                "guided backprop has a rule for ReLU alone, and there is none between input and "
                "logits: the map would be the plain gradient, which saliency gives"
            )

    def missed(self, between) -> dict:
        """{what has no rule: the names of the modules it runs in}"""
        missed = {}
        for node in between - self.ruled:
            what = node.name().lstrip("_").split("Backward")[0]
            if what == "Mul" and _gates_itself(node):
                what = "x · g(x)"
            elif what == "Maximum" and any(below is None for below, _ in node.next_functions):
                what = "maximum(x, constant)"
            elif not (isinstance(node, BackwardCFunction) or _UNRULED.match(what)):
                continue
            missed.setdefault(what.removesuffix("Kernel"), set()).add(self.where.get(node, ""))
        # In the order of the model, as a reader looks for them.
        return {
            what: [name for name in self.names.values() if name and name in names]
            for what, names in missed.items()
        }


class _OwnRule(_GuidedRule):
    """Puts any rule in the place of a ReLU's own gradient."""

    def __init__(self, model, rule):
        super().__init__(model)
        self.rule = rule

    def put(self, output, high):
        node, activation = output.grad_fn, output.detach().clone()  # it may be written over
        if not _ONE_RELU.match(node.name()):
            raise NotApplicableError(
                "a ReLU that works in place on a part of a tensor has no gradient of its own to "
                f"put a rule in the place of{_in([self.where[node]])}: let it return a new tensor"
            )

        def instead(sent, came):
            passed = self.rule(came[0], activation)
            if getattr(passed, "shape", None) != activation.shape:
                raise ValueError(
                    "a backward rule returns a tensor as large as the gradient that it is given, "
                    f"{tuple(activation.shape)}, found "
                    f"{tuple(passed.shape) if hasattr(passed, 'shape') else type(passed).__name__}"
                )
            passed = passed.to(came[0])
            open_above = 1 if high is None else activation < high
            return passed * open_above, *sent[1:]

        node.register_hook(instead)


def _in(names):
    more = f", … ({len(names)} modules)" if len(names) > 4 else ""
    return f" in {', '.join(names[:4])}{more}" if names else ""


def _gates_itself(product):
    """Is it x · g(x) with an elementwise g: a swish, or another relative of ReLU, written out?"""

    def origins(edge):
        found, seen, todo = set(), set(), [edge]
        while todo:
            node, _ = edge = todo.pop()
            below = [further for further in node.next_functions if further[0] is not None]
            if not (below and _ELEMENTWISE.match(node.name())):
                found.add(edge)
            elif node not in seen:
                seen.add(node)
                todo += below
        return found

    factors = [edge for edge in product.next_functions if edge[0] is not None]
    if len(factors) != 2 or factors[0] == factors[1]:
        return False
    first, second = map(origins, factors)
    return first == second and len(first) == 1


# --- Grad-CAM -------------------------------------------------------------------------------------

_LAYERS = ("conv", "linear", "matmul", "__matmul__", "einsum", "bmm", "addmm", "mm")
_REDUCTIONS = ("mean", "sum", "amax", "max")
_CHANNELS_LAST = ("linear", "layer_norm", "rms_norm", "permute", "movedim", "moveaxis", "transpose")
_PICKS = ("__getitem__", "select", "narrow", "index_select", "unbind")


class _FeatureMaps(_Watch):
    """Keeps what a model's functions and modules return that has more than one place."""

    def __init__(self, model, pixels, layers):
        super().__init__(model)
        self.n, self.size = len(pixels), pixels.shape[2:]
        self.of_modules, self.of_layer = [], {layer: None for layer in layers}
        self.calls, self.input = [], []  # (function, what it is given, what it returns)
        self.channels_last = False

    def leaves(self, module, args, output):
        super().leaves(module, args, output)
        if module in self.names:
            self.of_modules.append((self.names[module], output))
        if module in self.of_layer:
            self.of_layer[module] = output
            if isinstance(output, torch.Tensor):
                return output.clone()  # what comes next may work in place

    def saw(self, name, args, kwargs, output):
        given = [tensor for tensor in _tensors((args, kwargs)) if tensor.grad_fn is not None]
        returned = [tensor for tensor in _tensors(output) if tensor.grad_fn is not None]
        if name in _CHANNELS_LAST and any(tensor.ndim == 4 for tensor in given):
            self.channels_last = True
        if self.calls or name.startswith(_LAYERS):
            self.input += [] if self.calls else given
            if returned:
                self.calls.append((name, given, returned))
        else:
            self.input += returned  # still the pixels, normalised perhaps

    def has_places(self, tensor):
        """More than one vector for each input."""
        return sum(size > 1 for size in tensor.shape) - (self.n > 1) > 1

    def of_the_layer(self, layer):
        """What the layer returned in its last run."""
        name = self.names[layer]
        if self.of_layer[layer] is None:
            raise ValueError(f"layer {name!r} does not run when the model is called")
        tensors = _tensors(self.of_layer[layer])
        spatial = [tensor for tensor in tensors if self.has_places(tensor)]
        if len(spatial) != 1:
            found = ", ".join(str(tuple(tensor.shape)) for tensor in tensors) or "no tensor"
            raise ValueError(
                f"layer {name!r} returns {found}: Grad-CAM needs one tensor with a height and a "
                "width above 1, or of as many tokens"
            )
        return spatial[0]

    def last(self, points, logit, between):
        """The last tensor with places between points and logit, if all that reaches the logit
        goes through it."""
        pixels = set(map(id, self.input))
        last_first = (
            (tensor, name)
            for name, given, returned in reversed(self.calls)
            if any(tensor.grad_fn in between for tensor in returned)
            for tensor in returned + given
            if tensor.grad_fn in between and self.has_places(tensor) and id(tensor) not in pixels
        )
        maps, user = next(last_first, (None, None))
        if maps is None:
            raise NotApplicableError(
                "no layer of this model returns a height and a width above 1: Grad-CAM needs a "
                "convolutional one"
            )
        makers = {id(tensor): call for call in self.calls for tensor in call[2]}
        # What a last pooling is given, also where it leaves several places (VGG: 7 × 7) or takes
        # the mean over one axis after the other.
        while (maker := makers.get(id(maps))) and (
            maker[0].startswith("adaptive_") or (maker[0] in _REDUCTIONS and maps.ndim == 3)
        ):
            spatial = [tensor for tensor in maker[1] if tensor.ndim == 4]
            if not spatial:
                break
            maps = spatial[0]
        why = None
        if user in _PICKS:
            why = "the head is given one place alone, as a class token"
        elif any(tensor is maps for tensor in _tensors(self.of_modules[-1][1])):
            why = "the last map is what the model returns"
        elif _between(points, logit, without=maps.grad_fn):
            why = "the logit comes from more than one feature map"
        else:
            try:
                self.grid_of(maps)
            except ValueError as error:
                why = str(error)
        if why:
            raise NotApplicableError(
                f"Grad-CAM has no default layer here: {why}. Choose one, as layer={{name}}: "
                + (", ".join(map(repr, self.choices(logit, between))) or "none was found")
            )
        return maps

    def choices(self, logit, between):
        """The names of the last few modules whose output can be weighted."""
        found = {}  # a tensor once, under the name of the outermost module that returns it
        for name, output in reversed(self.of_modules):
            for tensor in _tensors(output)[:1]:
                if name and tensor.grad_fn in between and self.has_places(tensor):
                    found.setdefault(id(tensor), (name, tensor))
        found = dict(found.values())
        gradients = torch.autograd.grad(logit, list(found.values())) if found else ()
        laid, reached = [], []
        for (name, tensor), gradient in zip(found.items(), gradients, strict=True):
            with suppress(ValueError):
                on_grid = self.grid_of(tensor)
                laid.append(name)
                reached += [name] * bool(on_grid(gradient).any())
        return (reached or laid)[:6]

    def grid_of(self, tensor):
        """The function that lays what has this tensor's shape out as (N, C, h, w)."""
        shape = tuple(tensor.shape)
        found = []  # (axis of the channels, (h, w))
        if shape[0] == self.n and len(shape) == 4:
            last = self.channels_last and self.like_the_pixels(shape[1:3])
            if not last or self.like_the_pixels(shape[2:]):
                found.append((1, shape[2:]))
            if last:
                found.append((3, shape[1:3]))
        elif shape[0] == self.n and len(shape) == 3:
            found = [
                (axis, grid)
                for axis, tokens in ((2, shape[1]), (1, shape[2]))
                for grid in self.grids()
                if tokens - grid[0] * grid[1] in (0, 1)
            ]
        if len(found) != 1:
            raise ValueError(
                f"it is not plain where height and width are in the shape {shape}: "
                "(N, C, H, W), (N, H, W, C), (N, H·W, C) and (N, 1 + H·W, C) are laid out"
            )
        ((axis, (height, width)),) = found
        return lambda values: (
            values.movedim(axis, 1).flatten(2)[..., -height * width :].unflatten(2, (height, width))
        )

    def grids(self):
        """The heights and widths, in the pixels' proportion, that were met in this call."""
        shapes = {tuple(tensor.shape) for call in self.calls for tensor in call[1] + call[2]}
        pairs = {shape[i : i + 2] for shape in shapes if len(shape) == 4 for i in (1, 2)}
        return {pair for pair in pairs if self.like_the_pixels(pair)}

    def like_the_pixels(self, pair):
        """Are these a height and a width, in the pixels' proportion but for rounding by one?"""
        (h, w), (height, width) = pair, self.size
        return min(pair) > 1 and abs(h * width - w * height) <= max(height, width)


def _tensors(value) -> list:
    """The tensors in what a module or function returns."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return []
    return [tensor for item in value for tensor in _tensors(item)]


def _submodule(model, layer):
    if isinstance(layer, str):
        named = dict(model.named_modules(remove_duplicate=False))
        return named[choose(layer, [name for name in named if name], "layer")]
    if layer is not None and not isinstance(layer, nn.Module):
        raise TypeError(
            f"layer must be a module of the model, or its name, found {type(layer).__name__}"
        )
    if layer is not None and all(layer is not module for module in model.modules()):
        raise ValueError(
            f"layer is no module of this model: {type(layer).__name__}; its names are those of "
            "model.named_modules()"
        )
    return layer
