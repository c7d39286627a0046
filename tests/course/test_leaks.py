"""No answer leaves with the students' edition: everything in it is read."""

import re

import leaks
import nbformat
import pytest

from helpers.course import syllabus
from helpers.course.release import release

REVIEWED = {  # sentences that compare something, and give no finding away
    "What is no rectifier keeps its own gradient:",
    "An accumulator that keeps every gradient:",
    "with the best share of its pixels kept, and with it hidden, for each map;",
    "A map keeps ρ = 1 when all layers are random.",  # a question follows
    "The best 40 % of the pixels kept, and hidden, by both maps.",
    "All kinds have mean 0 and standard deviation 1, so σ means the same strength for each.",
}
REVIEWED_BEGIN = (
    "A share of n pictures, as of those that keep their label, and its 95 % interval",
    "the background becomes a wholly new one",
    "the standard deviation of white noise that is laid over the picture",
    "(model, pixels, maps, target, fractions, fill) → the share",
    "The keep test (new noise as fill, 80 to 95 % hidden) is asked of the cheat",
    '- "lowest hidden, FILL" (higher is better)',
)
PARAPHRASED = [
    "On the shape network, noise of 15 % loses share of the attribution.",
    "Hardly any noise is best, since 2 % has the largest share of the attribution.",
    "A black baseline is the worst choice.",
    "The average colour beats black and blur as a baseline.",
    "Guided backprop survives when the weights are drawn anew, the gradient does not.",
    "VarGrad wins the keep test against Integrated Gradients.",
    "Uniform noise is as good as normal noise.",
    "Five steps already reach the share of the attribution of two hundred.",
    "Squared maps are weaker than the gradient squared.",
    "Rank correlation: after one layer the gradient map is lost, guided backprop stays.",
]


@pytest.fixture(scope="module")
def facts():
    return leaks.facts(leaks.claims())


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    out = tmp_path_factory.mktemp("release") / "release"
    release(out)
    return out


def found(out, facts):
    told = {}
    for path in sorted(out.rglob("*")):
        for text in leaks.texts_of(path) if path.is_file() else ():
            for said in leaks.given_away(text, facts):
                if said not in REVIEWED and not said.startswith(REVIEWED_BEGIN):
                    told.setdefault(str(path.relative_to(out)), []).append(said)
    return told


def test_there_are_facts(facts):
    assert len(leaks.claims()) > 100 and len(facts) > 50


def test_the_release_gives_nothing_away(released, facts):
    assert not found(released, facts)


def test_the_release_holds_assignments_alone(released):
    files = {str(path.relative_to(released)) for path in released.rglob("*") if path.is_file()}
    notebooks = {f"notebooks/{entry.name}.ipynb" for entry in syllabus.load()}
    assert {name for name in files if name.endswith(".ipynb")} == notebooks
    assert not [name for name in files if "study-" in name or "studies" in name]
    for name in notebooks:
        text = (released / name).read_text()
        assert "evidence/" not in text and 'class=\\"answer' not in text
        for cell in nbformat.reads(text, as_version=4).cells:
            assert not cell.get("outputs") and "SOLUTION" not in cell.source
            assert not re.search(r"supported|refuted|model answer", cell.source, re.IGNORECASE)


def test_a_claim_that_says_a_direction_is_found(facts):
    """Of those that say in one sentence what they compare, each."""
    telling = [
        text
        for text in leaks.claims()
        if re.search(leaks.DIRECTION, text) and ":" not in text and len(leaks.concepts(text)) > 1
    ]
    assert len(telling) > 5
    assert not [text for text in telling if not leaks.given_away(text + ".", facts)]


@pytest.mark.parametrize("said", PARAPHRASED)
def test_a_paraphrase_is_found_wherever_it_is_planted(said, facts, tmp_path):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(f"Look closely. {said} Go on.")]
    )
    (tmp_path / "page.ipynb").write_text(nbformat.writes(notebook))
    (tmp_path / "module.py").write_text(f'def f():\n    """{said}"""\n')
    (tmp_path / "comment.py").write_text(f"x = 1  # {said}\n")
    (tmp_path / "card.json").write_text(f'{{"note": "{said}"}}')
    (tmp_path / "README.md").write_text(f"# Course\n\n{said}\n")
    assert set(found(tmp_path, facts)) == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "said",
    [
        "At which strength is the share of the attribution largest?",
        "On the shape network σ = __ % has the largest share: __, against __ without noise.",
        "The paper says that noise of 10–20 % is best.",
        "Red raises the class's logit, blue lowers it.",
    ],
)
def test_a_question_a_blank_and_the_paper_s_claim_give_nothing_away(said, facts):
    assert not leaks.given_away(said, facts)
