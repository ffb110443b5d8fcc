"""The fetcher: from segments to their mask words."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import segment_stream, word_layout, word_stream
from plum_hw.layouts import Start

#: Words that may be on their way from the weight memory or wait for the decoder.
_DEPTH = 8


class Fetcher(wiring.Component):
    """Reads a segment's mask words, one a cycle, also across segments.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    i : segments
    o : mask words
    address, word : weight memory; `word` is what was addressed two cycles before
    quiet : no word is on its way
    """

    #: Cycles from a segment at the input to its first word at the output.
    LATENCY = 3

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        super().__init__(
            {
                "i": In(segment_stream(config)),
                "o": Out(word_stream(config)),
                "address": Out(config.weight_addr_bits),
                "word": In(config.mask_bits),
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
        count = Signal(7)  # words of the segment already asked for
        offset = Signal(config.act_addr_bits)
        first, last, issue, taken = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            first.eq(count == 0),
            last.eq(count + 1 >= segment.words),
            issue.eq(self.i.valid & (credit != 0)),
            taken.eq(self.o.valid & self.o.ready),
            self.i.ready.eq(issue & last),
            self.address.eq(segment.weight + count),
        ]
        m.d.sync += credit.eq(credit - issue + taken)
        with m.If(issue):
            m.d.sync += [count.eq(count + 1), offset.eq(offset + config.mask_bits)]
            with m.If(last):
                m.d.sync += [count.eq(0), offset.eq(0)]

        stage_1, stage_2 = Signal(layout), Signal(layout)
        valid_1, valid_2 = Signal(), Signal()
        m.d.sync += [
            stage_1.address.eq(segment.address + offset),
            stage_1.start.eq(Mux(first, segment.start, Start.KEEP)),
            stage_1.drain.eq(segment.drain & last),
            stage_1.drain_job.eq(segment.drain_job),
            stage_1.residual.eq(segment.residual),
            stage_1.emit.eq(segment.emit & last),
            stage_1.emit_job.eq(segment.emit_job),
            valid_1.eq(issue),
            stage_2.eq(stage_1),
            valid_2.eq(valid_1),
        ]
        fetched = Signal(layout)
        m.d.comb += [
            fetched.eq(stage_2),
            # A residual read is one beat at the segment's own address.
            fetched.mask.eq(Mux(stage_2.residual, 1, self.word)),
            fifo.w_data.eq(fetched),
            fifo.w_en.eq(valid_2),
            self.o.valid.eq(fifo.r_rdy),
            self.o.payload.eq(data.View(layout, fifo.r_data)),
            fifo.r_en.eq(self.o.ready),
            self.quiet.eq(credit == _DEPTH),
        ]
        return m
