"""The drain: from lane accumulators, a kernel column at a time, to sums of whole filters."""

from functools import reduce
from operator import or_
from typing import ClassVar

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.activation_memory import NEVER_AT_ONCE
from plum_hw.gateware.cluster.jobs import DrainJob, sum_port, sums_layout
from plum_hw.gateware.cluster.mux_tree import mux_tree
from plum_hw.layouts import DrainOp
from plum_hw.timing import DRAIN_LATENCY

#: Two banks for filters, two for the window sum and residuals.
BANKS = 4


def drain_members(config: ArrayConfig) -> dict[str, wiring.Member]:
    """The members of a drain, of a group a cycle or of a lane."""
    return {
        "snapshot": In(data.ArrayLayout(unsigned(config.acc_bits), config.lanes)),
        "start": In(1),
        "job": In(DrainJob),
        "left_edge": In(config.groups),
        "port": In(sum_port(config)),
    }


class Drain(wiring.Component):
    """Reads a snapshot in `groups` cycles: negates, aligns and adds to the sums.

    A group a cycle; drains may follow each other without a gap. A sum in LUT RAM is read, changed
    and written back in one cycle. Where LUTs are small, or sums are in block RAM, it is read one or
    two cycles earlier, as far as the drains of a group are apart: so the order of drains is the
    order of effects for any number of groups.

    Output lane i of group g takes lane 8g + i + shift, `shift` being at most `reach` either way: a
    lane of the group, of the one before or of the one after.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    snapshot : lane accumulators, constant for `groups` cycles from `start` on
    start, job : strobe to begin, at the earliest `drain_cycles` after the last one
    left_edge : bit g: group g begins a strip; constant during a layer
    port : the emitter's way to read the sums
    """

    #: Cycles from the read of a sum to its write, by `block_sums` and `lut_inputs`, if there are
    #: groups enough. A read of block RAM takes half a cycle, so it goes into a register too.
    _EARLY: ClassVar = {(0, 6): 0, (0, 4): 1, (1, 6): 2, (1, 4): 2}

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        #: Cycles from `start` until the emitter may address any of the drain's sums.
        self.LATENCY = DRAIN_LATENCY(config)
        super().__init__(drain_members(config))

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        size, groups, reach = config.group_lanes, config.groups, config.reach

        # Which group, and what for, in every stage. The counter is zero again after the last group.
        running = Signal()
        group = [Signal(config.group_bits, name=f"group_{number}") for number in range(5)]
        run = [Signal(name=f"run_{number}") for number in range(5)]
        job = [Signal(DrainJob, name=f"job_{number}") for number in range(5)]
        m.d.comb += run[0].eq(self.start | running)
        m.d.sync += running.eq(run[0] & (group[0] != groups - 1))
        with m.If(run[0]):
            m.d.sync += group[0].eq((group[0] + 1) % groups)
        with m.If(self.start):
            m.d.sync += job[1].eq(self.job)
        for number in range(1, 5):
            m.d.sync += [run[number].eq(run[number - 1]), group[number].eq(group[number - 1])]
            if number > 1:
                m.d.sync += job[number].eq(job[number - 1])

        # Stages 0, 1: the group's lanes, as a complement where they are subtracted.
        lanes = self._group(m, group[0], job[1].negate)

        # Stages 2, 3: rotate. The next group has come by now, the last one is kept. Lanes beyond
        # the strip are zero.
        before, here = Signal.like(lanes), Signal.like(lanes)
        m.d.sync += [here.eq(lanes), before.eq(here)]
        left, right = Signal(), Signal()  # the groups beside are of the same strip
        m.d.sync += [
            left.eq(mux_tree(group[2], [0, *~self.left_edge[1:]])),
            right.eq(mux_tree(group[2], [*~self.left_edge[1:], 0])),
        ]
        around = [*before, *here, *lanes]
        shift = job[3].shift[: min(4, reach.bit_length() + 1)].as_signed()
        subtracts = Signal()
        m.d.sync += subtracts.eq(job[3].negate)
        operands = []
        for lane in range(size):
            # Without the common reset, so that the flip-flops' own serves the clearing.
            operand = Signal(config.acc_bits, name=f"operand_{lane}", reset_less=True)
            carry = subtracts
            choices = {by: around[size + lane + by] for by in range(-reach, reach + 1)}
            m.d.sync += operand.eq(choose(shift, choices))
            if lane < reach or lane >= size - reach:
                carry = Signal(name=f"carry_{lane}", reset_less=True)
                m.d.sync += carry.eq(job[3].negate)
                beyond = (~left & (shift < -lane)) | (~right & (shift >= size - lane))
                with m.If(beyond):
                    m.d.sync += [operand.eq(0), carry.eq(0)]
            operands.append((operand, carry))

        # Stage 2, 3 or 4: read. Stage 4: change, write.
        old, write = Signal(sums_layout(config)), Signal(size)
        new = Signal.like(old)
        at = [Cat(group[number], job[number].bank) for number in range(5)]
        early = min(
            self._EARLY[config.block_sums, config.lut_inputs],
            (config.drain_cycles - 1).bit_length(),
        )
        self._sums(m, early, at[4 - early], at[4], old, new, write, run[4])
        # A sum that is the largest already is kept by not being written.
        always, if_larger = Signal(), Signal()
        keeps = job[3].op == DrainOp.MAX
        m.d.sync += [always.eq(run[3] & ~keeps), if_larger.eq(run[3] & keeps)]
        for lane, (operand, carry) in enumerate(operands):
            base = Signal(signed(config.sum_bits), name=f"base_{lane}")
            with m.Switch(job[4].op):
                with m.Case(DrainOp.ADD):
                    m.d.comb += base.eq(old[lane])
                with m.Case(DrainOp.NIBBLE):
                    m.d.comb += base.eq(old[lane] << 4)
            # Of two activations.
            is_larger = larger(operand[: config.act_bits], old[lane][: config.act_bits])
            m.d.comb += [
                # One adder, with a bit below for the complement's carry.
                new[lane].eq(
                    (Cat(carry, operand, carry).as_signed() + Cat(carry, base).as_signed()) >> 1
                ),
                write[lane].eq(always | (if_larger & is_larger)),
            ]
        return m

    def _sums(
        self,
        m: Module,
        early: int,
        read_address: Value,
        address: Value,
        old: Signal,
        new: Signal,
        write: Signal,
        run: Value,
    ) -> None:
        """The sums in two memories: bits of an activation, written where `write`; bits above, which
        are zero wherever `write` keeps a sum.

        early : cycles from `read_address`, of `old`, to `address`, where the same word is written
        """
        low, block = self._config.act_bits, bool(self._config.block_sums)
        # No sum is read as it is written: a bank is read once all its groups are settled.
        attributes = {**NEVER_AT_ONCE, "ram_style": "block"} if block else {}
        port_address = Cat(self.port.group, self.port.bank)
        for name, bits, enable in (
            ("low", slice(0, low), write),
            ("high", slice(low, None), run),
        ):
            values = [Cat(lane[bits] for lane in lanes) for lanes in (self.port.sums, old, new)]
            m.submodules[f"sums_{name}"] = memory = Memory(
                shape=unsigned(len(values[0])),
                depth=BANKS << len(self.port.group),
                init=[],
                attrs=attributes,
            )
            domain = "sync" if block else "comb"
            read, read_old = memory.read_port(domain=domain), memory.read_port(domain=domain)
            write_port = memory.write_port(granularity=len(values[0]) // len(enable))
            m.d.comb += [
                read.addr.eq(port_address),
                read_old.addr.eq(read_address),
                write_port.addr.eq(address),
                write_port.data.eq(values[2]),
                write_port.en.eq(enable),
            ]
            m.d["comb" if block else "sync"] += values[0].eq(read.data)
            # Block RAM takes a cycle by itself.
            m.d["sync" if early > block else "comb"] += values[1].eq(read_old.data)

    def _group(self, m: Module, group: Signal, negate: Value) -> data.View:
        """A group of the snapshot, two cycles later; negate : a cycle later.

        Some groups go through multiplexers of four, the rest has a register each; whatever has not
        been selected is cleared, and an OR of all takes one more LUT.
        """
        config = self._config
        count = config.groups
        muxes = max(0, -(-(count - 5) // 3))
        lanes = Signal(data.ArrayLayout(unsigned(config.acc_bits), config.group_lanes))
        for residue in range(config.group_lanes):
            choices = [self.snapshot[config.group_lanes * i + residue] for i in range(count)]
            sources = [
                (group[2:] == i, mux_tree(group[:2], choices[4 * i :][:4])) for i in range(muxes)
            ]
            sources += [(group == i, choices[i]) for i in range(4 * muxes, count)]
            parts = []
            for number, (selected, value) in enumerate(sources):
                part = Signal(config.acc_bits, name=f"part_{number}_{residue}", reset_less=True)
                m.d.sync += part.eq(value)
                with m.If(~selected):
                    m.d.sync += part.eq(0)
                parts.append(part)
            complement = negate.replicate(config.acc_bits)
            m.d.sync += lanes[residue].eq(reduce(or_, parts) ^ complement)
        return lanes


def larger(a: Value, b: Value) -> Value:
    """Whether a > b, unsigned: a LUT for two bits, which is less than a carry chain takes."""
    result: Value = Const(0)
    for low in range(0, len(a), 2):
        for x, y in zip(a[low : low + 2], b[low : low + 2], strict=True):
            result = (x & ~y) | (~(x ^ y) & result)
    return result


def choose(shift: Value, choices: dict[int, Value]) -> Value:
    """`choices[shift]`; what is none of them costs nothing where it is the same as a neighbour."""
    half = 1 << (len(shift) - 1)
    turns = [turn - 2 * half * (turn >= half) for turn in range(2 * half)]
    return mux_tree(shift, [choices.get(turn, choices[0]) for turn in turns])
