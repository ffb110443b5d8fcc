"""The emitter: from the sums of a filter to activations, or a result, on the write buses."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import (
    SIDE_BANK,
    bus_layout,
    bus_number,
    emit_job_layout,
    sum_port,
    table_port,
)
from plum_hw.gateware.cluster.mux_tree import mux_tree
from plum_hw.gateware.cluster.requantizer import Requantizer
from plum_hw.gateware.structs import struct_of
from plum_hw.layouts import Select, layer_layout, requant_layout, scatter_layout

#: Cycles from an address on the table port to its data.
_TABLE_LATENCY = 2


class Emitter(wiring.Component):
    """Walks a vector's scatter list: requantizes a group for each entry and sends it on its bus.

    One emission may wait while another is in progress; it starts in the cycle in which that one
    finishes, else the cycle after it was given. The first entry takes its first step `FIRST_STEP`
    cycles after the start at the earliest, the next one `group_parts` * (1 + window + residual)
    cycles later, each in a slot of its target's bus. The last step of the last entry finishes the
    emission. An entry is on the bus `WRITE_LATENCY` cycles after its last step.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    phase : constant, (1 - the cluster's number) mod clusters; decides its slots
    layer : descriptor, constant from `layer_start` until nothing is on its way
    layer_start : strobe, before the layer's first emission; slots count from this cycle 0
    start, job : strobe to give an emission
    finished, finished_bank : strobe in the cycle of an emission's last step, the one before the
        last that reads any sums
    idle, other : there is no emission, and `sum_port` is for this group
    sum_port : the drain's sums
    table : constants and scatter lists
    bus : entries on the write buses; all zero where there is none
    """

    #: Cycles from the start of an emission to its first step: the address of the constants, four
    #: words, then an entry, which is there three cycles after its address.
    FIRST_STEP = 8
    #: Cycles from the finish of an emission to the start of the next.
    NEXT_EMISSION = 0
    #: Cycles from the strobe to the start.
    QUEUE_LATENCY = 1

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        self._requantizer = Requantizer(config)
        #: Cycles from an entry's last step to its write on the bus.
        self.WRITE_LATENCY = self._requantizer.LATENCY + (1 if config.slow_clock else 3)
        super().__init__(
            {
                "phase": In(config.cluster_bits),
                "layer": In(struct_of(layer_layout(config))),
                "layer_start": In(1),
                "start": In(1),
                "job": In(emit_job_layout(config)),
                "finished": Out(1),
                "finished_bank": Out(2),
                "idle": In(1),
                "other": In(config.group_bits),
                "sum_port": Out(sum_port(config)),
                "table": Out(table_port(config)),
                "bus": Out(bus_layout(config)).array(config.write_buses),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config, layer = self._config, self.layer
        m = Module()
        m.submodules.requantizer = requantizer = self._requantizer

        # A waiting job, and the one in progress.
        waiting, active, finish, take = Signal(), Signal(), Signal(), Signal()
        next_job, job = Signal(emit_job_layout(config)), Signal(emit_job_layout(config))
        m.d.comb += [
            take.eq(waiting & (~active | finish)),
            self.finished.eq(finish),
            self.finished_bank.eq(job.bank),
        ]
        m.d.sync += [
            waiting.eq(self.start | (waiting & ~take)),
            active.eq(take | (active & ~finish)),
        ]
        constants_at = Signal(config.table_addr_bits)
        with m.If(self.start):
            m.d.sync += [
                next_job.eq(self.job),
                constants_at.eq(layer.table_ptr + (self.job.filter << 2)),
            ]
        with m.If(take):
            m.d.sync += job.eq(next_job)

        window, residual, wide = Signal(), layer.residual, layer.reduce & layer.wide
        m.d.sync += window.eq(layer.window_segments != 0)

        # The table: four words of constants, then entries as far ahead as there is room for them.
        words = requant_layout(config).words
        tokens = Signal(words + _TABLE_LATENCY + config.slow_clock)  # the word that is asked for
        asking, arriving_last = tokens[:words], tokens[words + _TABLE_LATENCY - 1]
        m.d.sync += tokens.eq(Cat(take, tokens))
        pop = Signal()
        table_word = self.table.data
        if config.slow_clock:
            table_word, entry, slots, valid, ask = self._kept_entry(m, pop, take, tokens)
            entry_valid = active & valid
        else:
            reads_ahead = active & ~asking.any()
            entry, slots, entry_valid, ask = self._entries(m, pop, finish, reads_ahead)

        # `cursor` is the address of the entry in progress, `first_entry` that of the list's first.
        cursor, first_entry = Signal(config.table_addr_bits), Signal(config.table_addr_bits)
        pointer = Signal(config.table_addr_bits)
        # A list without an end ends with the table.
        ends = layer.reduce | entry.last | cursor.all()
        again = ends & ~job.last_filter
        # Selections in the carry chain's other input, so that they share the adder's LUT, but for
        # those that are known late.
        with m.If(pop | self.layer_start):
            m.d.sync += cursor.eq(
                Cat(~again & ~self.layer_start, Const(0, len(cursor) - 1))
                + mux_tree(Cat(again, self.layer_start), [cursor, first_entry, layer.scatter_ptr])
            )
        asks, place = ask | asking[:-1].any(), Mux(asking[-1], cursor, pointer)
        if not config.slow_wires:
            asks, place = asks & ~take, Mux(take, constants_at, place)
        m.d.sync += pointer.eq(Cat(asks, Const(0, len(pointer) - 1)) + place)
        if config.slow_wires:
            with m.If(take):
                m.d.sync += pointer.eq(constants_at)
        with m.If(tokens[0]):
            m.d.sync += first_entry.eq(cursor)
        m.d.comb += self.table.address.eq(pointer)

        constants = Signal(32 * len(asking))
        for number in range(len(asking)):
            with m.If(tokens[_TABLE_LATENCY + number]):
                m.d.sync += constants.word_select(number, 32).eq(table_word)
        constants_layout = struct_of(requant_layout(config))
        values = data.View(constants_layout, constants[: constants_layout.size])
        arriving = data.View(
            constants_layout, Cat(constants[:-32], table_word)[: constants_layout.size]
        )
        base = Signal(self.bus[0].address.shape())
        with m.If(arriving_last):
            m.d.sync += base.eq(layer.out_base + arriving.channel)

        # Steps of an entry: one for each term, for each part of the group or, in a reduction, for
        # each lane or two.
        within = Signal()
        term = Signal(2)
        reduced, parts = config.groups * config.reduce_steps, config.group_parts
        part = Signal(range(max(reduced, parts)))
        last_part = ~layer.reduce | part[: (reduced - 1).bit_length()].all()
        if parts > 1:
            last_part &= layer.reduce | part[: (parts - 1).bit_length()].all()
        step, last_term, last_step = Signal(), Signal(), Signal()
        target = Mux(wide, 0, entry.target)
        select = Signal(Select)
        with m.If(~layer.reduce):
            m.d.comb += select.eq(entry.select)
        part_bits = (config.reduce_steps - 1).bit_length()
        m.d.comb += [
            step.eq(within | (entry_valid & slots.any())),
            last_term.eq(term == Cat(window ^ residual, window & residual)),
            last_step.eq(step & last_term & last_part),
            pop.eq(last_step),
            finish.eq(last_step & ends),
        ]
        m.d.sync += within.eq(step & ~last_step)
        with m.If(step):
            m.d.sync += term.eq(Mux(last_term, 0, term + 1))
        with m.If(step & last_term & (layer.reduce | (parts > 1))):
            m.d.sync += part.eq(part + 1)
        with m.If(last_step):
            m.d.sync += part.eq(0)

        # Two cycles after a step there are its sums; with a slow clock one cycle, and then there is
        # no register before the bus either.
        slow = bool(config.slow_clock)
        is_window = window & (term == 1)
        is_residual = (term != 0) & ~is_window
        # In the group's register, for many memories hang on it, and there when all else is held in
        # reset.
        group = Signal(config.group_bits, reset_less=True)
        source = Mux(layer.reduce, part[part_bits:], entry.source)
        m.d.comb += self.sum_port.group.eq(group)
        m.d["comb" if slow else "sync"] += [
            group.eq(Mux(self.idle, self.other, source)),
            self.sum_port.bank.eq(
                Mux(
                    term == 0,
                    job.bank,
                    SIDE_BANK | Mux(is_window, job.window_bank, job.residual_bank),
                )
            ),
        ]
        if config.drain_lanes == 1:
            m.d["comb" if slow else "sync"] += self.sum_port.lane.eq(part)
        flags = data.StructLayout(
            {
                "window": unsigned(1),
                "residual": unsigned(1),
                "step": unsigned(1),
                "first": unsigned(1),
                "last": unsigned(1),
                "part": requantizer.part.shape(),
                "select": Select,
                "count": requantizer.count.shape(),
            }
        )
        flags_1, flags_2 = Signal(flags), Signal(flags)
        m.d.sync += [
            flags_1.window.eq(is_window),
            flags_1.residual.eq(is_residual),
            flags_1.step.eq(step),
            flags_1.first.eq((term == 0) & (~layer.reduce | (part == 0))),
            flags_1.last.eq(step & last_term & (~layer.reduce | last_part)),
            flags_1.part.eq(part),
            flags_1.select.eq(select),
            flags_1.count.eq(entry.count),
        ]
        m.d["comb" if slow else "sync"] += flags_2.eq(flags_1)
        m.d.comb += [
            getattr(requantizer, name).eq(flags_2[name])
            for name in ("step", "first", "last", "part", "select", "count")
        ]
        m.d.comb += [
            requantizer.operand.eq(self.sum_port.sums),
            requantizer.factor.eq(
                Mux(
                    flags_2.residual,
                    values.residual,
                    Mux(flags_2.window, values.window, values.scale),
                )
            ),
            requantizer.bias.eq(values.bias),
            requantizer.shift.eq(layer.shift),
            requantizer.out_bits.eq(layer.out_bits),
            requantizer.reduce.eq(layer.reduce),
            requantizer.wide.eq(wide),
        ]

        # On the bus, beside the output.
        write = Signal(bus_layout(config))
        m.d.comb += [
            write.enable.eq(1),
            write.address.eq(base + Mux(wide, 0, entry.offset)),
            write.group.eq(target),
            write.dest.eq(entry.dest + values.dest),
            write.grouped.eq(entry.grouped),
            write.result.eq(wide),
        ]
        # Entries are at least `parts` cycles apart, so a register may hold one for so long.
        delay = requantizer.LATENCY + (1 if slow else 2)
        taken = Signal(delay)  # the entry, so many cycles ago
        m.d.comb += taken[0].eq(last_step)
        m.d.sync += taken[1:].eq(taken[:-1])
        for cycle in range(0, delay, parts):
            delayed = Signal(bus_layout(config))
            with m.If(taken[cycle] | (parts == 1)):
                m.d.sync += delayed.eq(write)
            write = delayed
        for number, bus in enumerate(self.bus):
            on_bus = m.d["comb" if slow else "sync"]
            on_bus += bus.eq(0)
            with m.If(requantizer.y_valid & (bus_number(config, write.group) == number)):
                on_bus += [bus.eq(write), bus.data.eq(requantizer.y)]
        return m

    def _entries(
        self, m: Module, pop: Signal, clear: Signal, reads_ahead: Value
    ) -> tuple[data.View, Value, Value, Signal]:
        """The list's entries in their order: the first one, its buses that are free, whether it is
        there, and a strobe that asks the table for one more, in cycles with `reads_ahead`.
        """
        # An entry is asked for four cycles before its first step at the earliest, so four that are
        # read ahead keep up an entry a cycle, and two keep up one in four cycles.
        ahead = 4 if self._config.group_parts < 4 else 2
        # Counters of entries asked for, so many cycles ago, and taken.
        counts = range(2 * ahead)
        asked = [Signal(counts, name=f"asked_{number}") for number in range(_TABLE_LATENCY + 1)]
        taken, valid = Signal(counts), Signal()
        ask, cleared = Signal(), Signal()
        after = (taken + 1)[: len(taken)]
        m.d.comb += ask.eq(reads_ahead & (asked[0] ^ taken != ahead))
        m.d.sync += [
            asked[0].eq(asked[0] + ask),
            taken.eq(Mux(pop, after, taken)),
            valid.eq(Mux(pop, asked[-2] != after, asked[-2] != taken) & ~clear),
            cleared.eq(clear),
        ]
        m.d.sync += [new.eq(old) for old, new in pairwise(asked)]
        with m.If(cleared):
            # What was read beyond the end of the list is dropped.
            m.d.sync += [taken.eq(0), valid.eq(0), *[count.eq(0) for count in asked]]

        layout, waits = self._waits(self.table.data)
        m.submodules.entries = memory = Memory(shape=unsigned(layout.size), depth=ahead, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        new, first = Signal(layout), data.View(layout, read.data)
        m.d.comb += [
            *waits(new),
            write.en.eq(asked[-1] != asked[-2]),
            write.addr.eq(asked[-1]),
            write.data.eq(new),
            read.addr.eq(taken),
        ]
        return first.entry, Cat(first.holds, first.buses & self._free(m)), valid, ask

    def _kept_entry(
        self, m: Module, pop: Signal, take: Signal, tokens: Signal
    ) -> tuple[Value, data.View, Value, Signal, Value]:
        """The table's word, a cycle after the memory's, and what `_entries` gives.

        Entries are so far apart that one may stay in the word's register, the next one in the
        memory's; nothing is read ahead.
        """
        words = requant_layout(self._config).words
        word, valid = Signal(32), Signal()
        with m.If(tokens.any() & ~tokens[-1] | pop):
            m.d.sync += word.eq(self.table.data)
        with m.If(take):
            m.d.sync += valid.eq(0)
        with m.Elif(tokens[-1]):
            m.d.sync += valid.eq(1)
        layout, waits = self._waits(word)
        entry = Signal(layout)
        m.d.comb += waits(entry)
        # Beside the first entry the next one is asked for.
        ask = (pop & ~take) | tokens[words]
        return word, entry.entry, Cat(entry.holds, entry.buses & self._free(m)), valid, ask

    def _waits(self, word: Value) -> tuple[data.StructLayout, Callable[[data.View], list[Any]]]:
        """Layout of an entry with what it waits for, and how to make one from the table's word: the
        bus that it waits for, unless it writes nothing.
        """
        config, layer = self._config, self.layer
        scatter, buses = struct_of(scatter_layout(config)), config.write_buses
        layout = data.StructLayout({"entry": scatter, "holds": 1, "buses": buses})

        def made(new: data.View) -> list[Any]:
            number = bus_number(config, Mux(layer.reduce & layer.wide, 0, new.entry.target))
            return [
                new.entry.eq(data.View(scatter, word[: scatter.size])),
                new.holds.eq(~layer.reduce & (new.entry.select == Select.HOLD)),
                new.buses.eq(Cat(number == bus for bus in range(buses))),
            ]

        return layout, made

    def _free(self, m: Module) -> Signal:
        """Which buses are free for this cluster's entries."""
        config = self._config
        free = Signal(config.write_buses)
        if config.clusters == 1:
            m.d.comb += free.eq(~0)
            return free
        # Cycles since the start, less the cluster's number.
        phase = Signal(config.cluster_bits)
        m.d.sync += phase.eq(Mux(phase == config.clusters - 1, 0, phase + 1))
        with m.If(self.layer_start):
            m.d.sync += phase.eq(self.phase)
        for number in range(config.write_buses):
            slot = number * config.clusters // config.write_buses
            m.d.sync += free[number].eq(phase == (slot - 1) % config.clusters)
        return free
