"""An explanation of every input of a data set, in its order and in bounded memory."""

import warnings
from collections import deque
from collections.abc import Sized
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler
from tqdm.auto import tqdm

from helpers.attribution.targets import Score, class_named
from helpers.benchmark.images import (
    PHOTO_SIZE,
    ImageSet,
    picture_files,
    read_image,
    why_unreadable,
)
from helpers.benchmark.models import Classifier
from helpers.checks import at_least_one
from helpers.evaluate import check_model, check_pixels, rows_at_once

LABELS = "labels"
UNKNOWN = 16  # inputs at a time where it cannot be known how large one is
READERS = 2  # threads that read pictures while the model is at work
_SHUFFLE = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler, DistributedSampler)


def explain(
    method,
    model,
    data,
    targets=None,
    *,
    extra=(),
    batch_size=None,
    workers=None,
    progress=True,
):
    """Yield (index, map) for every input of a data set, in its order.

    ``for index, map in explain(partial(smoothgrad, n_samples=20), model, loader): …``

    Args:
        method: (model, pixels, target) → map, such as ``saliency`` or a ``partial`` of another; it
            is given ``extra=`` too, where there is any.
        model: as for ``saliency``. Batches are brought to its device, maps back to theirs.
        data: a tensor or array (N, ...), an array on disk (``numpy.memmap``) too; an ``ImageSet``;
            a torch ``Dataset`` or ``DataLoader`` of inputs, of pairs (input, target) or of (input,
            target, *extra); or a folder of pictures (or a list of files), read as by
            ``load_images`` at the model's own size. Pictures that cannot be read are left out, each
            with a warning.
        targets: what is explained: one for all, as for ``saliency``, or one an input: integers (N,)
            or one-hot (N, K), as a tensor, array or list, or a list of names. None: the targets
            that the data set gives in pairs, else the class predicted for each input (``logit()``
            says so of pairs too). "labels": those of an ``ImageSet`` or of a folder, of the part
            that the model names.
        extra: further arguments of the model, as for ``saliency``: a tuple of tensors or arrays, on
            disk too, a row an input. (): those that the data set gives behind the target.
        batch_size: the inputs that the method is given at a time, so the most that are held at
            once; None: a number that is fast and bounded in memory. Of a ``DataLoader``, its own.
        workers: processes that read a ``Dataset`` (none by default), threads that read pictures (2
            by default).
        progress: show a progress bar.

    Returns:
        an iterator of (the input's number, its map (...)), a dict of maps or a ``ConvergedMap`` of
        one input where the method returns those.

    Raises:
        TypeError, ValueError, FileNotFoundError: at the call, of what can be known then: data of
            another kind, more or fewer targets (or rows of ``extra``) than inputs, a loader that
            shuffles or leaves inputs out. Later, of what a batch holds; a note says which inputs
            were in it, and what came before is with the caller.
    """
    if not callable(method):
        raise TypeError(
            f"method must be a callable (model, pixels, target) → map, found {method!r}"
        )
    check_model(model)
    n, batches, labels = _opened(data, model, batch_size, workers)
    if isinstance(targets, str) and targets == LABELS:
        targets = _known(labels, model)
    targets, extra = _as_rows(targets, n, model), _checked_extra(extra, n)
    return _explained(method, model, n, batches, targets, extra, progress)


def _explained(method, model, n, batches, targets, extra, progress):
    device, last = _device_of(model), -1
    with tqdm(total=n, disable=not progress, desc="explained", leave=False) as bar:
        for numbers, pixels, given, more in batches:
            target = _rows_of(targets, numbers)
            if targets is None and given is not None:
                target = _from_pairs(given, model)
            further = [_rows_of(each, numbers, "rows of extra") for each in extra] or more
            to = device or pixels.device
            try:
                further = {"extra": tuple(_moved(each, to) for each in further)} if further else {}
                maps = method(model, pixels.to(to), target, **further)
                rows = _split(maps, len(numbers), pixels.device)
            except Exception as error:
                error.add_note(f"met among the inputs {numbers[0]} to {numbers[-1]} of the data")
                if more and not extra:
                    error.add_note(_FROM_DATA.format(n=len(more)))
                raise
            yield from zip(numbers, rows, strict=True)
            last = numbers[-1]
            bar.update(len(numbers))
    for what, each in (("targets", targets), *(("rows of extra", each) for each in extra)):
        if n is None and (rows := _n_rows(each)) not in (None, last + 1):
            raise ValueError(f"there are {rows} {what}, and the data gave {last + 1} inputs")


_FROM_DATA = (
    "the data set gives {n} items behind the target, which the model is given as further arguments"
)


# --- sources: (number of inputs or None, iterator of (numbers, pixels, targets, extra), labels) ---


def _opened(data, model, batch_size, workers):
    if isinstance(data, ImageSet):
        n, batches, _ = _opened(data.pixels, model, batch_size, workers)
        return n, batches, data.labels
    if isinstance(data, np.ndarray):
        if data.dtype.kind != "f":
            remedy = ": for bytes, pixels.astype('float32') / 255" if data.dtype == "u1" else ""
            raise TypeError(f"data must be floating point, found {data.dtype}{remedy}")
        check_pixels(None, _tensor(data[:1] if data.ndim else data), "data")
        return len(data), _of_array(data, _rows(data[:1], batch_size)), None
    if isinstance(data, torch.Tensor):
        check_pixels(None, data[:1] if data.ndim else data, "data")
        return len(data), _of_array(data, _rows(data[:1], batch_size)), None
    if isinstance(data, DataLoader):
        return _n_of_loader(data), _of_loader(data), None
    if isinstance(data, Dataset):
        rows, n = batch_size, _n_of(data)
        if n == 0:
            raise ValueError("the data set is empty: there is nothing to explain")
        if n is not None and batch_size is None:
            rows = _rows(_pixels_of(data[0])[None], None)
        rows = at_least_one(UNKNOWN if rows is None else rows, "batch_size")
        return n, _of_loader(DataLoader(data, rows, num_workers=workers or 0)), None
    if isinstance(data, (str, PathLike)):
        files, labels, _ = picture_files(data)
    elif isinstance(data, (list, tuple)) and all(isinstance(f, (str, PathLike)) for f in data):
        files, labels = [Path(file) for file in data], None
        if not files:
            raise FileNotFoundError("the list of picture files is empty")
    else:
        raise TypeError(
            "data must be a tensor or array (N, ...), an ImageSet, a Dataset or DataLoader, or a "
            f"folder of pictures, found {type(data).__name__}"
        )
    size = getattr(model, "input_size", PHOTO_SIZE)
    rows = _rows(torch.empty(1, 3, size, size), batch_size)
    return len(files), _of_files(files, size, rows, workers), labels


def _of_array(data, rows):
    for start in range(0, len(data), rows):
        part = data[start : start + rows]
        part = part if isinstance(part, torch.Tensor) else _tensor(part)
        yield list(range(start, start + len(part))), part, None, ()


def _of_loader(loader):
    start = 0
    try:
        for batch in loader:
            pixels, more = _pixels_of(batch), ()
            if isinstance(batch, (list, tuple)):
                _, *more = batch
            given, *more = more or [None]
            if isinstance(given, (int, float, str)) or getattr(given, "ndim", 1) == 0:
                raise TypeError(
                    "the loader must give batches, and gives one input at a time, with a target "
                    f"that is no batch of them, {given!r}: DataLoader(…, batch_size=8)"
                )
            yield list(range(start, start + len(pixels))), pixels, given, more
            start += len(pixels)
    except Exception as error:
        error.add_note(f"met behind the first {start} inputs of the data")
        if "collate" in str(error) or "stack expects each tensor" in str(error):
            raise TypeError(
                "the data set must give tensors of one shape, or pairs of one and a target, or "
                "(input, target, *extra) "
                f"(torchvision: transform=ToTensor(), after a crop to one size): {error}"
            ) from error
        raise
    if not start:
        raise ValueError("the data set is empty: there is nothing to explain")


def _of_files(files, size, rows, workers):
    for numbers, read in read_ahead(files, size, rows, workers):
        pictures = {}
        for number, picture in zip(numbers, read, strict=True):
            if isinstance(picture, str):
                warnings.warn(
                    f"picture {number} cannot be read and is left out: {files[number]} ({picture})",
                    stacklevel=2,
                )
            else:
                pictures[number] = picture
        if pictures:
            yield list(pictures), torch.stack(list(pictures.values())), None, ()


def read_ahead(files, size, rows, workers=None, starts=None):
    """Yield (numbers, pictures) of ``rows`` files at a time, from each number of ``starts`` (those
    of all files), the next ones read while the caller is at work: each (3, size, size), or a str
    that says why it cannot be read."""
    pool = ThreadPoolExecutor(READERS if workers is None else at_least_one(workers, "workers"))
    upcoming, ahead = deque(), iter(range(0, len(files), rows) if starts is None else starts)

    def begin():
        if (first := next(ahead, None)) is not None:
            numbers = list(range(first, min(first + rows, len(files))))
            upcoming.append((numbers, [pool.submit(_read, files[i], size) for i in numbers]))

    try:
        begin()
        while upcoming:
            begin()
            numbers, reading = upcoming.popleft()
            yield numbers, [future.result() for future in reading]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a forgotten generator must not wait


def _read(file, size):
    try:
        return read_image(file, size)
    except Exception as error:
        return why_unreadable(file, error)


def _tensor(array):
    """A copy, so of a file on disk these rows alone."""
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))


def _rows(first, batch_size):
    first = first if isinstance(first, torch.Tensor) else _tensor(first)
    return rows_at_once(first, batch_size)


def _n_of(dataset):
    if isinstance(dataset, IterableDataset):
        return None
    if not hasattr(dataset, "__len__"):
        raise TypeError(
            "the data set does not say how many inputs it has (__len__); one that cannot must be "
            f"an IterableDataset, found {type(dataset).__name__}"
        )
    return len(dataset)


def _pixels_of(item):
    item = item[0] if isinstance(item, (list, tuple)) and item else item
    item = torch.from_numpy(item) if isinstance(item, np.ndarray) else item
    if not isinstance(item, torch.Tensor):
        raise TypeError(
            "the data set must give an input, a tensor, or (input, target, *extra), found "
            f"{type(item).__name__}"
        )
    return item


def _n_of_loader(loader):
    batches = loader.batch_sampler  # of the user's own it may hold another sampler than the loader
    sampler = getattr(batches, "sampler", loader.sampler)
    if isinstance(sampler, _SHUFFLE):
        raise ValueError(
            "a loader that shuffles, or gives a share, has no order to keep, and an index would "
            "name no input: DataLoader(…, shuffle=False)"
        )
    if isinstance(loader.dataset, IterableDataset) or not isinstance(sampler, Sized):
        return None
    n = len(sampler)
    if getattr(batches, "drop_last", False) and (left := n % batches.batch_size):
        raise ValueError(
            f"the loader leaves out the last {left} of {n} inputs: DataLoader(…, drop_last=False)"
        )
    # another sampler, or a data set that makes its own batches, gives as many as it gives
    return n if type(batches) is BatchSampler else None


# --- targets --------------------------------------------------------------------------------------


def _as_rows(targets, n, model):
    """Arrays and lists as tensors; an error unless a row an input has as many rows."""
    if isinstance(targets, (list, tuple)) and targets and all(isinstance(t, str) for t in targets):
        targets = _from_pairs(targets, model)
    if isinstance(targets, (list, tuple, range)) or _is_array(targets):
        try:
            targets = torch.as_tensor(np.array(targets))  # a copy: some are read-only
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"targets must be integers (N,) or one-hot (N, K), found {targets!r}"[:200]
            ) from error
    if n is not None and (rows := _n_rows(targets)) not in (None, n):
        raise ValueError(f"targets must have one row for each of the {n} inputs, found {rows}")
    return targets


def _is_array(values):
    """A numpy array, or what is as good as one, such as a column of a pandas table."""
    return hasattr(values, "__array__") and not isinstance(values, torch.Tensor)


def _n_rows(targets):
    """How many rows there are, None where one target is for all."""
    if isinstance(targets, (torch.Tensor, np.ndarray)):
        return len(targets) if targets.ndim else None
    if isinstance(targets, Score):
        return next((n for n in map(_n_rows, targets.rows) if n not in (None, 1)), None)
    return None


def _rows_of(targets, numbers, what="targets"):
    if _n_rows(targets) is None:
        return targets
    if isinstance(targets, Score):
        rows = [_rows_of(row, numbers) if _n_rows(row) != 1 else row for row in targets.rows]
        return type(targets)(targets.function, *rows)
    if numbers[-1] >= len(targets):
        raise ValueError(
            f"there are {len(targets)} {what}, and the data gave {numbers[-1] + 1} inputs or more"
        )
    return targets[numbers]


def _checked_extra(extra, n):
    """A tuple of tensors or arrays, each with a row an input."""
    if not isinstance(extra, (tuple, list)):
        found = type(extra).__name__
        raise TypeError(f"extra must be a tuple of further arguments, (mask,), found {found}")
    for number, each in enumerate(extra):
        if not isinstance(each, (torch.Tensor, np.ndarray)) or not each.ndim:
            found = "one number" if hasattr(each, "ndim") else type(each).__name__
            raise TypeError(
                f"extra[{number}] must be a tensor or array, a row an input, found {found}; what "
                "is the same for all inputs can be set in a lambda around the model"
            )
        if n not in (None, len(each)):
            raise ValueError(
                f"extra[{number}] must have one row for each of the {n} inputs, found {len(each)}"
            )
    return tuple(extra)


def _moved(rows, device):
    """Rows of a further argument, on the model's device; what is no tensor is the method's to
    refuse."""
    rows = _tensor(rows) if isinstance(rows, np.ndarray) else rows
    return rows.to(device) if isinstance(rows, torch.Tensor) else rows


def _known(labels, model):
    part = getattr(model, "part", None)
    if labels is None or part not in labels:
        there = ", ".join(labels) if labels else "none"
        raise ValueError(
            f"the data has no labels of {part!r}, the part that the model names; there are: {there}"
        )
    if (labels[part] < 0).any():
        raise ValueError(
            f"{int((labels[part] < 0).sum())} of {len(labels[part])} inputs have no label"
        )
    return labels[part]


def _from_pairs(given, model):
    if isinstance(given, (list, tuple)) and all(isinstance(name, str) for name in given):
        if not isinstance(model, Classifier):
            raise TypeError(f"only a Classifier knows its classes by name, found {given[0]!r}")
        return torch.tensor([class_named(name, model.classes) for name in given])
    if not isinstance(given, torch.Tensor):
        raise TypeError(
            "the data set's targets must be integers or one-hot rows, found "
            f"{type(given).__name__}; targets='…' says others"
        )
    return given


# --- maps -----------------------------------------------------------------------------------------


def _split(maps, n, device):
    """The n rows of what a method returns: of a tensor, a dict or a named tuple of them."""
    if isinstance(maps, dict):
        columns = [_split(each, n, device) for each in maps.values()]
        return [dict(zip(maps, row, strict=True)) for row in zip(*columns, strict=True)]
    if isinstance(maps, tuple) and hasattr(maps, "_fields"):
        columns = [_split(each, n, device) for each in maps]
        return [type(maps)(*row) for row in zip(*columns, strict=True)]
    if not isinstance(maps, torch.Tensor) or maps.ndim < 1 or len(maps) != n:
        found = tuple(maps.shape) if isinstance(maps, torch.Tensor) else type(maps).__name__
        raise ValueError(f"the method must return a map for each of {n} inputs, found {found}")
    # copies: of a row that is kept, the others need not stay
    return [row.clone() for row in maps.detach().to(device)]


def _device_of(model):
    if not isinstance(model, nn.Module):
        return None
    first = next(chain(model.parameters(), model.buffers()), None)
    return None if first is None else first.device
