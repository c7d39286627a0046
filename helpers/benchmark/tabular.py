"""Two tables of real data that come with scikit-learn, and a small network of each, trained in
seconds: breast tumours (a class) and diabetes a year later (a number)."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from torch import nn
from torch.nn import functional as F

from helpers.checks import choose

TABLES = ("cancer", "diabetes")
_DIABETES = (
    *("age", "sex", "body mass index", "blood pressure", "total cholesterol", "LDL", "HDL"),
    *("cholesterol / HDL", "log triglycerides", "blood sugar"),
)


class Tabular(NamedTuple):
    """Rows of people, three quarters to train on and the rest to test.

    z: (N, F), every column in its standard deviations from its mean over the training rows.
    answers: (N,), 0 or 1 (malignant), or the progression of diabetes.
    mean, deviation: (F,), in the columns' own units. train, test: row numbers.
    """

    z: torch.Tensor
    answers: torch.Tensor
    columns: tuple[str, ...]
    mean: torch.Tensor
    deviation: torch.Tensor
    train: torch.Tensor
    test: torch.Tensor


def load_table(name, *, seed=0) -> Tabular:
    """The table "cancer" (569 tumours, 30 columns) or "diabetes" (442 people, 10 columns)."""
    if choose(name, TABLES, "table") == "cancer":
        data = load_breast_cancer()
        answers, columns = 1 - data.target, tuple(map(str, data.feature_names))
    else:
        data = load_diabetes(scaled=False)
        answers, columns = data.target, _DIABETES
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(answers)))
    train, test = order.tensor_split([len(order) * 3 // 4])
    values = torch.from_numpy(data.data).float()
    mean, deviation = values[train].mean(0), values[train].std(0)
    answers = torch.from_numpy(np.asarray(answers)).float()
    return Tabular((values - mean) / deviation, answers, columns, mean, deviation, train, test)


def train_table(table, *, seed=0, steps=150) -> nn.Module:
    """A network of one hidden layer, from (N, F) standardised columns: two logits where the answers
    are 0 and 1, else one number, (N, 1). In eval mode."""
    torch.manual_seed(seed)
    z, answers = table.z[table.train], table.answers[table.train]
    classes = set(answers.tolist()) == {0, 1}
    hidden = nn.Linear(z.shape[1], 16)
    model = nn.Sequential(hidden, nn.Softplus(), nn.Linear(16, 2 if classes else 1))
    if not classes:  # from its mean, in its standard deviations
        with torch.no_grad():
            model[2].bias.fill_(0)
        model.append(_Affine(answers.mean(), answers.std()))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.1)
    for _ in range(steps):
        out = model(z)
        error = (out[:, 0] - answers) / answers.std()
        loss = F.cross_entropy(out, answers.long()) if classes else error.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


class _Affine(nn.Module):
    def __init__(self, shift, scale):
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, x):
        return self.shift + self.scale * x


def fit(model, table) -> float:
    """On the test rows: the share named rightly, or R², the share of the variance explained."""
    z, answers = table.z[table.test], table.answers[table.test]
    with torch.no_grad():
        out = model(z)
    if out.shape[1] == 2:
        return float((out.argmax(1) == answers).float().mean())
    return float(1 - (out[:, 0] - answers).square().mean() / answers.var(unbiased=False))
