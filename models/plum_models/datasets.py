"""Data sets by name, each from a path or from its usual place."""

from __future__ import annotations

from pathlib import Path

from plum_models import cifar, fashion
from plum_models.data import DataSet
from plum_models.errors import ModelError
from plum_models.imagefolder import image_folder

_DATA = {"fashion": fashion.fashion, "cifar10": cifar.cifar10}

#: Names that `open_data` knows.
NAMES = (*_DATA, "imagefolder")

#: Names of the classes of data sets that have only one list of them.
LABELS = {"fashion": fashion.LABELS, "cifar10": cifar.LABELS}


def open_data(name: str, path: Path | None, *, size: int = 224) -> DataSet:
    """The data set of that name. Raises `ModelError` that says where to get it and how to call it.

    size: side of the images that an image folder gives (the others have one size).
    """
    if name == "imagefolder":
        return image_folder(path, size=size)
    if name not in _DATA:
        raise ModelError(f"data must be one of {', '.join(NAMES)}, got {name!r}")
    return _DATA[name](path)
