"""The walker: the loops of a layer over vectors, passes and segments."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import SIDE_BANK, segment_job_layout, segment_stream
from plum_hw.gateware.structs import struct_of
from plum_hw.layouts import layer_layout, segment_layout

#: Segments that may be on their way from code memory or wait for the fetcher.
_DEPTH = 4


class Walker(wiring.Component):
    """Walks a layer: for each vector, for each pass, for each segment; a segment a cycle.

    The loops run ahead of the lanes as far as the queue allows. With a slow clock there is none: a
    segment stays in the memory's register until it is taken. The banks of filters alternate from
    pass to pass, those of window sums from vector to vector; see docs/architecture.md.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    layer : descriptor; constant from `start` to the end of the layer
    clear : strobe, at least a cycle before `start`
    start : strobe, for a layer with passes
    o : segments
    address, word : code memory; `word` is what was addressed in the cycle before
    enable : with a slow clock only, code memory keeps its word without it
    quiet : all segments of the layer have been handed on
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        self._slow = bool(config.slow_clock)
        #: Cycles from `start` to the first segment at the output.
        self.LATENCY = 2 if self._slow else 3
        super().__init__(
            {
                "layer": In(struct_of(layer_layout(config))),
                "clear": In(1),
                "start": In(1),
                "o": Out(segment_stream(config)),
                "address": Out(config.program_addr_bits),
                "word": In(32),
                "quiet": Out(1),
                **({"enable": Out(1)} if self._slow else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        layer = self.layer
        m = Module()
        layout = segment_job_layout(config)
        # `step` asks for a segment.
        if self._slow:
            active, arrived, step = Signal(), Signal(), Signal()
            m.d.comb += [
                step.eq(active & (~arrived | self.o.ready)),
                self.enable.eq(step),
                self.o.valid.eq(arrived),
            ]
            with m.If(~arrived | self.o.ready):
                m.d.sync += arrived.eq(active)
        else:
            m.submodules.queue = queue = Memory(shape=unsigned(layout.size), depth=_DEPTH, init=[])
            write, read = queue.write_port(), queue.read_port(domain="comb")
            # Segments asked for, arrived and taken.
            counts = range(2 * _DEPTH)
            asked, arrived, taken = Signal(counts), Signal(counts), Signal(counts)
            # Room is found a cycle late, which `_DEPTH` makes up for.
            active, room, step = Signal(), Signal(), Signal()
            m.d.comb += [
                step.eq(active & room),
                self.o.valid.eq(arrived != taken),
            ]
            m.d.sync += [
                asked.eq(asked + step),
                room.eq((asked + step)[: len(asked)] ^ taken != _DEPTH),
                arrived.eq(asked),
                taken.eq(taken + (self.o.valid & self.o.ready)),
            ]

        # Segments, whose number may change from pass to pass, are counted down; the others from one
        # up, which takes less.
        vectors, segments = Signal(9, init=1), Signal(10)
        passes = Signal.like(layer.passes, init=1)
        number = Signal(config.filter_bits)  # of the pass's first filter
        bank = Signal()
        is_window, first_segment, first_pass = Signal(), Signal(), Signal()
        last_segment, last_pass, last_vector = Signal(), Signal(), Signal()
        pass_ends, vector_ends = Signal(), Signal()
        m.d.comb += [
            last_segment.eq(segments == 0),
            last_pass.eq(passes == layer.passes),
            last_vector.eq(vectors == layer.vectors),
            pass_ends.eq(step & last_segment),
            vector_ends.eq(pass_ends & last_pass),
        ]
        begin_pass, begin_vector = Signal(), Signal()
        m.d.comb += [
            begin_pass.eq(self.start | pass_ends),
            begin_vector.eq(self.start | vector_ends),
        ]
        has_window, next_is_window = Signal(), Signal()
        m.d.comb += [
            has_window.eq(layer.window_segments != 0),
            next_is_window.eq(begin_vector & has_window),
        ]
        # The segments of a filter pass follow those of the window sum; where they begin is kept.
        pointer, after = Signal(config.program_addr_bits), Signal(config.program_addr_bits)
        filters = Signal(config.program_addr_bits)
        jump, back = Signal(), Signal()
        m.d.comb += [
            jump.eq(self.start | (pass_ends & ~is_window)),
            back.eq(self.start | next_is_window),
            after.eq(~jump + Mux(jump, Mux(back, layer.segment_ptr, filters), pointer)),
            self.address.eq(pointer),
        ]
        with m.If(self.start | (pass_ends & is_window)):
            m.d.sync += filters.eq(after)
        with m.If(self.start | step):
            m.d.sync += [
                pointer.eq(after),
                first_segment.eq(begin_pass),
            ]
        with m.If(begin_pass):
            m.d.sync += [
                is_window.eq(next_is_window),
                first_pass.eq(begin_vector),
            ]
        count = Mux(next_is_window, layer.window_segments, layer.segments)
        with m.If(begin_pass | step):
            # A selection in the carry chain's other input, so that it shares the adder's LUT.
            m.d.sync += segments.eq(C(-1, len(segments)) + Mux(begin_pass, count, segments))
        with m.If(self.clear | vector_ends):
            m.d.sync += [passes.eq(1), number.eq(0)]
        with m.Elif(pass_ends):
            m.d.sync += [
                passes.eq(passes + 1),
                number.eq(Mux(is_window, 0, Mux(layer.pair, 2, 1)) + number),
            ]
        with m.If(self.clear):
            m.d.sync += vectors.eq(1)
        with m.Elif(vector_ends):
            m.d.sync += vectors.eq(vectors + 1)
        with m.If(self.start):
            m.d.sync += [active.eq(1), bank.eq(0)]
        with m.Elif(pass_ends):
            m.d.sync += bank.eq(bank ^ ~is_window)
            with m.If(last_pass & last_vector):
                m.d.sync += active.eq(0)

        # Addresses of the vector: the first one is zero and its base.
        window, residual = Signal(config.act_addr_bits), Signal(config.act_addr_bits)
        odd_vector = Signal()
        with m.If(self.clear):
            m.d.sync += [window.eq(0), residual.eq(0), odd_vector.eq(1)]
        with m.Elif(begin_vector):
            m.d.sync += [
                window.eq(window + Mux(self.start, layer.in_base, layer.in_step)),
                residual.eq(residual + Mux(self.start, layer.res_base, layer.res_step)),
                odd_vector.eq(~odd_vector),
            ]

        # Beside the descriptor, a cycle later.
        bank_1, last = Signal(), Signal()
        source = Signal(config.act_addr_bits)  # of this pass
        residual_source = Signal(config.act_addr_bits)
        advance = Signal(config.act_addr_bits)
        window_1, restart, vector_1, odd_1 = Signal(), Signal(), Signal(), Signal()
        number_1 = Signal.like(number)
        m.d.comb += advance.eq(number & layer.filter_step.replicate(len(number)))
        beside = [
            bank_1.eq(bank),
            last.eq(last_pass & last_segment),
            source.eq(window + advance),
            residual_source.eq(residual + advance),
            window_1.eq(is_window),
            restart.eq(first_segment & (first_pass | layer.shared_masks)),
            vector_1.eq(odd_vector),
            odd_1.eq(layer.odd & last_pass),
            number_1.eq(number),
        ]
        if self._slow:
            with m.If(step):
                m.d.sync += beside
        else:
            m.d.sync += beside
        segment = data.View(
            struct_of(segment_layout(config)), self.word[: segment_layout(config).bits]
        )
        job = Signal(layout)
        filter_bank, window_bank, residual_bank = Signal(2), Signal(), Signal()
        four_banks = Signal()  # for pairs, that are alone with them
        second = layer.pair & segment.bank
        m.d.sync += four_banks.eq(layer.pair & ~has_window & ~layer.residual)
        m.d.comb += [
            filter_bank.eq(Cat(second ^ (bank_1 & ~four_banks), bank_1 & four_banks)),
            # Where both are needed window sum and residual have a bank each, else two.
            window_bank.eq(vector_1 & ~layer.residual),
            residual_bank.eq(filter_bank[0] | has_window),
            job.address.eq(segment.offset + Mux(segment.residual, residual_source, source)),
            job.restart.eq(restart),
            job.words.eq(segment.words),
            job.start.eq(segment.start),
            job.drain.eq(segment.drain),
            job.drain_job.shift.eq(segment.shift),
            job.drain_job.op.eq(segment.op),
            job.drain_job.negate.eq(segment.negate),
            job.drain_job.bank.eq(filter_bank),
            job.residual.eq(segment.residual),
            job.emit.eq(segment.emit & ~window_1 & ~(odd_1 & ~segment.bank)),
            job.emit_job.filter.eq(number_1 | second),
            job.emit_job.bank.eq(filter_bank),
            job.emit_job.window_bank.eq(window_bank),
            job.emit_job.residual_bank.eq(residual_bank),
            job.emit_job.last_filter.eq(last),
        ]
        with m.If(window_1):
            m.d.comb += job.drain_job.bank.eq(Cat(window_bank, SIDE_BANK >> 1))
        with m.Elif(segment.residual):
            m.d.comb += job.drain_job.bank.eq(Cat(residual_bank, SIDE_BANK >> 1))
        if self._slow:
            m.d.comb += [self.o.payload.eq(job), self.quiet.eq(~(active | arrived))]
            return m
        m.d.comb += [
            write.en.eq(asked != arrived),
            write.addr.eq(arrived),
            write.data.eq(job),
            read.addr.eq(taken),
            self.o.payload.eq(data.View(layout, read.data)),
            self.quiet.eq(~active & (asked == taken)),
        ]
        return m
