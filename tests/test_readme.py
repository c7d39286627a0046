"""The README says what the files say."""

import re

import pytest

from helpers.benchmark.models import EMBEDDED, load_card, training_seeds
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


def recipe_row(name):
    """The row of a network of another recipe or shape: the range over its training seeds of the
    accuracy, and of the background's swap ratio by the noise that lies over the pictures."""
    cards = [load_card(name, seed=seed) for seed in training_seeds(name)]
    ratios = [[card["swaps"]["background"]["ratio_to_own"] for card in cards]] + [
        [card["under_noise"][noise]["background"][0] for card in cards]
        for noise in ("0.05", "0.15", "0.3")
    ]
    shown = [
        f"{min(row):.2f}" + (f" – {max(row):.2f}" if f"{min(row):.2f}" != f"{max(row):.2f}" else "")
        for row in ratios
    ]
    lowest = min(card["accuracy"]["value"] for card in cards)
    certified = "yes" if max(ratios[0]) <= 0.05 else "no"
    return " | ".join([f"| {name}", str(len(cards)), f"{lowest:.1%}", *shown, f"{certified} |"])


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        (name, seed)
        for name in ("scenes", "scenes-letters", "scenes-shortcut")
        for seed in training_seeds(name)
    ],
)
def test_the_table_of_networks_quotes_the_cards(name, seed):
    assert card_row(load_card(name, seed=seed)) in README


@pytest.mark.parametrize("name", [name for name in EMBEDDED if name != "scenes-shortcut"])
def test_the_table_of_recipes_quotes_the_cards(name):
    assert recipe_row(name) in README, recipe_row(name)


def test_the_speed_table_is_the_one_that_make_bench_wrote():
    results = (ROOT / "tests" / "bench" / "results.md").read_text(encoding="utf-8")
    rows = [line for line in results.splitlines() if line.startswith("|")]
    assert rows and all(row in README for row in rows)


def test_every_notebook_is_listed_and_every_link_leads_somewhere():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{path.name})" in README
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
