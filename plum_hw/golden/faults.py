"""What the golden machine refuses to run."""

from __future__ import annotations


class MachineError(Exception):
    """A program does what no compiled program does: the gateware's result would depend on its
    pipeline, so the machine has none.
    """


def require(condition: bool, text: str) -> None:
    """Raise `MachineError` with a text where a condition does not hold."""
    if not condition:
        raise MachineError(text)
