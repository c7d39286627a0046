"""The measurements of the Integrated Gradients notebooks; see ``studies``, and ``scoring`` for the
common measures."""

from functools import partial

from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import (
    integrated_gradients,
    make_baseline,
    path_gradient,
)
from helpers.attribution.relatives import applicable, grad_cam, gradient_x_input, guided_backprop
from helpers.attribution.smoothgrad import smoothgrad
from helpers.benchmark.images import COLOURS, load_images, repainted
from helpers.evaluate import logits_of, one_class, probabilities
from helpers.measures.controls import (
    blurred_random_map,
    cascade,
    distance_from_mean,
    oracle,
    random_map,
    random_network,
    sobel,
)
from helpers.measures.faithfulness import (
    deletion,
    infidelity,
    insertion,
    max_sensitivity,
)
from helpers.measures.quality import rank_correlation, ssim
from helpers.measures.scoring import score

STEPS = 16  # gradients a map where a number can be chosen ("samples": 3 from each of 10 references)
FILLS = ("mean", "blur", "noise")
FRACTIONS = tuple(i / 10 for i in range(11))
# baselines that are one point a picture
POINTS = (
    "black",
    "white",
    "mean",
    "blur",
    "noise",
    "farthest",
    "adversarial",
)
N_REFERENCES = 10


def baselines(model, images, target, seeds, *, n_steps=STEPS):
    """Integrated Gradients from every baseline; (setting "NAME, gradient") its gradient part alone,
    and (setting "NAME, factor") its factor (x − x′) alone, which knows nothing of the network.
    "samples" has 10 references of the tuning split.

    Own measures, of the first kind: "rise", f(x) − f(x′); "gap", the size of the completeness gap,
        as a share of the rise;
    "start", the logit of ``target`` at the baseline, and "entropy", of the softmax there, in bits.
    """
    found = {}
    for name in POINTS:
        origin = make_baseline(name, model, images.pixels, target, seed=seeds)
        gradient = path_gradient(model, images.pixels, target, baseline=origin, n_steps=n_steps)
        maps = (images.pixels - origin) * gradient
        there = logits_of(model, origin)
        found[name] = score(model, images, target, maps, fills=FILLS) | _ends(
            model, images, target, maps, there
        )
        for part, values in (("gradient", gradient), ("factor", images.pixels - origin)):
            found[f"{name}, {part}"] = score(model, images, target, values, fills=())
    references = _references(images)
    maps = integrated_gradients(
        model,
        images.pixels,
        target,
        baseline="samples",
        references=references,
        n_steps=max(1, n_steps // 5),
    )
    there = logits_of(model, references)
    found["samples"] = score(model, images, target, maps, fills=FILLS) | _ends(
        model, images, target, maps, there[None].expand(len(maps), *there.shape)
    )
    return found


def blindness(model, images, target, seeds, *, n_steps=STEPS):
    """The part that the network reads, repainted: each baseline × colour (setting "BASELINE
    baseline, COLOUR part").

    Own measure: "right", whether the network still names the part. Test scenes only; the rest of
        the picture stays as it is.
    """
    found = {}
    for colour, rgb in COLOURS.items():
        painted = repainted(images, model.part, rgb)
        right = (logits_of(model, painted.pixels).argmax(1) == target).float()
        for baseline in ("black", "white", "mean", "farthest"):
            maps = integrated_gradients(
                model, painted.pixels, target, baseline=baseline, n_steps=n_steps
            )
            measures = score(model, painted, target, maps, fills=())
            found[f"{baseline} baseline, {colour} part"] = measures | {"right": right}
    return found


def methods(n_samples=STEPS):
    """name → attribution: the methods that are judged against each other. Those that average take
    the given number of gradients ("IG, samples" a fifth of it from each of its references); noise
    is 0.05 where the studies before found relevance mass highest, and the paper's 0.15."""
    return {
        "gradient": saliency,
        "gradient × input": gradient_x_input,
        "guided backprop": guided_backprop,
        "Grad-CAM": grad_cam,
        "SmoothGrad, σ = 0.05": partial(smoothgrad, noise=0.05, n_samples=n_samples),
        "SmoothGrad, σ = 0.15": partial(smoothgrad, noise=0.15, n_samples=n_samples),
        "VarGrad": partial(smoothgrad, noise=0.15, n_samples=n_samples, aggregate="variance"),
        "IG, black": partial(integrated_gradients, baseline="black", n_steps=n_samples),
        "IG, mean": partial(integrated_gradients, baseline="mean", n_steps=n_samples),
        "IG, blur": partial(integrated_gradients, baseline="blur", n_steps=n_samples),
        "IG, samples": partial(
            integrated_gradients, baseline="samples", n_steps=max(1, n_samples // 5)
        ),
    }


def _called(name, attribution, images, seeds):
    """The attribution with what depends on the pictures: noise seeds of their own, references of
    their kind."""
    if name.startswith(("SmoothGrad", "VarGrad")):
        return partial(attribution, seed=seeds)
    return (
        partial(attribution, references=_references(images))
        if name == "IG, samples"
        else attribution
    )


def quality(model, images, target, seeds, *, n_samples=STEPS):
    """Methods and controls, by what they put where and by hiding pixels, with three fills."""
    attributions = {
        name: _called(name, call, images, seeds) for name, call in methods(n_samples).items()
    }
    attributions |= {
        "random": random_map,
        "blurred random": blurred_random_map,
        "Sobel": sobel,
        "|x − mean|": distance_from_mean,
        "random network, gradient": random_network(saliency),
        "random network, IG": random_network(partial(integrated_gradients, n_steps=n_samples)),
    }
    mask = images.masks.get(getattr(model, "part", None))
    if mask is not None:
        attributions["oracle"] = oracle(mask)
    return {
        name: score(model, images, target, maps, fills=FILLS)
        for name, maps in applicable(attributions, model, images.pixels, target)
    }


def faithfulness(model, images, target, seeds, *, n_samples=STEPS):
    """The measures that ask the network more often: "deletion" and "insertion" with each fill,
    "infidelity" (normalised) and "max-sensitivity" (radius 0.02, 4 draws); and the primary measure,
    "mass", beside them."""
    found = {}
    base = {
        "IG, black": "black",
        "IG, mean": "mean",
        "IG, blur": "blur",
        "gradient × input": "black",
    }
    controls = {"random": random_map, "Sobel": sobel}
    attributions = {
        name: _called(name, call, images, seeds)
        for name, call in (methods(n_samples) | controls).items()
    }
    for name, maps in applicable(attributions, model, images.pixels, target):
        measures = {}
        for fill in FILLS:
            curve = dict(fractions=FRACTIONS, fill=fill, target=target)
            measures[f"deletion, {fill}"] = deletion(model, images.pixels, maps, **curve)
            measures[f"insertion, {fill}"] = insertion(model, images.pixels, maps, **curve)
        measures["infidelity"] = infidelity(
            model, images.pixels, maps, target, n_samples=25, baseline=base.get(name), seed=seeds
        )
        if name not in controls:
            measures["max-sensitivity"] = max_sensitivity(
                model,
                images.pixels,
                target,
                attribution=attributions[name],
                n_samples=4,
                seed=seeds,
            )
        found[name] = measures | {
            key: row
            for key, row in score(model, images, target, maps, fills=()).items()
            if key == "mass"
        }
    return found


def randomisation(model, images, target, seeds, *, n_samples=15):
    """The map of a network that forgets its layers from the top, against the map of the trained one
    (setting "METHOD, k layers", k of 6): "rank signed", "rank unsigned" and "ssim"; 0 where one of
    the two is constant, as Grad-CAM's may be."""
    found = {}
    names = ("gradient", "guided backprop", "SmoothGrad, σ = 0.15", "IG, black", "Grad-CAM")
    chosen = {
        name: _called(name, call, images, seeds)
        for name, call in methods(n_samples).items()
        if name in names
    }
    trained = dict(applicable(chosen, model, images.pixels, target))
    for k, (_, forgot) in enumerate(cascade(model, layers=_blocks(model)), start=1):
        for name in trained:
            maps = chosen[name](forgot, images.pixels, target)
            found[f"{name}, {k} layers"] = {
                "rank signed": rank_correlation(maps, trained[name], "signed").nan_to_num(),
                "rank unsigned": rank_correlation(maps, trained[name], "unsigned").nan_to_num(),
                "ssim": ssim(maps, trained[name]).nan_to_num(),
            }
    return found


def _blocks(model):
    """The linear layer and the blocks of convolution and normalisation, from the top."""
    return [
        f"network.{name}"
        for name, module in reversed(list(model.network.named_children()))
        if any(True for _ in module.parameters())
    ]


def _ends(model, images, target, maps, there):
    """What the baseline itself says. there: its logits (N, K), or (N, R, K) of several."""
    logits = there if there.ndim == 2 else there.mean(1)
    rise = one_class(logits_of(model, images.pixels), target) - one_class(logits, target)
    p = probabilities(there)
    entropy = -(p * p.clamp_min(1e-12).log2()).sum(-1)
    gap = (maps.flatten(1).sum(1) - rise).abs() / rise.abs().clamp_min(0.01)
    return {
        "rise": rise,
        "gap": gap,
        "start": one_class(logits, target),
        "entropy": entropy.reshape(len(maps), -1).mean(1),
    }


def _references(images):
    """10 scenes that are not among those explained; of pictures without masks, those themselves,
    for want of others."""
    if images.masks:
        source = "scenes-shortcut" if "patch" in images.masks else "scenes"
        return load_images(source, N_REFERENCES, split="tune").pixels.to(images.pixels)
    return images.pixels.roll(1, 0)[:N_REFERENCES]


# name -> (function, number of pictures, split)
STUDIES = {
    "baselines": (baselines, 300, "test"),
    "blindness": (blindness, 60, "test"),
    "quality": (quality, 300, "test"),
    "faithfulness": (faithfulness, 40, "test"),
    "randomisation": (randomisation, 40, "test"),
}
