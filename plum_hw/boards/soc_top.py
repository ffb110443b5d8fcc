"""Top of a board that works on its own: the array with its controller behind the board's pins."""

from __future__ import annotations

from typing import Any

from amaranth.build import ResourceError
from amaranth.hdl import Cat, ClockDomain, Elaboratable, Instance, Module
from amaranth.lib import io

from plum_hw.boards.board import XC7, Board
from plum_hw.boards.clock import ClockTree
from plum_hw.config import ArrayConfig
from plum_hw.controller import ControllerConfig
from plum_hw.errors import ConfigError
from plum_hw.gateware.soc.soc import Soc

_MOST_LEDS = 8
_MOST_BUTTONS = 4
#: Names that platforms have for a flash with one data line each way, and for its buttons.
_FLASHES = ("spi_flash_1x", "spi_flash")
_BUTTONS = ("button", "button_fire")


def _has(platform: Any, name: str, number: int) -> bool:
    try:
        platform.lookup(name, number)
    except ResourceError:
        return False
    return True


def _resources(platform: Any, names: tuple[str, ...], most: int) -> list[tuple[str, int]]:
    """Those that a platform has, at most so many."""
    found = [(name, n) for name in names for n in range(most) if _has(platform, name, n)]
    return found[:most]


def _buttons(board: Board, platform: Any) -> list[tuple[str, int]]:
    """All but the one that resets the array."""
    return [item for item in _resources(platform, _BUTTONS, _MOST_BUTTONS) if item != board.reset]


def controller_for(board: Board) -> ControllerConfig:
    """The controller as a board has it.

    Raises
    ------
    ConfigError : the board's platform knows no flash or no serial port
    """
    platform = board.make_platform()
    flashes = _resources(platform, _FLASHES, 1)
    if not flashes or not _has(platform, "uart", 0):
        raise ConfigError(
            f"--soc needs an SPI flash and a serial port, and the platform of {board.name} has "
            f"no {'serial port' if flashes else 'flash'}; build without --soc"
        )
    return ControllerConfig(
        clock_hz=board.clock_hz,
        baud=board.baud,
        leds=len(_resources(platform, ("led",), _MOST_LEDS)),
        buttons=len(_buttons(board, platform)),
    )


class SocTop(Elaboratable):
    """Array and controller on the pins of a board: serial port, flash, lights, buttons.

    Parameters
    ----------
    board : Board
    config : ArrayConfig
    controller : as `controller_for` has it
    firmware : the ROM's bytes
    """

    def __init__(
        self,
        board: Board,
        config: ArrayConfig,
        controller: ControllerConfig,
        firmware: bytes,
    ) -> None:
        self.board = board
        self.config = config
        self.controller = controller
        self.firmware = firmware

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if self.board.family is not XC7:
            # On these the platform makes the domain, behind the start-up primitive.
            m.domains.sync = ClockDomain()
            m.submodules.clock = ClockTree(self.board)
        m.submodules.soc = soc = Soc(self.config, self.controller, self.firmware)

        def buffer(direction: str, port: Any, name: str) -> Any:
            m.submodules[f"{name}_buffer"] = made = io.Buffer(direction, port)
            return made.o if direction == "o" else made.i

        uart = platform.request("uart", 0, dir={"rx": "-", "tx": "-"})
        m.d.comb += [
            soc.rx.eq(buffer("i", uart.rx, "rx")),
            buffer("o", uart.tx, "tx").eq(soc.tx),
        ]
        lights = _resources(platform, ("led",), _MOST_LEDS)
        for number, (resource, light) in enumerate(zip(lights, soc.leds, strict=True)):
            pin = platform.request(*resource, dir="-")
            m.d.comb += buffer("o", pin, f"led_{number}").eq(light)
        pressed = [
            buffer("i", platform.request(*resource, dir="-"), f"button_{number}")
            for number, resource in enumerate(_buttons(self.board, platform))
        ]
        m.d.comb += soc.buttons.eq(Cat(pressed))
        self._flash(m, platform, soc, buffer)
        return m

    def _flash(self, m: Module, platform: Any, soc: Soc, buffer: Any) -> None:
        name, number = _resources(platform, _FLASHES, 1)[0]
        parts = [io.name for io in platform.lookup(name, number).ios if hasattr(io, "ios")]
        pins = platform.request(name, number, dir=dict.fromkeys(parts, "-"))
        m.d.comb += [
            # Active low, which the port knows.
            buffer("o", pins.cs, "flash_cs").eq(~soc.flash.cs_n),
            buffer("o", pins.copi, "flash_copi").eq(soc.flash.copi),
            soc.flash.cipo.eq(buffer("i", pins.cipo, "flash_cipo")),
        ]
        for idle in ("wp", "hold"):
            if idle in parts:
                m.d.comb += buffer("o", getattr(pins, idle), f"flash_{idle}").eq(0)
        if "clk" in parts and self.board.family.name != "ecp5":
            m.d.comb += buffer("o", pins.clk, "flash_clk").eq(soc.flash.clk)
        else:
            # The clock of the configuration flash has no pin of its own on ECP5.
            # Ref: Lattice FPGA-TN-02039, "User Master Clock".
            m.submodules.flash_clock = Instance("USRMCLK", i_USRMCLKI=soc.flash.clk, i_USRMCLKTS=0)
