"""LUTs in front of ECP5 carry chains, taken into the chains' own LUTs.

Beside its carry, half a CCU2C has a LUT of four inputs. Yosys gives an adder two of them, so that a
selected, masked or shifted operand costs a LUT a bit more. Where all of it depends on four signals
it fits, if the carry, of which two inputs decide, can be had too.

Ref: Lattice FPGA-DS-02012, "Ripple Mode"; `CCU2C` in Yosys's ECP5 cell library: with P = INIT at
(A, B, C, D) and G = INIT at (A, B, 0, 0), the sum is P xor carry in, the carry out is G or, where P
is set, carry in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import combinations, permutations, product
from typing import Any

#: Part of the key of cached netlists; raise it where the outcome changes.
VERSION = 1

_PINS = "ABCD"

#: What is at a pin: a constant ("0", "1"), the number of a signal, or a LUT with the like at its
#: four pins.
Pin = str | int | tuple[int, tuple[Any, ...]]


def absorb_luts(module: dict[str, Any]) -> int:
    """Take LUTs that serve one half of a CCU2C alone into it; how many.

    module : of a flattened netlist as Yosys writes it (`write_json`); changed in place
    """
    cells = module["cells"]
    loads: Counter[int | str] = Counter()
    luts: dict[int | str, str] = {}
    for port in module["ports"].values():
        if port["direction"] != "input":
            loads.update(port["bits"])
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] != "output":
                loads.update(bits)
            elif cell["type"] == "LUT4":
                luts[bits[0]] = name
    taken = 0
    for cell in [cell for cell in cells.values() if cell["type"] == "CCU2C"]:
        wires, values = cell["connections"], cell["parameters"]
        for half in "01":
            if values[f"INJECT1_{half}"] != "NO":
                continue
            pins = [wires[pin + half][0] for pin in _PINS]
            own = [bit for bit in dict.fromkeys(pins) if bit in luts]
            own = [bit for bit in own if loads[bit] == pins.count(bit)]
            for chosen in _subsets(own):
                signals: list[int] = []
                inner = {bit: cells[luts[bit]] for bit in chosen}
                seen = tuple(_pin(bit, inner, signals) for bit in pins)
                if len(signals) > len(_PINS):
                    continue
                found = fold(int(values[f"INIT{half}"], 2), seen)
                if found is None:
                    continue
                init, order = found
                values[f"INIT{half}"] = f"{init:016b}"
                for pin, at in zip(_PINS, order, strict=True):
                    wires[pin + half] = ["1" if at is None else signals[at]]
                for bit in chosen:
                    del cells[luts.pop(bit)]
                taken += len(chosen)
                break
    return taken


def _subsets(bits: list[int | str]) -> Iterator[tuple[int | str, ...]]:
    """All choices of at least one, the largest first."""
    for count in range(len(bits), 0, -1):
        yield from combinations(bits, count)


def _pin(bit: int | str, luts: dict[int | str, dict[str, Any]], signals: list[int]) -> Pin:
    if lut := luts.get(bit):
        inputs = tuple(_pin(lut["connections"][pin][0], {}, signals) for pin in _PINS)
        return int(lut["parameters"]["INIT"], 2), inputs
    if isinstance(bit, str):
        return "1" if bit == "1" else "0"
    if bit not in signals:
        signals.append(bit)
    return signals.index(bit)


def value(pin: Pin, signals: tuple[int, ...]) -> int:
    """What is at a pin, given the signals."""
    if isinstance(pin, str):
        return int(pin)
    if isinstance(pin, int):
        return signals[pin]
    init, pins = pin
    return init >> sum(value(inner, signals) << at for at, inner in enumerate(pins)) & 1


@cache
def fold(init: int, pins: tuple[Pin, ...]) -> tuple[int, tuple[int | None, ...]] | None:
    """INIT of half a CCU2C that does the same without LUTs before it, and the signal at each of its
    pins (None: a constant 1); None where there is none.

    init, pins : of the half as it is, with at most four signals
    """
    count = len({signal for pin in pins for signal in _signals(pin)})
    rows = {}
    for signals in product((0, 1), repeat=count):
        at = [value(pin, signals) for pin in pins]
        p = init >> (at[0] | at[1] << 1 | at[2] << 2 | at[3] << 3) & 1
        rows[signals] = p, init >> (at[0] | at[1] << 1) & 1
    for order in permutations(range(count)):
        # The entry of INIT for each row, and what the carry wants of the first four entries.
        entries: dict[int, int] = {}
        wanted: list[tuple[int, int]] = []
        for signals, (p, g) in rows.items():
            index = sum(signals[at] << pin for pin, at in enumerate(order))
            index |= 0b1111 & ~((1 << count) - 1)  # constants above
            entries[index] = p
            if not p:
                wanted.append((index & 0b11, g))
        if all(entries.setdefault(index, g) == g for index, g in wanted):
            made = sum(bit << index for index, bit in entries.items())
            return made, (*order, *[None] * (len(_PINS) - count))
    return None


def _signals(pin: Pin) -> Iterator[int]:
    if isinstance(pin, int):
        yield pin
    elif isinstance(pin, tuple):
        for inner in pin[1]:
            yield from _signals(inner)
