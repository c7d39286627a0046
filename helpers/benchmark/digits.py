"""Trains the small network of scikit-learn's handwritten digits, in seconds."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from scipy import stats
from torch.nn import functional as F

from helpers.benchmark.models import DATA, DIGIT_SIZE, build_embedded
from helpers.benchmark.sources import digits
from helpers.files import written_whole

EPOCHS, BATCH, MAX_NOISE, SHIFT = 30, 32, 0.2, 4


def train_digits(seed, *, epochs=EPOCHS):
    """The classifier ``"digits"`` in eval mode. Each picture is moved by up to SHIFT of its 32
    pixels, and half of them get white noise of a strength drawn from 0 … MAX_NOISE, as for
    scenes."""
    torch.manual_seed(seed)
    model = build_embedded("digits").train()
    pixels, labels = digits("train")
    pixels = F.interpolate(pixels, DIGIT_SIZE, mode="bilinear", antialias=True)
    pixels = F.pad(pixels, [SHIFT] * 4)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    steps = epochs * (len(pixels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(pixels))[: len(pixels) // BATCH * BATCH].split(BATCH):
            y, x = torch.randint(2 * SHIFT + 1, (2,)).tolist()
            moved = pixels[batch, :, y : y + DIGIT_SIZE, x : x + DIGIT_SIZE]
            noise = MAX_NOISE * torch.rand(BATCH, 1, 1, 1) * (torch.rand(BATCH, 1, 1, 1) < 0.5)
            loss = F.cross_entropy(model(moved + noise * torch.randn_like(moved)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def accuracy(model, split="test") -> dict:
    """The share of a split's pictures that are named rightly, with its 95 % Wilson interval."""
    pixels, labels = digits(split)
    pixels = F.interpolate(pixels, DIGIT_SIZE, mode="bilinear", antialias=True)
    with torch.no_grad():
        right = int((model(pixels).argmax(1) == labels).sum())
    low, high = stats.binomtest(right, len(labels)).proportion_ci(method="wilson")
    interval = [round(float(end), 4) for end in (low, high)]
    return {"value": round(right / len(labels), 4), "interval_95": interval}


def write_digits(seed, folder=DATA) -> dict:
    """Train and store it: ``digits-SEED.safetensors`` and its card, ``digits-SEED.json``."""
    model = train_digits(seed)
    weights, card = (Path(folder) / f"digits-{seed}.{end}" for end in ("safetensors", "json"))
    with written_whole(weights) as weights_file, written_whole(card) as card_file:
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        save_file(state, weights_file)
        described = {
            "name": "digits",
            "names": "the digit",
            "training_seed": seed,
            "command": f"python -m helpers train digits --seed {seed}",
            "training": {"epochs": EPOCHS, "max_noise": MAX_NOISE, "shift": SHIFT},
            "torch": torch.__version__.split("+")[0],
            "parameters": sum(p.numel() for p in model.parameters()),
            "sha256": hashlib.sha256(weights_file.read_bytes()).hexdigest(),
            "split": "test",
            "accuracy": accuracy(model),
        }
        card_file.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return described
