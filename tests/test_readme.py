"""The README says what the files say."""

import re

import pytest

from helpers.benchmark.models import EMBEDDED, load_card
from helpers.course.run import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def card_row(card):
    """The row of the README's table for a card: accuracy, then the swaps as shares of the own
    part's."""
    swaps = card["swaps"]
    (own,) = (part for part in swaps if "ratio_to_own" not in swaps[part])
    shares = [
        "own part"
        if part == own
        else "–"
        if part not in swaps
        else f"{swaps[part]['ratio_to_own']:.3f}"
        for part in ("shape", "letter", "distractors", "background", "patch")
    ]
    return " | ".join(
        [
            f"| {card['name']}",
            str(card["training_seed"]),
            f"{card['accuracy']['value']:.1%}",
            *shares,
            f"{swaps[own]['answer_follows']['value']:.1%} |",
        ]
    )


@pytest.mark.parametrize(
    ("name", "seed"), [(name, seed) for name, (*_, seeds) in EMBEDDED.items() for seed in seeds]
)
def test_the_table_of_networks_quotes_the_cards(name, seed):
    assert card_row(load_card(name, seed=seed)) in README


def test_the_speed_table_is_the_one_that_make_bench_wrote():
    results = (ROOT / "tests" / "bench" / "results.md").read_text(encoding="utf-8")
    rows = [line for line in results.splitlines() if line.startswith("|")]
    assert rows and all(row in README for row in rows)


def test_every_notebook_is_listed_and_every_link_leads_somewhere():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{path.name})" in README
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
