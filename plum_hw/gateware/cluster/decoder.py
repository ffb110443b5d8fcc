"""The decoder, which skips zeros: from bytes of masks to the addresses of their set bits."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import MASK_BYTE, beat_layout, mask_layout, mask_stream
from plum_hw.layouts import DrainOp, Start


class Decoder(wiring.Component):
    """One beat for each set bit of a byte, lowest first, or one null beat for an empty byte.

    No bubble between bits nor between bytes. The last beat of a byte that drains waits until
    `drain_cycles` have passed since the last such beat, where its drain opens a bank until no
    unfinished emission reads that bank, and where it begins an emission while two are unfinished;
    nothing else ever waits, so that all later stages have a fixed latency. An issued beat is at the
    output `LATENCY` cycles later.

    An emission is unfinished from the cycle after its beat to the one with `finished`.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    window, residual : emissions read a window sum, a residual; constant during a layer
    i : bytes of masks
    finished, finished_bank : strobe for the emission of this filter bank
    idle, other : nothing is decoded, and `address` is that of this vector, `ADDRESS_LATENCY` cycles
        later
    address, beat : what the activation memory and the lanes get
    beat_count, drain_stalls, emit_stalls : strobes for the performance counters
    overrun : strobe: an emission began before that of the same bank was finished, which only a
        wrong program asks for
    quiet : nothing is being decoded, no emission is unfinished
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        #: Cycles from the issue of a beat to the output.
        self.LATENCY = 1 if config.slow_clock else 2
        #: Cycles from `other` to `address`.
        self.ADDRESS_LATENCY = 0 if config.slow_clock else 1
        super().__init__(
            {
                "window": In(1),
                "residual": In(1),
                "i": In(mask_stream(config)),
                "finished": In(1),
                "finished_bank": In(2),
                "idle": In(1),
                "other": In(config.act_addr_bits),
                "address": Out(config.act_addr_bits),
                "beat": Out(beat_layout(config)),
                "beat_count": Out(1),
                "drain_stalls": Out(1),
                "emit_stalls": Out(1),
                "overrun": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()

        word = Signal(mask_layout(config))
        opens = Signal()  # its drain opens a bank
        valid = Signal()
        rest = Signal(MASK_BYTE)  # set bits above the lowest one
        last = Signal()
        m.d.comb += [
            rest.eq(word.mask & Cat(word.mask[:bit].any() for bit in range(MASK_BYTE))),
            last.eq(_at_most_one(word.mask)),
        ]

        # Whether the next word is taken is known late and decides much, so it depends on as little
        # as it can.
        drain_wait, waits = Signal(range(config.drain_cycles)), Signal()
        by_drain, by_emit, blocked, issue = Signal(), Signal(), Signal(), Signal()
        read, full, unfinished = self._banks(m, word, issue & last & word.emit)
        m.d.comb += [
            by_drain.eq(word.drain & waits),
            by_emit.eq((opens & read) | (word.emit & full)),
            blocked.eq(by_drain | by_emit),
            self.i.ready.eq(~valid | (last & ~blocked)),
            issue.eq(valid & ~(last & blocked)),
            self.beat_count.eq(issue),
            self.drain_stalls.eq(valid & last & by_drain),
            self.emit_stalls.eq(valid & last & by_emit & ~by_drain),
            self.quiet.eq(~(valid | unfinished)),
        ]
        with m.If(issue & last & word.drain):
            m.d.sync += [drain_wait.eq(config.drain_cycles - 1), waits.eq(config.drain_cycles > 1)]
        with m.Elif(waits):
            m.d.sync += [drain_wait.eq(drain_wait - 1), waits.eq(drain_wait != 1)]

        with m.If(issue):
            m.d.sync += [word.mask.eq(rest), word.start.eq(Start.KEEP)]
        with m.If(self.i.ready):
            m.d.sync += [
                valid.eq(self.i.valid),
                word.eq(self.i.payload),
                opens.eq(self.i.payload.drain & (self.i.payload.drain_job.op == DrainOp.SET)),
            ]

        # A cycle to number the bit, one to make it an address unless the clock is slow.
        number = Signal(range(MASK_BYTE))
        byte = Signal.like(word.byte)
        base = Signal(config.act_addr_bits)
        beat = Signal(beat_layout(config))
        lowest = [word.mask[bit] & ~word.mask[:bit].any() for bit in range(MASK_BYTE)]
        m.d.sync += [
            number.eq(
                Cat(
                    Cat(lowest[bit] for bit in range(MASK_BYTE) if bit >> k & 1).any()
                    for k in range(len(number))
                )
            ),
            byte.eq(word.byte),
            base.eq(word.address),
            beat.valid.eq(issue),
            beat.null.eq(word.mask == 0),
            beat.start.eq(word.start),
            beat.drain.eq(word.drain & last),
            beat.drain_job.eq(word.drain_job),
            beat.emit.eq(issue & word.emit & last),
            beat.emit_job.eq(word.emit_job),
        ]
        # The selection shares the adder's LUT. Its register, like memory, is there when all else is
        # held in reset.
        address = Signal(config.act_addr_bits, reset_less=True)
        m.d.comb += self.address.eq(address)
        m.d["comb" if config.slow_clock else "sync"] += [
            address.eq(Cat(number, byte) + Mux(self.idle, self.other, base)),
            self.beat.eq(beat),
        ]
        return m

    def _banks(self, m: Module, word: Signal, emits: Value) -> tuple[Value, Value, Value]:
        """Whether an unfinished emission reads the bank of the word's drain; whether there are two;
        whether there is one.

        emits : the word's last beat, which begins an emission, is issued
        """
        job = word.emit_job
        # Of each filter bank's emission: is there one; and which other banks those of the first two
        # read, where these are not for filters too.
        unfinished = Signal(4)
        sides = [Signal(2, name=f"side_{bank}") for bank in range(2)]
        for bank in range(4):
            begins = emits & (job.bank == bank)
            with m.If(begins):
                m.d.sync += unfinished[bank].eq(1)
            with m.Elif(self.finished & (self.finished_bank == bank)):
                m.d.sync += unfinished[bank].eq(0)
            if bank >= len(sides):
                continue
            with m.If(begins):
                m.d.sync += sides[bank].eq(
                    Mux(self.window, 1 << job.window_bank, 0)
                    | Mux(self.residual, 1 << job.residual_bank, 0)
                )
            with m.Elif(self.finished & (self.finished_bank == bank)):
                m.d.sync += sides[bank].eq(0)
        m.d.comb += self.overrun.eq(emits & unfinished.bit_select(job.bank, 1))
        read = Cat(unfinished[:2], unfinished[2:] | sides[0] | sides[1])
        pairs = [unfinished[i] & unfinished[j] for i in range(4) for j in range(i)]
        return read.bit_select(word.drain_job.bank, 1), Cat(pairs).any(), unfinished.any()


def _at_most_one(mask: Value) -> Value:
    """Whether at most one bit is set, in few levels of LUTs."""
    halves = [mask[: len(mask) // 2], mask[len(mask) // 2 :]]
    two = [
        Cat(half[i] & half[j] for i in range(len(half)) for j in range(i)).any() for half in halves
    ]
    return ~(two[0] | two[1] | (halves[0].any() & halves[1].any()))
