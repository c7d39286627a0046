"""Moving the controls of a notebook as a reader would."""

from contextlib import nullcontext

from helpers.course.grading.cells import Cells

DEPENDENT = """
import ipywidgets
picture = ipywidgets.Dropdown(options=[0, 1], description="picture")
aim = ipywidgets.Dropdown(options=[("a", 5), ("b", 6)], description="class")
moved = []
picture.observe(lambda change: setattr(aim, "options", [("c", 7), ("d", 8)]), names="value")
aim.observe(lambda change: moved.append(change["new"]), names="value")
"""


def test_a_choice_that_another_control_took_away_is_not_made():
    cells = Cells(lambda seconds: nullcontext(), TimeoutError, 10)
    assert cells.run(DEPENDENT)["error"] is None
    assert cells.move_sliders()["error"] is None
    assert cells.namespace["picture"].value == 0 and 7 in cells.namespace["moved"]


def test_an_error_in_a_callback_names_the_control_and_the_move():
    cells = Cells(lambda seconds: nullcontext(), TimeoutError, 10)
    cells.run("import ipywidgets\nnoise = ipywidgets.IntSlider(0, 0, 5, description='noise')")
    cells.run("noise.observe(lambda change: 1 / 0, names='value')")
    assert cells.move_sliders()["error"].startswith("noise at 5: ZeroDivisionError")
