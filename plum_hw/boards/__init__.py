"""The boards that `plum build` knows, found by name.

Built-in boards are one module each in this package; other packages add theirs through the
entry-point group `plum_hw.boards`, whose entries name a `Board`.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from plum_hw.boards.arty import ARTY
from plum_hw.boards.arty_a7_100 import ARTY_A7_100
from plum_hw.boards.board import Board, Capacity
from plum_hw.boards.icebreaker import ICEBREAKER
from plum_hw.boards.icepi_zero import ICEPI_ZERO
from plum_hw.boards.tang import TANG_NANO_9K, TANG_PRIMER_20K
from plum_hw.boards.ulx3s import ULX3S_25F, ULX3S_85F
from plum_hw.errors import ConfigError

__all__ = ["Board", "Capacity", "board", "boards"]


_BUILT_IN = (
    ARTY,
    ARTY_A7_100,
    ICEBREAKER,
    ICEPI_ZERO,
    TANG_NANO_9K,
    TANG_PRIMER_20K,
    ULX3S_25F,
    ULX3S_85F,
)


def boards() -> dict[str, Board]:
    """Every board by name: the built-in ones, then those of other packages."""
    found = {item.name: item for item in _BUILT_IN}
    for entry in entry_points(group="plum_hw.boards"):
        item = entry.load()
        if not isinstance(item, Board):
            raise ConfigError(
                f"entry point {entry.name!r} of plum_hw.boards is a {type(item).__name__}; "
                "it must name a plum_hw.boards.Board"
            )
        found[item.name] = item
    return found


def board(name: str) -> Board:
    """The board of that name; a ConfigError lists the names there are."""
    found = boards()
    if name not in found:
        raise ConfigError(f"no board {name!r}; boards are {', '.join(sorted(found))}")
    return found[name]
