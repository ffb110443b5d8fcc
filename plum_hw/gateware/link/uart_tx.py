"""Serial line out."""

from amaranth.hdl import C, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.layouts import RATE_BITS


class UartTx(wiring.Component):
    """Transmitter of an asynchronous serial line, 8N1; bytes follow each other without a gap.

    Members
    -------
    i : bytes
    rate : bits per 2**RATE_BITS cycles
    tx : the line
    """

    i: In(stream.Signature(8))
    rate: In(RATE_BITS)
    tx: Out(1, init=1)

    def elaborate(self, platform) -> Module:
        m = Module()
        shifter = Signal(10, init=0x3FF)
        phase = Signal(RATE_BITS)  # of a bit
        sum_ = Signal(RATE_BITS + 1)
        bits = Signal(range(11))
        last_cycle = sum_[-1]
        m.d.comb += [
            sum_.eq(phase + self.rate),
            self.tx.eq(shifter[0]),
            self.i.ready.eq((bits == 0) | ((bits == 1) & last_cycle)),
        ]
        with m.If(bits != 0):
            m.d.sync += phase.eq(sum_)
        with m.Else():
            m.d.sync += phase.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [shifter.eq(Cat(C(0, 1), self.i.payload, C(1, 1))), bits.eq(10)]
        with m.Elif((bits != 0) & last_cycle):
            m.d.sync += [shifter.eq(Cat(shifter[1:], C(1, 1))), bits.eq(bits - 1)]
        return m
