"""Commands: what a request asks for is done, and answered."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.link.host_port import IDENTITY_SPACE, HostPort
from plum_hw.gateware.link.request import COUNT_BITS, request_layout
from plum_hw.gateware.link.response_writer import Answer
from plum_hw.layouts import Counter, Op, Space, Status

_IDENTITY_WORDS = 3
_RUN_BYTES = 6  # the counter of cycles, and beside it the number of results


class CommandExecutor(wiring.Component):
    """Serves one request after another; a run goes on while requests are served.

    A word a cycle is written; reading overlaps with sending the word before.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    request, write_words : from `RequestReader`
    answer, read_words : to `ResponseWriter`
    host, targets : access to the memories of the clusters whose bit is set
    start, program, layers : begin a run
    abort : stop it
    busy : how it goes; high from the cycle after `start`
    running : a run is in progress, or its answer is due
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(config))),
                "write_words": In(stream.Signature(64)),
                "answer": Out(stream.Signature(Answer)),
                "read_words": Out(stream.Signature(64)),
                "host": Out(HostPort),
                "targets": Out(config.clusters),
                "start": Out(1),
                "program": Out(16),
                "layers": Out(16),
                "abort": Out(1),
                "busy": In(1),
                "running": Out(1),
            }
        )
        self._current = Signal(request_layout(config))
        self._run_sequence = Signal(8)
        self._aborting = Signal()  # the answer to ABORT follows the answer to RUN
        self._status = Signal(8)
        self._sequence = Signal(8)
        self._word_bytes = Signal(4)
        self._left = Signal(COUNT_BITS)  # words still to be written or sent

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.sync += [self.start.eq(0), self.abort.eq(0)]
        m.d.comb += [
            self.targets.eq(self._current.targets),
            self.program.eq(self._current.run.program),
            self.layers.eq(self._current.run.layers),
            self.host.request.payload.space.eq(self._current.space),
            self.host.request.payload.address.eq(self._current.address),
            self.host.request.payload.data.eq(self.write_words.payload),
        ]
        with m.If(self.host.request.valid & self.host.request.ready):
            m.d.sync += self._current.address.eq(self._current.address + 1)
        with m.FSM():
            self._accept(m)
            self._write(m)
            self._stop(m)
            self._answer(m)
            self._send(m)
        return m

    def _accept(self, m: Module) -> None:
        request = self.request.payload
        with m.State("IDLE"):
            with m.If(self.running & ~self.busy):
                m.d.sync += [
                    self.running.eq(0),
                    self._sequence.eq(self._run_sequence),
                    self._status.eq(Status.OK),
                    self._current.space.eq(Space.COUNTER),
                    self._current.address.eq(Counter.CYCLES),
                    self._left.eq(1),
                    self._word_bytes.eq(_RUN_BYTES),
                ]
                m.next = "ANSWER"
            with m.Else():
                m.d.comb += self.request.ready.eq(1)
            with m.If(self.request.valid & self.request.ready):
                m.d.sync += [
                    self._current.eq(request),
                    self._sequence.eq(request.sequence),
                    self._status.eq(request.status),
                    self._left.eq(0),
                ]
                m.next = "ANSWER"
                with m.If(request.status == Status.OK):
                    self._begin(m)

    def _begin(self, m: Module) -> None:
        request = self.request.payload
        with m.Switch(request.op):
            with m.Case(Op.IDENTIFY):
                m.d.sync += [
                    self._current.space.eq(IDENTITY_SPACE),
                    self._current.address.eq(0),
                    self._left.eq(_IDENTITY_WORDS),
                    self._word_bytes.eq(8),
                ]
            with m.Case(Op.READ):
                m.d.sync += [
                    self._left.eq(request.count),
                    self._word_bytes.eq(Mux(request.wide, 8, 4)),
                ]
            with m.Case(Op.WRITE):
                m.d.sync += self._left.eq(request.count)
                m.next = "WRITE"
            with m.Case(Op.RUN):
                m.d.sync += [
                    self.start.eq(1),
                    self.running.eq(1),
                    self._run_sequence.eq(request.sequence),
                ]
                m.next = "START"
            with m.Case(Op.ABORT):
                m.d.sync += self.abort.eq(self.running)
                with m.If(self.running):
                    m.next = "STOP"

    def _write(self, m: Module) -> None:
        with m.State("WRITE"):
            with m.If(self._left == 0):
                m.next = "ANSWER"
            with m.Else():
                m.d.comb += [
                    self.host.request.payload.write.eq(1),
                    self.host.request.valid.eq(self.write_words.valid),
                    self.write_words.ready.eq(self.host.request.ready),
                ]
                with m.If(self.write_words.valid & self.write_words.ready):
                    m.d.sync += self._left.eq(self._left - 1)

    def _stop(self, m: Module) -> None:
        with m.State("START"):
            # `busy` answers `start` in the next cycle only.
            m.next = "IDLE"

        with m.State("STOP"), m.If(~self.busy):
            m.d.sync += [
                self.running.eq(0),
                self._aborting.eq(1),
                self._sequence.eq(self._run_sequence),
                self._status.eq(Status.ABORTED),
            ]
            m.next = "ANSWER"

    def _answer(self, m: Module) -> None:
        header = self.answer.payload
        m.d.comb += [
            header.sequence.eq(self._sequence),
            header.status.eq(self._status),
            header.words.eq(self._left),
            header.word_bytes.eq(self._word_bytes),
        ]

        with m.State("ANSWER"):
            m.d.comb += self.answer.valid.eq(1)
            with m.If(self.answer.ready):
                m.next = "IDLE"
                with m.If(self._left != 0):
                    m.next = "SEND"
                with m.If(self._aborting):
                    m.d.sync += [
                        self._aborting.eq(0),
                        self._sequence.eq(self._current.sequence),
                        self._status.eq(Status.OK),
                    ]
                    m.next = "ANSWER"

    def _send(self, m: Module) -> None:
        request, response, words = self.host.request, self.host.response, self.read_words
        asked = Signal()  # a word was asked for and has not come

        with m.State("SEND"):
            m.d.comb += [
                request.valid.eq(~asked),
                words.payload.eq(response.payload),
                words.valid.eq(response.valid),
                response.ready.eq(words.ready),
            ]
            with m.If(request.valid & request.ready):
                m.d.sync += asked.eq(1)
            with m.If(words.valid & words.ready):
                m.d.sync += [asked.eq(0), self._left.eq(self._left - 1)]
                with m.If(self._left == 1):
                    m.next = "IDLE"
