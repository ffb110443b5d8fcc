"""Flip-flops behind block RAM and multipliers of ECP5, taken into registers of these blocks.

A word of block RAM is there some 5 ns after the clock, or 1 ns with the block's own register, which
also saves a flip-flop a bit. Yosys does not use them.

Ref: Lattice FPGA-TN-02204, "Output Register"; FPGA-TN-02205, "MULT18X18D"; nextpnr, ecp5/pack.cc,
for both ports of a memory that is 36 bits wide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: Part of the key of cached netlists; raise it where the outcome changes.
VERSION = 1

#: Bits of a word that is written by one port and takes the inputs of both; the other port reads, at
#: the outputs of both.
_WIDE = 36


@dataclass(frozen=True)
class _Output:
    """Output pins of a block that have a register in common.

    pins : those outputs
    clock : the pin of its clock
    settings : parameters of a block that uses it
    enables, resets : pins of its enable, and of a reset, which it must not have
    """

    pins: list[str]
    clock: str
    settings: dict[str, str]
    enables: tuple[str, ...]
    resets: tuple[str, ...]


def absorb_registers(module: dict[str, Any]) -> int:
    """Take flip-flops that are all that a block's output goes to into the block; how many.

    They have no reset, the block's clock and, of one output, one enable.

    module : of a flattened netlist as Yosys writes it (`write_json`); changed in place
    """
    cells = module["cells"]
    loads: dict[int | str, list[str]] = defaultdict(list)
    for port in module["ports"].values():
        if port["direction"] != "input":
            for bit in port["bits"]:
                loads[bit].append("")
    for name, cell in cells.items():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] != "output":
                for bit in bits:
                    loads[bit].append(name if pin == "DI" else "")
    taken = 0
    for block in [cell for cell in cells.values() if cell["type"] in _OUTPUTS]:
        for output in _OUTPUTS[block["type"]](block):
            wires = block["connections"]
            used = {pin: loads[wires[pin][0]] for pin in output.pins if loads[wires[pin][0]]}
            if not used or any(len(names) > 1 or not names[0] for names in used.values()):
                continue
            found = {_controls(cells[name]) for (name,) in used.values()}
            common = found.pop()
            if found or common is None:
                continue
            clock, enable = common
            reset = any(wires.get(pin, ["0"]) != ["0"] for pin in output.resets)
            if reset or wires.get(output.clock, [clock]) != [clock]:
                continue
            for pin, (name,) in used.items():
                wires[pin] = cells.pop(name)["connections"]["Q"]
            block["parameters"].update(output.settings)
            inputs = {output.clock: clock, **dict.fromkeys(output.enables, enable)}
            inputs.update(dict.fromkeys(output.resets, "0"))
            wires.update({pin: [bit] for pin, bit in inputs.items()})
            block["port_directions"].update(dict.fromkeys(inputs, "input"))
            taken += len(used)
    return taken


def _controls(cell: dict[str, Any]) -> tuple[int | str, int | str] | None:
    """Clock and enable of a flip-flop that is nothing more; None for another."""
    wires = cell["connections"]
    values = {key: value.strip() for key, value in cell["parameters"].items()}
    if cell["type"] != "TRELLIS_FF" or values["CLKMUX"] != "CLK":
        return None
    if wires.get("LSR", ["0"]) != ["0"] or values["LSRMUX"] != "LSR" or values["REGSET"] != "RESET":
        return None
    enable = {"1": ["1"], "CE": wires.get("CE", ["1"])}.get(values["CEMUX"])
    return None if enable is None else (wires["CLK"][0], enable[0])


def _of_memory(cell: dict[str, Any]) -> Iterator[_Output]:
    values = cell["parameters"]
    wide = int(values["DATA_WIDTH_A"], 2) == _WIDE
    for ports in ("AB",) if wide else ("A", "B"):
        clock = f"CLK{ports[-1]}"  # of both ports, where they are one
        if values[f"{clock}MUX"] != clock:
            continue
        if any(values[f"REGMODE_{port}"] != "NOREG" for port in ports):
            continue
        yield _Output(
            [f"DO{port}{bit}" for port in ports for bit in range(18)],
            clock,
            {f"REGMODE_{port}": "OUTREG" for port in ports},
            tuple(f"OCE{port}" for port in ports),
            tuple(f"RST{port}" for port in ports),
        )


def _of_multiplier(cell: dict[str, Any]) -> Iterator[_Output]:
    if not any(key.startswith("REG_") for key in cell["parameters"]):
        pins = [f"P{bit}" for bit in range(36)]
        settings = {"REG_OUTPUT_CLK": "CLK0", "REG_OUTPUT_CE": "CE0", "REG_OUTPUT_RST": "RST0"}
        yield _Output(pins, "CLK0", settings, ("CE0",), ("RST0",))


_OUTPUTS = {"DP16KD": _of_memory, "MULT18X18D": _of_multiplier}
