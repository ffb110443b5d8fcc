"""The fetcher: from segments to the bytes of their mask words that have anything set."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import (
    MASK_BYTE,
    mask_stream,
    segment_job_layout,
    segment_stream,
)
from plum_hw.gateware.cluster.mux_tree import mux_tree
from plum_hw.layouts import WORD_BITS, Start


class Fetcher(wiring.Component):
    """Reads a segment's mask words and hands on their bytes that are not zero, one a cycle.

    Nothing is lost between bytes, words and segments. An empty word becomes one empty byte. Words
    follow each other in code memory as they are used, except where a segment restarts. The word of
    a residual is no mask but goes into its address.

    Words move in lock-step through three stages (code memory, a register behind it, the word whose
    bytes go out), each time the last byte of a word is taken. So their supply never runs dry. The
    register in between is left out with a slow clock.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    weight_ptr : of the layer's first word; constant during a layer
    i : segments
    o : bytes of masks
    address, enable, word : code memory; `word` is what was addressed in the last cycle with
        `enable`
    quiet : no word is on its way
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        #: Cycles from a segment at the input to its first byte at the output.
        self.LATENCY = 3 if config.slow_clock else 4
        super().__init__(
            {
                "weight_ptr": In(config.code_addr_bits),
                "i": In(segment_stream(config)),
                "o": Out(mask_stream(config)),
                "address": Out(config.code_addr_bits),
                "enable": Out(1),
                "word": In(WORD_BITS),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        valid = Signal(self.LATENCY)  # of the segment, then of a word in each stage
        move, more = Signal(), Signal()
        m.d.comb += [
            move.eq(~valid[-1] | (self.o.ready & ~more)),
            self.enable.eq(move),
            self.quiet.eq(~valid.any()),
        ]
        segment, first, last = self._walk(m, valid, move)

        # Beside the words: what their segment says of them.
        layout = data.StructLayout(
            {"first": unsigned(1), "last": unsigned(1), "segment": segment_job_layout(config)}
        )
        in_memory, behind = Signal(layout), Signal(layout)
        bits = max(config.mask_bits, config.act_addr_bits)
        word = Signal(bits, reset_less=config.slow_wires)  # in block RAM's own register then
        with m.If(move):
            m.d.sync += [
                valid[1:].eq(valid),
                in_memory.first.eq(first),
                in_memory.last.eq(last),
                in_memory.segment.eq(segment),
            ]
            if not config.slow_clock:
                m.d.sync += [behind.eq(in_memory), word.eq(self.word)]
        if config.slow_clock:
            m.d.comb += [behind.eq(in_memory), word.eq(self.word)]
        self._bytes(m, move, more, behind, word)
        m.d.comb += self.o.valid.eq(valid[-1])
        return m

    def _walk(self, m: Module, valid: Signal, move: Signal) -> tuple[data.View, Signal, Signal]:
        """Address the words of one segment after another; the segment, and whether the word is its
        first or last.
        """
        config = self._config
        segment = Signal(segment_job_layout(config))
        first, last = Signal(), Signal()
        left = Signal(7)  # words of the segment after the one that is addressed
        pointer = Signal(config.code_addr_bits)
        following = self.i.payload
        # What comes next does not depend on when words move, which is known late.
        turn, restart, step = Signal(), Signal(), Signal()
        m.d.comb += [
            turn.eq(~valid[0] | last),
            restart.eq(turn & self.i.valid & following.restart),
            step.eq(~valid[0] | move),
            self.i.ready.eq(turn & step),
            self.address.eq(pointer),
        ]
        with m.If(step):
            m.d.sync += [
                first.eq(turn),
                last.eq(Mux(turn, following.words == 1, left == 1)),
                left.eq(C(-1, 7) + Mux(turn, following.words, left)),
                pointer.eq((valid[0] & ~restart) + Mux(restart, self.weight_ptr, pointer)),
            ]
            with m.If(turn):
                m.d.sync += [valid[0].eq(self.i.valid), segment.eq(following)]
        return segment, first, last

    def _bytes(
        self, m: Module, move: Signal, more: Signal, behind: data.View, word: Signal
    ) -> None:
        """Hand on the bytes of a word that is taken from `behind`, `word` when words move."""
        config = self._config
        count = config.mask_bits // MASK_BYTE
        source = behind.segment
        # Without the common reset, so that the flip-flops' own serves residuals.
        present = Signal(config.mask_bits, reset_less=True)
        base = Signal(config.act_addr_bits)
        start, drain, emit = Signal(Start), Signal(), Signal()
        jobs = [Signal.like(self.o.payload[name]) for name in ("drain_job", "emit_job")]
        # Bytes that go after the present one. Its number and whether there are any is known when
        # it comes.
        rest, select = Signal(count), Signal.like(self.o.payload.byte)
        coming = Signal(count)
        with m.If(move):
            offset = Mux(source.residual, word[: len(base)], 0)
            m.d.comb += coming.eq(
                Cat(word.word_select(at, MASK_BYTE).any() for at in range(count))
                & ~source.residual.replicate(count)
            )
            m.d.sync += [
                present.eq(word),
                base.eq(
                    Mux(behind.first, offset, config.mask_bits)
                    + Mux(behind.first, source.address, base)
                ),
                start.eq(Mux(behind.first, source.start, Start.KEEP)),
                drain.eq(source.drain & behind.last),
                emit.eq(source.emit & behind.last),
                jobs[0].eq(source.drain_job),
                jobs[1].eq(source.emit_job),
            ]
            with m.If(source.residual):
                m.d.sync += present.eq(1)
        with m.Else():
            m.d.comb += coming.eq(rest)
            with m.If(self.o.ready):
                m.d.sync += start.eq(Start.KEEP)
        with m.If(move | self.o.ready):
            m.d.sync += [select.eq(0), rest.eq(0), more.eq(0)]
            for index in reversed(range(count)):
                with m.If(coming[index]):
                    above = coming & ~C((2 << index) - 1, count)
                    m.d.sync += [select.eq(index), rest.eq(above), more.eq(above.any())]

        payload = self.o.payload
        data_bytes = [present.word_select(index, MASK_BYTE) for index in range(count)]
        m.d.comb += [
            payload.mask.eq(mux_tree(select, data_bytes)),
            payload.address.eq(base),
            payload.byte.eq(select),
            payload.start.eq(start),
            payload.drain.eq(drain & ~more),
            payload.drain_job.eq(jobs[0]),
            payload.emit.eq(emit & ~more),
            payload.emit_job.eq(jobs[1]),
        ]
