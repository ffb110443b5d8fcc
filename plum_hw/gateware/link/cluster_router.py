"""One way into the memories of many clusters."""

import functools
import operator

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from plum_hw.gateware.link.host_port import HostPort


class ClusterRouter(wiring.Component):
    """Sends each access to the clusters meant, and brings back the answers.

    A write to several clusters is over when the last of them has taken it. No latency of its own.

    Parameters
    ----------
    clusters : number of clusters

    Members
    -------
    host, targets : accesses, and a bit for each cluster that they are for; a read is for one
    ports : to the clusters
    """

    def __init__(self, clusters: int) -> None:
        super().__init__(
            {
                "host": In(HostPort),
                "targets": In(clusters),
                "ports": Out(HostPort).array(clusters),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        request, response = self.host.request, self.host.response
        taken = Signal.like(self.targets)  # clusters that have taken the present write
        waiting = Signal.like(self.targets)
        answers, valids = [], []
        for number, port in enumerate(self.ports):
            meant = self.targets[number]
            m.d.comb += [
                port.request.payload.eq(request.payload),
                port.request.valid.eq(request.valid & meant & ~taken[number]),
                port.response.ready.eq(response.ready & meant),
                waiting[number].eq(port.request.valid & ~port.request.ready),
            ]
            with m.If(request.valid):
                m.d.sync += taken[number].eq(meant & ~request.ready & ~waiting[number])
            answers.append(Mux(meant, port.response.payload, 0))
            valids.append(meant & port.response.valid)
        m.d.comb += [
            request.ready.eq(waiting == 0),
            response.payload.eq(functools.reduce(operator.or_, answers)),
            response.valid.eq(functools.reduce(operator.or_, valids)),
        ]
        return m
