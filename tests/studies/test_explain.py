"""Whole data sets: every source in its order, targets of every kind, a store that goes on where it
was stopped."""

import re
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)
from torch.utils.data.distributed import DistributedSampler

from helpers import explain
from helpers.attribution.gradients import reduce_channels, saliency
from helpers.attribution.integrated_gradients import (
    ConvergedMap,
    converged_integrated_gradients,
    integrated_gradients,
)
from helpers.attribution.smoothgrad import smoothgrad
from helpers.attribution.targets import Score, logit, probability
from helpers.benchmark.images import ImageSet, load_images, read_image
from helpers.benchmark.models import load_model
from helpers.evaluate import logits_of, probabilities
from helpers.studies import maps as stores
from helpers.studies.maps import explain_folder, main, write_page

N = 5


def model(x):
    """Logits k · Σ x³: ∂/∂x = 3 k x², so a map says its input and its class."""
    return (x**3).flatten(1).sum(1, keepdim=True) * torch.arange(1.0, 4.0)


@pytest.fixture
def inputs():
    return torch.rand(N, 2, 3, generator=torch.Generator().manual_seed(0)) + 0.1


def of_class(inputs, classes):
    return 3 * inputs**2 * (torch.as_tensor(classes).float() + 1).reshape(-1, 1, 1)


def found(*args, **kwargs):
    numbers, maps = zip(*explain(*args, progress=False, **kwargs), strict=True)
    assert list(numbers) == list(range(len(numbers)))
    return torch.stack(maps)


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Flow(IterableDataset):
    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


SOURCES = {
    "tensor": lambda x: x,
    "array": lambda x: x.numpy(),
    "array of other bytes": lambda x: x.numpy()[::-1][::-1].astype(">f4"),
    "image set": lambda x: ImageSet(x, tuple("abcde")),
    "data set": lambda x: Items(list(x)),
    "data set of arrays": lambda x: Items([each.numpy() for each in x]),
    "tensor data set": lambda x: TensorDataset(x),
    "flow": lambda x: Flow(list(x)),
    "loader": lambda x: DataLoader(Items(list(x)), 2),
    "loader of a flow": lambda x: DataLoader(Flow(list(x)), 3),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("batch_size", [None, 1, 2, 100])
def test_every_source_gives_every_map_in_its_order(source, batch_size, inputs):
    maps = found(saliency, model, source(inputs), batch_size=batch_size)
    torch.testing.assert_close(maps, of_class(inputs, [2] * N))  # the largest logit


TARGETS = {
    "int": (1, [1] * N),
    "tensor": (torch.tensor([0, 1, 2, 1, 0]), [0, 1, 2, 1, 0]),
    "array": (np.array([0, 1, 2, 1, 0]), [0, 1, 2, 1, 0]),
    "list": ([0, 1, 2, 1, 0], [0, 1, 2, 1, 0]),
    "tuple": ((0, 1, 2, 1, 0), [0, 1, 2, 1, 0]),
    "one-hot": (torch.eye(3)[[0, 1, 2, 1, 0]], [0, 1, 2, 1, 0]),
    "one-hot array": (np.eye(3)[[0, 1, 2, 1, 0]], [0, 1, 2, 1, 0]),
    "callable": (lambda logits: logits[:, 1], [1] * N),
    "score": (
        Score(lambda logits, k: (logits * k).sum(1), torch.eye(3)[[0, 1, 2, 1, 0]]),
        [0, 1, 2, 1, 0],
    ),
    "score for all": (Score(lambda logits, k: (logits * k).sum(1), torch.eye(3)[1:2]), [1] * N),
}


@pytest.mark.parametrize(("targets", "classes"), TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("source", ["tensor", "flow", "loader"])
def test_targets_of_every_kind_go_along(targets, classes, source, inputs):
    maps = found(saliency, model, SOURCES[source](inputs), targets, batch_size=2)
    torch.testing.assert_close(maps, of_class(inputs, classes))


def test_the_targets_that_a_data_set_gives_count_unless_others_are_said(inputs):
    classes = [0, 1, 2, 1, 0]
    one_hot = list(torch.eye(3)[classes])
    for data in (
        Items(list(zip(inputs, classes, strict=True))),
        Items(list(zip(inputs, one_hot, strict=True))),
        TensorDataset(inputs, torch.tensor(classes)),
        DataLoader(TensorDataset(inputs, torch.tensor(classes)), 2),
        Flow(list(zip(inputs, classes, strict=True))),
    ):
        torch.testing.assert_close(found(saliency, model, data), of_class(inputs, classes))
        torch.testing.assert_close(found(saliency, model, data, 1), of_class(inputs, [1] * N))


def gated(x, gate, shift):
    """As ``model``, each logit times a gate of its own, (N, 3), and shifted: the shift has no part
    in ∂/∂x = 3 k gate_k x²."""
    return model(x) * gate + shift[:, None]


GATE = torch.rand(N, 3, generator=torch.Generator().manual_seed(1)) + 0.5
SHIFT = torch.arange(float(N))
CLASSES = [0, 1, 2, 1, 0]


def of_gated(inputs, classes):
    return of_class(inputs, classes) * GATE[torch.arange(N), classes].reshape(-1, 1, 1)


FURTHER = {
    "tensors": lambda x: (x, (GATE, SHIFT)),
    "arrays": lambda x: (x, [GATE.numpy(), SHIFT.numpy()]),
    "beside a flow": lambda x: (Flow(list(x)), (GATE, SHIFT)),
    "beside a loader": lambda x: (DataLoader(TensorDataset(x), 2), (GATE, SHIFT.numpy())),
    "from a data set": lambda x: (TensorDataset(x, torch.zeros(N).long(), GATE, SHIFT), ()),
    "from a loader": lambda x: (
        DataLoader(TensorDataset(x, torch.zeros(N).long(), GATE, SHIFT), 3),
        (),
    ),
    "from a flow": lambda x: (
        Flow([(a, 0, b.numpy(), float(c)) for a, b, c in zip(x, GATE, SHIFT, strict=True)]),
        (),
    ),
    "instead of a data set's": lambda x: (
        TensorDataset(x, torch.zeros(N).long(), -GATE, SHIFT),
        (GATE, SHIFT),
    ),
}


@pytest.mark.parametrize("give", FURTHER.values(), ids=FURTHER)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_further_arguments_go_along_a_row_an_input(give, batch_size, inputs):
    data, extra = give(inputs)
    more = {"extra": extra, "batch_size": batch_size}
    maps = found(saliency, gated, data, torch.tensor(CLASSES), **more)
    torch.testing.assert_close(maps, of_gated(inputs, CLASSES))
    predicted = gated(inputs, GATE, SHIFT).argmax(1).tolist()
    maps = found(partial(smoothgrad, n_samples=2, noise=0.0), gated, data, logit(), **more)
    torch.testing.assert_close(maps, of_gated(inputs, predicted))


def test_the_targets_of_a_data_set_count_beside_its_further_arguments(inputs):
    data = TensorDataset(inputs, torch.tensor(CLASSES), GATE, SHIFT)
    torch.testing.assert_close(found(saliency, gated, data), of_gated(inputs, CLASSES))


def test_of_further_arguments_on_disk_only_a_batch_is_read(inputs, tmp_path):
    read = []

    class OnDisk(np.memmap):
        def __getitem__(self, which):
            read.append(which)
            return super().__getitem__(which)

    gate = OnDisk(tmp_path / "gate", "f4", "w+", shape=(N, 3))
    gate[:] = GATE.numpy()
    read.clear()
    given = {"extra": (gate, SHIFT), "batch_size": 2, "progress": False}
    maps = explain(saliency, gated, inputs, 1, **given)
    for _ in range(3):
        next(maps)
    assert read == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("data", "extra", "error", "message"),
    [
        (torch.ones(5, 2, 3), GATE, TypeError, r"a tuple of further arguments, .* found Tensor"),
        (torch.ones(5, 2, 3), (1.0,), TypeError, r"extra\[0\] .* found float; .* a lambda"),
        (torch.ones(5, 2, 3), (GATE, SHIFT[0]), TypeError, r"extra\[1\] .* found one number"),
        (torch.ones(4, 2, 3), (GATE, SHIFT), ValueError, "for each of the 4 inputs, found 5"),
        (Flow(list(torch.ones(4, 2, 3))), (GATE, SHIFT), ValueError, "5 rows of extra, .* gave 4"),
        (Flow(list(torch.ones(7, 2, 3))), (GATE, SHIFT), ValueError, "5 rows of extra, .* gave 6"),
        (
            Flow([(torch.ones(2, 3), 0, "a", 1.0)]),
            (),
            TypeError,
            r"extra\[0\] must be a torch.Tensor, found (tuple|list)",
        ),
    ],
)
def test_further_arguments_that_do_not_fit_are_an_error(data, extra, error, message):
    with pytest.raises(error, match=message):
        list(explain(saliency, gated, data, 0, extra=extra, batch_size=2, progress=False))


def test_items_that_the_model_has_no_use_for_are_named(inputs):
    data = TensorDataset(inputs, torch.tensor(CLASSES), GATE)
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given") as caught:
        list(explain(saliency, model, data, progress=False))
    assert "gives 1 items behind the target, which the model is given" in caught.value.__notes__[1]
    own = lambda model, pixels, target: pixels  # noqa: E731
    with pytest.raises(TypeError, match="unexpected keyword argument 'extra'"):
        list(explain(own, model, data, progress=False))


def test_a_flow_without_end_is_explained_as_it_comes(inputs):
    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield inputs[0]

    maps = explain(saliency, model, Endless(), 1, batch_size=2, progress=False)
    assert [next(maps)[0] for _ in range(7)] == list(range(7))


def test_a_loader_whose_data_set_makes_the_batches(inputs):
    batches = Items([(inputs[:2], torch.tensor([0, 1])), (inputs[2:], torch.tensor([2, 1, 0]))])
    loader = DataLoader(batches, batch_size=None)
    torch.testing.assert_close(found(saliency, model, loader), of_class(inputs, CLASSES))
    maps = found(saliency, model, loader, torch.ones(N).long())
    torch.testing.assert_close(maps, of_class(inputs, [1] * N))


def test_the_labels_of_an_image_set_are_explained_where_they_are_asked_for():
    network, images = load_model("scenes"), load_images("scenes", 3)
    wrong = {"shape": (logits_of(network, images.pixels).argmax(1) + 1) % 10}
    images = ImageSet(images.pixels, images.names, wrong)
    by_label = saliency(network, images.pixels, wrong["shape"])
    torch.testing.assert_close(found(saliency, network, images, "labels"), by_label)
    torch.testing.assert_close(found(saliency, network, images), saliency(network, images.pixels))
    torch.testing.assert_close(
        found(saliency, network, images, probability("star")),
        saliency(network, images.pixels, probability("star")),
    )
    names = [network.classes[k] for k in wrong["shape"]]
    pairs = Items(list(zip(images.pixels, names, strict=True)))
    torch.testing.assert_close(found(saliency, network, pairs), by_label)
    torch.testing.assert_close(found(saliency, network, images, names), by_label)
    with pytest.raises(ValueError, match=r"no labels of 'shape', .* there are: none"):
        explain(saliency, network, images.pixels, "labels")
    wrong["shape"][1] = -1
    with pytest.raises(ValueError, match="1 of 3 inputs have no label"):
        explain(saliency, network, images, "labels")


def test_a_map_does_not_depend_on_where_batches_are_cut(inputs):
    method = partial(smoothgrad, n_samples=4)
    torch.testing.assert_close(
        found(method, model, inputs, batch_size=2), smoothgrad(model, inputs, n_samples=4)
    )


def test_several_maps_of_an_input_stay_together(inputs):
    both = integrated_gradients(model, inputs, n_steps=[2, 3])
    for number, maps in explain(
        partial(integrated_gradients, n_steps=[2, 3]), model, inputs, batch_size=2, progress=False
    ):
        assert list(maps) == [2, 3]
        for n in (2, 3):
            torch.testing.assert_close(maps[n], both[n][number])
    _, one = next(explain(converged_integrated_gradients, model, inputs, progress=False))
    assert isinstance(one, ConvergedMap) and one.attribution.shape == (2, 3)


def test_no_more_is_read_than_is_needed(inputs, capsys):
    read = []

    class Log(Items):
        def __getitem__(self, i):
            read.append(i)
            return self.items[i]

    maps = explain(saliency, model, Log(list(inputs)), batch_size=2)
    assert next(maps)[0] == 0 and max(read) <= 1
    assert "explained" in capsys.readouterr().err
    maps.close()


def test_the_bar_is_silent_when_told(inputs, capsys):
    found(saliency, model, inputs)
    assert capsys.readouterr().err == ""


def sampled(sampler, drop=False):
    """A loader whose batches a sampler of the user's own makes up."""
    data = TensorDataset(torch.ones(5, 2, 3))
    return DataLoader(data, batch_sampler=BatchSampler(sampler(data), 2, drop))


@pytest.mark.parametrize(
    ("data", "targets", "error", "message"),
    [
        (None, None, TypeError, "a folder of pictures, found NoneType"),
        ([torch.ones(2)], None, TypeError, "a folder of pictures, found list"),
        (
            torch.ones(3, 2).int(),
            None,
            TypeError,
            r"data must be floating point, found torch\.int32",
        ),
        (np.ones((3, 2), "u1"), None, TypeError, r"found uint8: for bytes, pixels\.astype"),
        (torch.ones(0, 2), None, ValueError, "at least one input"),
        (np.ones((0, 2)), None, ValueError, "at least one input"),
        (torch.tensor(1.0), None, ValueError, r"at least one input, found shape \(\)"),
        (np.array(1.0), None, ValueError, r"at least one input, found shape \(\)"),
        (
            DataLoader(TensorDataset(torch.ones(5, 2, 3), torch.zeros(5).long()), batch_size=None),
            None,
            TypeError,
            "gives one input at a time, with a target that is no batch",
        ),
        (Dataset(), None, TypeError, r"does not say how many inputs it has \(__len__\)"),
        (Items([]), None, ValueError, "the data set is empty"),
        (Flow([]), None, ValueError, "the data set is empty"),
        ("no/such/folder", None, FileNotFoundError, "no folder no/such/folder"),
        ([], None, FileNotFoundError, "list of picture files is empty"),
        (torch.ones(5, 2, 3), [0, 1], ValueError, "one row for each of the 5 inputs, found 2"),
        (torch.ones(5, 2, 3), ["a", object()], TypeError, r"integers \(N,\) or one-hot"),
        (Flow(list(torch.ones(5, 2, 3))), [0] * 3, ValueError, "3 targets, and the data gave 5"),
        (Flow(list(torch.ones(5, 2, 3))), [0] * 9, ValueError, "9 targets, and the data gave 5"),
        (Items(["a"]), None, TypeError, r"or \(input, target, \*extra\), found str"),
        (Items([()]), None, TypeError, r"or \(input, target, \*extra\), found tuple"),
        (Items([torch.ones(2), torch.ones(3)]), None, TypeError, "tensors of one shape"),
        (Items([(torch.ones(2, 3), 0.5)]), None, TypeError, "must hold integer classes"),
        (Items([(torch.ones(2, 3), "a")]), None, TypeError, "only a Classifier knows"),
        (
            DataLoader(TensorDataset(torch.ones(5, 2, 3)), 2, shuffle=True),
            None,
            ValueError,
            "a loader that shuffles, or gives a share, has no order",
        ),
        (
            DataLoader(TensorDataset(torch.ones(5, 2, 3)), 2, drop_last=True),
            None,
            ValueError,
            "leaves out the last 1 of 5 inputs",
        ),
        (sampled(RandomSampler), None, ValueError, "a loader that shuffles"),
        (sampled(SequentialSampler, drop=True), None, ValueError, "leaves out the last 1 of 5"),
        (
            sampled(partial(DistributedSampler, num_replicas=2, rank=0)),
            None,
            ValueError,
            "shuffles, or gives a share",
        ),
    ],
)
def test_data_that_does_not_fit_is_an_error(data, targets, error, message):
    with pytest.raises(error, match=message):
        list(explain(saliency, model, data, targets, progress=False))


def test_what_is_known_at_the_call_is_said_at_the_call(inputs):
    for arguments in ((None, model, inputs), (saliency, model, inputs, [1]), (saliency, model, 5)):
        with pytest.raises((TypeError, ValueError)):
            explain(*arguments)
    with pytest.raises(TypeError, match=r"found 'resnet50': load_model\('resnet50'\) makes one"):
        explain(saliency, "resnet50", inputs)


def test_a_column_of_a_table_and_targets_that_are_not_read(inputs):
    pandas = pytest.importorskip("pandas")
    maps = found(saliency, model, inputs, pandas.Series([0, 1, 2, 1, 0]))
    torch.testing.assert_close(maps, of_class(inputs, [0, 1, 2, 1, 0]))
    boxes = Items([(each, {"boxes": torch.ones(4)}) for each in inputs])  # as of a detection set
    torch.testing.assert_close(found(saliency, model, boxes, 1), of_class(inputs, [1] * N))


def test_what_a_data_set_raises_says_how_far_it_came(inputs):
    class Gone(Items):
        def __getitem__(self, i):
            if i == 3:
                raise OSError("file 3 is gone")
            return self.items[i]

    maps = explain(saliency, model, Gone(list(inputs)), batch_size=2, progress=False)
    with pytest.raises(OSError, match="file 3 is gone") as caught:
        list(maps)
    assert caught.value.__notes__ == ["met behind the first 2 inputs of the data"]


def test_an_error_says_which_inputs_and_what_came_before_is_with_the_caller(inputs):
    inputs[3, 0, 0] = torch.nan
    maps = explain(saliency, model, inputs, batch_size=2, progress=False)
    assert [next(maps)[0], next(maps)[0]] == [0, 1]
    with pytest.raises(ValueError, match="1 values are NaN") as caught:
        next(maps)
    assert caught.value.__notes__ == ["met among the inputs 2 to 3 of the data"]


def test_a_method_that_gives_no_map_an_input_is_an_error(inputs):
    for bad in (lambda m, x, t: x[:1], lambda m, x, t: None, lambda m, x, t: [x]):
        with pytest.raises(ValueError, match="the method must return a map for each of 5 inputs"):
            list(explain(bad, model, inputs, progress=False))


# --- folders


@pytest.fixture
def folder(tmp_path):
    """Nine scenes in subfolders, one file that is no picture, and an empty one."""
    images = load_images("scenes", 7)
    for i, pixels in enumerate(images.pixels):
        path = tmp_path / "pictures" / ("odd" if i % 2 else "even") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels.permute(1, 2, 0) * 255).byte().numpy()).save(path)
    (tmp_path / "pictures" / "odd" / "none.png").write_text("no picture")
    (tmp_path / "pictures" / "zero.jpg").touch()
    return tmp_path / "pictures"


def files_of(folder):
    return sorted(path for path in folder.rglob("*.*"))


def test_pictures_that_cannot_be_read_are_left_out_with_a_word(folder):
    network = load_model("scenes")
    files = files_of(folder)
    for data in (folder, str(folder), files, list(map(str, files))):
        with pytest.warns(UserWarning, match="cannot be read and is left out") as caught:
            maps = dict(explain(saliency, network, data, batch_size=3, progress=False))
        said = [str(one.message) for one in caught]
        assert len(said) == 2 and "none.png (UnidentifiedImageError" in said[0]
        assert "zero.jpg (empty file)" in said[1]
        lost = [i for i, path in enumerate(files) if path.name in ("none.png", "zero.jpg")]
        assert list(maps) == [i for i in range(len(files)) if i not in lost]
        for i, one in maps.items():
            expected = saliency(network, read_image(files[i], 64)[None])[0]
            torch.testing.assert_close(one, expected, rtol=1e-3, atol=1e-5)


def test_labels_of_a_folder_are_its_subfolders(folder):
    network = load_model("scenes")
    network.part = "class"
    for name in ("none.png", "zero.jpg"):
        next(folder.rglob(name)).unlink()
    maps = found(saliency, network, folder, "labels")
    pixels = load_images(folder, size=64)
    torch.testing.assert_close(
        maps, saliency(network, pixels.pixels, pixels.labels["class"]), rtol=1e-3, atol=1e-5
    )


# --- the store


def tree(path):
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(Path(path).rglob("*"))
        if file.is_file()
    }


SETTINGS = {"method": "smoothgrad", "options": {"n_samples": 3}, "chunk": 2, "progress": False}


@pytest.fixture
def network():
    return load_model("scenes")


@pytest.fixture
def whole(network, folder, tmp_path):
    explain_folder(network, folder, tmp_path / "whole.zarr", **SETTINGS)
    return tmp_path / "whole.zarr"


def test_a_store_holds_the_maps_the_names_the_answers_and_the_settings(whole, network, folder):
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(whole, mode="r")
    files = files_of(folder)
    about = dict(root.attrs)
    assert about["names"] == [path.relative_to(folder).as_posix() for path in files]
    assert about["unreadable"] == {
        "odd/none.png": "UnidentifiedImageError",
        "zero.jpg": "empty file",
    }
    settings = about["settings"]
    assert settings["method"] == "smoothgrad" and settings["model"] == "scenes"
    assert settings["options"]["n_samples"] == 3 and settings["options"]["noise"] == 0.15
    assert settings["format"] == 2 and settings["version"] and len(settings["weights"]) == 16
    assert root["maps"].shape == (9, 64, 64) and root["maps"].dtype == "float32"
    for i, path in enumerate(files):
        if path.relative_to(folder).as_posix() in about["unreadable"]:
            assert np.isnan(root["maps"][i]).all() and root["answers"][i] == -1
            assert about["answers"][i] is None and np.isnan(root["probabilities"][i])
            continue
        pixels = read_image(path, 64)[None]
        expected = reduce_channels(smoothgrad(network, pixels, n_samples=3))[0]
        torch.testing.assert_close(torch.tensor(root["maps"][i]), expected, rtol=1e-3, atol=1e-5)
        logits = logits_of(network, pixels)[0]
        assert root["answers"][i] == logits.argmax()
        assert about["answers"][i] == network.classes[logits.argmax()]
        assert root["probabilities"][i] == pytest.approx(float(probabilities(logits).max()), 1e-4)


def test_a_chunk_is_no_larger_than_the_folder_and_a_model_is_one(network, folder, tmp_path):
    zarr = pytest.importorskip("zarr")
    settings = SETTINGS | {"chunk": 10**9}
    explain_folder(network, folder, tmp_path / "o.zarr", **settings)
    assert zarr.open_group(tmp_path / "o.zarr", mode="r")["maps"].chunks == (9, 64, 64)
    with pytest.raises(TypeError, match="or a function that makes one, found NoneType"):
        explain_folder(None, folder, tmp_path / "o.zarr", **SETTINGS)


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("where", ["method", "write"])
def test_stopped_anywhere_it_goes_on_and_ends_with_the_same_bytes(
    after, where, whole, network, folder, tmp_path, monkeypatch
):
    zarr = pytest.importorskip("zarr")
    calls, out = [], tmp_path / "stopped.zarr"
    holder, name = {
        "method": (stores, "_explained"),
        "write": (zarr.Array, "__setitem__"),
    }[where]
    real = getattr(holder, name)

    def stops(*args, **kwargs):
        calls.append(1)
        if len(calls) > after:
            raise Stopped
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(holder, name, stops)
        with pytest.raises(Stopped):
            explain_folder(network, folder, out, **SETTINGS)
    assert "unreadable" not in zarr.open_group(out, mode="r").attrs
    (out / "maps" / "cut.off.partial").write_text("half a chunk")
    (out / "answers" / "c").mkdir(exist_ok=True)
    explain_folder(network, folder, out, **SETTINGS)
    assert tree(out) == tree(whole)


def test_what_is_done_is_not_computed_again(whole, network, folder, monkeypatch):
    before = tree(whole)
    monkeypatch.setattr(stores, "_explained", lambda *a, **k: pytest.fail("computed again"))
    lost = explain_folder(network, folder, whole, **SETTINGS)
    assert list(lost) == ["odd/none.png", "zero.jpg"] and tree(whole) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"n_samples": 4}}, r"options .*'n_samples': 3.*, now .*'n_samples': 4"),
        ({"keep": "whole"}, "keep 'signed', now 'whole'"),
        ({"target": 1}, "target None, now 1"),
        ({"dtype": "float16"}, "dtype 'float32', now 'float16'"),
    ],
)
def test_a_store_of_other_settings_is_left_alone(change, message, whole, network, folder):
    before = tree(whole)
    with pytest.raises(ValueError, match=message):
        explain_folder(network, folder, whole, **(SETTINGS | change))
    (folder / "another.png").write_bytes((folder / "even" / "0.png").read_bytes())
    with pytest.raises(ValueError, match="9 pictures, now 10 or others"):
        explain_folder(network, folder, whole, **SETTINGS)
    other = load_model("scenes", seed=1)
    with pytest.raises(ValueError, match="weights '"):
        explain_folder(other, folder, whole, **SETTINGS)
    assert tree(whole) == before


def test_a_folder_of_something_else_is_left_alone(network, folder, tmp_path):
    zarr = pytest.importorskip("zarr")
    before = tree(folder)
    for out in (folder, folder / "even" / "0.png"):
        with pytest.raises(ValueError, match="is no Zarr store: choose another place"):
            explain_folder(network, folder, out, **SETTINGS)
    assert tree(folder) == before
    zarr.open_group(tmp_path / "theirs.zarr", mode="w").create_array("x", shape=3, dtype="f4")
    with pytest.raises(ValueError, match="not written by this command"):
        explain_folder(network, folder, tmp_path / "theirs.zarr", **SETTINGS)


def test_settings_that_came_to_nothing_do_not_hold_the_place(whole, network, folder, tmp_path):
    out = tmp_path / "again.zarr"
    for options in ({"noise": -1}, {"n_samples": [2, 3]}):
        with pytest.raises(ValueError, match=r"noise must be|one value"):
            explain_folder(network, folder, out, **(SETTINGS | {"options": options}))
    explain_folder(network, folder, out, **SETTINGS)
    assert tree(out) == tree(whole)


def test_whole_maps_in_half_precision_on_another_file_system(network, folder):
    zarr = pytest.importorskip("zarr")
    out = "memory://maps-of-a-test.zarr"
    explain_folder(
        network, folder, out, method="saliency", keep="whole", dtype="float16", progress=False
    )
    root = zarr.open_group(zarr.storage.FsspecStore.from_url(out), mode="r")
    assert root["maps"].shape == (9, 3, 64, 64) and root["maps"].dtype == "float16"
    expected = saliency(network, read_image(folder / "even" / "0.png", 64)[None])[0]
    torch.testing.assert_close(
        torch.tensor(root["maps"][0]).float(), expected, rtol=1e-2, atol=1e-4
    )
    import fsspec

    page = write_page(folder, out)
    with fsspec.open(page, encoding="utf-8", mode="r") as file:
        assert file.read().count("<figure>") == 6


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"method": "smothgrad"}, r"unknown method 'smothgrad'; did you mean 'smoothgrad'\?"),
        (
            {"options": {"n_sample": 3}},
            r"setting of smoothgrad 'n_sample'; did you mean 'n_samples'",
        ),
        ({"method": "guided_backprop", "options": {"n": 3}}, "guided_backprop has no settings"),
        ({"keep": "all"}, "unknown reduction 'all'"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"options": {"seed": {1, 2}}}, r"can be written down, found seed = \{1, 2\}"),
    ],
)
def test_an_unfit_argument_writes_nothing(bad, message, network, folder, tmp_path):
    with pytest.raises((ValueError, TypeError), match=message):
        explain_folder(network, folder, tmp_path / "o.zarr", **(SETTINGS | bad))
    assert not (tmp_path / "o.zarr").exists()


@pytest.mark.parametrize("target", [lambda logits: logits[:, 0], torch.tensor([1]), 1.5, True])
def test_a_target_that_cannot_be_written_down_is_an_error(target, network, folder, tmp_path):
    with pytest.raises(TypeError, match=r"a class number or a class name.*explain\(method, model"):
        explain_folder(network, folder, tmp_path / "o.zarr", **SETTINGS, target=target)
    assert not (tmp_path / "o.zarr").exists()


def test_the_command_writes_store_and_page_and_lists_what_it_could_not_read(
    folder, tmp_path, capsys, whole
):
    out = tmp_path / "maps.zarr"
    arguments = ["scenes", str(folder), "--out", str(out), "--set", "n_samples=3", "--chunk", "2"]
    arguments += ["--workers", "1"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.out.split() == [str(out), str(tmp_path / "maps.html")]
    assert "not read: zero.jpg (empty file)" in said.err
    assert tree(out) == tree(whole)
    page = (tmp_path / "maps.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 6 and page.count("data:image/png") == 12
    alts = re.findall(r'alt="([^"]*)"', page)
    named = r"The picture \w+/\d\.png, which the network calls \w+ with \d+%"
    assert len(alts) == 12 and all(re.fullmatch(named, alt) for alt in alts[::2])
    colours = r"The smoothgrad map of \w+/\d\.png: red raises the logit, .* white is zero"
    assert all(re.fullmatch(colours, alt) for alt in alts[1::2])
    assert "<p>6 of 9 pictures" in page and "Red raises the logit, blue lowers it" in page
    assert "<li>zero.jpg: empty file</li>" in page
    before = page
    assert main(arguments) == 0  # the same again
    assert (tmp_path / "maps.html").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scenes", "no_such_folder"], "no folder no_such_folder"),
        (["scens", "."], "unknown network 'scens'; did you mean 'scenes'"),
        (["scenes", "PICTURES", "--set", "noise"], "--set takes SETTING=VALUE, found 'noise'"),
        (["scenes", "PICTURES", "--target", "sta"], "unknown class 'sta'; did you mean 'star'"),
        (["scenes", "PICTURES", "--target", "77"], "class 77 is out of range"),
        (["scenes", "PICTURES", "--method", "x"], "unknown method 'x'"),
        (["digits", "PICTURES"], "digits takes pictures of shape"),
        (["scenes", "PICTURES", "--size", "7"], "output size is too small"),
    ],
)
def test_the_command_says_what_was_wrong(arguments, message, folder, tmp_path, capsys):
    arguments = [str(folder) if each == "PICTURES" else each for each in arguments]
    with pytest.raises(SystemExit) as end, warnings.catch_warnings(action="ignore"):
        main([*arguments, "--workers", "1", "--out", str(tmp_path / "o.zarr")])
    assert end.value.code == 2 and message.lower() in capsys.readouterr().err.lower()


def test_a_full_disk_is_one_error_and_what_was_finished_is_kept(
    folder, tmp_path, capsys, monkeypatch, whole
):
    zarr = pytest.importorskip("zarr")
    out, real, calls = tmp_path / "o.zarr", zarr.Array.__setitem__, []

    def full(*args):
        calls.append(args)
        if len(calls) > 5:  # in the second chunk
            raise OSError(28, "No space left on device")
        real(*args)

    arguments = ["scenes", str(folder), "--out", str(out), "--set", "n_samples=3", "--chunk", "2"]
    arguments += ["--workers", "1"]
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(zarr.Array, "__setitem__", full)
        main(arguments)
    said = capsys.readouterr().err
    assert end.value.code == 2 and "No space left on device\nthe chunks that were finished" in said
    assert main(arguments) == 0 and tree(out) == tree(whole)


def test_an_interrupt_says_how_to_go_on(folder, tmp_path, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(stores, "_explained", interrupted)
    arguments = ["scenes", str(folder), "--workers", "1", "--out", str(tmp_path / "o.zarr")]
    assert main(arguments) == 130
    assert "the same command goes on where it was" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(folder, tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "helpers", "explain", "scenes", str(folder)]
    command += ["--set", "n_samples=300", "--chunk", "1", "--out"]
    subprocess.run([*command, tmp_path / "whole.zarr"], check=True, capture_output=True)
    out, killed = tmp_path / "killed.zarr", 0
    for more in (0, 1, 2, 4):
        process = subprocess.Popen([*command, out], stdout=-3, stderr=-3)
        had = len(list(out.glob("answers/c/*")))
        while process.poll() is None and len(list(out.glob("answers/c/*"))) < had + more:
            time.sleep(0.01)
        killed += process.poll() is None
        process.kill()
        process.wait()
    assert killed >= 3
    subprocess.run([*command, out], check=True, capture_output=True)
    assert tree(out) == tree(tmp_path / "whole.zarr")
