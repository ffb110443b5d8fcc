"""The drain of small arrays: one lane after the other."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.activation_memory import NEVER_AT_ONCE
from plum_hw.gateware.cluster.drain import BANKS, choose, drain_members, larger
from plum_hw.gateware.cluster.jobs import DrainJob
from plum_hw.layouts import DrainOp
from plum_hw.timing import DRAIN_LATENCY


class SerialDrain(wiring.Component):
    """Takes the accumulators up and adds a lane a cycle to the sums, as `Drain` does a group.

    The lanes move down a line of registers, so that nothing selects among them, and a word of the
    sums is one lane's. Drains may follow each other without a gap. Output lane i takes lane i +
    shift, or zero where that is none of its strip.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    snapshot : lane accumulators, in the cycle of `start` only
    start, job : strobe to begin, at the earliest `drain_cycles` after the last one
    left_edge : bit g: group g begins a strip; constant during a layer
    port : the emitter's way to read the sums
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        #: Cycles from `start` until the emitter may address lane 0 of any group, and the others in
        #: their order.
        self.LATENCY = DRAIN_LATENCY(config)
        super().__init__(drain_members(config))

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        size, lanes, reach = config.group_lanes, config.lanes, config.reach
        block = bool(config.block_sums)

        # Stage 1: lane `at` is the first of the line, with as many as `reach` behind it.
        running = Signal()
        at = Signal(range(lanes))
        job = Signal(DrainJob)
        line = [Signal(config.acc_bits, name=f"line_{lane}") for lane in range(lanes)]
        past = [Signal(config.acc_bits, name=f"past_{by}") for by in range(reach)]
        m.d.sync += running.eq(self.start | (running & (at != lanes - 1)))
        with m.If(running):
            m.d.sync += at.eq(at + 1)  # zero again after the last one
        with m.If(self.start):
            m.d.sync += job.eq(self.job)
        with m.If(self.start | running):
            for lane, (register, taken) in enumerate(zip(line, self.snapshot, strict=True)):
                below = line[lane + 1] if lane + 1 < lanes else Const(0)
                m.d.sync += register.eq(Mux(self.start, taken, below))
            for register, taken in zip(past, [line[0], *past], strict=False):
                m.d.sync += register.eq(taken)

        # Stage 2: the operand, a complement where it is subtracted, beside its sum.
        shift = job.shift[: min(4, reach.bit_length() + 1)].as_signed()
        near = {-by: past[by - 1] for by in range(1, reach + 1)}
        near |= {by: line[by] if by < lanes else Const(0) for by in range(reach + 1)}
        edges = Cat(Const(1, 1), self.left_edge[1:], Const(1, 1))
        begins, ends = Signal(), Signal()  # the group is its strip's first, last
        group, lane = at[3:], at[:3]
        m.d.comb += [
            begins.eq(edges.bit_select(group, 1)),
            ends.eq(edges[1:].bit_select(group, 1)),
        ]
        beyond = Cat(
            *[begins & (lane == by) & (shift < -by) for by in range(reach)],
            *[ends & (lane == size - 1 - by) & (shift > by) for by in range(reach)],
        ).any()
        # Without the common reset, so that the flip-flops' own serves the clearing.
        operand = Signal(config.acc_bits, reset_less=True)
        carry = Signal(reset_less=True)
        m.d.sync += [
            operand.eq(choose(shift, near) ^ job.negate.replicate(config.acc_bits)),
            carry.eq(job.negate),
        ]
        with m.If(beyond):
            m.d.sync += [operand.eq(0), carry.eq(0)]
        adds, address = Signal(), Signal(len(at) + 2)
        op = Signal(DrainOp)
        m.d.sync += [adds.eq(running), address.eq(Cat(at, job.bank)), op.eq(job.op)]

        m.submodules.sums = memory = Memory(
            shape=signed(config.sum_bits),
            depth=BANKS * lanes,
            init=[],
            # No sum is read as it is written.
            attrs={**NEVER_AT_ONCE, "ram_style": "block"} if block else {},
        )
        domain = "sync" if block else "comb"
        read, read_old = memory.read_port(domain=domain), memory.read_port(domain=domain)
        write = memory.write_port()
        old, base = Signal(signed(config.sum_bits)), Signal(signed(config.sum_bits))
        m.d["comb" if block else "sync"] += [self.port.sums[0].eq(read.data), old.eq(read_old.data)]
        with m.Switch(op):
            with m.Case(DrainOp.ADD):
                m.d.comb += base.eq(old)
            with m.Case(DrainOp.NIBBLE):
                m.d.comb += base.eq(old << 4)
        activation = config.act_bits
        is_larger = larger(operand[:activation], old[:activation])
        m.d.comb += [
            read.addr.eq(Cat(self.port.lane, self.port.group[: len(group)], self.port.bank)),
            read_old.addr.eq(Cat(at, job.bank)),
            write.addr.eq(address),
            # One adder, with a bit below for the complement's carry.
            write.data.eq(
                (Cat(carry, operand, carry).as_signed() + Cat(carry, base).as_signed()) >> 1
            ),
            # A sum that is the largest already is kept by not being written.
            write.en.eq(adds & ((op != DrainOp.MAX) | is_larger)),
        ]
        return m
