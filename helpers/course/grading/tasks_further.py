"""The tasks of pages without points: their checks answer at once and count for nothing."""

import torch

from helpers.course.grading.tasks import same, task, tasks_in


def _scores(maps):
    return maps.sum(2)


def _share(scores, mask):
    size = scores.abs()
    return (size * mask).sum(1) / size.sum(1)


@task("any_input", 2, (), _scores)
def my_word_scores(given, call):
    maps = given.normal(41, 3, 5, 7) + 0.2
    mistakes = {
        "the mean over the embedding: a part of a sum must be added up": maps.mean(2),
        "the sum of sizes: the parts then no longer add up to the logit's rise": maps.abs().sum(2),
        "the length of the vector: its sign is gone": maps.norm(dim=2),
        "the largest value of the embedding": maps.amax(2),
        "the sum over the words, not over the embedding": maps.sum(1),
    }
    problem = same(call(maps), _scores(maps), mistakes)
    if problem and "shape (3, 7)" in problem:
        problem += ": that is summed over the words; the embedding is the last axis"
    yield 1, "one number a word, (N, T)", problem
    long = given.normal(42, 1, 4, 9)
    yield 1, "and of one sentence of another length", same(call(long), _scores(long))


@task("any_input", 2, (), _share)
def my_share(given, call):
    scores = given.normal(43, 4, 6)
    mask = torch.from_numpy((given.rng(44).random((4, 6)) < 0.4).astype("int64"))
    mask[:, 0], mask[:, 5] = 1, 0
    size, inside = scores.abs(), mask.bool()
    mistakes = {
        "of signed scores: they cancel, so take their sizes": (scores * mask).sum(1)
        / scores.sum(1),
        "one share for all rows together: add up each row alone": (
            ((size * mask).sum() / size.sum()).expand(4)
        ),
        "the sizes inside, not yet divided by those of the whole row": (size * mask).sum(1),
        "the sizes inside over those outside": (size * mask).sum(1) / (size * (1 - mask)).sum(1),
        "the share outside": (size * (1 - mask)).sum(1) / size.sum(1),
        "of squares": (scores.square() * mask).sum(1) / scores.square().sum(1),
        "the share of the words that are marked": inside.float().mean(1),
    }
    problem = same(call(scores, mask), _share(scores, mask), mistakes)
    yield 1, "the share of the sizes inside, (N,)", problem
    yield 1, "all is inside: 1", same(call(scores, torch.ones_like(mask)), torch.ones(4))


TASKS = tasks_in(globals())
