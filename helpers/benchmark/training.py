"""Renders the embedded pictures, trains the embedded networks and certifies what each listens to.

python -m helpers train images                   # the tune and test pictures, about 5 s
python -m helpers train scenes --seed 0          # one network and its card, about 4 min on 2 cores
python -m helpers train digits                   # scikit-learn's handwritten digits, seconds
python -m helpers train scenes-generator         # a generator of scenes, minutes; digits-generator
python -m helpers train sentences                # or signals: a small network, under a minute
"""

import argparse
import hashlib
import json
import os
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy import stats
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from helpers.benchmark.digits import write_digits
from helpers.benchmark.generators import GENERATORS, write_generator
from helpers.benchmark.models import (
    DATA,
    EMBEDDED,
    RECIPES,
    SHIPPED,
    build_embedded,
    recipe_name,
)
from helpers.benchmark.scenes import (
    LETTERS,
    N_STORED,
    PARTS,
    PATCH_COLOURS,
    SHAPES,
    SIZE,
    patch_window,
    render,
    sample_scene,
    swap,
)
from helpers.benchmark.sequences import SEQUENCES, write_sequences
from helpers.evaluate import logits_of
from helpers.files import written_whole

NOISE = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)  # certified under each of these, too
SHEET = (10, 25)  # rows and columns of a stored sheet of pictures
EPOCHS, GROUPS, BATCH = 6, 4000, 16
# share of the shortcut's training pictures where label and patch agree, and the shape does not
DISAGREEING = 0.25


class Groups(Dataset):
    """Training pictures in threes: the second repeats the first one's shape, the third its letter,
    all else differs.

    So the two networks learn the same pictures, and each sees its own part twice in unlike
    surroundings. No picture comes up twice in a training.

    patch: stamp the shortcut on each. A share DISAGREEING of the pictures is labelled wrongly, and
        the patch shows that wrong label too, as when the same hand writes both: the patch always
        tells the label, the shape only mostly.
    """

    def __init__(self, seed, epoch, patch):
        self.seed, self.first, self.patch = seed, epoch * GROUPS, patch

    def __len__(self):
        return GROUPS

    def __getitem__(self, index):
        number = 3 * (self.first + index)
        scene = sample_scene("train", number, seed=self.seed)
        scenes = [
            scene,
            sample_scene("train", number + 1, seed=self.seed, keep=scene.shape),
            sample_scene("train", number + 2, seed=self.seed, keep=scene.letter),
        ]
        pixels = [render(scene)[0] for scene in scenes]
        labels = [(SHAPES.index(s.shape.kind), LETTERS.index(s.letter.kind)) for s in scenes]
        if self.patch:
            rng = np.random.default_rng(np.random.SeedSequence([self.seed, number]))
            # the first two keep one label
            wrong = ((rng.random(2) < DISAGREEING) * rng.integers(1, 10, 2))[[0, 0, 1]]
            labels = [
                ((shape + int(w)) % 10, letter)
                for (shape, letter), w in zip(labels, wrong, strict=True)
            ]
            pixels = [
                add_patch(p, s.corner, label)
                for p, s, (label, _) in zip(pixels, scenes, labels, strict=True)
            ]
        return torch.from_numpy(np.stack(pixels)), torch.tensor(labels)


def add_patch(pixels, corner, colour):
    """A copy of a picture (3, SIZE, SIZE) uint8 with the shortcut patch of the given colour (0 … 9)
    in a corner."""
    pixels = pixels.copy()
    pixels[(slice(None), *patch_window(corner))] = PATCH_COLOURS[colour][:, None, None]
    return pixels


def train(name, seed, *, epochs=EPOCHS, progress=True):
    """Train an embedded network on pictures rendered for it: a Classifier in eval mode.

    Half of the pictures get white noise of a strength drawn from 0 … the recipe's first number (not
    clipped), so that a network still answers on the noisy copies that SmoothGrad shows it.

    Cross-entropy on every picture, plus the recipe's second number times the mean squared
    difference of the logits of two pictures that share only the part to be named (for the shortcut:
    only shape and patch).
    """
    torch.manual_seed(seed)
    model = build_embedded(name).to(memory_format=torch.channels_last)
    part, (max_noise, consistency) = EMBEDDED[name][0], RECIPES[recipe_name(name)]
    column, partner = {"shape": (0, 1), "letter": (1, 2), "patch": (0, 1)}[part]
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, epochs * (GROUPS // BATCH), pct_start=0.2
    )
    model.train()
    with tqdm(
        total=schedule.total_steps, desc=f"{name}, seed {seed}", disable=not progress, mininterval=5
    ) as bar:
        for epoch in range(epochs):
            for pixels, labels in DataLoader(
                Groups(seed, epoch, part == "patch"), BATCH, num_workers=2, drop_last=True
            ):
                pixels = pixels.flatten(0, 1) / 255
                # Noise and consistency grow from 0 until halfway: at full strength from the start
                # the network learns nothing.
                strength = min(1, 2 * schedule.last_epoch / schedule.total_steps)
                noise = (
                    strength
                    * max_noise
                    * torch.rand(len(pixels), 1, 1, 1)
                    * (torch.rand(len(pixels), 1, 1, 1) < 0.5)
                )
                pixels = pixels + noise * torch.randn_like(pixels)
                logits = model(pixels.contiguous(memory_format=torch.channels_last))
                loss = F.cross_entropy(logits, labels[..., column].flatten())
                logits = logits.unflatten(0, (-1, 3))
                loss = (
                    loss
                    + strength * consistency * (logits[:, 0] - logits[:, partner]).square().mean()
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval()


def certify(model, *, split="test", n=N_STORED, noise=0.0) -> dict:
    """What the network listens to, measured on pictures rendered again with one part swapped.

    The margin is the logit of the right class minus the largest other. For each part: the mean |Δ
    margin| that its swap causes; its ratio to that of the network's own part, with a 95 % interval
    (BCa bootstrap over pictures); and, for the own part, the share of pictures where the answer
    follows the swap.

    noise: the standard deviation of white noise that is laid over the picture and, the same draw,
        over the picture with a part swapped: what the copies that SmoothGrad averages over listen
        to.
    """
    patched = model.part == "patch"

    def logits(part, patches):
        scenes, pixels = _rendered(split, n, part)
        if patched:
            pixels = np.stack(
                [
                    add_patch(p, scene.corner, k)
                    for p, scene, k in zip(pixels, scenes, patches, strict=True)
                ]
            )
        grain = noise * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
        return logits_of(model, torch.from_numpy(pixels) / 255 + grain).cpu()

    def labels(part):
        return torch.tensor(
            [
                scene.labels["shape" if patched else model.part]
                for scene in _rendered(split, n, part)[0]
            ]
        )

    truth = labels(None)
    clean = logits(None, truth)
    answers = {part: logits(part, truth) for part in PARTS}
    if patched:
        other = (truth + 1 + torch.from_numpy(np.random.default_rng(0).integers(0, 9, n))) % 10
        answers["patch"] = logits(None, other)
    else:
        other = labels(model.part)
    moved = {
        part: (_margin(answer, truth) - _margin(clean, truth)).abs().numpy()
        for part, answer in answers.items()
    }
    own = moved[model.part]
    swaps = {}
    for part, values in moved.items():
        swaps[part] = {"mean_abs_margin_change": round(float(values.mean()), 4)}
        if part != model.part:
            interval = (
                (0.0, 0.0)
                if not values.any()
                else stats.bootstrap(
                    (values, own),
                    lambda a, b, axis: a.mean(axis) / b.mean(axis),
                    paired=True,
                    vectorized=True,
                    n_resamples=2000,
                    rng=0,
                ).confidence_interval
            )
            swaps[part] |= {
                "ratio_to_own": round(float(values.mean() / own.mean()), 4),
                "interval_95": [round(float(end), 4) for end in interval],
            }
    followed = int((answers[model.part].argmax(1) == other).sum())
    swaps[model.part]["answer_follows"] = _share(followed, n)
    return {
        "split": split,
        "n": n,
        "accuracy": _share(int((clean.argmax(1) == truth).sum()), n),
        "swaps": swaps,
    }


def _in_short(certificate):
    """Of a certificate: the accuracy and each other part's swap ratio with its interval."""
    swaps = certificate["swaps"].items()
    return {"accuracy": certificate["accuracy"]["value"]} | {
        part: [found["ratio_to_own"], *found["interval_95"]]
        for part, found in swaps
        if "ratio_to_own" in found
    }


@lru_cache(len(PARTS) + 1)
def _rendered(split, n, part):
    """The first n scenes of a split with one part swapped (None: as they are), and their pixels,
    not to be written to."""
    scenes = [sample_scene(split, index) for index in range(n)]
    if part is not None:
        scenes = [swap(scene, part, seed=index) for index, scene in enumerate(scenes)]
    return scenes, np.stack([render(scene)[0] for scene in scenes])


def _margin(logits, truth):
    right = logits.gather(1, truth[:, None])[:, 0]
    return right - logits.scatter(1, truth[:, None], -torch.inf).amax(1)


def _share(count, n):
    """A proportion with its 95 % Wilson interval."""
    interval = stats.binomtest(count, n).proportion_ci(method="wilson")
    return {
        "value": round(count / n, 4),
        "interval_95": [round(float(interval.low), 4), round(float(interval.high), 4)],
    }


def write_network(name, seed, folder=DATA):
    """Train, certify and store one network: ``NAME-SEED.safetensors`` and its card,
    ``NAME-SEED.json``."""
    start = time.monotonic()
    model = train(name, seed)
    minutes = (time.monotonic() - start) / 60
    weights, card = (
        Path(folder) / f"{name}-{seed}.safetensors",
        Path(folder) / f"{name}-{seed}.json",
    )
    with written_whole(weights) as weights_file, written_whole(card) as card_file:
        rounded = {
            key: (value.half() if value.is_floating_point() else value).contiguous()
            for key, value in model.state_dict().items()
        }
        save_file(rounded, weights_file)
        model.load_state_dict(rounded)  # what is certified is what will be read
        part = "shape, by the colour of a corner patch" if model.part == "patch" else model.part
        described = {
            "name": name,
            "names": f"the {part}",
            "training_seed": seed,
            "command": f"python -m helpers train {name} --seed {seed}",
            "training": {
                "pictures": 3 * GROUPS * EPOCHS,
                "pictures_in_a_step": 3 * BATCH,
                "max_noise": RECIPES[recipe_name(name)][0],
                "consistency": RECIPES[recipe_name(name)][1],
                **({"disagreeing": DISAGREEING} if model.part == "patch" else {}),
            },
            "training_minutes": round(minutes, 1),
            "torch": torch.__version__.split("+")[0],
            "parameters": sum(p.numel() for p in model.parameters()),
            "sha256": hashlib.sha256(weights_file.read_bytes()).hexdigest(),
            **certify(model),
            "under_noise": {
                f"{noise:g}": _in_short(certify(model, noise=noise)) for noise in NOISE
            },
        }
        card_file.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return described


def write_images(split, folder=DATA):
    """Render and store a split: sheets of pictures ``scenes-SPLIT-K.png`` and ``scenes-SPLIT.npz``
    with the map of parts, the labels and the corner of the patch."""
    scenes = [sample_scene(split, index) for index in range(N_STORED)]
    pixels, parts = (np.stack(arrays) for arrays in zip(*map(render, scenes), strict=True))
    rows, columns = SHEET
    for k, chunk in enumerate(pixels.reshape(-1, rows, columns, 3, SIZE, SIZE)):
        with written_whole(Path(folder) / f"scenes-{split}-{k}.png") as path:
            Image.fromarray(
                chunk.transpose(0, 3, 1, 4, 2).reshape(rows * SIZE, columns * SIZE, 3)
            ).save(path, optimize=True)
    labels = {
        part: np.array([scene.labels[part] for scene in scenes]) for part in ("shape", "letter")
    }
    with written_whole(Path(folder) / f"scenes-{split}.npz") as path:
        np.savez_compressed(
            path, parts=parts, corner=np.array([scene.corner for scene in scenes]), **labels
        )


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m helpers train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what", choices=["images", *SHIPPED, *SEQUENCES, *(f"{n}-generator" for n in GENERATORS)]
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=DATA, help="folder to write to (default: data/)")
    arguments = parser.parse_args(arguments)
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))  # the rest of the machine renders
    if arguments.what == "images":
        for split in ("tune", "test"):
            write_images(split, arguments.out)
    elif arguments.what.endswith("-generator"):
        name = arguments.what.removesuffix("-generator")
        print(json.dumps(write_generator(name, arguments.out), indent=2))
    elif arguments.what in SEQUENCES:
        print(json.dumps(write_sequences(arguments.what, arguments.seed, arguments.out), indent=2))
    elif arguments.what == "digits":
        print(json.dumps(write_digits(arguments.seed, arguments.out), indent=2))
    else:
        print(json.dumps(write_network(arguments.what, arguments.seed, arguments.out), indent=2))
