"""Tables: what is bold, what is missing, how they fold, and how they read as text."""

import re

import numpy as np
import pytest
import torch

from helpers.display.tables import WIDTH, study_table, table
from helpers.measures.statistics import Comparison, Estimate, SeedEstimate

ROWS = {
    "gradient": {"mass": Estimate(0.4012, 0.3851, 0.418, 60), "roughness": 2.398},
    "SmoothGrad": {"mass": Estimate(0.3219, 0.31, 0.334, 60), "roughness": 1.946},
}


def bold(shown):
    return re.findall("<b>(.*?)</b>", shown._repr_html_())


def test_reads_as_text():
    assert repr(table(ROWS, caption="60 pictures")).splitlines() == [
        "60 pictures",
        "                         mass  roughness",
        "gradient    0.40 [0.39, 0.42]       2.40",
        "SmoothGrad  0.32 [0.31, 0.33]       1.95",
    ]


def test_reads_as_html():
    shown = table(ROWS, caption="60 pictures")._repr_html_()
    assert re.findall("<th .*?>(.*?)</th>", shown) == [
        "",
        "mass",
        "roughness",
        "gradient",
        "SmoothGrad",
    ]
    cells = ["0.40 [0.39, 0.42]", "2.40", "0.32 [0.31, 0.33]", "1.95"]
    assert re.findall("<td.*?>(.*?)</td>", shown) == cells
    assert ">60 pictures</figcaption>" in shown and "<details" not in shown
    assert '<div style="overflow-x:auto"><table' in shown, "a phone scrolls the table alone"
    assert shown == table(ROWS, caption="60 pictures")._repr_html_(), "the same page each time"


def test_the_best_is_bold_in_either_direction():
    assert bold(table(ROWS)) == []
    assert bold(table(ROWS, best={"mass": "high"})) == ["0.40 [0.39, 0.42]"]
    assert bold(table(ROWS, best={"mass": "low", "roughness": "low"})) == [
        "0.32 [0.31, 0.33]",
        "1.95",
    ]


def test_ties_are_all_bold_as_they_are_shown():
    rows = {
        name: {"a": value} for name, value in zip("wxyz", (0.124, 0.116, 0.126, None), strict=True)
    }
    assert bold(table(rows, best={"a": "low"})) == ["0.12", "0.12"]
    assert bold(table(rows, best={"a": "low"}, digits=3)) == ["0.116"]
    assert bold(table(rows, best={"a": "high"})) == ["0.13"]


def test_what_is_missing_is_a_dash_and_never_best():
    rows = {
        "a": {"x": float("nan"), "y": None},
        "b": {"x": -1.0},
        "c": {"x": Estimate(np.nan, np.nan, np.nan, 0), "y": "none"},
    }
    shown = table(rows, best={"x": "high", "y": "high"})
    assert shown.cells == {"a": ("–", "–"), "b": ("-1.00", "–"), "c": ("–", "none")}
    assert bold(shown) == ["-1.00"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (300, "300"),
        (np.int64(300), "300"),
        (np.float32(0.125), "0.12"),
        (torch.tensor(0.125), "0.12"),
        (-0.001, "0.00"),  # no minus before nothing
        (Estimate(0.5, np.nan, np.nan, 3), "0.50"),  # too few for an interval
        (
            SeedEstimate(Estimate(0.5, 0.4, 0.6, 60), (Estimate(0.4, 0.3, 0.5, 60),) * 2),
            "0.50 [0.40, 0.60]",
        ),
        (
            Comparison(Estimate(-0.1, -0.2, 0.0, 60), 0.01, 0.03),
            "-0.10 [-0.20, 0.00], p = 0.03",
        ),
        (Comparison(Estimate(1, 0.9, 1.1, 60), 0, 0), "1.00 [0.90, 1.10], p < 1e-10"),
    ],
)
def test_each_kind_of_value(value, text):
    assert table({"a": {"x": value}}).cells == {"a": (text,)}


def test_digits_of_one_column():
    rows = {"a": {"x": 1.2345, "y": 1.2345}}
    assert table(rows, digits={"y": 3}).cells == {"a": ("1.23", "1.234")}
    assert table(rows, digits=1).cells == {"a": ("1.2", "1.2")}


def test_more_than_eight_rows_are_folded():
    rows = {i: {"x": i} for i in range(9)}
    shown = table(rows, caption="All of them")._repr_html_()
    assert shown.startswith("<details><summary>All of them (9 rows)</summary>")
    assert "<figcaption" not in shown and shown.endswith("</details>")
    assert "<details" not in table(rows, fold=9)._repr_html_()
    assert table(rows)._repr_html_().startswith("<details><summary>Table (9 rows)</summary>")


def test_no_line_of_text_is_wider_than_it_may_be():
    wide = {
        "a label " * 20: {
            f"a title of column {i}, unit " * 3: Estimate(i, i, i, 9) for i in range(9)
        }
        | {"said": "a long sentence " * 20}
    }
    lines = repr(table(wide, caption="a long caption " * 20)).splitlines()
    assert max(map(len, lines)) <= WIDTH
    every = " ".join(" ".join(lines).split())
    for i in range(9):
        assert f"{i}.00 [{i}.00, {i}.00]" in every
    assert every.count("sentence") == 20


def test_columns_that_do_not_fit_stand_below_with_their_labels():
    rows = {name: {f"c{i}": f"{name}{i}" * 10 for i in range(6)} for name in "ab"}
    blocks = repr(table(rows)).split("\n\n")
    assert len(blocks) == 2
    for block in blocks:
        assert [line[:1] for line in block.splitlines()] == [" ", "a", "b"]


def test_html_is_escaped():
    shown = table({"<i>": {"a & b": "<script>"}}, caption="x < y")._repr_html_()
    assert "<i>" not in shown and "<script>" not in shown
    for text in ("&lt;i&gt;", "a &amp; b", "&lt;script&gt;", "x &lt; y"):
        assert text in shown


@pytest.mark.parametrize("best", [{"nothing": "high"}, {"mass": "highest"}])
def test_best_names_a_column_and_a_side(best):
    with pytest.raises(ValueError, match="best"):
        table(ROWS, best=best)


@pytest.mark.parametrize("rows", [{}, {"a": {}}, {1: {"x": 1}, "1": {"x": 1}}])
def test_rows_need_columns_and_labels_that_differ(rows):
    with pytest.raises(ValueError, match="rows need columns"):
        table(rows)


def test_a_cell_of_another_kind_is_an_error():
    with pytest.raises(TypeError, match=r"found \{'y': 1\}"):
        table({"a": {"x": {"y": 1}}})


def test_a_studys_measures_have_the_names_that_readers_know():
    class Study:
        def table(self, titles, network, settings):
            assert (network, settings) == ("scenes", [1, 2])
            values = {"mass": (0.3, 0.4), "highest hidden, mean": (0.2, 0.1), "gap": (0, 1)}
            return {s: {titles[m]: values[m][i] for m in titles} for i, s in enumerate(settings)}

    shown = study_table(Study(), ["mass", "highest hidden, mean", "gap"], "scenes", [1, 2])
    assert shown.columns == ("share on the part ↑", "remove test, mean fill ↓", "gap")
    assert bold(shown) == ["0.40", "0.10"]
