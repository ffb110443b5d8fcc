"""The fetcher: from segments to the bytes of their mask words that have anything set."""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import MASK_BYTE, mask_stream, segment_stream
from plum_hw.gateware.cluster.mux_tree import mux_tree
from plum_hw.layouts import WORD_BITS, Start


class Fetcher(wiring.Component):
    """Reads a segment's mask words and hands on their bytes that are not zero, one a cycle.

    Nothing is lost between bytes, words and segments. An empty word becomes one empty byte. Words
    follow each other in code memory as they are used, except where a segment restarts. The word of
    a residual is no mask but goes into its address.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    weight_ptr : of the layer's first word; constant during a layer
    i : segments
    o : bytes of masks
    address, word : code memory; `word` is what was addressed in the cycle before
    quiet : no word is on its way
    """

    #: Cycles from a segment at the input to its first byte at the output.
    LATENCY = 1

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        super().__init__(
            {
                "weight_ptr": In(config.code_addr_bits),
                "i": In(segment_stream(config)),
                "o": Out(mask_stream(config)),
                "address": Out(config.code_addr_bits),
                "word": In(WORD_BITS),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        segment = self.i.payload

        # The next word is asked for as the last byte of the present one goes; until then the
        # present one is asked for again, so that it stays.
        valid, more, first, last, issue = Signal(), Signal(), Signal(init=1), Signal(), Signal()
        restart = Signal()
        pointer = Signal(config.code_addr_bits)
        left, left_after = Signal(7), Signal(7)  # words of the segment not yet asked for
        m.d.comb += [
            left_after.eq(C(-1, 7) + Mux(first, segment.words, left)),
            last.eq(left_after == 0),
            issue.eq(self.i.valid & (~valid | (self.o.ready & ~more))),
            self.i.ready.eq(issue & last),
            restart.eq(issue & first & segment.restart),
            self.address.eq((issue & ~restart) + Mux(restart, self.weight_ptr, pointer)),
            self.quiet.eq(~valid),
        ]
        # Beside the word: what its segment says of it, and the address of its bit 0.
        base = Signal(config.act_addr_bits)
        residual, drain, emit = Signal(), Signal(), Signal()
        fresh = Signal()  # no byte of the word has gone yet
        start = Signal(Start)
        jobs = [Signal.like(self.o.payload[name]) for name in ("drain_job", "emit_job")]
        m.d.sync += pointer.eq(self.address)
        with m.If(issue):
            m.d.sync += [
                first.eq(last),
                left.eq(left_after),
                base.eq(
                    Mux(first, 0, config.mask_bits) + Mux(first, segment.address, base),
                ),
                residual.eq(segment.residual),
                start.eq(Mux(first, segment.start, Start.KEEP)),
                drain.eq(segment.drain & last),
                emit.eq(segment.emit & last),
                jobs[0].eq(segment.drain_job),
                jobs[1].eq(segment.emit_job),
            ]
        with m.If(self.o.ready | ~valid):
            m.d.sync += [valid.eq(issue | (valid & more)), fresh.eq(~(valid & more))]

        # The lowest byte that is not zero, of those that have not gone.
        count = config.mask_bits // MASK_BYTE
        data = [self.word.word_select(index, MASK_BYTE) for index in range(count)]
        gone, going, full = Signal(count), Signal(count), Signal(count)
        bits = (count - 1).bit_length()
        select = Signal(bits)
        m.d.comb += full.eq(Cat(byte.any() for byte in data) & ~gone)
        with m.If(residual):
            m.d.comb += full.eq(0)
        for index in reversed(range(count)):
            with m.If(full[index]):
                m.d.comb += [select.eq(index), going.eq((2 << index) - 1)]
        m.d.comb += more.eq((full & ~going).any())
        with m.If(valid & self.o.ready):
            m.d.sync += gone.eq(Mux(more, going, 0))

        payload = self.o.payload
        m.d.comb += [
            self.o.valid.eq(valid),
            payload.mask.eq(Mux(residual, 1, mux_tree(select, data))),
            payload.address.eq(
                base + Mux(residual, self.word[: len(base)], select << (MASK_BYTE - 1).bit_length())
            ),
            payload.start.eq(Mux(fresh, start, Start.KEEP)),
            payload.drain.eq(drain & ~more),
            payload.drain_job.eq(jobs[0]),
            payload.emit.eq(emit & ~more),
            payload.emit_job.eq(jobs[1]),
        ]
        return m
