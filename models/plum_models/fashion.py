"""Fashion-MNIST from its idx files (plain or gzip), checked.

# Ref: the idx format, http://yann.lecun.com/exdb/mnist/ ; Fashion-MNIST, arXiv 1708.07747 (MIT).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from plum_models.data import DataSet, Split
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


def fashion(path: Path | None = None) -> DataSet:
    """Fashion-MNIST as a data set."""
    folder = USUAL_PLACE if path is None else path
    if not folder.is_dir():
        raise ModelError(f"no Fashion-MNIST at {folder}: {WHERE}")
    return DataSet("Fashion-MNIST", LABELS, lambda train: load_fashion(path, train=train))


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
