"""The findings of the notebooks beside each other: what each is on the benchmark, by recipe of
training, on another architecture, on stronger backgrounds, and on mosaics of photographs."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

from helpers.benchmark.models import WeightsNotFoundError, recipe_name
from helpers.measures.statistics import Estimate, SeedEstimate
from helpers.studies.store import Results, load_results

SMOOTH = "SmoothGrad 15 %"
WORLDS = {"headlines": "", "headlines_strong": ", strong background"}
WORLDS |= {"scenes_mosaics": ", mosaics", "photos_mosaics": ", mosaics"}
CONTROLS = ("random", "Sobel", "|x − mean|", "random network")
REAL = {"efficientnet_lite0": "EfficientNet-Lite0", "squeezenet1_1": "SqueezeNet"}
RESAMPLES = 1000


class Finding(NamedTuple):
    """text: what is asked; unit: of the number; of: (Results, network) → values (seeds, N)."""

    text: str
    unit: str
    of: Callable[[Results, str], np.ndarray]


def _less(measure, first, second):
    """first − second."""
    return lambda study, network: (
        study.of(measure, first, network) - study.of(measure, second, network)
    )


def _less_than_most(measure, first, stem):
    """first − the setting with the most of what it counts, "STEM, n = …"."""

    def of(study, network):
        counted = [name for name in study.settings if name.startswith(f"{stem}, n = ")]
        most = max(counted, key=lambda name: int(name.rpartition(" ")[2]), default=stem)
        return _less(measure, first, most)(study, network)

    return of


def _value(measure, setting):
    return lambda study, network: study.of(measure, setting, network)


FINDINGS = [
    Finding(text, unit, of)
    for text, unit, of in (
        (
            "noise of 0.0001 %, which decides ties alone",
            "mass",
            _less("mass", "SmoothGrad 0.0001 %", "gradient"),
        ),
        ("noise of 1 % against the gradient", "mass", _less("mass", "SmoothGrad 1 %", "gradient")),
        ("noise of 2 % against the gradient", "mass", _less("mass", "SmoothGrad 2 %", "gradient")),
        ("noise of 5 % against the gradient", "mass", _less("mass", "SmoothGrad 5 %", "gradient")),
        ("noise of 15 % against the gradient", "mass", _less("mass", SMOOTH, "gradient")),
        ("the same, by order", "AUC", _less("auc", SMOOTH, "gradient")),
        ("noisy copies still named at 5 %", "share", _value("answer kept", "SmoothGrad 5 %")),
        ("noisy copies still named at 15 %", "share", _value("answer kept", SMOOTH)),
        (
            "mean of squares against the gradient squared",
            "mass of squares",
            _less("squares", "root mean square", "gradient"),
        ),
        (
            "variance against the gradient squared",
            "mass of squares",
            _less("squares", "root variance", "gradient"),
        ),
        ("absolute values against the mean", "mass", _less("mass", "mean abs", SMOOTH)),
        ("uniform noise against normal", "mass", _less("mass", f"{SMOOTH}, uniform", SMOOTH)),
        (
            "three samples against the most",
            "mass",
            _less_than_most("mass", f"{SMOOTH}, n = 3", SMOOTH),
        ),
        ("IG from black against the gradient", "mass", _less("mass", "IG black", "gradient")),
        ("IG from the mean colour against black", "mass", _less("mass", "IG mean", "IG black")),
        ("IG from blur against black", "mass", _less("mass", "IG blur", "IG black")),
        ("IG from the mean colour against blur", "mass", _less("mass", "IG mean", "IG blur")),
        ("IG from white against black", "mass", _less("mass", "IG white", "IG black")),
        (
            "five steps against the most",
            "mass",
            _less_than_most("mass", "IG black, n = 5", "IG black"),
        ),
        ("error of the map at five steps", "relative", _value("error", "IG black, n = 5")),
        (
            "guided backprop against the gradient",
            "mass",
            _less("mass", "guided backprop", "gradient"),
        ),
    )
]


def findings() -> dict[str, dict[str, SeedEstimate]]:
    """{finding: {network and world: its estimate}}, of all studies of ``headlines`` that are there;
    a method that does not apply to a network is left out of it."""
    found = {}
    for name, said in WORLDS.items():
        try:
            study = load_results(name)
        except WeightsNotFoundError:
            continue
        for finding in FINDINGS:
            for network in study.networks:
                try:
                    values = finding.of(study, network)
                except ValueError:  # a setting that this study has not
                    continue
                if not np.isnan(values).any(0).all():
                    row = found.setdefault(f"{finding.text} ({finding.unit})", {})
                    row[network + said] = study.mean(values, network)
    return found


def agreement(network, *, seed=0) -> Estimate:
    """Whether mosaics of scenes put methods in the order that the certified truth does: Spearman's
    rank correlation, over the methods and settings of both studies, of the mean mass in the
    target's cell with that on the part; the percentile interval over pictures of each."""
    studies = [load_results(name) for name in ("headlines", "scenes_mosaics")]
    methods = [
        name
        for name in studies[1].settings
        if name in studies[0].settings
        and name not in CONTROLS
        and not any(np.isnan(study.of("mass", name, network)).any() for study in studies)
    ]
    masses = [
        np.stack([study.of("mass", name, network).mean(0) for name in methods]) for study in studies
    ]
    rng = np.random.default_rng(seed)
    resampled = [
        spearmanr(
            *(mass[:, rng.integers(mass.shape[1], size=mass.shape[1])].mean(1) for mass in masses)
        )[0]
        for _ in range(RESAMPLES)
    ]
    mean = spearmanr(*(mass.mean(1) for mass in masses))[0]
    return Estimate(float(mean), *map(float, np.quantile(resampled, (0.025, 0.975))), len(methods))


def in_short(title) -> str:
    """One line for an assignment: the finding that begins with ``title``, on every kind of network
    and on photographs."""
    ((name, row),) = ((name, row) for name, row in findings().items() if name.startswith(title))
    mean = {network: f"{estimate.overall.mean:z.3f}" for network, estimate in row.items()}
    otherwise = sorted(
        (estimate.overall.mean, mean[network])
        for network, estimate in row.items()
        if "," not in network and recipe_name(network) in ("plain", "noise", "consistent")
    )
    said = [
        f"{mean['scenes']} and {mean['scenes-letters']} on the benchmark's shapes and letters",
        f"{otherwise[0][1]} to {otherwise[-1][1]} where networks were trained otherwise",
    ]
    if "scenes-attention" in row:
        said += [f"{mean['scenes-attention']} with attention"]
    photographs = [
        f"{row[f'{network}, mosaics'].overall} for {called}"
        for network, called in REAL.items()
        if f"{network}, mosaics" in row
    ]
    return f"{name}: {', '.join(said)}; on mosaics of photographs {' and '.join(photographs)}"
