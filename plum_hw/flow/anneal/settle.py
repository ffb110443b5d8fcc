"""A legal place for each piece near to where it is wanted."""

from __future__ import annotations

import numpy as np

from plum_hw.flow.anneal.device import COMB, FF, LCS
from plum_hw.flow.anneal.state import State, inlined, jit, locate, tile_is_legal


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
    """Put units into free places, the nearest to where they are wanted; how many found none.

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
