"""The device without its link: clusters, the buses between them, and what conducts them."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.cluster import Cluster
from plum_hw.gateware.conductor import Conductor
from plum_hw.gateware.emit import add_module, module_instance
from plum_hw.gateware.link.cluster_router import ClusterRouter
from plum_hw.gateware.link.host_port import HostPort
from plum_hw.gateware.records import Records
from plum_hw.gateware.write_bus import WriteBus
from plum_hw.layouts import RATE_BITS

#: Name of the clusters' Verilog module.
CLUSTER_MODULE = "plum_cluster"


class Device(wiring.Component):
    """Runs programs on all clusters at once.

    Parameters
    ----------
    config : ArrayConfig
    clock_hz : of the clock, for the host to know; 0 where nobody said

    Members
    -------
    host, targets : access to the memories of the clusters whose bit is set; only while not busy
    start, program, layers : strobe to run `layers` layers from word `program` on
    results_at : word of the result memory where results of the run begin
    finish : strobe after a run: its cycles are kept in the word before `results_at`
    abort : strobe; stops at once, an access too, the memories stay as they are
    busy : a run is in progress; from the cycle after `start`
    cycles, results : of the current or last run
    rate, set_rate : as of `ClusterRouter`
    error : sticky until the next start: an emission or a write met another, so the program is wrong
    """

    def __init__(self, config: ArrayConfig, clock_hz: int = 0) -> None:
        self._config = config
        self._clock_hz = clock_hz
        super().__init__(
            {
                "host": In(HostPort),
                "targets": In(config.clusters),
                "start": In(1),
                "program": In(16),
                "layers": In(16),
                "results_at": In(16),
                "finish": In(1),
                "abort": In(1),
                "busy": Out(1),
                "cycles": Out(32),
                "results": Out(16),
                "error": Out(1),
                "rate": Out(RATE_BITS),
                "set_rate": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        config = self._config
        m = Module()
        cluster = Cluster(config)
        add_module(platform, CLUSTER_MODULE, cluster)
        clusters = [
            cluster.signature.create(path=(f"cluster_{number}",))
            for number in range(config.clusters)
        ]
        conductor = Conductor(config)
        m.submodules.conductor = ResetInserter(self.abort)(conductor)
        router = ClusterRouter(config, self._clock_hz)
        m.submodules.router = ResetInserter(self.abort)(router)
        m.submodules.records = records = Records(config)
        connect(m, flipped(self.host), router.host)
        m.d.comb += [self.rate.eq(router.rate), self.set_rate.eq(router.set_rate)]

        quiet = Signal()
        overrun = Signal()
        address = Signal(16)
        m.d.sync += quiet.eq(Cat(cluster.quiet for cluster in clusters).all())
        overruns: Value = Cat(cluster.overrun for cluster in clusters)
        if config.slow_wires:  # taken up near each cluster
            kept = Signal(config.clusters, name="overruns")
            m.d.sync += kept.eq(overruns)
            overruns = kept
        m.d.sync += overrun.eq(overruns.any())
        m.d.comb += [
            router.targets.eq(self.targets),
            conductor.start.eq(self.start),
            conductor.program.eq(self.program),
            conductor.layers.eq(self.layers),
            conductor.quiet.eq(quiet),
            self.busy.eq(conductor.busy),
            self.cycles.eq(conductor.cycles),
            self.results.eq(records.results),
            records.start.eq(self.start),
            records.results_at.eq(self.results_at),
            records.finish.eq(self.finish),
            records.cycles.eq(conductor.cycles),
            records.layer_done.eq(conductor.layer_done),
            records.layer_index.eq(conductor.layer_index),
            records.layer_cycles.eq(conductor.layer_cycles),
            records.address.eq(router.memories[0].address),
            router.result.eq(records.result),
            router.counter.eq(records.counter),
            address.eq(Mux(conductor.busy, conductor.address, router.memories[0].address)),
        ]
        buses, collision = self._buses(m, router, clusters)
        m.d.comb += records.bus.eq(buses[0])  # that of group 0
        with m.If(self.start):
            m.d.sync += self.error.eq(0)
        with m.Elif(overrun | collision):
            m.d.sync += self.error.eq(1)
        for number, cluster in enumerate(clusters):
            m.submodules[f"cluster_{number}"] = module_instance(CLUSTER_MODULE, cluster)
            memory = router.memories[number]
            # What is far away is taken up before it is worked on.
            m.d["comb" if config.slow_clock else "sync"] += memory.read.eq(cluster.memory.read)
            m.d.sync += records.events[number].eq(cluster.events)
            m.d.comb += [
                cluster.number.eq(number),
                cluster.phase.eq((1 - number) % config.clusters),
                cluster.control.eq(conductor.control),
                cluster.memory.space.eq(memory.space),
                cluster.memory.fetch.eq(memory.fetch),
                cluster.memory.part.eq(memory.part),
                cluster.memory.address.eq(address),
                cluster.memory.data.eq(memory.data),
                cluster.memory.write_code.eq(memory.write_code),
                cluster.memory.write_table.eq(memory.write_table),
            ]
            for bus, port in zip(buses, cluster.buses, strict=True):
                m.d.comb += port.eq(bus)
        return m

    def _buses(
        self, m: Module, router: ClusterRouter, clusters: Sequence[Any]
    ) -> tuple[list[data.View], Value]:
        """The write buses: what the clusters send in their slots, or the host; and whether two have
        sent at once.
        """
        buses, collisions = [], []
        for number in range(self._config.write_buses):
            m.submodules[f"write_bus_{number}"] = bus = WriteBus(self._config)
            sends = [cluster.sends[number] for cluster in clusters]
            for source, sent in zip(bus.sources, [*sends, router.buses[number]], strict=True):
                m.d.comb += source.eq(sent)
            buses.append(bus.bus)
            collisions.append(bus.collision)
        return buses, Cat(collisions).any()
