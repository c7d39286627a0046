"""Pictures from elsewhere: photographs that installed packages bundle, scikit-learn's digits, and
torchvision's datasets."""

import io
import os
import tempfile
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from helpers.benchmark.imagenet import import_torchvision


class Bundled(NamedTuple):
    """A photograph's place in an installed package; its ImageNet class, or why it has none."""

    package: str
    file: str
    label: str | None
    why: str = ""


_TEXTURE = "a texture: ImageNet's classes are things"
BUNDLED = {
    "cat": Bundled("skimage", "data/chelsea.png", "tabby"),
    "coffee": Bundled("skimage", "data/coffee.png", "espresso"),
    "rocket": Bundled("skimage", "data/rocket.jpg", "missile", "ImageNet's class of rockets"),
    "camera": Bundled("skimage", "data/camera.png", "tripod", "grey"),
    "china": Bundled("sklearn", "datasets/images/china.jpg", "palace", "the Summer Palace"),
    "grace_hopper": Bundled(
        "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "military uniform"
    ),
    "astronaut": Bundled(
        "skimage", "data/astronaut.png", None, "no class of astronauts; the shuttle is a model"
    ),
    "motorcycle": Bundled(
        "skimage", "data/motorcycle_left.png", None, "neither a moped nor a motor scooter"
    ),
    "flower": Bundled("sklearn", "datasets/images/flower.jpg", None, "a dahlia is no daisy"),
    "horse": Bundled("skimage", "data/horse.png", None, "a silhouette, and of no sorrel"),
    "coins": Bundled("skimage", "data/coins.png", None, "no class of coins"),
    "clock": Bundled("skimage", "data/clock_motion.png", None, "too blurred to be seen for one"),
    "page": Bundled("skimage", "data/page.png", None, "no class of printed pages"),
    "text": Bundled("skimage", "data/text.png", None, "no class of handwriting"),
    "brick": Bundled("skimage", "data/brick.png", None, _TEXTURE),
    "grass": Bundled("skimage", "data/grass.png", None, _TEXTURE),
    "gravel": Bundled("skimage", "data/gravel.png", None, _TEXTURE),
    "moon": Bundled("skimage", "data/moon.png", None, "no class of craters"),
    "galaxies": Bundled("skimage", "data/hubble_deep_field.jpg", None, "no class of galaxies"),
    "cell": Bundled("skimage", "data/cell.png", None, "microscopy: no class"),
    "tissue": Bundled("skimage", "data/ihc.png", None, "microscopy: no class"),
    "retina": Bundled("skimage", "data/retina.jpg", None, "no class of eyes"),
}
"""Every photograph in the packages that requirements.txt names. With a label: those that show a
thing whose ImageNet class a person would agree with."""
PHOTOS = tuple(name for name, photo in BUNDLED.items() if photo.label)
DATASETS = {"mnist": "MNIST", "cifar10": "cifar-10-batches-py", "imagenette": "imagenette2-320"}
"""Name → its folder under ``datasets_folder()``."""
DIGIT_SPLITS = {"train": (0, 997), "tune": (997, 1297), "test": (1297, 1797)}
"""First and last of scikit-learn's 1,797. They come writer by writer, so hardly any hand is in
two."""


def bundled_file(name) -> Path:
    """Where a photograph of ``BUNDLED`` lies; nothing is imported."""
    photo = BUNDLED[name]
    package = find_spec(photo.package)
    file = Path(package.origin if package else photo.package).parent / photo.file
    if not file.is_file():
        raise FileNotFoundError(
            f"the photograph {name!r} comes with {photo.package}, and {file} is not there: install "
            "that package from its wheel"
        )
    return file


def digits(split):
    """scikit-learn's handwritten digits: (N, 1, 8, 8) float32 in [0, 1], white on black, and their
    labels, (N,) int64."""
    from sklearn.datasets import load_digits  # here, since it takes a while to import

    stored = load_digits()
    which = slice(*DIGIT_SPLITS[split])
    pixels = torch.from_numpy(stored.images[which]).float()[:, None] / 16
    return pixels, torch.from_numpy(stored.target[which]).long()


def datasets_folder() -> Path:
    """$HELPERS_DATASETS, else $TORCH_HOME/datasets."""
    named = os.environ.get("HELPERS_DATASETS")
    return Path(named or Path(torch.hub.get_dir()).parent / "datasets")


def imagenette_folder(split) -> Path:
    """The folder of its "tune" (training) or "test" (validation) pictures, downloaded if need
    be."""
    split = {"tune": "train", "test": "val"}[split]
    _on_disk("imagenette", lambda root: _class("Imagenette")(root, split, "320px", download=True))
    return datasets_folder() / DATASETS["imagenette"] / split


def torchvision_dataset(name, split):
    """MNIST or CIFAR-10: (N, C, H, W) uint8, labels (N,) int64, the names of the classes. "tune" is
    the training set. Downloaded if need be."""
    dataset = _class({"mnist": "MNIST", "cifar10": "CIFAR10"}[name])

    def build(root, download=True):
        return dataset(root, train=split == "tune", download=download)

    stored = _on_disk(name, build)
    pixels = torch.from_numpy(np.asarray(stored.data))
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    classes = tuple("0123456789") if name == "mnist" else tuple(stored.classes)
    return pixels, torch.as_tensor(stored.targets), classes


def _class(name):
    return getattr(import_torchvision().datasets, name)


def _on_disk(name, build):
    """What ``build(root)`` makes of the dataset, after a download where it is not on disk."""
    root = datasets_folder()
    folder = root / DATASETS[name]
    try:
        with redirect_stdout(io.StringIO()):
            if not folder.exists():
                root.mkdir(parents=True, exist_ok=True)
                # What is cut off midway must not be found the next time.
                with tempfile.TemporaryDirectory(dir=root) as part:
                    build(part)
                    (Path(part) / folder.name).replace(folder)
            return build(root, download=False) if name != "imagenette" else None
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"{name} is not on this machine and could not be downloaded ({error}). Looked for "
            f"{folder}. Go online once, or unpack torchvision's copy there, or point "
            "HELPERS_DATASETS at the folder that holds it; 'scenes', 'photos' and 'digits' need no "
            "download."
        ) from error
