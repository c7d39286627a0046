"""Gradient explanations of networks, and what it takes to judge them.

What a student types, ``from helpers import saliency``, is imported when it is asked for.
"""

import sys
from importlib import import_module
from pathlib import Path

_ROOM_OF = {
    "load_model": "benchmark.models",
    "load_images": "benchmark.images",
    "saliency": "attribution.gradients",
    "smoothgrad": "attribution.smoothgrad",
    "integrated_gradients": "attribution.integrated_gradients",
    "converged_integrated_gradients": "attribution.integrated_gradients",
    "make_baseline": "attribution.integrated_gradients",
    "completeness_gap": "attribution.integrated_gradients",
    "reduce_channels": "attribution.gradients",
    "layer_output": "attribution.targets",
    "explain": "studies.explain",
    "relevance_mass": "measures.quality",
    "logits_of": "evaluate",
    "noise_fields": "noise",
    "mean_over_pictures": "measures.statistics",
    "plot_maps": "display.plotting",
    "plot_settings": "display.plotting",
    "table": "display.tables",
    "explore_maps": "display.explorer",
    "explore_smoothgrad": "display.explorer",
    "explore_integrated_gradients": "display.explorer",
    "explore_path": "display.explorer",
    "check": "course.lesson",
}
_HERE = Path(__file__).parent
# the students' edition holds fewer rooms
__all__ = sorted(
    name for name, room in _ROOM_OF.items() if (_HERE / f"{room.replace('.', '/')}.py").exists()
)
_MOVED = {  # the modules of version 0.1
    **dict.fromkeys(("aggregates", "gradients", "relatives"), "attribution"),
    **dict.fromkeys(("models", "images", "scenes", "training"), "benchmark"),
    **dict.fromkeys(("quality", "faithfulness", "controls", "statistics", "scoring"), "measures"),
    **dict.fromkeys(("plotting", "panel", "explorer"), "display"),
    **dict.fromkeys(("run", "colab", "release", "precheck", "grade", "grading"), "course"),
    "smoothgrad_studies": "studies.smoothgrad",
    "ig_studies": "studies.integrated_gradients",
    "step_studies": "studies.steps",
}
_MOVED |= {name: f"{room}.{name}" for name, room in _MOVED.items() if "." not in room}
_MOVED |= {name: _ROOM_OF[name] for name in ("smoothgrad", "integrated_gradients")}


def __getattr__(name):
    if name in _ROOM_OF:
        return getattr(import_module(f"helpers.{_ROOM_OF[name]}"), name)
    raise AttributeError(f"module 'helpers' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})


class _Moved:
    """Asked last, when no finder knows a module: says where one of version 0.1 is now."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        package, _, module = name.partition(".")
        if package == __name__ and module in _MOVED:
            raise ImportError(f"{name} is now helpers.{_MOVED[module]}", name=name)


sys.meta_path.append(_Moved)
