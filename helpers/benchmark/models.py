"""Networks with their normalisation inside: pixels in [0, 1] go in, logits come out."""

import hashlib
import json
import os
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from helpers.benchmark.classifier import Classifier, WeightsNotFoundError
from helpers.benchmark.imagenet import (
    load_efficientnet_lite0,
    load_timm,
    load_torchvision,
    torchvision_names,
)
from helpers.benchmark.scenes import LETTERS, SHAPES, SIZE
from helpers.checks import choose

DATA = Path(os.environ.get("HELPERS_DATA") or Path(__file__).resolve().parents[2] / "data")
"""The embedded benchmark. Set HELPERS_DATA where ``helpers`` is installed away from its
repository."""
SEEDS = (0, 1, 2)
MORE_SEEDS = (*SEEDS, 3, 4)  # of "plain", where the sign of a finding turns with the seed
DIGIT_SIZE = 32
RECIPES = {"both": (0.2, 0.6), "plain": (0.0, 0.0), "noise": (0.2, 0.0), "consistent": (0.0, 0.6)}
"""The 2 × 2 of training recipes: the largest strength of the noise that a network was trained
under, and the weight of consistency. The last word of its name says which; without one, "both"."""
LAST_MAPS = {2: (0, 1, 2, 3, 4), 4: (0, 1, 2, 3), 16: (0, 1)}
"""Height and width of the last map of ``"scenes-2x2"``, …: where each halves its maps; that of
``"scenes"`` is 8 × 8."""
# name -> (the part whose label it names, its classes, the pictures that suit it, the training seeds
# that are shipped)
_TASKS = {
    "scenes": ("shape", SHAPES, "scenes", SEEDS),
    "scenes-letters": ("letter", LETTERS, "scenes", SEEDS),
}
EMBEDDED = {
    **_TASKS,
    "scenes-shortcut": ("patch", SHAPES, "scenes-shortcut", (0,)),
    "scenes-attention": _TASKS["scenes"],
    **{
        f"{task}-{recipe}": (*about[:3], MORE_SEEDS if recipe == "plain" else SEEDS)
        for recipe in list(RECIPES)[1:]
        for task, about in _TASKS.items()
    },
    **{f"scenes-{size}x{size}": _TASKS["scenes"] for size in LAST_MAPS},
}
SHIPPED = EMBEDDED | {"digits": ("digit", tuple("0123456789"), "digits", SEEDS)}
"""Those of scenes, certified by swapping parts, and one whose pictures have no parts."""


def _block(n_in, n_out):
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()
    )


def scene_net(n_classes=10, pooled=(0, 1, 3)) -> nn.Sequential:
    """The embedded benchmark's network: five convolutions, ReLU throughout, global average pooling
    and one linear layer, so class activation maps apply as they are. 191,322 parameters; input (N,
    3, H, W), H and W of at least two to the power of ``len(pooled)``.

    pooled: after which of the five convolutions the maps are halved. The last map of a picture of
        64 pixels is 8 × 8 by default.
    """
    layers = []
    for number, (n_in, n_out) in enumerate(pairwise((3, 16, 32, 64, 96, 128))):
        layers += [_block(n_in, n_out)] + [nn.MaxPool2d(2)] * (number in pooled)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, n_classes))


class AttentionNet(nn.Module):
    """Another shape of network for the same pictures: four convolutions make 64 tokens of a
    picture, two blocks of self-attention carry what they say to a class token, and a linear layer
    reads that alone: no global pooling, and without attention the picture never reaches the answer.
    236,250 parameters; input (N, 3, 64, 64)."""

    def __init__(self, n_classes=10, width=96, n_blocks=2):
        super().__init__()
        self.stem = nn.Sequential(
            _block(3, 16),
            nn.MaxPool2d(2),
            _block(16, 32),
            nn.MaxPool2d(2),
            _block(32, 64),
            _block(64, width),
            nn.MaxPool2d(2),
        )
        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + (SIZE // 8) ** 2, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 2 * width, dropout=0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(n_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_classes)

    def forward(self, pixels):
        tokens = self.stem(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], 1)
        tokens = tokens + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, 0]))


def digit_net(n_classes=10) -> nn.Sequential:
    """The network of the handwritten digits, as ``scene_net`` but narrower, for one grey channel:
    input (N, 1, H, W), H and W of 4 or more."""
    layers = []
    for n_in, n_out in ((1, 16), (16, 32), (32, 64)):
        layers += [
            nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(
        *layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, n_classes)
    )


def load_model(name="scenes", *, seed=0, device=None) -> Classifier:
    """A classifier by name, in eval mode, on ``device`` (default: CUDA where there is one, else the
    CPU).

    name: ``"scenes"`` names the shape of an embedded picture, ``"scenes-letters"`` its letter,
        ``"scenes-shortcut"`` learnt to read a corner patch instead; ``"scenes-plain"``,
        ``"-noise"``, ``"-consistent"`` (and ``"scenes-letters-plain"``, …) were trained by other
        recipes, ``"scenes-attention"`` is of another shape, and ``"scenes-2x2"``,
        ``"-4x4"`` and ``"-16x16"`` have a last map of that size; ``"digits"`` names handwritten
        digits;
        ``"efficientnet_lite0"`` names ImageNet's classes without any download, from an installed
        package; or any classification model of torchvision, e.g. ``"resnet50"``, with its
        default ImageNet weights, or of timm, e.g. ``"timm/convnext_atto"``. Those come through the
        library's own loading: from ``$TORCH_HOME`` or ``$HF_HOME`` where they lie there already,
        else by download.
    seed: the training seed, 0, 1 or 2, of an embedded network that is shipped with several (see
        ``training_seeds``); of all others 0.

    Raises:
        ValueError: unknown name or seed, or a weights file that fails its checksum.
        WeightsNotFoundError: the weights are neither on disk nor to be downloaded.
        ImportError: torch and torchvision do not fit together.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng(devices=[]):  # building draws weights that loading then replaces
        model = _load_embedded(name, seed) if name in SHIPPED else _load_imagenet(name, seed)
    return model.eval().to(device)


def build_embedded(name) -> Classifier:
    """An embedded classifier before training, its weights drawn from torch's global random
    state."""
    part, classes, images, _ = SHIPPED[name]
    digits = name == "digits"
    network = {
        "digits": digit_net,
        "scenes-attention": AttentionNet,
        **{f"scenes-{size}x{size}": partial(scene_net, pooled=p) for size, p in LAST_MAPS.items()},
    }.get(name, scene_net)
    return Classifier(
        network(len(classes)),
        mean=[0.5] * (1 if digits else 3),
        std=[0.25] * (1 if digits else 3),
        name=name,
        classes=classes,
        input_size=DIGIT_SIZE if digits else SIZE,
        part=part,
        images=images,
    )


def recipe_name(name) -> str:
    """How an embedded network was trained: "plain", "noise", "consistent", or "both", as all others
    of scenes; "" for a network of other pictures."""
    if name not in EMBEDDED:
        return ""
    last = name.rsplit("-", 1)[-1]
    return last if last in RECIPES else "both"


def training_seeds(name) -> tuple[int, ...]:
    """The training seeds that a network is shipped with; (0,) for those of other libraries."""
    return SHIPPED[name][3] if name in SHIPPED else (0,)


def load_card(name, *, seed=0) -> dict:
    """The card of an embedded network: accuracy, certification (of those of scenes), training seed,
    command and checksum."""
    _, _, _, seeds = SHIPPED[choose(name, SHIPPED, "embedded network")]
    if seed not in seeds:
        raise ValueError(
            f"{name} is shipped with training seed {', '.join(map(str, seeds))}, "
            f"found seed={seed!r}"
        )
    return json.loads(data_file(name, f"{name}-{seed}.json").read_text(encoding="utf-8"))


def data_file(name, file) -> Path:
    """The path of a file of the embedded benchmark, or an error that says whose it is and where it
    should be."""
    if not (DATA / file).is_file():
        raise WeightsNotFoundError(
            f"{name}: {file} is missing from {DATA}. It comes with the repository: run from a full "
            "checkout, or set HELPERS_DATA to its data folder."
        )
    return DATA / file


def load_weights(name, *, seed) -> dict:
    """The tensors of ``NAME-SEED.safetensors``, held against the checksum on its card."""
    card = json.loads(data_file(name, f"{name}-{seed}.json").read_text(encoding="utf-8"))
    path = data_file(name, f"{name}-{seed}.safetensors")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != card["sha256"]:
        raise ValueError(
            f"{name}: {path} fails its checksum (SHA-256 {found[:12]}…, its card says "
            f"{card['sha256'][:12]}…): it is damaged or was changed. Restore it (git checkout "
            f"data/), or train it anew: {card['command']}"
        )
    return load_file(path)


def _load_embedded(name, seed):
    load_card(name, seed=seed)  # whether there is such a seed
    model = build_embedded(name)
    # half precision on disk for some: copied, it is single
    model.load_state_dict(load_weights(name, seed=seed))
    return model.to(memory_format=torch.channels_last)  # a quarter faster on a CPU


def _load_imagenet(name, seed):
    loaders = {"efficientnet_lite0": load_efficientnet_lite0}
    if str(name).startswith("timm/"):
        loaders[name] = partial(load_timm, name)
    elif name not in loaders:
        choose(name, [*SHIPPED, *loaders, *torchvision_names()], "network")
        loaders[name] = partial(load_torchvision, name)
    if seed != 0:
        raise ValueError(
            f"one set of weights was published for {name}, so seed must be 0, found {seed!r}"
        )
    return loaders[name]()
