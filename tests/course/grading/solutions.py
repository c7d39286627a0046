"""A right answer to every task, independent of the notebooks, and wrong ones."""

import numpy as np
import torch

RIGHT = """
import numpy as np
import torch


def my_gradient(model, pixels, target):
    pixels = pixels.clone().requires_grad_()
    logits = model(pixels).gather(1, target[:, None])
    return torch.autograd.grad(logits.sum(), pixels)[0]


def my_smoothgrad(model, pixels, target, fields, noise):
    total = torch.zeros_like(pixels)
    for field in fields:
        total += my_gradient(model, pixels + noise * field, target)
    return total / len(fields)


def my_noise_study(model, pixels, target, strengths, fields):
    maps = [my_smoothgrad(model, pixels, target, fields if s else fields[:1], s) for s in strengths]
    return torch.stack(maps)


def my_counts(model, pixels, target, counts, fields, noise):
    total, maps = torch.zeros_like(pixels), {}
    for n, field in enumerate(fields[: max(counts)], 1):
        total += my_gradient(model, pixels + noise * field, target)
        if n in counts:
            maps[n] = total / n
    return maps


def my_noise(distribution, shape, generator):
    if distribution == "normal":
        return generator.standard_normal(shape)
    if distribution == "uniform":
        return generator.uniform(-1, 1, shape) * np.sqrt(3)
    if distribution == "laplace":
        return generator.laplace(size=shape) / np.sqrt(2)
    return generator.choice([-1.0, 1.0], shape)


def my_aggregate(gradients, how):
    n = len(gradients)
    ordered = gradients.sort(0).values
    return {
        "mean": lambda: gradients.mean(0),
        "mean_abs": lambda: gradients.abs().mean(0),
        "mean_square": lambda: gradients.square().mean(0),
        "variance": lambda: gradients.var(0),
        "median": lambda: gradients.quantile(0.5, dim=0),
        "trimmed_mean": lambda: ordered[n // 10 : n - n // 10].mean(0),
        "geometric_mean": lambda: (gradients.abs() + 1e-8).log().mean(0).exp(),
    }[how]()


def my_integrated_gradients(model, pixels, target, baseline, n_steps):
    total = torch.zeros_like(pixels)
    for i in range(n_steps):
        total += my_gradient(model, baseline + (i + 0.5) / n_steps * (pixels - baseline), target)
    return (pixels - baseline) * total / n_steps


def my_baseline(name, pixels, generator):
    if name == "noise":
        return torch.from_numpy(generator.random(tuple(pixels.shape))).float()
    return {
        "black": torch.zeros_like(pixels),
        "white": torch.ones_like(pixels),
        "mean": pixels.mean((2, 3), keepdim=True).expand_as(pixels),
        "farthest": (pixels < 0.5).float(),
    }[name]


def my_expected_gradients(model, pixels, target, references, n_steps):
    maps = [
        my_integrated_gradients(model, pixels, target, one.expand_as(pixels), n_steps)
        for one in references
    ]
    return torch.stack(maps).mean(0)


def my_nodes(rule, n):
    i = np.arange(n)
    if rule == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(n)
        return (nodes + 1) / 2, weights / 2
    if rule == "trapezoid":
        weights = np.ones(n)
        weights[[0, -1]] = 0.5
        return i / (n - 1), weights / (n - 1)
    return {"midpoint": (i + 0.5) / n, "left": i / n, "right": (i + 1) / n}[rule], np.full(n, 1 / n)


def my_steps(model, pixels, target, baseline, steps):
    gradients, maps = {}, {}
    for n in steps:
        nodes, weights = my_nodes("trapezoid", n)
        total = torch.zeros_like(pixels)
        for node, weight in zip(nodes.round(9), weights):
            if node not in gradients:
                point = torch.lerp(baseline, pixels, float(node))
                gradients[node] = my_gradient(model, point, target)
            total += weight * gradients[node]
        maps[n] = (pixels - baseline) * total
    return maps


def my_retained_accuracy(model, pixels, maps, target, fractions, fill):
    order = maps.abs().sum(1).flatten(1).argsort(1).argsort(1)
    order = order.reshape(len(pixels), 1, *pixels.shape[2:])
    shares = []
    for fraction in fractions:
        hidden = order < round(fraction * pixels[0, 0].numel())
        with torch.no_grad():
            answer = model(torch.where(hidden, fill, pixels)).argmax(1)
            shares.append((answer == target).float().mean())
    return torch.stack(shares)


def my_steps_quality(model, pixels, target, baseline, steps, fractions, fill):
    maps = [my_integrated_gradients(model, pixels, target, baseline, n) for n in steps]
    return torch.stack([
        my_retained_accuracy(model, pixels, one, target, fractions, fill).mean() for one in maps
    ])


def my_rank_correlation(first, second):
    from scipy.stats import spearmanr
    sizes = [each.abs().sum(1).flatten(1).numpy() for each in (first, second)]
    return np.array([spearmanr(x, y).statistic for x, y in zip(*sizes)])



def predicted(model, image):
    return int(model(image)[0].argmax())


def get_gradient(model, image):
    from captum.attr import Saliency
    return Saliency(model).attribute(image.clone(), target=predicted(model, image), abs=True)


def get_integrated_gradients(model, image):
    from captum.attr import IntegratedGradients
    black = torch.zeros_like(image)
    return IntegratedGradients(model, multiply_by_inputs=True).attribute(
        image, baselines=black, target=predicted(model, image), internal_batch_size=7)


def get_smoothgrad(model, image, num_samples=10, stdevs=0.3):
    from captum.attr import NoiseTunnel, Saliency
    return NoiseTunnel(Saliency(model)).attribute(
        image, nt_type="smoothgrad", nt_samples=num_samples, stdevs=stdevs,
        nt_samples_batch_size=50, target=model(image).argmax(1))


def aggregate_attribution(attribution):
    return torch.einsum("bchw->hw", attribution)


def normalize_attribution(attribution):
    attribution = attribution.abs()
    low, high = attribution.min(), attribution.max()
    return (attribution - low) / (high - low)


def plot_attributions(plt, image, attributions, method_names):
    plt.figure(figsize=(12, 3))
    plt.subplot(1, 1 + len(attributions), 1)
    plt.imshow(image.numpy().transpose(1, 2, 0))
    plt.axis("off")
    for i, (one, name) in enumerate(zip(attributions, method_names)):
        ax = plt.subplot(1, 1 + len(attributions), 2 + i)
        ax.imshow(one, cmap="viridis")
        plt.title(name)
        plt.colorbar(ax.images[0], ax=ax)
    plt.show()


def get_custom_gradient(model, image, absolute=False):
    image = image.detach().clone().requires_grad_(True)
    model(image).max().backward()
    return abs(image.grad) if absolute else image.grad


def get_path(image, baseline, num_samples):
    return [torch.lerp(baseline, image, i / (num_samples - 1)) for i in range(num_samples)]


def get_custom_integrated_gradients(model, image, num_samples):
    c = predicted(model, image)
    path = torch.cat(get_path(image, 0 * image, num_samples)).requires_grad_()
    (each,) = torch.autograd.grad(model(path)[:, c].sum(), path)
    return each.mean(0, keepdim=True) * image


def my_reading(maps, how):
    if how == "absolute":
        return maps.abs().sum(1, keepdim=True)
    total = maps.sum(1, keepdim=True)
    return total if how == "signed" else torch.relu(total)


def my_capped(values, percentile):
    found = []
    for one in values.numpy():
        end = np.percentile(np.abs(one), percentile)
        found.append(np.clip(one / end, -1, 1) if end > 0 else 0 * one)
    return np.stack(found)


def my_relu_rule(gradient, activation):
    return torch.where((gradient > 0) & (activation > 0), gradient, 0.0)


def my_smoothed(attribution, pixels, fields, noise):
    return sum(attribution(pixels + noise * field) for field in fields) / len(fields)


def my_cam(maps, weights, size):
    coarse = torch.einsum("nk,nkhw->nhw", weights, maps)[:, None]
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")


def my_grad_cam(maps, gradients, size):
    coarse = torch.einsum("nk,nkhw->nhw", gradients.mean(dim=(2, 3)), maps)[:, None]
    return torch.nn.functional.interpolate(coarse.clamp(min=0), size=size, mode="bilinear")


def my_total_variation(pixels):
    down = (pixels[:, :, 1:] - pixels[:, :, :-1]).abs().mean((1, 2, 3))
    return down + (pixels[..., 1:] - pixels[..., :-1]).abs().mean((1, 2, 3))


def my_ascent(model, start, target, n_steps, step_size, low=0.0, high=1.0):
    moved = start
    for _ in range(n_steps):
        moved = moved.detach().requires_grad_()
        score = model(moved).gather(1, target[:, None]).sum()
        (slope,) = torch.autograd.grad(score, moved)
        size = slope.square().flatten(1).mean(1).sqrt()
        step = step_size * slope / size.view(-1, *[1] * (slope.ndim - 1))
        moved = (moved.detach() + step).clamp(low, high)
    return moved
"""


def right() -> dict:
    """The namespace of the right answers."""
    namespace = {"np": np, "torch": torch}
    exec(compile(RIGHT, "solutions", "exec"), namespace)
    return namespace
