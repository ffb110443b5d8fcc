"""Ethernet port of a board as the line to its host."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import io, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.boards.board import Board
from plum_hw.errors import ConfigError
from plum_hw.gateware.link.ethernet import EthernetPort

_REFERENCE_HZ = 25_000_000
#: Of the PHY. Ref: TI SNLS250 (DP83848J): 1 us at least.
_RESET_HZ = 100_000
#: XDC for both clocks of the PHY, and for what belongs to them.
#: Ref: IEEE 802.3, 22.3: what is received is valid from 10 ns before the clock's edge to 10 ns
#: after it; what is sent has 0 to 25 ns after the edge.
_CONSTRAINTS = """
create_clock -name eth_rx_clk -period 40.000 [get_ports {{{pins}_0__rx_clk__io}}]
create_clock -name eth_tx_clk -period 40.000 [get_ports {{{pins}_0__tx_clk__io}}]
set_clock_groups -asynchronous -group [get_clocks eth_rx_clk]
set_clock_groups -asynchronous -group [get_clocks eth_tx_clk]
set eth_rx [get_ports {{{pins}_0__rx_d*__io* {pins}_0__rx_er__io}}]
set_input_delay -clock eth_rx_clk -max 30.000 $eth_rx
set_input_delay -clock eth_rx_clk -min 10.000 $eth_rx
set eth_tx [get_ports {{{pins}_0__tx_en__io {pins}_0__tx_data__io*}}]
set_output_delay -clock eth_tx_clk -max 15.000 $eth_tx
set_output_delay -clock eth_tx_clk -min 0.000 $eth_tx
"""


class EthernetLine(wiring.Component):
    """The board's PHY, 100 Mbit/s over MII, at the addresses of its `ethernet`.

    The PHY keeps what its straps say: it negotiates rate and duplex by itself, nothing is
    configured over MDIO.

    Parameters
    ----------
    board : Board

    Members
    -------
    i : bytes to send
    o : bytes received

    Raises
    ------
    ConfigError : the board has no such port, or its clock cannot be the PHY's
    """

    def __init__(self, board: Board) -> None:
        if board.mii is None or board.ethernet is None:
            raise ConfigError(
                f"no Ethernet port is known of {board.name}; build with --link uart, or for a "
                "board that has one: arty, arty-a7-100"
            )
        if board.clock_hz % (2 * _REFERENCE_HZ):
            raise ConfigError(
                f"clock is {board.clock_hz / 1e6:g} MHz; with Ethernet it must be a multiple of "
                "50 MHz, for it clocks the PHY"
            )
        self._board = board
        self._mii, self._network = board.mii, board.ethernet
        pins = board.mii.pins
        #: Ports whose other side keeps no time with any clock: (inputs, outputs).
        self.ASYNCHRONOUS = (
            tuple(f"{pins}_0__{name}__io" for name in ("mdio", "col", "crs")),
            (f"{pins}_0__rst__io", f"{pins}_0__mdc__io", f"{board.mii.clock}_0__io"),
        )
        self.CONSTRAINTS = _CONSTRAINTS.format(pins=pins)
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform: Any) -> Module:
        board = self._board
        m = Module()
        m.submodules.port = port = EthernetPort(self._network, board.clock_hz)
        connect(m, port.o, flipped(self.o))
        connect(m, flipped(self.i), port.i)
        pins = platform.request(self._mii.pins, 0, dir="-")

        def buffer(direction: str, name: str) -> Any:
            made = io.Buffer(direction, getattr(pins, name))
            m.submodules[f"{name}_buffer"] = made
            return made.o if direction == "o" else made.i

        for name in ("rx_clk", "rx_dv", "rx_er", "rx_data", "tx_clk"):
            m.d.comb += getattr(port.mii, name).eq(buffer("i", name))
        for name in ("tx_en", "tx_data"):
            m.d.comb += buffer("o", name).eq(getattr(port.mii, name))
        for name in ("mdio", "col", "crs"):
            buffer("i", name)  # the PHY's straps: not driven

        # A divider by a few is as steady as the oscillator that it divides.
        half = board.clock_hz // (2 * _REFERENCE_HZ)
        reference, count = Signal(), Signal(range(half))
        m.d.sync += count.eq(count - 1)
        with m.If(count == 0):
            m.d.sync += [reference.eq(~reference), count.eq(half - 1)]
        clock = platform.request(self._mii.clock, 0, dir="-")
        m.submodules.clock_buffer = clock_buffer = io.Buffer("o", clock)

        held = Signal(range(board.clock_hz // _RESET_HZ), init=board.clock_hz // _RESET_HZ - 1)
        with m.If(held != 0):
            m.d.sync += held.eq(held - 1)
        resets = Signal(init=1)
        m.d.sync += resets.eq(held != 0)
        m.d.comb += [
            clock_buffer.o.eq(reference),
            buffer("o", "rst").eq(resets),
            buffer("o", "mdc").eq(0),
        ]
        return m
