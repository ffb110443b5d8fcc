"""Serial port."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.gateware.link.uart_rx import UartRx
from plum_hw.gateware.link.uart_tx import UartTx
from plum_hw.layouts import RATE_BITS

#: Of a bit's length; a byte has ten, and the last must still be hit.
_MOST_ERROR = 0.02


class Uart(wiring.Component):
    """Asynchronous serial port, 8N1, both ways at once.

    The rate is a number of bits per 2**RATE_BITS cycles. It may be set to more than what the port
    begins with, and a *break*, a line that is low for a whole byte and its stop bit, takes it back.
    A 0x00 at the rate of the beginning is one for every higher rate: so who has lost the other end
    needs only to begin anew.

    Parameters
    ----------
    divisor : clock cycles of one bit at the beginning, at least 8

    Members
    -------
    rx, tx : the lines
    i : bytes to send
    o : bytes received; one that is not taken before the next has come loses that next one
    rate, set_rate : strobe, a new rate; one below that of the beginning is not taken
    """

    def __init__(self, divisor: int) -> None:
        if divisor < 8:
            raise ValueError(f"UART divisor is {divisor}; it must be at least 8 clock cycles a bit")
        self._base = round((1 << RATE_BITS) / divisor)
        if abs(self._base * divisor / (1 << RATE_BITS) - 1) > _MOST_ERROR:
            raise ValueError(f"UART divisor is {divisor}; so slow a line cannot be timed exactly")
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
                "rate": In(RATE_BITS),
                "set_rate": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UartRx()
        m.submodules.transmitter = transmitter = UartTx()
        connect(m, receiver.o, flipped(self.o))
        connect(m, flipped(self.i), transmitter.i)
        rate = Signal(RATE_BITS, init=self._base)
        with m.If(self.set_rate & (self.rate >= self._base)):
            m.d.sync += rate.eq(self.rate)
        with m.If(receiver.broke):
            m.d.sync += rate.eq(self._base)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            receiver.rate.eq(rate),
            transmitter.rate.eq(rate),
            self.tx.eq(transmitter.tx),
        ]
        return m
