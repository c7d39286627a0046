"""Inputs that are no pictures, with known truth: sentences and signals from a seed, the words and
the event that decide, and the two small networks that read them, trained in under a minute.

A sentence has two clauses; the answer is the opinion on the *film*, the other clause is a decoy. A
signal has an event of one of three shapes, and a decoy of which it has nothing to say. As for
scenes, a card says what each network listens to, measured by exchanging one part at a time.
"""

import hashlib
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from scipy import stats
from torch import nn
from torch.nn import functional as F

from helpers.benchmark.models import DATA, data_file, load_weights
from helpers.checks import choose
from helpers.files import written_whole

UNKNOWN = "…"
"""The word that says nothing. In training words are replaced by it; where one that decides is, the
answer wanted is half and half."""
_OPENINGS = ("today", "yesterday", "then", "again")
_NAMES = ("anna", "ben", "carla", "deniz", "emil", "fatou", "goran", "hana")
_OTHERS = ("food", "bus", "room", "beach", "weather", "hotel", "book", "music")
_PLAIN, _NOT = ("very", "quite", "so", "really"), ("not", "never")
_OPINIONS = (("bad", "dull", "awful", "poor"), ("good", "great", "lovely", "superb"))
_JOINTS = ("and", "but", "while", "whereas")
WORDS = (
    UNKNOWN,
    *("says", "the", "film", "was", "."),
    *(*_OPENINGS, *_NAMES, *_OTHERS, *_PLAIN, *_NOT, *_OPINIONS[0], *_OPINIONS[1], *_JOINTS),
)
VERDICTS = ("bad", "good")
LENGTH = 15  # words
EVENTS = ("one peak", "two peaks", "up and down")
SAMPLES, EVENT, RANGE = 128, 25, (-2.0, 2.0)  # samples; samples; millivolts
POOL = 20_000  # training sequences
# name -> (classes, steps of training, batch, the parts that are exchanged: the first few decide)
SEQUENCES = {
    "sentences": (VERDICTS, 1500, 128, ("opinion", "modifier", "noun", "decoy", "filler")),
    "signals": (EVENTS, 700, 64, ("event", "decoy", "background")),
}
DECIDE = {"sentences": 3, "signals": 1}
NOISE = {"sentences": 0.5, "signals": 0.2}  # the largest strength in training, in the input's unit


class Sequences(NamedTuple):
    """inputs: word numbers (N, LENGTH), or millivolts (N, 1, SAMPLES); labels (N,); masks (N, T)
    bool, what decides."""

    inputs: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor


@dataclass(frozen=True)
class _Sentence:
    film_first: bool
    opening: str
    name: str
    other: str
    joint: str
    film: tuple[str, str]  # modifier, opinion
    decoy: tuple[str, str]

    def read(self):
        (noun, *one), (thing, *two) = ("film", *self.film), (self.other, *self.decoy)
        if not self.film_first:
            noun, one, thing, two = thing, two, noun, one
        said = [self.opening, self.name, "says", "the", noun, "was", *one]
        said += [self.joint, "the", thing, "was", *two, "."]
        decide = (4, 6, 7) if self.film_first else (10, 12, 13)
        label = (self.film[1] in _OPINIONS[1]) != (self.film[0] in _NOT)
        return [WORDS.index(word) for word in said], int(label), np.isin(range(LENGTH), decide)

    def swapped(self, part, rng):
        """With one part exchanged: the first three turn what is said of the film."""
        other = {"other": _other(rng, _OTHERS, self.other)}
        if part == "opinion":
            return replace(self, film=(self.film[0], _turned(rng, self.film[1], _OPINIONS)))
        if part == "modifier":
            return replace(self, film=(_turned(rng, self.film[0], (_PLAIN, _NOT)), self.film[1]))
        if part == "noun":  # the film and the other thing change places
            return replace(self, film_first=not self.film_first, film=self.decoy, decoy=self.film)
        if part == "decoy":
            return replace(
                self, decoy=(self.decoy[0], _turned(rng, self.decoy[1], _OPINIONS)), **other
            )
        names = {"name": _other(rng, _NAMES, self.name), "joint": _other(rng, _JOINTS, self.joint)}
        return replace(self, opening=_other(rng, _OPENINGS, self.opening), **names)


@dataclass(frozen=True)
class _Signal:
    kind: int
    starts: tuple[int, int]  # of the event and of the decoy
    size: float  # millivolts
    decoy: float  # periods of its burst in EVENT samples
    ground: int  # seed of drift and noise

    def read(self):
        rng, t = np.random.default_rng(self.ground), np.arange(SAMPLES)
        ground = 0.1 * rng.standard_normal(SAMPLES)
        for periods in (1, 2, 3):
            ground += 0.15 * np.sin(2 * np.pi * (periods * t / SAMPLES + rng.random()))
        x = np.linspace(-1, 1, EVENT)
        peak = [np.exp(-(((x - at) / 0.2) ** 2)) for at in (0, -0.45, 0.45)]
        event = (peak[0], peak[1] + peak[2], peak[1] - peak[2])[self.kind]
        here, there = (slice(start, start + EVENT) for start in self.starts)
        ground[here] += self.size * event
        ground[there] += 0.7 * np.hanning(EVENT) * np.sin(np.pi * self.decoy * x)
        mask = np.zeros(SAMPLES, bool)
        mask[here] = True
        return ground[None], self.kind, mask

    def swapped(self, part, rng):
        """With one part exchanged: another event, another burst, another drift and noise."""
        if part == "event":
            return replace(self, kind=(self.kind + int(rng.integers(1, 3))) % 3)
        if part == "decoy":
            return replace(self, decoy=0.0 if rng.random() < 0.5 else 14 - self.decoy)
        return replace(self, ground=self.ground + 1)


def _other(rng, words, word):
    return str(rng.choice([each for each in words if each != word]))


def _turned(rng, word, sides):
    return str(rng.choice(sides[0] if word in sides[1] else sides[1]))


def _drawn(name, rng):
    if name == "signals":
        first, second = 4 + rng.integers(0, 32, 2) + (0, 62)
        starts = (first, second) if rng.random() < 0.5 else (second, first)
        return _Signal(
            int(rng.integers(3)),
            tuple(map(int, starts)),
            rng.uniform(0.8, 1.4),
            rng.uniform(5, 9),
            int(rng.integers(2**40)),
        )
    words = [str(rng.choice(each)) for each in (_OPENINGS, _NAMES, _OTHERS, _JOINTS)]
    clauses = [
        (str(rng.choice((_PLAIN, _NOT)[rng.integers(2)])), str(rng.choice(sum(_OPINIONS, ()))))
        for _ in range(2)
    ]
    return _Sentence(bool(rng.integers(2)), *words, *clauses)


def sequences(name, n, *, seed=0, part=None) -> Sequences:
    """n sentences or signals; number i depends on (seed, i) alone. The networks are trained on
    seeds of 1000 and more.

    Args:
        name: "sentences" or "signals".
        part: exchange this part in each, all else as it was (see ``SEQUENCES``).
    """
    parts = SEQUENCES[choose(name, SEQUENCES, "kind of sequence")][3]
    if part is not None:
        choose(part, parts, "part")
    read = []
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        drawn = _drawn(name, rng)
        read.append((drawn if part is None else drawn.swapped(part, rng)).read())
    inputs, labels, masks = (torch.from_numpy(np.array(each)) for each in zip(*read, strict=True))
    return Sequences(inputs.float() if name == "signals" else inputs, labels, masks)


class SentenceNet(nn.Module):
    """A transformer of two layers, from embeddings (N, LENGTH, 32) to two logits: ``embed`` makes
    them of word numbers, ``tokens`` those of a text. Positions are added inside."""

    classes, input_range = VERDICTS, (-2.0, 2.0)

    def __init__(self, width=32, heads=4, layers=2):
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), width)
        self.position = nn.Parameter(torch.randn(LENGTH, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, len(VERDICTS))

    def embed(self, tokens):
        """Word numbers (N, LENGTH) → (N, LENGTH, 32)."""
        return self.embedding(tokens).detach() if not self.training else self.embedding(tokens)

    def forward(self, embeddings):
        x = embeddings + self.position
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x.mean(1)))


def signal_net() -> nn.Module:
    """Three convolutions and the largest value of each map, from (N, 1, SAMPLES) in millivolts to
    three logits."""
    layers = []
    for n_in, n_out in ((1, 16), (16, 32), (32, 32)):
        layers += [nn.Conv1d(n_in, n_out, 9, padding=4), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(32, len(EVENTS)))
    net.classes, net.input_range = EVENTS, RANGE
    return net


def words(tokens) -> list[str]:
    """The words of one sentence's numbers."""
    return [WORDS[int(token)] for token in tokens]


def word_numbers(text) -> torch.Tensor:
    """A text's words, (1, LENGTH): of your own, as long as they are among ``WORDS``."""
    found = [choose(word, WORDS, "word") for word in text.split()]
    if len(found) != LENGTH:
        raise ValueError(
            f"a sentence has {LENGTH} words, its full stop counted; found {len(found)}"
        )
    return torch.tensor([[WORDS.index(word) for word in found]])


def train_sequences(name, seed, *, steps=None):
    """A network in eval mode. Half of what it reads has white noise, of a strength from 0 to NOISE;
    and of half of the sentences words are unknown, each with a probability of its own sentence."""
    classes, most, batch, _ = SEQUENCES[choose(name, SEQUENCES, "kind of sequence")]
    torch.manual_seed(seed)
    model = (SentenceNet() if name == "sentences" else signal_net()).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps or most)
    pool = sequences(name, POOL, seed=1000 + seed)
    for _ in range(steps or most):
        rows = torch.randint(POOL, (batch,))
        inputs, labels, masks = (each[rows] for each in pool)
        wanted = F.one_hot(labels, len(classes)).float()
        if name == "sentences":
            share = torch.rand(batch, 1) * (torch.rand(batch, 1) < 0.5)
            unknown = torch.rand(masks.shape) < share
            wanted[(unknown & masks).any(1)] = 1 / len(classes)
            inputs = model.embed(inputs.masked_fill(unknown, WORDS.index(UNKNOWN)))
        strength = NOISE[name] * torch.rand(batch, 1, 1) * (torch.rand(batch, 1, 1) < 0.5)
        loss = F.cross_entropy(model(inputs + strength * torch.randn(inputs.shape)), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def certify_sequences(name, model, n=500) -> dict:
    """Accuracy on n sequences it was not trained on; and of each part's exchange, the share of
    answers that are right afterwards and the mean |Δ margin|, in logits. Where the part decides,
    being right is following it; where it does not, staying."""

    def asked(part):
        data = sequences(name, n, part=part)
        with torch.no_grad():
            logits = model(data.inputs if name == "signals" else model.embed(data.inputs))
        return data.labels, logits

    def interval(right):
        low, high = stats.binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
        rounded = [round(float(end), 4) for end in (low, high)]
        return {"value": round(float(right.float().mean()), 4), "interval_95": rounded}

    truth, clean = asked(None)
    swaps = {}
    for part in SEQUENCES[name][3]:
        labels, logits = asked(part)
        one = F.one_hot(truth, clean.shape[1]).bool()
        margins = [each[one] - each.masked_fill(one, -math.inf).amax(1) for each in (clean, logits)]
        swaps[part] = {
            "decides": part in SEQUENCES[name][3][: DECIDE[name]],
            "right": interval(logits.argmax(1) == labels),
            "change_of_margin": round(float((margins[0] - margins[1]).abs().mean()), 3),
        }
    return {"n": n, "accuracy": interval(clean.argmax(1) == truth), "swaps": swaps}


def write_sequences(name, seed=0, folder=DATA) -> dict:
    """Train, certify and store one: ``NAME-SEED.safetensors`` and its card, ``NAME-SEED.json``."""
    began = time.monotonic()
    model = train_sequences(name, seed)
    seconds = time.monotonic() - began
    weights, card = (Path(folder) / f"{name}-{seed}.{end}" for end in ("safetensors", "json"))
    with written_whole(weights) as weights_file, written_whole(card) as card_file:
        save_file(
            {key: each.contiguous() for key, each in model.state_dict().items()}, weights_file
        )
        described = {
            "name": name,
            "training_seed": seed,
            "command": f"python -m helpers train {name} --seed {seed}",
            "training": {"steps": SEQUENCES[name][1], "batch": SEQUENCES[name][2]},
            "training_seconds": round(seconds),
            "torch": torch.__version__.split("+")[0],
            "parameters": sum(p.numel() for p in model.parameters()),
            "sha256": hashlib.sha256(weights_file.read_bytes()).hexdigest(),
            **certify_sequences(name, model),
        }
        card_file.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return described


def sequence_card(name="sentences", *, seed=0) -> dict:
    """The card of a shipped network: accuracy, and what each part's exchange does."""
    choose(name, SEQUENCES, "network of sequences")
    return json.loads(data_file(name, f"{name}-{seed}.json").read_text(encoding="utf-8"))


def load_sequence_model(name="sentences", *, seed=0) -> nn.Module:
    """The shipped network of "sentences" (from ``embed``-dings) or "signals" (from millivolts), in
    eval mode, with its ``classes`` and ``input_range``."""
    choose(name, SEQUENCES, "network of sequences")
    model = SentenceNet() if name == "sentences" else signal_net()
    model.load_state_dict(load_weights(name, seed=seed))
    return model.eval()
