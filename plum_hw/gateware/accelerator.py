"""The device: link and clusters."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.cluster import Cluster
from plum_hw.gateware.link.cluster_router import ClusterRouter
from plum_hw.gateware.link.link import Link
from plum_hw.gateware.link.run_monitor import RunMonitor


class Accelerator(wiring.Component):
    """Everything between the bytes of a line: the same on every board and in simulation.

    A run starts all clusters; it is over when all are idle.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    rx, tx : bytes of the line
    busy : a run is in progress
    error : a run went wrong (the emitter was overrun); stays until the next run starts
    activity : a byte is moving
    """

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        self.clusters = [Cluster(config) for _ in range(config.clusters)]
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "tx": Out(stream.Signature(8)),
                "busy": Out(1),
                "error": Out(1),
                "activity": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.link = link = Link(self.config)
        m.submodules.router = router = ClusterRouter(self.config.clusters)
        m.submodules.monitor = monitor = RunMonitor(self.config.clusters)
        connect(m, flipped(self.rx), link.rx)
        connect(m, link.tx, flipped(self.tx))
        connect(m, link.host, router.host)
        m.d.comb += [router.targets.eq(link.targets), monitor.start.eq(link.start)]
        for number, cluster in enumerate(self.clusters):
            m.submodules[f"cluster_{number}"] = cluster
            connect(m, router.ports[number], cluster.host)
            state = monitor.clusters[number]
            m.d.comb += [
                cluster.start.eq(link.start),
                cluster.abort.eq(link.abort),
                cluster.program.eq(link.program),
                cluster.layers.eq(link.layers),
                state.busy.eq(cluster.busy),
                state.cycles.eq(cluster.cycles),
                state.results.eq(cluster.results),
                state.overrun.eq(cluster.overrun),
            ]
        state = monitor.state
        m.d.comb += [
            link.busy.eq(state.busy),
            link.cycles.eq(state.cycles),
            link.results.eq(state.results),
            self.busy.eq(state.busy),
            self.activity.eq((self.rx.valid & self.rx.ready) | (self.tx.valid & self.tx.ready)),
        ]
        with m.If(link.start):
            m.d.sync += self.error.eq(0)
        with m.Elif(state.overrun):
            m.d.sync += self.error.eq(1)
        return m
