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
#: Lines of a flash that keep one level here.
_IDLE = ("wp", "hold")
#: Most that the flash's clock is given: what flashes of common boards read at.
_FLASH_HZ = 50_000_000
#: From the clock's fall at the flash to its answer, and a nanosecond for the board.
#: Ref: Infineon S25FL128S data sheet, tV at 30 pF: 8 ns; Micron N25Q128A, tCLQV: 7 ns.
_FLASH_NANOSECONDS = 9.0
#: Of what is left; output buffers are slower than those of inputs.
_OUT_SHARE = 0.6


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


def _flash_lines(platform: Any) -> tuple[tuple[str, int], list[str]]:
    """The flash's resource, and the names of its lines."""
    flash = _resources(platform, _FLASHES, 1)[0]
    return flash, [io.name for io in platform.lookup(*flash).ios if hasattr(io, "ios")]


def _port(resource: tuple[str, int], line: str = "") -> str:
    """What the top calls the port of a resource, or of one of its lines."""
    return "__".join(["{}_{}".format(*resource), *([line] if line else []), "io"])


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
        flash_half_period=-(-board.clock_hz // (2 * _FLASH_HZ)),
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

    def asynchronous_ports(self) -> tuple[list[str], list[str]]:
        """Inputs and outputs that have no timing to the clock, by the names of the top's ports.

        The inputs are synchronised where they come in. Of the flash they are the lines that keep
        one level; `delayed_ports` has the others.
        """
        platform = self.board.make_platform()
        inputs = ["uart_0__rx__io", *map(_port, _buttons(self.board, platform))]
        if self.board.reset is not None:
            inputs.append(_port(self.board.reset))
        lights = _resources(platform, ("led",), _MOST_LEDS)
        flash, parts = _flash_lines(platform)
        idle = [f"{_port(flash, part)}" for part in _IDLE if part in parts]
        return inputs, ["uart_0__tx__io", *map(_port, lights), *idle]

    def delayed_ports(self) -> tuple[dict[str, float], dict[str, float]]:
        """Inputs and outputs of the flash, and nanoseconds that they may take inside the chip.

        From the register of the flash's clock, as it falls, to that of the answer a period of that
        clock may pass, of which the flash takes `_FLASH_NANOSECONDS`.
        """
        controller = self.controller
        period = 2e9 * controller.flash_half_period / controller.clock_hz
        out = round((period - _FLASH_NANOSECONDS) * _OUT_SHARE, 2)
        back = round(period - _FLASH_NANOSECONDS - out, 2)
        flash, parts = _flash_lines(self.board.make_platform())
        outputs = [part for part in ("cs", "copi", "clk") if part in parts]
        return {_port(flash, "cipo"): back}, {_port(flash, part): out for part in outputs}

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

        uart = platform.request("uart", 0, dir="-")
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
        flash, parts = _flash_lines(platform)
        pins = platform.request(*flash, dir="-")
        m.d.comb += [
            # Active low, which the port knows.
            buffer("o", pins.cs, "flash_cs").eq(~soc.flash.cs_n),
            buffer("o", pins.copi, "flash_copi").eq(soc.flash.copi),
            soc.flash.cipo.eq(buffer("i", pins.cipo, "flash_cipo")),
        ]
        for idle in _IDLE:
            if idle in parts:
                m.d.comb += buffer("o", getattr(pins, idle), f"flash_{idle}").eq(0)
        if "clk" in parts and self.board.family.name != "ecp5":
            m.d.comb += buffer("o", pins.clk, "flash_clk").eq(soc.flash.clk)
        else:
            # The clock of the configuration flash has no pin of its own on ECP5.
            # Ref: Lattice FPGA-TN-02039, "User Master Clock".
            m.submodules.flash_clock = Instance("USRMCLK", i_USRMCLKI=soc.flash.clk, i_USRMCLKTS=0)
