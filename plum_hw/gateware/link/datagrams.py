"""Bytes out as datagrams."""

# No postponed annotations here: Amaranth reads the fields of a Struct from them.
from amaranth.hdl import Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out


class DatagramByte(data.Struct):
    """A byte of a datagram, and whether it is the last."""

    data: 8
    last: 1


class DatagramSender(wiring.Component):
    """Gathers packets into datagrams, whose length is known before their first byte leaves.

    A datagram holds every whole packet that is there when the one before has left: one where there
    is little to say, many while the line is busy. A byte takes one cycle in and two out.

    Parameters
    ----------
    most : bytes of a datagram, below 2048; no packet may be longer

    Members
    -------
    i : bytes of packets, each ended by a 0x00
    ready : there is somebody to send to
    o : bytes of datagrams
    start : strobe, a datagram begins in the next cycle
    length : of that datagram, until its last byte was taken
    """

    def __init__(self, most: int) -> None:
        self._most = most
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "ready": In(1),
                "o": Out(stream.Signature(DatagramByte)),
                "start": Out(1),
                "length": Out(range(most + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = 1 << self._most.bit_length()
        m.submodules.ring = ring = memory.Memory(shape=8, depth=depth, init=[])
        write, read = ring.write_port(), ring.read_port(transparent_for=())
        place = Signal(range(depth))  # of the next byte in
        whole = Signal(range(depth))  # behind the last whole packet
        next_ = Signal(range(depth))  # of the next byte out
        held = Signal(range(self._most + 1))  # bytes in the ring
        left = Signal(range(self._most + 1))  # of the datagram
        came, went = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(held != self._most),
            came.eq(self.i.valid & self.i.ready),
            went.eq(self.o.valid & self.o.ready),
            write.addr.eq(place),
            write.data.eq(self.i.payload),
            write.en.eq(came),
            read.addr.eq(next_),
            self.o.payload.data.eq(read.data),
            self.o.payload.last.eq(left == 1),
        ]
        m.d.sync += held.eq(held + came - went)
        with m.If(came):
            m.d.sync += place.eq(place + 1)
            with m.If(self.i.payload == 0):
                m.d.sync += whole.eq(place + 1)
        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += self.start.eq(self.ready & (whole != next_))
                count = (whole - next_)[: len(place)]
                m.d.sync += [self.length.eq(count), left.eq(count)]
                with m.If(self.start):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += self.o.valid.eq(1)
                m.next = "GIVE"
            with m.State("GIVE"), m.If(self.o.ready):
                m.d.sync += [next_.eq(next_ + 1), left.eq(left - 1), self.o.valid.eq(0)]
                m.next = "FETCH"
                with m.If(left == 1):
                    m.next = "WAIT"
        return m
