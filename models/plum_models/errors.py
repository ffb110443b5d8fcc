"""The kind of error that a command shows as one line (exit code 2) instead of a traceback."""

from __future__ import annotations

from plum_hw.errors import PlumError


class ModelError(PlumError):
    """Something the user can put right: the message says what was wrong and what would be right."""
