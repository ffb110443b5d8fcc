"""What an array cannot do of a network: found by every stage, reported all at once by `check`."""

from __future__ import annotations

from dataclasses import dataclass

from plum_hw.errors import UnsupportedError


@dataclass(frozen=True)
class Problem:
    """One thing that an array cannot do.

    *Members*: ``layer``, its name, or None for the network as a whole; ``what`` is wrong, with the
    value and the limit; ``remedy``, what would be right; ``size``: smaller pieces of the layer may
    fit.
    """

    layer: str | None
    what: str
    remedy: str
    size: bool = False

    @property
    def text(self) -> str:
        """One line for people."""
        where = f"layer {self.layer}: " if self.layer else ""
        return f"{where}{self.what}; {self.remedy}"


class Refusal(UnsupportedError):
    """A stage of the compiler gives up on a layer. *Members*: ``problem``, and ``layer``."""

    def __init__(self, layer: str | None, what: str, remedy: str, *, size: bool = False) -> None:
        self.problem = Problem(layer, what, remedy, size)
        super().__init__(self.problem.text, layer)

    def sized(self) -> Refusal:
        """The same, where smaller pieces of the layer may help."""
        problem = self.problem
        return Refusal(problem.layer, problem.what, problem.remedy, size=True)
