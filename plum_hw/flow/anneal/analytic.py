"""A first placement by solving and spreading in turn, and a legal place near to it for everything.

Wires pull their cells together (a quadratic form whose weights are renewed, so that it comes near
to the nets' half perimeters); what then lies too densely is spread by dividing cells and area in
two, again and again; and each solution is pulled towards the spread one before it, more so each
time.

Ref: M.-C. Kim, D.-J. Lee, I. Markov, "SimPL: An effective placement algorithm" (ICCAD 2010).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from plum_hw.errors import BuildError
from plum_hw.flow.anneal.device import FF, FIXED, LCS, MULTIPLIER, RAM, RAMW, Part
from plum_hw.flow.anneal.floorplan import centres, groups
from plum_hw.flow.anneal.netlist import Netlist
from plum_hw.flow.anneal.settle import put_units

#: Cells of a net that all pull at one another; in larger ones all pull at what drives them.
_CLIQUE = 6
#: Share of a region's places that spreading fills at most.
_DENSITY = 0.8
#: Tiles around its own in which a flip-flop looks for others with its reset.
_NEAR = 40
#: Pull towards the spread solution at first, beside that of a wire, and its growth by round.
_PULL, _GROWTH = 0.002, 1.08
_ROUNDS = 110


@numba.njit(cache=True, nogil=True)
def _product(
    start: np.ndarray, other: np.ndarray, weight: np.ndarray, diagonal: np.ndarray, x: np.ndarray
) -> np.ndarray:
    out = diagonal * x
    for i in range(len(x)):
        total = 0.0
        for k in range(start[i], start[i + 1]):
            total += weight[k] * x[other[k]]
        out[i] -= total
    return out


@numba.njit(cache=True, nogil=True)
def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """In one order on all machines, so that placements are the same."""
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


def _solve(
    start: np.ndarray,
    other: np.ndarray,
    weight: np.ndarray,
    diagonal: np.ndarray,
    right: np.ndarray,
    x: np.ndarray,
    rounds: int = 60,
) -> np.ndarray:
    """Conjugate gradients, preconditioned by the diagonal, from x on."""
    x = x.copy()
    residual = right - _product(start, other, weight, diagonal, x)
    z = residual / diagonal
    way = z.copy()
    old = _dot(residual, z)
    limit = 1e-6 * max(old, 1e-9)
    for _ in range(rounds):
        if old <= limit:
            break
        moved = _product(start, other, weight, diagonal, way)
        step = old / _dot(way, moved)
        x += step * way
        residual -= step * moved
        z = residual / diagonal
        new = _dot(residual, z)
        way = z + (new / old) * way
        old = new
    return x


class Pieces:
    """What is placed: units, RAMs, multipliers, and fixed cells, each as a point."""

    def __init__(self, netlist: Netlist, room: int) -> None:
        n = netlist
        units = len(n.unit_length)
        (blocks,) = np.nonzero((n.kind == RAM) | (n.kind == MULTIPLIER))
        (fixed,) = np.nonzero(n.kind == FIXED)
        self.units, self.blocks, self.fixed = units, blocks, fixed
        piece = n.unit.astype(np.int64)
        piece[blocks] = units + np.arange(len(blocks))
        piece[fixed] = units + len(blocks) + np.arange(len(fixed))
        self.piece = piece
        self.movable = units + len(blocks)
        self.count = self.movable + len(fixed)
        self.area = n.unit_length.astype(float)
        # A lone LUT and a lone flip-flop can share a place, the more of them do the less room is
        # left; but flip-flops with other enables or resets cannot be neighbours.
        alone = (self.area == 1) & (np.bincount(piece, minlength=self.count)[:units] == 1)
        left = _DENSITY * room - self.area[~alone].sum()
        self.area[alone] = np.clip(left / max(alone.sum(), 1), 0.5, 0.7)
        self.edges, self.weights = self._edges(n)

    def _edges(self, n: Netlist) -> tuple[np.ndarray, np.ndarray]:
        sizes = np.diff(n.net_start)
        pairs, weights = [], []
        for size in range(2, _CLIQUE + 1):
            (nets,) = np.nonzero(sizes == size)
            cells = n.net_cells[n.net_start[nets][:, None] + np.arange(size)]
            for i in range(size):
                for j in range(i):
                    pairs.append(np.stack([cells[:, i], cells[:, j]], axis=1))
                    weights.append(np.full(len(nets), 2.0 / size))
        arcs = sizes[n.arc_net] > _CLIQUE
        pairs.append(np.stack([n.source[arcs], n.sink[arcs]], axis=1))
        weights.append(2.0 / sizes[n.arc_net[arcs]])
        edges = self.piece[np.concatenate(pairs)]
        weight = np.concatenate(weights)
        apart = edges[:, 0] != edges[:, 1]
        return edges[apart], weight[apart]


def place_globally(
    netlist: Netlist,
    part: Part,
    state: Any,
    *,
    seed: int,
    progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Give every cell a legal place where the wires want it.

    Raises
    ------
    BuildError : the design does not fit
    """
    pieces = Pieces(netlist, LCS * int(part.logic.sum()))
    random = np.random.default_rng(seed)
    height, width = part.logic.shape
    group = groups(netlist)
    count = int(group.max()) + 1
    goals = np.concatenate(
        [centres(part, count) if count else np.zeros((0, 2)), [[width / 2, height / 2]]]
    )
    group[group == -1] = count
    at = np.zeros((pieces.count, 2))
    at[pieces.piece] = goals[group]
    at += random.normal(0, 3, at.shape)
    at[pieces.movable :] = netlist.xy[pieces.fixed]
    target = at.copy()
    edges, base = pieces.edges, pieces.weights
    both = np.concatenate([edges, edges[:, ::-1]])
    order = np.argsort(both[:, 0], kind="stable")
    start = np.searchsorted(both[order, 0], np.arange(pieces.movable + 1))
    other = both[order, 1]
    of = both[order, 0]
    weight = np.concatenate([base, base])[order]
    inner = start[-1]  # edges of movable pieces
    other, of, weight = other[:inner], of[:inner], weight[:inner]
    fixed_end = other >= pieces.movable
    for number in range(_ROUNDS):
        pull = _PULL * _GROWTH**number
        for axis in (0, 1):
            x = at[:, axis]
            w = weight / (np.abs(x[of] - x[other]) + 1.0)
            anchor = pull / (np.abs(x - target[:, axis])[: pieces.movable] + 1.0)
            anchor *= np.concatenate([pieces.area**0.5, np.full(len(pieces.blocks), 4.0)])
            diagonal = np.bincount(of, weights=w, minlength=pieces.movable) + anchor
            right = anchor * target[: pieces.movable, axis]
            right += np.bincount(
                of[fixed_end], weights=(w * x[other])[fixed_end], minlength=pieces.movable
            )
            free = np.where(fixed_end, 0.0, w)
            index = np.where(fixed_end, 0, other)
            at[: pieces.movable, axis] = _solve(
                start, index, free, diagonal, right, x[: pieces.movable]
            )
        target = at.copy()
        spread(part, pieces, target)
        settle_blocks(netlist, part, pieces, target)
        if number % 10 == 9:
            wires = half_perimeter(netlist, target[pieces.piece])
            progress(f"placing, {wires:.0f} tiles of wire")
    settle(netlist, part, pieces, state, target)


def half_perimeter(netlist: Netlist, at: np.ndarray) -> float:
    """Sum of the nets' half perimeters with cells at (cells, 2) `at`."""
    used = np.diff(netlist.net_start) > 0
    first = netlist.net_start[:-1][used]
    points = at[netlist.net_cells]
    high = np.maximum.reduceat(points, first, axis=0)
    low = np.minimum.reduceat(points, first, axis=0)
    return float((high - low).sum())


def spread(part: Part, pieces: Pieces, target: np.ndarray) -> None:
    """Move units apart until no region is fuller than it may be."""
    height, width = part.logic.shape
    room = np.zeros((height + 1, width + 1))
    room[1:, 1:] = np.cumsum(np.cumsum(part.logic * float(LCS), axis=0), axis=1)

    def capacity(x0: int, x1: int, y0: int, y1: int) -> float:
        return room[y1, x1] - room[y0, x1] - room[y1, x0] + room[y0, x0]

    units = pieces.units
    area = pieces.area
    share = area.sum() / capacity(0, width, 0, height)
    density = max(_DENSITY, share * 1.03)
    stack = [(0, width, 0, height, np.arange(units))]
    while stack:
        x0, x1, y0, y1, members = stack.pop()
        wide, tall = x1 - x0, y1 - y0
        if len(members) == 0:
            continue
        if wide * tall <= 2 or len(members) == 1:
            target[members, 0] = np.clip(target[members, 0], x0, x1 - 1)
            target[members, 1] = np.clip(target[members, 1], y0, y1 - 1)
            continue
        axis = 0 if wide >= tall else 1
        cut = (x0 + x1) // 2 if axis == 0 else (y0 + y1) // 2
        halves = (
            ((x0, cut, y0, y1), (cut, x1, y0, y1))
            if axis == 0
            else ((x0, x1, y0, cut), (x0, x1, cut, y1))
        )
        first, second = (capacity(*half) for half in halves)
        order = members[np.argsort(target[members, axis], kind="stable")]
        filled = np.cumsum(area[order])
        total = filled[-1]
        wish = filled[np.searchsorted(target[order, axis], cut - 0.5) - 1] if len(order) else 0.0
        if target[order[0], axis] >= cut - 0.5:
            wish = 0.0
        limit = max(density, total / max(first + second, 1e-9))
        low, high = total - limit * second, limit * first
        wish = min(max(wish, low), high)
        split = int(np.searchsorted(filled, wish + 1e-9))
        stack.append((*halves[0], order[:split]))
        stack.append((*halves[1], order[split:]))


def settle_blocks(netlist: Netlist, part: Part, pieces: Pieces, target: np.ndarray) -> np.ndarray:
    """Sites for RAMs and multipliers, the nearest first; (blocks,) site of each."""
    chosen = np.full(len(pieces.blocks), -1)
    for kind, sites in ((RAM, part.ram), (MULTIPLIER, part.multiplier)):
        (which,) = np.nonzero(netlist.kind[pieces.blocks] == kind)
        if len(which) > len(sites):
            raise BuildError(f"{len(which)} blocks are needed where the part has {len(sites)}")
        if len(which) == 0:
            continue
        wanted = target[pieces.units + which]
        far = np.abs(wanted[:, None] - sites[None, :, :2]).sum(2)
        chosen[which] = _greedy(np.argsort(far, axis=None), *far.shape)
        target[pieces.units + which] = sites[chosen[which], :2]
    return chosen


@numba.njit(cache=True, nogil=True)
def _greedy(order: np.ndarray, rows: int, columns: int) -> np.ndarray:
    chosen = np.full(rows, -1)
    taken = np.zeros(columns, np.bool_)
    left = rows
    for pair in order:
        row, column = pair // columns, pair % columns
        if chosen[row] < 0 and not taken[column]:
            chosen[row] = column
            taken[column] = True
            left -= 1
            if left == 0:
                break
    return chosen


def settle(netlist: Netlist, part: Part, pieces: Pieces, state: Any, target: np.ndarray) -> None:
    """A legal place for each cell, near where it is wanted."""
    sites = settle_blocks(netlist, part, pieces, target)
    for site, cell in zip(sites, pieces.blocks, strict=True):
        ram = netlist.kind[cell] == RAM
        (state.ram_at if ram else state.multiplier_at)[site] = cell
        netlist.place[cell] = site
        netlist.xy[cell] = (part.ram if ram else part.multiplier)[site, :2]
    (logic,) = np.nonzero(netlist.kind <= RAMW)
    order = logic[np.argsort(netlist.unit[logic], kind="stable")].astype(np.int32)
    start = np.searchsorted(netlist.unit[order], np.arange(pieces.units + 1)).astype(np.int32)
    # What is large first; then flip-flops, those first whose reset few others share; then LUTs.
    tile_key = np.full(pieces.units, -1)
    slice_key = np.full(pieces.units, -1)
    flip_flops = logic[netlist.kind[logic] == FF]
    tile_key[netlist.unit[flip_flops]] = netlist.tile_key[flip_flops]
    slice_key[netlist.unit[flip_flops]] = netlist.slice_key[flip_flops]
    sharing = np.bincount(netlist.tile_key[flip_flops])
    rank = np.where(tile_key >= 0, sharing[tile_key], len(netlist.names))
    units = np.lexsort((slice_key, tile_key, rank, -netlist.unit_length)).astype(np.int32)
    y, x = np.mgrid[-part.logic.shape[0] : part.logic.shape[0] + 1, -part.width : part.width + 1]
    ring = np.stack([x.ravel(), y.ravel()], axis=1)
    ring = ring[np.argsort(np.abs(ring).sum(1), kind="stable")].astype(np.int32)
    goal = np.round(target[: pieces.units]).astype(np.int32)
    missing = put_units(state, units, goal, ring, _NEAR, order, start, netlist.offset)
    if missing:
        raise BuildError(f"{missing} of {pieces.units} pieces of the design found no place")
