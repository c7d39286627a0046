"""Seeded small networks, the real one where its weights lie on disk, and what it takes to watch a
model at work."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn


class Watched(nn.Module):
    """A model that logs every batch it sees, and fails on call number ``fail_at``."""

    def __init__(self, model, fail_at=None):
        super().__init__()
        self.model, self.fail_at, self.calls = model, fail_at, []

    def forward(self, points):
        self.calls.append(points.detach().clone())
        if len(self.calls) == self.fail_at:
            raise RuntimeError("failed midway")
        return self.model(points)

    @property
    def rows(self):
        return torch.cat(self.calls)


def _snapshot(model):
    """All that a caller may not find changed; equal before and after."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "modes": {name: module.training for name, module in model.named_modules()},
        "state": {name: value.tolist() for name, value in model.state_dict().items()},
        "requires_grad": {name: value.requires_grad for name, value in model.named_parameters()},
        "grad": {
            name: None if value.grad is None else value.grad.tolist()
            for name, value in model.named_parameters()
        },
        "hooks": {
            name: [list(getattr(module, hook)) for hook in hooks]
            for name, module in model.named_modules()
        },
    }


def _seeded(build, seed=0):
    """A float64 network in eval mode, with weights from a seed and torch's global state left
    alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build().double().eval()
        for module in model.modules():
            # as if trained: batch statistics would give other maps
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
        return model


def _inputs(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _conv_net():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(32, 5),
    )


def _sequence_net():
    return nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(16, 3)
    )


def _table_net():
    return nn.Sequential(
        nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)
    )


# The files that take longest, the longest first: begun last, one of them would keep one core busy
# while the others have nothing left to do.
LONGEST = (
    "notebooks/evidence/ig_4_hiding.ipynb",
    "notebooks/evidence/ig_2_baseline.ipynb",
    "notebooks/evidence/ig_3_steps.ipynb",
    "tests/notebooks/test_shuffled.py",
    "tests/course/grading/test_grade.py",
    "tests/browser/test_browser.py",
    "tests/notebooks/test_real_network.py",
    "tests/browser/test_panels.py",
)


def pytest_configure(config):
    config.option.loadscopereorder = False  # xdist would begin with the files of most tests


def pytest_collection_modifyitems(items):
    """The longest files first, then the other notebooks, then what takes seconds."""

    def place(item):
        file = item.nodeid.partition("::")[0]
        return LONGEST.index(file) if file in LONGEST else len(LONGEST) + file.endswith(".py")

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The networks are so small that a second thread waits more than it works, ten times over on a
    busy machine; more only where OMP_NUM_THREADS asks for it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def seeded():
    """What a test itself draws from torch's global state is the same each time, and that state is
    left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def watch():
    """model → the same model with a log of what it saw: ``.calls``, ``.rows``."""
    return Watched


@pytest.fixture
def snapshot():
    """model → everything about it that must be the same before and after."""
    return _snapshot


@pytest.fixture
def conv_net():
    return _seeded(_conv_net)


@pytest.fixture
def pictures():
    return _inputs(3, 3, 8, 8)


@pytest.fixture
def sequence_net():
    return _seeded(_sequence_net)


@pytest.fixture
def table_net():
    return _seeded(_table_net)


@pytest.fixture(params=["pictures", "sequences", "table"])
def network_and_inputs(request):
    """(model, inputs) for pictures, one-dimensional signals and a table, so nothing may assume
    pictures."""
    build, inputs = {
        "pictures": (_conv_net, _inputs(3, 3, 8, 8)),
        "sequences": (_sequence_net, _inputs(3, 2, 12)),
        "table": (_table_net, _inputs(3, 6)),
    }[request.param]
    return _seeded(build), inputs


@pytest.fixture
def mixed_mode_net():
    """Training mode (batch norm and dropout too) except for a convolution; a frozen parameter, a
    .grad and a hook."""
    model = _seeded(_conv_net).train()
    model[4].eval()
    model[4].weight.requires_grad_(False)
    model[8].weight.grad = torch.full_like(model[8].weight, 0.25)
    model[2].register_forward_hook(lambda module, args, output: None)
    return model


@pytest.fixture
def tiny_classifier():
    """A ``Classifier`` around a small float64 network: (N, 3, 8, 8) pixels in [0, 1] → 5 logits."""
    from helpers.benchmark.models import Classifier

    return (
        Classifier(
            _seeded(_conv_net),
            mean=[0.5] * 3,
            std=[0.25] * 3,
            name="tiny",
            classes="abcde",
            input_size=8,
            part="shape",
            images="scenes",
        )
        .double()
        .eval()
    )


@pytest.fixture(scope="session")
def real_network():
    """A pretrained network of torchvision, where its weights are on disk: a test may not download
    them."""
    from helpers.benchmark.models import load_model

    path = Path(torch.hub.get_dir()) / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    if not path.is_file():
        pytest.skip(
            f"the weights of squeezenet1_1 are not on disk ({path.name}): "
            "load_model('squeezenet1_1') once, online"
        )
    return load_model("squeezenet1_1", device="cpu")


@pytest.fixture(scope="session")
def photos():
    """The folder of photographs that the environment variable PHOTOS names."""
    folder = os.environ.get("PHOTOS")
    if not folder:
        pytest.skip("PHOTOS is not set: point it at a folder of photographs")
    return Path(folder)


@pytest.fixture(scope="session")
def chromium():
    """A headless browser, one for each process that tests, since playwright starts no second; skips
    where there is none. `.ci/run` installs Debian's."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: requirements.txt has it"
    )
    path = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if not path:
        pytest.skip(
            "no chromium on the path: install it (Debian: apt-get install chromium) to move "
            "sliders in a browser"
        )
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        yield browser
        browser.close()


@pytest.fixture
def cluster(tmp_path):
    """A Dask scheduler on loopback, and workers as they are asked for."""
    pytest.importorskip("distributed", reason="Dask is an optional requirement")
    from cluster import Cluster

    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()
