"""The checks of pages without points name mistakes too."""

import inspect

import pytest
import torch

from helpers.course.grading import tasks_further
from helpers.course.lesson import examine, task

WRONG = [
    ("my_word_scores", "maps.mean(2)", "mean over the embedding"),
    ("my_word_scores", "maps.abs().sum(2)", "sum of sizes"),
    ("my_word_scores", "maps.norm(dim=2)", "sign is gone"),
    ("my_word_scores", "maps.amax(2)", "largest value"),
    ("my_word_scores", "maps.sum(1)", "summed over the words"),
    ("my_share", "(scores * mask).sum(1) / scores.sum(1)", "signed scores"),
    ("my_share", "((scores.abs() * mask).sum() / scores.abs().sum()).expand(len(scores))", "each"),
    ("my_share", "(scores.abs() * mask).sum(1)", "not yet divided"),
    ("my_share", "(scores**2 * mask).sum(1) / (scores**2).sum(1)", "of squares"),
    ("my_share", "mask.float().mean(1)", "words that are marked"),
    ("my_share", "1 - (scores.abs() * mask).sum(1) / scores.abs().sum(1)", "share outside"),
]


@pytest.mark.parametrize("each", tasks_further.TASKS, ids=lambda each: each.name)
def test_the_package_s_own_passes(each):
    found = examine(each, each.helper)
    assert not [reason for *_, reason in found if reason] and len(found) == each.points


@pytest.mark.parametrize(("name", "answer", "words"), WRONG)
def test_a_mistake_is_named(name, answer, words):
    parameters = ", ".join(inspect.signature(task(name).helper).parameters)
    namespace = {"torch": torch}
    exec(f"def {name}({parameters}):\n    return {answer}", namespace)
    reasons = [reason for *_, reason in examine(task(name), namespace[name]) if reason]
    assert any(words in reason for reason in reasons), reasons
