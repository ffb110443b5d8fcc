"""How a run goes on many clusters."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out


class RunState(data.Struct):
    """What a cluster says about its run."""

    busy: 1
    cycles: 32
    results: 16
    overrun: 1


class RunMonitor(wiring.Component):
    """Gathers the state of all clusters: done when all are idle, cycles of the slowest.

    A register after each pairing, so that many clusters do not make a long path; `busy` holds over
    that delay from the cycle after `start`.

    Parameters
    ----------
    clusters : number of clusters

    Members
    -------
    start : a run begins
    clusters : state of each cluster; `busy` from the cycle after `start`
    state : state of them all
    """

    def __init__(self, clusters: int) -> None:
        super().__init__(
            {
                "start": In(1),
                "clusters": In(RunState).array(clusters),
                "state": Out(RunState),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        level, delay = list(self.clusters), 0
        while len(level) > 1:
            pairs = [self._pair(m, *level[i : i + 2]) for i in range(0, len(level), 2)]
            level, delay = pairs, delay + 1
        hold = Signal(range(delay + 2))
        with m.If(self.start):
            m.d.sync += hold.eq(delay + 1)
        with m.Elif(hold != 0):
            m.d.sync += hold.eq(hold - 1)
        m.d.comb += [self.state.eq(level[0]), self.state.busy.eq(level[0].busy | (hold != 0))]
        return m

    @staticmethod
    def _pair(m: Module, first: RunState, second: RunState | None = None) -> RunState:
        """Registered state of one or two."""
        both = Signal(RunState)
        if second is None:
            m.d.sync += both.eq(first)
            return both
        m.d.sync += [
            both.busy.eq(first.busy | second.busy),
            both.cycles.eq(Mux(first.cycles > second.cycles, first.cycles, second.cycles)),
            both.results.eq(Mux(first.results > second.results, first.results, second.results)),
            both.overrun.eq(first.overrun | second.overrun),
        ]
        return both
