"""The studies by name: what each measures, of which networks, and on how many pictures."""

from collections.abc import Callable
from dataclasses import dataclass

from helpers.benchmark.images import ImageSet, load_images
from helpers.studies import (
    headlines,
    integrated_gradients,
    maximisation,
    photographs,
    smoothgrad,
    steps,
)


@dataclass(frozen=True)
class Study:
    """measure: (model, images, target, seeds) → {setting: {measure: (N,)}}; how many pictures it is
    asked about, of which split of the scenes or, where ``own_pictures`` is given, of those that it
    makes for each network, (model, n) → ImageSet; and the networks."""

    measure: Callable
    n_pictures: int = 300
    split: str = "test"
    networks: tuple[str, ...] = headlines.BENCHMARK
    own_pictures: Callable | None = None

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
    for module in (smoothgrad, integrated_gradients, steps, headlines, photographs, maximisation)
    for name, definition in module.STUDIES.items()
}
