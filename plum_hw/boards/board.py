"""What the generator must know of a board; pins and clocks come from its Amaranth platform."""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What the part holds: LUTs, flip-flops, block RAMs and DSP blocks, in the vendor's units."""

    lut: int
    ff: int
    ram: int
    dsp: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board.

    Parameters
    ----------
    name : what `--board` takes
    title : maker's name of the board
    part : ordering code of the FPGA
    platform : "module:Class" of the Amaranth platform
    array : name of the array preset that is built unless the user names another
    clock_hz : frequency of the platform's default clock, which clocks the array
    baud : rate of the serial link
    capacity : of the part. Ref: the vendor's family overview
    tools : programs that make its bitstream
    """

    name: str
    title: str
    part: str
    platform: str
    array: str
    clock_hz: int
    baud: int
    capacity: Capacity
    tools: tuple[str, ...] = ("vivado",)

    def make_platform(self) -> Any:
        """An instance of the Amaranth platform (imports amaranth-boards)."""
        module, _, name = self.platform.partition(":")
        return getattr(importlib.import_module(module), name)()
