"""The lanes: one add-only accumulator for each pixel of a vector."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import DrainJob, beat_layout, emit_job_layout
from plum_hw.layouts import Start


class Lanes(wiring.Component):
    """All lanes take the same step: acc = x, acc + x or 2*acc + x.

    One beat a cycle. The beat is given with the address that it reads; its vector follows a cycle
    later, its sum is in the accumulators three cycles later, in the snapshot four. Where the drain
    takes a snapshot itself (`drain_lanes` 1), it gets the accumulators in the third cycle.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    beat : what to do with the vector addressed in this cycle
    vector : vector addressed in the cycle before
    snapshot : accumulators after the last beat before a drain; changes with the next drain only, or
        is valid with the strobe only
    drain, drain_job : strobe in the first cycle of a new snapshot
    emit, emit_job : strobe, in step with `drain`, for an emit beat
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        self._keeps = config.drain_lanes > 1  # a snapshot
        #: Cycles from a beat at the input to its `drain` or `emit` strobe.
        self.LATENCY = 4 if self._keeps else 3
        super().__init__(
            {
                "beat": In(beat_layout(config)),
                "vector": In(data.ArrayLayout(unsigned(config.act_bits), config.lanes)),
                "snapshot": Out(data.ArrayLayout(unsigned(config.acc_bits), config.lanes)),
                "drain": Out(1),
                "drain_job": Out(DrainJob),
                "emit": Out(1),
                "emit_job": Out(emit_job_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        beat_1 = Signal(beat_layout(config))  # beside the memory's data
        beat_2 = Signal(beat_layout(config))  # beside the operand
        beat_3 = Signal(beat_layout(config))  # beside the accumulators
        m.d.sync += [beat_1.eq(self.beat), beat_2.eq(beat_1), beat_3.eq(beat_2)]

        # The accumulators of 64 lanes hang on these two; a register of their own keeps the path to
        # the carry chains short.
        clear, double = Signal(), Signal()
        m.d.sync += [
            clear.eq(beat_1.start == Start.CLEAR),
            double.eq(beat_1.start == Start.DOUBLE),
        ]
        # Where wires are slow the operands are block RAM's own registers, which have no reset: for
        # a null they are masked at the adder instead, where LUTs of four have an input to spare.
        masked = config.slow_wires
        for lane in range(config.lanes):
            operand = Signal(config.act_bits, name=f"operand_{lane}", reset_less=masked)
            acc = Signal(config.acc_bits, name=f"acc_{lane}")
            m.d.sync += operand.eq(self.vector[lane])
            if masked:
                operand &= (~beat_2.null).replicate(config.act_bits)
            else:
                with m.If(beat_1.null):
                    m.d.sync += operand.eq(0)
            with m.If(beat_2.valid):
                # The operand comes first: it is the carry chain's direct input, so that the
                # selection shares the adder's LUT.
                base = Mux(clear, 0, Mux(double, acc << 1, acc))
                m.d.sync += acc.eq(operand + base[: config.acc_bits])
            if not self._keeps:
                m.d.comb += self.snapshot[lane].eq(acc)
                continue
            with m.If(beat_3.valid & beat_3.drain):
                m.d.sync += self.snapshot[lane].eq(acc)
        m.d["sync" if self._keeps else "comb"] += [
            self.drain.eq(beat_3.valid & beat_3.drain),
            self.drain_job.eq(beat_3.drain_job),
            self.emit.eq(beat_3.emit),
            self.emit_job.eq(beat_3.emit_job),
        ]
        return m
