"""The drain: from lane accumulators, a kernel column at a time, to sums of whole filters."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory, MemoryData
from amaranth.lib.wiring import In

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import DrainJob, sum_port, sums_layout
from plum_hw.layouts import DrainOp

#: Two banks for filters and two for the window sum.
_BANKS = 4


class Drain(wiring.Component):
    """Reads a snapshot in `groups` cycles: aligns, negates and adds to the sums in LUT RAM.

    A group a cycle; drains may follow each other without a gap. A sum is read, changed and written
    back in one cycle, so the order of drains is the order of effects for any number of groups.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    snapshot : lane accumulators, constant for `groups` cycles from `start` on
    start, job : strobe to begin, at the earliest `groups` cycles after the last one
    left_edge : bit g: group g begins a strip; constant during a layer
    port : the emitter's way to read the sums
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        #: Cycles from `start` until the emitter may address any of the drain's sums.
        self.LATENCY = config.groups + 2
        depth = _BANKS << (config.groups - 1).bit_length()
        width = config.group_lanes * config.sum_bits
        self.sums_data = MemoryData(shape=unsigned(width), depth=depth, init=[])
        super().__init__(
            {
                "snapshot": In(data.ArrayLayout(unsigned(config.acc_bits), config.lanes)),
                "start": In(1),
                "job": In(DrainJob),
                "left_edge": In(config.groups),
                "port": In(sum_port(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        size, reach, groups = config.group_lanes, config.reach, config.groups

        # Stage 0: which group. Job and counter stay for the groups after the first.
        count = Signal(range(groups))
        active = Signal()
        held = Signal(DrainJob)
        job = Signal(DrainJob)
        group = Signal(config.group_bits)
        run = Signal()
        m.d.comb += [
            run.eq(self.start | active),
            group.eq(Mux(self.start, 0, count)),
            job.eq(Mux(self.start, self.job, held)),
        ]
        with m.If(self.start):
            m.d.sync += held.eq(self.job)
        with m.If(run):
            m.d.sync += [count.eq(group + 1), active.eq(group != groups - 1)]

        # Stage 1: the group's lanes and their neighbours; zeros beyond the strip.
        neighbours = Signal(data.ArrayLayout(unsigned(config.acc_bits), size + 2 * reach))
        left_zero, right_zero = Signal(), Signal()
        with m.Switch(group):
            for g in range(groups):
                with m.Case(g):
                    m.d.comb += [
                        left_zero.eq(1 if g == 0 else self.left_edge[g]),
                        right_zero.eq(1 if g == groups - 1 else self.left_edge[g + 1]),
                    ]
        for place in range(size + 2 * reach):
            with m.Switch(group):
                for g in range(groups):
                    lane = g * size + place - reach
                    if 0 <= lane < config.lanes:
                        with m.Case(g):
                            m.d.sync += neighbours[place].eq(self.snapshot[lane])
            if place < reach:
                with m.If(left_zero):
                    m.d.sync += neighbours[place].eq(0)
            if place >= reach + size:
                with m.If(right_zero):
                    m.d.sync += neighbours[place].eq(0)
        run_1, job_1, group_1 = Signal(), Signal(DrainJob), Signal.like(group)
        m.d.sync += [run_1.eq(run), job_1.eq(job), group_1.eq(group)]

        # Stage 2: shifted by a kernel column.
        aligned = Signal(data.ArrayLayout(unsigned(config.acc_bits), size))
        for lane in range(size):
            with m.Switch(job_1.shift):
                for shift in range(-reach, reach + 1):
                    with m.Case(shift):
                        m.d.sync += aligned[lane].eq(neighbours[lane + reach + shift])
        run_2, job_2, group_2 = Signal(), Signal(DrainJob), Signal.like(group)
        m.d.sync += [run_2.eq(run_1), job_2.eq(job_1), group_2.eq(group_1)]

        # Stage 3: read, change, write.
        m.submodules.sums = memory = Memory(self.sums_data)
        old_port = memory.read_port(domain="comb")
        read_port = memory.read_port(domain="comb")
        write_port = memory.write_port()
        bits = (groups - 1).bit_length()
        place = (job_2.bank << bits) | (group_2 if bits else 0)
        old = data.View(sums_layout(config), old_port.data)
        new = Signal(sums_layout(config))
        largest = Signal()
        subtract = Signal()
        m.d.comb += [
            largest.eq(job_2.op == DrainOp.MAX),
            subtract.eq(job_2.negate | largest),
        ]
        for lane in range(size):
            base = Signal(signed(config.sum_bits), name=f"base_{lane}")
            total = Signal(signed(config.sum_bits), name=f"total_{lane}")
            with m.Switch(job_2.op):
                with m.Case(DrainOp.SET):
                    m.d.comb += base.eq(0)
                with m.Case(DrainOp.NIBBLE):
                    m.d.comb += base.eq(old[lane] << 4)
                with m.Default():
                    m.d.comb += base.eq(old[lane])
            # One adder: a subtraction adds the complement and carries one in from below.
            operand = Cat(aligned[lane], Const(0, config.sum_bits - config.acc_bits))
            operand ^= subtract.replicate(config.sum_bits)
            m.d.comb += [
                total.eq((Cat(subtract, base) + Cat(subtract, operand)) >> 1),
                new[lane].eq(total),
            ]
            # The largest value is kept where the difference is not negative.
            with m.If(largest):
                m.d.comb += new[lane].eq(Mux(total < 0, aligned[lane], old[lane]))
        m.d.comb += [
            old_port.addr.eq(place),
            write_port.addr.eq(place),
            write_port.data.eq(new),
            write_port.en.eq(run_2),
            read_port.addr.eq((self.port.bank << bits) | (self.port.group if bits else 0)),
        ]
        m.d.sync += self.port.sums.eq(read_port.data)
        return m
