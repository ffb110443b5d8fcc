"""Top of a board: the core behind the board's pins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import ClockDomain, Elaboratable, Module
from amaranth.lib import io, wiring

from plum_hw.boards.board import XC7, Board
from plum_hw.boards.clock import ClockTree
from plum_hw.boards.line import SerialLine
from plum_hw.config import ArrayConfig
from plum_hw.gateware.accelerator import Accelerator


def _own_line(board: Board) -> Callable[[Board], Any]:
    if board.ethernet is None:
        return SerialLine
    # LiteEth is an extra: only a board on Ethernet needs it.
    from plum_hw.boards.ethernet_line import EthernetLine

    return EthernetLine


class BoardTop(Elaboratable):
    """A core, the line to its host, lights and clock, on the pins of `board`.

    This package is the only place that requests pins.

    Parameters
    ----------
    board : Board
    config : ArrayConfig
    core : makes, of a configuration and `clock_hz`, what is behind the pins: `rx` and `tx`, streams
        of bytes, and the lights `busy`, `error` and `activity`, as the Accelerator has them
    line : makes the line: streams `o`, bytes that came, and `i`, bytes to send; requests its pins,
        names those that are asynchronous and constrains the others (`SerialLine.ASYNCHRONOUS`,
        `.CONSTRAINTS`); None for the board's own, serial port or Ethernet
    """

    def __init__(
        self,
        board: Board,
        config: ArrayConfig,
        core: Callable[..., Any] = Accelerator,
        line: Callable[[Board], Any] | None = None,
    ) -> None:
        self.board = board
        self.config = config
        self._core = core
        self._line = (line or _own_line(board))(board)

    def asynchronous_ports(self) -> tuple[list[str], list[str]]:
        """Inputs and outputs that have no timing to the clock, by the names of the top's ports.

        The inputs are synchronised where they come in.
        """
        inputs, outputs = (list(ports) for ports in self._line.ASYNCHRONOUS)
        if self.board.reset is not None:
            inputs.append("{}_{}__io".format(*self.board.reset))
        outputs += ["{}_{}__io".format(*led) for led in self.board.leds]
        return inputs, outputs

    def constraints(self) -> str:
        """XDC of the line's ports."""
        return self._line.CONSTRAINTS

    def elaborate(self, platform: Any) -> Module:
        board = self.board
        m = Module()
        if board.family is not XC7:
            # On these the platform makes the domain, behind the start-up primitive.
            m.domains.sync = ClockDomain()
            m.submodules.clock = ClockTree(board)
        m.submodules.accelerator = core = self._core(self.config, clock_hz=board.clock_hz)
        m.submodules.line = line = self._line
        wiring.connect(m, line.o, core.rx)
        wiring.connect(m, core.tx, line.i)
        if hasattr(core, "set_rate") and hasattr(line, "set_rate"):
            m.d.comb += [line.rate.eq(core.rate), line.set_rate.eq(core.set_rate)]

        status = (core.busy, core.error, core.activity)
        for number, (light, resource) in enumerate(zip(status, board.leds, strict=False)):
            led = platform.request(*resource, dir="-")
            m.submodules[f"led_buffer_{number}"] = buffer = io.Buffer("o", led)
            m.d.comb += buffer.o.eq(light)
        return m
