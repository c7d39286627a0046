"""Networks with their normalisation inside: pixels in [0, 1] go in, logits come out."""

import hashlib
import io
import json
import os
from contextlib import redirect_stdout
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from helpers.benchmark.scenes import LETTERS, SHAPES, SIZE
from helpers.checks import choose

DATA = Path(os.environ.get("HELPERS_DATA") or Path(__file__).resolve().parents[2] / "data")
"""The embedded benchmark. Set HELPERS_DATA where ``helpers`` is installed away from its
repository."""
SEEDS = (0, 1, 2)
# name -> (the part whose label it names, its classes, the pictures that suit it, the training seeds
# that are shipped)
EMBEDDED = {
    "scenes": ("shape", SHAPES, "scenes", SEEDS),
    "scenes-letters": ("letter", LETTERS, "scenes", SEEDS),
    "scenes-shortcut": ("patch", SHAPES, "scenes-shortcut", (0,)),
}


class WeightsNotFoundError(FileNotFoundError):
    """The weights of a network, or what else the benchmark needs, are not on this machine and could
    not be downloaded."""


class Classifier(nn.Module):
    """A network from pixels in [0, 1], (N, C, H, W), to logits (N, K).

    Normalisation is the first thing it does, so whatever perturbs its input does so in pixel space.
    Noisy pixels outside [0, 1] are let through; the attribution methods check what the user hands
    to *them*.

    Attributes:
        name: as given to ``load_model``.
        classes: the K names, in the order of the logits.
        input_size: height and width of the pictures it was trained on, in pixels.
        part: which label of an ``ImageSet`` (and which mask, where there are masks) it names:
            ``images.labels[part]``.
        images: the source for ``load_images`` that suits it.
        pixel_range: (0, 1); ``evaluate.check_pixels`` holds what the user hands to a method to it.
    """

    pixel_range = (0.0, 1.0)

    def __init__(self, network, *, mean, std, name, classes, input_size, part, images):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1), persistent=False)
        self.name, self.classes, self.input_size, self.part, self.images = (
            name,
            tuple(classes),
            input_size,
            part,
            images,
        )

    def forward(self, pixels):
        channels = len(self.mean)
        if pixels.ndim != 4 or pixels.shape[1] != channels:
            raise ValueError(
                f"{self.name} takes pictures of shape (N, {channels}, H, W), found {tuple(pixels.shape)}"
            )
        if not pixels.is_floating_point():
            raise TypeError(
                f"{self.name} takes floating-point pixels in [0, 1], found {pixels.dtype}: divide bytes by 255"
            )
        return self.network((pixels - self.mean) / self.std)

    @property
    def device(self):
        return self.mean.device


class SceneNet(nn.Sequential):
    """The embedded benchmark's network: five convolutions, ReLU throughout, global average pooling
    and one linear layer, so class activation maps apply as they are. 191,322 parameters; input (N,
    3, H, W), H and W of 8 or more."""

    def __init__(self, n_classes=10):
        def block(n_in, n_out):
            return nn.Sequential(
                nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()
            )

        super().__init__(
            block(3, 16),
            nn.MaxPool2d(2),
            block(16, 32),
            nn.MaxPool2d(2),
            block(32, 64),
            block(64, 96),
            nn.MaxPool2d(2),
            block(96, 128),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(128, n_classes),
        )


def load_model(name="scenes", *, seed=0, device=None) -> Classifier:
    """A classifier by name, in eval mode, on ``device`` (default: CUDA where there is one, else the
    CPU).

    name: ``"scenes"`` names the shape of an embedded picture, ``"scenes-letters"`` its letter,
        ``"scenes-shortcut"`` learnt to read a corner patch instead; or any classification model of
        torchvision, e.g. ``"resnet50"``, with its default ImageNet weights. Those come through
        torchvision's own loading: from ``$TORCH_HOME`` where they lie there already, else by
        download.
    seed: the training seed, 0, 1 or 2 (``"scenes-shortcut"``: 0). Torchvision models have none:
        leave it at 0.

    Raises:
        ValueError: unknown name or seed, or a weights file that fails its checksum.
        WeightsNotFoundError: the weights are neither on disk nor to be downloaded.
        ImportError: torch and torchvision do not fit together.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng(
        devices=[]
    ):  # building a network draws weights that loading then replaces
        model = _load_embedded(name, seed) if name in EMBEDDED else _load_torchvision(name, seed)
    return model.eval().to(device)


def build_embedded(name) -> Classifier:
    """An embedded classifier before training, its weights drawn from torch's global random
    state."""
    part, classes, images, _ = EMBEDDED[name]
    return Classifier(
        SceneNet(len(classes)),
        mean=[0.5] * 3,
        std=[0.25] * 3,
        name=name,
        classes=classes,
        input_size=SIZE,
        part=part,
        images=images,
    )


def load_card(name, *, seed=0) -> dict:
    """The card of an embedded network: accuracy, certification, training seed, command and
    checksum."""
    _, _, _, seeds = EMBEDDED[choose(name, EMBEDDED, "embedded network")]
    if seed not in seeds:
        raise ValueError(
            f"{name} is shipped with training seed {', '.join(map(str, seeds))}, found seed={seed!r}"
        )
    return json.loads(data_file(name, f"{name}-{seed}.json").read_text(encoding="utf-8"))


def import_torchvision():
    """torchvision, or an ImportError that explains the usual mismatch with torch."""
    try:
        import torchvision.models
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise ImportError(
            f"torchvision does not import beside torch {torch.__version__} ({error}). The two must come from the same "
            "release and the same build (CPU or CUDA): `pip install --force-reinstall torch torchvision` in one "
            "command installs a matching pair."
        ) from error
    return torchvision


def data_file(name, file) -> Path:
    """The path of a file of the embedded benchmark, or an error that says whose it is and where it
    should be."""
    if not (DATA / file).is_file():
        raise WeightsNotFoundError(
            f"{name}: {file} is missing from {DATA}. It comes with the repository: run from a full checkout, or set "
            "HELPERS_DATA to its data folder."
        )
    return DATA / file


def _load_embedded(name, seed):
    card = load_card(name, seed=seed)
    path = data_file(name, f"{name}-{seed}.safetensors")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != card["sha256"]:
        raise ValueError(
            f"{name}: {path} fails its checksum (SHA-256 {found[:12]}…, its card says {card['sha256'][:12]}…): it is "
            "damaged or was changed. Restore it (git checkout data/), or train it anew: "
            + card["command"]
        )
    model = build_embedded(name)
    model.load_state_dict(load_file(path))
    return model.to(memory_format=torch.channels_last)  # a quarter faster on a CPU


def _load_torchvision(name, seed):
    models = import_torchvision().models
    known = models.list_models(module=models)
    choose(name, [*EMBEDDED, *known], "network")
    if seed != 0:
        raise ValueError(
            f"torchvision ships one set of default weights for {name}, so seed must be 0, found {seed!r}"
        )
    weights = models.get_model_weights(name).DEFAULT
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        # Reads (or downloads) the file without executing code from it; building the model then
        # reads it from disk.
        with redirect_stdout(io.StringIO()):  # torch prints the file's whole path
            weights.get_state_dict(check_hash=True, weights_only=True)
        network = models.get_model(name, weights=weights)
    except OSError as error:  # urllib's errors are OSErrors
        raise WeightsNotFoundError(
            f"The ImageNet weights of {name} are not on this machine and could not be downloaded ({error}). Looked "
            f"for {path}. Go online once, or copy the file there, or point TORCH_HOME at the folder that holds "
            "hub/checkpoints; the networks 'scenes' and 'scenes-letters' need no download."
        ) from error
    except Exception as error:
        raise ValueError(
            f"The ImageNet weights of {name} in {path} cannot be read ({error}): delete the file and load again."
        ) from error
    transforms = weights.transforms()
    return Classifier(
        network,
        mean=transforms.mean,
        std=transforms.std,
        name=name,
        classes=weights.meta["categories"],
        input_size=transforms.crop_size[0],
        part="class",
        images="photos",
    )
