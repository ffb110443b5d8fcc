"""The fetcher: from segments to their mask words."""

from amaranth.hdl import C, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import segment_stream, word_layout, word_stream
from plum_hw.layouts import WORD_BITS, Start

#: Words that may be on their way from code memory or wait for the decoder.
_DEPTH = 4


class Fetcher(wiring.Component):
    """Reads a segment's mask words, one a cycle, also across segments.

    Words follow each other in code memory as they are used, except where a segment restarts. The
    word of a residual is no mask but goes into its address.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    weight_ptr : of the layer's first word; constant during a layer
    i : segments
    o : mask words
    address, word : code memory; `word` is what was addressed in the cycle before
    quiet : no word is on its way
    """

    #: Cycles from a segment at the input to its first word at the output.
    LATENCY = 2

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        super().__init__(
            {
                "weight_ptr": In(config.code_addr_bits),
                "i": In(segment_stream(config)),
                "o": Out(word_stream(config)),
                "address": Out(config.code_addr_bits),
                "word": In(WORD_BITS),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        layout = word_layout(config)
        m.submodules.fifo = fifo = SyncFIFO(width=layout.size, depth=_DEPTH)
        segment = self.i.payload

        # Words asked for but not yet taken by the decoder: there is room for each in the queue.
        credit = Signal(range(_DEPTH + 1), init=_DEPTH)
        pointer = Signal(config.code_addr_bits)
        left, left_after = Signal(7), Signal(7)  # words of the segment not yet asked for
        offset = Signal(config.act_addr_bits)
        first, last, issue, taken = Signal(init=1), Signal(), Signal(), Signal()
        m.d.comb += [
            left_after.eq(C(-1, 7) + Mux(first, segment.words, left)),
            last.eq(left_after == 0),
            issue.eq(self.i.valid & (credit != 0)),
            taken.eq(self.o.valid & self.o.ready),
            self.i.ready.eq(issue & last),
            self.address.eq(Mux(first & segment.restart, self.weight_ptr, pointer)),
        ]
        m.d.sync += credit.eq(credit - issue + taken)
        with m.If(issue):
            m.d.sync += [
                first.eq(last),
                left.eq(left_after),
                pointer.eq(self.address + 1),
                offset.eq(offset + config.mask_bits),
            ]
            with m.If(last):
                m.d.sync += offset.eq(0)

        stage = Signal(layout)
        valid, residual = Signal(), Signal()
        m.d.sync += [
            stage.address.eq(segment.address + offset),
            stage.start.eq(Mux(first, segment.start, Start.KEEP)),
            stage.drain.eq(segment.drain & last),
            stage.drain_job.eq(segment.drain_job),
            stage.emit.eq(segment.emit & last),
            stage.emit_job.eq(segment.emit_job),
            residual.eq(segment.residual),
            valid.eq(issue),
        ]
        fetched = Signal(layout)
        m.d.comb += [
            fetched.eq(stage),
            fetched.mask.eq(Mux(residual, 1, self.word)),
            fetched.address.eq(stage.address + Mux(residual, self.word, 0)),
            fifo.w_data.eq(fetched),
            fifo.w_en.eq(valid),
            self.o.valid.eq(fifo.r_rdy),
            self.o.payload.eq(data.View(layout, fifo.r_data)),
            fifo.r_en.eq(self.o.ready),
            self.quiet.eq(credit == _DEPTH),
        ]
        return m
