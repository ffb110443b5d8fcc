"""What the compiled loops of the placer work on, and the rules of a logic tile.

A logic tile's places are numbered (y * width + x) * 8 + place, so that slices which follow one
another along a row, as a carry chain takes them, are neighbours in the arrays; a run of places of
one row can thus be exchanged for another as it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from plum_hw.flow.anneal.device import COMB, FF, LCS, RAM, RAMW

#: Cells, and nets, that one exchange can touch; places that a unit may have for it.
MOST = 4096
LONGEST = MOST // 40
#: Kinds of cells that stand at places of the logic: the first.
LAYERS = 3
#: Columns of `State.net` behind the box.
BEGIN, END, STAMP, SLOT = 4, 5, 6, 7


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
def locate(s: State, cell: int) -> None:
    """X and y of a cell from its place."""
    kind = s.kind[cell]
    if kind <= RAMW:
        tile = s.place[cell] // LCS
        s.xy[cell, 0], s.xy[cell, 1] = tile % s.width, tile // s.width
    elif kind == RAM:
        s.xy[cell, 0], s.xy[cell, 1] = s.ram_xy[s.place[cell], 0], s.ram_xy[s.place[cell], 1]
    else:
        s.xy[cell, 0] = s.multiplier_xy[s.place[cell], 0]
        s.xy[cell, 1] = s.multiplier_xy[s.place[cell], 1]
