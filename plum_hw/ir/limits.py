"""Size limits of a network and its file, and the checks that quote a wrong value."""

import os
import re
from typing import Any

from plum_hw.errors import NetworkError

MAX_FILE_BYTES = 256 << 20
MAX_HEADER_BYTES = 2 << 20
MAX_JSON_DEPTH = 8
MAX_LAYERS = 1024
MAX_CHANNELS = 1 << 16
MAX_SIDE = 4096
MAX_ELEMENTS = 1 << 26
MAX_LABEL = 128
MAX_CONV_KERNEL = 7
MAX_POOL_KERNEL = 64
MAX_POOL_STRIDE = 8
MAX_SHIFT = 48

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def show(value: Any) -> str:
    """``repr`` of a value from outside: one line, printable, at most 60 characters."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, str | bytes):
        value = value[:80]
    elif isinstance(value, list | dict | set) and len(value) > 16:
        return f"a {type(value).__name__} of {len(value)} items"
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def show_path(path: str | os.PathLike[str]) -> str:
    """A path as typed; escaped where it holds what is not printable."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def check_name(value: Any, what: str) -> str:
    """Return ``value`` if it is a legal name; raise `NetworkError` otherwise."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise NetworkError(
            f"{what} {show(value)} is not a name: 1 to 64 characters of [A-Za-z0-9_.-] are needed"
        )
    return value


def check_int(value: Any, low: int, high: int, what: str) -> int:
    """Return ``value`` if it is an integer in ``low..high`` (a bool is none)."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise NetworkError(f"{what} is {show(value)}, must be an integer from {low} to {high}")
    return value


def check_pair(value: Any, low: int, high: int, what: str) -> tuple[int, int]:
    """Return ``value`` as a (vertical, horizontal) pair of integers in ``low..high``."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise NetworkError(f"{what} is {show(value)}, must be two integers [vertical, horizontal]")
    return (
        check_int(value[0], low, high, f"{what}[0]"),
        check_int(value[1], low, high, f"{what}[1]"),
    )


def check_shape(value: Any, what: str) -> tuple[int, int, int]:
    """Return ``value`` as a shape (C, H, W) within the size limits."""
    if not isinstance(value, tuple | list) or len(value) != 3:
        raise NetworkError(f"{what} is {show(value)}, must be three integers [C, H, W]")
    c = check_int(value[0], 1, MAX_CHANNELS, f"{what}: channels")
    h = check_int(value[1], 1, MAX_SIDE, f"{what}: height")
    w = check_int(value[2], 1, MAX_SIDE, f"{what}: width")
    if c * h * w > MAX_ELEMENTS:
        raise NetworkError(
            f"{what} ({c}, {h}, {w}) has {c * h * w} elements, more than {MAX_ELEMENTS}"
        )
    return (c, h, w)
