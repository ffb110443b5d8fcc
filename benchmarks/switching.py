"""Switching energy of a gate netlist: what each net toggled, times what a toggle costs.

A toggle of a net costs the internal energy of the cell that drives it and C V^2 / 2, where C is the
input capacitance of the cells that it drives (no wires). Flip-flops take the energy of their clock
pins in every cycle. Energies in pJ, as the liberty file's units give them (pF, V).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Transition time at the inputs, ns, for which tables are read.
_TRANSITION = 0.2
_TOKEN = re.compile(r'"[^"]*"|[\w.\-+]+|[(){}:;,]')
_NET = re.compile(r"^\s*\((\S+) \(T0 \d+\).*\(TC (\d+)\)\)$")


# ---- liberty -------------------------------------------------------------------------------------


@dataclass
class _Group:
    """A group of a liberty file: ``name (arguments) { ... }``."""

    name: str
    arguments: list[str]
    values: dict[str, list[str]] = field(default_factory=dict)
    groups: list[_Group] = field(default_factory=list)

    def all(self, name: str) -> list[_Group]:
        return [group for group in self.groups if group.name == name]


def _parse(text: str) -> _Group:
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).replace("\\\n", " ")
    root = _Group("", [])
    open_groups = [root]
    tokens = _TOKEN.findall(text)
    at = 0
    while at < len(tokens):
        name = tokens[at]
        if name == "}":
            open_groups.pop()
            at += 1
        elif name == ";":
            at += 1
        elif tokens[at + 1] == ":":
            end = tokens.index(";", at)
            open_groups[-1].values[name] = tokens[at + 2 : end]
            at = end + 1
        else:
            end = tokens.index(")", at)
            arguments = [token for token in tokens[at + 2 : end] if token != ","]
            at = end + 1
            if at < len(tokens) and tokens[at] == "{":
                group = _Group(name, arguments)
                open_groups[-1].groups.append(group)
                open_groups.append(group)
                at += 1
            else:
                open_groups[-1].values[name] = arguments
    return root.groups[0]


def _numbers(text: str) -> list[float]:
    return [float(value) for value in text.strip('"').split(",")]


def _nearest(values: list[float], wanted: float) -> int:
    return min(range(len(values)), key=lambda index: abs(values[index] - wanted))


@dataclass(frozen=True)
class _Table:
    """Energy by load and transition, or by transition alone."""

    group: _Group

    def at(self, load: float) -> float:
        first = _numbers(self.group.values["index_1"][0])
        rows = [_numbers(row) for row in self.group.values["values"]]
        if "index_2" not in self.group.values:
            return rows[0][_nearest(first, _TRANSITION)]
        second = _numbers(self.group.values["index_2"][0])
        return rows[_nearest(first, load)][_nearest(second, _TRANSITION)]


@dataclass
class Pin:
    """A pin: its capacitance in pF, and tables of the energy of its rise and fall."""

    capacitance: float
    output: bool
    clock: bool
    tables: list[_Table]

    def energy(self, load: float) -> float:
        """Of a toggle, the mean of rising and falling, over the inputs that may cause it; pJ."""
        return sum(table.at(load) for table in self.tables) / max(1, len(self.tables))


def read_liberty(path: Path) -> tuple[dict[str, dict[str, Pin]], float]:
    """Pins of all cells, and the supply in V."""
    library = _parse(path.read_text())
    cells = {}
    for cell in library.all("cell"):
        cells[cell.arguments[0]] = {
            pin.arguments[0]: Pin(
                float(pin.values["capacitance"][0]),
                pin.values["direction"] == ["output"],
                pin.values.get("clock") == ["true"],
                [
                    _Table(table)
                    for power in pin.all("internal_power")
                    for table in power.groups
                    if table.name in ("rise_power", "fall_power")
                ],
            )
            for pin in cell.all("pin")
        }
    return cells, float(library.values["nom_voltage"][0])


# ---- netlist and toggles -------------------------------------------------------------------------


def read_toggles(path: Path) -> dict[str, int]:
    """Toggles of each net, by name, from a SAIF file."""
    toggles: dict[str, int] = {}
    with path.open() as file:
        for line in file:
            if match := _NET.match(line):
                toggles[match[1].replace("\\", "")] = int(match[2])
    return toggles


class Netlist:
    """A flat netlist of liberty cells (and memories), as yosys writes it in JSON.

    *Parameters*: ``path`` of the JSON; ``top``, its module; ``liberty``. Names of cells begin with
    the blocks that they come from.
    """

    def __init__(self, path: Path, top: str, liberty: Path) -> None:
        self._cells, self._voltage = read_liberty(liberty)
        module = json.loads(path.read_text())["modules"][top]
        self._names: dict[int, str] = {}
        for name, net in module["netnames"].items():
            for index, bit in enumerate(net["bits"]):
                if isinstance(bit, int):
                    wide = len(net["bits"]) > 1
                    self._names.setdefault(bit, f"{name}[{index}]" if wide else name)
        self._loads: dict[int, float] = defaultdict(float)
        self._drivers: list[tuple[str, Pin | None, int]] = []
        self._inputs: list[tuple[str, Pin, int]] = []
        self._clocks: list[tuple[str, Pin]] = []
        for name, cell in module["cells"].items():
            self._add(_block(name), cell)

    def _add(self, block: str, cell: dict[str, Any]) -> None:
        pins = self._cells.get(cell["type"])
        for port, bits in cell["connections"].items():
            pin = pins[port] if pins else None
            output = pin.output if pin else cell["port_directions"][port] == "output"
            for bit in bits:
                if not isinstance(bit, int):
                    continue
                if output:
                    self._drivers.append((block, pin, bit))
                elif pin is not None and pin.clock:
                    self._clocks.append((block, pin))
                elif pin is not None:
                    self._loads[bit] += pin.capacitance
                    if pin.tables:
                        self._inputs.append((block, pin, bit))

    @property
    def size(self) -> dict[str, int]:
        """Cells of each block by their outputs."""
        count: dict[str, int] = defaultdict(int)
        for block, pin, _ in self._drivers:
            count[block] += pin is not None
        return dict(count)

    def energy(self, toggles: dict[str, int], cycles: int) -> dict[str, float]:
        """Energy of each block, and of the ``clock``, over a run; pJ."""
        result: dict[str, float] = defaultdict(float)
        square = self._voltage**2
        for block, driver, bit in self._drivers:
            load = self._loads[bit]
            internal = driver.energy(load) if driver else 0.0
            result[block] += toggles[self._names[bit]] * (internal + load * square / 2)
        for block, pin, bit in self._inputs:
            result[block] += toggles[self._names[bit]] * pin.energy(0)
        for _, pin in self._clocks:
            result["clock"] += 2 * cycles * (pin.energy(0) + pin.capacitance * square / 2)
        return dict(result)


#: Blocks of a cluster that are shown apart; the emitter has the requantizer.
_BLOCKS = ("lanes", "drain", "emitter")


def _block(cell: str) -> str:
    """The block that a cell belongs to, by its name."""
    names = re.split(r"[.$\\]+", cell)
    return next((name for name in _BLOCKS if name in names), "control")
