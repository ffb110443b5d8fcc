"""Packets in: lets only those through whose checksum is right."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from plum_hw.gateware.link.symbols import Mark, Symbol

_CRC_BYTES = 4


class PacketReceiver(wiring.Component):
    """Holds one packet until its CRC-32 is known to be right, then hands out its body.

    A damaged or too long packet becomes a single BAD whose data is the packet's first byte, as far
    as one was received. An empty packet becomes nothing.

    A byte in takes two cycles, one for each half in the checksum, a byte out one; the first byte of
    the body leaves two cycles after END came in. Input waits while a body is being read.

    Parameters
    ----------
    packet_bytes : longest body

    Members
    -------
    i : packets with their CRC
    o : bodies
    length : bytes of the body that `o` hands out, valid with the body's first symbol until its END
    """

    def __init__(self, packet_bytes: int) -> None:
        self._limit = packet_bytes + _CRC_BYTES
        self.memory_data = memory.MemoryData(shape=8, depth=self._limit, init=[])
        super().__init__(
            {
                "i": In(stream.Signature(Symbol)),
                "o": Out(stream.Signature(Symbol)),
                "length": Out(range(packet_bytes + 1)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.buffer = buffer = memory.Memory(self.memory_data)
        write, read = buffer.write_port(), buffer.read_port()
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(data_width=4).create()

        received = Signal(range(self._limit + 1))
        too_long = Signal()
        undecodable = Signal()
        first = Signal(8)
        index = Signal(range(self._limit + 1))
        step = Signal()

        second = Signal()  # half of the byte for the checksum
        at_start = received == 0
        full = received == self._limit
        byte = self.i.payload.data
        m.d.comb += [
            write.addr.eq(received),
            write.data.eq(byte),
            crc.data.eq(Mux(second, byte[4:], byte[:4])),
            crc.start.eq(at_start & ~second),
            # The memory answers a cycle later, so it is asked for the byte that will be next.
            read.addr.eq(Mux(step, index + 1, index)),
            self.o.payload.data.eq(read.data),
        ]

        with m.FSM():
            with m.State("RECEIVE"):
                is_data = self.i.payload.mark == Mark.DATA
                m.d.comb += [
                    self.i.ready.eq(second | ~is_data),
                    crc.valid.eq(self.i.valid & is_data),
                ]
                with m.If(crc.valid):
                    m.d.sync += second.eq(~second)
                with m.If(self.i.valid & self.i.ready):
                    with m.If(is_data):
                        m.d.comb += write.en.eq(~full)
                        with m.If(at_start):
                            m.d.sync += first.eq(byte)
                        with m.If(full):
                            m.d.sync += too_long.eq(1)
                        with m.Else():
                            m.d.sync += received.eq(received + 1)
                    with m.Else():
                        m.d.sync += undecodable.eq(self.i.payload.mark == Mark.BAD)
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += self.length.eq(received - _CRC_BYTES)
                with m.If(at_start & ~undecodable):
                    m.next = "RECEIVE"
                with m.Elif(undecodable | too_long | (received < _CRC_BYTES) | ~crc.match_detected):
                    m.next = "REFUSE"
                with m.Else():
                    m.next = "READ"
                m.d.sync += [received.eq(0), too_long.eq(0)]
            with m.State("REFUSE"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.data.eq(first),
                    self.o.payload.mark.eq(Mark.BAD),
                ]
                with m.If(self.o.ready):
                    m.d.sync += first.eq(0)
                    m.next = "RECEIVE"
            with m.State("READ"):
                last = index == self.length
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.mark.eq(Mux(last, Mark.END, Mark.DATA)),
                    step.eq(self.o.ready),
                ]
                with m.If(self.o.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(last):
                        m.d.sync += [index.eq(0), first.eq(0)]
                        m.next = "RECEIVE"
        return m
