"""What a good picture is, of those that activation maximisation makes: networks of other training
seeds name it, it lies near the data, and another start gives another picture."""

import torch
from torch import nn

from helpers.attribution.targets import Score, resolve_target
from helpers.benchmark.models import load_model, training_seeds
from helpers.evaluate import evaluation, logits_of, noisy_points, says


def judges(model, *, seed=0) -> list:
    """The networks of the model's name and other training seeds; none where it has no others."""
    others = [each for each in training_seeds(model.name) if each != seed]
    return [load_model(model.name, seed=each, device=model.device) for each in others]


def transfer(networks, pixels, target) -> torch.Tensor:
    """(N,): the share of the networks that name ``target``: an int, a name, (N,) or one-hot.

    Raises:
        TypeError: None or a callable, which names no class.
    """
    with noisy_points():
        found = None if target is None else resolve_target(networks[0], pixels, target)
    if found is None or isinstance(found, Score):
        raise TypeError(f"whether networks name it needs a class as target, found {target!r}")
    named = [says(logits_of(network, pixels), found).float() for network in networks]
    return torch.stack(named).mean(0)


def features(model, pixels, *, batch_size=50) -> torch.Tensor:
    """(N, D): what the model's last linear layer reads.

    Raises:
        ValueError: it has no linear layer.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(model).__name__} has no linear layer whose input could be read")
    seen = []
    hook = linear[-1].register_forward_pre_hook(lambda _, read: seen.append(read[0].detach()))
    try:
        with evaluation(model), torch.no_grad():
            for part in pixels.detach().split(batch_size):
                model(part)
    finally:
        hook.remove()
    return torch.cat(seen).flatten(1)


def distance_from_data(found, data) -> torch.Tensor:
    """(N,): how far features (N, D) lie from the nearest of the data's, (M, D), in units of how far
    the data lie from their own nearest: 1 is as near as they are to each other."""
    own = torch.cdist(data, data).fill_diagonal_(torch.inf).amin(1).mean()
    return torch.cdist(found, data).amin(1) / own


def diversity(found, data) -> torch.Tensor:
    """(N,): how far each of features (N, D) lies from the others on average, by direction alone, so
    that a strong picture does not count as another one; in units of the same of the data (M, D): 1
    is as different as they are, 0 all alike."""
    return _apart(found) / _apart(data).mean()


def _apart(found):
    if len(found) < 2:
        raise ValueError(f"how different pictures are needs two or more, found {len(found)}")
    found = nn.functional.normalize(found, dim=1)
    return torch.cdist(found, found).sum(1) / (len(found) - 1)


def shuffled_blocks(pixels, n=4, *, seed=0) -> torch.Tensor:
    """Pictures (N, C, H, W) cut into n × n blocks that change places, in each picture otherwise:
    what is drawn across blocks is gone, what is within them stays."""
    height, width = (side // n for side in pixels.shape[2:])
    if height < 1 or width < 1 or pixels.shape[2] % n or pixels.shape[3] % n:
        raise ValueError(f"{n} × {n} equal blocks do not fit into {tuple(pixels.shape[2:])}")
    rng = torch.Generator().manual_seed(int(seed))
    blocks = pixels.unflatten(3, (n, width)).unflatten(2, (n, height))  # (N, C, n, h, n, w)
    blocks = blocks.transpose(3, 4).flatten(2, 3)  # (N, C, n · n, h, w)
    order = torch.stack([torch.randperm(n * n, generator=rng) for _ in pixels]).to(pixels.device)
    blocks = torch.stack([one[:, places] for one, places in zip(blocks, order, strict=True)])
    blocks = blocks.unflatten(2, (n, n)).transpose(3, 4)
    return blocks.flatten(4, 5).flatten(2, 3)
