"""What a study found, picture by picture, as it lies in data/study-NAME.npz."""

import json
from dataclasses import dataclass
from itertools import product

import numpy as np

from helpers.benchmark.models import data_file, recipe_name
from helpers.checks import choose
from helpers.measures.statistics import FEWEST, Estimate, SeedEstimate, mean_over_seeds
from helpers.studies.headlines import BENCHMARK
from helpers.studies.registry import STUDIES


@dataclass(frozen=True)
class Results:
    """What a study found.

    Attributes:
        networks, training_seeds, settings: names of the first three axes.
        pictures: (N,) their numbers in the split, or among the network's own.
        excluded: how many of the split were left out because some network gets them wrong.
        values: {measure: (networks, training seeds, settings, N)}; nan where a measure does not
            apply to a setting.
        names: {network: the pictures' names}, where each network has pictures of its own.
        seeds: {network: its training seeds}, where some are shipped with fewer.
    """

    name: str
    networks: tuple
    training_seeds: tuple
    settings: tuple
    pictures: np.ndarray
    excluded: int
    values: dict
    names: dict | None = None
    seeds: dict | None = None

    def seeds_of(self, network) -> tuple:
        """The training seeds of a network: ``of`` has a row for each."""
        return tuple((self.seeds or {}).get(network, self.training_seeds))

    def of(self, measure, setting, network=None) -> np.ndarray:
        """(training seeds, N) values of a network (the first, by default); of "contrast" and
        "contrast +2", which are of a pair of networks, those that ``contrast`` gives for "mass" and
        "mass +2"."""
        if measure.startswith("contrast") and measure not in self.values:
            return self.contrast(setting, "mass" + measure.removeprefix("contrast"), network)
        network = choose(network, self.networks, "network") if network else self.networks[0]
        rows = [self.training_seeds.index(seed) for seed in self.seeds_of(network)]
        setting = choose(str(setting), self.settings, "setting")
        values = self.values[choose(measure, self.values, "measure")]
        return values[self.networks.index(network), rows, self.settings.index(setting)]

    def contrast(self, setting, measure="mass", network=None) -> np.ndarray:
        """The pair contrast (``quality.pair_contrast``) of a network for shapes (the first, by
        default) and the one for letters of the same recipe, (training seeds, N)."""
        first = network or self.networks[0]
        if not (second := self._partner(first)):
            raise ValueError(
                f"the pair contrast of {first} needs the one that reads the other part: two "
                f"networks, found {', '.join(self.networks)} alone"
            )
        return (
            self.of(measure, setting, first)
            - self.of(f"{measure} other", setting, second)
            + self.of(measure, setting, second)
            - self.of(f"{measure} other", setting, first)
        ) / 2

    def _partner(self, network):
        """The network of the same recipe that reads the other part, or None."""
        shapes, letters = BENCHMARK
        old, new = (letters, shapes) if network.startswith(letters) else (shapes, letters)
        partner = network.replace(old, new, 1)
        return partner if partner != network and partner in self.networks else None

    def estimate(self, measure, setting, network=None) -> SeedEstimate:
        """The mean over pictures with its interval, and each training seed's."""
        return self.mean(self.of(measure, setting, network), network)

    def less(self, measure, first, second, network=None) -> SeedEstimate:
        """``estimate`` of first − second, paired by picture."""
        values = self.of(measure, first, network) - self.of(measure, second, network)
        return self.mean(values, network)

    def mean(self, values, network=None) -> SeedEstimate:
        """``estimate`` of (training seeds, N) values, one for each of the first N pictures. Mosaics
        that have one target are not independent: their mean counts once. A picture without a value
        (a map of zeros has no mass) is left out."""
        values = np.asarray(values, dtype=np.float64)
        there = ~np.isnan(values).any(0)
        if not there.any():
            return estimate(values)  # which says what is missing
        targets, values = self.targets(network), values[:, there]
        if targets is not None:
            units = np.unique(targets[: len(there)][there], return_inverse=True)[1]
            values = np.stack([np.bincount(units, row) for row in values]) / np.bincount(units)
        return estimate(values)

    def targets(self, network=None) -> np.ndarray | None:
        """(N,) names of the pictures in the target's cell of each mosaic; None of other
        pictures."""
        names = (self.names or {}).get(network or self.networks[0], ("",))
        cells = [name.split(" + ") for name in names]
        if len(cells[0]) == 1:
            return None
        return np.array([row[i % len(row)] for i, row in enumerate(cells)])

    def estimates(self, measure, settings=None) -> dict:
        """{network: {setting: SeedEstimate}}, as ``plotting.plot_settings`` takes it; settings that
        are all numbers become numbers. "contrast", "contrast +2": the pair contrast, one row for
        both networks."""
        settings = self.settings if settings is None else [str(setting) for setting in settings]
        keys = dict(zip(settings, _as_numbers(settings), strict=True))
        rows = (
            {"both networks": None}
            if measure.startswith("contrast")
            else {network: network for network in self.networks}
        )
        return {
            label: {keys[setting]: self.estimate(measure, setting, network) for setting in settings}
            for label, network in rows.items()
        }

    def table(self, measures, network=None, settings=None) -> dict:
        """{setting: {measure: SeedEstimate, None where it has none}}, the rows that
        ``display.tables.table`` takes; ``measures`` and ``settings`` as lists, or as dicts {name:
        what it is called there}."""
        titles, labels = (
            names if isinstance(names, dict) else {name: name for name in names}
            for names in (measures, self.settings if settings is None else settings)
        )
        return {
            label: {
                title: self.estimate(measure, setting, network)
                if self.has(measure, str(setting))
                else None
                for measure, title in titles.items()
            }
            for setting, label in labels.items()
        }

    def frame(self):
        """One long table, a ``pandas.DataFrame`` with a row for each value: network, recipe, seed,
        picture, setting, measure, value."""
        import pandas as pd  # half a second, which the notebooks need not wait for

        axes = (self.networks, self.training_seeds, self.settings, range(len(self.pictures)))
        rows = pd.MultiIndex.from_product(
            axes, names=["network", "seed", "setting", "picture"]
        ).to_frame(index=False)
        names = {
            network: (self.names or {}).get(network, [str(number) for number in self.pictures])
            for network in self.networks
        }
        rows["recipe"] = rows.network.map(recipe_name)
        rows["picture"] = [
            names[network][i] for network, i in zip(rows.network, rows.picture, strict=True)
        ]
        columns = ["network", "recipe", "seed", "picture", "setting", "measure", "value"]
        table = pd.concat(
            rows.assign(measure=measure, value=values.ravel())
            for measure, values in self.values.items()
        )
        return table.dropna(subset="value")[columns].reset_index(drop=True)

    def has(self, measure, setting=None) -> bool:
        """Whether a measure has a value for every picture of a setting, or of all."""
        if measure.startswith("contrast") and measure not in self.values:
            of = "mass" + measure.removeprefix("contrast")
            return (
                self._partner(self.networks[0]) is not None
                and self.has(of, setting)
                and self.has(f"{of} other", setting)
            )
        keys = product(self.settings if setting is None else [setting], self.networks)
        return measure in self.values and not any(
            np.isnan(self.of(measure, *key)).any() for key in keys
        )


def estimate(values) -> SeedEstimate:
    """``mean_over_seeds``; with fewer than 10 pictures the means alone, their intervals nan."""
    values = np.asarray(values, dtype=np.float64)
    if values.shape[-1] >= FEWEST:
        return mean_over_seeds(values)
    few = [
        Estimate(float(row.mean()), np.nan, np.nan, len(row)) for row in (values.mean(0), *values)
    ]
    return SeedEstimate(few[0], tuple(few[1:]))


def load_results(name) -> Results:
    """The stored results of a study.

    Raises:
        ValueError: unknown study. WeightsNotFoundError: its file is missing.
    """
    choose(name, STUDIES, "study")
    with np.load(data_file(name, f"study-{name}.npz"), allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        values = {
            measure: file[f"values {i}"].astype(np.float64)
            for i, measure in enumerate(about["measures"])
        }
        return Results(
            name,
            tuple(about["networks"]),
            tuple(about["training_seeds"]),
            tuple(about["settings"]),
            file["pictures"],
            about["excluded"],
            values,
            about.get("names"),
            about.get("seeds"),
        )


def _as_numbers(settings):
    try:
        return [float(setting) for setting in settings]
    except ValueError:
        return list(settings)
