"""A check names the mistake that a student's function looks like, as grading does: one judge."""

import pytest
import torch
from solutions import right

from helpers import load_model, saliency
from helpers.course import lesson
from helpers.course.grading.score import TASKS
from helpers.course.lesson import PUBLIC, check, examine, task

# (task, a wrong answer, which may call the right ones, and words that its check says)
GRADIENT = "def my_gradient(model, pixels, target):\n    x = pixels.clone().requires_grad_()\n    "
SMOOTHGRAD = "def my_smoothgrad(model, pixels, target, fields, noise):\n    "
EACH = "each = [my_gradient(model, pixels + noise * f, target) for f in fields]\n    "
RENAMED = "sum(my_gradient(model, p, model(p).argmax(1)) for p in points)"
STUDY = """
def my_noise_study(model, pixels, target, strengths, fields):
    copies = [[pixels + s * f for f in fields] for s in strengths]
    return torch.stack([%s])
"""
COUNTS = """
def my_counts(model, pixels, target, counts, fields, noise):
    total, maps = torch.zeros_like(pixels), {}
    for n, field in enumerate(fields[: max(counts)], %d):
        total += my_gradient(model, pixels + noise * field, target)
        if n in counts:
            maps[n] = %s
    return %s
"""
PASSES = """
def my_counts(model, pixels, target, counts, fields, noise):
    return {n: my_smoothgrad(model, pixels, target, %s, noise) for n in counts}
"""
INTEGRATED = "def my_integrated_gradients(model, pixels, target, baseline, n_steps):\n    "
PATH = (
    "points = [baseline + (i + %s) / n_steps * (pixels - baseline) for i in range(n_steps)]\n    "
    "mean = sum(my_gradient(model, p, target) for p in points) / n_steps\n    return %s"
)
BASELINE = "def my_baseline(name, pixels, generator):\n    "
EXPECTED = "def my_expected_gradients(model, pixels, target, references, n_steps):\n    "
FROM_EACH = (
    "each = [my_integrated_gradients(model, pixels, target, r.expand_as(pixels), n_steps)"
    " for r in references]\n    return "
)
NODES = "def my_nodes(rule, n):\n    i = np.arange(n)\n    return "
STEPS = "def my_steps(model, pixels, target, baseline, steps):\n    "
NOISE = """
right_noise = my_noise
def my_noise(distribution, shape, generator):
    if distribution != "%s":
        return right_noise(distribution, shape, generator)
    return """
AGGREGATE = """
right_aggregate = my_aggregate
def my_aggregate(gradients, how):
    if how != "%s":
        return right_aggregate(gradients, how)
    return """
KEPT = """
def my_retained_accuracy(model, pixels, maps, target, fractions, fill):
    size = %s
    order = size.flatten(1).argsort(1).argsort(1).reshape(len(pixels), 1, *pixels.shape[2:])
    shares = []
    for fraction in fractions:
        hidden = order < round(fraction * pixels[0, 0].numel())
        with torch.no_grad():
            answer = model(torch.where(hidden, %s, pixels)).argmax(1)
        shares.append((answer == %s).float().mean())
    return torch.stack(shares)
"""
SIZE, SAID = "maps.abs().sum(1)", "model(pixels).argmax(1)"
QUALITY = "def my_steps_quality(model, pixels, target, baseline, steps, fractions, fill):\n    "
OF_MAPS = "maps = [my_integrated_gradients(model, pixels, target, %s, n) for n in steps]\n    "
EACH_KEPT = (
    "kept = torch.stack([my_retained_accuracy(model, pixels, m, target, fractions, %s) "
    "for m in maps])\n    return kept%s"
)
RANKS = """
def my_rank_correlation(first, second):
    found = []
    for x, y in zip(%s, strict=True):
        found.append(np.corrcoef(%s(x), %s(y))[0, 1])
    return np.array(found)
"""
SIZES = "*[each.abs().sum(1).flatten(1).numpy() for each in (first, second)]"
TOGETHER = """
def my_rank_correlation(first, second):
    from scipy.stats import rankdata
    ranks = [rankdata(m.abs().sum(1)).reshape(len(m), -1) for m in (first, second)]
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(*ranks, strict=True)])
"""
IN_ORDER = "(lambda v: v.argsort(kind='stable').argsort())"
READING = """
right_reading = my_reading
def my_reading(maps, how):
    if how != "%s":
        return right_reading(maps, how)
    return """
CAPPED = """
def my_capped(values, percentile):
    sizes = values.abs().flatten(1)
    end = sizes.quantile(percentile / 100, dim=1).clamp(min=1e-12)[:, None, None, None]
    return """
RULE = "def my_relu_rule(gradient, activation):\n    return "
SMOOTHED = "def my_smoothed(attribution, pixels, fields, noise):\n    "
OF_EACH = "each = [attribution(pixels + noise * f) for f in fields]\n    "
CLIPPED = "(pixels + noise * f).clamp(0, 1)"
CAM = """
def my_cam(maps, weights, size):
    coarse = (%s[:, :, None, None] * maps).%s(1, keepdim=True)%s
    return torch.nn.functional.interpolate(coarse, size, %s)%s
"""
GRAD_CAM = """
def my_grad_cam(maps, gradients, size):
    coarse = (%s * maps).sum(1, keepdim=True)%s
    return torch.nn.functional.interpolate(coarse, size, %s)%s
"""
BILINEAR, AVERAGED = "mode='bilinear'", "gradients.mean((2, 3), keepdim=True)"
VARIATION = "def my_total_variation(pixels):\n    "
ASCENT = """
def my_ascent(model, start, target, n_steps, step_size, low=0.0, high=1.0):
    moved = start
    for i in range(n_steps):
        moved = moved.detach().requires_grad_()
        if %s:
            score = %s.gather(1, target[:, None]).sum()
            (slope,) = torch.autograd.grad(score, moved)
        size = %s
        moved = %s
    return moved%s
"""
LOGITS, ROOT = "model(moved)", "slope.square().mean((1, 2, 3), keepdim=True).sqrt()"
STEP = "(moved.detach() + step_size * slope / size)"
CLAMP = ".clamp(low, high)"
PLANTED = [
    ("my_retained_accuracy", KEPT % (f"-{SIZE}", "fill", "target"), "highest-ranked pixels"),
    ("my_retained_accuracy", KEPT % ("maps.sum(1)", "fill", "target"), "signed sum over channels"),
    ("my_retained_accuracy", KEPT % (SIZE, "torch.zeros_like(fill)", "target"), "pixels black"),
    ("my_retained_accuracy", KEPT % ("maps.sum(1).abs()", "fill", "target"),
     "by the size of the sum"),
    ("my_retained_accuracy", (KEPT % ("maps.abs()", "fill", "target")).replace(
        "len(pixels), 1, *pixels.shape[2:]", "pixels.shape").replace("pixels[0, 0]", "pixels[0]"),
     "channel by channel"),
    ("my_retained_accuracy", (KEPT % (SIZE, "fill", "target")).replace(
        "round(fraction", "round((1 - fraction)"), "the share that is kept, not hidden"),
    ("my_retained_accuracy", KEPT % (SIZE, "fill", SAID), "what the network says of the whole"),
    ("my_steps_quality", QUALITY + OF_MAPS % "baseline" + EACH_KEPT % ("fill", ".sum(1)"),
     "the sum over the fractions"),
    ("my_steps_quality", QUALITY + "steps = sorted(steps)\n    " + OF_MAPS % "baseline"
     + EACH_KEPT % ("fill", ".mean(1)"), "in another order than asked for"),
    ("my_steps_quality", QUALITY + OF_MAPS % "torch.zeros_like(pixels)"
     + EACH_KEPT % ("fill", ".mean(1)"), "with maps from black"),
    ("my_steps_quality", QUALITY + OF_MAPS % "fill" + EACH_KEPT % ("fill", ".mean(1)"),
     "the fill as the baseline"),
    ("my_steps_quality", QUALITY + OF_MAPS % "baseline" + EACH_KEPT % ("baseline", ".mean(1)"),
     "hidden with the baseline"),
    ("my_rank_correlation", RANKS % (SIZES, "", ""), "of the values, not of their ranks"),
    ("my_rank_correlation", RANKS % (SIZES, IN_ORDER, IN_ORDER), "ties in the order they came"),
    ("my_rank_correlation", RANKS % (SIZES.replace(".abs()", ""), IN_ORDER, IN_ORDER),
     "of the signed sums over channels"),
    ("my_rank_correlation", RANKS % (SIZES.replace(".sum(1)", ""), IN_ORDER, IN_ORDER),
     "without the sum over channels"),
    ("my_rank_correlation", RANKS % (SIZES.replace("abs().sum(1)", "sum(1).abs()"), IN_ORDER,
     IN_ORDER), "of the sizes of the sums"),
    ("my_rank_correlation", RANKS % (SIZES, "np.argsort", "np.argsort"), "sort once more"),
    ("my_rank_correlation", TOGETHER, "over all pictures together"),
    ("my_gradient", f"{GRADIENT}logits = model(x).gather(1, target[:, None])\n    "
     "return torch.autograd.grad(logits.mean(), x)[0]", "divided by the number of pictures"),
    ("my_gradient", f"{GRADIENT}return torch.autograd.grad(model(x).sum(), x)[0]",
     "of all logits, not of the target's"),
    ("my_gradient", f"{GRADIENT}return torch.autograd.grad(model(x).amax(1).sum(), x)[0]",
     "of the predicted class"),
    ("my_gradient", f"{GRADIENT}logits = model(x).softmax(1).gather(1, target[:, None])\n    "
     "return torch.autograd.grad(logits.sum(), x)[0]", "probability, not of its logit"),
    ("my_gradient", f"{GRADIENT}return torch.autograd.grad(model(x)[:, target].sum(), x)[0]",
     "every target's logit of every picture"),
    ("my_gradient", f"{GRADIENT}return torch.autograd.grad(model(x).gather(1, target[:, None]), "
     "x)[0]", "add the logits up"),
    ("my_gradient", "def my_gradient(model, pixels, target):\n    pixels.requires_grad_()\n    "
     "model(pixels).gather(1, target[:, None]).sum().backward()\n    return pixels.grad",
     "left a gradient in a tensor"),
    ("my_smoothgrad", f"{SMOOTHGRAD}{EACH}return sum(each)", "the sum over the fields"),
    ("my_smoothgrad", f"{SMOOTHGRAD}points = [pixels + noise * f for f in fields]\n    "
     f"return {RENAMED} / len(points)", "predicted for each noisy copy"),
    ("my_smoothgrad", f"{SMOOTHGRAD}points = [(pixels + noise * f).clamp(0, 1) for f in fields]\n"
     "    return sum(my_gradient(model, p, target) for p in points) / len(points)",
     "clipped to [0, 1]"),
    ("my_smoothgrad", f"{SMOOTHGRAD}points = [pixels + noise * torch.randn_like(f) for f in fields]"
     "\n    return sum(my_gradient(model, p, target) for p in points) / len(points)",
     "use the noise of `fields`"),
    ("my_smoothgrad", f"{SMOOTHGRAD}copies = [x + noise * f for x, f in zip(pixels, fields)]\n    "
     "return my_gradient(model, torch.stack(copies), target)", "a field of its own"),
    ("my_smoothgrad", f"{SMOOTHGRAD}total = torch.zeros_like(pixels)\n    for f in fields:\n"
     "        pixels += noise * f\n        total += my_gradient(model, pixels, target)\n    "
     "return total / len(fields)", "each copy has the noise of those before it too"),
    ("my_noise_study", STUDY % f"{RENAMED} / len(points) for points in copies",
     "predicted for each noisy copy"),
    ("my_noise_study", STUDY % "sum(my_gradient(model, p.clamp(0, 1), target) for p in points) / "
     "len(points) for points in copies", "clipped to [0, 1]"),
    ("my_noise_study", STUDY % "sum(my_gradient(model, p, target) for p in points) "
     "for points in copies", "the sums over the fields"),
    ("my_noise_study", STUDY % "sum(my_gradient(model, pixels + s * torch.randn_like(f), target) "
     "for f in fields) / len(fields) for s in strengths", "use the noise of `fields`"),
    ("my_noise_study", STUDY.replace("torch.stack", "list") % "pixels for s in strengths",
     "torch.stack(…) makes one of a list"),
    ("my_noise_study", STUDY % "my_smoothgrad(model, pixels, target, fields, s) for s in strengths",
     "gradients of a picture"),
    ("my_smoothgrad", f"{SMOOTHGRAD}{EACH}return sum(g.abs() for g in each) / len(each)",
     "the mean of the absolute gradients"),
    ("my_smoothgrad", f"{SMOOTHGRAD}{EACH.replace('noise * f', 'f')}return sum(each) / len(each)",
     "noise of standard deviation 1"),
    ("my_smoothgrad", f"{SMOOTHGRAD}return my_gradient(model, pixels + noise * fields.mean(0), "
     "target)", "the gradient at the mean of the noisy copies"),
    ("my_counts", COUNTS % (1, "total.clone()", "maps"), "the sum over the fields, not the mean"),
    ("my_counts", COUNTS % (1, "total / max(counts)", "maps"), "divided by the largest count"),
    ("my_counts", COUNTS % (1, "total", "{n: m / n for n, m in maps.items()}"),
     "`+=` changed the tensor after it was stored"),
    ("my_counts", COUNTS % (0, "total / n", "maps"),
     "a field too many"),
    ("my_counts", PASSES % "fields", "the mean over all fields"),
    ("my_counts", PASSES % "fields[-n:]", "the mean over the last n fields"),
    ("my_counts", PASSES % "fields[:n]", "a pass of its own for each count"),
    ("my_integrated_gradients", INTEGRATED + PATH % ("0.5", "mean"), "without the factor (x − x′)"),
    ("my_integrated_gradients", INTEGRATED + PATH % ("0", "(pixels - baseline) * mean"),
     "the left rule"),
    ("my_integrated_gradients", INTEGRATED + PATH % ("0.5", "pixels * mean"),
     "the factor x instead of (x − x′)"),
    ("my_integrated_gradients", INTEGRATED + PATH.replace("baseline + ", "").replace(
        "(pixels - baseline) for", "pixels for") % ("0.5", "pixels * mean"),
     "a path from black, not from the baseline"),
    ("my_integrated_gradients", INTEGRATED + PATH.replace("p, target)", "p, model(p).argmax(1))")
     % ("0.5", "(pixels - baseline) * mean"), "of the class that the network says at each point"),
    ("my_integrated_gradients", INTEGRATED + "n_steps += 1\n    "
     + PATH % ("0.5", "(pixels - baseline) * mean"), "9 gradients for each picture, where 8"),
    ("my_baseline", f"{BASELINE}return pixels.mean((1, 2, 3), keepdim=True).expand_as(pixels)",
     "the mean of all channels together"),
    ("my_baseline", f"{BASELINE}return pixels.mean((0, 2, 3), keepdim=True).expand_as(pixels)",
     "the mean of all pictures"),
    ("my_baseline", f"{BASELINE}return (pixels > 0.5).float()", "the nearest end of the range"),
    ("my_baseline", f"{BASELINE}return 1 - pixels", "the negative, 1 − x"),
    ("my_baseline", f"{BASELINE}return (pixels.mean(1, keepdim=True) < 0.5).float()"
     ".expand_as(pixels)", "one end for all channels of a pixel"),
    ("my_baseline", f"{BASELINE}noise = generator.standard_normal(tuple(pixels.shape))\n    "
     "return torch.from_numpy(noise).float()", "not uniform in [0, 1]"),
    ("my_baseline", f"{BASELINE}noise = generator.random(tuple(pixels.shape[1:]))\n    "
     "return torch.from_numpy(noise).float().expand_as(pixels)", "all pictures share a field"),
    ("my_baseline", f"{BASELINE}return torch.rand_like(pixels)", "do not come from the generator"),
    ("my_expected_gradients", f"{EXPECTED}mean = references.mean(0).expand_as(pixels)\n    "
     "return my_integrated_gradients(model, pixels, target, mean, n_steps)",
     "one path from the mean of the references"),
    ("my_expected_gradients", f"{EXPECTED}{FROM_EACH}sum(each)", "the sum over references"),
    ("my_expected_gradients", f"{EXPECTED}{FROM_EACH}each[0]", "of the first reference only"),
    ("my_expected_gradients", f"{EXPECTED}"
     "return my_integrated_gradients(model, pixels, target, references[: len(pixels)], n_steps)",
     "one reference for each picture"),
    ("my_expected_gradients", f"{EXPECTED}paths = [r + (i + 0.5) / n_steps * (pixels - r) "
     "for r in references for i in range(n_steps)]\n    "
     "mean = sum(my_gradient(model, p, target) for p in paths) / len(paths)\n    "
     "return (pixels - references.mean(0)) * mean", "the factor of the references' mean"),
    ("my_nodes", f"{NODES}i / n, np.full(n, 1 / n)", "this is the left rule"),
    ("my_nodes", f"{NODES}i / (n - 1), np.full(n, 1 / n)", "both ends counted fully"),
    ("my_nodes", f"{NODES}i / (n - 1), np.where((i == 0) | (i == n - 1), 0.5, 1) / n",
     "which sum to (n − 1)/n"),
    ("my_nodes", f"{NODES}np.linspace(0, 1, n + 1), np.full(n + 1, 1 / n)",
     "the number of points, not of the sections"),
    ("my_nodes", f"{NODES}np.polynomial.legendre.leggauss(n)", "for [−1, 1], not moved"),
    ("my_nodes", f"{NODES}(i + 0.5) / n, np.ones(n)", "without the division by n"),
    ("my_steps", f"{STEPS}maps = {{}}\n    for n in steps:\n        maps[n] = "
     "my_integrated_gradients(model, pixels, target, baseline, n)\n    return maps",
     "the midpoint rule"),
    ("my_steps", f"{STEPS}black = torch.zeros_like(pixels)\n    "
     "return right_steps(model, pixels, target, black, steps)", "a path from black"),
    ("my_steps", f"{STEPS}maps = right_steps(model, pixels, target, baseline, steps)\n    "
     "return {n: m / (pixels - baseline) for n, m in maps.items()}", "without the factor (x − x′)"),
    ("my_steps", f"{STEPS}return {{n: right_steps(model, pixels, target, baseline, [n])[n] "
     "for n in steps}", "17 gradients for each picture, where 9 are needed: a pass of its own"),
    ("my_noise", f"{NOISE % 'uniform'}generator.uniform(-1, 1, shape)", "deviation is 1/√3"),
    ("my_noise", f"{NOISE % 'uniform'}generator.random(shape)", "whose mean is ½"),
    ("my_noise", f"{NOISE % 'uniform'}generator.uniform(0, 12**0.5, shape)", "whose mean is √3"),
    ("my_noise", f"{NOISE % 'laplace'}generator.laplace(size=shape)", "deviation is √2"),
    ("my_noise", f"{NOISE % 'laplace'}2**0.5 * generator.laplace(size=shape)", "1/√2 of it"),
    ("my_noise", f"{NOISE % 'laplace'}generator.standard_normal(shape)", "this is normal noise"),
    ("my_noise", f"{NOISE % 'rademacher'}generator.integers(0, 2, shape)", "this is 0 or 1"),
    ("my_noise", f"{NOISE % 'normal'}np.random.standard_normal(shape)", "do not come from it"),
    ("my_aggregate", f"{AGGREGATE % 'mean_abs'}gradients.mean(0).abs()", "value of the mean"),
    ("my_aggregate", f"{AGGREGATE % 'mean_square'}gradients.mean(0) ** 2", "square of the mean"),
    ("my_aggregate", f"{AGGREGATE % 'variance'}gradients.var(0, correction=0)", "divided by n"),
    ("my_aggregate", f"{AGGREGATE % 'median'}gradients.median(0).values", "lower of the middle"),
    ("my_aggregate", f"{AGGREGATE % 'trimmed_mean'}gradients.sort(0).values[1:-1].mean(0)",
     "5 % trimmed off each end"),
    ("my_aggregate", f"{AGGREGATE % 'trimmed_mean'}(lambda k: gradients.sort(0).values["
     "k : len(gradients) - k].mean(0))(round(len(gradients) / 10))", "rounded to the nearest"),
    ("my_aggregate", f"{AGGREGATE % 'trimmed_mean'}(lambda k: gradients.sort(0).values["
     "k:-k].mean(0))(len(gradients) // 10)", "values[k:-k] is empty"),
    ("my_aggregate", f"{AGGREGATE % 'mean_abs'}gradients.abs_().mean(0)",
     "changed a tensor that it was given"),
    ("my_aggregate", f"{AGGREGATE % 'geometric_mean'}gradients.log().mean(0).exp()",
     "logarithm of negative gradients"),
    ("my_aggregate", f"{AGGREGATE % 'geometric_mean'}gradients.abs().log().mean(0).exp()",
     "without the absolute value's ε"),
    ("my_reading", f"{READING % 'signed'}maps.mean(1, keepdim=True)", "the mean over channels"),
    ("my_reading", f"{READING % 'positive'}maps.clamp(min=0).sum(1, keepdim=True)",
     "add up the channels first"),
    ("my_reading", f"{READING % 'positive'}maps.sum(1, keepdim=True)",
     "what is negative must become 0"),
    ("my_reading", f"{READING % 'absolute'}maps.sum(1, keepdim=True).abs()",
     "take the sizes first"),
    ("my_reading", f"{READING % 'absolute'}maps.abs().mean(1, keepdim=True)",
     "the mean of the sizes"),
    ("my_reading", f"{READING % 'absolute'}maps.abs().amax(1, keepdim=True)",
     "the largest size of a channel"),
    ("my_capped", f"{CAPPED}(values / values.flatten(1).quantile(percentile / 100, dim=1)"
     ".clamp(min=1e-12)[:, None, None, None]).clamp(-1, 1)", "percentile of the signed values"),
    ("my_capped", f"{CAPPED}(values / sizes.quantile(percentile / 100).clamp(min=1e-12))"
     ".clamp(-1, 1)", "each has its own"),
    ("my_capped", f"{CAPPED}torch.where(values.abs() > end, 0 * values, values / end)",
     "with the outliers set to 0"),
    ("my_capped", f"{CAPPED}values / end", "not clamped"),
    ("my_capped", f"{CAPPED}torch.maximum(torch.minimum(values, end), -end)",
     "not divided by the percentile"),
    ("my_capped", f"{CAPPED}values / values.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)",
     "divided by the largest value"),
    ("my_relu_rule", f"{RULE}gradient * (activation > 0)", "the gradient's own rule"),
    ("my_relu_rule", f"{RULE}gradient.clamp(min=0)", "the deconvnet's rule"),
    ("my_relu_rule", f"{RULE}gradient.clamp(min=0) * (activation >= 0)", "the deconvnet's rule"),
    ("my_relu_rule", f"{RULE}gradient.clamp(min=0) * activation", "the activation multiplied in"),
    ("my_relu_rule", f"{RULE}gradient * activation", "gradient × activation"),
    ("my_relu_rule", f"{RULE}gradient.abs() * (activation > 0)", "not change its sign"),
    ("my_relu_rule", f"{RULE}gradient.clamp(max=0) * (activation > 0)", "the negative part"),
    ("my_relu_rule", f"{RULE}((gradient > 0) & (activation > 0)).float()", "(0 or 1), not what"),
    ("my_relu_rule", f"{RULE}torch.where(gradient > 0, activation, 0.0)", "the activation that"),
    ("my_relu_rule", f"{RULE}gradient", "the gradient as it came"),
    ("my_smoothed", f"{SMOOTHED}{OF_EACH}return sum(each)", "the sum over the fields"),
    ("my_smoothed", f"{SMOOTHED}{OF_EACH}return sum(a.abs() for a in each) / len(each)",
     "the mean of the absolute values"),
    ("my_smoothed", f"{SMOOTHED}return attribution(pixels)", "the attribution without noise"),
    ("my_smoothed", f"{SMOOTHED}{OF_EACH}return each[-1]", "of one noisy copy alone"),
    ("my_smoothed", f"{SMOOTHED}return attribution(pixels + noise * fields.mean(0))",
     "of the mean of the noisy copies"),
    ("my_smoothed", f"{SMOOTHED}{OF_EACH.replace('noise * f', 'f')}return sum(each) / len(each)",
     "noise of standard deviation 1"),
    ("my_smoothed", f"{SMOOTHED}{OF_EACH.replace('pixels + noise * f', CLIPPED)}"
     "return sum(each) / len(each)", "clipped to [0, 1]"),
    ("my_cam", CAM % ("weights", "sum", ".relu()", BILINEAR, ""), "CAM keeps its sign"),
    ("my_cam", CAM % ("weights", "sum", "", BILINEAR, ".relu()"), "CAM keeps its sign"),
    ("my_cam", CAM % ("weights", "mean", "", BILINEAR, ""), "the mean over channels"),
    ("my_cam", CAM % ("torch.ones_like(weights)", "sum", "", BILINEAR, ""), "without the weights"),
    ("my_cam", CAM % ("weights.abs()", "sum", "", BILINEAR, ""), "without their signs"),
    ("my_cam", CAM % ("weights.softmax(1)", "sum", "", BILINEAR, ""), "with softmaxed weights"),
    ("my_cam", CAM % ("weights[:1]", "sum", "", BILINEAR, ""), "of the first picture for all"),
    ("my_cam", CAM % ("weights", "sum", "", BILINEAR + ", align_corners=True", ""),
     "align_corners=True"),
    ("my_cam", CAM % ("weights", "sum", "", "mode='nearest'", ""), "by the nearest place"),
    ("my_cam", CAM % ("weights", "sum", "", "mode='bicubic'", ""), "enlarged bicubically"),
    ("my_cam", CAM % ("weights", "sum", " / maps[0, 0].numel()", BILINEAR, ""),
     "divided by the number of places"),
    ("my_grad_cam", GRAD_CAM % (AVERAGED, "", BILINEAR, ""), "without the ReLU"),
    ("my_grad_cam", GRAD_CAM % (AVERAGED, "", BILINEAR, ".relu()"), "ReLU after enlarging"),
    ("my_grad_cam", GRAD_CAM % (AVERAGED, ".abs()", BILINEAR, ""), "with the absolute value"),
    ("my_grad_cam", GRAD_CAM % ("gradients", ".relu()", BILINEAR, ""), "not averaged over places"),
    ("my_grad_cam", GRAD_CAM % ("gradients", "", BILINEAR, ""), "place by place, without"),
    ("my_grad_cam", GRAD_CAM % (AVERAGED.replace(".mean", ".abs().mean"), ".relu()", BILINEAR, ""),
     "the mean of |gradient|"),
    ("my_grad_cam", GRAD_CAM % (AVERAGED.replace(".mean", ".relu().mean"), ".relu()", BILINEAR, ""),
     "positive gradients alone"),
    ("my_grad_cam", GRAD_CAM % (AVERAGED.replace("mean", "sum"), ".relu()", BILINEAR, ""),
     "the sum over places"),
    ("my_grad_cam", GRAD_CAM % (AVERAGED, ".relu() / maps.shape[1]", BILINEAR, ""),
     "the mean over channels"),
    ("my_grad_cam", GRAD_CAM % (AVERAGED.replace("(2, 3)", "(0, 2, 3)"), ".relu()", BILINEAR, ""),
     "the mean over all pictures"),
    ("my_grad_cam", GRAD_CAM % (AVERAGED, ".relu()", BILINEAR + ", align_corners=True", ""),
     "align_corners=True"),
    ("my_grad_cam", GRAD_CAM % (AVERAGED, ".relu()", "mode='nearest'", ""), "by the nearest place"),
    ("my_total_variation", f"{VARIATION}return pixels.diff(dim=2).square().mean((1, 2, 3)) "
     "+ pixels.diff(dim=3).square().mean((1, 2, 3))", "the mean of squares"),
    ("my_total_variation", f"{VARIATION}return pixels.diff(dim=2).abs().sum((1, 2, 3)) "
     "+ pixels.diff(dim=3).abs().sum((1, 2, 3))", "the sum of the differences"),
    ("my_total_variation", f"{VARIATION}return pixels.diff(dim=2).abs().mean((1, 2, 3))",
     "down only"),
    ("my_total_variation", f"{VARIATION}return sum((pixels - pixels.roll(1, d)).abs()"
     ".mean((1, 2, 3)) for d in (2, 3))", "a wrap-around"),
    ("my_total_variation", f"{VARIATION}return (pixels.diff(dim=2).abs().mean() "
     "+ pixels.diff(dim=3).abs().mean()).expand(len(pixels))", "one number for all pictures"),
    ("my_ascent", ASCENT % ("True", LOGITS, ROOT, STEP.replace("+", "-") + CLAMP, ""),
     "a descent"),
    ("my_ascent", ASCENT % ("True", LOGITS, "1", STEP + CLAMP, ""), "without the division"),
    ("my_ascent", ASCENT % ("True", LOGITS, "slope.square().mean().sqrt()", STEP + CLAMP, ""),
     "one root mean square for all pictures"),
    ("my_ascent", ASCENT % ("True", LOGITS, "slope.flatten(1).norm(dim=1)[:, None, None, None]",
     STEP + CLAMP, ""), "divided by the norm"),
    ("my_ascent", ASCENT % ("True", LOGITS, ROOT, STEP, CLAMP), "clamped at the end only"),
    ("my_ascent", ASCENT % ("True", LOGITS, ROOT, STEP, ""), "never clamped"),
    ("my_ascent", ASCENT % ("True", "model(moved).softmax(1)", ROOT, STEP + CLAMP, ""),
     "of the probability"),
    ("my_ascent", ASCENT % ("i == 0", LOGITS, ROOT, STEP + CLAMP, ""), "with the first gradient"),
    ("my_ascent", ASCENT % ("True", LOGITS, ROOT, STEP + ".clamp(0, 1)", ""),
     "clamped to [0, 1], whatever low and high are"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wrong", "words"), PLANTED)
def test_a_planted_mistake_is_named(name, wrong, words):
    namespace = right()
    namespace["right_steps"] = namespace.get("my_steps")
    exec(wrong, namespace)
    found = examine(task(name), namespace[name])
    assert any(words in reason for _, _, reason in found if reason), found
    assert sum(points for points, _, reason in found if reason) > 0


@pytest.mark.parametrize("name", sorted({name for name, *_ in PLANTED}))
def test_a_right_answer_has_no_mistake(name):
    assert not [reason for *_, reason in examine(task(name), right()[name]) if reason]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 17, 4711, 99_999, 999_999, 2**31 - 1, 2027, 2028])
def test_a_right_answer_has_no_mistake_whatever_the_seed(seed):
    """A variant is fair: a student's SEED and the seed of grading are any."""
    namespace = right()
    for each in TASKS:
        found = examine(each, namespace[each.name], seed=seed)
        assert not [reason for *_, reason in found if reason], each.name


def test_a_check_asks_about_the_pictures_of_the_notebooks_seed(monkeypatch):
    asked = []
    monkeypatch.setattr(lesson, "examine", lambda *_, seed: asked.append(seed) or [])
    for seed in ("0", "7", "-1", "'x'"):
        exec(f"SEED = {seed}\ncheck('my_gradient')", {"check": check, **right()})
    exec("check('my_gradient')", {"check": check, **right()})
    assert asked == [PUBLIC, PUBLIC + 7, PUBLIC, PUBLIC, PUBLIC]


def test_a_check_hands_on_what_passes_and_stands_in_for_what_does_not(capsys):
    """Also when it is run again: it asks the student's function, not the one that stood in."""
    space = {"check": check, **right()}
    exec("my_gradient = check('my_gradient')", space)
    assert "✓ my_gradient: 3 of 3 checks pass" in capsys.readouterr().out
    assert space["my_gradient"].__name__ == "my_gradient" and not hasattr(
        space["my_gradient"], "yours"
    )

    wrong = space["my_gradient"] = lambda model, pixels, target: torch.zeros_like(pixels)
    for _ in range(2):
        exec("my_gradient = check('my_gradient')", space)
        assert "goes on with the package's my_gradient" in capsys.readouterr().out
        assert space["my_gradient"].yours is wrong
    pixels = torch.rand(1, 3, 16, 16)
    model = load_model("scenes")
    found = space["my_gradient"](model, pixels, torch.tensor([2]))
    assert torch.equal(found, saliency(model, pixels, 2))
    assert "[my_gradient: the package's, not yours]" in capsys.readouterr().out


def test_a_function_that_is_not_there_is_said_to_be_missing(capsys):
    space = {"check": check}
    exec("my_nodes = check('my_nodes')", space)
    assert "there is no function my_nodes" in capsys.readouterr().out
    assert len(space["my_nodes"]("midpoint", 4)) == 2


def test_nbgrader_sees_a_failing_check_as_an_error(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(AssertionError, match="my_nodes: 1 of 1 checks fail"):
        exec("check('my_nodes')", {"check": check})


def test_what_grading_blocks_a_check_blocks():
    found = examine(task("my_gradient"), saliency)
    assert all("graded: write out what it does" in r for _, _, r in found)


def test_what_grading_would_stop_does_not_pass_here(monkeypatch):
    monkeypatch.setattr("helpers.course.lesson.SECONDS", 0)
    found = examine(task("my_nodes"), right()["my_nodes"])
    assert all("grading stops it after 0" in reason for _, _, reason in found)
