"""Top of a board: the accelerator behind the board's serial port."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io, wiring

from plum_hw.boards.board import Board
from plum_hw.config import ArrayConfig
from plum_hw.gateware.accelerator import Accelerator
from plum_hw.gateware.link.uart import Uart


class BoardTop(Elaboratable):
    """Accelerator, UART and LEDs on the pins of `board`.

    The platform makes domain `sync` from the board's default clock and reset button; this is the
    only place that requests pins.

    Parameters
    ----------
    board : Board
    config : ArrayConfig
    """

    def __init__(self, board: Board, config: ArrayConfig) -> None:
        self.board = board
        self.config = config

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = Accelerator(self.config)
        m.submodules.uart = uart = Uart(divisor=self.board.clock_hz // self.board.baud)
        wiring.connect(m, uart.o, accelerator.rx)
        wiring.connect(m, accelerator.tx, uart.i)

        pins = platform.request("uart", 0, dir={"rx": "-", "tx": "-"})
        m.submodules.rx_buffer = rx_buffer = io.Buffer("i", pins.rx)
        m.submodules.tx_buffer = tx_buffer = io.Buffer("o", pins.tx)
        m.d.comb += [uart.rx.eq(rx_buffer.i), tx_buffer.o.eq(uart.tx)]

        status = (accelerator.busy, accelerator.error, accelerator.activity)
        for number, light in enumerate(status):
            led = platform.request("led", number, dir="-")
            buffer = io.Buffer("o", led)
            m.submodules[f"led_buffer_{number}"] = buffer
            m.d.comb += buffer.o.eq(light)
        return m
