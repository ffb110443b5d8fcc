"""The decoder, which skips zeros: from a mask word to the addresses of its set bits."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import Beat, word_layout, word_stream
from plum_hw.layouts import Start


class Decoder(wiring.Component):
    """One beat for each set bit of a word, lowest first, or one null beat for an empty word.

    No bubble between bits nor between words. The last beat of a word that drains (emits) waits
    until `groups` (`emit_gap`) cycles have passed since the last such beat; nothing else ever
    waits, so that all later stages have a fixed latency. An issued beat is at the output two
    cycles later.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    i : mask words
    emit_gap : least cycles between two emit beats; constant during a layer
    address, beat : what the activation memory and the lanes get
    beat_count, drain_stalls, emit_stalls : strobes for the performance counters
    quiet : nothing is being decoded
    """

    #: Cycles from the issue of a beat to the output.
    LATENCY = 2

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        super().__init__(
            {
                "i": In(word_stream(config)),
                "emit_gap": In(10),
                "address": Out(config.act_addr_bits),
                "beat": Out(Beat),
                "beat_count": Out(1),
                "drain_stalls": Out(1),
                "emit_stalls": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()

        word = Signal(word_layout(config))
        valid = Signal()
        rest = Signal(config.mask_bits)  # set bits above the lowest one
        last = Signal()
        m.d.comb += [rest.eq(word.mask & (word.mask - 1)), last.eq(rest == 0)]

        drain_wait = Signal(range(config.groups))
        emit_wait = Signal(10)
        by_drain = valid & last & word.drain & (drain_wait != 0)
        by_emit = valid & last & word.emit & (emit_wait != 0)
        issue = Signal()
        m.d.comb += [
            issue.eq(valid & ~by_drain & ~by_emit),
            self.beat_count.eq(issue & ~word.residual),
            self.drain_stalls.eq(by_drain),
            self.emit_stalls.eq(by_emit & ~by_drain),
            self.i.ready.eq(~valid | (issue & last)),
        ]
        with m.If(drain_wait != 0):
            m.d.sync += drain_wait.eq(drain_wait - 1)
        with m.If(emit_wait != 0):
            m.d.sync += emit_wait.eq(emit_wait - 1)
        with m.If(issue & last):
            with m.If(word.drain):
                m.d.sync += drain_wait.eq(config.groups - 1)
            with m.If(word.emit & (self.emit_gap != 0)):
                m.d.sync += emit_wait.eq(self.emit_gap - 1)

        with m.If(issue):
            m.d.sync += [word.mask.eq(rest), word.start.eq(Start.KEEP)]
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), word.eq(self.i.payload)]

        # One cycle to isolate the bit, one to turn it into an address.
        bit = Signal(config.mask_bits)
        base = Signal(config.act_addr_bits)
        beat = Signal(Beat)
        m.d.sync += [
            bit.eq(word.mask & ~rest),
            base.eq(word.address),
            beat.valid.eq(issue & ~word.residual),
            beat.null.eq(word.mask == 0),
            beat.start.eq(word.start),
            beat.drain.eq(word.drain & last),
            beat.drain_job.eq(word.drain_job),
            beat.residual.eq(issue & word.residual),
            beat.emit.eq(issue & word.emit & last),
            beat.emit_job.eq(word.emit_job),
        ]
        number = Cat(
            Cat(bit[i] for i in range(config.mask_bits) if i >> k & 1).any()
            for k in range((config.mask_bits - 1).bit_length())
        )
        m.d.sync += [self.address.eq(base + number), self.beat.eq(beat)]
        m.d.comb += self.quiet.eq(~(valid | beat.valid | beat.residual))
        return m
