"""Images in folders, one a class, as ImageNet comes: FOLDER/train/CLASS/x.JPEG, FOLDER/val/CLASS.

Training images are a random part of the picture (8 to 100 % of its area, sides 3:4 to 4:3), resized
and mirrored; test images the middle square of a copy whose shorter side is 8/7 of the size.

# Ref: Szegedy et al., CVPR 2015, arXiv 1409.4842 (the crops).
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from plum_models.data import DataSet, colour_jitter, spread, to_float
from plum_models.errors import ModelError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp")
WHERE = (
    "name a folder with --data that has train/CLASS/*.JPEG and val/CLASS/*.JPEG; ImageNet (ILSVRC "
    "2012) is at https://image-net.org, and its validation images have to be sorted by class"
)


def _open(path: Path) -> Picture:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ModelError(f"cannot read the image {path}: {error}") from error


def _array(image: Picture) -> Tensor:
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


def random_box(width: int, height: int, draw: list[float]) -> tuple[int, int, int, int]:
    """Left, upper, right, lower of a random part; draw: four numbers of 0..1."""
    area = width * height * (0.08 + 0.92 * draw[0])
    ratio = math.exp(math.log(3 / 4) + draw[1] * 2 * math.log(4 / 3))
    w = max(1, min(width, round(math.sqrt(area * ratio))))
    h = max(1, min(height, round(math.sqrt(area / ratio))))
    left, upper = int(draw[2] * (width - w + 1)), int(draw[3] * (height - h + 1))
    return left, upper, left + w, upper + h


@dataclass(frozen=True)
class FolderSplit:
    """The pictures of one split, decoded when they are asked for."""

    files: tuple[Path, ...]
    labels: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, int, int]:
        """See `Images.shape`."""
        return (3, self.size, self.size)

    def some(self, count: int) -> FolderSplit:
        """See `Images.some`."""
        if not 0 < count < len(self):
            return self
        chosen = spread(len(self), count)
        files = tuple(self.files[i] for i in chosen.tolist())
        return FolderSplit(files, self.labels[chosen], self.size)

    def _middle(self, path: Path) -> Tensor:
        from PIL import Image

        image = _open(path)
        scale = self.size * 8 / 7 / min(image.size)
        wide, high = (max(self.size, round(side * scale)) for side in image.size)
        left, upper = (wide - self.size) // 2, (high - self.size) // 2
        resized = image.resize((wide, high), Image.Resampling.BILINEAR)
        return _array(resized.crop((left, upper, left + self.size, upper + self.size)))

    def pixels(self, start: int, stop: int) -> Tensor:
        """See `Images.pixels`."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return torch.stack(list(pool.map(self._middle, self.files[start:stop])))

    def augmenter(self, *, shift: int, flip: bool, jitter: float) -> FolderAugmenter:
        """See `Images.augmenter`; the random part takes the place of the shift."""
        return FolderAugmenter(self, flip=flip, jitter=jitter)


class FolderAugmenter:
    """Decodes, crops, mirrors and colours batches of a `FolderSplit` with a thread for each core
    (Pillow lets them run side by side).
    """

    def __init__(self, split: FolderSplit, *, flip: bool, jitter: float) -> None:
        self.split, self.flip, self.jitter = split, flip, jitter
        self.pool = ThreadPoolExecutor(os.cpu_count())

    def _one(self, index: int, draw: list[float], size: int) -> Tensor:
        from PIL import Image

        image = _open(self.split.files[index])
        width, height = image.size
        box = random_box(width, height, draw[:4])
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
        if self.flip and draw[4] < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return _array(image)

    def batch(self, indices: Tensor, generator: torch.Generator, size: int = 0) -> Tensor:
        """See `Augmenter.batch`; a smaller `size` is a smaller copy here, not a smaller part."""
        draws = torch.rand((len(indices), 5), generator=generator).tolist()
        sizes = [size or self.split.size] * len(indices)
        arrays = self.pool.map(self._one, indices.tolist(), draws, sizes)
        images = to_float(torch.stack(list(arrays)))
        return colour_jitter(images, self.jitter, generator) if self.jitter else images


def _classes(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise ModelError(f"no images at {folder}: {WHERE}") from error


def image_folder(path: Path | None, *, size: int) -> DataSet:
    """The data set of a folder; both splits must have the same classes, none of them empty."""
    if path is None:
        raise ModelError(f"an image folder has no usual place: {WHERE}")
    classes = _classes(path / "train")
    if not classes:
        raise ModelError(f"{path / 'train'} has no folders of classes: {WHERE}")
    if different := sorted(set(classes) ^ set(_classes(path / "val"))):
        raise ModelError(f"{path}: class {different[0]!r} is in one of train and val only")

    def load(train: bool) -> FolderSplit:
        files: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            folder = path / ("train" if train else "val") / name
            found = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
            if not found:
                raise ModelError(f"{folder} has no images ({', '.join(SUFFIXES)})")
            files += found
            labels += [label] * len(found)
        return FolderSplit(tuple(files), torch.tensor(labels), size)

    return DataSet(path.name, tuple(classes), load)
