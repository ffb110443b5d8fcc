"""Where an ECP5 part has logic tiles, block RAMs and multipliers.

Ref: Project Trellis, database (tilegrid.json), which nextpnr's package brings along.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: LUTs with their flip-flops in a logic tile: four slices of two.
LCS = 8
#: Kinds of cells: of a logic tile, of other sites, and what stays where it is.
COMB, FF, RAMW, RAM, MULTIPLIER, FIXED = range(6)


@dataclass(frozen=True)
class Part:
    """Sites of a part.

    logic : (height, width) bool, tiles of logic
    ram, multiplier : (n, 3) int32; x, y and the number in the block's name
    """

    logic: np.ndarray
    ram: np.ndarray
    multiplier: np.ndarray

    @property
    def width(self) -> int:
        return int(self.logic.shape[1])


def read_part(tile_grid: Path) -> Part:
    """Of a part's tilegrid.json."""
    tiles: list[tuple[int, int, str]] = []
    for name, tile in json.loads(tile_grid.read_text()).items():
        place = re.search(r"R(\d+)C(\d+)", name)
        if place:
            tiles.append((int(place[2]), int(place[1]), tile["type"]))
    height = 1 + max(y for _, y, _ in tiles)
    width = 1 + max(x for x, _, _ in tiles)
    logic = np.zeros((height, width), bool)
    ram: set[tuple[int, int, int]] = set()
    multiplier: set[tuple[int, int, int]] = set()
    for x, y, kind in tiles:
        if kind == "PLC2":
            logic[y, x] = True
        # The first tile of some blocks goes by another name, the second never does.
        if kind == "MIB_EBR1":
            ram |= {(x - 1 + 2 * number, y, number) for number in range(4)}
        if kind == "MIB_DSP1":
            multiplier |= {(x - 1 + number, y, number) for number in (0, 1, 4, 5)}
    return Part(
        logic=logic,
        ram=np.array(sorted(ram), np.int32).reshape(-1, 3),
        multiplier=np.array(sorted(multiplier), np.int32).reshape(-1, 3),
    )
