"""Packets in: checked, put in sequence, and queued for execution."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from plum_hw.gateware.link.notice import Notice
from plum_hw.gateware.link.symbols import Mark, Symbol
from plum_hw.layouts import Op, Reason

_CRC_BYTES = 4
_LEAST = 2 + _CRC_BYTES  # a request's sequence number and opcode
_RESET = 4 + _CRC_BYTES  # with a session's number
_MOST = _RESET + 1  # where counting stops


class RequestQueue(wiring.Component):
    """Takes a packet up only if its CRC-32 is right and it is the one that comes next.

    Bodies wait in a ring of symbols, so that requests arrive while one is executed. What is not
    taken up becomes a notice: the host repeats it. PING and RESET are served here, whatever their
    number is and however full the ring, so they are served during a run too. A RESET with the
    number of the present session only is answered: it is a repetition.

    A byte in takes two cycles, one for each half in the checksum, a byte out two. Input waits for
    nothing but the four cycles at the end of a packet.

    Parameters
    ----------
    depth : symbols that the ring has, a power of two; a body takes its bytes and one

    Members
    -------
    i : packets with their CRC
    o : bodies of the requests that are to be executed
    notice, told : what is to be told, while `told` is low; a newer one takes the place of one that
        waits
    take : strobe, the notice is being told
    expected : sequence number of the request that is taken up next
    reset : strobe, a session begins: all that was queued is forgotten
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self.memory_data = memory.MemoryData(shape=9, depth=depth, init=[])
        super().__init__(
            {
                "i": In(stream.Signature(Symbol)),
                "o": Out(stream.Signature(Symbol)),
                "notice": Out(Notice),
                "told": Out(1, init=1),
                "take": In(1),
                "expected": Out(8),
                "reset": Out(1),
            }
        )
        self._head = Signal(32)  # first bytes of a packet
        self._read = Signal(range(depth))  # place of the symbol that leaves next
        self._committed = Signal(range(depth))  # place behind the last whole body

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.ring = ring = memory.Memory(self.memory_data)
        self._receive(m, ring.write_port())
        self._hand_out(m, ring.read_port(transparent_for=()))
        return m

    def _receive(self, m: Module, write: memory.WritePort) -> None:
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(data_width=4).create()
        count = Signal(range(_MOST + 1))  # bytes of the packet, up to _MOST
        tail = Signal(8 * _CRC_BYTES)  # its last bytes: those of the checksum are not stored
        head = self._head
        place = Signal.like(self._read)
        full = Signal()
        overflow = Signal()
        undecodable = Signal()
        second = Signal()  # half of the byte for the checksum
        session = Signal(16)
        is_open = Signal()

        byte = self.i.payload.data
        is_data = self.i.payload.mark == Mark.DATA
        taken = Signal()
        at_end = Signal()
        good = Signal()
        in_turn = Signal()
        known = Signal()
        m.d.comb += [
            crc.data.eq(Mux(second, byte[4:], byte[:4])),
            crc.start.eq((count == 0) & ~second),
            write.addr.eq(place),
            write.data.eq(Cat(tail[:8], at_end)),
        ]
        m.d.sync += [
            full.eq((place + 1)[: len(place)] == self._read),
            self.reset.eq(0),
        ]
        with m.If(self.take):
            m.d.sync += self.told.eq(1)
        with m.If(self.reset):
            m.d.sync += [place.eq(0), self._committed.eq(0), self.told.eq(0)]

        with m.FSM():
            with m.State("RECEIVE"):
                m.d.comb += [
                    self.i.ready.eq(second | ~is_data),
                    crc.valid.eq(self.i.valid & is_data),
                    taken.eq(self.i.valid & second),
                ]
                with m.If(crc.valid):
                    m.d.sync += second.eq(~second)
                with m.If(taken):
                    m.d.sync += tail.eq(Cat(tail[8:], byte))
                    with m.If(count != _MOST):
                        m.d.sync += count.eq(count + 1)
                    with m.If(count < 4):
                        m.d.sync += head.eq(Cat(head[8:], byte))
                    with m.If(count >= _CRC_BYTES):
                        m.d.comb += write.en.eq(~full)
                        m.d.sync += [
                            place.eq(place + ~full),
                            overflow.eq(overflow | full),
                        ]
                with m.If(self.i.valid & ~is_data):
                    m.d.sync += undecodable.eq(self.i.payload.mark == Mark.BAD)
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                # What the next step asks for, one step ahead.
                is_reset = head[8:12] == Op.RESET
                sized = Mux(is_reset, count == _RESET, count >= _LEAST)
                m.d.sync += [
                    good.eq(crc.match_detected & ~undecodable & sized),
                    in_turn.eq(head[:8] == self.expected),
                    known.eq(is_open & (head[16:] == session)),
                    overflow.eq(overflow | full),  # the END needs a place too
                ]
                m.next = "DECIDE"
                with m.If((count == 0) & ~undecodable):
                    m.next = "RECEIVE"
            with m.State("DECIDE"):
                m.d.comb += at_end.eq(1)
                m.d.sync += [
                    place.eq(self._committed),
                    count.eq(0),
                    overflow.eq(0),
                ]
                with m.If(good):
                    m.d.sync += self.notice.tag.eq(head[12:])
                m.next = "RECEIVE"
                with m.If(~good):
                    self._tell(m, Reason.DAMAGED)
                with m.Elif(head[8:12] == Op.RESET):
                    self._tell(m, Reason.RESET)
                    with m.If(~known):
                        m.d.sync += [
                            self.reset.eq(1),
                            self.told.eq(1),  # not before the reset
                            is_open.eq(1),
                            session.eq(head[16:]),
                            self.expected.eq(head[:8] + 1),
                        ]
                with m.Elif(head[8:12] == Op.PING):
                    self._tell(m, Reason.PONG)
                with m.Elif(~is_open):
                    self._tell(m, Reason.CLOSED)
                with m.Elif(~in_turn):
                    self._tell(m, Reason.GAP)
                with m.Elif(overflow):
                    self._tell(m, Reason.FULL)
                with m.Else():
                    m.d.comb += write.en.eq(1)
                    m.d.sync += [
                        place.eq(place + 1),
                        self._committed.eq(place + 1),
                        self.expected.eq(self.expected + 1),
                    ]

    def _tell(self, m: Module, reason: Reason) -> None:
        m.d.sync += [
            self.told.eq(0),
            self.notice.reason.eq(reason & 7),
            self.notice.got.eq(self._head[:8]),
        ]

    def _hand_out(self, m: Module, read: memory.ReadPort) -> None:
        m.d.comb += [
            read.addr.eq(self._read),
            self.o.payload.data.eq(read.data[:8]),
            self.o.payload.mark.eq(Mux(read.data[8], Mark.END, Mark.DATA)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [self._read.eq(self._read + 1), self.o.valid.eq(0)]
        with m.Elif(~self.o.valid):
            m.d.sync += self.o.valid.eq(self._read != self._committed)
        with m.If(self.reset):
            m.d.sync += [self._read.eq(0), self.o.valid.eq(0)]
