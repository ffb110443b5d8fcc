"""The drain: from lane accumulators, a kernel column at a time, to sums of whole filters."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory, MemoryData
from amaranth.lib.wiring import In

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import DrainJob, sum_port, sums_layout
from plum_hw.gateware.cluster.mux_tree import mux_tree
from plum_hw.layouts import DrainOp

#: Two banks for filters and two for the window sum.
_BANKS = 4


class Drain(wiring.Component):
    """Reads a snapshot in `groups` cycles: aligns, negates and adds to the sums in LUT RAM.

    A group a cycle; drains may follow each other without a gap. A sum is read, changed and written
    back in one cycle, so the order of drains is the order of effects for any number of groups.

    Output lane i of group g takes lane 8g + i + shift. Lanes that agree modulo 8 share a
    multiplexer, since each group of outputs takes one of them; what these select is then rotated by
    `shift`, which may be -7 to 7 whatever the configuration's `reach`.

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
        width = config.group_lanes * config.sum_bits
        self.sums_data = MemoryData(shape=unsigned(width), depth=_BANKS * config.groups, init=[])
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
        size, groups = config.group_lanes, config.groups
        stage = data.StructLayout(
            {"run": unsigned(1), "job": DrainJob, "group": unsigned(config.group_bits)}
        )

        # Cycle 0: which group. Job and counter stay for the groups after the first.
        select, align = Signal(stage), Signal(stage)
        running = Signal()
        next_group = Signal(config.group_bits)
        held = Signal(DrainJob)
        m.d.comb += [
            select.run.eq(self.start | running),
            select.job.eq(Mux(self.start, self.job, held)),
            select.group.eq(Mux(self.start, 0, next_group)),
        ]
        m.d.sync += [
            align.eq(select),
            held.eq(select.job),
            next_group.eq(select.group + 1),
            running.eq(select.run & (select.group != groups - 1)),
        ]

        # The first lane that the group takes is in group `low`; residues below its own are in the
        # group after that. Where there is no such group the lane is cleared later.
        rotation = select.job.shift.as_unsigned()[:3]
        low, high = Signal(config.group_bits), Signal(config.group_bits)
        m.d.comb += [
            low.eq(select.group - (select.job.shift < 0)),
            high.eq(select.group + (select.job.shift >= 0)),
        ]
        selected = Signal(data.ArrayLayout(unsigned(config.acc_bits), size))
        for residue in range(size):
            group = Signal(config.group_bits, name=f"group_{residue}")
            m.d.comb += group.eq(Mux(residue < rotation, high, low))
            lanes = [self.snapshot[number * size + residue] for number in range(groups)]
            m.d.sync += selected[residue].eq(mux_tree(group, lanes))
        left, right = Signal(), Signal()  # the neighbouring groups are of the same strip
        m.d.sync += [
            left.eq(mux_tree(select.group, [0, *~self.left_edge[1:]])),
            right.eq(mux_tree(select.group, [*~self.left_edge[1:], 0])),
        ]

        # Cycle 1: rotate and negate, as a complement and a carry; lanes beyond the strip are zero.
        change = Signal(stage)
        m.d.sync += change.eq(align)
        shift, negate = align.job.shift, align.job.negate
        operands = []
        for lane in range(size):
            # Without the common reset, so that the flip-flops' own serves the clearing.
            operand = Signal(signed(config.acc_bits + 1), name=f"operand_{lane}", reset_less=True)
            carry = Signal(name=f"carry_{lane}", reset_less=True)
            from_left, from_right = lane + shift < 0, lane + shift >= size
            rotated = mux_tree(
                shift.as_unsigned()[:3], [selected[(lane + r) % size] for r in range(size)]
            )
            with m.If((from_left & ~left) | (from_right & ~right)):
                m.d.sync += [operand.eq(0), carry.eq(0)]
            with m.Else():
                m.d.sync += [
                    operand.eq(Cat(rotated, 0) ^ negate.replicate(config.acc_bits + 1)),
                    carry.eq(negate),
                ]
            operands.append((operand, carry))

        # Cycle 2: read, change, write.
        m.submodules.sums = memory = Memory(self.sums_data)
        old_port = memory.read_port(domain="comb")
        read_port = memory.read_port(domain="comb")
        write_port = memory.write_port(granularity=config.sum_bits)

        def address(bank: Signal, group: Signal) -> Cat:
            return Cat(group, bank) if groups > 1 else bank

        m.d.comb += [
            old_port.addr.eq(address(change.job.bank, change.group)),
            write_port.addr.eq(old_port.addr),
            read_port.addr.eq(address(self.port.bank, self.port.group)),
        ]
        m.d.sync += self.port.sums.eq(read_port.data)
        old = data.View(sums_layout(config), old_port.data)
        new = data.View(sums_layout(config), write_port.data)
        for lane, (operand, carry) in enumerate(operands):
            base = Signal(signed(config.sum_bits), name=f"base_{lane}")
            with m.Switch(change.job.op):
                with m.Case(DrainOp.ADD):
                    m.d.comb += base.eq(old[lane])
                with m.Case(DrainOp.NIBBLE):
                    m.d.comb += base.eq(old[lane] << 4)
            # A sum that is the largest already is kept by not being written.
            larger = Cat(carry, operand).as_signed() > Cat(0, old[lane]).as_signed()
            m.d.comb += [
                # One adder, with a bit below for the carry.
                new[lane].eq((Cat(carry, operand).as_signed() + Cat(carry, base).as_signed()) >> 1),
                write_port.en[lane].eq(change.run & ((change.job.op != DrainOp.MAX) | larger)),
            ]
        return m
