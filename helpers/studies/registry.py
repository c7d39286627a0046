"""The studies by name: what each measures, of which networks, and on how many pictures."""

from collections.abc import Callable
from dataclasses import dataclass

from helpers.benchmark.images import ImageSet, load_images
from helpers.benchmark.models import load_model
from helpers.studies import (
    guided,
    headlines,
    integrated_gradients,
    last_maps,
    maximisation,
    photographs,
    reading,
    smoothgrad,
    steps,
)


@dataclass(frozen=True)
class Study:
    """measure: (model, images, target, seeds) → {setting: {measure: (N,)}}; how many pictures it is
    asked about, of which split of the scenes or, where ``own_pictures`` is given, of those that it
    makes for each network, (model, n) → ImageSet; the networks, and what loads one by its name."""

    measure: Callable
    n_pictures: int = 300
    split: str = "test"
    networks: tuple[str, ...] = headlines.BENCHMARK
    own_pictures: Callable | None = None
    load: Callable = load_model

    def pictures(self, model) -> ImageSet:
        """All that the pictures' numbers point into."""
        if self.own_pictures:
            return self.own_pictures(model, self.n_pictures)
        return load_images("scenes", split=self.split)

    def target(self, model, images):
        """What is explained: the label, which the network gives too where pictures were chosen."""
        return images.labels["class" if self.own_pictures else model.part]


STUDIES = {
    name: Study(*definition)
    for module in (
        smoothgrad,
        integrated_gradients,
        steps,
        headlines,
        photographs,
        guided,
        last_maps,
        reading,
        maximisation,
    )
    for name, definition in module.STUDIES.items()
}
