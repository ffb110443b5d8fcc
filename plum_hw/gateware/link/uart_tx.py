"""Serial line out."""

from amaranth.hdl import C, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class UartTx(wiring.Component):
    """Transmitter of an asynchronous serial line, 8N1; bytes follow each other without a gap.

    Parameters
    ----------
    divisor : clock cycles of one bit

    Members
    -------
    i : bytes
    tx : the line
    """

    def __init__(self, divisor: int) -> None:
        if divisor < 1:
            raise ValueError(f"UART divisor is {divisor}; it must be at least 1 clock cycle a bit")
        self._divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        shifter = Signal(10, init=0x3FF)
        timer = Signal(range(self._divisor))
        bits = Signal(range(11))
        last_cycle = timer == 0
        m.d.comb += [
            self.tx.eq(shifter[0]),
            self.i.ready.eq((bits == 0) | ((bits == 1) & last_cycle)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                shifter.eq(Cat(C(0, 1), self.i.payload, C(1, 1))),
                bits.eq(10),
                timer.eq(self._divisor - 1),
            ]
        with m.Elif(~last_cycle):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(bits != 0):
            m.d.sync += [
                shifter.eq(Cat(shifter[1:], C(1, 1))),
                bits.eq(bits - 1),
                timer.eq(self._divisor - 1),
            ]
        return m
