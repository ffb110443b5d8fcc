"""A LUT of its own for each Gowin flip-flop that has none in front of it.

A flip-flop takes its input from the LUT of its slice, or from the adder that stands in that LUT's
place. nextpnr puts a LUT and a flip-flop together where one drives the other alone; a flip-flop
behind another, a block RAM or a LUT that drives more than it, gets its LUT as a wire, but only
after placement. Until then the placer counts no place for that LUT, so it plans a part that is
nearly full as if it had room, and finds no legal place for the last cells. With the LUT in the
netlist the count is right from the beginning. Behind an adder that drives it alone a flip-flop
stays as it is: next to the adder it takes no further place.

Ref: Gowin UG288, "CLS"; YosysHQ/nextpnr, himbaechel/uarch/gowin (`slice_valid`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

#: Part of the key of cached netlists; raise it where the outcome changes.
VERSION = 1


def give_luts(module: dict[str, Any]) -> int:
    """Put a LUT in front of each flip-flop that will take one's place; how many.

    module : of a flattened netlist as Yosys writes it (`write_json`); changed in place
    """
    cells, nets = module["cells"], module["netnames"]
    loads: Counter[int | str] = Counter()
    drivers: dict[int | str, str] = {}
    for port in module["ports"].values():
        loads.update(port["bits"])
    for cell in cells.values():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "output":
                drivers.update(dict.fromkeys(bits, cell["type"]))
            else:
                loads.update(bits)
    last = max(bit for net in nets.values() for bit in net["bits"] if isinstance(bit, int))
    alone = [
        (name, cell)
        for name, cell in cells.items()
        if cell["type"].startswith("DFF") and not _joined(cell, loads, drivers)
    ]
    for number, (name, cell) in enumerate(alone, last + 1):
        wire = f"{name}_wire"
        cells[wire] = {
            "hide_name": 1,
            "type": "LUT1",
            "parameters": {"INIT": "10"},
            "attributes": {},
            "port_directions": {"F": "output", "I0": "input"},
            "connections": {"F": [number], "I0": cell["connections"]["D"]},
        }
        nets[f"{wire}_F"] = {"hide_name": 1, "bits": [number], "attributes": {}}
        cell["connections"]["D"] = [number]
    return len(alone)


def _joined(cell: dict[str, Any], loads: Counter[int | str], drivers: dict[int | str, str]) -> bool:
    """Whether a flip-flop can share the slice of what drives it."""
    bit = cell["connections"]["D"][0]
    kind = drivers.get(bit, "")
    return loads[bit] == 1 and (kind.startswith("LUT") or kind == "ALU")
