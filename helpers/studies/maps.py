"""The maps of a folder of pictures, in a Zarr store.

python -m helpers explain MODEL FOLDER --out maps.zarr                    # SmoothGrad
python -m helpers explain MODEL FOLDER --out maps.zarr --method integrated_gradients \\
    --set n_steps=100 baseline=blur --keep whole --dtype float16

Processes share the chunks of pictures, here (--workers) or on a cluster (--dask). Stopped at any
moment and started again with the same arguments it goes on, and ends with the same bytes, however
many processes there were. What cannot be read is listed, and its map is NaN. The store may lie on
any file system that fsspec reaches (s3://bucket/maps.zarr). A few of the maps become a page of
pictures beside it, maps.html.
"""

import argparse
import ast
import base64
import hashlib
import html
import inspect
import io
import json
import os
import sys
from contextlib import nullcontext
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from helpers.attribution.gradients import reduce_channels, saliency
from helpers.attribution.integrated_gradients import integrated_gradients
from helpers.attribution.relatives import grad_cam, gradient_x_input, guided_backprop
from helpers.attribution.smoothgrad import smoothgrad
from helpers.attribution.targets import resolve_target
from helpers.benchmark.images import picture_files, read_image
from helpers.benchmark.models import load_model
from helpers.checks import at_least_one, choose
from helpers.evaluate import logits_of, probabilities
from helpers.files import written_whole
from helpers.studies.explain import read_ahead
from helpers.workers import completed, executor

METHODS = {
    method.__name__: method
    for method in (
        saliency,
        smoothgrad,
        integrated_gradients,
        gradient_x_input,
        guided_backprop,
        grad_cam,
    )
}
KEEP = ("signed", "unsigned", "whole")
DTYPES = ("float32", "float16")
FORMAT = 2  # of the store; raised where the same settings would mean other values
CHUNK = 8  # pictures that are explained, and kept when interrupted, together
UNREADABLE, ABSENT = -1, -2  # instead of an answer: of a picture; of a chunk that is not there
NOT_A_SETTING = ("extra", "batch_size", "progress", "attribution")


def explain_folder(
    model,
    folder,
    out,
    *,
    method="smoothgrad",
    options=None,
    target=None,
    keep="signed",
    dtype="float32",
    size=None,
    chunk=CHUNK,
    workers=None,
    pool=None,
    progress=True,
) -> dict:
    """Write the maps of a folder of pictures to a Zarr store, or go on with those that are missing.

    The store is a group with the arrays ``maps``, (N, H, W), or (N, C, H, W) where ``keep`` is
    "whole"; ``answers`` (N,) int32, the class that the network names, −1 where a picture could not
    be read (its map is NaN), −2 where its chunk is still missing; ``probabilities`` (N,) of those
    answers. Its attributes are ``settings`` (with the versions of the package and of this format)
    and ``names``, and, when all is done, ``answers`` (their names), and ``unreadable`` {name: why}.

    Args:
        model: a ``Classifier``, a name for ``load_model``, or a function that makes one. A pool's
            processes make it themselves, so there it is one of the latter two.
        folder: of pictures, as for ``load_images``.
        out: a folder, or an address that fsspec knows ("memory://maps", "s3://…").
        method: a name of ``METHODS``; ``options`` {setting: value} of its own.
        target: None, a class number or a class name.
        keep: "signed" or "unsigned", one value a pixel as by ``reduce_channels``, or "whole".
        size: height and width; by default the model's own.
        chunk: pictures explained and stored together.
        workers: threads that read the next pictures, 2 by default.
        pool: an ``Executor`` whose processes share the chunks, as of ``workers.executor``; they
            must see the folder and the store. None: this process.

    Returns:
        {name: why} of the pictures that could not be read.

    Raises:
        FileNotFoundError, ValueError, TypeError: no pictures; an unknown name; a store of other
            settings or pictures, or a folder that is no store: nothing is written then. A map that
            is not finite or does not fit the dtype: the chunks that were finished are stored.
        WorkersLostError: as for ``completed``; the chunks that were finished are stored.
    """
    maker, method = model, METHODS[choose(method, METHODS, "method")]
    if pool is not None and isinstance(model, torch.nn.Module):
        raise TypeError("for a pool, give the model's name, or a function that makes it")
    choose(keep, KEEP, "reduction")
    choose(dtype, DTYPES, "dtype")
    if isinstance(target, bool) or not isinstance(target, (int, str, type(None))):
        raise TypeError(
            "the target of a store is None, a class number or a class name, so that it can be "
            f"written down, found {target!r}: explain(method, model, folder, targets) takes others"
        )
    if not isinstance(model, torch.nn.Module):
        model, _ = _made(model)
    size = at_least_one(getattr(model, "input_size", 224) if size is None else size, "size")
    chunk, options = at_least_one(chunk, "chunk"), _options(method, options or {})
    files, *_ = picture_files(folder)
    folder = Path(folder).expanduser()
    names = [file.relative_to(folder).as_posix() for file in files]
    settings = {
        "model": getattr(model, "name", type(model).__name__),
        "weights": _checksum(model),
        "method": method.__name__,
        **{"options": options, "target": target, "keep": keep, "dtype": dtype},
        **{"size": size, "chunk": chunk, "format": FORMAT, "version": _version()},
    }
    channels = len(model.mean) if hasattr(model, "mean") else 3
    shape = (len(names), *(channels,) * (keep == "whole"), size, size)
    about = {"settings": settings, "names": names}
    root = _opened(out, about, shape, chunk)
    waiting = [] if "unreadable" in root.attrs else _waiting(root["answers"], chunk)
    done = len(names) - sum(min(chunk, len(names) - start) for start in waiting)
    if pool is None:
        finished = _written(model, root, folder, waiting, workers)
    else:
        local, key = _local(out), hashlib.sha256(json.dumps(about).encode()).hexdigest()
        where = maker, str(local.resolve() if local else out), folder.resolve(), key
        finished = completed(pool, _write, [(*where, start) for start in waiting])
    with tqdm(total=len(names), initial=done, disable=not progress, desc="explained") as bar:
        for n in finished:
            bar.update(n)
    _sweep(out)
    return _finished(root, files, names, size, getattr(model, "classes", None))


def _write(maker, out, folder, key, start):
    """Write the chunk that begins at this number, in a process that knows nothing else."""
    root = _root(out, key)
    model, weights = _made(maker)
    if weights != root.attrs["settings"]["weights"]:
        raise ValueError(f"here {maker!r} has other weights than where the work was begun")
    return sum(_written(model, root, folder, [start]))


@lru_cache(1)
def _made(maker):
    """The model, and what tells its weights from others; once a process."""
    if not isinstance(maker, str) and not callable(maker):
        raise TypeError(
            "the model must be a Classifier, a name for load_model, or a function that makes one, "
            f"found {type(maker).__name__}"
        )
    model = load_model(maker) if isinstance(maker, str) else maker()
    return model, _checksum(model)


@lru_cache(1)
def _root(out, key):
    import zarr

    return zarr.open_group(_store(out), mode="r+")


def _written(model, root, folder, starts, workers=None):
    """Write the chunks that begin at these numbers; yield how many pictures each has."""
    names, settings = root.attrs["names"], root.attrs["settings"]
    device, files = next(model.parameters()).device, [folder / name for name in names]
    size, chunk, dtype = (settings[name] for name in ("size", "chunk", "dtype"))
    for numbers, pictures in read_ahead(files, size, chunk, workers, starts):
        where = slice(numbers[0], numbers[-1] + 1)
        rows = [i for i, picture in enumerate(pictures) if not isinstance(picture, str)]
        maps = np.full((len(numbers), *root["maps"].shape[1:]), np.nan, dtype)
        answers = np.full(len(numbers), UNREADABLE, np.int32)
        shares = np.full(len(numbers), np.nan, np.float32)
        if rows:
            pixels = torch.stack([pictures[i] for i in rows]).to(device)
            try:
                maps[rows], answers[rows], shares[rows] = _explained(model, pixels, settings)
            except Exception as error:
                of = ", ".join(names[numbers[i]] for i in rows)
                error.add_note(f"met among {of}; the chunks that were finished are stored")
                raise
        try:
            root["maps"][where], root["probabilities"][where] = maps, shares
            root["answers"][where] = answers  # last: it says that the chunk is whole
        except OSError as error:  # no space, no right, no connection
            error.add_note("the chunks that were finished are stored; the same command goes on")
            raise
        yield len(numbers)


def _waiting(answers, chunk):
    """The first numbers of the chunks that are not there whole."""

    def whole(start):
        try:
            return (answers[start : start + chunk] != ABSENT).all()
        except Exception:  # cut off while it was written, on a file system where that can be
            return False

    return [start for start in range(0, answers.shape[0], chunk) if not whole(start)]


def _sweep(out):
    """Remove what a process left that was ended while it wrote."""
    if (local := _local(out)) and local.is_dir():
        for left in local.rglob("*.partial"):
            left.unlink(missing_ok=True)


def _explained(model, pixels, settings):
    keep, dtype = settings["keep"], settings["dtype"]
    target = resolve_target(model, pixels, settings["target"])
    maps = METHODS[settings["method"]](model, pixels, target, **settings["options"])
    if not isinstance(maps, torch.Tensor):
        raise ValueError("a store holds one map a picture: give every setting one value")
    maps = (maps if keep == "whole" else reduce_channels(maps, keep)).cpu().numpy()
    with np.errstate(over="ignore"):
        stored = maps.astype(dtype)
    if not np.isfinite(stored).all():
        raise ValueError(f"a map does not fit in {dtype}, up to {np.abs(maps).max():.3g}")
    shares = probabilities(logits_of(model, pixels)).cpu()
    best = shares.max(1)
    return stored, best.indices.numpy(), best.values.numpy()


def _finished(root, files, names, size, classes):
    """The attributes that can be known at the end; {name: why} of what could not be read."""
    if "unreadable" not in root.attrs:
        answers = root["answers"][:].tolist()
        if ABSENT in answers:
            raise ValueError("the store lies where the workers do not see it: they wrote elsewhere")
        called = [None if k < 0 else classes[k] if classes else int(k) for k in answers]
        unreadable = {}
        for file, name, answer in zip(files, names, answers, strict=True):
            if answer < 0:
                ((_, (why,)),) = read_ahead([file], size, 1)
                unreadable[name] = why if isinstance(why, str) else "not when it was its turn"
        root.attrs.update({"answers": called, "unreadable": unreadable})
    return dict(root.attrs["unreadable"])


def _opened(out, about, shape, chunk):
    """The group with its arrays, made or found; an error where another one lies there."""
    import zarr  # here, since it takes a second to import

    local = _local(out)
    _sweep(out)
    held = any(local.iterdir()) if local and local.is_dir() else local and local.exists()
    if held and not (local / "zarr.json").is_file():
        raise ValueError(f"{local} is no Zarr store: choose another place")
    try:
        root = zarr.open_group(_store(out), mode="a", zarr_format=3)
    except (ImportError, ValueError, OSError) as error:
        raise ValueError(f"no store can be opened at {out}: {error}") from error
    about = json.loads(json.dumps(about))  # as it is read again
    found, arrays = dict(root.attrs), [array for _, array in root.members()]
    if found.get("settings") and not any(array.nchunks_initialized for array in arrays):
        root = zarr.open_group(_store(out), mode="w", zarr_format=3)  # nothing came of that
        found = arrays = None
    if not found and not arrays:
        root.attrs.put(about)
    elif changed := _changes(about, found):
        raise ValueError(
            f"{out} holds maps of something else ({changed}): give the same arguments to go on, or "
            "choose another place"
        )
    like = {"write_empty_chunks": True}  # a chunk that is there is done
    settings = about["settings"]
    for name, size, dtype, fill in (
        ("maps", shape, settings["dtype"], np.nan),
        ("probabilities", shape[:1], "float32", np.nan),
        ("answers", shape[:1], "int32", ABSENT),
    ):
        if name not in root:
            root.create_array(
                name,
                shape=size,
                dtype=dtype,
                chunks=(min(chunk, size[0]), *size[1:]),  # one is held whole
                fill_value=fill,
                config=like,
            )
    return root


def _store(out):
    import zarr

    local = _local(out)
    return zarr.storage.LocalStore(local) if local else zarr.storage.FsspecStore.from_url(out)


def _changes(about, found):
    """What differs, in a line; "" where nothing does."""
    if "settings" not in found:
        return "not written by this command"
    old, new = found["settings"], about["settings"]
    said = [
        f"{key} {old.get(key)!r}, now {new.get(key)!r}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]
    if about["names"] != found.get("names"):
        said.append(f"{len(found.get('names', []))} pictures, now {len(about['names'])} or others")
    return "; ".join(said)


def _local(out):
    """The path, None for an address of another file system."""
    text = str(out)
    if "://" in text and not text.startswith("file://"):
        return None
    return Path(text.removeprefix("file://")).expanduser()


def _options(method, given):
    """Every setting of a method, by its default where it is not given."""
    known = {
        name: parameter.default
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in NOT_A_SETTING
    }
    for name in given:
        if not known:
            raise ValueError(f"{method.__name__} has no settings, found {name!r}")
        choose(name, known, f"setting of {method.__name__}")
        try:
            json.dumps(given[name])
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"a store's settings must be numbers, names or lists of them, so that they can be "
                f"written down, found {name} = {given[name]!r}"
            ) from error
    return known | given


def _checksum(model):
    """Of the weights: 16 digits of their SHA-256."""
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(
            value.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes()
        )
    return found.hexdigest()[:16]


def _version():
    try:
        return version("gradient-explanations")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "not installed"


# --- the page -------------------------------------------------------------------------------------


def write_page(folder, out, n=6) -> str:
    """Write a page of pictures beside a finished store: n of them, evenly spread, each with its
    map, from the 99th percentile of its size on at full colour; and what could not be read. Its
    address."""
    import zarr

    local, root = _local(out), zarr.open_group(_store(out), mode="r")
    about, there = dict(root.attrs), np.flatnonzero(root["answers"][:] >= 0)
    settings = about["settings"]
    signed = "red raises the logit, blue lowers it, white is zero"
    colours = "bright is large, black is zero" if settings["keep"] == "unsigned" else signed
    cells = []
    for i in there[np.unique(np.linspace(0, len(there) - 1, min(n, len(there))).astype(int))]:
        picture = read_image(Path(folder).expanduser() / about["names"][i], settings["size"])
        name, answer = (html.escape(str(about[each][i])) for each in ("names", "answers"))
        share = f"{float(root['probabilities'][int(i)]):.0%}"
        shown = picture.permute(1, 2, 0).numpy(), _coloured(root["maps"][int(i)], settings["keep"])
        alts = (
            f"The picture {name}, which the network calls {answer} with {share}",
            f"The {settings['method']} map of {name}: {colours}",
        )
        tags = "".join(
            f'<img alt="{alt}" src="data:image/png;base64,{_png(values)}">'
            for alt, values in zip(alts, shown, strict=True)
        )
        cells.append(f"<figure>{tags}<figcaption>{name}: {answer}, {share}</figcaption></figure>")
    lost = "".join(
        f"<li>{html.escape(name)}: {html.escape(why)}</li>"
        for name, why in about["unreadable"].items()
    )
    title = html.escape(f"{settings['method']} of {settings['model']}")
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<style>body{font:1rem/1.5 sans-serif;max-width:90rem;margin:1.5rem auto;padding:0 1rem;"
        "overflow-wrap:anywhere}main{display:grid;gap:1.5rem;grid-template-columns:repeat(auto-fill"
        ",minmax(min(100%,24rem),1fr))}figure{margin:0}img{width:calc(50% - 4px);margin-right:4px;"
        "image-rendering:pixelated}</style>"
        f"<h1>{title}</h1><p>{len(cells)} of {len(about['names'])} pictures, each beside its map; "
        "below, the class that the network names and its probability. "
        f"{colours[0].upper()}{colours[1:]}; each map has its own scale, which ends at the 99th "
        f"percentile of its size.</p><main>{''.join(cells)}</main>"
        f"<h2>Settings</h2><p>{html.escape(json.dumps(settings, ensure_ascii=False))}</p>"
        + (f"<h2>Not read</h2><ul>{lost}</ul>" if lost else "")
    )
    where = str(local or out).rstrip("/").removesuffix(".zarr") + ".html"
    if local:
        with written_whole(where) as whole:
            whole.write_text(text, encoding="utf-8")
    else:
        import fsspec

        with fsspec.open(where, "w", encoding="utf-8") as file:
            file.write(text)
    return where


def _coloured(values, keep):
    """A map as (H, W, 3) in [0, 1]."""
    values = values.astype(np.float64)
    values = values.sum(0) if keep == "whole" else values
    limit = np.percentile(np.abs(values), 99) or np.abs(values).max() or 1.0
    values = (values / limit).clip(-1, 1)
    if keep == "unsigned":
        return np.repeat(values[..., None], 3, 2)
    return np.stack([1 + values.clip(max=0), 1 - np.abs(values), 1 - values.clip(min=0)], 2)


def _png(values):
    file = io.BytesIO()
    Image.fromarray((values * 255 + 0.5).astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


# --- the command ----------------------------------------------------------------------------------


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m helpers explain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a name that load_model knows")
    parser.add_argument("folder", metavar="FOLDER", help="of pictures, with its subfolders")
    parser.add_argument("--out", required=True, help="the store: a folder, or an fsspec address")
    parser.add_argument("--method", default="smoothgrad", help=f"one of {', '.join(METHODS)}")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="SETTING=VALUE", help="of the method: noise=0.1"
    )
    parser.add_argument("--target", help="a class, by number or name (default: what is predicted)")
    parser.add_argument("--keep", default="signed", help=f"of a map: {', '.join(KEEP)}")
    parser.add_argument("--dtype", default="float32", help=" or ".join(DTYPES))
    parser.add_argument("--size", type=int, help="height and width (default: the network's own)")
    parser.add_argument("--chunk", type=int, default=CHUNK, help=f"pictures (default: {CHUNK})")
    parser.add_argument("--workers", type=int, help="processes (default: one a core; on CUDA one)")
    parser.add_argument("--dask", metavar="ADDRESS", help="of a scheduler: work on its cluster")
    parser.add_argument("--show", type=int, default=6, help="pictures on the page (default: 6)")
    arguments = parser.parse_args(arguments)
    target = arguments.target
    try:
        target = int(target) if target and target.lstrip("-").isdigit() else target
        workers = 1 if torch.cuda.is_available() else os.cpu_count() or 1
        workers = workers if arguments.workers is None else arguments.workers
        several = at_least_one(workers, "--workers") > 1 or arguments.dask
        torch.set_num_threads(1)  # as many as each of several processes has
        with executor(workers, arguments.dask) if several else nullcontext() as pool:
            unreadable = explain_folder(
                arguments.model,
                arguments.folder,
                arguments.out,
                method=arguments.method,
                options=_parsed(arguments.set),
                target=target,
                keep=arguments.keep,
                dtype=arguments.dtype,
                size=arguments.size,
                chunk=arguments.chunk,
                pool=pool,
            )
        page = write_page(arguments.folder, arguments.out, at_least_one(arguments.show, "--show"))
    except (ValueError, TypeError, OSError, ImportError, RuntimeError, MemoryError) as error:
        parser.error("\n".join([str(error), *getattr(error, "__notes__", [])]))
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    print(f"{arguments.out}\n{page}")
    for name, why in unreadable.items():
        print(f"not read: {name} ({why})", file=sys.stderr)
    return 0


def _parsed(pairs):
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--set takes SETTING=VALUE, found {pair!r}")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value  # a name, as of a baseline
    return options
