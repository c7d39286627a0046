"""The studies by name: what each measures, and on how many pictures of which split."""

from collections.abc import Callable
from dataclasses import dataclass

from helpers.studies import integrated_gradients, smoothgrad, steps


@dataclass(frozen=True)
class Study:
    """measure: (model, images, target, seeds) → {setting: {measure: (N,)}}; the pictures it is
    asked about."""

    measure: Callable
    n_pictures: int = 300
    split: str = "test"


STUDIES = {
    name: Study(*definition)
    for module in (smoothgrad, integrated_gradients, steps)
    for name, definition in module.STUDIES.items()
}
