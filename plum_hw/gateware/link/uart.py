"""Serial port."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.gateware.link.uart_rx import UartRx
from plum_hw.gateware.link.uart_tx import UartTx


class Uart(wiring.Component):
    """Asynchronous serial port, 8N1, both ways at once.

    Parameters
    ----------
    divisor : clock cycles of one bit, at least 8

    Members
    -------
    rx, tx : the lines
    i : bytes to send
    o : bytes received; one that is not taken before the next has come loses that next one
    """

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UartRx(self._divisor)
        m.submodules.transmitter = transmitter = UartTx(self._divisor)
        connect(m, receiver.o, flipped(self.o))
        connect(m, flipped(self.i), transmitter.i)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        return m
