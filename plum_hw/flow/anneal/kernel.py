"""The inner loops of the annealer, compiled by Numba.

Everything here works on flat arrays. A logic tile's places are numbered (y * width + x) * 8 + place,
so that slices which follow one another along a row, as a carry chain takes them, are neighbours in
the array; a run of places of one row can thus be exchanged for another as it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

LCS = 8
#: Cells, and nets, that one exchange can touch.
MOST = 4096
COMB, FF, RAMW, RAM, MULTIPLIER = range(5)
LAYERS = 3
#: Columns of `State.net` behind the box.
BEGIN, END, STAMP, SLOT = 4, 5, 6, 7
#: Cells that are tried together.
BLOCK = 2048


class State(NamedTuple):
    """What the annealer reads and changes.

    at : (3, places) int32, cell of each kind at each place of the logic; -1: none
    ram_at, multiplier_at : (sites,) int32, cell at each site
    ram_xy, multiplier_xy : (sites, 2) int32
    xy : (cells, 2) int32, where each cell is
    place : (cells,) int32
    net : (nets, 8) int32; lowest and highest x, lowest and highest y of a net's cells, where they
        begin and end in `net_cells`, and two fields for the move at hand
    wire_ns : time of a wire by its length in tiles
    hot_start, hot_other, hot_weight : of each cell the cells at the other ends of its wires that
        matter for timing, and the cost of a ns of such a wire
    """

    width: int
    height: int
    logic: np.ndarray
    kind: np.ndarray
    tile_key: np.ndarray
    slice_key: np.ndarray
    polarity: np.ndarray
    uses_m: np.ndarray
    memory: np.ndarray
    unit: np.ndarray
    unit_start: np.ndarray
    unit_length: np.ndarray
    unit_align: np.ndarray
    at: np.ndarray
    ram_at: np.ndarray
    ram_xy: np.ndarray
    multiplier_at: np.ndarray
    multiplier_xy: np.ndarray
    xy: np.ndarray
    place: np.ndarray
    net: np.ndarray
    net_cells: np.ndarray
    net_weight: np.ndarray
    wire_ns: np.ndarray
    cell_start: np.ndarray
    cell_nets: np.ndarray
    hot_start: np.ndarray
    hot_other: np.ndarray
    hot_weight: np.ndarray
    movers: np.ndarray
    scratch_cell: np.ndarray


jit = numba.njit(cache=True, nogil=True)
#: For what the inner loop calls: a call would count the references of all arrays of a `State`.
inlined = numba.njit(cache=True, nogil=True, forceinline=True)


@inlined
def net_box(s: State, net: int) -> tuple[int, int, int, int]:
    """Where a net's cells are: (low x, high x, low y, high y)."""
    first, last = s.net[net, BEGIN], s.net[net, END]
    cell = s.net_cells[first]
    x0 = x1 = s.xy[cell, 0]
    y0 = y1 = s.xy[cell, 1]
    for i in range(first + 1, last):
        cell = s.net_cells[i]
        x, y = s.xy[cell, 0], s.xy[cell, 1]
        x0, x1 = min(x0, x), max(x1, x)
        y0, y1 = min(y0, y), max(y1, y)
    return x0, x1, y0, y1


@jit
def measure(s: State) -> float:
    """Boxes of all nets anew; the sum of their weighted half perimeters."""
    total = 0.0
    for net in range(len(s.net)):
        if s.net[net, END] > s.net[net, BEGIN]:
            x0, x1, y0, y1 = net_box(s, net)
            s.net[net, 0], s.net[net, 1], s.net[net, 2], s.net[net, 3] = x0, x1, y0, y1
            total += s.net_weight[net] * (x1 - x0 + y1 - y0)
    return total


@inlined
def tile_is_legal(s: State, tile: int) -> bool:
    """Whether what is in a logic tile may be there together (nextpnr, ecp5/arch_place.cc)."""
    base = tile * LCS
    tile_key = -1
    polarity = -1
    for lc in range(4):
        cell = s.at[COMB, base + lc]
        if cell >= 0 and s.memory[cell]:
            polarity = s.polarity[cell]
    for lc in range(LCS):
        cell = s.at[FF, base + lc]
        if cell < 0:
            continue
        if tile_key >= 0 and s.tile_key[cell] != tile_key:
            return False
        tile_key = s.tile_key[cell]
        if polarity >= 0 and s.polarity[cell] != polarity:
            return False
        if lc % 2:
            other = s.at[FF, base + lc - 1]
            if other >= 0 and s.slice_key[other] != s.slice_key[cell]:
                return False
        if s.uses_m[cell]:
            beside = s.at[COMB, base + lc]
            if beside >= 0 and s.uses_m[beside]:
                return False
    return True


@inlined
def exchange(s: State, a: int, b: int, length: int, layers: int) -> None:
    """Exchange the cells of two runs of places; `layers`: bits for COMB, FF and RAMW."""
    for layer in range(LAYERS):
        if layers >> layer & 1:
            for i in range(length):
                here, there = s.at[layer, a + i], s.at[layer, b + i]
                s.at[layer, a + i], s.at[layer, b + i] = there, here
                if there >= 0:
                    s.place[there] = a + i
                if here >= 0:
                    s.place[here] = b + i


@inlined
def run_is_free(s: State, start: int, length: int, shift: int) -> bool:
    """Whether all units in a run of places lie within it and may move by `shift` places."""
    for layer in range(LAYERS):
        for i in range(start, start + length):
            cell = s.at[layer, i]
            if cell >= 0:
                unit = s.unit[cell]
                if unit < 0:
                    return False
                first = s.unit_start[unit]
                if first < start or first + s.unit_length[unit] > start + length:
                    return False
                if shift % s.unit_align[unit]:
                    return False
    return True


@inlined
def other_layers(s: State, place: int, layers: int) -> int:
    """The layers that must move with `layers` at a place of single cells; 8: none can."""
    for layer in range(LAYERS):
        cell = s.at[layer, place]
        if cell < 0:
            continue
        unit = s.unit[cell]
        if layers >> layer & 1 and (unit < 0 or s.unit_length[unit] > 1):
            return 8
    if layers != 3 and s.at[COMB, place] >= 0 and s.at[FF, place] >= 0:
        if s.unit[s.at[COMB, place]] == s.unit[s.at[FF, place]]:
            return 3
    return layers


@inlined
def exchange_legally(s: State, kind: int, a: int, b: int, length: int) -> int:
    """Exchange what is at two places or runs of places if it is legal; the layers, or 0."""
    last = b + length - 1
    if length == 1:
        layers = 1 << kind
        both = other_layers(s, a, layers) | other_layers(s, b, layers)
        if both & 8:
            return 0
        if both != layers:
            layers = both
            if (other_layers(s, a, layers) | other_layers(s, b, layers)) & 8:
                return 0
    else:
        row = s.width * LCS
        if b // row != last // row or abs(a - b) < length:
            return 0
        for tile in range(b // LCS, last // LCS + 1):
            if not s.logic[tile // s.width, tile % s.width]:
                return 0
        if not run_is_free(s, b, length, a - b) or not run_is_free(s, a, length, b - a):
            return 0
        layers = 7
    exchange(s, a, b, length, layers)
    legal = True
    for tile in range(a // LCS, (a + length - 1) // LCS + 1):
        legal = legal and tile_is_legal(s, tile)
    for tile in range(b // LCS, last // LCS + 1):
        legal = legal and tile_is_legal(s, tile)
    if not legal:
        exchange(s, a, b, length, layers)
        return 0
    return layers


@inlined
def gather(s: State, layer: int, start: int, length: int, count: int) -> int:
    for i in range(start, start + length):
        if s.at[layer, i] >= 0:
            s.movers[count] = s.at[layer, i]
            count += 1
    return count


@inlined
def hot_cost(s: State, count: int, stamp: int) -> float:
    """Weighted time of the wires at the cells that move; those between two of them half each."""
    total = 0.0
    for m in range(count):
        cell = s.movers[m]
        x, y = s.xy[cell, 0], s.xy[cell, 1]
        for i in range(s.hot_start[cell], s.hot_start[cell + 1]):
            other = s.hot_other[i]
            far = abs(x - s.xy[other, 0]) + abs(y - s.xy[other, 1])
            cost = s.hot_weight[i] * s.wire_ns[far]
            total += 0.5 * cost if s.scratch_cell[other] == stamp else cost
    return total


@inlined
def locate(s: State, cell: int) -> None:
    """x and y of a cell from its place."""
    kind = s.kind[cell]
    if kind <= RAMW:
        tile = s.place[cell] // LCS
        s.xy[cell, 0], s.xy[cell, 1] = tile % s.width, tile // s.width
    elif kind == RAM:
        s.xy[cell, 0], s.xy[cell, 1] = s.ram_xy[s.place[cell], 0], s.ram_xy[s.place[cell], 1]
    else:
        s.xy[cell, 0] = s.multiplier_xy[s.place[cell], 0]
        s.xy[cell, 1] = s.multiplier_xy[s.place[cell], 1]


@inlined
def wanted(s: State, cell: int, radius: int) -> tuple[int, int]:
    """A tile near the cell, or near the middle of one of its nets."""
    x, y = s.xy[cell, 0], s.xy[cell, 1]
    first, last = s.cell_start[cell], s.cell_start[cell + 1]
    if last > first and np.random.randint(4) != 0:
        net = s.cell_nets[np.random.randint(first, last)]
        size = s.net[net, END] - s.net[net, BEGIN]
        if size <= 3:  # the other end
            other = s.net_cells[s.net[net, BEGIN] + np.random.randint(size)]
            goal_x, goal_y = s.xy[other, 0], s.xy[other, 1]
        else:
            goal_x = np.random.randint(s.net[net, 0], s.net[net, 1] + 1)
            goal_y = np.random.randint(s.net[net, 2], s.net[net, 3] + 1)
        reach = min(radius, 3)
        goal_x = min(max(goal_x, x - radius), x + radius)
        goal_y = min(max(goal_y, y - radius), y + radius)
        x = goal_x + np.random.randint(-reach, reach + 1)
        y = goal_y + np.random.randint(-reach, reach + 1)
    else:
        x += np.random.randint(-radius, radius + 1)
        y += np.random.randint(-radius, radius + 1)
    return min(max(x, 0), s.width - 1), min(max(y, 0), s.height - 1)


@jit
def anneal(
    s: State, todo: np.ndarray, moves: int, heat: float, radius: int, seed: int, stamp: int
) -> tuple[int, int, float, float, int]:
    """Try `moves` exchanges at a temperature.

    todo : (n,) int32, cells that stand for what can move: one of each unit, RAMs, multipliers
    heat : in the unit of the costs
    radius : how far a cell goes at once, in tiles

    Returns
    -------
    exchanges taken, exchanges that were legal, change of wire and of time costs, next stamp
    """
    np.random.seed(seed)
    taken = legal = 0
    wire_change = time_change = 0.0
    touched = np.empty(MOST, np.int32)
    full = np.zeros(MOST, np.bool_)
    box = np.empty((MOST, 4), np.int32)
    old_x = np.empty(MOST, np.int32)
    old_y = np.empty(MOST, np.int32)
    for move in range(moves):
        stamp += 1
        # From one stretch of the list to the next, so that what is near stays in the caches.
        first = int(len(todo) * (move / moves)) // BLOCK * BLOCK
        cell = todo[first + np.random.randint(min(BLOCK, len(todo) - first))]
        kind = s.kind[cell]
        count = 0
        layers = 0
        a = b = 0
        length = 0
        if kind <= RAMW:
            x, y = wanted(s, cell, radius)
            if not s.logic[y, x]:
                continue
            unit = s.unit[cell]
            a, length = s.unit_start[unit], s.unit_length[unit]
            align = s.unit_align[unit]
            if (y * s.width + x) == a // LCS:
                continue
            turn = np.random.randint(LCS)
            layers = 0
            for i in range(LCS // align):
                b = (y * s.width + x) * LCS + (turn + i * align) % LCS // align * align + a % align
                layers = exchange_legally(s, kind, a, b, length)
                if layers:
                    break
            if layers == 0:
                continue
            for layer in range(LAYERS):
                if layers >> layer & 1:
                    count = gather(s, layer, a, length, count)
                    count = gather(s, layer, b, length, count)
        else:
            at = s.ram_at if kind == RAM else s.multiplier_at
            a = s.place[cell]
            b = np.random.randint(len(at))
            other = at[b]
            if a == b or (other >= 0 and s.unit[other] == -2):
                continue
            xy = s.ram_xy if kind == RAM else s.multiplier_xy
            if abs(xy[a, 0] - xy[b, 0]) > radius + 9 or abs(xy[a, 1] - xy[b, 1]) > radius + 24:
                continue
            at[a], at[b] = other, cell
            s.place[cell] = b
            s.movers[0] = cell
            count = 1
            if other >= 0:
                s.place[other] = a
                s.movers[1] = other
                count = 2
        legal += 1
        # What the wires at these cells cost now.
        for m in range(count):
            mover = s.movers[m]
            s.scratch_cell[mover] = stamp
            old_x[m], old_y[m] = s.xy[mover, 0], s.xy[mover, 1]
        time_before = hot_cost(s, count, stamp)
        for m in range(count):
            locate(s, s.movers[m])
        time_after = hot_cost(s, count, stamp)
        nets = 0
        for m in range(count):
            mover = s.movers[m]
            px, py, qx, qy = old_x[m], old_y[m], s.xy[mover, 0], s.xy[mover, 1]
            for i in range(s.cell_start[mover], s.cell_start[mover + 1]):
                net = s.cell_nets[i]
                x0, x1, y0, y1 = s.net[net, 0], s.net[net, 1], s.net[net, 2], s.net[net, 3]
                if s.net[net, STAMP] != stamp:
                    s.net[net, STAMP] = stamp
                    s.net[net, SLOT] = nets
                    touched[nets] = net
                    full[nets] = s.net[net, END] - s.net[net, BEGIN] <= 8
                    box[nets, 0], box[nets, 1], box[nets, 2], box[nets, 3] = x0, x1, y0, y1
                    nets += 1
                k = s.net[net, SLOT]
                # It may have been what held the box open.
                full[k] = (
                    full[k]
                    or (px == x0 and qx > px)
                    or (px == x1 and qx < px)
                    or (py == y0 and qy > py)
                    or (py == y1 and qy < py)
                )
                box[k, 0], box[k, 1] = min(box[k, 0], qx), max(box[k, 1], qx)
                box[k, 2], box[k, 3] = min(box[k, 2], qy), max(box[k, 3], qy)
        wire = 0.0
        for k in range(nets):
            net = touched[k]
            if full[k]:
                box[k, 0], box[k, 1], box[k, 2], box[k, 3] = net_box(s, net)
            now = s.net[net, 1] - s.net[net, 0] + s.net[net, 3] - s.net[net, 2]
            wire += s.net_weight[net] * (box[k, 1] - box[k, 0] + box[k, 3] - box[k, 2] - now)
        change = wire + time_after - time_before
        if change <= 0 or (heat > 0 and np.random.random() < np.exp(-change / heat)):
            taken += 1
            wire_change += wire
            time_change += time_after - time_before
            for k in range(nets):
                for i in range(4):
                    s.net[touched[k], i] = box[k, i]
            if kind <= RAMW:
                for m in range(count):
                    mover = s.movers[m]
                    moved = s.unit[mover]
                    # Each unit's first place moves as its cells do; once is enough.
                    start = s.unit_start[moved]
                    shift = b - a if s.place[mover] >= b and s.place[mover] < b + length else a - b
                    here = s.place[mover] - start
                    if here < 0 or here >= s.unit_length[moved]:
                        s.unit_start[moved] = start + shift
        else:
            for m in range(count):
                s.xy[s.movers[m], 0], s.xy[s.movers[m], 1] = old_x[m], old_y[m]
            if kind <= RAMW:
                exchange(s, a, b, length, layers)
            else:
                at = s.ram_at if kind == RAM else s.multiplier_at
                other = at[a]
                at[a], at[b] = cell, other
                s.place[cell] = a
                if other >= 0:
                    s.place[other] = b
    return taken, legal, wire_change, time_change, stamp


@jit
def arrivals(
    s: State,
    source: np.ndarray,
    sink: np.ndarray,
    inside: np.ndarray,
    arc_net: np.ndarray,
    edge_arc: np.ndarray,
    edge_net: np.ndarray,
    edge_ns: np.ndarray,
    end_arc: np.ndarray,
    end_ns: np.ndarray,
    start_ns: np.ndarray,
    period: float,
    slack: np.ndarray,
) -> float:
    """Static timing: the longest path in ns, and the slack of each arc to `period` into `slack`.

    Edges are in an order in which what drives a net comes before what it drives.
    """
    arrive = start_ns.copy()
    wire = np.empty(len(inside))
    for arc in range(len(inside)):
        a, b = source[arc], sink[arc]
        far = abs(s.xy[a, 0] - s.xy[b, 0]) + abs(s.xy[a, 1] - s.xy[b, 1])
        wire[arc] = 0.0 if inside[arc] else s.wire_ns[far]
    for e in range(len(edge_arc)):
        arc = edge_arc[e]
        t = arrive[arc_net[arc]] + wire[arc] + edge_ns[e]
        arrive[edge_net[e]] = max(arrive[edge_net[e]], t)
    longest = 0.0
    needed = np.full(len(arrive), np.inf)
    slack[:] = np.inf
    for i in range(len(end_arc)):
        arc = end_arc[i]
        net = arc_net[arc]
        t = arrive[net] + wire[arc] + end_ns[i]
        longest = max(longest, t)
        slack[arc] = min(slack[arc], period - t)
        needed[net] = min(needed[net], period - wire[arc] - end_ns[i])
    for e in range(len(edge_arc) - 1, -1, -1):
        arc = edge_arc[e]
        net = arc_net[arc]
        at_pin = needed[edge_net[e]] - edge_ns[e]
        slack[arc] = min(slack[arc], at_pin - wire[arc] - arrive[net])
        needed[net] = min(needed[net], at_pin - wire[arc])
    return longest


@jit
def order(edge_arc: np.ndarray, edge_net: np.ndarray, arc_net: np.ndarray, nets: int) -> np.ndarray:
    """Edges ordered so that all into a net come before all out of it; shorter where there is a loop."""
    waiting = np.zeros(nets, np.int32)
    first = np.zeros(nets + 1, np.int32)
    for e in range(len(edge_arc)):
        waiting[edge_net[e]] += 1
        first[arc_net[edge_arc[e]] + 1] += 1
    for net in range(nets):
        first[net + 1] += first[net]
    out = np.empty(len(edge_arc), np.int32)
    fill = first.copy()
    for e in range(len(edge_arc)):
        net = arc_net[edge_arc[e]]
        out[fill[net]] = e
        fill[net] += 1
    ordered = np.empty(len(edge_arc), np.int32)
    queue = np.empty(nets, np.int32)
    head = tail = done = 0
    for net in range(nets):
        if waiting[net] == 0:
            queue[tail] = net
            tail += 1
    while head < tail:
        net = queue[head]
        head += 1
        for i in range(first[net], first[net + 1]):
            e = out[i]
            ordered[done] = e
            done += 1
            waiting[edge_net[e]] -= 1
            if waiting[edge_net[e]] == 0:
                queue[tail] = edge_net[e]
                tail += 1
    return ordered[:done]


@inlined
def beside_its_like(s: State, base: int, cell: int) -> bool:
    """Whether the slice has something of the cell's kind that it can stand beside."""
    other = s.at[s.kind[cell], base ^ 1]
    return other >= 0 and s.slice_key[other] == s.slice_key[cell]


@inlined
def among_its_like(s: State, tile: int, cell: int) -> bool:
    """Whether the tile has a flip-flop that shares the cell's clock and reset."""
    for lc in range(LCS):
        other = s.at[FF, tile * LCS + lc]
        if other >= 0:
            return s.tile_key[other] == s.tile_key[cell]
    return False


@jit
def put_units(
    s: State,
    units: np.ndarray,
    goal: np.ndarray,
    ring: np.ndarray,
    near: int,
    cells: np.ndarray,
    start: np.ndarray,
    offset: np.ndarray,
) -> int:
    """Put units into the free places that are nearest to where they are wanted; how many found none.

    units : in the order in which they are put
    goal : (units, 2) tile that each is wanted in
    ring : (n, 2) steps from there, the shortest first
    near : steps in which a flip-flop looks for a tile of its like before it begins another
    cells, start : cells of each unit, one after another
    """
    missing = 0
    for unit in units:
        length, align = s.unit_length[unit], s.unit_align[unit]
        cell = cells[start[unit]]
        for i in range(start[unit], start[unit + 1]):
            if s.kind[cells[i]] == FF:
                cell = cells[i]
        done = False
        picky = near if length == 1 and s.kind[cell] == FF else 0
        for i in range(picky + len(ring)):
            step = ring[i if i < picky else i - picky]
            x, y = goal[unit, 0] + step[0], goal[unit, 1] + step[1]
            if x < 0 or y < 0 or x >= s.width or y >= s.height or not s.logic[y, x]:
                continue
            tile = y * s.width + x
            if i < picky and not among_its_like(s, tile, cell):
                continue
            # First beside what it can share a slice with, so that slices are filled.
            for turn in range(2 * LCS // align):
                base = tile * LCS + turn * align % LCS
                if align == 1 and (turn < LCS) != beside_its_like(s, base, cell):
                    continue
                if fits(s, base, length, cells, start[unit], start[unit + 1], offset):
                    s.unit_start[unit] = base
                    done = True
                    break
            if done:
                break
        missing += not done
    return missing


@jit
def fits(
    s: State,
    base: int,
    length: int,
    cells: np.ndarray,
    first: int,
    last: int,
    offset: np.ndarray,
) -> bool:
    """Put a unit's cells at a place if that is free and legal."""
    row = s.width * LCS
    end = base + length - 1
    if base // row != end // row:
        return False
    for tile in range(base // LCS, end // LCS + 1):
        if not s.logic[tile // s.width, tile % s.width]:
            return False
    for i in range(first, last):
        if s.at[s.kind[cells[i]], base + offset[cells[i]]] >= 0:
            return False
    if length > 1:  # slices of their own but for flip-flops
        for i in range(length):
            if s.at[COMB, base + i] >= 0:
                return False
    for i in range(first, last):
        cell = cells[i]
        s.at[s.kind[cell], base + offset[cell]] = cell
        s.place[cell] = base + offset[cell]
    legal = True
    for tile in range(base // LCS, end // LCS + 1):
        legal = legal and tile_is_legal(s, tile)
    if not legal:
        for i in range(first, last):
            cell = cells[i]
            s.at[s.kind[cell], base + offset[cell]] = -1
            s.place[cell] = -1
        return False
    for i in range(first, last):
        locate(s, cells[i])
    return True
