"""Commands: what a request asks for is done, and answered."""

# No postponed annotations here: Amaranth reads the fields of a Struct from them.
from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.mux_tree import mux_tree
from plum_hw.gateware.link.host_port import HostPort
from plum_hw.gateware.link.notice import Notice
from plum_hw.gateware.link.symbols import Mark, Symbol
from plum_hw.layouts import (
    BROADCAST,
    PROTOCOL_VERSION,
    READ_ONLY_SPACES,
    SPACE_BYTES,
    WRITE_ONLY_SPACES,
    Op,
    Status,
    layer_layout,
    space_words,
)

_NOTICE_BYTES = 7


class _Request(data.Struct):
    """The first bytes of a request; the address goes on while it is served."""

    sequence: 8
    op: 8
    space: 8
    cluster: 8
    address: 16
    count: 16


class _Run(data.Struct):
    """The further arguments of RUN, which come as one word of data."""

    program: 16
    layers: 16
    runs: 16
    results_at: 16


class CommandExecutor(wiring.Component):
    """Serves one request after another, byte by byte; notices go out between the answers.

    A word of eight bytes takes 17 cycles and its way into the memories, or 18 and its way out.
    Nothing waits for the line but the bytes that go out, so a reset of this component, and of
    what follows it, frees it from any state.

    Checks come in this order, and nothing is touched before all have passed: opcode (BAD_OP), eight
    bytes of header (BAD_LENGTH), space, cluster and range, layers of a RUN (BAD_ADDRESS). Data that
    are not as long as `count` says are BAD_LENGTH; whole words that came are written. The first
    status that is not OK is also that of all that follow, which are not looked at.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    i : bodies of requests
    notice, told, take, expected : of `RequestQueue`
    o : bodies of answers and notices
    host, targets : access to the memories of the clusters whose bit is set
    start, program, layers, results_at : begin a run
    busy : it goes on; high from the cycle after `start`
    finish : strobe at its end, to keep its cycles
    idle : nothing is being served
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        #: Layers that code memory can hold.
        self._most_layers = config.program_depth // layer_layout(config).words
        super().__init__(
            {
                "i": In(stream.Signature(Symbol)),
                "notice": In(Notice),
                "told": In(1),
                "take": Out(1),
                "expected": In(8),
                "o": Out(stream.Signature(Symbol)),
                "host": Out(HostPort),
                "targets": Out(config.clusters),
                "start": Out(1),
                "program": Out(16),
                "layers": Out(16),
                "results_at": Out(16),
                "busy": In(1),
                "finish": Out(1),
                "idle": Out(1),
            }
        )
        self._request = Signal(_Request)
        self._word = Signal(64)
        self._run = data.View(_Run, self._word)
        self._index = Signal(3)  # of a byte: of header, word, answer or notice
        self._wide = Signal()  # words of eight bytes, not four
        self._short = Signal()  # the header was cut
        self._running = Signal()
        self._noticing = Signal()
        self._notice = Signal(Notice)
        self._failed = Signal(Status)
        self._answered = Signal(8)  # requests of this session
        self._bad_op = Signal()
        self._bad_place = Signal()
        self._too_far = Signal()
        self._end = Signal(17)  # first word behind those that are meant
        self._last_word = Signal()  # a cycle late, and words take more
        self._launch, self._begin = Signal(), Signal()
        self._made = Signal(16)  # runs of a RUN that have begun
        self._bad_layers, self._more = Signal(), Signal()  # of a RUN, a cycle late
        self._depth = Signal(17)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._is = {op: Signal(name=f"is_{op.name.lower()}") for op in (Op.CHECK, Op.WRITE, Op.RUN)}
        m.d.comb += [flag.eq(self._request.op[:4] == op) for op, flag in self._is.items()]
        m.d.sync += [
            self.start.eq(0),
            self.finish.eq(0),
            self._last_word.eq(self._request.address + 1 == self._end),
            self._bad_layers.eq((self._run.layers == 0) | (self._run.layers > self._most_layers)),
            # Once, unless it says how often.
            self._more.eq(
                (self._run.runs[:15].any() ^ self._run.runs[15]) & (self._made != self._run.runs)
            ),
        ]
        # Counted up and outside the states: such a counter needs no LUT.
        with m.If(self._launch):
            m.d.sync += self._made.eq(0)
        with m.Elif(self._begin):
            m.d.sync += self._made.eq(self._made + 1)
        m.d.comb += [
            self.program.eq(self._run.program),
            self.layers.eq(self._run.layers),
            self.results_at.eq(self._run.results_at),
            self.host.request.payload.space.eq(self._request.space),
            self.host.request.payload.address.eq(self._request.address),
            self.host.request.payload.data.eq(self._word),
        ]
        with m.FSM() as fsm:
            m.d.comb += self.idle.eq(fsm.ongoing("IDLE") & self.told & ~self.i.valid)
            self._accept(m)
            self._check(m)
            self._take_data(m)
            self._run_layers(m)
            self._answer(m)
            self._send_words(m)
        return m

    def _accept(self, m: Module) -> None:
        """The header, or a notice; a header that is cut is filled up."""
        request, byte = self._request.as_value(), self.i.payload.data
        with m.State("IDLE"):
            with m.If(~self.told):
                self._take_notice(m)
            with m.Elif(self.i.valid):
                m.next = "HEADER"
        with m.State("HEADER"):
            is_data = self.i.payload.mark == Mark.DATA
            m.d.comb += self.i.ready.eq(is_data)
            with m.If(self.i.valid):
                m.d.sync += [
                    request.eq(Cat(request[8:], byte)),
                    self._index.eq(self._index + 1),
                ]
                with m.If(~is_data):
                    m.d.sync += self._short.eq(1)
                with m.If(self._index == 7):
                    m.next = "FIND"

    def _take_notice(self, m: Module) -> None:
        m.d.comb += self.take.eq(1)
        m.d.sync += [self._notice.eq(self.notice), self._noticing.eq(1)]
        m.next = "ANSWER"

    def _check(self, m: Module) -> None:
        """Three steps, so that no path holds a look-up, an addition and a comparison."""
        request = self._request
        with m.State("FIND"):
            op = request.op[:4]
            m.d.sync += [
                self._end.eq(request.address + request.count),
                self._bad_op.eq((op < Op.READ) | (op > Op.RUN)),
                self._bad_place.eq(0),
                self._wide.eq(0),
            ]
            with m.Switch(request.space):
                for space, depth in space_words(self._config).items():
                    with m.Case(space):
                        m.d.sync += [
                            self._depth.eq(depth),
                            self._wide.eq(SPACE_BYTES[space] == 8),
                        ]
                        if space in READ_ONLY_SPACES:
                            m.d.sync += self._bad_place.eq(self._is[Op.WRITE])
                        if space in WRITE_ONLY_SPACES:
                            m.d.sync += self._bad_place.eq(~self._is[Op.WRITE])
                with m.Default():
                    m.d.sync += self._bad_place.eq(1)
            with m.If(self._is[Op.WRITE] & (request.cluster == BROADCAST)):
                m.d.sync += self.targets.eq(~0)
            with m.Else():
                for number in range(self._config.clusters):
                    m.d.sync += self.targets[number].eq(request.cluster == number)
                with m.If(request.cluster >= self._config.clusters):
                    m.d.sync += self._bad_place.eq(1)
            m.next = "COMPARE"
        with m.State("COMPARE"):
            m.d.sync += self._too_far.eq(self._end > self._depth)
            m.next = "DECIDE"
        with m.State("DECIDE"):
            m.next = "SKIP"
            with m.If(self._failed != Status.OK):
                pass
            with m.Elif(self._bad_op):
                m.d.sync += self._failed.eq(Status.BAD_OP)
            with m.Elif(self._short):
                m.d.sync += self._failed.eq(Status.BAD_LENGTH)
            with m.Elif(self._bad_place | self._too_far):
                m.d.sync += self._failed.eq(Status.BAD_ADDRESS)
            with m.Elif(self._is[Op.RUN] | (self._is[Op.WRITE] & (request.count != 0))):
                m.next = "DATA"

    def _take_data(self, m: Module) -> None:
        word = self._word
        byte, is_data = self.i.payload.data, self.i.payload.mark == Mark.DATA
        wide = self._wide | self._is[Op.RUN]
        with m.State("DATA"):
            m.d.comb += self.i.ready.eq(is_data)
            with m.If(self.i.valid):
                with m.If(~is_data):
                    m.d.sync += self._failed.eq(Status.BAD_LENGTH)
                    m.next = "SKIP"
                with m.Else():
                    # Words of four bytes stand in the lower half.
                    lower = Cat(word[8:32], Mux(wide, word[32:40], byte))
                    m.d.sync += [
                        word.eq(Cat(lower, word[40:], byte)),
                        self._index.eq(self._index + 1),
                    ]
                    with m.If(self._is_last(wide)):
                        m.d.sync += self._index.eq(0)
                        m.next = "SUBMIT"
                        with m.If(self._is[Op.RUN]):
                            m.next = "SKIP"
        with m.State("SUBMIT"):
            m.d.comb += [
                self.host.request.valid.eq(1),
                self.host.request.payload.write.eq(1),
            ]
            with m.If(self.host.request.ready):
                self._step(m)
                m.next = "DATA"
                with m.If(self._last_word):
                    m.next = "SKIP"
        with m.State("SKIP"):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                with m.If(~is_data):
                    m.d.sync += self._index.eq(0)
                    m.next = "ANSWER"
                    with m.If((self._failed == Status.OK) & self._is[Op.RUN]):
                        m.next = "LAUNCH"
                with m.Elif(self._failed == Status.OK):
                    m.d.sync += self._failed.eq(Status.BAD_LENGTH)

    def _is_last(self, wide: Value) -> Value:
        return self._index == Mux(wide, 7, 3)

    def _step(self, m: Module) -> None:
        m.d.sync += self._request.address.eq(self._request.address + 1)

    def _run_layers(self, m: Module) -> None:
        with m.State("LAUNCH"):
            m.d.comb += self._launch.eq(1)
            m.next = "BEGIN"
            with m.If(self._bad_layers):
                m.d.sync += self._failed.eq(Status.BAD_ADDRESS)
                m.next = "ANSWER"
        with m.State("BEGIN"):
            m.d.comb += self._begin.eq(1)
            m.d.sync += [self.start.eq(1), self._running.eq(1)]
            m.next = "BEGUN"
        with m.State("BEGUN"):
            # `busy` answers `start` in the next cycle only.
            m.next = "RUNNING"
        with m.State("RUNNING"):
            with m.If(~self.told):
                self._take_notice(m)
            with m.Elif(~self.busy & ~self.start):
                m.next = "FINISH"
                with m.If(self._more):
                    m.next = "BEGIN"
        with m.State("FINISH"):
            m.d.sync += [self.finish.eq(1), self._running.eq(0)]
            m.next = "ANSWER"

    def _answer(self, m: Module) -> None:
        """Two bytes before the words of an answer, or all of a notice."""
        index, out = self._index, self.o
        bytes_ = [
            Mux(self._noticing, self.expected, self._request.sequence),
            Mux(self._noticing, Cat(self._notice.reason, C(0x10, 5)), self._failed),
            self._notice.tag,
            self._notice.got,
            self._answered,
            self._failed,
            C(PROTOCOL_VERSION, 8),
        ]
        with m.State("ANSWER"):
            last = Mux(self._noticing, index == _NOTICE_BYTES - 1, index == 1)
            m.d.comb += [out.valid.eq(1), out.payload.data.eq(mux_tree(index, bytes_))]
            with m.If(out.ready):
                m.d.sync += index.eq(index + 1)
                with m.If(last):
                    m.d.sync += index.eq(0)
                    m.next = "END"
                    with m.If(self._sends_words()):
                        m.next = "FETCH"
        with m.State("END"):
            m.d.comb += [out.valid.eq(1), out.payload.mark.eq(Mark.END)]
            with m.If(out.ready):
                m.d.sync += [self._noticing.eq(0), self._short.eq(0)]
                m.next = "IDLE"
                with m.If(self._running):
                    m.next = "RUNNING"
                with m.If(~self._noticing):
                    m.d.sync += self._answered.eq(self._answered + 1)

    def _sends_words(self) -> Value:
        sends = ~self._is[Op.WRITE] & (self._failed == Status.OK) & (self._request.count != 0)
        return sends & ~self._noticing

    def _send_words(self, m: Module) -> None:
        request, response = self.host.request, self.host.response
        index, out = self._index, self.o
        with m.State("FETCH"):
            m.d.comb += request.valid.eq(1)
            with m.If(request.ready):
                m.next = "WORD"
        with m.State("WORD"):
            bytes_ = [response.payload.word_select(place, 8) for place in range(8)]
            last = self._is_last(self._wide)
            m.d.comb += [
                out.valid.eq(response.valid),
                out.payload.data.eq(mux_tree(index, bytes_)),
                out.payload.mark.eq(Mux(self._is[Op.CHECK], Mark.HIDDEN, Mark.DATA)),
                response.ready.eq(out.ready & last),
            ]
            with m.If(out.valid & out.ready):
                m.d.sync += index.eq(index + 1)
                with m.If(last):
                    m.d.sync += index.eq(0)
                    self._step(m)
                    m.next = "FETCH"
                    with m.If(self._last_word):
                        m.next = "END"
