"""Byte stream to packets: undoes COBS."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.gateware.link.symbols import Mark, Symbol


class CobsDecoder(wiring.Component):
    """Consistent-overhead byte stuffing, decoded as the bytes arrive.

    One byte a cycle; a symbol leaves one cycle after the byte that completed it. A 0x00 always ends
    the packet: with END where the encoding was complete, with BAD where it was cut. An empty frame
    (a 0x00 that follows another) leaves no symbol.

    Members
    -------
    i : bytes of the line
    o : the packet's bytes, then END or BAD
    """

    # Ref: Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999

    i: In(stream.Signature(8))
    o: Out(stream.Signature(Symbol))

    def elaborate(self, platform) -> Module:
        m = Module()
        left = Signal(8)  # bytes still to come in this block
        zero_follows = Signal()  # the block ends with a zero if another one follows it
        started = Signal()  # a byte of this frame was seen

        is_end = self.i.payload == 0
        is_code = left == 0
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [
                self.o.payload.data.eq(Mux(is_code, 0, self.i.payload)),
                self.o.payload.mark.eq(Mark.DATA),
                started.eq(~is_end),
            ]
            with m.If(is_end):
                m.d.sync += [
                    left.eq(0),
                    zero_follows.eq(0),
                    self.o.payload.mark.eq(Mux(is_code, Mark.END, Mark.BAD)),
                    self.o.valid.eq(started),
                ]
            with m.Elif(is_code):
                m.d.sync += [
                    left.eq(self.i.payload - 1),
                    zero_follows.eq(self.i.payload != 0xFF),
                    self.o.valid.eq(zero_follows),
                ]
            with m.Else():
                m.d.sync += [left.eq(left - 1), self.o.valid.eq(1)]
        return m
