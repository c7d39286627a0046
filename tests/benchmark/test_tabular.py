"""Tables of real data and the networks trained on them while one waits."""

import pytest
import torch

from helpers import integrated_gradients, logits_of
from helpers.benchmark.tabular import fit, load_table, train_table


@pytest.mark.parametrize(("name", "least"), [("cancer", 0.93), ("diabetes", 0.25)])
def test_a_network_of_a_table_is_seeded_and_better_than_chance(name, least):
    table = load_table(name)
    assert len({*table.train.tolist()} & {*table.test.tolist()}) == 0
    assert len(table.columns) == table.z.shape[1] == len(table.mean)
    assert table.z[table.train].mean(0).abs().max() < 1e-4
    model = train_table(table)
    assert fit(model, table) > least
    assert torch.equal(model(table.z[:3]), train_table(table)(table.z[:3]))


def test_the_bars_of_a_regression_add_up_to_the_difference():
    table = load_table("diabetes")
    model = train_table(table, steps=40)
    x = table.z[table.test[:4]]
    bars = integrated_gradients(model, x, lambda out: out[:, 0], baseline=0 * x)
    rise = (logits_of(model, x) - logits_of(model, 0 * x))[:, 0]
    assert torch.allclose(bars.sum(1), rise, atol=0.02 * float(rise.abs().max()))
