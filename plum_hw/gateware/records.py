"""What a run leaves for the host: results, and counters."""

# No postponed annotations here: Amaranth reads the fields of a Struct from them.
from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory, MemoryData
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import bus_layout
from plum_hw.layouts import LAYER_COUNTERS, WORD_BITS, Counter, layer_layout


class Events(data.Struct):
    """Strobes of a cluster for the counters."""

    beat: unsigned(1)
    drain_stall: unsigned(1)
    emit_stall: unsigned(1)


_SUMS = {
    Counter.BEATS: "beat",
    Counter.DRAIN_STALLS: "drain_stall",
    Counter.EMIT_STALLS: "emit_stall",
}


class Records(wiring.Component):
    """Results and counters of the current or last run, of the whole device.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    start : strobe, a run begins
    results_at : word of the first result
    finish : strobe, while no run is in progress: `cycles` are kept in the word before
    bus : the write bus of results
    events : of each cluster
    cycles : of the run
    layer_done, layer_index, layer_cycles : strobe for a layer's counter
    results : number of results of the run, which is at most the memory's depth in a right program
    address : word that the host reads
    result, counter : what was addressed two cycles before at the latest
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        self.result_data = MemoryData(shape=unsigned(WORD_BITS), depth=config.result_depth, init=[])
        self.counter_data = MemoryData(
            shape=unsigned(WORD_BITS), depth=config.layer_counters, init=[]
        )
        super().__init__(
            {
                "start": In(1),
                "results_at": In(16),
                "finish": In(1),
                "bus": In(bus_layout(config)),
                "events": In(Events).array(config.clusters),
                "cycles": In(32),
                "layer_done": In(1),
                "layer_index": In(range(config.program_depth // layer_layout(config).words + 1)),
                "layer_cycles": In(32),
                "results": Out(range(2 * config.result_depth)),
                "address": In(16),
                "result": Out(32),
                "counter": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._results(m)
        if self._config.layer_counters:
            self._counters(m)
        else:
            # Of the words below the counters of layers.
            with m.If(self.address[: LAYER_COUNTERS.bit_length() - 1] == Counter.CYCLES):
                m.d.comb += self.counter.eq(self.cycles)
        return m

    def _results(self, m: Module) -> None:
        """A result has its place from the program; what lies beyond the memory is lost."""
        m.submodules.result_memory = memory = Memory(self.result_data)
        write = memory.write_port()
        read = memory.read_port(transparent_for=())
        base = self.results_at[: (self._config.result_depth - 1).bit_length()]
        place = Signal(range(self._config.result_depth + (1 << len(self.bus.address))))
        data = self.bus.data.as_value()[:WORD_BITS]
        is_result = self.bus.result & (place < self._config.result_depth)
        m.d.comb += [
            place.eq(base + self.bus.address),
            write.addr.eq(Mux(self.finish, base - 1, place)),
            write.data.eq(Mux(self.finish, self.cycles, data)),
            write.en.eq(self.finish | is_result),
            read.addr.eq(self.address),
        ]
        m.d["comb" if self._config.slow_clock else "sync"] += self.result.eq(read.data)
        with m.If(self.start):
            m.d.sync += self.results.eq(0)
        with m.Elif(is_result):
            m.d.sync += self.results.eq(self.results + 1)

    def _counters(self, m: Module) -> None:
        """Cycles of the run and of each layer; beats and stalls, summed over the clusters."""
        config = self._config
        m.submodules.counter_memory = memory = Memory(self.counter_data)
        write = memory.write_port()
        read = memory.read_port(transparent_for=())
        m.d.comb += [
            write.addr.eq(self.layer_index),
            write.data.eq(self.layer_cycles),
            write.en.eq(self.layer_done & (self.layer_index < config.layer_counters)),
            read.addr.eq(self.address - LAYER_COUNTERS),
        ]
        sums = {}
        for counter, name in _SUMS.items():
            now = Signal(range(config.clusters + 1), name=f"{name}s_now")
            sums[counter] = total = Signal(32, name=f"{name}s")
            m.d.sync += [
                now.eq(sum(event[name] for event in self.events)),
                total.eq(Mux(self.start, 0, total + now)),
            ]
        place = Signal(range(LAYER_COUNTERS + config.layer_counters))
        m.d.sync += [place.eq(self.address), self.counter.eq(0)]
        with m.Switch(place):
            with m.Case(Counter.CYCLES):
                m.d.sync += self.counter.eq(self.cycles)
            for counter, total in sums.items():
                with m.Case(counter):
                    m.d.sync += self.counter.eq(total)
            # Other addresses below would find the counters of layers.
            with m.Default(), m.If(place >= LAYER_COUNTERS):
                m.d.sync += self.counter.eq(read.data)
