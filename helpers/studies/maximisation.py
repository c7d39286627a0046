"""Pictures that a network answers most strongly to, judged by others; see ``studies``.

A "picture" is a class and one of ten starts. It is judged together with the class's other nine, so
asked for one the study makes all ten.
"""

from functools import lru_cache

import torch

from helpers.attribution.maximisation import maximise
from helpers.benchmark.generators import load_generator
from helpers.benchmark.images import ImageSet, load_images
from helpers.benchmark.models import load_model, training_seeds
from helpers.evaluate import logits_of, one_class, probabilities
from helpers.measures.maximisation import (
    distance_from_data,
    diversity,
    features,
    shuffled_blocks,
    transfer,
)

N_STARTS, N_DATA = 10, 400
PIXELS = dict(n_steps=[0, 16], step_size=0.04)
FOURIER = dict(n_steps=[0, 16], step_size=0.2, parametrisation="fourier")
CODE = dict(n_steps=[0, 10], step_size=0.03, candidates=40)
SETTINGS = {
    "pixels": PIXELS,
    "total variation": PIXELS | dict(total_variation=300),
    "norm": PIXELS | dict(norm=300),
    "jitter": PIXELS | dict(jitter=4),
    "blur": PIXELS | dict(blur=0.5),
    "fourier": FOURIER,
    "generator": CODE,
    "generator, prior 3": CODE | dict(prior=3),
    "generator, prior 30": CODE | dict(prior=30),
}
STARTS = {"start": "pixels", "generator, best of 40": "generator"}  # the climb that they begin
# Of scenes: who else names the picture, of another recipe of training and of another architecture.
OTHERS = {"other recipe": "scenes-plain", "attention": "scenes-attention"}


def classes_and_starts(model, n) -> ImageSet:
    """The n first test pictures, ten of each class, as far as the model names them rightly: what
    the study is about is their class and their place, "start", among its ten."""
    images = load_images(model.images)
    label = images.labels[model.part]
    # by the first training seed, so that the pictures are the same for all
    right = logits_of(load_model(model.name, device=model.device), images.pixels).argmax(1) == label
    chosen = [
        int(i) for k in range(n // N_STARTS) for i in ((label == k) & right).nonzero()[:N_STARTS, 0]
    ]
    kept = images[chosen]
    names = [f"{model.classes[int(k)]}, {i % N_STARTS}" for i, k in enumerate(label[chosen])]
    labels = {"class": label[chosen], "start": torch.arange(len(chosen)) % N_STARTS}
    return ImageSet(kept.pixels, tuple(names), labels)


def maximisation(model, images, target, seeds, *, settings=tuple(SETTINGS), n_starts=N_STARTS):
    """Each of SETTINGS, and as a control "test pictures", the class's own. "transfer": the share of
    the networks of other training seeds that name the class; "surely": whether they give it more
    than 0.9 on average; "shuffled": the transfer once its 16 blocks changed places; those of
    OTHERS; "itself" and "logit": of the network that it was made for; "distance" from the data and
    "diversity", of the class's own data's, in the features of another training seed."""
    training_seed = int(seeds[0]) // 10_000 - 1
    networks, data, apart = _judges(model.name, training_seed)
    generator = load_generator("digits" if model.name == "digits" else "scenes")
    generator = generator.to(images.pixels.device)
    found = {}
    for k in target.unique().tolist():
        places = (target == k).nonzero()[:, 0]
        starts = images.labels["start"][places].tolist()
        made = {"test pictures": _of_class(model.name, k, n_starts)}
        for name in settings:
            how = SETTINGS[name]
            if name.startswith("generator"):
                how = how | {"parametrisation": generator}
            seed = 1000 * (training_seed + 1) + k
            begun, ended = maximise(model, k, n=n_starts, seed=seed, **how).values()
            made |= {start: begun for start, climb in STARTS.items() if climb == name}
            made[name] = ended
        for name, pixels in made.items():
            aims = torch.full((len(pixels),), k)
            read = features(networks[0], pixels)
            surely = [probabilities(logits_of(one, pixels))[:, k] for one in networks]
            values = {
                "itself": transfer([model], pixels, aims),
                "logit": one_class(logits_of(model, pixels), aims),
                "transfer": transfer(networks, pixels, aims),
                "surely": (torch.stack(surely).mean(0) > 0.9).float(),
                "shuffled": transfer(networks, shuffled_blocks(pixels, seed=k), aims),
                "distance": distance_from_data(read, data),
                "diversity": diversity(read, data) / apart[k],
            }
            for measure, other in OTHERS.items():
                values[measure] = torch.full((len(pixels),), torch.nan)
                if model.name == "scenes":
                    values[measure] = transfer([_other(other)], pixels, aims)
            row = found.setdefault(name, {m: torch.zeros(len(target)) for m in values})
            for measure, of in values.items():
                row[measure][places] = of[starts]
    return found


@lru_cache(4)
def _judges(name, training_seed):
    """(the networks of other training seeds; the features of N_DATA pictures in the first of them;
    {class: how far apart its own lie, of all data's})."""
    seeds = [seed for seed in training_seeds(name) if seed != training_seed]
    networks = [load_model(name, seed=seed, device="cpu") for seed in seeds]
    images = load_images(networks[0].images, split="tune")
    data = features(networks[0], images.pixels[:N_DATA])
    labels = images.labels[networks[0].part][:N_DATA]
    apart = {int(k): float(diversity(data[labels == k], data).mean()) for k in labels.unique()}
    return networks, data, apart


@lru_cache
def _other(name):
    return load_model(name, device="cpu")


def _of_class(name, k, n):
    """n test pictures of a class."""
    images = load_images(load_model(name, device="cpu").images)
    label = images.labels["digit" if name == "digits" else "shape"]
    return images.pixels[label == k][:n]


# name -> (function, number of pictures, split, networks, where each network's pictures come from)
STUDIES = {
    "maximisation": (maximisation, 100, "", ("scenes", "digits"), classes_and_starts),
}
