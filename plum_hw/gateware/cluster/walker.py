"""The walker: the loops of a layer over vectors, filters and segments."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import segment_job_layout, segment_stream
from plum_hw.gateware.structs import struct_of
from plum_hw.layouts import layer_layout, segment_layout

#: Segments that may be on their way from the program memory or wait for the fetcher.
_DEPTH = 4


class Walker(wiring.Component):
    """Walks a layer: for each vector, for each filter, for each segment; a segment a cycle.

    The loops run ahead of the lanes as far as the queues allow. With a residual every filter but
    the window sum's ends with one more, unreal segment that reads the residual.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    layer : descriptor; constant from `start` to the end of the layer
    start : strobe
    o : segments
    address, word : program memory; `word` is what was addressed in the cycle before
    quiet : all segments of the layer have been handed on
    """

    #: Cycles from `start` to the first segment at the output.
    LATENCY = 3

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        super().__init__(
            {
                "layer": In(struct_of(layer_layout(config))),
                "start": In(1),
                "o": Out(segment_stream(config)),
                "address": Out(config.program_addr_bits),
                "word": In(32),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        layer = self.layer
        m = Module()
        layout = segment_job_layout(config)
        m.submodules.fifo = fifo = SyncFIFO(width=layout.size, depth=_DEPTH)

        # Loop counters, and the addresses that advance with them.
        active = Signal()
        vector = Signal(9)
        filters = Signal(12)  # filters done of this vector
        segments = Signal(10)  # segments done of this filter
        number = Signal(12)  # of the filter, the window sum not counted
        bank = Signal()
        window = Signal(config.act_addr_bits)  # input window of the vector, filter 0
        source = Signal(config.act_addr_bits)  # input window of this filter
        residual_row = Signal(config.act_addr_bits)
        residual = Signal(config.act_addr_bits)

        credit = Signal(range(_DEPTH + 1), init=_DEPTH)
        step, taken = Signal(), Signal()
        m.d.comb += [
            step.eq(active & (credit != 0)),
            taken.eq(self.o.valid & self.o.ready),
            self.address.eq(layer.segment_ptr + segments),
        ]
        m.d.sync += credit.eq(credit - step + taken)

        is_window, reads_residual, last_segment = Signal(), Signal(), Signal()
        last_filter, last_vector, last_of_filter = Signal(), Signal(), Signal()
        m.d.comb += [
            is_window.eq(layer.window & (filters == 0)),
            reads_residual.eq(layer.residual & ~is_window),
            last_segment.eq(segments + 1 >= layer.segments),
            last_of_filter.eq(
                Mux(reads_residual, (segments != 0) & (segments >= layer.segments), last_segment)
            ),
            last_filter.eq(filters + 1 >= layer.filters),
            last_vector.eq(vector + 1 >= layer.vectors),
        ]
        with m.If(step):
            m.d.sync += segments.eq(segments + 1)
            with m.If(last_of_filter):
                m.d.sync += [segments.eq(0), filters.eq(filters + 1)]
                with m.If(~is_window):
                    m.d.sync += [
                        number.eq(number + 1),
                        bank.eq(~bank),
                        source.eq(source + layer.filter_step),
                        residual.eq(residual + 1),
                    ]
                with m.If(last_filter):
                    m.d.sync += [
                        filters.eq(0),
                        number.eq(0),
                        vector.eq(vector + 1),
                        window.eq(window + layer.in_step),
                        source.eq(window + layer.in_step),
                        residual_row.eq(residual_row + layer.res_step),
                        residual.eq(residual_row + layer.res_step),
                    ]
                    with m.If(last_vector):
                        m.d.sync += active.eq(0)
        with m.If(self.start):
            m.d.sync += [
                active.eq(1),
                vector.eq(0),
                filters.eq(0),
                segments.eq(0),
                number.eq(0),
                window.eq(layer.in_base),
                source.eq(layer.in_base),
                residual_row.eq(layer.res_base),
                residual.eq(layer.res_base),
            ]

        # Beside the descriptor, a cycle later.
        valid = Signal()
        job = Signal(layout)
        first_of_vector, first_of_filter = Signal(), Signal()
        m.d.sync += [
            valid.eq(step),
            first_of_vector.eq((filters == 0) & (segments == 0)),
            first_of_filter.eq(segments == 0),
            job.address.eq(Mux(last_of_filter & reads_residual, residual, source)),
            job.residual.eq(last_of_filter & reads_residual),
            job.drain_job.bank.eq(Mux(is_window, 2 + vector[0], bank)),
            job.emit.eq(last_of_filter & ~is_window),
            job.emit_job.filter.eq(number),
            job.emit_job.bank.eq(bank),
            job.emit_job.window_bank.eq(vector[0]),
            job.emit_job.last_filter.eq(last_filter),
        ]
        descriptor = data.View(struct_of(segment_layout(config)), self.word[: _size(config)])
        pointer = Signal(config.weight_addr_bits)  # next mask word
        weight = Signal(config.weight_addr_bits)  # first mask word of this segment
        m.d.comb += weight.eq(pointer)
        with m.If(first_of_vector | (first_of_filter & layer.shared_masks)):
            m.d.comb += weight.eq(layer.weight_ptr)
        with m.If(valid & ~job.residual):
            m.d.sync += pointer.eq(weight + descriptor.words)

        queued = Signal(layout)
        m.d.comb += [
            queued.eq(job),
            queued.weight.eq(weight),
            queued.words.eq(descriptor.words),
            queued.start.eq(descriptor.start),
            queued.drain.eq(descriptor.drain),
            queued.drain_job.shift.eq(descriptor.shift),
            queued.drain_job.op.eq(descriptor.op),
            queued.drain_job.negate.eq(descriptor.negate),
        ]
        with m.If(job.residual):
            m.d.comb += [queued.words.eq(1), queued.drain.eq(0)]
        with m.Else():
            m.d.comb += queued.address.eq(job.address + descriptor.offset)
        m.d.comb += [
            fifo.w_data.eq(queued),
            fifo.w_en.eq(valid),
            self.o.valid.eq(fifo.r_rdy),
            self.o.payload.eq(data.View(layout, fifo.r_data)),
            fifo.r_en.eq(self.o.ready),
            self.quiet.eq(~active & (credit == _DEPTH)),
        ]
        return m


def _size(config: ArrayConfig) -> int:
    return segment_layout(config).bits
