"""What the generator must know of a board; pins and clocks come from its Amaranth platform."""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from typing import Any

from plum_hw.network import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What the part holds, in the vendor's units: see the family's `units`."""

    lut: int
    ff: int
    ram: int
    dsp: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of FPGAs that one set of tools serves.

    Parameters
    ----------
    name : "xc7", "ecp5", "ice40" or "gowin"
    title : for people
    tools : programs that make a bitstream, as `plum_hw.tools.find_tool` names them
    units : what is counted as LUT, FF, RAM and DSP, for the heads of tables
    suffix : of a bitstream
    """

    name: str
    title: str
    tools: tuple[str, ...]
    units: tuple[str, str, str, str]
    suffix: str


XC7 = Family(
    name="xc7",
    title="AMD 7 series",
    tools=("vivado",),
    units=("LUT", "FF", "RAMB36", "DSP48"),
    suffix=".bit",
)
ECP5 = Family(
    name="ecp5",
    title="Lattice ECP5",
    tools=("yosys", "nextpnr-ecp5", "ecppack"),
    units=("LUT4", "FF", "EBR", "MULT18"),
    suffix=".bit",
)
ICE40 = Family(
    name="ice40",
    title="Lattice iCE40",
    tools=("yosys", "nextpnr-ice40", "icepack"),
    units=("LC", "FF", "EBR", "MAC16"),
    suffix=".bin",
)
GOWIN = Family(
    name="gowin",
    title="Gowin LittleBee and Arora",
    tools=("yosys", "nextpnr-himbaechel-gowin", "gowin_pack"),
    units=("LUT4", "FF", "BSRAM", "MULT18"),
    suffix=".fs",
)


@dataclass(frozen=True, kw_only=True)
class MiiPort:
    """An Ethernet PHY with a media-independent interface.

    Parameters
    ----------
    pins : the platform's resource of the interface
    clock : its resource of the pin that clocks the PHY with 25 MHz
    """

    pins: str
    clock: str


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board.

    Parameters
    ----------
    name : what `--board` takes
    title : maker's name of the board
    part : ordering code of the FPGA
    family : of that FPGA
    platform : "module:Class" of the Amaranth platform
    array : name of the array preset that is built unless the user names another
    soc_array : the same with a controller beside the array; `array` where it leaves room for that
    oscillator_hz : frequency of the platform's default clock
    clock_hz : frequency of the array; a PLL makes it where it is not the oscillator's
    soc_clock_hz : the same with a controller beside the array; 0: `clock_hz`
    baud : rate of the serial link
    capacity : of the part. Ref: the vendor's family overview
    network : the demo network that its array is meant for
    reset : resource of the button that resets the array; None where there is none to spare
    leds : resources of the lights for busy, error and activity, as many as there are
    device : what the family's tools call the die, where that is not in the part's name
    seed : of place and route
    anneals : cells are placed by `plum_hw.flow.anneal` instead of nextpnr (ECP5)
    place_options : further words for nextpnr
    pack_options : further words for the packer
    synthesis_options : further words for Yosys's synthesis command
    mii : its Ethernet port, if the generator knows one
    ethernet : the link is that port, at these addresses; None: it is the serial port
    loader : what openFPGALoader calls the board
    """

    name: str
    title: str
    part: str
    family: Family
    platform: str
    array: str
    oscillator_hz: int
    clock_hz: int
    baud: int
    capacity: Capacity
    loader: str
    soc_array: str = ""
    soc_clock_hz: int = 0
    network: str = "fashion"
    reset: tuple[str, int] | None = None
    leds: tuple[tuple[str, int], ...] = (("led", 0), ("led", 1), ("led", 2))
    device: str = ""
    seed: int = 1
    anneals: bool = False
    place_options: tuple[str, ...] = ()
    pack_options: tuple[str, ...] = ()
    synthesis_options: tuple[str, ...] = ()
    mii: MiiPort | None = None
    ethernet: NetworkConfig | None = None

    def preset_name(self, *, soc: bool) -> str:
        """The array preset that is built unless the user names another; ``soc``: --soc."""
        return (soc and self.soc_array) or self.array

    def clock_of(self, *, soc: bool) -> int:
        """Frequency of the array in Hz unless the user gives another; ``soc``: --soc."""
        return (soc and self.soc_clock_hz) or self.clock_hz

    def make_platform(self) -> Any:
        """An instance of the Amaranth platform (imports amaranth-boards)."""
        module, _, name = self.platform.partition(":")
        return getattr(importlib.import_module(module), name)()
