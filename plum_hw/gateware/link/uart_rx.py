"""Serial line in."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from plum_hw.layouts import RATE_BITS


class UartRx(wiring.Component):
    """Receiver of an asynchronous serial line, 8N1.

    The line is synchronised, and each bit is the majority of three samples about its middle. A byte
    whose stop bit is wrong is dropped, and so is one that comes while the one before still waits:
    the packet's checksum tells.

    Members
    -------
    rx : the line, in any clock domain
    rate : bits per 2**RATE_BITS cycles; at most an eighth of them
    o : bytes
    broke : strobe, the line was low for all of a byte and its stop bit
    """

    rx: In(1, init=1)
    rate: In(RATE_BITS)
    o: Out(stream.Signature(8))
    broke: Out(1)

    def elaborate(self, platform) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        samples = Signal(3, init=0b111)
        m.d.sync += samples.eq(Cat(line, samples))
        majority = (samples[0] & samples[1]) | (samples[1] & samples[2]) | (samples[0] & samples[2])

        phase = Signal(RATE_BITS)  # of a bit
        sum_ = Signal(RATE_BITS + 1)
        m.d.comb += sum_.eq(phase + self.rate)
        shifter = Signal(9)
        bits = Signal(range(10))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                # To a little behind the middle of the start bit: the three samples are older.
                m.d.sync += [phase.eq(7 << RATE_BITS - 4), bits.eq(0)]
                with m.If(~line):
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += phase.eq(sum_)
                with m.If(sum_[-1]):
                    m.d.sync += [
                        shifter.eq(Cat(shifter[1:], majority)),
                        bits.eq(bits + 1),
                    ]
                    with m.If((bits == 0) & majority):
                        m.next = "IDLE"  # a glitch, no start bit
                    with m.If(bits == 9):
                        m.next = "STORE"
            with m.State("STORE"):
                # shifter: eight data bits, then the stop bit.
                m.d.comb += self.broke.eq(shifter == 0)
                with m.If(shifter[8] & (~self.o.valid | self.o.ready)):
                    m.d.sync += [self.o.payload.eq(shifter[:8]), self.o.valid.eq(1)]
                # After a break or a wrong stop bit the line must be high before a new start bit.
                with m.If(line):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "BREAK"
            with m.State("BREAK"), m.If(line):
                m.next = "IDLE"
        return m
