"""Lines between a board and its host: streams of bytes on the board's pins."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import io, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.boards.board import Board
from plum_hw.gateware.link.uart import Uart
from plum_hw.layouts import RATE_BITS


class SerialLine(wiring.Component):
    """The board's serial port, 8N1, at its `baud`.

    Parameters
    ----------
    board : Board

    Members
    -------
    i : bytes to send
    o : bytes received
    rate, set_rate : as of `Uart`
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
                "rate": In(RATE_BITS),
                "set_rate": In(1),
            }
        )

    #: Ports whose other side keeps no time with the array's clock: (inputs, outputs).
    ASYNCHRONOUS = (("uart_0__rx__io",), ("uart_0__tx__io",))
    #: Further constraints, as XDC.
    CONSTRAINTS = ""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.uart = uart = Uart(divisor=round(self._board.clock_hz / self._board.baud))
        connect(m, uart.o, flipped(self.o))
        connect(m, flipped(self.i), uart.i)
        m.d.comb += [uart.rate.eq(self.rate), uart.set_rate.eq(self.set_rate)]
        pins = platform.request("uart", 0, dir="-")
        m.submodules.rx_buffer = rx_buffer = io.Buffer("i", pins.rx)
        m.submodules.tx_buffer = tx_buffer = io.Buffer("o", pins.tx)
        m.d.comb += [uart.rx.eq(rx_buffer.i), tx_buffer.o.eq(uart.tx)]
        return m
