"""Simulated annealing for short wires and short paths, after a first placement by `analytic`.

Ref: V. Betz, J. Rose, A. Marquardt, "Architecture and CAD for Deep-Submicron FPGAs" (1999), for the
cost, the criticality of wires and its sharpening as annealing goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from plum_hw.flow.anneal import kernel
from plum_hw.flow.anneal.analytic import place_globally
from plum_hw.flow.anneal.device import LCS, MULTIPLIER, RAM, RAMW, Part
from plum_hw.flow.anneal.netlist import Netlist
from plum_hw.flow.anneal.paths import arrivals, order
from plum_hw.flow.anneal.state import BEGIN, END, LONGEST, MOST, State

#: How many more wires than its half perimeter a net of so many cells takes.
#: Ref: C. Cheng, "RISA: Accurate and efficient placement routability modeling" (ICCAD 1994).
_CELLS = (3, 4, 5, 6, 8, 10, 15, 20, 25, 30, 40, 50)
_WIRES = (1.0, 1.08, 1.15, 1.22, 1.34, 1.45, 1.69, 1.89, 2.07, 2.23, 2.54, 2.79)
_MORE = 0.0262

#: Time of a wire in ns by its length in tiles, straight lines between; speed grade 6. Medians of
#: 45,762 routed wires between registers, in an array of eight clusters on the LFE5U-85F.
_TILES = (0, 1, 2, 3, 5, 8, 12, 18, 26, 36, 48, 64, 250)
_NS = (0.45, 0.70, 0.87, 0.95, 1.08, 1.27, 1.45, 1.75, 2.18, 2.6, 3.2, 4.1, 14.0)

#: Temperature at first, in tiles of wire, and what it is multiplied with from step to step.
_HEAT, _COOLING = 2.5, 0.9
#: How far a cell goes at once at that temperature, in tiles.
_REACH = 14.0
#: Exchanges tried for each piece of the design in a step; of blocks, which are few and matter.
_TRIES, _BLOCK_TRIES = 40, 120
#: Share of time in the cost; exponent of a wire's criticality in the end.
_SHARE, _SHARPNESS = 0.4, 8.0
#: Times in a step that criticalities are renewed.
_RENEWALS = 4
#: Rounds in the end for the longest paths alone, how far cells go in them, what share of the period
#: a path may be shorter to be among them, what a ns of the longest costs in tiles of wire, and
#: exchanges tried for each cell.
_ROUNDS, _RADII, _NEAR, _PRESSURE, _ROUND_TRIES = 60, (2, 6, 15, 30), 0.08, 30.0, 300


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What placement came to.

    wires_before, wires : half perimeters of all nets in tiles, before and after annealing
    mhz_before, mhz : frequency that the longest path is estimated to allow
    """

    wires_before: int
    wires: int
    mhz_before: float
    mhz: float

    @property
    def text(self) -> str:
        return (
            f"annealed from {self.wires_before} to {self.wires} tiles of wire, "
            f"{self.mhz_before:.1f} to {self.mhz:.1f} MHz estimated"
        )


class Annealer:
    """A design, where its cells are, and what is known of its wires and paths.

    Parameters
    ----------
    netlist : what is placed; `place`, `xy` and `unit_start` in it change
    part : where
    period : ns that paths may take
    """

    def __init__(self, netlist: Netlist, part: Part, *, period: float) -> None:
        self.netlist = netlist
        self.period = period
        n = netlist
        places = part.logic.size * LCS
        sizes = np.diff(n.net_start)
        nets = len(sizes)
        weight = np.interp(sizes, _CELLS, _WIRES) + _MORE * np.maximum(sizes - _CELLS[-1], 0)
        # The nets of each cell.
        owner = np.repeat(np.arange(nets, dtype=np.int32), sizes)
        by_cell = np.argsort(n.net_cells, kind="stable")
        count = np.bincount(n.net_cells, minlength=len(n.names))
        sorted_edges = order(n.edge_arc, n.edge_net, n.arc_net, nets)
        self._edges = tuple(of[sorted_edges] for of in (n.edge_arc, n.edge_net, n.edge_ns))
        self.slack = np.empty(len(n.source))
        net = np.zeros((nets, 8), np.int32)
        net[:, BEGIN] = n.net_start[:-1]
        net[:, END] = n.net_start[1:]
        self.state = State(
            width=part.width,
            height=int(part.logic.shape[0]),
            logic=part.logic,
            kind=n.kind,
            tile_key=n.tile_key,
            slice_key=n.slice_key,
            polarity=n.polarity,
            uses_m=n.uses_m,
            memory=n.memory,
            unit=n.unit,
            unit_start=n.unit_start,
            unit_length=n.unit_length,
            unit_align=n.unit_align,
            at=np.full((3, places), -1, np.int32),
            ram_at=np.full(len(part.ram), -1, np.int32),
            ram_xy=np.ascontiguousarray(part.ram[:, :2]),
            multiplier_at=np.full(len(part.multiplier), -1, np.int32),
            multiplier_xy=np.ascontiguousarray(part.multiplier[:, :2]),
            xy=n.xy,
            place=n.place,
            net=net,
            net_cells=n.net_cells,
            net_weight=weight,
            wire_ns=np.interp(np.arange(sum(part.logic.shape)), _TILES, _NS),
            cell_start=np.concatenate([[0], np.cumsum(count)]).astype(np.int32),
            cell_nets=owner[by_cell],
            hot_start=np.zeros(len(n.names) + 1, np.int32),
            hot_other=np.zeros(0, np.int32),
            hot_weight=np.zeros(0),
            movers=np.zeros(MOST, np.int32),
            scratch_cell=np.zeros(len(n.names), np.int32),
        )

    def longest(self) -> float:
        """The longest path in ns; what each wire has to spare goes into `slack`."""
        n = self.netlist
        return float(
            arrivals(
                self.state,
                n.source,
                n.sink,
                n.inside,
                n.arc_net,
                self._edges[0],
                self._edges[1],
                self._edges[2],
                n.end_arc,
                n.end_ns,
                n.start_ns,
                self.period,
                self.slack,
            )
        )

    def wires(self) -> int:
        """Sum of the nets' half perimeters in tiles, as of the last measurement."""
        box = self.state.net
        return int((box[:, 1] - box[:, 0] + box[:, 3] - box[:, 2]).sum())

    def weigh(self, sharpness: float, wire_cost: float) -> float:
        """Give each wire the weight that its slack asks for; returns the longest path in ns.

        sharpness : exponent of the criticality
        wire_cost : sum of the nets' costs, of which time is to have its share
        """
        s, n = self.state, self.netlist
        longest = self.longest()
        critical = np.clip(1 - self.slack / self.period, 0.0, 1.5)
        weight = critical**sharpness
        weight[n.inside | (weight < 0.02)] = 0
        (hot,) = np.nonzero(weight)
        far = np.abs(s.xy[n.source[hot]] - s.xy[n.sink[hot]]).sum(1)
        total = float((weight[hot] * s.wire_ns[far]).sum())
        self._heat_up(hot, weight[hot] * _SHARE / (1 - _SHARE) * wire_cost / max(total, 1e-9))
        return longest

    def press(self) -> np.ndarray:
        """Weigh the wires nearly as critical as the worst, and no others; returns their cells."""
        n = self.netlist
        self.longest()
        spare = (self.slack - self.slack.min()) / self.period
        (hot,) = np.nonzero((spare < _NEAR) & ~n.inside)
        self._heat_up(hot, _PRESSURE * (1 - spare[hot] / _NEAR) ** 2)
        return np.unique(np.concatenate([n.source[hot], n.sink[hot]]))

    def _heat_up(self, hot: np.ndarray, weight: np.ndarray) -> None:
        """Have the arcs `hot` cost `weight` a ns, and the others nothing."""
        n = self.netlist
        source, sink = n.source[hot], n.sink[hot]
        ends, others = np.concatenate([source, sink]), np.concatenate([sink, source])
        by_end = np.argsort(ends, kind="stable")
        count = np.bincount(ends, minlength=len(n.names))
        self.state = self.state._replace(
            hot_start=np.concatenate([[0], np.cumsum(count)]).astype(np.int32),
            hot_other=others[by_end].astype(np.int32),
            hot_weight=np.concatenate([weight, weight])[by_end],
        )

    def where(self) -> list[np.ndarray]:
        """Copies of what says where everything is."""
        return [of.copy() for of in self._places()]

    def put_back(self, copies: list[np.ndarray]) -> None:
        """Back to where everything was when `where` was called."""
        for of, copy in zip(self._places(), copies, strict=True):
            of[:] = copy

    def _places(self) -> tuple[np.ndarray, ...]:
        s = self.state
        return s.xy, s.place, s.unit_start, s.at, s.ram_at, s.multiplier_at


def place(
    netlist: Netlist,
    part: Part,
    *,
    period: float,
    seed: int = 1,
    seconds: float = 3600.0,
    progress: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Place a design: `netlist.place` and `netlist.xy` say where, then.

    period : ns that paths may take
    seconds : after which annealing ends where it is

    Raises
    ------
    BuildError : the design does not fit
    """
    began = time.monotonic()
    annealer = Annealer(netlist, part, period=period)
    place_globally(netlist, part, annealer.state, seed=seed, progress=progress)
    cost = kernel.measure(annealer.state)
    wires_before, before = annealer.wires(), annealer.longest()
    todo, blocks = movable(netlist)
    heat, radius = _HEAT, _REACH
    longest = annealer.weigh(1.0, cost)
    stamp = 1
    step = 0
    cold = False
    while not cold:
        # The last step takes only what is better.
        cold = heat < 0.006 * cost / len(netlist.start_ns) or (time.monotonic() - began > seconds)
        sharpness = 1 + (_SHARPNESS - 1) * min(1.0, max(0.0, 1 - (radius - 1) / 30))
        for renewal in range(_RENEWALS):
            for cells, tries in ((todo, _TRIES), (blocks, _BLOCK_TRIES)):
                if len(cells):
                    *_, stamp = kernel.anneal(
                        annealer.state,
                        cells,
                        tries * len(cells) // _RENEWALS,
                        0.0 if cold else heat,
                        int(radius),
                        (seed * 1000 + step) * _RENEWALS + renewal,
                        stamp,
                    )
            cost = kernel.measure(annealer.state)
            longest = annealer.weigh(sharpness, cost)
        step += 1
        progress(f"annealing, {annealer.wires()} tiles of wire, {1000 / longest:.1f} MHz estimated")
        heat *= _COOLING
        radius = max(1.0, _REACH * (heat / _HEAT) ** 0.8)
    longest = polish(annealer, todo, blocks, seed=seed, stamp=stamp)
    return Outcome(
        wires_before=wires_before,
        wires=annealer.wires(),
        mhz_before=1000 / before,
        mhz=1000 / longest,
    )


def movable(netlist: Netlist) -> tuple[np.ndarray, np.ndarray]:
    """Cells that stand for what annealing moves: one of each unit of logic, and blocks."""
    (logic,) = np.nonzero((netlist.kind <= RAMW) & (netlist.unit >= 0))
    _, one_of_each = np.unique(netlist.unit[logic], return_index=True)
    todo = np.sort(logic[one_of_each]).astype(np.int32)
    todo = todo[netlist.unit_length[netlist.unit[todo]] <= LONGEST]
    blocks = np.nonzero((netlist.kind == RAM) | (netlist.kind == MULTIPLIER))[0].astype(np.int32)
    return todo, blocks


def polish(
    annealer: Annealer, todo: np.ndarray, blocks: np.ndarray, *, seed: int, stamp: int
) -> float:
    """Exchange only cells of the longest paths, as long as that helps; the longest path in ns.

    Annealing ends where the sum of all is least, which leaves a path or two far behind the others.

    todo, blocks : what may move (`movable`)
    stamp : greater than any of an exchange before
    """
    netlist = annealer.netlist
    allowed = np.zeros(len(netlist.names), bool)
    allowed[todo] = allowed[blocks] = True
    of_unit = np.full(len(netlist.unit_start), -1, np.int32)
    of_unit[netlist.unit[todo]] = todo
    best, kept = annealer.longest(), annealer.where()
    for number in range(_ROUNDS):
        cells = annealer.press()
        unit = netlist.unit[cells]
        cells = np.unique(np.where(unit >= 0, of_unit[unit], cells))
        cells = cells[(cells >= 0) & allowed[cells]].astype(np.int32)
        if len(cells) == 0:
            break
        *_, stamp = kernel.anneal(
            annealer.state,
            cells,
            _ROUND_TRIES * len(cells),
            0.0,
            _RADII[number % len(_RADII)],
            seed * 1000 + number,
            stamp,
        )
        longest = annealer.longest()
        if longest < best:
            best, kept = longest, annealer.where()
    annealer.put_back(kept)
    kernel.measure(annealer.state)
    return best
