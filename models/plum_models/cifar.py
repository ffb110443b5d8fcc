"""CIFAR-10 in the forms that people have it: python, binary, and a compact file of JPEG streams.

The compact file (.npz with `jpeg`, `offsets`, `label`, `is_test`) has all 60,000 images, but
compressed with losses: other pixels, so another data set. What is trained or tested on it is
called "CIFAR-10 (JPEG)" and compares with nothing else.

# Ref: https://www.cs.toronto.edu/~kriz/cifar.html (formats).
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plum_models.data import DataSet, Split
from plum_models.errors import ModelError

LABELS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SHAPE = (3, 32, 32)
COUNTS = {True: 50_000, False: 10_000}
USUAL_PLACES = (Path("data"), Path("~/datasets").expanduser())
WHERE = (
    "get cifar-10-python.tar.gz or cifar-10-binary.tar.gz from "
    "https://www.cs.toronto.edu/~kriz/cifar.html, unpack it, and name the folder "
    "(cifar-10-batches-py or cifar-10-batches-bin) with --data, or put it into data/"
)
_FILES = {True: [f"data_batch_{i}" for i in range(1, 6)], False: ["test_batch"]}
_RECORD = 1 + int(np.prod(SHAPE))


class _ArraysOnly(pickle.Unpickler):
    """The python version is pickled; this reads arrays and plain values and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            "_reconstruct": np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
            "ndarray": np.ndarray,
            "dtype": np.dtype,
        }
        if module.split(".")[0] == "numpy" and name in allowed:
            return allowed[name]
        if (module, name) == ("_codecs", "encode"):
            return lambda text, coding: text.encode("latin1" if coding == "latin1" else "ascii")
        raise pickle.UnpicklingError(f"it wants to call {module}.{name}")


def _read_python(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        found = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        return np.asarray(found[b"data"]), np.asarray(found[b"labels"], np.int64)
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise ModelError(f"cannot read {path} as a batch of CIFAR-10: {error}") from error


def _read_binary(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        raw = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    if raw.size == 0 or raw.size % _RECORD:
        raise ModelError(f"{path}: {raw.size} bytes are not whole records of {_RECORD}")
    records = raw.reshape(-1, _RECORD)
    return records[:, 1:], records[:, 0].astype(np.int64)


def _split(where: Path, images: NDArray[Any], labels: NDArray[Any], *, train: bool) -> Split:
    """Check what every form must have: sizes, and as many images of each class as there are."""
    count = COUNTS[train]
    if images.dtype != np.uint8 or images.shape[1:] not in ((_RECORD - 1,), SHAPE):
        raise ModelError(f"{where}: images are {images.dtype} {images.shape}, not 3x32x32 bytes")
    if len(images) != count or len(labels) != count:
        raise ModelError(
            f"{where}: {len(images)} images and {len(labels)} labels, there should be {count}"
        )
    if labels.min() < 0 or labels.max() >= len(LABELS):
        raise ModelError(f"{where}: labels {labels.min()}..{labels.max()}, there are 0..9")
    tally = np.bincount(labels, minlength=len(LABELS))
    if (tally != count // len(LABELS)).any():
        worst = int(np.abs(tally - count // len(LABELS)).argmax())
        raise ModelError(
            f"{where}: {tally[worst]} images of class {LABELS[worst]!r}, there should be "
            f"{count // len(LABELS)}: a damaged copy"
        )
    shaped = np.ascontiguousarray(images.reshape(-1, *SHAPE))
    return Split(torch.from_numpy(shaped.copy()), torch.from_numpy(labels.astype(np.int64)))


def _load_folder(folder: Path, suffix: str, train: bool) -> Split:
    read: Callable[[Path], Any] = _read_binary if suffix else _read_python
    parts = [read(folder / f"{name}{suffix}") for name in _FILES[train]]
    images = np.concatenate([np.asarray(part[0]) for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    return _split(folder, images, labels, train=train)


def _load_jpeg(path: Path, train: bool) -> Split:
    from PIL import Image, UnidentifiedImageError

    try:
        with np.load(path, allow_pickle=False) as file:
            data, offsets = file["jpeg"], file["offsets"].astype(np.int64)
            labels, is_test = file["label"].astype(np.int64), file["is_test"].astype(bool)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    total = len(labels)
    # Offsets begin each stream; whether the end of the last is written as well is left open.
    ends = np.append(offsets[1:], len(data)) if len(offsets) == total else offsets[1:]
    if len(ends) != total or len(is_test) != total or (np.diff(offsets) <= 0).any():
        raise ModelError(f"{path}: offsets, labels and marks of {total} images do not match")
    if offsets[0] < 0 or ends[-1] > len(data):
        raise ModelError(f"{path}: streams end at {ends[-1]}, there are {len(data)} bytes")
    chosen = np.flatnonzero(is_test != train)
    images = np.empty((len(chosen), *SHAPE), np.uint8)
    for row, index in enumerate(chosen):
        try:
            with Image.open(io.BytesIO(data[offsets[index] : ends[index]].tobytes())) as image:
                if image.size != (32, 32):
                    raise ModelError(f"{path}: image {index} has {image.size} pixels, not 32x32")
                images[row] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        except (OSError, UnidentifiedImageError) as error:
            raise ModelError(f"{path}: image {index}: {error}") from error
    return _split(path, images, labels[chosen], train=train)


def cifar10(path: Path | None = None) -> DataSet:
    """CIFAR-10 from a folder in either form or from a compact file; which is seen from the name."""
    names = ("cifar-10-batches-py", "cifar-10-batches-bin")
    candidates = [path] if path else [place / name for place in USUAL_PLACES for name in names]
    for place in candidates:
        if place.is_file() and place.suffix == ".npz":
            return DataSet("CIFAR-10 (JPEG)", LABELS, partial(_load_jpeg, place))
        for folder in (place, *(place / name for name in names)):
            for suffix in ("", ".bin"):
                if (folder / f"test_batch{suffix}").is_file():
                    return DataSet("CIFAR-10", LABELS, partial(_load_folder, folder, suffix))
    looked = path if path else " or ".join(str(place) for place in USUAL_PLACES)
    raise ModelError(f"no CIFAR-10 at {looked}: {WHERE}")
