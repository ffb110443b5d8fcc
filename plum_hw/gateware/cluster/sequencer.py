"""The sequencer: layer after layer of a program, with the counters of each."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.structs import struct_of
from plum_hw.layouts import layer_layout


class Sequencer(wiring.Component):
    """Loads a layer's descriptor, starts it, and goes on when everything is quiet again.

    Takes `words + 1` cycles from a layer to the strobe that starts it (`words` of the descriptor),
    and two from quiet to the next layer.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    start, program, layers : strobe to run `layers` layers (at least one) from word `program` on
    busy : a program runs
    address, word : program memory; `word` is what was addressed in the cycle before
    layer : descriptor of the current layer
    layer_start : strobe; the descriptor is valid from here on
    quiet : nothing is on its way in the cluster
    cycles : of the current or last run
    layer_done, layer_index, layer_cycles : strobe at the end of each layer, for its counter
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "program": In(16),
                "layers": In(16),
                "busy": Out(1),
                "address": Out(config.program_addr_bits),
                "word": In(32),
                "layer": Out(struct_of(layer_layout(config))),
                "layer_start": Out(1),
                "quiet": In(1),
                "cycles": Out(32),
                "layer_done": Out(1),
                "layer_index": Out(16),
                "layer_cycles": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = layer_layout(self._config).words
        pointer = Signal.like(self.address)
        loaded = Signal(range(words + 2))
        left = Signal(16)
        descriptor = Signal(32 * words)
        layer = data.View(self.layer.shape(), descriptor[: self.layer.shape().size])
        m.d.comb += [self.layer.eq(layer), self.address.eq(pointer)]

        with m.If(self.busy):
            m.d.sync += [
                self.cycles.eq(self.cycles + 1),
                self.layer_cycles.eq(self.layer_cycles + 1),
            ]
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [
                    self.busy.eq(1),
                    self.cycles.eq(0),
                    self.layer_cycles.eq(0),
                    self.layer_index.eq(0),
                    pointer.eq(self.program),
                    left.eq(self.layers),
                    loaded.eq(0),
                ]
                m.next = "LOAD"
            with m.State("LOAD"):
                # The word asked for last arrives in the cycle after.
                m.d.sync += loaded.eq(loaded + 1)
                with m.If(loaded < words):
                    m.d.sync += pointer.eq(pointer + 1)
                with m.If(loaded != 0):
                    m.d.sync += descriptor.eq(Cat(descriptor[32:], self.word))
                with m.If(loaded == words):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.layer_start.eq(1)
                m.next = "RUN"
            with m.State("RUN"), m.If(self.quiet):
                m.next = "END"
            with m.State("END"):
                m.d.comb += self.layer_done.eq(1)
                m.d.sync += [
                    self.layer_cycles.eq(0),
                    self.layer_index.eq(self.layer_index + 1),
                    left.eq(left - 1),
                    loaded.eq(0),
                ]
                with m.If(left <= 1):
                    m.d.sync += self.busy.eq(0)
                    m.next = "IDLE"
                with m.Else():
                    m.next = "LOAD"
        return m
