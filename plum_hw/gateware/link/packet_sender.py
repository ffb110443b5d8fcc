"""Packets out: appends the checksum."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from plum_hw.gateware.link.symbols import Mark, Symbol


class PacketSender(wiring.Component):
    """Puts the CRC-32 of a body behind it.

    A byte takes two cycles, one for each half in the checksum; between a body's last byte and its
    END four more follow. A HIDDEN byte goes into the checksum and nowhere else.

    Members
    -------
    i : bodies
    o : packets with their CRC
    """

    i: In(stream.Signature(Symbol))
    o: Out(stream.Signature(Symbol))

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(data_width=4).create()
        number = Signal(2)
        appended = Signal()
        restart = Signal(init=1)
        second = Signal()  # half of the byte for the checksum

        is_hidden = self.i.payload.mark == Mark.HIDDEN
        is_data = (self.i.payload.mark == Mark.DATA) | is_hidden
        byte = self.i.payload.data
        m.d.comb += [
            crc.data.eq(Mux(second, byte[4:], byte[:4])),
            crc.valid.eq(self.i.valid & is_data & (~second | self.o.ready | is_hidden)),
            crc.start.eq(restart & ~second),
            self.o.valid.eq(self.i.valid & (second | ~is_data) & ~is_hidden),
        ]
        with m.If(crc.valid):
            m.d.sync += second.eq(~second)
        with m.If(is_data | appended):
            m.d.comb += [
                self.o.payload.eq(self.i.payload),
                self.i.ready.eq((self.o.ready | is_hidden) & (second | ~is_data)),
            ]
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += [restart.eq(~is_data), appended.eq(0)]
        with m.Else():
            m.d.comb += [
                self.o.payload.data.eq(crc.crc.word_select(number, 8)),
                self.o.payload.mark.eq(Mark.DATA),
            ]
            with m.If(self.i.valid & self.o.ready):
                m.d.sync += [number.eq(number + 1), appended.eq(number == 3)]
        return m
