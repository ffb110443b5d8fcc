"""Data sets by name, each from a path or from its usual place."""

from __future__ import annotations

from pathlib import Path

from plum_models.cifar import cifar10
from plum_models.data import DataSet
from plum_models.errors import ModelError
from plum_models.fashion import fashion
from plum_models.imagefolder import image_folder

_DATA = {"fashion": fashion, "cifar10": cifar10}

#: Names that `open_data` knows.
NAMES = (*_DATA, "imagefolder")


def open_data(name: str, path: Path | None, *, size: int = 224) -> DataSet:
    """The data set of that name. Raises `ModelError` that says where to get it and how to call it.

    size: side of the images that an image folder gives (the others have one size).
    """
    if name == "imagefolder":
        return image_folder(path, size=size)
    if name not in _DATA:
        raise ModelError(f"data must be one of {', '.join(NAMES)}, got {name!r}")
    return _DATA[name](path)
