"""Serial line in."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out


class UartRx(wiring.Component):
    """Receiver of an asynchronous serial line, 8N1.

    The line is synchronised, and each bit is the majority of three samples about its middle. A byte
    whose stop bit is wrong is dropped, and so is one that comes while the one before still waits:
    the packet's checksum tells.

    Parameters
    ----------
    divisor : clock cycles of one bit, at least 8

    Members
    -------
    rx : the line, in any clock domain
    o : bytes
    """

    def __init__(self, divisor: int) -> None:
        if divisor < 8:
            raise ValueError(f"UART divisor is {divisor}; it must be at least 8 clock cycles a bit")
        self._divisor = divisor
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8))})

    def elaborate(self, platform) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        samples = Signal(3, init=0b111)
        m.d.sync += samples.eq(Cat(line, samples))
        majority = (samples[0] & samples[1]) | (samples[1] & samples[2]) | (samples[0] & samples[2])

        timer = Signal(range(self._divisor * 3 // 2 + 2))
        shifter = Signal(9)
        bits = Signal(range(10))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                # The middle of the start bit, and one cycle until all three samples lie about it.
                m.d.sync += [timer.eq(self._divisor // 2), bits.eq(0)]
                with m.If(~line):
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(timer == 0):
                    m.d.sync += [
                        timer.eq(self._divisor - 1),
                        shifter.eq(Cat(shifter[1:], majority)),
                        bits.eq(bits + 1),
                    ]
                    with m.If((bits == 0) & majority):
                        m.next = "IDLE"  # a glitch, no start bit
                    with m.If(bits == 9):
                        m.next = "STORE"
            with m.State("STORE"):
                # shifter: eight data bits, then the stop bit.
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
