"""Images in memory: a split of a data set, the random streams, and the augmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Augmenter(Protocol):
    """What training draws its batches from."""

    def batch(self, indices: Tensor, generator: torch.Generator, size: int = 0) -> Tensor:
        """Augmented images, float [N, C, H, W] in 0..1, as the arguments alone say.

        size: side of a random part to give in place of the whole image (0: the whole).
        """


class Images(Protocol):
    """One split of a data set."""

    @property
    def labels(self) -> Tensor:
        """Classes, int64 [N]."""

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""

    def some(self, count: int) -> Images:
        """`count` images spread over all, since sets may be sorted by class (0: all)."""

    def pixels(self, start: int, stop: int) -> Tensor:
        """Images `start` to `stop` as a network is tested on them, uint8 [N, C, H, W]."""

    def augmenter(self, *, shift: int, flip: bool, jitter: float) -> Augmenter:
        """The source of training batches."""


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, C, H, W] (0..255) and labels int64 [N] in memory."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """See `Images.shape`."""
        channels, height, width = self.images.shape[1:]
        return (channels, height, width)

    def some(self, count: int) -> Split:
        """See `Images.some`."""
        if not 0 < count < len(self):
            return self
        chosen = spread(len(self), count)
        return Split(self.images[chosen], self.labels[chosen])

    def pixels(self, start: int, stop: int) -> Tensor:
        """See `Images.pixels`."""
        return self.images[start:stop]

    def augmenter(self, *, shift: int, flip: bool, jitter: float) -> MemoryAugmenter:
        """See `Images.augmenter`."""
        return MemoryAugmenter(self.images, shift=shift, flip=flip, jitter=jitter)


def spread(total: int, count: int) -> Tensor:
    """Indices of `count` of `total` things, at equal distances."""
    return torch.arange(count) * total // count


@dataclass(frozen=True)
class DataSet:
    """Both splits of a data set under the name that its figures carry; `test` decides nothing."""

    title: str
    labels: tuple[str, ...]
    load: Callable[[bool], Images]

    def split(self, *, train: bool) -> Images:
        """The training or the test images."""
        return self.load(train)


def synthetic(
    count: int, seed: int, *, size: int = 28, classes: int = 10, channels: int = 1
) -> Split:
    """Random images whose class shows as a bright row: a tiny set for tests, not a result."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    images = torch.randint(0, 96, (count, channels, size, size), generator=generator)
    rows = labels * size // classes
    images[torch.arange(count), 0, rows] += 128
    return Split(images.to(torch.uint8), labels)


def stream(*key: int) -> torch.Generator:
    """A random generator that depends on the key alone, so that a resumed run draws the same."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(seed)


class MemoryAugmenter:
    """Random shift by up to `shift` pixels (zeros move in), or a random part of the image so
    extended, and mirror, drawn per image; then colours by `colour_jitter`.
    """

    def __init__(self, images: Tensor, *, shift: int, flip: bool, jitter: float = 0.0) -> None:
        self.shift, self.flip, self.jitter = shift, flip, jitter
        self.height, self.width = images.shape[-2:]
        # Pixels with all their channels: a gathered batch is then channels_last as it stands.
        self.padded = F.pad(images, (shift,) * 4).permute(0, 2, 3, 1).contiguous()

    def batch(self, indices: Tensor, generator: torch.Generator, size: int = 0) -> Tensor:
        """See `Augmenter.batch`."""
        count = len(indices)
        height, width = (size, size) if size else (self.height, self.width)
        down, right = (
            have + 2 * self.shift - want + 1
            for have, want in ((self.height, height), (self.width, width))
        )
        draw = torch.rand((2, count, 1), generator=generator)
        dy, dx = (draw[0] * down).long(), (draw[1] * right).long()
        mirror = torch.randint(0, 2, (count, 1), generator=generator).bool()
        rows, cols = dy + torch.arange(height), dx + torch.arange(width)
        if self.flip:
            cols = torch.where(mirror, cols.flip(1), cols)
        picked = self.padded[indices[:, None, None], rows[:, :, None], cols[:, None, :]]
        images = to_float(picked.permute(0, 3, 1, 2))
        return colour_jitter(images, self.jitter, generator) if self.jitter else images


def colour_jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation times 1 - strength .. 1 + strength, drawn per image."""
    draw = torch.rand((3, len(images), 1, 1, 1), generator=generator)
    brightness, contrast, saturation = 1 - strength + 2 * strength * draw
    images = images * brightness
    weights = images.new_tensor([0.299, 0.587, 0.114]) if images.shape[1] == 3 else None
    grey = (
        images.mean(1, keepdim=True)
        if weights is None
        else (images * weights.view(1, 3, 1, 1)).sum(1, keepdim=True)
    )
    mean = grey.mean((2, 3), keepdim=True)
    images, grey = mean + (images - mean) * contrast, mean + (grey - mean) * contrast
    return (grey + (images - grey) * saturation).clamp_(0.0, 1.0)


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 -> float 0..1: one input level is 1/255."""
    return images.float() / 255.0
