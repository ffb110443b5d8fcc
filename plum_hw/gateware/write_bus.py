"""One write bus: what the clusters send in their slots, for everybody."""

from functools import reduce
from operator import or_

from amaranth.hdl import Const, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import bus_layout


class WriteBus(wiring.Component):
    """An OR of all sources: slots have them never send in the same cycle, and who is silent sends
    zeros.

    Parameters
    ----------
    config : ArrayConfig
    sources : how many; without it the clusters and the host

    Members
    -------
    sources : what each sends
    bus : the entry, `LATENCY` cycles later
    collision : strobe with the entry: two sources have sent, so that it is wrong
    """

    #: Cycles from a source to the bus.
    LATENCY = 1

    def __init__(self, config: ArrayConfig, sources: int | None = None) -> None:
        layout = bus_layout(config)
        count = config.clusters + 1 if sources is None else sources
        super().__init__(
            {
                "sources": In(layout).array(count),
                "bus": Out(layout),
                "collision": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        any_sends: Value = Const(0)
        two_send: Value = Const(0)
        for source in self.sources:
            two_send |= any_sends & source.enable
            any_sends |= source.enable
        m.d.sync += [
            self.bus.as_value().eq(reduce(or_, [source.as_value() for source in self.sources])),
            self.collision.eq(two_send),
        ]
        return m
