"""The host's way into the memories of a cluster, while no program runs."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.gateware.link.host_port import HostPort
from plum_hw.layouts import Space


class HostAccess(wiring.Component):
    """Turns requests into accesses of the addressed space; one write a cycle, a read in five.

    Members
    -------
    host : requests and responses
    address, data : of the access, for all spaces
    write : one strobe for each space, by its number
    read : word of each space that was addressed `READ_CYCLES` before
    """

    #: Cycles that a space may take from `address` to `read`.
    READ_CYCLES = 3

    def __init__(self) -> None:
        spaces = len(Space)
        super().__init__(
            {
                "host": In(HostPort),
                "address": Out(16),
                "data": Out(64),
                "write": Out(spaces),
                "read": In(data.ArrayLayout(64, spaces)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request = self.host.request
        space = Signal(3)
        wait = Signal(range(self.READ_CYCLES + 1))
        m.d.sync += self.write.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += request.ready.eq(1)
                with m.If(request.valid):
                    m.d.sync += [
                        self.address.eq(request.payload.address),
                        self.data.eq(request.payload.data),
                        space.eq(request.payload.space),
                        wait.eq(self.READ_CYCLES),
                    ]
                    with m.If(request.payload.write):
                        m.d.sync += self.write.eq(1 << request.payload.space)
                    with m.Else():
                        m.next = "READ"
            with m.State("READ"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.d.sync += self.host.response.payload.eq(self.read[space])
                    m.next = "RESPOND"
            with m.State("RESPOND"):
                m.d.comb += self.host.response.valid.eq(1)
                with m.If(self.host.response.ready):
                    m.next = "IDLE"
        return m
