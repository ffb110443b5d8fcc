"""The drain: from lane accumulators, a kernel column at a time, to sums of whole filters."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory, MemoryData
from amaranth.lib.wiring import In

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import DrainJob, sum_port, sums_layout
from plum_hw.gateware.cluster.mux_tree import mux_tree
from plum_hw.layouts import DrainOp

#: Two banks for filters, two for the window sum and residuals.
_BANKS = 4


class Drain(wiring.Component):
    """Reads a snapshot in `groups` cycles: aligns, negates and adds to the sums in LUT RAM.

    A group a cycle; drains may follow each other without a gap. A sum is read, changed and written
    back in one cycle, so the order of drains is the order of effects for any number of groups.

    Output lane i of group g takes lane 8g + i + shift; `shift` is at most `reach` to either side.
    Lanes that agree modulo 8 share a multiplexer, since each group of outputs takes one of them;
    what these select is then rotated.

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
        size, groups, reach = config.group_lanes, config.groups, config.reach

        # Cycle 0: which group. The counter is zero again after the last.
        running, group = Signal(), Signal(config.group_bits)
        run = self.start | running
        shift = Signal(signed(min(4, reach.bit_length() + 1)))
        align_run, align_job = Signal(), Signal(DrainJob)
        align_group = Signal(config.group_bits)
        m.d.comb += shift.eq(Mux(self.start, self.job.shift, align_job.shift))
        m.d.sync += [
            running.eq(run & (group != groups - 1)),
            align_run.eq(run),
            align_group.eq(group),
        ]
        with m.If(run):
            m.d.sync += group.eq((group + 1) % groups)
        with m.If(self.start):
            m.d.sync += align_job.eq(self.job)

        # Residues that the rotation carries over a border are those of the group beside. Where
        # there is no such group the lane is cleared later.
        selected = Signal(data.ArrayLayout(unsigned(config.acc_bits), size))
        for residue in range(size):
            number = Signal(config.group_bits, name=f"group_{residue}")
            after = shift > residue if residue < reach else 0
            before = shift < residue + 1 - size if residue >= size - reach else 0
            m.d.comb += number.eq(group + after - before)
            lanes = [self.snapshot[size * index + residue] for index in range(groups)]
            m.d.sync += selected[residue].eq(mux_tree(number, lanes))
        left, right = Signal(), Signal()  # the groups beside are of the same strip
        m.d.sync += [
            left.eq(mux_tree(group, [0, *~self.left_edge[1:]])),
            right.eq(mux_tree(group, [*~self.left_edge[1:], 0])),
        ]

        # Cycle 1: rotate and negate, as a complement and a carry; lanes beyond the strip are zero.
        change_run, change_job = Signal(), Signal(DrainJob)
        change_group = Signal(config.group_bits)
        m.d.sync += [
            change_run.eq(align_run),
            change_job.eq(align_job),
            change_group.eq(align_group),
        ]
        shift, negate = align_job.shift, align_job.negate
        operands = []
        for lane in range(size):
            # Without the common reset, so that the flip-flops' own serves the clearing.
            operand = Signal(signed(config.acc_bits + 1), name=f"operand_{lane}", reset_less=True)
            carry = Signal(name=f"carry_{lane}", reset_less=True)
            beyond = (~left & (lane + shift < 0)) if lane < reach else 0
            beyond |= (~right & (lane + shift >= size)) if lane >= size - reach else 0
            rotated = self._rotated(shift, [selected[(lane + by) % size] for by in range(size)])
            m.d.sync += [
                operand.eq(Cat(rotated, 0) ^ negate.replicate(config.acc_bits + 1)),
                carry.eq(negate),
            ]
            with m.If(beyond):
                m.d.sync += [operand.eq(0), carry.eq(0)]
            operands.append((operand, carry))

        # Cycle 2: read, change, write.
        m.submodules.sums = memory = Memory(self.sums_data)
        old_port = memory.read_port(domain="comb")
        read_port = memory.read_port(domain="comb")
        write_port = memory.write_port(granularity=config.sum_bits)

        def address(bank: Value, group: Value) -> Value:
            return Cat(group, bank) if groups > 1 else bank

        m.d.comb += [
            old_port.addr.eq(address(change_job.bank, change_group)),
            write_port.addr.eq(old_port.addr),
            read_port.addr.eq(address(self.port.bank, self.port.group)),
        ]
        m.d.sync += self.port.sums.eq(read_port.data)
        old = data.View(sums_layout(config), old_port.data)
        new = data.View(sums_layout(config), write_port.data)
        for lane, (operand, carry) in enumerate(operands):
            base = Signal(signed(config.sum_bits), name=f"base_{lane}")
            with m.Switch(change_job.op):
                with m.Case(DrainOp.ADD):
                    m.d.comb += base.eq(old[lane])
                with m.Case(DrainOp.NIBBLE):
                    m.d.comb += base.eq(old[lane] << 4)
            larger = 0  # of two activations
            for bit in range(config.act_bits):
                larger = Mux(operand[bit] ^ old[lane][bit], operand[bit], larger)
            m.d.comb += [
                # One adder, with a bit below for the carry.
                new[lane].eq((Cat(carry, operand).as_signed() + Cat(carry, base).as_signed()) >> 1),
                # A sum that is the largest already is kept by not being written.
                write_port.en[lane].eq(change_run & ((change_job.op != DrainOp.MAX) | larger)),
            ]
        return m

    def _rotated(self, shift: Value, choices: Sequence[Value]) -> Value:
        """`choices[shift % 8]`, with as few choices as `reach` needs."""
        reach = self._config.reach
        bits = min(3, reach.bit_length() + 1)
        turns = []
        for turn in range(1 << bits):
            signed_turn = turn - (turn >> (bits - 1) << bits)
            # What no shift selects costs nothing where it is the same as a neighbour.
            within = abs(signed_turn) <= reach or reach >= len(choices) // 2
            turns.append(signed_turn if within else 0)
        return mux_tree(shift[:bits], [choices[turn % len(choices)] for turn in turns])
