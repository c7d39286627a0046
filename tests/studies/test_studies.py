"""Stored studies: computed once, whole and resumably; read, computed again, asked of other
networks."""

import json
import math
import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from by_hand import randn
from torch import nn

from helpers import workers
from helpers.benchmark import models
from helpers.benchmark.images import ImageSet, load_images
from helpers.benchmark.models import EMBEDDED, WeightsNotFoundError
from helpers.measures.quality import dilate, pair_contrast, pixel_auc, relevance_mass
from helpers.measures.scoring import score
from helpers.measures.statistics import mean_over_seeds
from helpers.studies import compute as studies
from helpers.studies import registry, store
from helpers.studies.compute import compute, measure_here, recompute
from helpers.studies.registry import Study
from helpers.studies.store import Results, estimate, load_results

NETWORKS = ("scenes", "scenes-letters")
# network, training seed, first picture of a chunk of two
KEYS = list(product(NETWORKS, (0, 1, 2), (0, 2, 4)))


class Fixed(nn.Module):
    """Answers with a picture's first value; the letter network that was trained with seed 1 errs on
    picture 3."""

    def __init__(self, name, seed):
        super().__init__()
        self.name, self.seed, self.part = name, seed, EMBEDDED[name][0]

    def forward(self, pixels):
        answers = pixels[:, 0, 0, 0].round().long()
        if (self.name, self.seed) == ("scenes-letters", 1):
            answers = torch.where(answers == 3, 4, answers)
        return nn.functional.one_hot(answers, 10).float()


def value(network, training_seed, number):
    """What the made-up study finds for a picture, with three significant digits."""
    return round(0.1 * number + 0.01 * training_seed + 0.5 * (network == "scenes-letters"), 2)


@pytest.fixture
def world(monkeypatch, tmp_path):
    """A study "fake" of five among seven pictures, in chunks of two, with threads for processes;
    ``.calls`` are the pictures and the noise seeds that it was asked about; with ``.error`` it
    fails after ``.calls`` has seven."""

    class World:
        scratch, file = tmp_path / "build" / "fake", tmp_path / "data" / "study-fake.npz"
        calls, error, failed = [], None, 0

    def fake(model, images, target, seeds):
        if World.error and len(World.calls) == 7:
            World.failed += 1
            time.sleep(0.05)
            raise World.error
        numbers = images.pixels[:, 0, 0, 0].round().long()
        World.calls.append((model.name, model.seed, numbers.tolist(), seeds))
        assert target.equal(images.labels[model.part])
        found = torch.tensor([value(model.name, model.seed, int(number)) for number in numbers])
        return {
            "a": {"mass": found, "lowest hidden, mean": torch.ones(len(found))},
            "b": {
                "mass": -found,
                "own": 1000 * found,
                "lowest hidden, mean": torch.zeros(len(found)),
            },
        }

    def seven(source, *, split):
        assert (source, split) == ("scenes", "tune")
        labels = torch.arange(7)
        pixels = labels.float()[:, None, None, None].expand(7, 1, 2, 2)
        return ImageSet(pixels, tuple("abcdefg"), {"shape": labels, "letter": labels})

    loads = lambda name, *, seed, device: Fixed(name, seed)  # noqa: E731
    known = {"fake": Study(fake, 5, "tune", load=loads)}
    for module in (studies, store):
        monkeypatch.setattr(module, "STUDIES", known)
    monkeypatch.setattr(registry, "load_images", seven)
    studies._world.cache_clear()
    monkeypatch.setattr(
        workers, "ProcessPoolExecutor", lambda jobs, context, **more: ThreadPoolExecutor(1, **more)
    )
    monkeypatch.setattr(studies, "SCRATCH", tmp_path / "build")
    monkeypatch.setattr(studies, "DATA", tmp_path / "data")
    monkeypatch.setattr(models, "DATA", tmp_path / "data")
    monkeypatch.setattr(studies, "CHUNK", 2)
    return World


@pytest.fixture
def results(world):
    compute("fake")
    return load_results("fake")


class TestCompute:
    def test_every_value_of_pictures_that_all_networks_get_right(self, world, results):
        assert (
            results.networks == NETWORKS
            and results.training_seeds == (0, 1, 2)
            and results.settings == ("a", "b")
        )
        assert results.excluded == 1 and len(results.pictures) == 5
        assert (np.diff(results.pictures) > 0).all() and set(results.pictures) < {0, 1, 2, 4, 5, 6}
        for network in NETWORKS:
            expected = [
                [value(network, seed, number) for number in results.pictures] for seed in range(3)
            ]
            assert results.of("mass", "a", network) == pytest.approx(np.array(expected), rel=1e-3)
            assert results.of("mass", "b", network) == pytest.approx(-np.array(expected), rel=1e-3)
            assert results.of("own", "b", network) == pytest.approx(
                1000 * np.array(expected), rel=1e-3
            )
            assert np.isnan(results.of("own", "a", network)).all()
        assert all(
            values.shape == (2, 3, 2, 5) and values.dtype == np.float64
            for values in results.values.values()
        )
        assert list(results.values) == ["mass", "lowest hidden, mean", "own"]

    def test_once_each_with_the_noise_seed_of_picture_and_training_seed(self, world, results):
        assert [(name, seed) for name, seed, _, _ in world.calls] == [key[:2] for key in KEYS]
        assert [len(numbers) for _, _, numbers, _ in world.calls] == 6 * [2, 2, 1]
        for _, training_seed, numbers, seeds in world.calls:
            assert seeds == [10_000 * (training_seed + 1) + number for number in numbers]
        # the two networks share theirs
        assert len({seed for *_, seeds in world.calls for seed in seeds}) == 15

    def test_the_same_pictures_each_time_and_fewer_where_there_are_fewer(self, world):
        first, excluded, names = studies._pictures("fake")
        again = studies._pictures("fake")[0]
        assert again.tolist() == first.tolist() and excluded == 1 and names is None
        studies.STUDIES["fake"] = replace(studies.STUDIES["fake"], n_pictures=99)
        assert studies._pictures("fake")[0].tolist() == [0, 1, 2, 4, 5, 6]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_goes_on_where_it_was_stopped(self, world, error):
        compute("fake")
        uninterrupted = world.file.read_bytes()
        world.file.unlink()
        world.calls.clear()
        world.error = error
        with pytest.raises(error):
            compute("fake")
        # of the eleven that were left: an error is not kept waiting for the others
        assert world.failed < 5
        assert sorted(path.name for path in world.scratch.iterdir()) == sorted(
            "{}-{}-{}.npz".format(*key) for key in KEYS[:7]
        )
        assert not world.file.exists()
        world.calls.clear()
        world.error = None
        compute("fake")
        assert [(name, seed) for name, seed, _, _ in world.calls] == [key[:2] for key in KEYS[7:]]
        assert world.file.read_bytes() == uninterrupted and not world.scratch.exists()

    def test_all_there_but_the_file(self, world, monkeypatch):
        def half(path, **arrays):
            path.write_bytes(b"half")
            raise OSError("disk full")

        with monkeypatch.context() as patch:
            patch.setattr(np, "savez_compressed", half)
            with pytest.raises(OSError, match="disk full"):
                compute("fake")
        assert len(world.calls) == 18 and [*world.file.parent.iterdir()] == []
        compute("fake")
        assert len(world.calls) == 18 and [*world.file.parent.iterdir()] == [world.file]

    def test_chunks_of_another_version_are_refused(self, world, monkeypatch):
        world.error = RuntimeError
        with pytest.raises(RuntimeError):
            compute("fake")
        world.error, study = None, studies.STUDIES["fake"]

        def renamed(*args):
            first, second = study.measure(*args).values()
            return {"a": first, "c": second}

        for changed in (replace(study, n_pictures=4), replace(study, measure=renamed)):
            with monkeypatch.context() as patch:
                patch.setitem(studies.STUDIES, "fake", changed)
                with pytest.raises(ValueError, match="another version of fake: delete its folder"):
                    compute("fake")
            assert not world.file.exists()
            for path in world.scratch.iterdir():  # leave the first seven
                if path.name not in {"{}-{}-{}.npz".format(*key) for key in KEYS[:7]}:
                    path.unlink()

    @pytest.mark.parametrize(
        ("name", "jobs", "error", "message"),
        [
            ("fakes", None, ValueError, "unknown study 'fakes'; did you mean 'fake'"),
            ("fake", 0, ValueError, "jobs must be at least 1, found 0"),
            ("fake", 1.5, TypeError, "jobs must be an integer"),
        ],
    )
    def test_refused_before_anything_is_computed(self, world, name, jobs, error, message):
        with pytest.raises(error, match=message):
            compute(name, jobs=jobs)
        assert not world.calls

    def test_a_chunk_can_be_sent_to_a_process(self, tmp_path):
        for name in studies.STUDIES:
            task = (
                studies._compute_chunk,
                (name, ("scenes", 0, 0), np.arange(3), tmp_path / "a.npz"),
            )
            assert pickle.loads(pickle.dumps(task))[0] is studies._compute_chunk


def test_a_real_study_in_a_process_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(studies, "SCRATCH", tmp_path / "build")
    monkeypatch.setattr(studies, "DATA", tmp_path / "data")
    study = replace(studies.STUDIES["controls"], networks=("scenes",))
    monkeypatch.setitem(studies.STUDIES, "controls", study)
    monkeypatch.setattr(studies, "training_seeds", lambda name: (1,))
    monkeypatch.setattr(studies, "_pictures", lambda name: (np.array([7, 41]), 0, None))
    compute("controls", jobs=1)
    with monkeypatch.context() as patch:
        patch.setattr(models, "DATA", tmp_path / "data")
        results = load_results("controls")
    assert (
        results.pictures.tolist() == [7, 41]
        and results.networks == ("scenes",)
        and results.training_seeds == (1,)
    )
    assert recompute(results, n=2).startswith(
        "2 pictures of scenes, training seed 1: 13 measures × 8 settings"
    )
    network = models.load_model("scenes", seed=1, device="cpu")
    here = measure_here("controls", network, load_images("scenes")[[7, 41]], n_samples=1)
    for measure in here.values:
        for setting in here.settings:
            if setting != "random network, SmoothGrad":  # the noise is of a picture's place here
                assert here.of(measure, setting) == pytest.approx(
                    results.of(measure, setting), rel=1e-3, abs=1e-4
                )


class TestLoad:
    def test_half_precision_round_trip(self, world, results):
        with np.load(world.file) as file:
            assert {file[f"values {i}"].dtype for i in range(3)} == {np.dtype(np.float16)}
            about = json.loads(str(file["about"]))
            assert about["measures"] == list(results.values) and about["networks"] == list(NETWORKS)
            for i, values in enumerate(results.values.values()):
                np.testing.assert_array_equal(values, file[f"values {i}"])  # nan where nan

    def test_missing_or_unknown(self, world):
        with pytest.raises(WeightsNotFoundError, match=r"study-fake\.npz is missing"):
            load_results("fake")
        with pytest.raises(ValueError, match="did you mean 'fake'"):
            load_results("fakes")

    @pytest.mark.parametrize("name", studies.STUDIES)
    def test_what_is_shipped_is_whole(self, name):
        if not (models.DATA / f"study-{name}.npz").is_file():
            pytest.skip(f"study-{name}.npz is not there: python -m helpers studies {name}")
        found, study = load_results(name), studies.STUDIES[name]
        assert found.networks == study.networks
        for network in study.networks:
            assert found.seeds_of(network) == models.training_seeds(network)
        assert (
            len(found.pictures)
            == min(study.n_pictures, 500 - found.excluded)
            == len(set(found.pictures))
        )
        for measure, values in found.values.items():
            axes = (found.networks, found.training_seeds, found.settings, found.pictures)
            assert values.shape == tuple(map(len, axes)) and not np.isinf(values).any()
            for setting in found.settings:  # a value for every picture of a setting, or for none
                # or where a method means something for some networks only
                there = [np.isnan(found.of(measure, setting, name)) for name in found.networks]
                assert found.has(measure, setting) or any(each.any() for each in there)


def _everywhere():
    for name, study in studies.STUDIES.items():
        kinds = sum(len(models.training_seeds(network)) for network in study.networks)
        yield from ((name, seed) for seed in range(kinds))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), list(_everywhere()))
def test_every_network_finds_again_what_is_stored(name, seed):
    """A picture of each network and training seed: ``recompute`` goes round with ``seed``."""
    if not (models.DATA / f"study-{name}.npz").is_file():
        pytest.skip(f"study-{name}.npz is not there: python -m helpers studies {name}")
    try:
        recompute(load_results(name), n=1, seed=seed)
    except (FileNotFoundError, WeightsNotFoundError) as error:
        if not studies.STUDIES[name].own_pictures:
            raise
        pytest.skip(str(error))


class TestFrame:
    def test_a_row_for_each_value(self, world, results):
        table = results.frame()
        columns = ["network", "recipe", "seed", "picture", "setting", "measure", "value"]
        assert list(table.columns) == columns and not table.value.isna().any()
        assert len(table) == sum((~np.isnan(values)).sum() for values in results.values.values())
        row = table.query(
            "network == 'scenes-letters' and seed == 2 and picture == '4' and setting == 'a'"
            " and measure == 'mass'"
        )
        assert row.value.item() == pytest.approx(value("scenes-letters", 2, 4), rel=1e-3)
        assert set(table.recipe) == {"both"}

    def test_names_where_each_network_has_its_own_pictures(self, world, results):
        named = replace(
            results, names={name: [f"{name} {i}" for i in range(5)] for name in NETWORKS}
        )
        assert set(named.frame().query("network == 'scenes'").picture) == {
            f"scenes {i}" for i in range(5)
        }


def test_contrast_pairs_the_networks_of_one_recipe():
    networks = (
        "scenes",
        "scenes-letters",
        "scenes-noise",
        "scenes-letters-noise",
        "scenes-attention",
    )
    rng = np.random.default_rng(0)
    values = {m: rng.random((5, 1, 1, 4)) for m in ("mass", "mass other")}
    found = Results("x", networks, (0,), ("a",), np.arange(4), 0, values)
    mass, other = (values[m][:, :, 0] for m in ("mass", "mass other"))
    for first, second in ((0, 1), (2, 3), (3, 2)):
        expected = (mass[first] - other[second] + mass[second] - other[first]) / 2
        assert found.of("contrast", "a", networks[first]) == pytest.approx(expected)
    with pytest.raises(ValueError, match="contrast of scenes-attention needs"):
        found.contrast("a", network="scenes-attention")


class TestRecompute:
    def test_what_compute_wrote_passes_and_goes_round(self, world, results):
        world.calls.clear()
        said = [recompute(results, n=2, seed=seed) for seed in range(6)]
        assert said[0] == (
            "2 pictures of scenes, training seed 0: 3 measures × 2 settings computed again agree "
            "with the stored ones"
        )
        # each of the six networks in turn, other pictures each time
        assert [(name, seed) for name, seed, *_ in world.calls] == list(product(NETWORKS, range(3)))
        assert all(len(numbers) == 2 for _, _, numbers, _ in world.calls)
        assert len({tuple(numbers) for _, _, numbers, _ in world.calls}) > 2

    def test_the_studies_do_not_all_ask_one_network(self, monkeypatch):
        asked = set()

        class AskedError(Exception):
            pass

        def note(name, network, training_seed, numbers):
            asked.add((network, training_seed))
            raise AskedError

        monkeypatch.setattr(studies, "_compute", note)
        for name in ("controls", "noise_strength", "noise_tuning", "low_contrast", "sample_count"):
            with pytest.raises(AskedError):
                recompute(load_results(name))
        assert len(asked) == 5

    @pytest.mark.parametrize(
        ("measure", "setting", "factor"),
        [
            ("mass", 0, 1.004),
            ("mass", 1, -1),
            ("own", 1, 0.997),
            ("own", 1, math.inf),
            ("lowest hidden, mean", 0, 0.9),
            ("own", 1, math.nan),
            ("mass", 0, math.nan),
        ],
    )
    @pytest.mark.filterwarnings("ignore:invalid value")  # inf / inf
    def test_a_changed_measure_fails(self, world, results, measure, setting, factor):
        results.values[measure][:, :, setting, results.pictures > 0] *= factor
        message = (
            "other settings have a value"
            if math.isnan(factor)
            else f"of 25 values differ; the furthest is {measure}, setting {'ab'[setting]}, pic"
        )
        with pytest.raises(AssertionError, match=message):
            recompute(results, n=5)

    def test_a_value_where_there_is_none_fails(self, world, results):
        results.values["own"][:, :, 0] = 1
        with pytest.raises(AssertionError, match="own: other settings have a value"):
            recompute(results)

    def test_small_values_are_held_to_their_size(self, world, results, monkeypatch):
        study = studies.STUDIES["fake"]

        def small(*args):
            return {
                setting: {"error": row["mass"] / 1000}
                for setting, row in study.measure(*args).items()
            }

        monkeypatch.setitem(studies.STUDIES, "fake", replace(study, measure=small))
        compute("fake")
        stored = load_results("fake")
        recompute(stored)
        stored.values["error"] *= 1.02
        with pytest.raises(AssertionError, match="error, setting"):
            recompute(stored)
        nothing = replace(
            study,
            measure=lambda model, images, target, seeds: {"a": {"zero": torch.zeros(len(seeds))}},
        )
        monkeypatch.setitem(studies.STUDIES, "fake", nothing)
        compute("fake")
        recompute(load_results("fake"))

    @pytest.fixture
    def again(self, monkeypatch):
        """(study, change): what is shipped, compared with itself after ``change`` was made to an
        array (measures, settings, pictures) of it."""

        def again(name, change):
            stored = load_results(name)

            def found(name, network, training_seed, numbers):
                where = stored.networks.index(network), stored.training_seeds.index(training_seed)
                places = np.searchsorted(stored.pictures, numbers)
                values = np.stack([v[where][:, places] for v in stored.values.values()])
                change(values)
                return stored.settings, dict(zip(stored.values, values, strict=True))

            monkeypatch.setattr(studies, "_compute", found)
            return recompute(stored)

        return again

    @pytest.mark.parametrize("name", ["baselines", "step_error"])
    @pytest.mark.parametrize(
        ("share", "tolerances", "agrees"),
        [(1, 0.9, True), (0.04, 3, True), (0.04, 1000, True), (0.05, 3, False), (0.3, 3, False)],
    )
    def test_a_share_of_many_values_may_move(self, again, name, share, tolerances, agrees):
        sizes = [np.nanmean(np.abs(v)) for v in load_results(name).values.values()]

        def move(values):
            size = np.maximum(np.abs(values), np.clip(sizes, 1e-6, 1)[:, None, None])
            there = np.random.default_rng(0).permutation(np.argwhere(~np.isnan(values)))
            some = tuple(there[: math.ceil(share * len(there))].T)
            values[some] += tolerances * studies.TOLERANCE * size[some]

        if agrees:
            again(name, move)
        else:
            with pytest.raises(AssertionError, match=r"\d+ of \d+ values differ; the furthest is"):
                again(name, move)

    @pytest.mark.parametrize("name", ["noise_strength", "baselines", "quality", "randomisation"])
    def test_one_setting_or_measure_taken_for_another_fails(self, again, name):
        stored = load_results(name)
        for axis, names in ((1, stored.settings), (0, list(stored.values))):
            for i in range(len(names)):
                if " hidden, " in names[i]:
                    continue  # most pictures keep their label under every fill

                def take(values, axis=axis, i=i):
                    values = np.moveaxis(values, axis, 0)
                    values[i] = values[i - 1]

                with pytest.raises(AssertionError, match=r"values differ; |have a value"):
                    again(name, take)

    def test_one_flipped_step_agrees(self, again):
        """A picture's adversarial baseline is another: every measure of a setting moves."""

        def flip(values):
            values[:, 3, 0] += 1

        again("baselines", flip)

    def test_one_value_of_few_agrees(self, world, results):
        results.values["lowest hidden, mean"][..., 0, 2] = 0
        recompute(results, n=5)
        recompute(results, n=2, seed=3)
        results.values["lowest hidden, mean"][..., 0, 3] = 0
        with pytest.raises(AssertionError, match="2 of 25 values differ; the furthest is lowest"):
            recompute(results, n=5)

    @pytest.mark.parametrize(
        "change",
        [
            lambda results: replace(results, settings=("a", "c")),
            lambda results: replace(
                results, values=results.values | {"more": results.values["mass"]}
            ),
            lambda results: replace(results, values={"mass": results.values["mass"]}),
        ],
    )
    def test_other_settings_or_measures_fail(self, world, results, change):
        with pytest.raises(AssertionError, match=r"have changed: python -m helpers studies fake"):
            recompute(change(results))


class TestMeasureHere:
    def test_a_plain_network_and_pictures_without_labels(self, monkeypatch, conv_net, pictures):
        def fake(model, images, target, seeds, *, n_samples=50):
            assert target.equal(conv_net(pictures).argmax(1)) and images.masks == {}
            return {
                "a": {"mass": torch.tensor(seeds, requires_grad=True, dtype=torch.float64)},
                "b": {"own": torch.full((3,), float(n_samples))},
            }

        monkeypatch.setattr(studies, "STUDIES", {"fake": Study(fake)})
        found = measure_here(
            "fake", conv_net, ImageSet(pictures, ("a", "b", "c")), seed=2, n_samples=7
        )
        assert (found.networks, found.training_seeds, found.settings, found.excluded) == (
            ("network",),
            (0,),
            ("a", "b"),
            0,
        )
        assert found.of("mass", "a").tolist() == [
            [30_000, 30_001, 30_002]
        ] and found.pictures.tolist() == [0, 1, 2]
        assert found.of("own", "b").tolist() == [[7, 7, 7]] and np.isnan(found.of("own", "a")).all()
        assert not found.has("contrast")
        assert found.table(["contrast"]) == {"a": {"contrast": None}, "b": {"contrast": None}}
        with pytest.raises(ValueError, match="two networks, found network alone"):
            found.contrast("a")

    def test_names(self, conv_net, tiny_classifier, pictures):
        with pytest.raises(ValueError, match="did you mean 'noise_strength'"):
            measure_here("noise_strenght", conv_net, None)
        sizes = {"counts": (2,), "pairs": (), "n_reference": 2}
        found = measure_here(
            "sample_error", tiny_classifier, ImageSet(pictures, tuple("abc")), **sizes
        )
        assert found.networks == ("tiny",) and found.settings == ("2",)


def made_up(**values):
    """Results of two settings, two networks and three training seeds on 12 pictures: standard
    normal, or as given."""
    rng = np.random.default_rng(0)
    each = {
        name: rng.normal(size=(2, 3, 2, 12))
        for name in ("mass", "mass other", "auc +2", "auc +2 other", "own")
    } | values
    return Results("fake", NETWORKS, (0, 1, 2), ("0.1", "0.2 clipped"), np.arange(12), 0, each)


class TestResults:
    def test_of(self):
        found = made_up()
        assert found.of("own", 0.1).tolist() == found.values["own"][0, :, 0].tolist()
        assert found.of("own", "0.1", "scenes").tolist() == found.values["own"][0, :, 0].tolist()
        assert (
            found.of("own", "0.2 clipped", "scenes-letters").tolist()
            == found.values["own"][1, :, 1].tolist()
        )
        for wrong, message in (
            (("owm", 0.1), "unknown measure 'owm'; did you mean 'own'"),
            (("own", 0.2), "unknown setting '0.2'; did you mean '0.1'"),
            (("own", 0.1, "scene"), "unknown network 'scene'; did you mean 'scenes'"),
        ):
            with pytest.raises(ValueError, match=message):
                found.of(*wrong)

    def test_estimates(self):
        found = made_up()
        expected = mean_over_seeds(found.values["own"][1, :, 1])
        assert found.estimate("own", "0.2 clipped", "scenes-letters") == expected
        table = found.estimates("own")
        assert list(table) == [*NETWORKS] and list(table["scenes"]) == ["0.1", "0.2 clipped"]
        assert table["scenes-letters"]["0.2 clipped"] == expected
        assert list(found.estimates("own", [0.1])["scenes"]) == [0.1]

    def test_contrast_is_the_pair_contrast(self, tiny_classifier, pictures):
        shape, letter = (
            torch.zeros(3, 1, 8, 8, dtype=torch.bool),
            torch.zeros(3, 1, 8, 8, dtype=torch.bool),
        )
        shape[..., 2:4, 2:4], letter[..., 6, 5:7] = True, True
        images = ImageSet(pictures, tuple("abc"), masks={"shape": shape, "letter": letter})
        target, maps, scored = (
            torch.zeros(3, dtype=torch.int64),
            [randn(3, 3, 8, 8, seed=seed) for seed in (0, 1)],
            [],
        )
        for tiny_classifier.part, own in zip(("shape", "letter"), maps, strict=True):
            scored.append(score(tiny_classifier, images, target, own))
        values = {
            measure: np.stack([row[measure].numpy() for row in scored])[:, None, None]
            for measure in scored[0]
        }
        found = Results("fake", NETWORKS, (0,), ("a",), np.arange(3), 0, values)
        for margin, first, second in (
            ("", shape, letter),
            (" +2", dilate(shape, 2), dilate(letter, 2)),
        ):
            for name, measure in (("mass", relevance_mass), ("auc", pixel_auc)):
                expected = pair_contrast(*maps, first, second, measure=measure)
                assert found.contrast("a", f"{name}{margin}")[0] == pytest.approx(
                    expected.numpy(), abs=1e-12
                )
        assert found.of("contrast +2", "a").tolist() == found.contrast("a", "mass +2").tolist()
        assert (
            found.has("contrast") and found.has("contrast +2") and not made_up().has("contrast +2")
        )

    def test_contrast_has_one_row_for_both_networks(self):
        found = made_up()
        assert found.estimates("contrast", [0.1]) == {
            "both networks": {0.1: mean_over_seeds(found.contrast(0.1))}
        }
        assert found.estimate("contrast", 0.1) == mean_over_seeds(found.contrast(0.1))

    def test_has(self):
        own = np.ones((2, 3, 2, 12))
        own[1, 2, 0, 3] = np.nan
        found = made_up(own=own)
        assert (
            found.has("mass")
            and not found.has("own")
            and not found.has("own", "0.1")
            and found.has("own", "0.2 clipped")
        )
        assert not found.has("stability") and not found.has("stability", "0.1")

    def test_table(self):
        mass = np.full((2, 3, 2, 12), 0.25)
        mass[0, :, 1] = 0.5
        found = made_up(
            mass=mass, own=np.where(np.arange(2)[:, None] == 1, np.full((2, 3, 2, 12), 7.0), np.nan)
        )
        rows = found.table(["mass", "own", "none"])
        assert list(rows) == ["0.1", "0.2 clipped"]
        assert rows["0.1"] == {
            "mass": found.estimate("mass", "0.1"),
            "own": None,
            "none": None,
        }
        assert rows["0.2 clipped"]["own"].overall.mean == 7
        named = found.table({"mass": "share"}, "scenes-letters", {"0.2 clipped": "strong"})
        assert named == {
            "strong": {"share": found.estimate("mass", "0.2 clipped", "scenes-letters")}
        }
        assert found.table(["contrast"], settings=[0.1]) == {
            0.1: {"contrast": found.estimate("contrast", 0.1)}
        }

    def test_few_pictures_have_no_interval(self):
        values = np.arange(18.0).reshape(2, 9)
        found = estimate(values)
        assert (
            found.overall.mean == 8.5
            and [seed.mean for seed in found.seeds] == [4, 13]
            and found.overall.n == 9
        )
        assert all(math.isnan(end) for one in (found.overall, *found.seeds) for end in one[1:3])
        assert str(found.overall) == "8.500"
        assert estimate(np.ones((1, 1))).overall.mean == 1
        assert estimate(normal := np.random.default_rng(0).normal(size=(2, 10))) == mean_over_seeds(
            normal
        )
        with pytest.raises(ValueError, match="finite"):
            estimate(np.full((2, 10), np.nan))


class TestCommand:
    @pytest.fixture
    def asked(self, monkeypatch):
        """The studies that the command computes, and in how many processes."""
        asked = []
        monkeypatch.setattr(
            studies, "compute", lambda name, *, jobs, address: asked.append((name, jobs))
        )
        return asked

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["sample_error", "controls"], [("sample_error", None), ("controls", None)]),
            (["controls", "--jobs", "3"], [("controls", 3)]),
            ([], [(name, None) for name in studies.STUDIES]),
        ],
    )
    def test_computes_what_is_named_or_all(self, asked, monkeypatch, capsys, arguments, expected):
        monkeypatch.setattr(sys, "argv", ["studies", *arguments])
        studies.main()
        assert asked == expected
        assert capsys.readouterr().err.split() == [
            str(studies.DATA / f"study-{name}.npz") for name, _ in expected
        ]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["controls", "sample_eror"],
                "unknown study 'sample_eror'; did you mean 'sample_error'",
            ),
            (["--jobs", "0"], "--jobs must be at least 1, found 0"),
            (["--jobs", "two"], "invalid int value: 'two'"),
        ],
    )
    def test_refused(self, asked, monkeypatch, capsys, arguments, message):
        monkeypatch.setattr(sys, "argv", ["studies", *arguments])
        with pytest.raises(SystemExit) as stopped:
            studies.main()
        assert stopped.value.code == 2 and message in capsys.readouterr().err and asked == []
