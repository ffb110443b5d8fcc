"""A design that nextpnr packed, as arrays: cells, nets, units that move as one, timing.

Ref: nextpnr, ecp5/pack.cc and arch_place.cc for what belongs together.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from plum_hw.errors import BuildError
from plum_hw.flow.anneal.delays import Delays, cell_class
from plum_hw.flow.anneal.device import (
    COMB,
    FF,
    FIXED,
    LCS,
    MULTIPLIER,
    RAM,
    RAMW,
    Part,
)

#: Types of cells that can be placed.
KINDS = {
    "TRELLIS_COMB": COMB,
    "TRELLIS_FF": FF,
    "TRELLIS_RAMW": RAMW,
    "DP16KD": RAM,
    "MULT18X18D": MULTIPLIER,
}

#: Input pins that are wired inside a slice or along a row, and so hold cells together.
_INSIDE = re.compile(r"FCI|FXA|FXB|F1|DI|WD|WAD[0-3]")
_BEL = re.compile(r"X(\d+)/Y(\d+)/(.+)")


@dataclass
class Netlist:
    """A packed design.

    names : of the cells
    kind : of each cell
    place : (cells,) int32; for COMB, FF and RAMW the place in the array of LUT places, (y * width
        + x) * 8 + place in the tile; for RAM and MULTIPLIER the number of the site; -1: none yet,
        or it is fixed
    xy : (cells, 2) int32, where it is
    tile_key : (cells,) of flip-flops: equal for all that may share a tile
    slice_key : (cells,) of flip-flops: equal for all that may share a slice
    polarity : (cells,) of flip-flops and LUT RAM: equal for all that may share a tile
    uses_m : (cells,) whether the slice's M input is the cell's
    memory : (cells,) whether it is of a LUT RAM
    unit : (cells,) number of the unit that the cell moves with
    offset : (cells,) its place in the unit, counted from the unit's start
    unit_start, unit_length, unit_align : (units,) first place, LUT places, and what places the
        start must be a multiple of
    net_start, net_cells : cells of each net, one row after another (each once)
    source, sink, arc_net : (arcs,) wires from a cell to a cell, and their nets
    inside : (arcs,) whether the wire takes no time since it runs inside a slice or a chain
    edge_arc, edge_net, edge_ns : timing edges: an arc's end reaches a net through a cell
    end_arc, end_ns : arcs that end in a register, with its setup time
    start_ns : (nets,) time after the clock at which a register drives it; -inf: none does
    """

    names: list[str]
    kind: np.ndarray
    place: np.ndarray
    xy: np.ndarray
    tile_key: np.ndarray
    slice_key: np.ndarray
    polarity: np.ndarray
    uses_m: np.ndarray
    memory: np.ndarray
    unit: np.ndarray
    offset: np.ndarray
    unit_start: np.ndarray
    unit_length: np.ndarray
    unit_align: np.ndarray
    net_start: np.ndarray
    net_cells: np.ndarray
    source: np.ndarray
    sink: np.ndarray
    arc_net: np.ndarray
    inside: np.ndarray
    edge_arc: np.ndarray
    edge_net: np.ndarray
    edge_ns: np.ndarray
    end_arc: np.ndarray
    end_ns: np.ndarray
    start_ns: np.ndarray


def read_netlist(module: dict[str, Any], delays: Delays) -> Netlist:
    """The arrays of a packed design; nothing of it that can move has a place.

    Raises
    ------
    BuildError : it has something that this placer does not know
    """
    cells: dict[str, Any] = module["cells"]
    names = list(cells)
    kind = np.array([KINDS.get(cells[name]["type"], FIXED) for name in names], np.int8)
    xy = _fixed(names, cells, kind)
    drivers, arcs = _wires(names, cells)
    clock = _main_clock(names, cells, kind)
    tile_key, slice_key, polarity, uses_m = _flip_flops(names, cells, kind, clock)
    unit, offset, lengths, aligns = _units(names, cells, kind, drivers, arcs)

    # Nets that some cell drives and that are not spread by the clock network.
    numbers = {bit: i for i, bit in enumerate(drivers)}
    members: list[set[int]] = [{drivers[bit][0]} for bit in drivers]
    source, sink, arc_net, inside, arc_pin = [], [], [], [], []
    for bit, cell, pin in arcs:
        driver, output = drivers[bit]
        if cells[names[driver]]["type"] in ("DCCA", "DCSC"):
            continue
        members[numbers[bit]].add(cell)
        source.append(driver)
        sink.append(cell)
        arc_net.append(numbers[bit])
        inside.append(bool(_INSIDE.fullmatch(pin)) and kind[cell] in (COMB, FF))
        arc_pin.append(pin)
    members = [net if len(net) > 1 else set() for net in members]
    lengths_of_nets = [len(net) for net in members]
    outputs: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for bit, (driver, output) in drivers.items():
        outputs[driver].append((output, numbers[bit]))
    tables = [delays.get(cell_class(cells[name]["type"], name, cells[name]), {}) for name in names]
    clocked = _clocked(names, cells, clock)
    edges: list[tuple[int, int, float]] = []
    ends: list[tuple[int, float]] = []
    for arc, (cell, pin) in enumerate(zip(sink, arc_pin, strict=True)):
        table = tables[cell]
        setup = table.get(("", pin))
        if setup is not None:
            if clocked[cell]:
                ends.append((arc, setup))
            continue
        for output, net in outputs[cell]:
            through = table.get((pin, output))
            if through is not None:
                edges.append((arc, net, through))
    start_ns = np.full(len(drivers), -np.inf)
    for bit, (driver, output) in drivers.items():
        if clocked[driver]:
            for pin in _CLOCK_PINS:
                after = tables[driver].get((pin, output))
                if after is not None:
                    start_ns[numbers[bit]] = max(start_ns[numbers[bit]], after)
    flat = [cell for net in members for cell in sorted(net)]
    return Netlist(
        names=names,
        kind=kind,
        place=np.full(len(names), -1, np.int32),
        xy=xy,
        tile_key=tile_key,
        slice_key=slice_key,
        polarity=polarity,
        uses_m=uses_m,
        memory=np.array([cells[name]["parameters"].get("MODE") == "DPRAM" for name in names], bool),
        unit=unit,
        offset=offset,
        unit_start=np.full(len(lengths), -1, np.int32),
        unit_length=lengths,
        unit_align=aligns,
        net_start=np.concatenate([[0], np.cumsum(lengths_of_nets)]).astype(np.int32),
        net_cells=np.array(flat, np.int32),
        source=np.array(source, np.int32),
        sink=np.array(sink, np.int32),
        arc_net=np.array(arc_net, np.int32),
        inside=np.array(inside, bool),
        edge_arc=np.array([e[0] for e in edges], np.int32),
        edge_net=np.array([e[1] for e in edges], np.int32),
        edge_ns=np.array([e[2] for e in edges]),
        end_arc=np.array([e[0] for e in ends], np.int32),
        end_ns=np.array([e[1] for e in ends]),
        start_ns=start_ns,
    )


def _fixed(names: list[str], cells: dict[str, Any], kind: np.ndarray) -> np.ndarray:
    """Where the cells are that do not move."""
    xy = np.zeros((len(names), 2), np.int32)
    for i, name in enumerate(names):
        if kind[i] == FIXED:
            attributes = cells[name]["attributes"]
            found = _BEL.match(attributes.get("NEXTPNR_BEL") or attributes.get("BEL") or "")
            if found is None:
                raise BuildError(f"no place for {name}, a cell of type {cells[name]['type']}")
            xy[i] = int(found[1]), int(found[2])
    return xy


def _wires(
    names: list[str], cells: dict[str, Any]
) -> tuple[dict[int, tuple[int, str]], list[tuple[int, int, str]]]:
    """Driver (cell and pin) of each net; (net, cell, pin) of each input that a cell drives."""
    drivers: dict[int, tuple[int, str]] = {}
    for i, name in enumerate(names):
        cell = cells[name]
        for pin, bits in cell["connections"].items():
            if bits and cell["port_directions"][pin] == "output":
                drivers[bits[0]] = (i, pin)
    arcs = [
        (bits[0], i, pin)
        for i, name in enumerate(names)
        for pin, bits in cells[name]["connections"].items()
        if bits and cells[name]["port_directions"][pin] == "input" and bits[0] in drivers
    ]
    return drivers, arcs


_CLOCK_PINS = ("CLK", "WCK", "CLKA", "CLKB", "CLK0")


def _main_clock(names: list[str], cells: dict[str, Any], kind: np.ndarray) -> int:
    """The net that clocks most flip-flops: paths between its registers are those that count."""
    clocks = Counter(
        cells[name]["connections"]["CLK"][0]
        for i, name in enumerate(names)
        if kind[i] == FF and cells[name]["connections"].get("CLK")
    )
    return clocks.most_common(1)[0][0]


def _clocked(names: list[str], cells: dict[str, Any], clock: int) -> np.ndarray:
    return np.array(
        [
            any(cells[name]["connections"].get(pin) == [clock] for pin in _CLOCK_PINS)
            for name in names
        ],
        bool,
    )


def _flip_flops(
    names: list[str], cells: dict[str, Any], kind: np.ndarray, clock: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Keys of what may share a slice or a tile. Ref: nextpnr, ecp5/arch_place.cc."""
    numbers: dict[tuple[object, ...], int] = {}

    def key(*parts: object) -> int:
        return numbers.setdefault(parts, len(numbers))

    tile = np.zeros(len(names), np.int32)
    within = np.zeros(len(names), np.int32)
    polarity = np.zeros(len(names), np.int32)
    uses_m = np.zeros(len(names), bool)
    for i, name in enumerate(names):
        if kind[i] not in (COMB, FF):
            continue
        parameters, wires = cells[name]["parameters"], cells[name]["connections"]

        def word(field: str, default: str = "", parameters: Any = parameters) -> str:
            return str(parameters.get(field, default)).strip()

        if kind[i] == FF:
            clk_inv, lsr_inv = word("CLKMUX", "CLK") == "INV", word("LSRMUX", "LSR") == "INV"
            polarity[i] = 2 * clk_inv + lsr_inv
            tile[i] = key(
                "tile",
                tuple(wires.get("CLK", ())),
                tuple(wires.get("LSR", ())),
                int(polarity[i]),
                word("SRMODE", "LSR_OVER_CE"),
            )
            ce = word("CEMUX", "CE")
            within[i] = key("slice", tuple(wires.get("CE", ())), ce, word("GSR", "ENABLED"))
            uses_m[i] = word("SD", "0") == "0"
        else:
            polarity[i] = 2 * (word("WCKMUX", "WCK") == "INV") + (word("WREMUX", "WRE") == "INV")
            uses_m[i] = bool(wires.get("M"))
    return tile, within, polarity, uses_m


def _units(
    names: list[str],
    cells: dict[str, Any],
    kind: np.ndarray,
    drivers: dict[int, tuple[int, str]],
    arcs: list[tuple[int, int, str]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cells that keep their places to one another: unit and offset of each; length and align."""
    # (cell, how many places after the other) of each cell's fixed neighbours.
    tied: dict[int, list[tuple[int, int]]] = defaultdict(list)

    def tie(one: int, other: int, distance: int) -> None:
        tied[one].append((other, distance))
        tied[other].append((one, -distance))

    number = {name: i for i, name in enumerate(names)}
    levels = {}
    wide: list[tuple[int, int, str]] = []
    for bit, cell, pin in arcs:
        driver = drivers[bit][0]
        if kind[cell] not in (COMB, FF) or not _INSIDE.fullmatch(pin):
            continue
        if pin == "DI":
            tie(cell, driver, 0)
        elif pin == "FCI":
            tie(cell, driver, -1)
        elif pin == "F1":
            tie(cell, driver, 1)
            levels[cell] = 5
        elif pin in ("FXA", "FXB"):
            wide.append((cell, driver, pin))
        elif pin == "WD":  # of a LUT RAM, whose write port stands in the third slice
            tie(cell, driver, 4 - int(names[cell][-1]))
    for cell, _, _ in wide:
        levels.setdefault(cell, 6)
    for cell, driver, _ in wide:
        if levels.get(driver, 4) == 6:
            levels[cell] = 7
    for cell, driver, pin in wide:
        if levels[cell] == 7 and levels.get(driver) == 7:
            raise BuildError(
                f"{names[cell]} is part of a multiplexer of more than seven LUT inputs"
            )
        step = levels[cell] - 5
        tie(cell, driver, step if pin == "FXA" else -step)
    for i, name in enumerate(names):
        if cells[name]["parameters"].get("MODE") == "RAMW_BLOCK":
            writer = number[name.rsplit("$", 1)[0] + "$RAMW_SLICE"]
            tie(i, writer, -int(name[-1]))

    unit = np.full(len(names), -1, np.int32)
    offset = np.zeros(len(names), np.int32)
    lengths: list[int] = []
    aligns: list[int] = []
    for seed in range(len(names)):
        if unit[seed] >= 0 or kind[seed] not in (COMB, FF, RAMW):
            continue
        unit[seed] = len(lengths)
        group = [seed]
        for cell in group:
            for other, distance in tied[cell]:
                if unit[other] < 0:
                    unit[other] = len(lengths)
                    offset[other] = offset[cell] + distance
                    group.append(other)
        offset[group] -= offset[group].min()
        length = int(offset[group].max()) + 1
        level = max(levels.get(cell, 4) for cell in group)
        held = any(
            kind[cell] == RAMW or cells[names[cell]]["parameters"].get("MODE") == "CCU2"
            for cell in group
        )
        length += length % 2 if length > 1 or held else 0
        lengths.append(length)
        aligns.append(LCS if held or level == 7 else {4: 1, 5: 2, 6: 4}[level])
    return unit, offset, np.array(lengths, np.int32), np.array(aligns, np.int32)


def write_places(netlist: Netlist, part: Part, module: dict[str, Any]) -> None:
    """Say in nextpnr's JSON where each cell is."""
    for i, name in enumerate(netlist.names):
        kind, place = int(netlist.kind[i]), int(netlist.place[i])
        attributes = module["cells"][name]["attributes"]
        if kind == FIXED:
            bel = attributes.get("NEXTPNR_BEL") or attributes["BEL"]
        elif kind == RAM:
            x, y, number = part.ram[place]
            bel = f"X{x}/Y{y}/EBR{number}"
        elif kind == MULTIPLIER:
            x, y, number = part.multiplier[place]
            bel = f"X{x}/Y{y}/MULT18_{number}"
        else:
            tile, lc = divmod(place, LCS)
            y, x = divmod(tile, part.width)
            cell = "RAMW" if kind == RAMW else f"{'K' if kind == COMB else 'FF'}{lc % 2}"
            bel = f"X{x}/Y{y}/SLICE{'ABCD'[lc // 2]}.{cell}"
        attributes["NEXTPNR_BEL"] = bel
