"""Fashion-MNIST from its idx files (plain or gzip), checked, and the light augmentation.

# Ref: the idx format, http://yann.lecun.com/exdb/mnist/ ; Fashion-MNIST, arXiv 1708.07747 (MIT).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from plum_models.errors import ModelError

LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
USUAL_PLACE = Path("/usr/share/datasets/fashion-mnist")
WHERE = (
    "install Debian's package dataset-fashion-mnist, or put the four idx files of "
    "https://github.com/zalandoresearch/fashion-mnist (train-images-idx3-ubyte.gz, ...) into a "
    "folder and name it with --data"
)


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, 1, H, W] (0..255) and labels int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> Split:
        """The first `count` images (None: all)."""
        return self if count is None else Split(self.images[:count], self.labels[:count])


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """An unsigned-byte idx file with that many dimensions; its magic and size are checked."""
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    header = 4 + 4 * dimensions
    if len(raw) < header:
        raise ModelError(f"{path}: {len(raw)} bytes are too few for an idx header of {header}")
    magic = struct.unpack(">I", raw[:4])[0]
    if magic != 0x0800 | dimensions:
        raise ModelError(
            f"{path}: magic number 0x{magic:08x}, an idx file of bytes in {dimensions} dimensions "
            f"has 0x{0x0800 | dimensions:08x}"
        )
    shape = struct.unpack(f">{dimensions}I", raw[4:header])
    want = int(np.prod(shape, dtype=np.int64))
    if len(raw) - header != want:
        raise ModelError(f"{path}: {len(raw) - header} bytes of data, its header says {want}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.gz", folder / name):
        if candidate.is_file():
            return candidate
    raise ModelError(f"{folder} has no {name} (.gz or plain): {WHERE}")


def load_fashion(folder: Path | None = None, *, train: bool) -> Split:
    """Training (60,000) or test (10,000) images of Fashion-MNIST from a folder of idx files."""
    folder = USUAL_PLACE if folder is None else folder
    if not folder.is_dir():
        raise ModelError(f"no Fashion-MNIST at {folder}: {WHERE}")
    stem = "train" if train else "t10k"
    images = read_idx(_find(folder, f"{stem}-images-idx3-ubyte"), 3)
    labels = read_idx(_find(folder, f"{stem}-labels-idx1-ubyte"), 1)
    if len(images) != len(labels):
        raise ModelError(f"{folder}: {len(images)} {stem} images but {len(labels)} labels")
    if images.shape[1:] != (28, 28):
        raise ModelError(f"{folder}: images of {images.shape[1:]} pixels, expected (28, 28)")
    if len(labels) and labels.max() >= len(LABELS):
        raise ModelError(f"{folder}: label {labels.max()}, there are classes 0..{len(LABELS) - 1}")
    return Split(
        torch.from_numpy(images.copy()).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))
    )


def synthetic(count: int, seed: int, *, size: int = 28, classes: int = 10) -> Split:
    """Random images whose class shows as a bright row: a tiny set for tests, not a result."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    images = torch.randint(0, 96, (count, 1, size, size), generator=generator)
    rows = labels * size // classes
    images[torch.arange(count), 0, rows] += 128
    return Split(images.to(torch.uint8), labels)


def stream(*key: int) -> torch.Generator:
    """A random generator that depends on the key alone, so that a resumed run draws the same."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(seed)


class Augmenter:
    """Random shift by up to `shift` pixels (zeros move in) and mirror, drawn per image."""

    def __init__(self, images: Tensor, *, shift: int, flip: bool) -> None:
        self.shift, self.flip, self.size = shift, flip, images.shape[-1]
        self.padded = F.pad(images[:, 0], (shift,) * 4)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """Augmented images, float [N, 1, H, W] in 0..1."""
        count, span = len(indices), 2 * self.shift + 1
        dy, dx = torch.randint(0, span, (2, count, 1), generator=generator)
        mirror = torch.randint(0, 2, (count, 1), generator=generator).bool()
        line = torch.arange(self.size)
        rows, cols = dy + line, dx + line
        if self.flip:
            cols = torch.where(mirror, cols.flip(1), cols)
        picked = self.padded[indices[:, None, None], rows[:, :, None], cols[:, None, :]]
        return to_float(picked.unsqueeze(1))


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 -> float 0..1: one input level is 1/255."""
    return images.float() / 255.0
