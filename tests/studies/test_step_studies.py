"""The studies of the number of steps, on functions whose integral is known."""

import pytest
import torch

from helpers.benchmark.images import ImageSet, load_images
from helpers.benchmark.models import load_model
from helpers.studies.steps import step_error, step_quality

ONE = ImageSet(pixels=torch.ones(1, 1, 1, 1), names=("one value",))
CLASS = torch.tensor([0])


def of_one_value(function):
    """A model of pictures with a single value: logits (f, 0)."""
    return lambda pixels: torch.stack(
        [function(pixels.flatten(1)[:, 0]), 0 * pixels.flatten(1)[:, 0]], 1
    )


@pytest.mark.parametrize(
    ("rule", "share"),
    [("midpoint", 3 / 5), ("left", 3 / 5), ("right", 4 / 5), ("trapezoid", 3.5 / 5)],
)
def test_a_kink_is_missed_by_the_distance_to_the_next_node(rule, share):
    # f = ReLU(x − 0.37): the gradient is 1 on the last 0.63 of the path, and 5 sections find it at
    # so many of their nodes.
    found = step_error(
        of_one_value(lambda x: torch.relu(x - 0.37)), ONE, CLASS, [0], steps=(5,), n_dense=2000
    )
    gap = abs(share - 0.63) / 0.63
    assert found[f"{rule}, 5"]["gap"].item() == pytest.approx(gap, abs=1e-4)
    assert found[f"{rule}, 5"]["log10 error"].item() == pytest.approx(
        torch.tensor(gap).log10().item(), abs=0.01
    )
    assert found["dense"]["gap"].item() < 1 / 2000 / 0.63


def test_a_straight_line_is_exact_for_every_rule_and_a_probability_is_not_one():
    for softmax, bound in ((False, -5), (True, 0)):
        found = step_error(
            of_one_value(lambda x: 4 * x), ONE, CLASS, [0], steps=(2,), n_dense=40, softmax=softmax
        )
        errors = [
            row["log10 error"].item()
            for name, row in found.items()
            if name not in ("dense", "converged")
        ]
        assert len(errors) == 5 and max(errors) < bound
        assert (min(errors) > -5) == softmax


def test_errors_of_both_signs_can_cancel_in_the_gap():
    # f = a² − b² at a = b = 1 is 0 at both ends: the left ends of two sections give (½, −½) for (1,
    # −1).
    images = ImageSet(pixels=torch.ones(1, 1, 1, 2), names=("two values",))

    def model(pixels):
        a, b = pixels.flatten(1).T
        return torch.stack([a**2 - b**2, 0 * a], 1)

    found = step_error(model, images, CLASS, [0], steps=(2,), n_dense=40)["left, 2"]
    assert found["gap"].item() < 1e-4 and 10 ** found["log10 error"].item() == pytest.approx(
        0.5, abs=1e-3
    )


def test_the_converged_setting_says_what_it_took():
    found = step_error(of_one_value(lambda x: x), ONE, CLASS, [0], steps=(2,), n_dense=40)[
        "converged"
    ]
    assert found["gradients"].item() == 3 and found["gap"].item() < 1e-5


def test_quality_over_steps_has_the_common_measures_and_the_gradient():
    model, images = load_model("scenes", device="cpu"), load_images("scenes", 2)
    found = step_quality(model, images, images.labels["shape"], [0, 1], steps=(1, 2))
    assert list(found) == ["gradient", "1", "2"]
    assert {"mass", "auc", "mass other", "highest hidden, mean"} <= set(
        found["gradient"]
    ) and "like last" not in found["gradient"]
    assert found["2"]["like last"].tolist() == pytest.approx([1, 1])
    assert (found["1"]["like last"] < 1).all() and found["1"]["mass"].shape == (2,)
