"""Pictures as tensors in [0, 1]: the embedded benchmark, photographs, or the reader's own."""

import re
import warnings
from contextlib import suppress
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from helpers.benchmark.imagenet import imagenet_classes, import_torchvision
from helpers.benchmark.models import DATA, DIGIT_SIZE, data_file
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
)
from helpers.benchmark.sources import (
    BUNDLED,
    DATASETS,
    PHOTOS,
    bundled_file,
    digits,
    imagenette_folder,
    torchvision_dataset,
)
from helpers.checks import at_least_one, choose

SOURCES = ("scenes", "scenes-shortcut", "photos", "digits", *DATASETS)
COLOURS = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0), "blue": (0.1, 0.2, 0.9)}
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SUFFIXES += (".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif")
PHOTO_SIZE = 224
DOUBTFUL = (".jp2", ".j2k", ".avif", ".heic", ".heif")  # which not every Pillow opens
LONGEST = 4  # times the shorter side: what lies beyond is in no crop
# What systems leave in folders: no class, and no picture.
SYSTEM = ("__MACOSX", "@eaDir", "@tmp", "@Recycle", "#recycle", "#snapshot", "$RECYCLE.BIN")
SYSTEM += ("System Volume Information", "lost+found", "Thumbs.db", "desktop.ini")
_WNID = re.compile(r"n\d{8}(?!\d)")


@dataclass(frozen=True)
class ImageSet:
    """Pictures and what is known of them.

    Attributes:
        pixels: (N, C, H, W) float32 in [0, 1]; C is 3, or 1 for the grey digits.
        names: N of them.
        labels: {part: (N,) int64}, -1 where a picture has none. For scenes "shape" and "letter"
            (and "patch"), for digits "digit"; for photographs "class", counted as in ImageNet, or
            among the sorted subfolders.
        masks: {part: (N, 1, H, W) bool}: where the part has ink, disjoint. For scenes "shape",
            "letter", "distractors" and "background" (and "patch"); empty for the others.
        classes: {part: the names of the labels}.
    """

    pixels: torch.Tensor
    names: tuple[str, ...]
    labels: dict[str, torch.Tensor] = field(default_factory=dict)
    masks: dict[str, torch.Tensor] = field(default_factory=dict)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, which) -> "ImageSet":
        """The pictures of an index, slice, list of indices or boolean tensor, as an ImageSet."""
        numbers = torch.arange(len(self))[[which] if isinstance(which, Integral) else which]
        return replace(
            self,
            pixels=self.pixels[numbers],
            names=tuple(self.names[i] for i in numbers),
            labels={part: values[numbers] for part, values in self.labels.items()},
            masks={part: values[numbers] for part, values in self.masks.items()},
        )

    def to(self, device) -> "ImageSet":
        return replace(
            self,
            pixels=self.pixels.to(device),
            labels={k: v.to(device) for k, v in self.labels.items()},
            masks={k: v.to(device) for k, v in self.masks.items()},
        )


def load_images(source="scenes", n=None, *, split="test", seed=0, size=None) -> ImageSet:
    """Pictures by name, from a folder, or from a list of files.

    Args:
        source: "scenes", the embedded benchmark; "scenes-shortcut", the same with a coloured corner
            patch that gives the shape away; "photos", the photographs that installed packages
            bundle and that show a class of ImageNet; "photos/NAME", any one of theirs, with or
            without a class ("photos/astronaut"; ``sources.BUNDLED`` lists them); "digits",
            scikit-learn's handwritten ones, grey; "mnist", "cifar10" or "imagenette" (ten classes
            of ImageNet) through torchvision, downloaded on first use, to $HELPERS_DATASETS or
            $TORCH_HOME/datasets; a folder of pictures, searched with its subfolders; or a list of
            files. A file's class is the ImageNet class of a WordNet id that its name or its
            folder's begins with ("n01440764_tench.JPEG", "n01440764/1.JPEG"), else its subfolder
            among the sorted ones that hold pictures. Links to folders are followed. What a folder
            holds besides is passed over, and one warning says what and why: files that are no
            pictures or that the installed Pillow cannot open (HEIC needs pillow-heif), and what
            systems leave behind (__MACOSX, @eaDir); hidden names are passed over unsaid.
        n: how many; None for all. Fewer than there are are drawn without replacement by ``seed``,
            and 3 are the first 3 of 10.
        split: "tune" (to choose settings on) or "test", for scenes, digits and torchvision's (there
            "tune" is the training set); "strong", for scenes: those of "test" on backgrounds of
            three times the contrast, rendered when asked for.
        seed: chooses which n.
        size: height and width in pixels. Photographs (224 by default) are resized so that the
            shorter side is 256/224 of it, then cropped in the middle, as ImageNet networks expect
            (of one more than four times as long as wide the middle first); scenes (64), digits (8,
            enlarged to 32), MNIST (28) and CIFAR-10 (32) are resized as they are.

    Raises:
        FileNotFoundError: no such folder or file, or no pictures in it; a dataset neither on disk
            nor to be downloaded.
        ValueError: an unknown name, fewer than n pictures, or files that are no pictures: all of
            them, in one error.
    """
    of_scenes = isinstance(source, str) and source in ("scenes", "scenes-shortcut")
    choose(split, ("tune", "test", "strong") if of_scenes else ("tune", "test"), "split")
    size = None if size is None else at_least_one(size, "size")
    n = None if n is None else at_least_one(n, "n")
    if isinstance(source, (list, tuple)):
        return _from_files([Path(file) for file in source], n, seed, size)
    if of_scenes:
        return _scenes(split, source == "scenes-shortcut", n, seed, size)
    if source == "photos":
        return _bundled(PHOTOS, n, seed, size)
    if str(source).startswith("photos/") and not Path(source).exists():
        choose(source, [f"photos/{name}" for name in BUNDLED], "photograph, and no such folder,")
        return _bundled((source.removeprefix("photos/"),), n, seed, size)
    if source == "imagenette":
        return load_images(imagenette_folder(split), n, seed=seed, size=size)
    if source in ("digits", *DATASETS):
        return _small(source, split, n, seed, size)
    folder = Path(source).expanduser()
    if folder.is_dir():
        files, classes = _searched(folder)
        return _from_files(files, n, seed, size, folder, classes)
    if folder.is_file():
        return _from_files([folder], n, seed, size)
    if isinstance(source, Path) or re.search(r"[/\\.~]", str(source)):
        raise FileNotFoundError(
            f"no folder or file {folder} (looked in {Path.cwd()}); "
            f"{', '.join(SOURCES)} are built in"
        )
    choose(source, SOURCES, "source of pictures, and no such folder,")


def repainted(images, part, rgb):
    """The same scenes, of the test split, with the shape or letter in another colour."""
    return _again(images, lambda scene: {part: replace(getattr(scene, part), colour=rgb)})


def on_ground(images, contrast):
    """The same scenes, of the test split, on a background of another contrast (0: of one colour;
    theirs is 0.03 to 0.1). What lies on it, where, and its mean colour stay."""
    return _again(
        images, lambda scene: {"background": replace(scene.background, contrast=contrast)}
    )


def _again(images, changed):
    """Rendered again, with the parts that ``changed`` gives for a scene."""
    scenes = [sample_scene("test", int(name.split()[-1])) for name in images.names]
    pixels = np.stack([render(replace(scene, **changed(scene)))[0] for scene in scenes])
    return replace(images, pixels=torch.from_numpy(pixels).to(images.pixels) / 255)


def read_image(file, size=PHOTO_SIZE) -> torch.Tensor:
    """A picture file as (3, size, size) float32 in [0, 1]: turned as its EXIF data says, grey,
    palette, CMYK and 16-bit ones as RGB, transparency on white, the first frame of several; resized
    and cropped as for ImageNet networks."""
    with _open(file) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _to_tensor(_to_rgb(image), size)


def picture_files(folder) -> tuple[list[Path], dict, dict]:
    """The pictures of a folder and its subfolders, in order, found as by ``load_images`` but not
    read; and their labels and classes, as in an ``ImageSet``.

    Raises:
        FileNotFoundError: no such folder, or no pictures in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder} (looked in {Path.cwd()})")
    files, classes = _searched(folder)
    return files, *_labels_of(files, folder, classes)


def why_unreadable(file, error) -> str:
    """What ``read_image`` met with, in a few words."""
    if Path(file).is_file() and Path(file).stat().st_size == 0:
        return "empty file"
    return type(error).__name__ + (f": {error}" if str(file) not in str(error) else "")


def _searched(folder):
    """(the pictures in a folder, the names of the subfolders that hold some); a warning says what
    else is there."""
    entries = list(_entries(folder, {folder.resolve()}))
    files = sorted(path for path, why in entries if why is None)
    said = _passed_over(folder, entries)
    if not files:
        raise FileNotFoundError(
            f"no pictures in the folder {folder}: looked for {', '.join(SUFFIXES)}, in "
            f"subfolders too{said and '; passed over ' + said}"
        )
    if said:
        warnings.warn(f"passed over in the folder {folder}: {said}", stacklevel=3)
    inside = [path.relative_to(folder).parts for path, _ in entries if _is_picture(path)]
    return files, sorted({parts[0] for parts in inside if len(parts) > 1})


def _open(file):
    if Path(file).suffix.lower() in (".heic", ".heif"):
        with suppress(ImportError):
            import pillow_heif

            pillow_heif.register_heif_opener()
    return Image.open(file)


def _entries(folder, above):
    """(file, None) for each picture in a folder and its subfolders, linked ones too, and
    (path, why) for what is passed over; nothing of hidden names and ``SYSTEM`` files, which nobody
    means."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            if path.name not in SYSTEM:
                yield path, _why_not(path)
        elif path.name in SYSTEM:
            yield path, "left behind by a system"
        elif path.resolve() in above:
            yield path, "a link back to a folder around it"
        else:
            yield from _entries(path, above | {path.resolve()})


def _is_picture(path):
    return path.suffix.lower() in SUFFIXES


def _why_not(path):
    if not _is_picture(path):
        return "no picture"
    if not path.is_file():
        return "a link to nowhere"
    if path.suffix.lower() in DOUBTFUL:
        try:
            with warnings.catch_warnings(action="ignore"), _open(path):
                pass
        except Exception:
            return "the installed Pillow cannot open it; save it as JPEG" + (
                ", or pip install pillow-heif" if path.suffix.lower() in (".heic", ".heif") else ""
            )
    return None


def _passed_over(folder, entries, most=5):
    """A line: up to ``most`` names, and how many more, for each reason."""
    names = {}
    for path, why in entries:
        if why is not None:
            names.setdefault(why, []).append(str(path.relative_to(folder)))
    return "; ".join(
        ", ".join(some[:most])
        + (f" and {len(some) - most} more" if len(some) > most else "")
        + f" ({why})"
        for why, some in names.items()
    )


def _to_tensor(image, size):
    transforms = import_torchvision().transforms.functional
    width, height = image.size
    # Of a thin picture the middle first, or it would be as much too long as its sides are enlarged.
    left, top = (max(0, (a - LONGEST * b) // 2) for a, b in ((width, height), (height, width)))
    if left or top:
        image = image.crop((left, top, width - left, height - top))
    image = transforms.resize(image, round(size * 256 / 224))
    return (
        torch.from_numpy(np.array(transforms.center_crop(image, [size, size]))).permute(2, 0, 1)
        / 255
    )


def _to_rgb(image):
    if image.mode.startswith(("I", "F")):  # 16 bits or more, which Pillow would cut off at 255
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise ValueError("it holds NaN or infinite values")
        top = 65535.0
        if image.mode == "F" and values.max() <= 255:
            top = 255.0 if values.max() > 1 else 1.0
        # row by row, since a large picture in float64 would fill the memory
        rows = (np.clip(row.astype(np.float64) / top, 0, 1) * 255 + 0.5 for row in values)
        image = Image.fromarray(np.stack([row.astype(np.uint8) for row in rows]))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_files(files, n, seed, size, root=None, folders=()):
    if not files:
        raise FileNotFoundError("the list of picture files is empty")
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(files)} files do not exist: {', '.join(missing)}"
        )
    labels, classes = _labels_of(files, root, folders)
    numbers = _chosen(len(files), n, seed)
    files, labels = (
        [files[i] for i in numbers],
        {part: values[numbers] for part, values in labels.items()},
    )
    pixels, broken = [], []
    for file in files:
        try:
            pixels.append(read_image(file, size or PHOTO_SIZE))
        except Exception as error:
            broken.append(f"{file} ({why_unreadable(file, error)})")
    if broken:
        raise ValueError(
            f"{len(broken)} of {len(files)} files cannot be read as pictures; "
            f"remove or replace them: {'; '.join(broken)}"
        )
    return ImageSet(torch.stack(pixels), tuple(file.stem for file in files), labels, {}, classes)


def _labels_of(files, root, folders):
    """ImageNet's classes where every file has one by its own name or its folder's, or some have and
    there are no class folders of other names; else the class folders', if all files lie in them."""
    ids = (DATA / "imagenet_wnids.txt").read_text().split()
    numbers = {wnid: number for number, wnid in enumerate(ids)}

    def number(name):
        return numbers.get(match[0], -1) if (match := _WNID.match(name)) else -1

    by_folder = [number(file.parent.name) for file in files]
    labels = [max(number(file.name), label) for file, label in zip(files, by_folder, strict=True)]
    inside = [file.relative_to(root).parts for file in files] if root is not None else [()]
    in_folders = all(len(parts) > 1 for parts in inside)
    if min(labels) >= 0 or (max(labels) >= 0 and not (in_folders and max(by_folder) < 0)):
        return {"class": torch.tensor(labels)}, {"class": imagenet_classes()}
    if in_folders:
        classes = torch.tensor([folders.index(parts[0]) for parts in inside])
        return {"class": classes}, {"class": tuple(folders)}
    return {}, {}


def _stored(split):
    """The pixels (N, 3, SIZE, SIZE) uint8 of a stored split, and what its file says of them."""
    with np.load(data_file("scenes", f"scenes-{split}.npz"), allow_pickle=False) as file:
        stored = dict(file)
    sheets = []
    while SIZE * SIZE * len(stored["parts"]) > sum(sheet.size // 3 for sheet in sheets):
        sheets.append(
            np.asarray(Image.open(data_file("scenes", f"scenes-{split}-{len(sheets)}.png")))
        )
    tiles = [
        sheet.reshape(len(sheet) // SIZE, SIZE, -1, SIZE, 3).transpose(0, 2, 4, 1, 3)
        for sheet in sheets
    ]
    return np.concatenate([tile.reshape(-1, 3, SIZE, SIZE) for tile in tiles]), stored


def _scenes(split, patched, n, seed, size):
    if split == "strong":
        numbers = _chosen(N_STORED, n, seed)
        scenes = [sample_scene(split, int(i)) for i in numbers]
        pixels, parts = (np.stack(arrays) for arrays in zip(*map(render, scenes), strict=True))
        corners = [scene.corner for scene in scenes]
        labels = {part: np.array([s.labels[part] for s in scenes]) for part in ("shape", "letter")}
    else:
        pixels, stored = _stored(split)
        numbers = _chosen(len(pixels), n, seed)
        pixels, parts, corners = (a[numbers] for a in (pixels, stored["parts"], stored["corner"]))
        labels = {part: stored[part][numbers] for part in ("shape", "letter")}
    labels = {part: torch.from_numpy(values).long() for part, values in labels.items()}
    masks = {
        part: torch.from_numpy(parts == code)[:, None]
        for code, part in zip((1, 2, 3, 0), PARTS, strict=True)
    }
    classes = {"shape": SHAPES, "letter": LETTERS}
    if patched:
        labels["patch"], classes["patch"] = labels["shape"].clone(), SHAPES
        masks["patch"] = torch.zeros_like(masks["shape"])
        for i, corner in enumerate(corners):
            window = patch_window(corner)
            pixels[(i, slice(None), *window)] = PATCH_COLOURS[labels["shape"][i]][:, None, None]
            masks["patch"][(i, 0, *window)] = True
        masks["background"] &= ~masks["patch"]
    pixels = torch.from_numpy(pixels) / 255
    if size not in (None, SIZE):
        transforms = import_torchvision().transforms
        resize, nearest = transforms.functional.resize, transforms.InterpolationMode.NEAREST
        pixels = resize(pixels, [size, size], antialias=True).clamp(0, 1)
        masks = {
            part: resize(mask.byte(), [size, size], interpolation=nearest).bool()
            for part, mask in masks.items()
        }
    return ImageSet(pixels, tuple(f"{split} {i}" for i in numbers), labels, masks, classes)


def _bundled(names, n, seed, size):
    names = tuple(names[i] for i in _chosen(len(names), n, seed))
    classes = imagenet_classes()
    labels = [BUNDLED[name].label for name in names]
    return ImageSet(
        torch.stack([read_image(bundled_file(name), size or PHOTO_SIZE) for name in names]),
        names,
        {"class": torch.tensor([-1 if one is None else classes.index(one) for one in labels])},
        {},
        {"class": classes},
    )


def _small(source, split, n, seed, size):
    if source == "digits":
        (pixels, labels), classes, size = digits(split), tuple("0123456789"), size or DIGIT_SIZE
    else:
        pixels, labels, classes = torchvision_dataset(source, split)
    numbers = torch.from_numpy(_chosen(len(pixels), n, seed))
    pixels = pixels[numbers]
    pixels = pixels if pixels.is_floating_point() else pixels / 255
    if size not in (None, pixels.shape[-1]):
        resize = import_torchvision().transforms.functional.resize
        pixels = resize(pixels, [size, size], antialias=True).clamp(0, 1)
    part = "class" if source == "cifar10" else "digit"
    names = tuple(f"{split} {i}" for i in numbers.tolist())
    return ImageSet(pixels, names, {part: labels[numbers]}, {}, {part: classes})


def _chosen(available, n, seed):
    if n is None:
        return np.arange(available)
    if n > available:
        raise ValueError(
            f"n={n} pictures were asked for, and there are {available}: "
            f"take n={available} or fewer, or add your own"
        )
    return np.random.default_rng(seed).permutation(available)[:n]
