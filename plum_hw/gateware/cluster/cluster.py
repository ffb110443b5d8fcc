"""A cluster: memories, lanes, and what drives them."""

from typing import Any

from amaranth.hdl import Module, Mux, ResetInserter, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory, MemoryData
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.activation_memory import ActivationMemory
from plum_hw.gateware.cluster.decoder import Decoder
from plum_hw.gateware.cluster.drain import Drain
from plum_hw.gateware.cluster.emitter import Emitter
from plum_hw.gateware.cluster.fetcher import Fetcher
from plum_hw.gateware.cluster.host_access import HostAccess
from plum_hw.gateware.cluster.jobs import EmitJob
from plum_hw.gateware.cluster.lanes import Lanes
from plum_hw.gateware.cluster.sequencer import Sequencer
from plum_hw.gateware.cluster.walker import Walker
from plum_hw.gateware.link.host_port import HostPort
from plum_hw.layouts import LAYER_COUNTERS, Counter, Space


class Cluster(wiring.Component):
    """Runs programs on its own memories; see docs/architecture.md.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    host : access to all memories and counters, only while not busy
    start, program, layers : strobe to run `layers` layers from program word `program` on
    abort : strobe; stops at once, the memories stay as they are
    busy : a program runs
    cycles : of the current or last run
    results : 32-bit results of the current or last run
    overrun : sticky until the next start: an emission met another, so the program was wrong
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        self.program_data = MemoryData(shape=unsigned(32), depth=config.program_depth, init=[])
        self.table_data = MemoryData(shape=unsigned(32), depth=config.table_depth, init=[])
        self.weight_data = MemoryData(
            shape=unsigned(config.mask_bits), depth=config.weight_depth, init=[]
        )
        self.result_data = MemoryData(shape=unsigned(32), depth=config.result_depth, init=[])
        self.counter_data = MemoryData(shape=unsigned(32), depth=config.layer_counters, init=[])
        super().__init__(
            {
                "host": In(HostPort),
                "start": In(1),
                "program": In(16),
                "layers": In(16),
                "abort": In(1),
                "busy": Out(1),
                "cycles": Out(32),
                "results": Out(16),
                "overrun": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        reset = Signal()
        m.d.sync += reset.eq(self.abort)

        sequencer = Sequencer(config)
        walker = Walker(config)
        fetcher = Fetcher(config)
        decoder = Decoder(config)
        lanes = Lanes(config)
        drain = Drain(config)
        emitter = Emitter(config)
        for name, block in (
            ("sequencer", sequencer),
            ("walker", walker),
            ("fetcher", fetcher),
            ("decoder", decoder),
            ("lanes", lanes),
            ("drain", drain),
            ("emitter", emitter),
        ):
            m.submodules[name] = ResetInserter(reset)(block)
        m.submodules.activation = activation = ActivationMemory(config)
        m.submodules.host_access = host = HostAccess()
        wiring.connect(m, wiring.flipped(self.host), host.host)

        m.d.comb += [
            sequencer.start.eq(self.start),
            sequencer.program.eq(self.program),
            sequencer.layers.eq(self.layers),
            self.busy.eq(sequencer.busy),
            self.cycles.eq(sequencer.cycles),
        ]

        # From the program to the lanes.
        program = self._memory(m, "program", self.program_data, host, Space.PROGRAM)
        m.d.comb += program.addr.eq(
            Mux(
                self.busy,
                Mux(walker.quiet, sequencer.address, walker.address),
                host.address,
            )
        )
        weight = self._memory(m, "weight", self.weight_data, host, Space.WEIGHT)
        weight_word = Signal(config.mask_bits)
        m.d.sync += weight_word.eq(weight.data)
        m.d.comb += [
            weight.addr.eq(Mux(self.busy, fetcher.address, host.address)),
            sequencer.word.eq(program.data),
            walker.word.eq(program.data),
            walker.layer.eq(sequencer.layer),
            walker.start.eq(sequencer.layer_start),
            fetcher.word.eq(weight_word),
            decoder.emit_gap.eq(sequencer.layer.emit_gap),
            lanes.beat.eq(decoder.beat),
            lanes.vector.eq(activation.vector),
        ]
        wiring.connect(m, walker.o, fetcher.i)
        wiring.connect(m, fetcher.o, decoder.i)

        # From the lanes to the sums.
        m.d.comb += [
            drain.snapshot.eq(lanes.snapshot),
            drain.start.eq(lanes.drain),
            drain.job.eq(lanes.drain_job),
            drain.left_edge.eq(sequencer.layer.left_edge),
        ]
        wiring.connect(m, emitter.sum_port, drain.port)

        # An emission begins as early as it finds the sums of the filter's last drain.
        delay = max(1, drain.LATENCY - emitter.FIRST_STEP)
        pending = Signal()
        pending_job = Signal(EmitJob)
        wait = Signal(range(delay + 1))
        with m.If(lanes.emit):
            m.d.sync += [
                pending.eq(1),
                pending_job.eq(lanes.emit_job),
                wait.eq(delay - 1),
            ]
        with m.Elif(pending):
            m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 0):
                m.d.sync += pending.eq(0)
        m.d.comb += [
            emitter.start.eq(pending & (wait == 0)),
            emitter.job.eq(pending_job),
            emitter.layer.eq(sequencer.layer),
            emitter.layer_start.eq(sequencer.layer_start),
            emitter.residual.eq(lanes.residual),
        ]
        with m.If(reset):
            m.d.sync += pending.eq(0)
        with m.If(emitter.overrun | (lanes.emit & pending & (wait != 0))):
            m.d.sync += self.overrun.eq(1)
        with m.Elif(self.start):
            m.d.sync += self.overrun.eq(0)

        table = self._memory(m, "table", self.table_data, host, Space.TABLE)
        table_word = Signal(32)
        m.d.sync += table_word.eq(table.data)
        m.d.comb += [
            table.addr.eq(Mux(self.busy, emitter.table.address, host.address)),
            emitter.table.data.eq(table_word),
        ]

        # Everything quiet for a cycle: the layer has ended.
        m.d.comb += sequencer.quiet.eq(
            walker.quiet & fetcher.quiet & decoder.quiet & lanes.quiet & ~pending & ~emitter.busy
        )

        self._activations(m, activation, decoder, emitter, host)
        self._results(m, emitter, host)
        self._counters(m, sequencer, decoder, host)
        return m

    def _memory(
        self, m: Module, name: str, memory_data: MemoryData, host: HostAccess, space: Space
    ) -> Any:
        """A memory that the host writes; returns its read port, whose data the host can read."""
        m.submodules[name] = memory = Memory(memory_data)
        write = memory.write_port()
        read = memory.read_port(transparent_for=())
        m.d.comb += [
            write.addr.eq(host.address),
            write.data.eq(host.data),
            write.en.eq(host.write[space]),
            host.read[space].eq(read.data),
        ]
        return read

    def _activations(
        self,
        m: Module,
        activation: ActivationMemory,
        decoder: Decoder,
        emitter: Emitter,
        host: HostAccess,
    ) -> None:
        """The activation memory is the emitter's to write during a run, else the host's."""
        config = self._config
        vector, group = Signal(config.act_addr_bits), Signal(config.group_bits)
        bits = (config.groups - 1).bit_length()
        m.d.comb += [
            group.eq(host.address[:bits]),
            vector.eq(host.address >> bits),
            activation.address.eq(Mux(self.busy, decoder.address, vector)),
        ]
        with m.If(self.busy):
            wiring.connect(m, emitter.write, activation.write)
        with m.Else():
            m.d.comb += [
                activation.write.enable.eq(host.write[Space.ACTIVATION].replicate(8)),
                activation.write.address.eq(vector),
                activation.write.group.eq(group),
            ]
            for lane in range(config.group_lanes):
                m.d.comb += activation.write.data[lane].eq(host.data.word_select(lane, 8))
        lanes = activation.vector
        for lane in range(config.group_lanes):
            choice = [lanes[number * config.group_lanes + lane] for number in range(config.groups)]
            with m.Switch(group):
                for number, value in enumerate(choice):
                    with m.Case(number):
                        m.d.comb += host.read[Space.ACTIVATION].word_select(lane, 8).eq(value)

    def _results(self, m: Module, emitter: Emitter, host: HostAccess) -> None:
        """Results of reductions, in the order in which they come."""
        m.submodules.result = memory = Memory(self.result_data)
        write = memory.write_port()
        read = memory.read_port(transparent_for=())
        room = self.results < self._config.result_depth
        m.d.comb += [
            write.addr.eq(self.results),
            write.data.eq(emitter.result),
            write.en.eq(emitter.result_valid & room),
            read.addr.eq(host.address),
            host.read[Space.RESULT].eq(read.data),
        ]
        with m.If(self.start):
            m.d.sync += self.results.eq(0)
        with m.Elif(emitter.result_valid & room):
            m.d.sync += self.results.eq(self.results + 1)

    def _counters(
        self, m: Module, sequencer: Sequencer, decoder: Decoder, host: HostAccess
    ) -> None:
        """Cycles of the run and of each layer, beats and stalls of the run."""
        m.submodules.counter = memory = Memory(self.counter_data)
        write = memory.write_port()
        read = memory.read_port(transparent_for=())
        counts = {
            Counter.BEATS: (Signal(32, name="beats"), decoder.beat_count),
            Counter.DRAIN_STALLS: (Signal(32, name="drain_stalls"), decoder.drain_stalls),
            Counter.EMIT_STALLS: (Signal(32, name="emit_stalls"), decoder.emit_stalls),
        }
        for count, strobe in counts.values():
            with m.If(self.start):
                m.d.sync += count.eq(0)
            with m.Elif(strobe):
                m.d.sync += count.eq(count + 1)
        layers = self._config.layer_counters
        m.d.comb += [
            write.addr.eq(sequencer.layer_index),
            write.data.eq(sequencer.layer_cycles + 1),
            write.en.eq(sequencer.layer_done & (sequencer.layer_index < layers)),
            read.addr.eq(host.address - LAYER_COUNTERS),
        ]
        with m.Switch(host.address):
            with m.Case(Counter.CYCLES):
                m.d.comb += host.read[Space.COUNTER].eq(sequencer.cycles)
            for number, (count, _) in counts.items():
                with m.Case(number):
                    m.d.comb += host.read[Space.COUNTER].eq(count)
            with m.Default():
                m.d.comb += host.read[Space.COUNTER].eq(read.data)
