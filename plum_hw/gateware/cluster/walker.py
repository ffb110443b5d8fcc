"""The walker: the loops of a layer over vectors, passes and segments."""

from itertools import pairwise

from amaranth.hdl import C, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import SIDE_BANK, segment_job_layout, segment_stream
from plum_hw.gateware.structs import struct_of
from plum_hw.layouts import layer_layout, segment_layout


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
    address, word : code memory; `word` is what was addressed `WORD_LATENCY` cycles before
    enable : with a slow clock only, code memory keeps its word without it
    asks : code memory is the walker's to address
    quiet : all segments of the layer have been handed on
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        self._slow = bool(config.slow_clock)
        #: Cycles from `address` to `word`.
        self.WORD_LATENCY = 2 if config.slow_wires else 1
        #: Cycles from `start` to the first segment at the output.
        self.LATENCY = (1 if self._slow else 2 + config.slow_wires) + self.WORD_LATENCY
        super().__init__(
            {
                "layer": In(struct_of(layer_layout(config))),
                "clear": In(1),
                "start": In(1),
                "o": Out(segment_stream(config)),
                "address": Out(config.program_addr_bits),
                "word": In(32),
                "asks": Out(1),
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
        active, step = Signal(), Signal()
        if self._slow:
            arrived = Signal()
            m.d.comb += [
                step.eq(active & (~arrived | self.o.ready)),
                self.enable.eq(step),
                self.asks.eq(active | arrived),
                self.o.valid.eq(arrived),
            ]
            with m.If(~arrived | self.o.ready):
                m.d.sync += arrived.eq(active)
        else:
            # Segments that may be on their way from code memory or wait for the fetcher.
            depth = 4 * self.WORD_LATENCY
            m.submodules.queue = queue = Memory(shape=unsigned(layout.size), depth=depth, init=[])
            write, read = queue.write_port(), queue.read_port(domain="comb")
            # Segments asked for, so many cycles ago, of which the last have arrived, and taken.
            counts = range(2 * depth)
            asked = [Signal(counts, name=f"asked_{n}") for n in range(self.WORD_LATENCY + 1)]
            taken = Signal(counts)
            # Room is found a cycle late, which the depth makes up for.
            room = Signal()
            m.d.comb += [
                step.eq(active & room),
                self.asks.eq(active),
                self.o.valid.eq(asked[-1] != taken),
            ]
            m.d.sync += [
                asked[0].eq(asked[0] + step),
                room.eq((asked[0] + step)[: len(taken)] ^ taken != depth),
                taken.eq(taken + (self.o.valid & self.o.ready)),
            ]
            m.d.sync += [new.eq(old) for old, new in pairwise(asked)]

        # With slow wires the loops start a cycle late: what they begin with is in registers then.
        start, has_window = Signal(), Signal()
        m.d["sync" if config.slow_wires else "comb"] += [
            start.eq(self.start),
            has_window.eq(layer.window_segments != 0),
        ]
        # Segments, whose number may change from pass to pass, are counted down to less than none;
        # the others from one up, which takes less, and one ahead: the last is known as it begins.
        vectors, segments = Signal(9, init=1), Signal(11)
        passes = Signal.like(layer.passes, init=1)
        number = Signal(config.filter_bits)  # of the pass's first filter
        bank = Signal()
        is_window, first_segment, first_pass = Signal(), Signal(), Signal()
        last_segment, last_pass, last_vector = Signal(), Signal(), Signal()
        pass_ends, vector_ends = Signal(), Signal()
        m.d.comb += [
            last_segment.eq(segments[-1]),
            pass_ends.eq(step & last_segment),
            vector_ends.eq(pass_ends & last_pass),
        ]
        begin_pass, begin_vector = Signal(), Signal()
        # Of a pass that begins: is it the first of a vector, a window sum, the last of a vector.
        next_is_first, next_is_window, next_is_last = Signal(), Signal(), Signal()
        m.d.comb += [
            begin_pass.eq(start | pass_ends),
            begin_vector.eq(start | vector_ends),
            next_is_first.eq(start | last_pass),
            next_is_window.eq(next_is_first & has_window),
            next_is_last.eq(passes == layer.passes),
        ]
        # The segments of a filter pass follow those of the window sum; where they begin is kept.
        pointer, after = Signal(config.program_addr_bits), Signal(config.program_addr_bits)
        filters = Signal(config.program_addr_bits)
        jump, target = Signal(), Signal(config.program_addr_bits)
        m.d.comb += [
            jump.eq(start | (pass_ends & ~is_window)),
            target.eq(Mux(start | next_is_window, layer.segment_ptr, filters)),
            after.eq(~jump + Mux(jump, target, pointer)),
            self.address.eq(pointer),
        ]
        with m.If(start | (pass_ends & is_window)):
            m.d.sync += filters.eq(after)
        with m.If(start | step):
            m.d.sync += [
                pointer.eq(after),
                first_segment.eq(begin_pass),
            ]
        with m.If(begin_pass):
            m.d.sync += [
                is_window.eq(next_is_window),
                first_pass.eq(next_is_first),
                last_pass.eq(next_is_last),
            ]
        count = Mux(next_is_window, layer.window_segments, layer.segments)
        with m.If(begin_pass | step):
            # A selection in the carry chain's other input, so that it shares the adder's LUT. One
            # less for a pass that begins: its first segment is the last where it has one.
            m.d.sync += segments.eq(
                Cat(~begin_pass, C(-1, len(segments) - 1)) + Mux(begin_pass, count, segments)
            )
        with m.If(self.clear | (begin_pass & next_is_last)):
            m.d.sync += passes.eq(1)
        with m.Elif(begin_pass):
            m.d.sync += passes.eq(passes + 1)
        with m.If(self.clear | vector_ends):
            m.d.sync += number.eq(0)
        with m.Elif(pass_ends):
            m.d.sync += number.eq(Mux(is_window, 0, Mux(layer.pair, 2, 1)) + number)
        with m.If(self.clear):
            m.d.sync += vectors.eq(1)
        with m.Elif(begin_vector):
            m.d.sync += [vectors.eq(vectors + 1), last_vector.eq(vectors == layer.vectors)]
        with m.If(start):
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
                window.eq(window + Mux(start, layer.in_base, layer.in_step)),
                residual.eq(residual + Mux(start, layer.res_base, layer.res_step)),
                odd_vector.eq(~odd_vector),
            ]

        # Beside the descriptor.
        advance = Signal(config.act_addr_bits)
        m.d.comb += advance.eq(number & layer.filter_step.replicate(len(number)))

        def beside(name: str, value: Value) -> Signal:
            """What is said of a segment when it is asked for, when its word is there."""
            for cycle in range(self.WORD_LATENCY):
                late = Signal(len(value), name=f"{name}_{cycle}")
                with m.If(step if self._slow else Const(1)):
                    m.d.sync += late.eq(value)
                value = late
            return late

        bank_1, window_1 = beside("bank", bank), beside("window", is_window)
        last = beside("last", last_pass & last_segment)
        source = beside("source", (window + advance)[: len(window)])  # of this pass
        residual_source = beside("residual_source", (residual + advance)[: len(residual)])
        restart = beside("restart", first_segment & (first_pass | layer.shared_masks))
        vector_1, odd_1 = beside("vector", odd_vector), beside("odd", layer.odd & last_pass)
        number_1 = beside("number", number)
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
            write.en.eq(asked[-2] != asked[-1]),
            write.addr.eq(asked[-1]),
            write.data.eq(job),
            read.addr.eq(taken),
            self.o.payload.eq(data.View(layout, read.data)),
            self.quiet.eq(~active & (asked[0] == taken)),
        ]
        return m
