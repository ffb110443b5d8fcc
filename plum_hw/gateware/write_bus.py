"""One write bus: what the clusters send in their slots, for everybody."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import bus_layout
from plum_hw.timing import BUS_STAGES

#: Sources of a first stage: with four inputs a LUT each.
_FIRST = 4


class WriteBus(wiring.Component):
    """An OR of all sources: slots have them never send in the same cycle, and who is silent sends
    zeros. In as many stages as `BUS_STAGES` says; of two the first takes four sources at a time.

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

    def __init__(self, config: ArrayConfig, sources: int | None = None) -> None:
        #: Cycles from a source to the bus.
        self.LATENCY = BUS_STAGES(config)
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
        sources = [(source.as_value(), source.enable, Const(0)) for source in self.sources]
        domain = "sync" if self.LATENCY else "comb"
        for stage in reversed(range(max(1, self.LATENCY))):
            size = _FIRST if stage else len(sources)
            sources = [
                _joined(m, domain, sources[at : at + size], f"{stage}_{at}")
                for at in range(0, len(sources), size)
            ]
        m.d.comb += [self.bus.as_value().eq(sources[0][0]), self.collision.eq(sources[0][2])]
        return m


#: What a source, or several, have sent; whether they have; whether two have at once.
_Sent = tuple[Value, Value, Value]


def _joined(m: Module, domain: str, sources: Sequence[_Sent], name: str) -> _Sent:
    """What one of the sources has sent, in `domain` sync a cycle later."""
    any_sends: Value = Const(0)
    two_send: Value = Const(0)
    for _, sends, collision in sources:
        two_send |= collision | (any_sends & sends)
        any_sends |= sends
    entry = Signal(len(sources[0][0]), name=f"entry_{name}")
    sent, collided = Signal(name=f"sent_{name}"), Signal(name=f"collided_{name}")
    m.d[domain] += [
        entry.eq(reduce(or_, [entry for entry, _, _ in sources])),
        sent.eq(any_sends),
        collided.eq(two_send),
    ]
    return entry, sent, collided
