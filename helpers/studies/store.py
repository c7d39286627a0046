"""What a study found, picture by picture, as it lies in data/study-NAME.npz."""

import json
from dataclasses import dataclass
from itertools import product

import numpy as np

from helpers.benchmark.models import data_file
from helpers.checks import choose
from helpers.measures.statistics import FEWEST, Estimate, SeedEstimate, mean_over_seeds
from helpers.studies.registry import STUDIES


@dataclass(frozen=True)
class Results:
    """What a study found.

    Attributes:
        networks, training_seeds, settings: names of the first three axes.
        pictures: (N,) their numbers in the split.
        excluded: how many of the split were left out because some network gets them wrong.
        values: {measure: (networks, training seeds, settings, N)}; nan where a measure does not
            apply to a setting.
    """

    name: str
    networks: tuple
    training_seeds: tuple
    settings: tuple
    pictures: np.ndarray
    excluded: int
    values: dict

    def of(self, measure, setting, network=None) -> np.ndarray:
        """(training seeds, N) values of a network (the first, by default); of "contrast" and
        "contrast +2", which are of both networks, those that ``contrast`` gives for "mass" and
        "mass +2"."""
        if measure.startswith("contrast"):
            return self.contrast(setting, "mass" + measure.removeprefix("contrast"))
        row = self.networks.index(choose(network, self.networks, "network")) if network else 0
        setting = choose(str(setting), self.settings, "setting")
        return self.values[choose(measure, self.values, "measure")][
            row, :, self.settings.index(setting)
        ]

    def contrast(self, setting, measure="mass") -> np.ndarray:
        """The pair contrast (``quality.pair_contrast``) of the two networks, (training seeds,
        N)."""
        if len(self.networks) != 2:
            raise ValueError(
                f"the pair contrast needs two networks, found {', '.join(self.networks)} alone"
            )
        first, second = self.networks
        return (
            self.of(measure, setting, first)
            - self.of(f"{measure} other", setting, second)
            + self.of(measure, setting, second)
            - self.of(f"{measure} other", setting, first)
        ) / 2

    def estimate(self, measure, setting, network=None) -> SeedEstimate:
        """The mean over pictures with its interval, and each training seed's."""
        return estimate(self.of(measure, setting, network))

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

    def table(self, measures, network=None, settings=None) -> str:
        """A line for each setting: the mean over training seeds and pictures of each measure, with
        its 95 % interval; "–" where it has none."""
        settings = [str(setting) for setting in (self.settings if settings is None else settings)]
        width = max(map(len, settings))
        lines = [" " * width + "".join(f"{measure:>24}" for measure in measures)]
        for setting in settings:
            cells = (
                str(self.estimate(measure, setting, network).overall)
                if self.has(measure, setting)
                else "–"
                for measure in measures
            )
            lines.append(f"{setting:{width}}" + "".join(f"{cell:>24}" for cell in cells))
        return "\n".join(lines)

    def has(self, measure, setting=None) -> bool:
        """Whether a measure has a value for every picture of a setting, or of all."""
        if measure.startswith("contrast"):
            of = "mass" + measure.removeprefix("contrast")
            return (
                len(self.networks) == 2
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
        )


def _as_numbers(settings):
    try:
        return [float(setting) for setting in settings]
    except ValueError:
        return list(settings)
