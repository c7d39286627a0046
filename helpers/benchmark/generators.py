"""Small generators of pictures, to search in their code instead of among pixels.

A code is D standard normal numbers. The first ten choose what is drawn, the largest of them, which
is trained; the others say how. The generator of digits is the decoder of a conditional variational
autoencoder (Kingma and Welling 2014, arXiv:1312.6114; Sohn et al. 2015). That of scenes draws in
layers, each in a frame of its own that the code moves, turns and scales (spatial transformers,
Jaderberg et al. 2015, arXiv:1506.02025); what shape and letter look like and what a background is,
it learns from rendered scenes.

python -m helpers train scenes-generator         # minutes; and its card
python -m helpers train digits-generator         # seconds
"""

import hashlib
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from helpers.benchmark.models import DATA, DIGIT_SIZE, load_model, load_weights
from helpers.benchmark.scenes import LETTERS, SHAPES, SIZE, render, sample_scene
from helpers.benchmark.sources import digits
from helpers.checks import choose
from helpers.files import written_whole
from helpers.noise import noise_field

RADII = ((9.5, 13.5), (8.5, 11.5))  # of shape and letter, in pixels
ANGLE, CONTRAST = 0.3, 0.6  # radians at most; distance of a colour from the background's
SHARPNESS = 30.0  # of the choice among ten: nearly one of them, and still with a gradient
_FRAME = 32  # of a part, in its own pixels: wider than any part is drawn


class DigitsGenerator(nn.Module):
    """Codes (N, 18) → grey digits (N, 1, 32, 32) in [0, 1]: ten numbers choose the digit, eight the
    hand."""

    name, code_size = "digits", 18

    def __init__(self):
        super().__init__()
        self.decoder = nn.Sequential(
            nn.Linear(self.code_size, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, 64),
            nn.Unflatten(1, (1, 8, 8)),
        )

    def forward(self, code):
        return self.draw(_choice(code[:, :10]), code[:, 10:])

    def draw(self, choice, style):
        pixels = self.decoder(torch.cat([choice, style], 1)).sigmoid()
        return F.interpolate(pixels, DIGIT_SIZE, mode="bilinear", antialias=True)


class ScenesGenerator(nn.Module):
    """Codes (N, 80) → scenes (N, 3, 64, 64) in [0, 1]. Ten numbers each choose shape and letter,
    two each say how large and how turned, three each of which colour; three say where the two are,
    apart as in scenes; and 47 make the background, distractors and all."""

    name, code_size, n_ground = "scenes", 80, 47

    def __init__(self):
        super().__init__()
        self.shapes, self.letters = _Stencil(), _Stencil()
        self.ground = nn.Sequential(
            nn.Linear(self.n_ground, 32 * 4 * 4),
            nn.ReLU(),
            nn.Unflatten(1, (32, 4, 4)),
            *_doubling(32, 32),
            *_doubling(32, 24),
            *_doubling(24, 16),
            *_doubling(16, 3),
        )

    def forward(self, code):
        choices, sizes, turns, colours, place, ground = code.split([20, 2, 2, 6, 3, 47], 1)
        choices = _choice(choices.unflatten(1, (2, 10)))
        low, high = torch.tensor(RADII).to(code).unbind(1)
        radii = low + (high - low) * _uniform(sizes)
        angles = ANGLE * (2 * _uniform(turns) - 1)
        # opposite each other, near enough to the edge that they do not meet
        turn, *nearness = _uniform(place).unbind(1)
        around = 2 * math.pi * torch.stack([turn, turn + 0.5], 1)
        reach = SIZE / 2 - 1 - radii - 4 * torch.stack(nearness, 1)
        centres = reach[..., None] * torch.stack([around.cos(), around.sin()], 2)
        ground = self.draw_ground(ground)
        # as far from the background as in scenes
        mean = ground.mean((2, 3))[:, None]
        away = _uniform(colours).unflatten(1, (2, 3)) - mean
        away = away * (CONTRAST / away.norm(dim=2, keepdim=True).clamp(min=1e-3)).clamp(min=1)
        return self.draw(ground, choices, centres, radii, angles, (mean + away).clamp(0, 1))

    def draw_ground(self, code):
        return self.ground(code).sigmoid()

    def draw(self, ground, choices, centres, radii, angles, colours):
        """Shape and letter, the second of each axis 1, on a ground (N, 3, 64, 64): choices
        (N, 2, 10), centres (N, 2, 2) and radii (N, 2) in pixels from the middle, angles (N, 2) in
        radians, colours (N, 2, 3)."""
        for i, stencil in ((1, self.letters), (0, self.shapes)):
            ink = _placed(stencil(choices[:, i]), centres[:, i], radii[:, i], angles[:, i])
            ground = ground + ink * (colours[:, i, :, None, None] - ground)
        return ground


class _Stencil(nn.Module):
    """Choices (N, 10) → ink (N, 1, 32, 32) in a frame that the part's circle fills."""

    def __init__(self):
        super().__init__()
        self.draw = nn.Sequential(
            nn.Linear(10, 128),
            nn.ReLU(),
            nn.Linear(128, 32 * 8 * 8),
            nn.ReLU(),
            nn.Unflatten(1, (32, 8, 8)),
            *_doubling(32, 24),
            *_doubling(24, 1),
        )

    def forward(self, choice):
        return self.draw(choice).sigmoid()


def _choice(numbers):
    """(…, 10) numbers → nearly all of the weight on the largest."""
    return (SHARPNESS * numbers).softmax(-1)


def _doubling(n_in, n_out):
    """Twice as high and wide; and a ReLU, but behind the last."""
    layers = [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(n_in, n_out, 3, padding=1)]
    return layers + [nn.ReLU()] * (n_out > 3)


def _uniform(normal):
    """Standard normal numbers as numbers from 0 to 1, all alike often: their distribution."""
    return (1 + torch.erf(normal / math.sqrt(2))) / 2


def _placed(ink, centre, radius, angle):
    """The frame's ink laid into the picture: (N, 1, 64, 64)."""
    radius, centre = radius / (SIZE / 2), centre / (SIZE / 2)
    cos, sin = angle.cos() / radius, angle.sin() / radius
    turned = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    theta = torch.cat([turned, -(turned @ centre[:, :, None])], 2)
    theta = theta * (1 - 2 / _FRAME)  # one of the frame's pixels stays free around the circle
    grid = F.affine_grid(theta, (len(ink), 1, SIZE, SIZE), align_corners=False)
    return F.grid_sample(ink, grid, align_corners=False)


GENERATORS = {"scenes": ScenesGenerator, "digits": DigitsGenerator}


def load_generator(name="scenes", *, device=None) -> nn.Module:
    """A generator by name, ``"scenes"`` or ``"digits"``, in eval mode: a module from codes
    (N, ``code_size``) of standard normal numbers to pictures in [0, 1] that the network of that
    name takes.

    Raises:
        ValueError: unknown name, or a weights file that fails its checksum.
        WeightsNotFoundError: the weights are not on disk.
    """
    with torch.random.fork_rng(devices=[]):  # building draws weights that loading then replaces
        generator = GENERATORS[choose(name, GENERATORS, "generator")]()
    generator.load_state_dict(load_weights(f"{name}-generator", seed=0))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return generator.requires_grad_(False).eval().to(device)


def sample_codes(generator, n, *, seed=0) -> torch.Tensor:
    """(n, code_size): the i-th follows from the seed and i alone."""
    return torch.stack(
        [torch.from_numpy(noise_field((generator.code_size,), seed, i)) for i in range(n)]
    ).float()


# --- training -------------------------------------------------------------------------------------

N_SCENES, SCENES_SEED = 12_000, 7  # training pictures, which no shipped network was trained on
# of a pixel around what is drawn: the likelihood's standard deviation. A digit is as smooth as its
# 8 × 8 pixels once were, so its 1,024 count for fewer.
SPREAD = {"scenes": 0.05, "digits": 0.7}
EPOCHS, BATCH = {"scenes": 6, "digits": 300}, 64
NAMED = 0.9  # a sample counts as named when networks of three training seeds agree on it so surely


def training_pictures(name):
    """(pixels (N, C, H, W), what is known of each (N, …)): of scenes, for shape and letter, the
    kind's number, centre from the middle, radius, angle and colour, (N, 2, 8); of digits the
    label, (N,)."""
    if name == "digits":
        pixels, labels = digits("train")
        return F.interpolate(pixels, DIGIT_SIZE, mode="bilinear", antialias=True), labels
    scenes = [sample_scene("train", i, seed=SCENES_SEED) for i in range(N_SCENES)]
    known = [
        [
            (kinds.index(p.kind), *(c - SIZE / 2 for c in p.centre), p.radius, p.angle, *p.colour)
            for p, kinds in ((scene.shape, SHAPES), (scene.letter, LETTERS))
        ]
        for scene in scenes
    ]
    pixels = np.stack([render(scene)[0] for scene in scenes])
    return torch.from_numpy(pixels).float() / 255, torch.tensor(known)


def train_generator(name, *, pictures=None, epochs=None) -> nn.Module:
    """A generator, by the variational lower bound: an encoder, not kept, says from a picture the
    part of its code that is not known, as a mean and a variance; the loss is the squared error of
    what is drawn over twice SPREAD², plus the divergence of that code from standard normal
    numbers."""
    torch.manual_seed(0)
    generator = GENERATORS[name]()
    pixels, known = training_pictures(name) if pictures is None else pictures
    free = generator.n_ground if name == "scenes" else generator.code_size - 10
    encoder = _Encoder(name, 2 * free)
    optimizer = torch.optim.Adam([*generator.parameters(), *encoder.parameters()])
    epochs = epochs or EPOCHS[name]
    steps = epochs * (len(pixels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(pixels))[: len(pixels) // BATCH * BATCH].split(BATCH):
            wanted, about = pixels[batch], known[batch]
            mean, log_variance = encoder(wanted, about).chunk(2, 1)
            log_variance = log_variance.clamp(-8, 4)
            code = mean + (log_variance / 2).exp() * torch.randn_like(mean)
            if name == "scenes":
                drawn = generator.draw(
                    generator.draw_ground(code),
                    _choice(_numbers_that_choose(about[..., 0].long())),
                    *(about[..., 1:3], about[..., 3], about[..., 4], about[..., 5:]),
                )
            else:
                drawn = generator.draw(_choice(_numbers_that_choose(about)), code)
            error = (drawn - wanted).square().sum((1, 2, 3)) / (2 * SPREAD[name] ** 2)
            divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
            optimizer.zero_grad()
            (error + divergence).mean().backward()
            optimizer.step()
            schedule.step()
    return generator.eval()


class _Encoder(nn.Module):
    """(pictures, what is known of them) → mean and log variance of the rest of the code."""

    def __init__(self, name, n_out):
        super().__init__()
        self.told = name == "digits"
        self.layers = (
            nn.Sequential(nn.Linear(74, 256), nn.ReLU(), nn.Linear(256, n_out))
            if self.told
            else nn.Sequential(
                nn.Conv2d(3, 16, 4, 2, 1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 4, 2, 1),
                nn.ReLU(),
                nn.Conv2d(32, 48, 4, 2, 1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(48 * (SIZE // 8) ** 2, n_out),
            )
        )

    def forward(self, pictures, known):
        if self.told:
            small = F.adaptive_avg_pool2d(pictures, 8).flatten(1)
            pictures = torch.cat([small, F.one_hot(known, 10)], 1)
        return self.layers(pictures)


def _numbers_that_choose(kinds):
    """Standard normal numbers (…, 10) whose largest is at ``kinds``."""
    numbers = torch.randn(*kinds.shape, 10)
    largest = numbers.argmax(-1, keepdim=True)
    at, top = numbers.gather(-1, kinds[..., None]), numbers.amax(-1, keepdim=True)
    return numbers.scatter(-1, largest, at).scatter(-1, kinds[..., None], top)


def named(generator, n=200, *, seed=0) -> dict:
    """What networks of three training seeds say of n samples: {"all": (n,) whether all three name
    the same class with more than NAMED, "as chosen": (n,) whether that is the class that the code
    chooses}."""
    codes = sample_codes(generator, n, seed=seed)
    with torch.no_grad():
        pixels = generator(codes)
        answers = torch.stack(
            [
                load_model(generator.name, seed=training_seed, device="cpu")(pixels).softmax(1)
                for training_seed in (0, 1, 2)
            ]
        )
    sure, said = answers.max(2)
    agreed = (sure > NAMED).all(0) & (said == said[0]).all(0)
    return {"all": agreed, "as chosen": agreed & (said[0] == codes[:, :10].argmax(1))}


def nearest(pictures, among) -> tuple[torch.Tensor, torch.Tensor]:
    """(N,) the number of the nearest of ``among`` (M, C, H, W), and (N,) the root mean square
    difference of their pixels: whether samples are copies."""
    distances = torch.cdist(pictures.flatten(1), among.flatten(1))
    found = distances.min(1)
    return found.indices, found.values / pictures[0].numel() ** 0.5


def write_generator(name, folder=DATA) -> dict:
    """Train and store one: ``NAME-generator-0.safetensors``, in half precision, and its card."""
    start, pictures = time.monotonic(), training_pictures(name)
    generator = train_generator(name, pictures=pictures)
    minutes = (time.monotonic() - start) / 60
    rounded = {key: value.half().contiguous() for key, value in generator.state_dict().items()}
    generator.load_state_dict(rounded)  # what is measured is what will be read
    weights, card = (Path(folder) / f"{name}-generator-0.{end}" for end in ("safetensors", "json"))
    with written_whole(weights) as weights_file, written_whole(card) as card_file:
        save_file(rounded, weights_file)
        found, (_, distances) = named(generator), nearest(_ten(generator), pictures[0])
        described = {
            "name": f"{name}-generator",
            "command": f"python -m helpers train {name}-generator",
            "training": {
                "pictures": len(pictures[0]),
                "epochs": EPOCHS[name],
                "code": generator.code_size,
            },
            "training_minutes": round(minutes, 1),
            "torch": torch.__version__.split("+")[0],
            "parameters": sum(p.numel() for p in generator.parameters()),
            "sha256": hashlib.sha256(weights_file.read_bytes()).hexdigest(),
            "samples": len(found["all"]),
            "named_by_three": round(float(found["all"].float().mean()), 4),
            "named_as_chosen": round(float(found["as chosen"].float().mean()), 4),
            "nearest_training_picture": [round(float(d), 4) for d in distances],
            "training_pictures_between_them": round(
                float(nearest(pictures[0][:100], pictures[0][100:])[1].mean()), 4
            ),
        }
        card_file.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return described


def _ten(generator):
    with torch.no_grad():
        return generator(sample_codes(generator, 10))
