"""Networks: what their cards say holds, normalisation is inside, and what is missing or damaged
says so."""

import builtins
import hashlib
import json
import pickle
import sys
import urllib.error
from pathlib import Path

import pytest
import torch

import helpers.benchmark.models
from helpers.benchmark.imagenet import import_torchvision
from helpers.benchmark.images import load_images, read_image
from helpers.benchmark.models import (
    DATA,
    EMBEDDED,
    Classifier,
    WeightsNotFoundError,
    build_embedded,
    load_card,
    load_model,
    recipe_name,
)
from helpers.benchmark.scenes import LETTERS, PARTS, SHAPES
from helpers.benchmark.training import certify

CERTIFIED = [(name, seed) for name, (_, _, _, seeds) in EMBEDDED.items() for seed in seeds]
ONE_EACH = [(name, seeds[0]) for name, (_, _, _, seeds) in EMBEDDED.items()]
LIMIT = 0.05


class TouchesAFile:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def copied_data(tmp_path, monkeypatch):
    """A data folder with a copy of ``scenes``, seed 0, to be damaged."""
    for file in ("scenes-0.json", "scenes-0.safetensors"):
        (tmp_path / file).write_bytes((DATA / file).read_bytes())
    monkeypatch.setattr(helpers.benchmark.models, "DATA", tmp_path)
    return tmp_path


@pytest.fixture
def offline_hub(tmp_path, monkeypatch):
    """An empty folder for torchvision's weights and no way to fill it; returns where the files
    would lie."""

    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    return tmp_path / "checkpoints"


# --- the embedded networks and their cards


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        pytest.param(*network, marks=[] if network == ONE_EACH[0] else pytest.mark.slow)
        for network in CERTIFIED
    ],
)
def test_card_figures_are_recomputed_from_the_weights(name, seed):
    card = load_card(name, seed=seed)
    assert card["n"] == 500 and card["split"] == "test"
    found = certify(load_model(name, seed=seed, device="cpu"), split=card["split"], n=card["n"])
    assert found["accuracy"]["value"] == pytest.approx(card["accuracy"]["value"], abs=1 / 500)
    assert found["accuracy"]["interval_95"] == pytest.approx(
        card["accuracy"]["interval_95"], abs=0.005
    )
    assert set(card["swaps"]) == set(found["swaps"]) == {*PARTS, EMBEDDED[card["name"]][0]}
    for part, written in card["swaps"].items():
        again = found["swaps"][part]
        assert set(written) == set(again)
        assert again["mean_abs_margin_change"] == pytest.approx(
            written["mean_abs_margin_change"], rel=1e-3, abs=2e-4
        ), part
        if "ratio_to_own" in written:
            assert again["ratio_to_own"] == pytest.approx(
                written["ratio_to_own"], rel=2e-3, abs=2e-4
            ), part
            assert again["interval_95"] == pytest.approx(
                written["interval_95"], rel=1e-2, abs=4e-4
            ), part
            assert written["interval_95"][0] < written["ratio_to_own"] < written["interval_95"][1]


@pytest.mark.parametrize(("name", "seed"), ONE_EACH[1:])
def test_card_figures_are_those_of_the_weights_as_far_as_a_fifth_of_the_pictures_tells(name, seed):
    card = load_card(name, seed=seed)
    found = certify(load_model(name, seed=seed, device="cpu"), split=card["split"], n=100)
    assert found["accuracy"]["value"] == pytest.approx(card["accuracy"]["value"], abs=0.03)
    for part, written in card["swaps"].items():
        if "ratio_to_own" in written:
            low, high = written["interval_95"]
            # of 100 of the 500 it is off by less than half the interval in two of three cases
            key, allowed = "ratio_to_own", {"abs": 2 * (high - low)}
        else:
            key, allowed = "mean_abs_margin_change", {"rel": 0.1}
        assert found["swaps"][part][key] == pytest.approx(written[key], **allowed), part


@pytest.mark.parametrize(("name", "seed"), CERTIFIED)
def test_network_names_its_part_and_listens_to_nothing_else(name, seed):
    card, own = load_card(name, seed=seed), EMBEDDED[name][0]
    assert card["accuracy"]["value"] >= 0.99
    assert card["swaps"][own]["answer_follows"]["value"] >= 0.98
    ratios = {
        part: written["ratio_to_own"] for part, written in card["swaps"].items() if part != own
    }
    # what the shortcut network must reveal is the patch, whatever else it also sees; the other
    # recipes are there to be compared, certified or not, and the README says which are
    if own != "patch" and recipe_name(name) == "both":
        assert len(ratios) == 3 and max(ratios.values()) <= LIMIT, ratios
    # the part is what they read most by far, all of them
    assert max(ratios.values()) <= 2 * LIMIT


@pytest.mark.parametrize("noise", ["0.3"])
def test_the_card_says_what_noisy_copies_listen_to(noise):
    written = load_card("scenes", seed=1)["under_noise"][noise]
    found = certify(load_model("scenes", seed=1, device="cpu"), noise=float(noise))
    assert found["accuracy"]["value"] == pytest.approx(written["accuracy"], abs=0.01)
    for part in ("letter", "distractors", "background"):
        assert found["swaps"][part]["ratio_to_own"] == pytest.approx(written[part][0], rel=0.02)
        assert written[part][1] < written[part][0] < written[part][2]


@pytest.mark.parametrize(("name", "seed"), CERTIFIED)
def test_card_says_what_made_the_weights(name, seed):
    card = load_card(name, seed=seed)
    assert (card["name"], card["training_seed"]) == (name, seed)
    assert card["command"] == f"python -m helpers train {name} --seed {seed}"
    assert card["parameters"] == sum(p.numel() for p in load_model(name, seed=seed).parameters())


def test_training_seeds_are_different_networks_and_loading_one_twice_gives_the_same():
    pixels = load_images("scenes", 4).pixels
    with torch.no_grad():
        seeds = [load_model("scenes", seed=seed, device="cpu")(pixels) for seed in (0, 1, 2, 0)]
    assert torch.equal(seeds[0], seeds[3])
    assert not torch.allclose(seeds[0], seeds[1]) and not torch.allclose(seeds[1], seeds[2])


@pytest.mark.parametrize(("name", "seed"), ONE_EACH)
def test_embedded_network_names_its_part_in_the_stored_pictures(name, seed):
    model = load_model(name, seed=seed, device="cpu")
    assert isinstance(model, Classifier) and not any(module.training for module in model.modules())
    assert model.device.type == "cpu" and model.name == name and model.input_size == 64
    images = load_images(model.images, 100, split="tune")
    assert tuple(model.classes) == images.classes[model.part]
    with torch.no_grad():
        right = model(images.pixels).argmax(1) == images.labels[model.part]
    assert right.float().mean() >= 0.98


@pytest.mark.parametrize(
    ("name", "classes"),
    [("scenes", SHAPES), ("scenes-letters", LETTERS), ("scenes-shortcut", SHAPES)],
)
def test_embedded_classes_come_in_the_order_of_the_logits(name, classes):
    model = build_embedded(name)
    assert model.classes == classes
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 10)


# --- names, seeds, files


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("scene", "scenes"), ("scenes-letter", "scenes-letters"), ("resnet5O", "resnet50")],
)
def test_unknown_network_lists_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=rf"unknown network '{name}'; did you mean .*'{nearest}'"):
        load_model(name)


def test_unknown_network_without_neighbours_lists_some_that_are_known():
    with pytest.raises(ValueError, match="known: scenes, scenes-letters, scenes-shortcut, "):
        load_model("☃")


@pytest.mark.parametrize(
    ("name", "seed"),
    [("scenes", 3), ("scenes", None), ("scenes-letters", -1), ("scenes-shortcut", 1)],
)
def test_unknown_training_seed_names_those_there_are(name, seed):
    with pytest.raises(
        ValueError, match=rf"{name} is shipped with training seed 0.*found seed={seed}"
    ):
        load_model(name, seed=seed)


def test_torchvision_network_has_no_training_seeds():
    with pytest.raises(ValueError, match="resnet18, so seed must be 0, found 1"):
        load_model("resnet18", seed=1)


@pytest.mark.parametrize("file", ["scenes-0.safetensors", "scenes-0.json"])
def test_missing_embedded_weights_say_where_they_should_be(copied_data, file):
    (copied_data / file).unlink()
    with pytest.raises(WeightsNotFoundError) as caught:
        load_model("scenes")
    assert isinstance(caught.value, FileNotFoundError)
    assert all(word in str(caught.value) for word in (file, str(copied_data), "HELPERS_DATA"))


@pytest.mark.parametrize("place", [8, 5000, -1])
def test_changed_byte_fails_the_checksum(copied_data, place):
    file = copied_data / "scenes-0.safetensors"
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="fails its checksum") as caught:
        load_model("scenes")
    assert str(file) in str(caught.value) and "python -m helpers train scenes --seed 0" in str(
        caught.value
    )


def test_cut_off_weights_fail_the_checksum(copied_data):
    file = copied_data / "scenes-0.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="fails its checksum"):
        load_model("scenes")


def test_pickle_in_place_of_embedded_weights_is_not_executed(copied_data, tmp_path):
    file, card = (
        copied_data / "scenes-0.safetensors",
        json.loads((copied_data / "scenes-0.json").read_text()),
    )
    file.write_bytes(pickle.dumps(TouchesAFile(tmp_path / "executed")))
    with pytest.raises(ValueError, match="fails its checksum"):
        load_model("scenes")
    card["sha256"] = hashlib.sha256(
        file.read_bytes()
    ).hexdigest()  # and with a card that goes along with it
    (copied_data / "scenes-0.json").write_text(json.dumps(card))
    with pytest.raises(Exception, match=r"header|deserializ"):
        load_model("scenes")
    assert not (tmp_path / "executed").exists()


# --- torchvision's networks


def test_weights_that_cannot_be_had_say_which_where_and_what_to_do(offline_hub):
    with pytest.raises(WeightsNotFoundError) as caught:
        load_model("resnet18")
    where = offline_hub / "resnet18-f37072fd.pth"
    assert all(
        word in str(caught.value)
        for word in ("resnet18", str(where), "no route to host", "TORCH_HOME", "'scenes'")
    )
    assert "\n" not in str(caught.value)


def test_torch_home_is_where_weights_are_looked_for(tmp_path, monkeypatch, offline_hub):
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(WeightsNotFoundError) as caught:
        load_model("squeezenet1_1")
    assert str(tmp_path / "elsewhere" / "hub" / "checkpoints") in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", b"PK\x03\x04 cut off"],
    ids=["empty", "text", "half a zip"],
)
def test_corrupt_cached_weights_are_named(offline_hub, content):
    offline_hub.mkdir()
    file = offline_hub / "squeezenet1_1-b8a52dc0.pth"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="delete the file") as caught:
        load_model("squeezenet1_1")
    assert "squeezenet1_1" in str(caught.value) and str(file) in str(caught.value)


def test_weights_of_another_network_are_named(offline_hub):
    offline_hub.mkdir()
    torch.save({"layer.weight": torch.zeros(3)}, offline_hub / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(ValueError, match=r"squeezenet1_1.*cannot be read"):
        load_model("squeezenet1_1")


@pytest.mark.parametrize("new_format", [False, True])
def test_malicious_weights_execute_nothing(offline_hub, tmp_path, new_format):
    offline_hub.mkdir()
    torch.save(
        {"state": TouchesAFile(tmp_path / "executed")},
        offline_hub / "squeezenet1_1-b8a52dc0.pth",
        _use_new_zipfile_serialization=new_format,
    )
    with pytest.raises(ValueError, match="cannot be read"):
        load_model("squeezenet1_1")
    assert not (tmp_path / "executed").exists()


def test_the_malicious_pickle_of_these_tests_does_execute_when_trusted(tmp_path):
    torch.save(TouchesAFile(tmp_path / "executed"), tmp_path / "file.pth")
    torch.load(tmp_path / "file.pth", weights_only=False).close()
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("operator torchvision::nms does not exist"),
        ImportError("undefined symbol"),
        OSError("libtorch.so"),
    ],
)
def test_torch_and_torchvision_that_do_not_fit_are_explained(monkeypatch, error):
    for module in [
        name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")
    ]:
        monkeypatch.delitem(sys.modules, module)
    real = builtins.__import__

    def broken(name, *args, **kwargs):
        if name.split(".")[0] == "torchvision":
            raise error
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(
        ImportError, match="pip install --force-reinstall torch torchvision"
    ) as caught:
        load_model("resnet18")
    assert str(error) in str(caught.value) and torch.__version__ in str(caught.value)
    # these need no torchvision
    assert build_embedded("scenes")(torch.rand(1, 3, 64, 64)).shape == (
        1,
        10,
    )


# --- the wrapper


def test_normalisation_inside_equals_torchvisions_transforms(tmp_path):
    # From a file: torchvision's transforms and a bare network, against load_images and a
    # Classifier, on weights of no value.
    from PIL import Image
    from skimage import data

    Image.fromarray(data.astronaut()[40:400, 20:500]).save(tmp_path / "astronaut.png")
    models = import_torchvision().models
    transforms = models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    torch.manual_seed(0)
    network = models.squeezenet1_1(weights=None).eval()
    model = Classifier(
        network,
        mean=transforms.mean,
        std=transforms.std,
        name="x",
        classes=range(1000),
        input_size=224,
        part="class",
        images="photos",
    ).eval()
    theirs = transforms(Image.open(tmp_path / "astronaut.png"))[None]
    pixels = read_image(tmp_path / "astronaut.png")[None]
    assert torch.allclose((pixels - model.mean) / model.std, theirs, atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(model(pixels), network(theirs), rtol=1e-4, atol=1e-5)


def test_pixel_gradients_are_those_of_the_bare_network_over_its_deviation():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    model = Classifier(
        network,
        mean=[0.1, 0.2, 0.3],
        std=[0.5, 0.2, 0.1],
        name="x",
        classes="ab",
        input_size=2,
        part="class",
        images="photos",
    )
    pixels = torch.rand(1, 3, 2, 2, requires_grad=True)
    model(pixels)[0, 0].backward()
    weight = model.network[1].weight[0].detach().reshape(3, 2, 2)
    assert torch.allclose(pixels.grad[0], weight / torch.tensor([0.5, 0.2, 0.1]).reshape(3, 1, 1))


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 64, 64, 3), (1, 3, 64)])
def test_pictures_of_another_shape_are_refused_with_both_shapes(shape):
    with pytest.raises(
        ValueError, match=r"scenes takes pictures of shape \(N, 3, H, W\), found \("
    ):
        build_embedded("scenes")(torch.rand(shape))


def test_bytes_are_refused():
    with pytest.raises(TypeError, match=r"torch.uint8: divide bytes by 255"):
        build_embedded("scenes")(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_noisy_pixels_outside_the_range_are_let_through():
    assert torch.isfinite(build_embedded("scenes").eval()(3 * torch.randn(2, 3, 64, 64))).all()


def test_weights_alone_are_stored():
    assert {"mean", "std"}.isdisjoint(build_embedded("scenes").state_dict())


# --- the real thing, where it lies on disk


def test_real_network_names_45_of_the_60_photographs(real_network, photos):
    images = load_images(photos)
    assert (
        len(images) == 60 and len(real_network.classes) == 1000 and real_network.input_size == 224
    )
    assert images.classes[real_network.part] == real_network.classes
    with torch.no_grad():
        predicted = torch.cat([real_network(part) for part in images.pixels.split(10)]).argmax(1)
    assert int((predicted == images.labels[real_network.part]).sum()) == 45


def test_real_network_calls_the_tench_a_tench(real_network, photos):
    pixels = read_image(next(Path(photos).glob("*_tench.JPEG")))[None]
    with torch.no_grad():
        assert real_network.classes[int(real_network(pixels).argmax())] == "tench"
