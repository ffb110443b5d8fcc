"""Delays of cells, from the SDF that nextpnr writes. Ref: nextpnr, common/kernel/sdf.cc."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

#: ns by class of cell and pair of pins.
Delays = dict[tuple[str, str], dict[tuple[str, str], float]]


def read_delays(lines: Iterable[str], cells: dict[str, Any]) -> Delays:
    """Delays in ns by class of cell and pair of pins, from nextpnr's SDF; ("CLK", pin) are setups.

    The slowest corner, and the slowest cell of each class.
    """
    delays: Delays = defaultdict(dict)
    table: dict[tuple[str, str], float] = {}
    kind = ""
    for line in lines:
        words = line.split()
        if not words or words[0] == "(INTERCONNECT":
            continue
        if words[0] == "(CELLTYPE":
            kind = words[1].strip('")')
        elif words[0] == "(INSTANCE":
            name = words[1].rstrip(")").replace("\\", "") if len(words) > 1 else ""
            table = delays[cell_class(kind, name, cells.get(name, {}))]
        elif words[0] == "(IOPATH":
            key, value = (words[1], words[2]), _slowest(words[3])
            table[key] = max(table.get(key, 0.0), value)
        elif words[0] == "(SETUPHOLD":
            key, value = ("", words[2].rstrip(")")), _slowest(words[5])
            table[key] = max(table.get(key, 0.0), value)
    return delays


#: Parameters of block RAM and multipliers that say which of their registers are used.
_REGISTERS = ("REGMODE_A", "REGMODE_B", "REG_OUTPUT_CLK")


def _slowest(triple: str) -> float:
    return int(triple.strip("()").split(":")[2]) / 1000


def cell_class(kind: str, name: str, cell: dict[str, Any]) -> tuple[str, str]:
    """What cells with the same delays have in common."""
    values = cell.get("parameters", {})
    mode = values.get("MODE", "")
    if mode == "CCU2":  # the two halves of a carry cell differ
        mode += name[-1]
    # Blocks, by the registers that they use.
    return kind, mode + "".join(values.get(key, "") for key in _REGISTERS)
