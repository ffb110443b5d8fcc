"""The emitter: from the sums of a filter to activations in memory, or to results."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import (
    WINDOW_BANK,
    EmitJob,
    sum_port,
    table_port,
    write_port,
)
from plum_hw.gateware.cluster.requantizer import Requantizer
from plum_hw.gateware.structs import struct_of
from plum_hw.layouts import Select, layer_layout, requant_layout, scatter_layout

#: Cycles from an address on the table port to its data.
_TABLE_LATENCY = 2


class Emitter(wiring.Component):
    """Walks a vector's scatter list: requantizes a group for each entry and writes it.

    An entry for each `terms` = 1 + window + residual cycles. How long an emission takes is
    `plum_hw.timing.emission_cycles`; the next may start exactly then.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    layer : descriptor, constant during a layer
    layer_start : strobe, before the layer's first emission
    start, job : strobe to begin
    sum_port : the drain's sums
    residual : constant during an emission
    table : constants and scatter lists
    write : to the activation memory
    result_valid, result : one of a `wide` reduction
    busy : an emission, or the write it ends with, is in progress
    overrun : strobe: started before the last emission let go
    """

    #: Cycles from `start` to the first address on the sum port.
    FIRST_STEP = 8

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        super().__init__(
            {
                "layer": In(struct_of(layer_layout(config))),
                "layer_start": In(1),
                "start": In(1),
                "job": In(EmitJob),
                "sum_port": Out(sum_port(config)),
                "residual": In(data.ArrayLayout(unsigned(config.act_bits), config.lanes)),
                "table": Out(table_port(config)),
                "write": Out(write_port(config)),
                "result_valid": Out(1),
                "result": Out(32),
                "busy": Out(1),
                "overrun": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config, layer = self._config, self.layer
        m = Module()
        m.submodules.requantizer = requantizer = Requantizer(config)
        constants_layout = struct_of(requant_layout(config))
        words = requant_layout(config).words
        entry_layout = struct_of(scatter_layout(config))

        job = Signal(EmitJob)
        terms = Signal(2)
        m.d.sync += terms.eq(1 + layer.window + layer.residual)

        # Addresses: first the constants, then entry after entry, ahead of knowing the last one.
        first_entry = Signal(config.table_addr_bits)  # of the vector's list
        pointer = Signal(config.table_addr_bits)
        loading, listing = Signal(), Signal()
        word = Signal(range(words))
        slot = Signal(2)
        ask_constant, ask_entry = Signal(), Signal()
        asked = [Signal(2, name=f"asked_{stage}") for stage in range(_TABLE_LATENCY)]
        m.d.comb += [
            ask_constant.eq(loading),
            ask_entry.eq(listing & (slot == 0)),
            self.table.address.eq(pointer),
        ]
        m.d.sync += [asked[0].eq(Cat(ask_constant, ask_entry)), asked[1].eq(asked[0])]
        with m.If(loading):
            m.d.sync += [pointer.eq(pointer + 1), word.eq(word + 1)]
            with m.If(word == words - 1):
                m.d.sync += [loading.eq(0), listing.eq(1), slot.eq(0), pointer.eq(first_entry)]
        with m.If(listing):
            m.d.sync += slot.eq(Mux(slot + 1 == terms, 0, slot + 1))
            with m.If(slot == 0):
                m.d.sync += pointer.eq(pointer + 1)
            with m.If(layer.reduce):
                # One entry is all that a reduction needs.
                m.d.sync += listing.eq(0)

        constants = Signal(32 * words)
        with m.If(asked[1][0]):
            m.d.sync += constants.eq(Cat(constants[32:], self.table.data))
        values = data.View(constants_layout, constants[: constants_layout.size])

        # Entries: each takes `terms` steps; a reduction takes them for every group.
        entry = Signal(entry_layout)
        stepping = Signal()
        term = Signal(2)
        source = Signal(config.group_bits)
        seen = Signal(config.table_addr_bits)  # entries before this one
        arrived = asked[1][1]
        last_term, last_entry = Signal(), Signal()
        m.d.comb += [
            last_term.eq(term + 1 == terms),
            last_entry.eq(
                Mux(
                    layer.reduce,
                    source == config.groups - 1,
                    # A list without an end stops after as many entries as the table can hold.
                    entry.last | seen.all(),
                )
            ),
        ]
        with m.If(stepping):
            m.d.sync += term.eq(term + 1)
            with m.If(last_term):
                m.d.sync += [term.eq(0), seen.eq(seen + 1), stepping.eq(0)]
                with m.If(layer.reduce):
                    m.d.sync += [source.eq(source + 1), stepping.eq(~last_entry)]
        finish = Signal()
        m.d.comb += finish.eq(stepping & last_term & last_entry)
        with m.If(arrived & ~finish):
            m.d.sync += [entry.eq(self.table.data), stepping.eq(1), source.eq(0)]
        with m.If(finish):
            # What was asked for beyond the list is dropped.
            m.d.sync += [listing.eq(0), asked[0].eq(0), asked[1].eq(0), stepping.eq(0)]
            with m.If(job.last_filter & ~(layer.reduce & layer.wide)):
                m.d.sync += first_entry.eq(first_entry + Mux(layer.reduce, 1, seen + 1))

        # Step: address the sums; a cycle later operand and factor.
        group = Signal(config.group_bits)
        m.d.comb += [
            group.eq(Mux(layer.reduce, source, entry.source)),
            self.sum_port.group.eq(group),
            self.sum_port.bank.eq(job.bank),
        ]
        is_window, is_residual = Signal(), Signal()
        m.d.comb += [
            is_window.eq(layer.window & (term == 1)),
            is_residual.eq(layer.residual & (term != 0) & last_term),
        ]
        with m.If(is_window):
            m.d.comb += self.sum_port.bank.eq(WINDOW_BANK | job.window_bank)
        step_1, first_1, last_1 = Signal(), Signal(), Signal()
        window_1, residual_1 = Signal(), Signal()
        residual = Signal(data.ArrayLayout(unsigned(config.act_bits), config.group_lanes))
        m.d.sync += [
            step_1.eq(stepping),
            first_1.eq((term == 0) & (~layer.reduce | (source == 0))),
            last_1.eq(last_term & (~layer.reduce | last_entry)),
            window_1.eq(is_window),
            residual_1.eq(is_residual),
        ]
        with m.Switch(group):
            for number in range(config.groups):
                with m.Case(number):
                    for lane in range(config.group_lanes):
                        m.d.sync += residual[lane].eq(
                            self.residual[number * config.group_lanes + lane]
                        )
        m.d.comb += [
            requantizer.step.eq(step_1),
            requantizer.first.eq(first_1),
            requantizer.last.eq(last_1),
            requantizer.factor.eq(
                Mux(residual_1, values.residual, Mux(window_1, values.window, values.scale))
            ),
            requantizer.bias.eq(values.bias),
            requantizer.shift.eq(layer.shift),
            requantizer.out_bits.eq(layer.out_bits),
            requantizer.reduce.eq(layer.reduce),
        ]
        for lane in range(config.group_lanes):
            m.d.comb += requantizer.operand[lane].eq(
                Mux(residual_1, residual[lane], self.sum_port.sums[lane])
            )

        target = self._targets(m, entry, job, requantizer)
        self._write_back(m, target, requantizer)
        m.d.comb += [
            self.result_valid.eq(requantizer.total_valid & layer.wide),
            self.result.eq(requantizer.total),
        ]

        # Begin, and let go.
        active = Signal()
        lasting = Signal(range(requantizer.REDUCE_LATENCY + 4))
        m.d.comb += [
            # After an overrun more may be under way than `active` knows of.
            self.busy.eq(active | loading | listing | stepping | Cat(asked).any() | (lasting != 0)),
            self.overrun.eq(self.start & active & ~(finish & ~layer.reduce)),
        ]
        with m.If(finish & ~layer.reduce):
            m.d.sync += active.eq(0)
        with m.If(finish):
            m.d.sync += lasting.eq(
                Mux(layer.reduce, requantizer.REDUCE_LATENCY + 2, requantizer.LATENCY + 2)
            )
        with m.Elif(lasting != 0):
            m.d.sync += lasting.eq(lasting - 1)
            with m.If(layer.reduce & (lasting == 1)):
                m.d.sync += active.eq(0)
        with m.If(self.layer_start):
            m.d.sync += first_entry.eq(layer.scatter_ptr)
        with m.If(self.start):
            m.d.sync += [
                job.eq(self.job),
                active.eq(1),
                loading.eq(1),
                word.eq(0),
                term.eq(0),
                seen.eq(0),
                pointer.eq(layer.table_ptr + self.job.filter * words),
            ]
        return m

    def _targets(
        self, m: Module, entry: data.View, job: data.View, requantizer: Requantizer
    ) -> Signal:
        """Where each output goes, in step with the requantizer's `y`."""
        config, layer = self._config, self.layer
        layout = data.StructLayout(
            {
                "address": unsigned(config.act_addr_bits),
                "group": unsigned(config.group_bits),
                "select": unsigned(2),
                "upper": unsigned(1),
                "count": unsigned(4),
            }
        )
        first = Signal(layout)
        m.d.sync += [
            first.address.eq(layer.out_base + job.filter + entry.offset),
            first.group.eq(entry.target),
            first.select.eq(entry.select),
            first.upper.eq(entry.upper),
            first.count.eq(entry.count),
        ]
        # A reduction's entry stays until its one output is there.
        stages = [first]
        for number in range(requantizer.LATENCY):
            stage = Signal(layout, name=f"target_{number}")
            m.d.sync += stage.eq(stages[-1])
            stages.append(stage)
        return stages[-1]

    def _write_back(self, m: Module, target: Signal, requantizer: Requantizer) -> None:
        """One write of `y`: zeros beyond `count`, every lane or every second one."""
        config, write = self._config, self.write
        half = config.group_lanes // 2
        kept = Signal(data.ArrayLayout(unsigned(config.act_bits), config.group_lanes))
        for lane in range(config.group_lanes):
            with m.If(lane < target.count):
                m.d.comb += kept[lane].eq(requantizer.y[lane])
        m.d.sync += [
            write.enable.eq(0),
            write.address.eq(target.address),
            write.group.eq(target.group),
        ]
        with m.If(requantizer.y_valid & ~(self.layer.reduce & self.layer.wide)):
            with m.If(target.select == Select.STRAIGHT):
                m.d.sync += write.enable.eq((1 << config.group_lanes) - 1)
            with m.Else():
                m.d.sync += write.enable.eq(((1 << half) - 1) << Mux(target.upper, half, 0))
        for lane in range(config.group_lanes):
            even = 2 * (lane % half)
            with m.Switch(target.select):
                with m.Case(Select.EVEN):
                    m.d.sync += write.data[lane].eq(kept[even])
                with m.Case(Select.ODD):
                    m.d.sync += write.data[lane].eq(kept[even + 1])
                with m.Default():
                    m.d.sync += write.data[lane].eq(kept[lane])
