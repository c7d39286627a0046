"""Four panels with sliders: the three methods side by side, SmoothGrad, Integrated Gradients, and
the path under it.

A panel remembers the gradients of the settings seen last, so a move that changes only how they are
combined or shown evaluates none: 50 gradients of a 224-pixel photograph are 30 MB.

``strip`` names the frames that a page without a kernel shows, {control: three to five values}.
"""

from functools import lru_cache

import ipywidgets as widgets
import torch

from helpers.attribution.aggregates import AGGREGATES, make_accumulator
from helpers.attribution.gradients import saliency, stream
from helpers.attribution.integrated_gradients import (
    BASELINES,
    RULES,
    completeness_gap,
    integrated_gradients,
    make_baseline,
    nodes_and_weights,
)
from helpers.attribution.smoothgrad import smoothgrad
from helpers.attribution.targets import explained, repeated
from helpers.benchmark.images import ImageSet
from helpers.display.panel import (
    MEANING,
    Panel,
    PictureRow,
    Subject,
    display_controls,
    per_cent,
    plural,
    shown,
)
from helpers.display.plotting import color_limits, reduced
from helpers.evaluate import evaluation
from helpers.noise import DISTRIBUTIONS, noise_fields

SIGNED_AGGREGATES = ("mean", "median", "trimmed_mean")
STEPS = (5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200)
REMEMBERED = 6  # settings whose gradients are kept, those of a strip among them
STRENGTHS = (0.0, 0.02, 0.05, 0.15, 0.3)  # of the noise, in a strip


def explore_maps(
    model, images: ImageSet, *, target=None, n_samples=50, strip=None, using=None
) -> Panel:
    """Gradient, SmoothGrad and Integrated Gradients of one picture, with sliders for what they
    depend on: input, map, and the map's size over the input. Moving the number of samples or the
    display evaluates no new gradient.

    n_samples: the most samples; so many gradients a new picture or noise evaluates.
    using: a function (model, pixels (1, C, H, W), target (1,)) → map of that shape, offered as one
        more method and shown first.
    strip: by default every method.
    """
    subject = Subject(model, images, target)
    row = PictureRow(images, subject.mask)
    samples_of = _samples(subject, n_samples)
    methods = ["gradient", "SmoothGrad", "Integrated Gradients"]
    own = using and _name(using)

    @lru_cache(maxsize=32)
    def compute(picture, method, noise, samples, steps):
        one, aim = subject[picture]
        if method == own:
            return _asked(using, model, one, aim)
        if method == "SmoothGrad":
            return _combined(samples_of(picture, noise), "mean", samples)
        return (
            saliency(model, one, aim)
            if method == "gradient"
            else integrated_gradients(model, one, aim, n_steps=steps)
        )

    def draw(picture, method, noise, samples, steps, show, percentile):
        # Only what a method depends on reaches the memory and the status.
        used, uses = {
            "gradient": ((None, None, None), ""),
            "SmoothGrad": (
                (noise, samples, None),
                f", noise {per_cent(noise)}, {plural(samples, 'sample')}",
            ),
            "Integrated Gradients": ((None, None, steps), f", {steps} steps"),
        }.get(method, ((None, None, None), ""))
        pixels, values = images.pixels[picture], compute(picture, method, *used)
        row.picture(0, pixels, "input")
        row.map(1, values, f"{method}\n{MEANING[show]}", show=show, percentile=percentile)
        row.map(
            2,
            values,
            "size, over the input in grey",
            show="unsigned",
            percentile=percentile,
            over=pixels,
        )
        row.outline(picture)
        status = f"{subject.about(picture)} · {method}{uses} · {shown(show, percentile)}"
        return row.figure, status, {"map": values[0], "pixels": pixels}

    methods += [own] if own else []
    return Panel(
        draw,
        strip=strip or {"method": methods},
        alt="each frame shows the input, its map, and the map's size over the input",
        picture=subject.control(),
        method=widgets.Dropdown(options=methods, value=own or "SmoothGrad", description="method"),
        noise=_noise_slider(),
        samples=_samples_slider(n_samples),
        steps=widgets.SelectionSlider(options=STEPS, value=50, description="steps"),
        **display_controls(overlay=False),
    )


def explore_smoothgrad(
    model, images: ImageSet, *, target=None, n_samples=50, strip=None, using=None
) -> Panel:
    """SmoothGrad of one picture beside its plain gradient, with sliders for every setting.

    The first n of one set of gradients are combined, so the number of samples, the aggregate and
    the display evaluate no new gradient; the picture, the noise, its distribution and clipping do.

    n_samples: the most samples, how many gradients such a set has.
    using: a function (model, pixels (1, C, H, W), target (1,), fields (n, C, H, W) standard normal,
        noise) → map (1, C, H, W) to be shown instead of SmoothGrad, with the controls that it has a
        use for. Errors are shown under the figure.
    strip: by default five strengths of the noise.
    """
    subject = Subject(model, images, target)
    row = PictureRow(images, subject.mask)
    name = _name(using) if using else "SmoothGrad"
    samples_of = _samples(subject, n_samples)
    plain = lru_cache(maxsize=32)(lambda picture: saliency(model, *subject[picture]))
    combined = lru_cache(maxsize=32)(
        lambda samples, aggregate, *setting: _combined(samples_of(*setting), aggregate, samples)
    )

    @lru_cache(maxsize=32)
    def asked(picture, samples, noise):
        one, aim = subject[picture]
        return _asked(using, model, one, aim, noise_fields(samples, one), noise)

    def draw(
        picture,
        noise,
        samples,
        show,
        overlay,
        percentile,
        distribution="normal",
        aggregate="mean",
        clip=False,
    ):
        of = plural(samples, "sample")
        if using:
            smooth, title = asked(picture, samples, noise), f"{name}, {of}"
            drawn = f"{title}, noise {per_cent(noise)}"
        else:
            # the one that has no standard deviation
            match = "iqr" if distribution == "cauchy" else "std"
            smooth = combined(samples, aggregate, picture, noise, distribution, match, clip)
            title = f"{aggregate} of {of}"
            scale = (
                ""
                if match == "std"
                else " (interquartile range matched to the normal's, since it has no standard "
                "deviation)"
            )
            drawn = (
                f"{title}, {distribution} noise {per_cent(noise)}{scale}, "
                f"{'clipped to [0, 1]' if clip else 'not clipped'}"
            )
        pixels, how = images.pixels[picture], {"show": show, "percentile": percentile}
        how["over"] = pixels if overlay else None
        signed = aggregate in SIGNED_AGGREGATES or show == "unsigned"
        row.picture(0, pixels, "input")
        row.map(1, plain(picture), f"gradient\n{MEANING[show]}", **how)
        row.map(2, smooth, f"{title}\n{MEANING[show] if signed else 'size: red is large'}", **how)
        row.outline(picture)
        status = f"{subject.about(picture)} · {drawn} · {shown(show, percentile, overlay)}"
        return row.figure, status, {"map": smooth[0], "pixels": pixels}

    own = {
        "distribution": widgets.Dropdown(options=list(DISTRIBUTIONS), description="distribution"),
        "aggregate": widgets.Dropdown(options=list(AGGREGATES), description="aggregate"),
        "clip": widgets.Checkbox(False, description="clip to [0, 1]"),
    }
    return Panel(
        draw,
        strip=strip or {"noise": STRENGTHS},
        alt=f"each frame shows the input, its gradient and {name}",
        picture=subject.control(),
        noise=_noise_slider(),
        samples=_samples_slider(n_samples),
        **({} if using else own),
        **display_controls(),
    )


def explore_integrated_gradients(
    model, images: ImageSet, *, target=None, n_steps=50, references=None, strip=None, using=None
) -> Panel:
    """Integrated Gradients of one picture beside input and baseline, with the completeness gap
    under it.

    n_steps: where the slider of the steps starts, one of ``STEPS``.
    references: (R, C, H, W); adds the baseline "samples", the mean over paths from each of them.
        They share the steps (at least two each), so that the panel stays as quick as with one
        baseline. Not with ``using``.
    using: a function (model, pixels (1, C, H, W), target (1,), baseline (1, C, H, W), n_steps) →
        map (1, C, H, W) to be shown instead of Integrated Gradients, with the controls that it has
        a use for. Errors are shown under the figure.
    strip: by default five baselines.

    Raises:
        ValueError: both ``references`` and ``using``.
    """
    if using and references is not None:
        raise ValueError("a function of your own has one baseline: leave references out")
    subject = Subject(model, images, target)
    row = PictureRow(images, subject.mask)
    row.frame(1)  # a white baseline is a picture, too
    aims = subject.aims()
    name = _name(using) if using else "Integrated Gradients"

    def tensors(picture, aim):
        one, explained = subject[picture]
        return one, explained if aim < 0 else torch.tensor([aim], device=one.device)

    @lru_cache(maxsize=32)
    def origin(picture, aim, baseline):
        one, aim = tensors(picture, aim)
        return (
            references.mean(0, keepdim=True)
            if baseline == "samples"
            else make_baseline(baseline, model, one, aim)
        )

    @lru_cache(maxsize=32)
    def compute(picture, aim, baseline, steps, rule):
        start = {"baseline": origin(picture, aim, baseline)}
        if baseline == "samples":
            start = {"baseline": "samples", "references": references}
        one, aim = tensors(picture, aim)
        values = (
            _asked(using, model, one, aim, start["baseline"], steps)
            if using
            else integrated_gradients(model, one, aim, n_steps=steps, rule=rule, **start)
        )
        return values, float(completeness_gap(model, one, attribution=values, target=aim, **start))

    def draw(picture, target, baseline, steps, show, overlay, percentile, rule=None):
        paths, start = 1, f"baseline {baseline}"
        if baseline == "samples":
            paths = len(references)
            steps = max(2, steps // paths)
            start = f"{baseline}: {plural(paths, 'reference')}"
        values, gap = compute(picture, target, baseline, steps, rule)
        pixels, total = images.pixels[picture], float(values.sum())
        row.picture(0, pixels, "input")
        row.picture(
            1,
            origin(picture, target, baseline)[0],
            start if paths == 1 else f"mean of {paths} references",
        )
        row.map(
            2,
            values,
            f"{name}\n{MEANING[show]}",
            show=show,
            percentile=percentile,
            over=pixels if overlay else None,
        )
        row.outline(picture)
        # f(x) − f(x′) as the sum less the gap, so that the three numbers add up as printed.
        sums = (
            f"sum {total:.3f} = {subject.noun} of input − of baseline {total - gap:.3f} + gap "
            f"{gap:.3f}"
        )
        used = f"{start}, {plural(steps, 'step')}{' each' if paths > 1 else ''}, "
        used += name if using else f"{rule} rule"
        return (
            row.figure,
            f"{subject.about(picture, None if target < 0 else target)} · {used} · {sums} · "
            f"{shown(show, percentile, overlay)}",
            {"map": values[0], "pixels": pixels},
        )

    picture, target = (
        subject.control(),
        widgets.Dropdown(options=aims(0), description="target class"),
    )

    def offer(_):
        target.options = aims(picture.value)  # selects the first, the class that is explained

    # before the panel observes it, so that both have moved when it draws
    picture.observe(offer, names="value")
    rule = widgets.Dropdown(options=list(RULES), description="rule")
    return Panel(
        draw,
        strip=strip or {"baseline": _baselines()[:5]},
        alt=f"each frame shows the input, the baseline and {name}",
        picture=picture,
        target=target,
        baseline=widgets.Dropdown(options=_baselines(references), description="baseline"),
        steps=widgets.SelectionSlider(options=STEPS, value=n_steps, description="steps"),
        **({} if using else {"rule": rule}),
        **display_controls(),
    )


def explore_path(
    model, images: ImageSet, *, target=None, baseline="black", n_steps=41, strip=None
) -> Panel:
    """Walk from the baseline (α = 0) to the input (α = 1): the point, the gradient there, and
    Integrated Gradients so far.

    The gradients at ``n_steps`` equally spaced points, both ends included, are evaluated once for a
    picture and a baseline; the sum so far is that of the trapezoid rule. Either map's colours are
    the same all along the path.

    strip: by default five points of the path.
    """
    subject = Subject(model, images, target)
    row = PictureRow(images, subject.mask, room=3.1)
    left, bottom, width, height = row.free
    curve = row.add_axes(left + 0.62, bottom + 0.4, width - 0.75, height - 0.4)
    (rise,) = curve.plot([], [], color="black", linewidth=1.2, label=subject.noun)
    (summed,) = curve.plot(
        [],
        [],
        color="#d55e00",
        linewidth=1.2,
        linestyle="--",
        label=f"baseline's {subject.noun} + sum so far",
    )
    (marker,) = curve.plot([], [], "o", color="black", markersize=5)
    curve.set_xlabel("α, from baseline to input", fontsize=9)
    curve.tick_params(labelsize=8)
    curve.set_xlim(-0.03, 1.03)
    curve.set_xticks([0, 0.5, 1])  # each tick costs a redraw a few milliseconds
    curve.locator_params(axis="y", nbins=4)
    curve.legend(
        fontsize=8,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(-0.05, 1.0),
        borderaxespad=0.1,
        ncols=1,
    )
    nodes, _ = nodes_and_weights("trapezoid", n_steps)

    @lru_cache(maxsize=REMEMBERED)
    def walk(picture, baseline):
        """The baseline (1, C, H, W), gradients (n_steps, C, H, W), logits and sums so far
        (n_steps,)."""
        one, aim = subject[picture]
        start = make_baseline(baseline, model, one, aim)
        points = torch.cat([torch.lerp(start, one, float(node)) for node in nodes])
        with evaluation(model):
            gradients = torch.cat(list(stream(model, aim, lambda j: points[j : j + 1], n_steps)))
        logits = explained(model, points, repeated(aim, n_steps))
        slopes = ((one - start) * gradients).flatten(1).sum(1)
        sums = torch.cat(
            [slopes.new_zeros(1), ((slopes[1:] + slopes[:-1]) / 2).cumsum(0) / (n_steps - 1)]
        )
        return start, gradients, logits.cpu(), sums.cpu()

    def so_far(picture, baseline, step):
        """Integrated Gradients from the baseline to point ``step``, (1, C, H, W)."""
        start, gradients, *_ = walk(picture, baseline)
        weights = (
            nodes_and_weights("trapezoid", step + 1)[1] * step / (n_steps - 1) if step else [0.0]
        )
        weights = torch.as_tensor(weights, dtype=gradients.dtype, device=gradients.device)
        return (subject[picture][0] - start) * torch.tensordot(
            weights, gradients[: step + 1], dims=1
        )

    @lru_cache(maxsize=REMEMBERED)
    def whole(picture, baseline, show):
        """All the gradients on the path and the sum over it, a value a pixel: their colours end
        where."""
        both = walk(picture, baseline)[1], so_far(picture, baseline, n_steps - 1)
        return [reduced(maps, show)[None] for maps in both]

    @lru_cache(maxsize=32)
    def limits(picture, baseline, show, percentile):
        both = whole(picture, baseline, show)
        return [color_limits(maps, "figure", percentile)[0, 0] for maps in both]

    def draw(picture, baseline, alpha, show, overlay, percentile):
        step = round(alpha * (n_steps - 1))
        start, gradients, logits, sums = walk(picture, baseline)
        point = torch.lerp(start, subject[picture][0], float(nodes[step]))[0]
        ends, how = (
            limits(picture, baseline, show, percentile),
            {"show": show, "over": point if overlay else None},
        )
        row.picture(0, point, f"input at α = {nodes[step]:.3g}")
        row.map(
            1, gradients[step : step + 1], f"gradient there\n{MEANING[show]}", limit=ends[0], **how
        )
        so_far_here = so_far(picture, baseline, step)
        row.map(
            2,
            so_far_here,
            f"Integrated Gradients so far\n{MEANING[show]}",
            limit=ends[1],
            **how,
        )
        row.outline(picture)
        rise.set_data(nodes, logits)
        summed.set_data(nodes[: step + 1], logits[0] + sums[: step + 1])
        marker.set_data([nodes[step]], [logits[step]])
        low, high = (
            float(end(torch.cat([logits, logits[0] + sums]))) for end in (torch.min, torch.max)
        )
        margin = 0.08 * (high - low) or 1.0
        curve.set_ylim(low - margin, high + margin)
        curve.set_ylabel(
            f"{subject.noun} of “{_short(subject.name(subject.targets[picture]))}”", fontsize=9
        )
        at = f"baseline {baseline}, α = {nodes[step]:.3g}"
        risen = (
            f"{subject.noun} {logits[step]:.3f} = the baseline's + "
            f"{logits[step] - logits[0]:.3f}; sum so far {sums[step]:.3f}"
        )
        scale = shown(show, percentile, overlay, "the whole path's")
        status = f"{subject.about(picture)} · {at} · {risen} · {scale}"
        return row.figure, status, {"map": so_far_here[0], "pixels": subject[picture][0][0]}

    return Panel(
        draw,
        strip=strip or {"alpha": (0.0, 0.25, 0.5, 0.75, 1.0)},
        alt="each frame shows a point of the path, the gradient there, the sum so far, and the "
        f"{subject.noun} along the path",
        picture=subject.control(),
        baseline=widgets.Dropdown(options=_baselines(), value=baseline, description="baseline"),
        alpha=widgets.FloatSlider(
            0.5, min=0, max=1, step=1 / (n_steps - 1), readout_format=".3f", description="α"
        ),
        **display_controls(),
    )


def _samples(subject, n):
    """(picture, noise and other settings) → the n gradients of ``smoothgrad``, (n, 1, C, H, W),
    remembered."""

    @lru_cache(maxsize=REMEMBERED)
    def of(picture, noise, distribution="normal", match="std", clip=False):
        one, aim = subject[picture]
        kept = smoothgrad(
            subject.model,
            one,
            aim,
            n_samples=n if noise else 1,
            noise=noise,
            distribution=distribution,
            match=match,
            clip=clip,
            aggregate=_Kept(),
        )
        return kept.expand(n, *one.shape)  # without noise all are the same

    return of


class _Kept:
    """An accumulator that keeps every gradient: (n, N, C, H, W)."""

    def __init__(self):
        self.gradients = []

    def update(self, gradient):
        self.gradients.append(gradient)

    def result(self):
        return torch.stack(self.gradients)


def _combined(gradients, aggregate, n):
    """The first n of the gradients (most, 1, C, H, W), combined."""
    accumulator = make_accumulator(aggregate, n)
    for gradient in gradients[:n]:
        accumulator.update(gradient)
    return accumulator.result()


def _asked(using, model, pixels, target, *more):
    """What a function of the reader's own returns, detached; an error unless it is a map of the
    picture. It gets copies, which it may change."""
    copies = [one.clone() if isinstance(one, torch.Tensor) else one for one in more]
    found = using(model, pixels.clone(), target.clone(), *copies)
    if not isinstance(found, torch.Tensor):
        raise TypeError(f"{_name(using)} must return a tensor, found {type(found).__name__}")
    if found.shape != pixels.shape:
        raise ValueError(
            f"{_name(using)} must return a map of shape {tuple(pixels.shape)}, found "
            f"{tuple(found.shape)}"
        )
    return found.detach()


def _name(using):
    name = getattr(using, "__name__", "<")
    return "your function" if name.startswith("<") else name


def _noise_slider():
    return widgets.FloatSlider(
        0.15, min=0, max=0.5, step=0.01, readout_format=".0%", description="noise"
    )


def _samples_slider(most):
    return widgets.IntSlider(most, min=1, max=most, description="samples")


def _baselines(references=None):
    return [name for name in BASELINES if name != "samples" or references is not None]


def _short(name):
    return name if len(name) <= 20 else f"{name[:19]}…"
