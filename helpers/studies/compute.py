"""Measurements too long for a notebook: computed once, the value of every picture kept in a small
file in data/.

python -m helpers studies noise_strength    # one, to data/study-noise_strength.npz; goes on where
                                            # it was stopped
python -m helpers studies                   # all of them

A study is a function (model, images, target, seeds) → {setting: {measure: (N,) tensor}}: what it
finds for N pictures, each with a noise seed of its own. It is asked for its networks, all training
seeds and hundreds of pictures (``registry``); a notebook reads the file (``load_results``),
computes a part of it again (``recompute``), and asks the same function about other networks and
pictures (``measure_here``).
"""

import argparse
import json
import shutil
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from helpers.benchmark.models import DATA, training_seeds
from helpers.checks import at_least_one, choose
from helpers.evaluate import logits_of
from helpers.files import written_whole
from helpers.studies.headlines import BENCHMARK
from helpers.studies.registry import STUDIES
from helpers.studies.store import Results
from helpers.workers import WorkersLostError, completed, executor

SCRATCH = Path(__file__).resolve().parents[2] / "build" / "studies"
CHUNK = 10  # pictures that are measured, and kept when interrupted, together
TOLERANCE = (
    0.002  # of a recomputed value: stored with half precision, computed on another processor
)
FLIPPED = (
    0.05  # of the values may be off by more: other rounding flips a ReLU, a sign step or a rank
)


def measure_here(name, model, images, *, seed=0, **sizes) -> Results:
    """The same study on one network and pictures of the reader's own; ``sizes`` (e.g. n_samples) to
    make it shorter."""
    study = STUDIES[choose(name, STUDIES, "study")]
    target = logits_of(model, images.pixels).argmax(1)
    found = study.measure(model, images, target, _noise_seeds(range(len(images)), seed), **sizes)
    measures = list(dict.fromkeys(measure for row in found.values() for measure in row))
    values = {measure: _stacked(found, measure, len(images))[None, None] for measure in measures}
    named = getattr(model, "name", "network")
    return Results(name, (named,), (0,), tuple(found), np.arange(len(images)), 0, values)


def recompute(results, *, n=3, seed=0) -> str:
    """Compute n pictures' values again, of a network and a training seed, and compare them one by
    one. Those go round with the study's place among all and with ``seed``, so that the notebooks
    together ask every network; ``seed`` chooses the pictures, too.

    A value agrees within 0.002 of itself, or of the measure's mean size if that is larger (but
    below 1). On another processor rounding flips a ReLU, a step of an adversarial start or the rank
    of a pixel, and single values jump as far as they like: those are counted.

    Returns:
        a line that says what was compared.

    Raises:
        AssertionError: 5 % of the values or more (and more than one) disagree, or a quarter of a
            measure's, or half of a setting's (one picture of three may flip in it): so that neither
            can be taken for another. Or a value is there that was not, or the study's settings have
            changed.
    """
    kinds = _pairs({n: results.seeds_of(name) for n, name in enumerate(results.networks)})
    network, training_seed = kinds[(list(STUDIES).index(results.name) + seed) % len(kinds)]
    rng = np.random.default_rng(seed)
    places = np.sort(rng.choice(len(results.pictures), n, replace=False))
    arguments = (
        results.name,
        results.networks[network],
        training_seed,
        results.pictures[places],
    )
    settings, again = _compute(*arguments)
    same = settings == results.settings and set(again) == set(results.values)
    assert same, (
        f"the settings or measures of {results.name} have changed: "
        f"python -m helpers studies {results.name}"
    )
    off = np.empty((len(again), len(settings), n))
    for row, (measure, values) in zip(off, again.items(), strict=True):
        at = network, results.training_seeds.index(training_seed)
        stored = results.values[measure][at][:, places]
        assert (np.isnan(values) == np.isnan(stored)).all(), (
            f"{measure}: other settings have a value"
        )
        mean_size = np.clip(np.nanmean(np.abs(results.values[measure])), 1e-6, 1)
        distance = np.abs(values - stored) / np.maximum(np.abs(stored), mean_size)
        row[:] = np.where(np.isnan(stored), np.nan, np.nan_to_num(distance, nan=np.inf))
    there, moved = ~np.isnan(off), off > TOLERANCE
    measure, setting, picture = np.unravel_index(np.nanargmax(off), off.shape)
    worst = (
        f"the furthest is {list(again)[measure]}, setting {settings[setting]}, picture "
        f"{results.pictures[places[picture]]}: off by {off[measure, setting, picture]:.1%}"
    )
    assert moved.sum() < max(2, FLIPPED * there.sum()), (
        f"{moved.sum()} of {there.sum()} values differ; {worst}"
    )
    for names, axes, share in ((again, (1, 2), 1 / 4), (settings, (0, 2), 1 / 2)):
        for name, differ, of in zip(names, moved.sum(axes), there.sum(axes), strict=True):
            assert differ < max(2, share * of), f"{name}: {differ} of {of} values differ; {worst}"
    return (
        f"{n} {'picture' if n == 1 else 'pictures'} of {results.networks[network]}, training seed "
        f"{training_seed}: {len(again)} measures × {len(settings)} "
        "settings computed again agree with the stored ones"
    )


def _compute(name, network, training_seed, numbers):
    """(settings, {measure: (settings, N)}) of the pictures with these numbers."""
    study = STUDIES[name]
    model, images = _world(name, network, training_seed)
    images = images[[int(i) for i in numbers]]
    # what the network says, too: pictures that it gets wrong are left out
    target = study.target(model, images)
    found = study.measure(model, images, target, _noise_seeds(numbers, training_seed))
    measures = list(dict.fromkeys(measure for row in found.values() for measure in row))
    return tuple(found), {measure: _stacked(found, measure, len(images)) for measure in measures}


@lru_cache(2)
def _world(name, network, training_seed):
    """The network, and the pictures that a study asks it about, once for all chunks."""
    model = STUDIES[name].load(network, seed=training_seed, device="cpu")
    if STUDIES[name].own_pictures:  # large ones: half the time
        model.to(memory_format=torch.channels_last)
    return model, STUDIES[name].pictures(model)


def _noise_seeds(numbers, training_seed):
    return [10_000 * (training_seed + 1) + int(number) for number in numbers]


def _stacked(found, measure, n):
    missing = torch.full((n,), torch.nan)
    return np.stack(
        [row.get(measure, missing).detach().cpu().double().numpy() for row in found.values()]
    )


def _pictures(name):
    """The numbers of the study's pictures, how many of the split BENCHMARK gets wrong, and, of
    pictures that each network has of its own, {network: their names}."""
    study = STUDIES[name]
    if study.own_pictures:
        names = {network: _world(name, network, 0)[1].names for network in study.networks}
        return np.arange(min(map(len, names.values()))), 0, names
    right = True
    for network in BENCHMARK:  # so that a study of further networks has the same pictures
        for training_seed in training_seeds(network):
            model, images = _world(name, network, training_seed)
            right &= logits_of(model, images.pixels).argmax(1) == study.target(model, images)
    kept = np.flatnonzero(right.numpy())
    chosen = np.random.default_rng(0).permutation(kept)[: study.n_pictures]
    return np.sort(chosen), int((~right).sum()), None


def compute(name, *, jobs=None, address=None):
    """Compute a study and write data/study-NAME.npz, in ``jobs`` processes (default: one a core),
    or on the cluster of the Dask scheduler at ``address``, which must see build/studies here.

    Finished chunks wait in build/studies/NAME until all are there, and are not computed again:
    after a change to the study, delete that folder.

    Raises:
        ValueError: unknown study; jobs < 1; chunks that were computed by another version of the
            study.
        WorkersLostError: as for ``completed``; finished chunks wait.
    """
    study, scratch = STUDIES[choose(name, STUDIES, "study")], SCRATCH / name
    jobs = None if jobs is None else at_least_one(jobs, "jobs")
    pictures, excluded, names = _pictures(name)
    seeds = {network: training_seeds(network) for network in study.networks}
    starts = range(0, len(pictures), CHUNK)
    keys = [(*key, start) for key in _pairs(seeds) for start in starts]
    chunks = {key: scratch / "{}-{}-{}.npz".format(*key) for key in keys}
    waiting = [key for key, path in chunks.items() if not path.is_file()]
    with (
        executor(jobs, address) as pool,
        tqdm(total=len(chunks), initial=len(chunks) - len(waiting), desc=name) as bar,
    ):
        for _ in completed(
            pool, _compute_chunk, [(name, key, pictures, chunks[key]) for key in waiting]
        ):
            bar.update()
    about = {"networks": study.networks, "seeds": seeds, "excluded": excluded}
    _assemble(name, pictures, about | ({"names": names} if names else {}), chunks)
    shutil.rmtree(scratch)


def _pairs(seeds):
    """(network, training seed) of {network: its training seeds}."""
    return [(network, seed) for network, several in seeds.items() for seed in several]


def _compute_chunk(name, key, pictures, path):
    network, training_seed, start = key
    numbers = pictures[start : start + CHUNK]
    settings, values = _compute(name, network, training_seed, numbers)
    about = json.dumps(
        {"settings": settings, "measures": list(values), "pictures": numbers.tolist()}
    )
    with written_whole(path) as whole:
        np.savez(whole, about=about, values=np.stack(list(values.values())))


def _assemble(name, pictures, made_of, chunks):
    rows, first = {}, None
    for key, path in chunks.items():
        with np.load(path, allow_pickle=False) as file:
            about, rows[key] = json.loads(str(file["about"])), file["values"]
        of, first = about.pop("pictures"), first or about
        if about != first or of != pictures[key[2] : key[2] + CHUNK].tolist():
            raise ValueError(
                f"{path} is of another version of {name}: delete its folder and compute the study "
                "again"
            )
    seeds = made_of["seeds"]
    every = sorted(set().union(*seeds.values()))
    shape = (len(about["measures"]), len(seeds), len(every), len(about["settings"]), len(pictures))
    values = np.full(shape, np.nan, np.float16)
    for (network, training_seed, start), found in rows.items():
        place = list(seeds).index(network), every.index(training_seed)
        values[:, *place, :, start : start + CHUNK] = found
    about["training_seeds"] = every
    about |= made_of
    arrays = {f"values {i}": array for i, array in enumerate(values)}
    with written_whole(DATA / f"study-{name}.npz") as whole:
        np.savez_compressed(whole, about=json.dumps(about), pictures=pictures, **arrays)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m helpers studies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="STUDY", help=f"default: all: {', '.join(STUDIES)}"
    )
    parser.add_argument("--jobs", type=int, help="processes (default: one a core)")
    parser.add_argument("--dask", metavar="ADDRESS", help="of a scheduler: work on its cluster")
    arguments = parser.parse_args(arguments)
    try:
        for name in arguments.names:
            choose(name, STUDIES, "study")
        at_least_one(1 if arguments.jobs is None else arguments.jobs, "--jobs")
    except ValueError as error:
        parser.error(str(error))
    for name in arguments.names or STUDIES:
        try:
            compute(name, jobs=arguments.jobs, address=arguments.dask)
        except (ImportError, WorkersLostError) as error:
            parser.error(str(error))
        print(DATA / f"study-{name}.npz", file=sys.stderr)
