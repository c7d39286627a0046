"""Pictures as tensors: every source's shape, range and labels; every kind of file right; whatever
is wrong is named."""

import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, features
from scipy.ndimage import binary_erosion

import helpers.benchmark.images
import helpers.benchmark.models
from helpers.benchmark.images import ImageSet, load_images, on_ground, read_image
from helpers.benchmark.models import load_card, load_model
from helpers.benchmark.scenes import (
    LETTERS,
    PATCH_COLOURS,
    SHAPES,
    patch_window,
    sample_scene,
)
from helpers.benchmark.sources import BUNDLED, DIGIT_SPLITS, PHOTOS, digits

SIZE = 224
BORDER = 16  # a picture of 256 px is cropped by this on each side


@pytest.fixture(scope="module")
def picture():
    """A known picture, (256, 256, 3) uint8: smooth (so JPEG keeps it), different under every turn
    and in every channel."""
    y, x = np.mgrid[0:256, 0:256] / 255.0
    red, green, blue = 0.1 + 0.8 * x, 0.2 + 0.6 * y**2, 0.5 + 0.4 * np.sin(4 * x) * np.cos(3 * y)
    return np.round(255 * np.stack([red, green, blue], axis=2)).astype(np.uint8)


@pytest.fixture(scope="module")
def grey(picture):
    return np.asarray(Image.fromarray(picture).convert("L"))


def save(folder, name, array, **options):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(file, **options)
    return file


def little(folder, name, colour=(200, 30, 90)):
    return save(folder, name, np.full((20, 30, 3), colour, np.uint8))


def assert_shows(file, expected, tolerance=0.004):
    """The file is read as ``expected``, (256, 256, 3) or (256, 256) uint8, but for a border that is
    cropped."""
    pixels = read_image(file)
    assert pixels.shape == (3, SIZE, SIZE) and pixels.dtype == torch.float32
    expected = (
        np.broadcast_to(expected[..., None], (256, 256, 3)) if expected.ndim == 2 else expected
    )
    expected = expected[BORDER:-BORDER, BORDER:-BORDER].transpose(2, 0, 1) / 255
    assert np.abs(pixels.numpy() - expected).max() <= tolerance


# --- kinds of files


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        (".png", {}, 0.001),
        (".jpg", {"quality": 95}, 0.03),
        (".webp", {"lossless": True}, 0.001),
        (".bmp", {}, 0.001),
        (".tiff", {}, 0.001),
        (".JPEG", {"quality": 95}, 0.03),
    ],
)
def test_colour_files_come_out_as_they_are(tmp_path, picture, suffix, options, tolerance):
    assert_shows(save(tmp_path, f"a{suffix}", picture, **options), picture, tolerance)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, 1)),
        (7, lambda a: np.rot90(a.transpose(1, 0, 2), 2)),
        (8, lambda a: np.rot90(a, -1)),
    ],
)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_pictures_are_turned_as_exif_says(tmp_path, picture, orientation, stored, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(
        tmp_path, f"a{suffix}", np.ascontiguousarray(stored(picture)), exif=exif, quality=95
    )
    assert_shows(file, picture, 0.03)


def test_grey_is_the_same_in_all_channels(tmp_path, grey):
    assert_shows(save(tmp_path, "a.png", grey), grey, 0.001)


def test_black_and_white_of_one_bit(tmp_path, grey):
    assert_shows(
        save(tmp_path, "a.png", Image.fromarray(255 * np.uint8(grey > 120)).convert("1")),
        255 * np.uint8(grey > 120),
    )


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bit_grey_keeps_its_range(tmp_path, grey, suffix):
    assert_shows(save(tmp_path, f"a{suffix}", grey.astype(np.uint16) * 257), grey, 0.003)


def test_sixteen_bit_grey_of_low_values_stays_dark(tmp_path):
    for value in (1, 200):
        assert (
            read_image(save(tmp_path, f"{value}.png", np.full((256, 256), value, np.uint16))).max()
            <= 0.01
        )


@pytest.mark.parametrize("top", [1, 255])
def test_floating_point_grey_of_either_range(tmp_path, grey, top):
    assert_shows(save(tmp_path, "a.tiff", (grey / 255 * top).astype(np.float32)), grey, 0.004)


def test_palette(tmp_path, picture):
    palette = Image.fromarray(picture).quantize(64)
    for suffix in (".png", ".gif"):
        assert_shows(
            save(tmp_path, f"a{suffix}", palette), np.asarray(palette.convert("RGB")), 0.001
        )


def test_palette_with_transparency_lies_on_white(tmp_path, picture):
    palette = Image.fromarray(picture).quantize(16)
    numbers, expected = np.asarray(palette), np.asarray(palette.convert("RGB")).copy()
    expected[numbers == 3] = 255
    for suffix in (".png", ".gif"):
        assert_shows(save(tmp_path, f"a{suffix}", palette, transparency=3), expected, 0.001)


def _on_white(colours, alpha):
    alpha = alpha[..., None] / 255
    return np.round(colours * alpha + 255 * (1 - alpha)).astype(np.uint8)


def test_alpha_lies_on_white(tmp_path, picture):
    alpha = np.ascontiguousarray(picture[::-1, :, 0])
    assert_shows(
        save(tmp_path, "a.png", np.dstack([picture, alpha])), _on_white(picture, alpha), 0.01
    )


def test_grey_with_alpha_lies_on_white(tmp_path, picture, grey):
    alpha = np.ascontiguousarray(picture[::-1, :, 0])
    merged = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    assert_shows(save(tmp_path, "a.png", merged), _on_white(np.dstack([grey] * 3), alpha), 0.01)


def test_colour_with_one_transparent_colour_lies_on_white(tmp_path, picture):
    array = picture.copy()
    array[100:150, 100:150] = (1, 2, 3)
    expected = picture.copy()
    expected[100:150, 100:150] = 255
    assert_shows(save(tmp_path, "a.png", array, transparency=(1, 2, 3)), expected, 0.001)


def test_cmyk(tmp_path, picture):
    # The inverse of Pillow's CMYK → RGB without black ink: 255 − channel.
    cmyk = np.dstack([255 - picture, np.zeros((256, 256), np.uint8)])
    image = Image.frombytes("CMYK", (256, 256), cmyk.tobytes())
    assert_shows(save(tmp_path, "a.jpg", image, quality=95), picture, 0.03)
    assert_shows(save(tmp_path, "a.tiff", image), picture, 0.001)


def test_first_frame_of_an_animation(tmp_path, picture):
    first, second = (Image.fromarray(a).quantize(32) for a in (picture, 255 - picture))
    file = save(tmp_path, "a.gif", first, save_all=True, append_images=[second])
    assert_shows(file, np.asarray(first.convert("RGB")), 0.001)


def test_shorter_side_is_resized_and_the_middle_cropped(tmp_path):
    array = np.zeros((100, 300, 3), np.uint8)
    array[:, 100:200] = 255  # the middle square, and nothing else
    pixels = read_image(save(tmp_path, "wide.png", array), 64)
    assert pixels.shape == (3, 64, 64) and pixels.min() > 0.99
    tall = read_image(save(tmp_path, "tall.png", array.transpose(1, 0, 2).copy()), 64)
    assert tall.shape == (3, 64, 64) and tall.min() > 0.99


@pytest.mark.parametrize("shape", [(20, 200), (200, 20)])
def test_the_middle_of_a_thin_picture(tmp_path, shape):
    y, x = (np.arange(side) - side / 2 for side in shape)
    ramp = np.uint8(np.clip(128 + 4 * x[None] + 2 * y[:, None], 0, 255))
    found = read_image(save(tmp_path, "thin.png", ramp), 64)
    whole = Image.fromarray(ramp).resize([round(73 * s / 20) for s in shape[::-1]], 2)
    left, top = ((side - 64) // 2 for side in whole.size)
    right = np.asarray(whole.crop((left, top, left + 64, top + 64))) / 255
    assert np.abs(found[0].numpy() - right).max() < 0.03


def test_thin_pictures_take_little_memory(tmp_path):
    file = save(tmp_path, "thin.png", np.full((60_000, 1), 200, np.uint8))
    seen = []
    resize = torchvision.transforms.functional.resize

    def watched(image, size):
        seen.append(resize(image, size).size)
        return resize(image, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.transforms.functional, "resize", watched)
        assert read_image(file).allclose(torch.tensor(200 / 255))
    assert seen == [(256, 1024)]


def test_bombs_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    little(tmp_path, "bomb.png")
    with pytest.raises(ValueError, match=r"bomb\.png \(DecompressionBombError: .*600 pixels"):
        load_images(tmp_path)


def test_a_picture_that_is_not_finite_is_named(tmp_path):
    save(tmp_path, "a.tiff", np.full((20, 20), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"a\.tiff \(ValueError: it holds NaN"):
        load_images(tmp_path)


# --- scenes


@pytest.fixture(scope="module", params=["tune", "test"])
def scenes(request):
    return request.param, load_images("scenes", split=request.param)


def test_scenes_come_with_labels_and_masks(scenes):
    split, images = scenes
    assert len(images) == len(images.names) == 500
    assert images.pixels.shape == (500, 3, 64, 64) and images.pixels.dtype == torch.float32
    assert 0 <= images.pixels.min() < 0.01 and 0.99 < images.pixels.max() <= 1
    assert set(images.labels) == {"shape", "letter"} and images.classes == {
        "shape": SHAPES,
        "letter": LETTERS,
    }
    for values in images.labels.values():
        assert (
            values.shape == (500,)
            and values.dtype == torch.int64
            and set(values.tolist()) == set(range(10))
        )
    assert set(images.masks) == {"shape", "letter", "distractors", "background"}
    for mask in images.masks.values():
        assert (
            mask.shape == (500, 1, 64, 64)
            and mask.dtype == torch.bool
            and mask.flatten(1).any(1).all()
        )
    assert torch.equal(
        sum(mask.int() for mask in images.masks.values()),
        torch.ones(500, 1, 64, 64, dtype=torch.int32),
    )
    assert images.names[7] == f"{split} 7" and len(set(images.names)) == 500


def test_splits_share_no_picture():
    tune, test = (
        load_images("scenes", split=split).pixels.flatten(1) for split in ("tune", "test")
    )
    assert len({row.numpy().tobytes() for row in torch.cat([tune, test])}) == 1000


def test_shortcut_scenes_carry_a_patch_that_gives_the_shape_away():
    plain, images = load_images("scenes"), load_images("scenes-shortcut")
    assert (
        torch.equal(images.labels["patch"], plain.labels["shape"])
        and images.classes["patch"] == SHAPES
    )
    mask = images.masks["patch"]
    assert mask.flatten(1).sum(1).unique().tolist() == [64]
    assert torch.equal(images.pixels * ~mask, plain.pixels * ~mask)
    colours = torch.from_numpy(PATCH_COLOURS)[images.labels["patch"]] / 255
    assert torch.allclose(images.pixels * mask, colours[:, :, None, None] * mask)
    assert not any(
        (images.masks[part] & mask).any()
        for part in ("shape", "letter", "distractors", "background")
    )
    corners = torch.stack(
        [mask[(slice(None), 0, *patch_window(corner))].flatten(1).all(1) for corner in range(4)]
    )
    assert corners.sum(0).eq(1).all() and corners.sum(1).min() > 50


@pytest.mark.parametrize("source", ["scenes", "photos"])
def test_few_pictures_are_the_first_of_more_and_follow_from_the_seed(source):
    three, four, other = (
        load_images(source, 3, seed=5),
        load_images(source, 4, seed=5),
        load_images(source, 3, seed=6),
    )
    assert three.names == four.names[:3] and torch.equal(three.pixels, four.pixels[:3])
    assert len(set(four.names)) == 4 and three.names != other.names
    every = load_images(source)
    for i, name in enumerate(three.names):
        j = every.names.index(name)
        assert torch.equal(three.pixels[i], every.pixels[j])
        assert all(three.labels[part][i] == values[j] for part, values in every.labels.items())
        assert all(
            torch.equal(three.masks[part][i], values[j]) for part, values in every.masks.items()
        )


def test_loading_leaves_the_global_random_state_alone():
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    load_images("scenes", 3)
    assert (
        torch.equal(torch.get_rng_state(), before[0])
        and (np.random.get_state()[1] == before[1]).all()
    )


@pytest.mark.parametrize("size", [32, 100])
def test_scenes_of_another_size_keep_their_parts(size):
    plain, images = load_images("scenes-shortcut", 4), load_images("scenes-shortcut", 4, size=size)
    assert (
        images.pixels.shape == (4, 3, size, size)
        and images.pixels.min() >= 0
        and images.pixels.max() <= 1
    )
    for part, mask in images.masks.items():
        assert mask.shape == (4, 1, size, size) and mask.dtype == torch.bool
        assert torch.allclose(
            mask.float().mean((1, 2, 3)), plain.masks[part].float().mean((1, 2, 3)), atol=0.02
        )
    assert torch.allclose(images.pixels.mean((2, 3)), plain.pixels.mean((2, 3)), atol=0.01)


@pytest.mark.parametrize("missing", ["scenes-test.npz", "scenes-test-0.png", "scenes-test-1.png"])
def test_missing_sheet_of_scenes_is_named(tmp_path, monkeypatch, missing):
    for file in helpers.benchmark.images.DATA.glob("scenes-test*"):
        if file.name != missing:
            (tmp_path / file.name).symlink_to(file)
    monkeypatch.setattr(helpers.benchmark.models, "DATA", tmp_path)
    monkeypatch.setattr(helpers.benchmark.images, "DATA", tmp_path)
    with pytest.raises(FileNotFoundError, match=missing):
        load_images("scenes")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A torch hub of its own, from which the place of datasets follows; there is no network."""
    from torchvision.datasets import cifar, imagenette, mnist

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.delenv("HELPERS_DATASETS", raising=False)

    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    for module in (cifar, imagenette, mnist):
        monkeypatch.setattr(module, "download_and_extract_archive", no_network)
    return tmp_path


# --- photographs, folders, lists


def test_bundled_photographs_show_their_class():
    images = load_images("photos")
    assert images.names == PHOTOS and len(PHOTOS) >= 5
    assert images.pixels.shape == (len(PHOTOS), 3, SIZE, SIZE)
    assert images.pixels.min() >= 0 and images.pixels.max() <= 1
    assert images.pixels.dtype == torch.float32 and images.masks == {}
    assert (images.pixels.flatten(2).std(2) > 0.05).all()  # each shows something
    named = [images.classes["class"][label] for label in images.labels["class"]]
    assert named == [BUNDLED[name].label for name in PHOTOS]
    assert load_images("photos", 2, size=64).pixels.shape == (2, 3, 64, 64)


def test_a_real_network_agrees_with_most_of_their_labels():
    model, images = load_model("efficientnet_lite0", device="cpu"), load_images("photos")
    with torch.no_grad():
        best = model(images.pixels).topk(3).indices
    assert (best == images.labels["class"][:, None]).any(1).all()


def test_every_bundled_photograph_is_there_by_name_or_says_why_it_has_no_class():
    for name, photo in BUNDLED.items():
        image = load_images(f"photos/{name}", size=16)
        assert image.names == (name,) and image.pixels.shape == (1, 3, 16, 16)
        assert (photo.label is None) == (int(image.labels["class"]) == -1)
        assert photo.label or photo.why


def test_an_unknown_or_missing_bundled_photograph_says_so(monkeypatch):
    with pytest.raises(ValueError, match="did you mean 'photos/astronaut'"):
        load_images("photos/astronut")
    monkeypatch.setitem(BUNDLED, "cat", BUNDLED["cat"]._replace(file="data/no.png"))
    with pytest.raises(FileNotFoundError, match=r"'cat' comes with skimage, and .*no\.png"):
        load_images("photos/cat")


def test_digits_are_scikit_learns_enlarged():
    images = load_images("digits", size=8)
    assert images.pixels.shape == (500, 1, 8, 8) and images.names[0] == "test 0"
    pixels, labels = digits("test")
    assert torch.equal(images.pixels, pixels) and torch.equal(images.labels["digit"], labels)
    assert pixels.unique().mul(16).frac().eq(0).all() and pixels.max() == 1
    large = load_images("digits", 3, split="tune")
    assert large.pixels.shape == (3, 1, 32, 32)
    assert torch.allclose(large.pixels.mean((1, 2, 3)), large.pixels.mean(), atol=0.2)
    ends = sorted(DIGIT_SPLITS.values())
    assert [a for a, _ in ends[1:]] == [b for _, b in ends[:-1]]  # no picture is in two splits


def test_the_network_of_digits_is_as_right_as_its_card_says():
    model, images = load_model("digits", device="cpu"), load_images("digits")
    assert (model.part, model.images) == ("digit", "digits")
    assert model.classes == images.classes["digit"]
    with torch.no_grad():
        right = (model(images.pixels).argmax(1) == images.labels["digit"]).float().mean()
    assert float(right) == pytest.approx(load_card("digits")["accuracy"]["value"], abs=2 / 500)
    assert right > 0.97


@pytest.fixture
def mnist(hub):
    """A small MNIST where torchvision's would lie."""
    import torchvision.datasets.mnist

    folder = hub / "datasets" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, n in (("train", 3), ("t10k", 2)):
        pixels = np.arange(n * 28 * 28, dtype=np.uint32).astype(np.uint8)
        for file, header, body in (
            ("images-idx3", [2051, n, 28, 28], pixels),
            ("labels-idx1", [2049, n], np.arange(n, dtype=np.uint8)),
        ):
            content = np.array(header, ">u4").tobytes() + body.tobytes()
            (folder / f"{name}-{file}-ubyte").write_bytes(content)
    return torchvision.datasets.MNIST


def test_mnist_is_read_by_torchvisions_class(mnist, hub):
    theirs = mnist(hub / "datasets", train=True)
    images = load_images("mnist", split="tune")
    assert torch.equal(images.pixels[:, 0], theirs.data / 255)
    assert images.labels["digit"].tolist() == [0, 1, 2] and images.classes["digit"][2] == "2"
    assert load_images("mnist", 1, size=32).pixels.shape == (1, 1, 32, 32)


def test_cifar10_is_read_by_torchvisions_class(hub, monkeypatch):
    import torchvision.datasets

    class Two:
        data, targets = np.arange(2 * 32 * 32 * 3).reshape(2, 32, 32, 3).astype(np.uint8), [3, 9]
        classes = list("abcdefghij")  # noqa: RUF012

        def __init__(self, root, train, download):
            (Path(root) / "cifar-10-batches-py").mkdir(exist_ok=True)

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Two)
    images = load_images("cifar10")
    assert images.pixels.shape == (2, 3, 32, 32) and images.labels["class"].tolist() == [3, 9]
    assert torch.equal(images.pixels[1, 2], torch.from_numpy(Two.data[1, ..., 2]) / 255)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "imagenette"])
def test_datasets_offline_are_one_clear_error(hub, name, capfd):
    with pytest.raises(FileNotFoundError, match=f"{name} is not on this machine") as caught:
        load_images(name)
    assert all(word in str(caught.value) for word in ("HELPERS_DATASETS", str(hub / "datasets")))
    assert list((hub / "datasets").iterdir()) == [] and capfd.readouterr().out == ""


def test_datasets_may_lie_elsewhere(mnist, hub, monkeypatch):
    (hub / "datasets").rename(hub / "elsewhere")
    monkeypatch.setenv("HELPERS_DATASETS", str(hub / "elsewhere"))
    assert len(load_images("mnist")) == 2


def test_folder_with_wordnet_names_has_imagenet_classes(tmp_path):
    for name in (
        "n01440764_tench.JPEG",
        "n02102040_springer.jpg",
        "n15075141_roll.png",
        "holiday.png",
        "n99999999_x.png",
    ):
        little(tmp_path, name)
    images = load_images(tmp_path)
    assert dict(zip(images.names, images.labels["class"].tolist(), strict=True)) == {
        "n01440764_tench": 0,
        "n02102040_springer": 217,
        "n15075141_roll": 999,
        "holiday": -1,
        "n99999999_x": -1,
    }
    classes = images.classes["class"]
    assert (len(classes), classes[0], classes[217], classes[999]) == (
        1000,
        "tench",
        "English springer",
        "toilet tissue",
    )


def test_folder_with_wordnet_subfolders_has_imagenet_classes(tmp_path):
    for name in ("n01440764/1.png", "n01440764/deeper.png", "n03888257/1.png"):
        little(tmp_path, name)
    assert load_images(tmp_path).labels["class"].tolist() == [0, 0, 701]


def test_folder_with_class_subfolders_counts_them_sorted(tmp_path):
    for name in ("dog/1.png", "cat/2.png", "cat/deep/3.png", "bird/4.png"):
        little(tmp_path, name)
    images = load_images(str(tmp_path))
    assert images.classes["class"] == ("bird", "cat", "dog")
    assert dict(zip(images.names, images.labels["class"].tolist(), strict=True)) == {
        "4": 0,
        "2": 1,
        "3": 1,
        "1": 2,
    }


def test_class_of_a_picture_does_not_depend_on_how_many_are_asked_for(tmp_path):
    for name in ("dog/1.png", "cat/2.png", "bird/3.png", "bird/4.png"):
        little(tmp_path, name)
    every, one = load_images(tmp_path), load_images(tmp_path, 1, seed=2)
    assert one.labels["class"] == every.labels["class"][every.names.index(one.names[0])]
    little(tmp_path, "loose.png")
    assert all(load_images(tmp_path, 1, seed=seed).labels == {} for seed in range(8))


def test_folder_without_classes_has_no_labels(tmp_path):
    little(tmp_path, "a.png")
    little(tmp_path, "b.jpg")
    images = load_images(tmp_path)
    assert images.names == ("a", "b") and images.labels == {} and images.classes == {}


def test_list_of_files_keeps_its_order(tmp_path):
    files = [little(tmp_path, "z.png", (255, 0, 0)), str(little(tmp_path, "a.png", (0, 0, 255)))]
    images = load_images(files, size=32)
    assert (
        images.names == ("z", "a")
        and images.pixels[0, 0].min() == 1
        and images.pixels[1, 2].min() == 1
    )
    assert load_images(files[0]).names == ("z",)


def test_list_of_files_with_wordnet_names_has_classes(tmp_path):
    assert load_images([little(tmp_path, "n01440764_1.png")]).labels["class"].tolist() == [0]


def test_hidden_files_are_passed_over_unsaid(tmp_path, recwarn):
    little(tmp_path, "a.png")
    for name in (".hidden.png", "._a.png", ".ipynb_checkpoints/a-checkpoint.png", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no picture")
    (tmp_path / "folder.png").mkdir()
    images = load_images(tmp_path)
    assert images.names == ("a",) and images.labels == {} and not recwarn.list


def test_what_is_passed_over_is_said_once(tmp_path):
    little(tmp_path, "a.png")
    for number in range(7):
        (tmp_path / f"{number}.txt").write_text("no picture")
    for name in ("b.HEIC", "c.avif"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.warns(UserWarning, match="passed over in the folder") as said:
        assert load_images(tmp_path).names == ("a",)
    (warning,) = said
    assert warning.filename == __file__
    for part in (
        "0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 2 more (no picture)",
        "b.HEIC (the installed Pillow cannot open it; save it as JPEG, or pip install pillow-heif)",
        "c.avif (the installed Pillow cannot open it; save it as JPEG)",
        "gone.jpg (a link to nowhere)",
    ):
        assert part in str(warning.message)
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"no pictures .*b\.HEIC \(the installed Pillow"):
        load_images(tmp_path)


@pytest.mark.parametrize("kind", ["ppm", "pgm", "jp2", "avif", "jfif", "JPG"])
def test_less_usual_suffixes(tmp_path, kind, recwarn):
    if not features.check({"jp2": "jpg_2000", "avif": "avif"}.get(kind, "jpg")):
        pytest.skip("this Pillow was built without it")
    Image.new("L", (40, 30), 128).save(
        tmp_path / f"a.{kind}", format="JPEG" if kind == "jfif" else None
    )
    images = load_images(tmp_path, size=8)
    assert images.names == ("a",) and images.pixels.allclose(torch.tensor(0.5), atol=0.01)
    assert not recwarn.list


class TestClassFolders:
    """cat/ and dog/ are classes 0 and 1, whatever lies beside them."""

    @pytest.fixture
    def folder(self, tmp_path):
        for name in ("cat", "dog"):
            little(tmp_path / "own", f"{name}/1.png")
        return tmp_path / "own"

    def told(self, folder):
        images = load_images(folder, size=8)
        return images.classes["class"], images.labels["class"].tolist()

    @pytest.mark.parametrize(
        "left", ["__MACOSX/cat/1.png", "@eaDir/1.jpg", "cat/@eaDir/1.png/SYNOPHOTO_THUMB_XL.jpg"]
    )
    def test_what_systems_leave(self, folder, left):
        little(folder, left)
        with pytest.warns(UserWarning, match=r"(__MACOSX|@eaDir) \(left behind by a system\)"):
            assert self.told(folder) == (("cat", "dog"), [0, 1])

    def test_folders_without_pictures_are_no_class(self, folder):
        (folder / "bad").mkdir()
        (folder / "a notes").mkdir()
        (folder / "a notes" / "1.txt").write_text("no picture")
        with pytest.warns(UserWarning, match="no picture"):
            assert self.told(folder) == (("cat", "dog"), [0, 1])

    def test_a_class_of_which_no_picture_can_be_opened_still_counts(self, folder):
        (folder / "bird").mkdir()
        (folder / "bird" / "1.heic").write_bytes(b"x")
        with pytest.warns(UserWarning, match="1.heic"):
            assert self.told(folder) == (("bird", "cat", "dog"), [1, 2])

    def test_links_are_followed_but_not_in_circles(self, folder, tmp_path):
        little(tmp_path, "elsewhere/1.png")
        (folder / "eel").symlink_to(tmp_path / "elsewhere")
        assert self.told(folder) == (("cat", "dog", "eel"), [0, 1, 2])
        (folder / "cat" / "again").symlink_to(folder)
        with pytest.warns(UserWarning, match=r"cat/again \(a link back"):
            assert self.told(folder) == (("cat", "dog", "eel"), [0, 1, 2])

    @pytest.mark.parametrize("name", ["n20230915_143000.png", "n014407641.png", "n01440764_1.png"])
    def test_one_file_named_like_a_wordnet_id_changes_nothing(self, folder, name):
        little(folder, f"cat/{name}")
        assert self.told(folder) == (("cat", "dog"), [0, 0, 1])

    def test_dates_are_no_wordnet_ids(self, tmp_path):
        assert load_images([little(tmp_path, "n20230915_143000.png")]).labels == {}

    def test_folders_named_by_wordnet_ids_of_which_imagenet_lacks_some(self, tmp_path):
        for name in ("n01440764/1.png", "n00000001/1.png"):
            little(tmp_path, name)
        assert load_images(tmp_path).labels["class"].tolist() == [-1, 0]


def test_photographs_of_the_reader(photos):
    images = load_images(photos)
    assert images.pixels.shape == (60, 3, SIZE, SIZE)
    classes = [
        images.classes["class"][label].replace(" ", "_").lower() for label in images.labels["class"]
    ]
    names = [name.split("_", 1)[1].lower() for name in images.names]
    same = [name in kind or kind in name for name, kind in zip(names, classes, strict=True)]
    assert sum(same) >= 55  # spelt alike; the rest are synonyms


# --- what can be wrong


def test_all_broken_files_are_named_in_one_error(tmp_path, picture):
    good = little(tmp_path, "good.png")
    whole = save(tmp_path, "cut.png", picture).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    jpeg = save(tmp_path, "cut.jpg", picture).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(
        ValueError, match="4 of 5 files cannot be read as pictures; remove or replace them"
    ) as caught:
        load_images(tmp_path)
    message = str(caught.value)
    assert all(
        message.count(str(tmp_path / name)) == 1
        for name in ("cut.png", "cut.jpg", "empty.png", "text.jpg")
    )
    assert "empty.png (empty file)" in message and str(good) not in message


def test_missing_files_are_all_named(tmp_path):
    good = little(tmp_path, "good.png")
    with pytest.raises(
        FileNotFoundError, match=r"2 of 3 files do not exist: .*one\.png, .*two\.png"
    ):
        load_images([tmp_path / "one.png", good, tmp_path / "two.png"])


def test_folder_without_pictures_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(FileNotFoundError, match=r"no pictures in the folder .*looked for \.jpg"):
        load_images(tmp_path)


def test_empty_list_says_so():
    with pytest.raises(FileNotFoundError, match="list of picture files is empty"):
        load_images([])


@pytest.mark.parametrize("source", ["./nowhere", "no/such/folder", "picture.png"])
def test_missing_path_is_named_and_not_taken_for_a_misspelt_name(source, tmp_path):
    for given in (source, tmp_path / source):
        with pytest.raises(FileNotFoundError, match="no folder or file") as caught:
            load_images(given)
        assert source.lstrip("./") in str(caught.value)


@pytest.mark.parametrize(
    ("source", "nearest"), [("scene", "scenes"), ("photo", "photos"), ("imagenet", "imagenette")]
)
def test_unknown_source_lists_the_nearest(source, nearest):
    with pytest.raises(
        ValueError, match=f"unknown source of pictures.*'{source}'; did you mean .*'{nearest}'"
    ):
        load_images(source)


def test_unknown_split_lists_the_nearest():
    with pytest.raises(ValueError, match=r"unknown split 'tests'; did you mean 'test'\?"):
        load_images("scenes", split="tests")


@pytest.mark.parametrize(("source", "available"), [("scenes", 500), ("photos", len(PHOTOS))])
def test_more_pictures_than_there_are(source, available):
    with pytest.raises(
        ValueError, match=rf"n={available + 1} pictures were asked for, and there are {available}"
    ):
        load_images(source, available + 1)


def test_more_files_than_there_are(tmp_path):
    little(tmp_path, "a.png")
    with pytest.raises(ValueError, match="n=2 pictures were asked for, and there are 1"):
        load_images(tmp_path, 2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be at least 1, found 0"),
        ({"n": -3}, ValueError, "n must be at least 1, found -3"),
        ({"n": 2.5}, TypeError, "n must be an integer, found 2.5"),
        ({"n": True}, TypeError, "an integer"),
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"size": "big"}, TypeError, "size must be an integer"),
    ],
)
@pytest.mark.parametrize("source", ["scenes", "photos"])
def test_impossible_numbers_are_refused(source, options, error, message):
    with pytest.raises(error, match=message):
        load_images(source, **options)


# --- Imagenette


def _fake_imagenette(root):
    for split in ("train", "val"):
        for wnid in ("n01440764", "n02102040", "n03888257"):
            little(root / "imagenette2-320" / split / wnid, f"{wnid}_{split}.JPEG")


def test_imagenette_on_disk_has_imagenet_classes(hub):
    _fake_imagenette(hub / "datasets")
    images = load_images("imagenette")
    assert images.names == ("n01440764_val", "n02102040_val", "n03888257_val")
    assert (
        images.labels["class"].tolist() == [0, 217, 701]
        and images.classes["class"][701] == "parachute"
    )
    tune = load_images("imagenette", 2, split="tune", size=32)
    assert tune.pixels.shape == (2, 3, 32, 32) and all(
        name.endswith("_train") for name in tune.names
    )


def test_imagenette_offline_says_where_it_looked_and_leaves_nothing(hub):
    with pytest.raises(FileNotFoundError, match="could not be downloaded") as caught:
        load_images("imagenette")
    where = str(hub / "datasets" / "imagenette2-320")
    assert where in str(caught.value) and "no route to host" in str(caught.value)
    assert list((hub / "datasets").iterdir()) == []


def test_imagenette_cut_off_midway_is_not_taken_for_whole(hub, monkeypatch):
    import torchvision.datasets.imagenette as module

    def cut_off(url, root, **options):
        little(Path(root) / "imagenette2-320" / "val" / "n01440764", "1.JPEG")
        raise OSError("connection reset")

    monkeypatch.setattr(module, "download_and_extract_archive", cut_off)
    with pytest.raises(FileNotFoundError, match="connection reset"):
        load_images("imagenette")
    assert list((hub / "datasets").iterdir()) == []
    monkeypatch.setattr(
        module,
        "download_and_extract_archive",
        lambda url, root, **options: _fake_imagenette(Path(root)),
    )
    assert len(load_images("imagenette")) == 3 and [
        f.name for f in (hub / "datasets").iterdir()
    ] == ["imagenette2-320"]


# --- ImageSet


@pytest.mark.parametrize(
    ("which", "numbers"),
    [
        (2, [2]),
        (-1, [5]),
        (slice(1, 3), [1, 2]),
        ([4, 0], [4, 0]),
        (torch.tensor([3]), [3]),
        (np.array([1, 1]), [1, 1]),
        (torch.tensor([True, False, False, True, False, False]), [0, 3]),
    ],
)
def test_indexing_gives_an_image_set_of_those_pictures(which, numbers):
    images = load_images("scenes", 6)
    some = images[which]
    assert isinstance(some, ImageSet) and len(some) == len(numbers)
    assert some.names == tuple(images.names[i] for i in numbers)
    assert torch.equal(some.pixels, images.pixels[numbers])
    for part in images.labels:
        assert torch.equal(some.labels[part], images.labels[part][numbers])
    for part in images.masks:
        assert torch.equal(some.masks[part], images.masks[part][numbers])
    assert some.classes == images.classes


def test_an_index_beyond_the_last_picture_ends_a_loop():
    images = load_images("scenes", 2)
    with pytest.raises(IndexError):
        images[2]
    assert [one.names for one in images] == [(name,) for name in images.names]


def test_moving_an_image_set_moves_all_of_it():
    images = load_images("scenes-shortcut", 2).to("meta")
    assert {
        t.device.type for t in (images.pixels, *images.labels.values(), *images.masks.values())
    } == {"meta"}


def test_the_strong_split_repeats_the_test_pictures_on_stronger_backgrounds():
    strong, test = (load_images("scenes", 6, split=split) for split in ("strong", "test"))
    assert [name.split()[1] for name in strong.names] == [name.split()[1] for name in test.names]
    for part in ("shape", "letter"):
        assert strong.labels[part].equal(test.labels[part])
        assert strong.masks[part].equal(test.masks[part])
    ground = test.masks["background"].expand_as(test.pixels)
    spread = [images.pixels[ground].std() for images in (strong, test)]
    inside = test.masks["shape"].expand_as(test.pixels)
    # the parts are as they were but for the ground that shows through their edges
    assert (strong.pixels[inside] - test.pixels[inside]).abs().median() < 0.01
    assert spread[0] > 1.2 * spread[1]
    with pytest.raises(ValueError, match="split"):
        load_images("digits", split="strong")


def test_the_same_scenes_on_a_ground_of_another_contrast():
    images = load_images("scenes", 4)
    plain = on_ground(images, 0)
    assert plain.names == images.names and plain.masks["shape"].equal(images.masks["shape"])
    for i, name in enumerate(images.names):
        scene = sample_scene("test", int(name.split()[1]))
        ground = images.masks["background"][i, 0]
        assert plain.pixels[i][:, ground].std(1).max() == 0
        colour = torch.tensor(scene.background.colour)
        assert (plain.pixels[i][:, ground].mean(1) - colour).abs().max() < 1 / 255
        own = on_ground(images[i], scene.background.contrast)
        assert own.pixels.equal(images.pixels[[i]])
        inside = torch.from_numpy(binary_erosion(images.masks["shape"][i, 0], iterations=3))
        assert plain.pixels[i][:, inside].equal(images.pixels[i][:, inside])
