"""A network with its normalisation inside: pixels in [0, 1] go in, logits come out."""

import torch
from torch import nn


class WeightsNotFoundError(FileNotFoundError):
    """The weights of a network, or what else the benchmark needs, are not on this machine and could
    not be downloaded."""


class Classifier(nn.Module):
    """A network from pixels in [0, 1], (N, C, H, W), to logits (N, K).

    Normalisation is the first thing it does, so whatever perturbs its input does so in pixel space.
    Noisy pixels outside [0, 1] are let through; the attribution methods check what the user hands
    to *them*.

    Attributes:
        name: as given to ``load_model``.
        classes: the K names, in the order of the logits.
        input_size: height and width of the pictures it was trained on, in pixels.
        part: which label of an ``ImageSet`` (and which mask, where there are masks) it names:
            ``images.labels[part]``.
        images: the source for ``load_images`` that suits it.
        pixel_range: (0, 1); ``evaluate.check_pixels`` holds what the user hands to a method to it.
    """

    pixel_range = (0.0, 1.0)

    def __init__(self, network, *, mean, std, name, classes, input_size, part, images):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1), persistent=False)
        self.name, self.classes, self.input_size, self.part, self.images = (
            name,
            tuple(classes),
            input_size,
            part,
            images,
        )

    def forward(self, pixels):
        channels = len(self.mean)
        if pixels.ndim != 4 or pixels.shape[1] != channels:
            raise ValueError(
                f"{self.name} takes pictures of shape (N, {channels}, H, W), "
                f"found {tuple(pixels.shape)}"
            )
        if not pixels.is_floating_point():
            raise TypeError(
                f"{self.name} takes floating-point pixels in [0, 1], found {pixels.dtype}: "
                "divide bytes by 255"
            )
        return self.network((pixels - self.mean) / self.std)

    @property
    def device(self):
        return self.mean.device
