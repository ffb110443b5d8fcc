"""The kind of error that a command shows as one line (exit code 2), and the check of options."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from plum_hw.errors import PlumError


class ModelError(PlumError):
    """Something the user can put right: the message says what was wrong and what would be right."""


def check_types(options: Any) -> None:
    """ValueError naming the first field of a dataclass whose type is not that of its default.

    An int will do for a float; tuples hold ints of 1 or more.
    """
    for field in fields(options):
        value, kind = getattr(options, field.name), type(field.default)
        fits = isinstance(value, (int, float) if kind is float else kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{field.name} must be of type {kind.__name__}, got {value!r}")
        if kind is tuple and not all(type(item) is int and item >= 1 for item in value):
            raise ValueError(f"{field.name} must hold integers of 1 or more, got {list(value)}")
