"""Image and label files: .npz, .npy, and idx (.gz), read with limits and without pickle."""

from __future__ import annotations

import gzip
import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from plum_host.errors import ImageError

#: No array of a file may be larger once unpacked.
MAX_BYTES = 1 << 30
_IMAGE_KEYS = ("images", "x", "x_test", "arr_0")
_LABEL_KEYS = ("labels", "y", "y_test")
_IDX_UNSIGNED_BYTES = 0x08

Array = np.ndarray[Any, np.dtype[Any]]


def load_images(images: Path, labels: Path | None = None) -> tuple[Array, Array | None]:
    """Images of a file, and their labels.

    Parameters
    ----------
    images : .npz (array `images`), .npy, or idx, plain or .gz; unsigned 8-bit, shape (N, H, W) or
        (N, C, H, W)
    labels : file of the same kinds with one integer an image; without it an .npz is searched for
        an array `labels`

    Returns
    -------
    images [N, C, H, W], labels [N] or None

    Raises
    ------
    ImageError : the file is missing, damaged or too large, or holds something else
    """
    arrays = _read_file(images)
    pixels = _pick(images, arrays, _IMAGE_KEYS, "images")
    if pixels.dtype != np.uint8:
        raise ImageError(f"{images}: pixels are {pixels.dtype}; they must be uint8 (0 to 255)")
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.ndim != 4:
        raise ImageError(
            f"{images}: images have shape {pixels.shape}; it must be (N, H, W) or (N, C, H, W)"
        )
    if labels is not None:
        source, numbers = labels, _pick(labels, _read_file(labels), _LABEL_KEYS, "labels")
    else:
        found = next((arrays[key] for key in _LABEL_KEYS if key in arrays), None)
        if found is None:
            return pixels, None
        source, numbers = images, found
    if numbers.dtype.kind not in "iu" or numbers.shape != (len(pixels),):
        raise ImageError(
            f"{source}: labels are {numbers.dtype} of shape {numbers.shape}; "
            f"they must be integers of shape ({len(pixels)},), one an image"
        )
    return pixels, numbers


def _pick(path: Path, arrays: dict[str, Array], keys: tuple[str, ...], what: str) -> Array:
    for key in keys:
        if key in arrays:
            return arrays[key]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    names = ", ".join(sorted(arrays)) or "nothing"
    raise ImageError(f"{path}: no array named {keys[0]!r}; the file has {names}")


def _read_file(path: Path) -> dict[str, Array]:
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic.startswith(b"PK"):
                return _read_npz(path, file)
            if magic.startswith(b"\x93NUM"):
                return {"": _read_npy(path, file)}
            if magic.startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return {"": _read_idx(path, unpacked)}
            return {"": _read_idx(path, file)}
    except OSError as error:
        # BadGzipFile is an OSError without a number.
        raise ImageError(f"{path}: {error.strerror or error}") from None
    except (EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # RuntimeError: an encrypted archive, or one packed in a way that is not supported.
        raise ImageError(f"{path}: damaged or not an image file: {error}") from None


def _read_npz(path: Path, file: IO[bytes]) -> dict[str, Array]:
    wanted = {*_IMAGE_KEYS, *_LABEL_KEYS}
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        for name in names:
            key = name.removesuffix(".npy")
            if key in wanted or len(names) == 1:
                with archive.open(name) as member:
                    arrays[key] = _read_npy(path, member)
    return arrays


def _read_npy(path: Path, file: IO[bytes]) -> Array:
    """One array; its header is looked at before anything is allocated, and objects are refused."""
    version = npy.read_magic(file)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ImageError(f"{path}: .npy version {version}; it must be (1, 0) or (2, 0)")
    try:
        shape, columns_first, dtype = readers[version](file)
    except tokenize.TokenError as error:
        # The header is a Python literal, and so are its faults.
        raise ImageError(f"{path}: damaged: {error}") from None
    if dtype.hasobject:
        raise ImageError(f"{path}: holds Python objects; it must hold numbers")
    if any(size < 0 for size in shape):
        raise ImageError(f"{path}: damaged: an array of shape {shape}")
    data = _read_exactly(path, file, math.prod(shape) * dtype.itemsize)
    array = np.frombuffer(data, dtype)
    return array.reshape(shape[::-1]).T if columns_first else array.reshape(shape)


def _read_idx(path: Path, file: IO[bytes] | gzip.GzipFile) -> Array:
    # Ref: http://yann.lecun.com/exdb/mnist/, "The IDX file format"
    header = file.read(4)
    if len(header) < 4 or header[:2] != b"\0\0" or not 1 <= header[3] <= 4:
        raise ImageError(f"{path}: unknown kind of file; it must be .npz, .npy, or idx (also .gz)")
    if header[2] != _IDX_UNSIGNED_BYTES:
        raise ImageError(
            f"{path}: idx element type {header[2]:#04x}; it must be 0x08 (unsigned bytes)"
        )
    sizes = _read_exactly(path, file, 4 * header[3])
    shape = struct.unpack(f">{header[3]}I", sizes)
    data = _read_exactly(path, file, math.prod(shape))
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_exactly(path: Path, file: IO[bytes] | gzip.GzipFile, count: int) -> bytes:
    if count > MAX_BYTES:
        raise ImageError(f"{path}: holds {count:,} bytes; at most {MAX_BYTES:,} are read")
    data = file.read(count)
    if len(data) < count:
        raise ImageError(f"{path}: truncated: {len(data):,} of {count:,} bytes are there")
    return data
