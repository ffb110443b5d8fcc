"""The conductor: the same layers at the same time in all clusters."""

# No postponed annotations here: Amaranth reads the fields of a Struct from them.
from amaranth.hdl import C, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.layouts import layer_layout
from plum_hw.timing import QUIET_CYCLES


class Control(data.Struct):
    """What the conductor tells all clusters."""

    busy: unsigned(1)  # a run is in progress: the memories are not the host's
    clear: unsigned(1)  # strobe at the begin of a layer
    load: unsigned(1)  # the descriptor's next word is what code memory gives
    start: unsigned(1)  # strobe: the descriptor is complete


class Conductor(wiring.Component):
    """Loads and starts a layer in all clusters, and goes on when all have long been quiet.

    A layer begins with one cycle for each word of its descriptor and one more; `start` follows. It
    ends `QUIET_CYCLES` after `quiet`, so that the last write has reached its memory.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    start, program, layers : strobe to run `layers` layers (at least one) from word `program` on
    control : to all clusters
    address : of the descriptors' words, in code memory
    quiet : nothing is on its way in any cluster; may come up to three cycles late
    busy : a run is in progress
    cycles : of the current or last run
    layer_done, layer_index, layer_cycles : strobe at the end of each layer, for its counter
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        #: Descriptors that code memory can hold.
        self._counts = range(config.program_depth // layer_layout(config).words + 1)
        super().__init__(
            {
                "start": In(1),
                "program": In(16),
                "layers": In(16),
                "control": Out(Control),
                "address": Out(config.code_addr_bits),
                "quiet": In(1),
                "busy": Out(1),
                "cycles": Out(32),
                "layer_done": Out(1),
                "layer_index": Out(self._counts),
                "layer_cycles": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = layer_layout(self._config).words
        control = self.control
        loaded = Signal(range(words + 1))
        quiet_cycles = QUIET_CYCLES(self._config)
        calm = Signal(range(quiet_cycles))
        left = Signal(self._counts)  # layers after the present one
        m.d.comb += control.busy.eq(self.busy)

        # Counters outside the states, so that their resets are the flip-flops' own.
        begin, following = Signal(), Signal()  # a run, a layer begins
        loading, running = Signal(), Signal()
        m.d.comb += [
            following.eq(begin | self.layer_done),
            # A word asked for arrives in the cycle after.
            control.clear.eq(loading & (loaded == 0)),
            control.load.eq(loading & (loaded != 0)),
        ]
        with m.If(begin):
            m.d.sync += [self.busy.eq(1), self.cycles.eq(0), self.layer_index.eq(0)]
        with m.Elif(self.busy):
            m.d.sync += [
                self.cycles.eq(self.cycles + 1),
                self.layer_index.eq(self.layer_index + self.layer_done),
            ]
        with m.If(following):
            # A selection in the carry chain's other input, so that it shares the adder's LUT.
            m.d.sync += left.eq(C(-1, len(left)) + Mux(begin, self.layers, left))
            m.d.sync += self.layer_cycles.eq(1)
        with m.Elif(self.busy):
            m.d.sync += self.layer_cycles.eq(self.layer_cycles + 1)
        with m.If(begin):
            m.d.sync += self.address.eq(self.program)
        with m.Elif(loading & (loaded != words)):
            m.d.sync += self.address.eq(self.address + 1)
        with m.If(~loading):
            m.d.sync += loaded.eq(0)
        with m.Else():
            m.d.sync += loaded.eq(loaded + 1)
        with m.If(~running | ~self.quiet):
            m.d.sync += calm.eq(0)
        with m.Else():
            m.d.sync += calm.eq(calm + 1)

        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.comb += begin.eq(1)
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += loading.eq(1)
                with m.If(loaded == words):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += control.start.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += running.eq(1)
                with m.If(self.quiet & (calm == quiet_cycles - 1)):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += self.layer_done.eq(1)
                m.next = "LOAD"
                with m.If(left == 0):
                    m.d.sync += self.busy.eq(0)
                    m.next = "IDLE"
        return m
