"""Requests: parsed and checked."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.link.request import Access, Run, request_layout
from plum_hw.gateware.link.symbols import Mark, Symbol
from plum_hw.layouts import (
    BROADCAST,
    READ_ONLY_SPACES,
    SPACE_BYTES,
    Op,
    Status,
    layer_layout,
    space_words,
)

_HEADER_BYTES = 2  # sequence number and opcode, or sequence number and status
_WRITE_ARGUMENTS = 6
_ARGUMENTS = {Op.IDENTIFY: 0, Op.WRITE: _WRITE_ARGUMENTS, Op.READ: 8, Op.RUN: 4, Op.ABORT: 0}


class RequestReader(wiring.Component):
    """Makes a request of each packet body, and says whether it may be carried out.

    Checks come in this order: opcode (BAD_OP), bytes of arguments (BAD_LENGTH), run in progress
    (BUSY), space and cluster (BAD_ADDRESS), amount of data (BAD_LENGTH), range (BAD_ADDRESS). A
    damaged packet becomes a request with status BAD_CRC.

    One byte a cycle, and six cycles a request. A request is handed over when its packet has been
    read; that of a WRITE before its data.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    i, length : checked packet bodies, as `PacketReceiver` hands them out
    running : a run is in progress
    request : checked requests
    words : the data of a WRITE whose status is OK, `count` words after its request
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(Symbol)),
                "length": In(range(config.packet_bytes + 1)),
                "running": In(1),
                "request": Out(stream.Signature(request_layout(config))),
                "words": Out(stream.Signature(64)),
            }
        )
        self._arguments = Signal(64)
        self._access = data.View(Access, self._arguments)
        self._run = data.View(Run, self._arguments[:32])
        self._depth = Signal(range(max(space_words(config).values()) + 1))
        self._end = Signal(19)  # first word behind those that are meant
        self._bad_place = Signal()
        self._bad_amount = Signal()

    def elaborate(self, platform) -> Module:
        m = Module()
        with m.If(self.words.ready):
            m.d.sync += self.words.valid.eq(0)
        with m.FSM():
            self._read_header(m)
            self._read_arguments(m)
            self._check(m)
            self._hand_over(m)
            self._read_data(m)
        return m

    def _refuse(self, m: Module, status: Status) -> None:
        """Leave the rest of the packet unread and have it answered with `status`."""
        m.d.sync += self.request.payload.status.eq(status)
        m.next = "SKIP"

    def _read_header(self, m: Module) -> None:
        request = self.request.payload
        byte, mark = self.i.payload.data, self.i.payload.mark

        with m.State("SEQUENCE"):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [request.sequence.eq(byte), request.status.eq(Status.OK)]
            with m.If(self.i.valid), m.Switch(mark):
                with m.Case(Mark.DATA):
                    m.next = "OP"
                with m.Case(Mark.BAD):
                    m.d.sync += request.status.eq(Status.BAD_CRC)
                    m.next = "HAND_OVER"
                with m.Default():
                    m.d.sync += [
                        request.sequence.eq(0),
                        request.status.eq(Status.BAD_LENGTH),
                    ]
                    m.next = "HAND_OVER"

        with m.State("OP"):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += request.op.eq(byte)
            with m.If(self.i.valid):
                m.next = "ADMIT"
                with m.If(mark != Mark.DATA):
                    m.d.sync += request.status.eq(Status.BAD_LENGTH)
                    m.next = "HAND_OVER"

    def _read_arguments(self, m: Module) -> None:
        request = self.request.payload
        index = Signal(range(9))
        needed = Signal(range(9))

        with m.State("ADMIT"):
            m.d.sync += index.eq(0)
            m.next = "ARGUMENTS"
            with m.Switch(request.op):
                for op, count in _ARGUMENTS.items():
                    with m.Case(op):
                        m.d.sync += needed.eq(count)
                        if op not in (Op.IDENTIFY, Op.ABORT):
                            with m.If(self.running):
                                self._refuse(m, Status.BUSY)
                        least = _HEADER_BYTES + count
                        bad = self.length < least if op == Op.WRITE else self.length != least
                        with m.If(bad):
                            self._refuse(m, Status.BAD_LENGTH)
                with m.Default():
                    self._refuse(m, Status.BAD_OP)

        with m.State("ARGUMENTS"):
            with m.If(index != needed):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [
                        self._arguments.word_select(index[:3], 8).eq(self.i.payload.data),
                        index.eq(index + 1),
                    ]
            with m.Else():
                m.next = "FIND"

    def _check(self, m: Module) -> None:
        """Three steps, so that no path holds a look-up, an addition and a comparison."""
        request = self.request.payload
        is_run = request.op == Op.RUN
        is_write = request.op == Op.WRITE

        with m.State("FIND"):
            m.d.sync += [
                request.space.eq(self._access.space),
                request.address.eq(self._access.address),
                request.run.eq(self._run),
                request.wide.eq(0),
                self._bad_place.eq(0),
            ]
            m.next = "ADD"
            with m.If(is_run):
                m.d.sync += [
                    self._depth.eq(self._config.code_depth),
                    self._bad_place.eq(self._run.layers == 0),
                ]
            with m.Elif((request.op == Op.READ) | is_write):
                self._find_space(m, is_write)
                self._find_cluster(m, is_write)
            with m.Else():
                m.next = "SKIP"

        with m.State("ADD"):
            data_bytes = self.length - (_HEADER_BYTES + _WRITE_ARGUMENTS)
            room = self._config.packet_bytes - _HEADER_BYTES
            ragged = data_bytes & Mux(request.wide, 7, 3)
            most = Mux(request.wide, room // 8, room // 4)
            count = Signal(16)
            m.next = "COMPARE"
            m.d.sync += request.count.eq(count)
            with m.If(is_run):
                # As a sum: a product would take a multiplier from the array.
                words = layer_layout(self._config).words
                bits = [bit for bit in range(words.bit_length()) if words >> bit & 1]
                most_layers = self._config.code_depth // words
                layers = self._run.layers[: most_layers.bit_length()]
                descriptors = Signal(range(words << len(layers)))
                m.d.comb += descriptors.eq(sum(layers << bit for bit in bits))
                far = self._run.layers[len(layers) :].any()
                m.d.sync += [
                    self._bad_amount.eq(0),
                    self._end.eq(Cat((self._run.program + descriptors)[:18], far)),
                ]
            with m.Else():
                with m.If(is_write):
                    m.d.comb += count.eq(Mux(request.wide, data_bytes >> 3, data_bytes >> 2))
                    m.d.sync += self._bad_amount.eq(ragged != 0)
                with m.Else():
                    m.d.comb += count.eq(self._access.count)
                    m.d.sync += self._bad_amount.eq(self._access.count > most)
                # No memory has more words than 16 bits tell.
                far = self._access.address[16:].any()
                m.d.sync += self._end.eq(Cat((self._access.address[:16] + count)[:18], far))

        with m.State("COMPARE"):
            m.next = "SKIP"
            with m.If(is_write):
                m.next = "HAND_OVER"
            with m.If(self._end > self._depth):
                self._refuse(m, Status.BAD_ADDRESS)
            with m.If(self._bad_amount):
                self._refuse(m, Status.BAD_LENGTH)
            with m.If(self._bad_place):
                self._refuse(m, Status.BAD_ADDRESS)

    def _find_space(self, m: Module, is_write) -> None:
        with m.Switch(self._access.space):
            for space, depth in space_words(self._config).items():
                with m.Case(space):
                    m.d.sync += [
                        self._depth.eq(depth),
                        self.request.payload.wide.eq(SPACE_BYTES[space] == 8),
                    ]
                    if space in READ_ONLY_SPACES:
                        with m.If(is_write):
                            m.d.sync += self._bad_place.eq(1)
            with m.Default():
                m.d.sync += self._bad_place.eq(1)

    def _find_cluster(self, m: Module, is_write) -> None:
        targets = self.request.payload.targets
        with m.If(is_write & (self._access.cluster == BROADCAST)):
            m.d.sync += targets.eq(~0)
        with m.Elif(self._access.cluster < self._config.clusters):
            for number in range(self._config.clusters):
                m.d.sync += targets[number].eq(self._access.cluster == number)
        with m.Else():
            m.d.sync += self._bad_place.eq(1)

    def _hand_over(self, m: Module) -> None:
        with m.State("SKIP"):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid & (self.i.payload.mark != Mark.DATA)):
                m.next = "HAND_OVER"

        with m.State("HAND_OVER"):
            request = self.request.payload
            m.d.comb += self.request.valid.eq(1)
            with m.If(self.request.ready):
                m.next = "SEQUENCE"
                with m.If((request.op == Op.WRITE) & (request.status == Status.OK)):
                    m.next = "DATA"

    def _read_data(self, m: Module) -> None:
        word, filled = self.words.payload, Signal(3)
        byte = self.i.payload.data
        with m.State("DATA"):
            m.d.comb += self.i.ready.eq(~self.words.valid | self.words.ready)
            with m.If(self.i.valid & self.i.ready):
                with m.If(self.i.payload.mark != Mark.DATA):
                    m.next = "SEQUENCE"
                with m.Else():
                    with m.If(filled == 0):
                        m.d.sync += word.eq(byte)  # and zero above
                    with m.Else():
                        m.d.sync += word.word_select(filled, 8).eq(byte)
                    m.d.sync += filled.eq(filled + 1)
                    with m.If(filled == Mux(self.request.payload.wide, 7, 3)):
                        m.d.sync += [filled.eq(0), self.words.valid.eq(1)]
