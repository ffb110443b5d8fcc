"""The annealer's inner loop, compiled by Numba."""

from __future__ import annotations

import numpy as np

from plum_hw.flow.anneal.device import COMB, FF, LCS, RAM, RAMW
from plum_hw.flow.anneal.state import (
    BEGIN,
    END,
    LAYERS,
    MOST,
    SLOT,
    STAMP,
    State,
    exchange,
    inlined,
    jit,
    locate,
    tile_is_legal,
)

#: Cells that are tried together, so that what is near stays in the caches.
BLOCK = 2048


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
    comb, ff = s.at[COMB, place], s.at[FF, place]
    return 3 if comb >= 0 and ff >= 0 and s.unit[comb] == s.unit[ff] else layers


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
    """Note the cells of a run of places as movers; how many there are then."""
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
) -> tuple[int, int, int]:
    """Try `moves` exchanges at a temperature.

    todo : (n,) int32, cells that stand for what can move: one of each unit, RAMs, multipliers
    moves : how many are tried
    heat : in the unit of the costs
    radius : how far a cell goes at once, in tiles
    stamp : greater than any before

    Returns
    -------
    exchanges taken, exchanges that were legal, next stamp
    """
    np.random.seed(seed)
    taken = legal = 0
    touched = np.empty(MOST, np.int32)
    full = np.zeros(MOST, np.bool_)
    box = np.empty((MOST, 4), np.int32)
    old_x = np.empty(MOST, np.int32)
    old_y = np.empty(MOST, np.int32)
    for move in range(moves):
        stamp += 1
        # From one stretch of the list to the next.
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
            if a == b:
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
    return taken, legal, stamp
