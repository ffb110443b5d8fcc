"""Our placer for ECP5: what it places is legal by rules written down here a second time."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import memory, wiring

from plum_hw.boards import board
from plum_hw.build import build
from plum_hw.errors import BuildError
from plum_hw.flow.anneal import anneal as annealing
from plum_hw.flow.anneal import kernel
from plum_hw.flow.anneal import place as placing
from plum_hw.flow.anneal.anneal import Annealer, place
from plum_hw.flow.anneal.delays import read_delays
from plum_hw.flow.anneal.device import FF, FIXED, Part, read_part
from plum_hw.flow.anneal.netlist import Netlist, read_netlist, write_places
from plum_hw.flow.anneal.state import tile_is_legal
from plum_hw.presets import preset
from plum_hw.tools import ToolMissing
from tests.boards.core import Core

BOARD = dataclasses.replace(board("ulx3s-25f"), anneals=True, clock_hz=75_000_000)
PART = "LFE5U-25F"


class Mixed(Core):
    """Has one of each: carry chains, LUT RAM, block RAM, a multiplier, wide multiplexers, enables,
    resets.
    """

    def elaborate(self, platform) -> Module:
        m = Module()
        count = Signal(40)
        m.d.sync += count.eq(count + self.rx.payload)
        for name, depth, width in (("small", 16, 8), ("large", 2048, 9)):
            m.submodules[name] = store = memory.Memory(shape=width, depth=depth, init=[])
            write, read = store.write_port(), store.read_port()
            m.d.comb += [
                write.addr.eq(count),
                write.data.eq(count[8:]),
                write.en.eq(self.rx.valid),
                read.addr.eq(count[3:]),
            ]
            kept = Signal(width, name=f"kept_{name}")
            with m.If(count[9]):
                m.d.sync += kept.eq(read.data ^ kept)
            with m.If(count[11]):
                m.d.sync += kept.eq(0)
            m.d.comb += self.busy.eq(kept.xor()) if depth == 16 else self.error.eq(kept.xor())
        product = Signal(36)
        m.d.sync += product.eq(count[:18] * count[18:36])
        chosen = Signal()
        m.d.sync += chosen.eq(Array(product)[count[2:8]])
        chain = [Signal(6, name=f"delay_{n}") for n in range(20)]
        for n, (now, before) in enumerate(zip(chain[1:], chain, strict=False)):
            with m.If(count[n % 7]):
                m.d.sync += now.eq(Mux(chosen, before, ~before))
        m.d.comb += chain[0].eq(count[4:])
        wiring.connect(m, wiring.flipped(self.rx), wiring.flipped(self.tx))
        m.d.comb += self.activity.eq(chain[-1].xor() ^ chosen)
        return m


@dataclasses.dataclass
class Made:
    """What the flow left of a build: files before and after the placer, and its report."""

    packed: dict[str, Any]
    delays: list[str]
    placed: dict[str, Any]
    fmax_mhz: float

    def netlist(self) -> Netlist:
        (module,) = self.packed["modules"].values()
        return read_netlist(module, read_delays(self.delays, module["cells"]))


@pytest.fixture(scope="module")
def part() -> Part:
    return read_part(placing.tile_grid(PART))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    files: dict[str, Any] = {}
    original = placing.place_packed

    def spy(packed: Path, delays: Path, placed: Path, **options: Any) -> str:
        text = original(packed, delays, placed, **options)
        files["packed"] = json.loads(packed.read_text())
        files["delays"] = delays.read_text().splitlines()
        files["placed"] = json.loads(placed.read_text())
        return text

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLUM_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(placing, "place_packed", spy)
        report = build(BOARD, preset("tiny"), tmp_path_factory.mktemp("build"), core=Mixed)
    assert report.bitstream is not None
    assert report.fmax_mhz is not None
    return Made(**files, fmax_mhz=report.fmax_mhz)


def test_build_meets_its_clock(made: Made) -> None:
    assert made.fmax_mhz >= 75


def test_design_has_what_the_rules_are_about(made: Made) -> None:
    (module,) = made.placed["modules"].values()
    kinds = Counter(cell["type"] for cell in module["cells"].values())
    modes = Counter(cell["parameters"].get("MODE") for cell in module["cells"].values())
    pins = Counter(
        pin
        for cell in module["cells"].values()
        for pin, bits in cell["connections"].items()
        if bits and cell["type"] == "TRELLIS_COMB"
    )
    assert kinds["DP16KD"] == 1
    assert kinds["MULT18X18D"] == 1
    assert kinds["TRELLIS_RAMW"] >= 2
    assert modes["CCU2"] > 20
    assert pins["F1"] > 0
    assert pins["FXA"] > 0


def test_placement_is_legal(made: Made) -> None:
    assert list(faults(made.placed)) == []


@pytest.mark.parametrize("pin", ["CE", "DI", "FCI", "WD", "FXA"])
def test_rules_find_what_is_moved(made: Made, pin: str) -> None:
    """A cell that is put elsewhere, at a free place, is noticed."""
    wrong = json.loads(json.dumps(made.placed))
    (module,) = wrong["modules"].values()
    cells = module["cells"]
    taken = {cell["attributes"]["NEXTPNR_BEL"] for cell in cells.values()}
    (name, cell), *_ = [
        item
        for item in cells.items()
        if item[1]["connections"].get(pin) and "TR" in item[1]["type"]
    ]
    bel = cell["attributes"]["NEXTPNR_BEL"]
    kind = bel.rpartition(".")[2]
    if pin == "CE":  # beside a flip-flop with another enable
        others = [
            other["attributes"]["NEXTPNR_BEL"]
            for other in cells.values()
            if other["type"] == "TRELLIS_FF"
            and other["connections"].get("CE", []) != cell["connections"]["CE"]
        ]
        places = [f"{place[:-1]}{1 - int(place[-1])}" for place in others]
    else:
        places = [f"X{x}/Y{y}/SLICEA.{kind}" for x in range(3, 9) for y in range(2, 9)]
    cell["attributes"]["NEXTPNR_BEL"] = next(place for place in places if place not in taken)
    assert list(faults(wrong)), f"{name} from {bel}"


def faults(design: dict[str, Any]) -> Any:
    """What is illegal in a placed design. Ref: nextpnr, ecp5/arch_place.cc."""
    (module,) = design["modules"].values()
    cells = module["cells"]
    bels = Counter(cell["attributes"].get("NEXTPNR_BEL") for cell in cells.values())
    yield from (f"{count} cells at {bel}" for bel, count in bels.items() if count > 1 or not bel)
    at: dict[str, tuple[int, int, int]] = {}
    driver: dict[int, str] = {}
    slices: dict[tuple[int, int, int], dict[str, list[str]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for name, cell in cells.items():
        found = re.fullmatch(
            r"X(\d+)/Y(\d+)/SLICE([A-D])\.(K|FF|RAMW)(\d?)", cell["attributes"]["NEXTPNR_BEL"]
        )
        if found:
            x, y, half = int(found[1]), int(found[2]), int(found[5] or 0)
            number = "ABCD".index(found[3])
            at[name] = (x, y, 2 * number + half)
            slices[x, y, number][found[4]].append(name)
        for pin, bits in cell["connections"].items():
            if bits and cell["port_directions"][pin] == "output":
                driver[bits[0]] = name
    for name, (x, y, lc) in at.items():
        pins = cells[name]["connections"]

        def source(pin: str, pins: Any = pins) -> tuple[int, int, int] | None:
            bits = pins.get(pin) or []
            return at.get(driver.get(bits[0], "")) if bits else None

        if cells[name]["type"] == "TRELLIS_RAMW" and lc != 4:
            yield f"{name}: write port outside the third slice"
        steps = {"DI": (0, 0, 0), "F1": (0, 0, 1)}
        for pin, step in steps.items():
            found_at = source(pin)
            if found_at and found_at != (x + step[0], y + step[1], lc + step[2]):
                yield f"{name}.{pin} from {found_at}"
        chain = source("FCI")
        if chain and (chain[1] != y or 8 * chain[0] + chain[2] != 8 * x + lc - 1):
            yield f"{name}.FCI from {chain}"
        wide = {source("FXA"), source("FXB")} - {None}
        allowed = {1: {(x, y, 2), (x, y, 0)}, 5: {(x, y, 6), (x, y, 4)}, 3: {(x, y, 5), (x, y, 1)}}
        if wide and not wide <= allowed.get(lc, set()):
            yield f"{name}: a multiplexer of {wide} at {lc}"
        if source("F1") and lc % 2:
            yield f"{name}: a multiplexer in the wrong half"
        if source("WD") and (source("WD") != (x, y, 4) or lc > 3):
            yield f"{name}.WD from {source('WD')}"
    tiles: dict[tuple[int, int], set[Any]] = defaultdict(set)
    for (x, y, number), kinds in slices.items():
        enables = set()
        for name in kinds["FF"]:
            parameters, pins = cells[name]["parameters"], cells[name]["connections"]
            enables.add((tuple(pins.get("CE", [])), parameters.get("CEMUX")))
            tiles[x, y].add((*pins["CLK"], *pins.get("LSR", ["-"]), parameters.get("LSRMUX")))
            if parameters["SD"].strip() == "0":
                beside = [other for other in kinds["K"] if at[other] == at[name]]
                if any(cells[other]["connections"].get("M") for other in beside):
                    yield f"{name} and {beside} both use M"
        if len(enables) > 1:
            yield f"enables {enables} in slice {x}, {y}, {number}"
        modes = {cells[name]["parameters"].get("MODE") == "CCU2" for name in kinds["K"]}
        if len(modes) > 1:
            yield f"half a carry cell in slice {x}, {y}, {number}"
        if kinds["RAMW"] and any(
            cells[name]["parameters"].get("MODE") != "RAMW_BLOCK" for name in kinds["K"]
        ):
            yield f"a LUT in the place of the write port of {x}, {y}"
    yield from (f"resets {keys} in tile {tile}" for tile, keys in tiles.items() if len(keys) > 1)


def test_annealing_keeps_its_books(made: Made, part: Part) -> None:
    """Places and lengths of nets are what a look at all cells finds; wires get shorter."""
    netlist = made.netlist()
    outcome = place(netlist, part, period=8.0, seed=3)
    assert outcome.wires < 0.9 * outcome.wires_before
    movable = np.nonzero(netlist.kind != FIXED)[0]
    assert (netlist.place[movable] >= 0).all()
    logic = movable[netlist.kind[movable] <= FF]
    tile = netlist.place[logic] // 8
    assert (netlist.xy[logic, 0] == tile % part.width).all()
    assert (netlist.xy[logic, 1] == tile // part.width).all()
    total = 0
    for first, last in zip(netlist.net_start, netlist.net_start[1:], strict=False):
        if last > first:
            cells = netlist.xy[netlist.net_cells[first:last]]
            total += int((cells.max(axis=0) - cells.min(axis=0)).sum())
    assert outcome.wires == total


def test_longest_paths_are_polished(made: Made, part: Part, monkeypatch) -> None:
    """Cells of the longest paths, scattered, come back, and nothing else becomes longer."""
    stopped: list[tuple[Any, ...]] = []

    def stop(annealer: Annealer, todo: np.ndarray, blocks: np.ndarray, **options: Any) -> float:
        stopped.append((annealer, todo, blocks, options["stamp"]))
        return annealer.longest()

    with monkeypatch.context() as patch:
        patch.setattr(annealing, "polish", stop)
        netlist = made.netlist()
        place(netlist, part, period=8.0, seed=3)
    ((annealer, todo, blocks, stamp),) = stopped
    before, places = annealer.longest(), netlist.place.copy()
    cells = np.intersect1d(annealer.press(), todo).astype(np.int32)
    *_, stamp = kernel.anneal(annealer.state, cells, 50 * len(cells), 1e9, 20, 1, stamp)
    spoilt = annealer.longest()
    assert spoilt > 1.2 * before
    after = annealing.polish(annealer, todo, blocks, seed=3, stamp=stamp)
    assert after == annealer.longest() < min(spoilt, 1.1 * before)
    assert (netlist.place != places).any()
    design = copy.deepcopy(made.packed)
    (module,) = design["modules"].values()
    write_places(netlist, part, module)
    assert list(faults(design)) == []


def test_same_seed_same_placement(made: Made, part: Part) -> None:
    places = []
    for seed in (5, 5, 6):
        netlist = made.netlist()
        place(netlist, part, period=10.0, seed=seed, seconds=0)
        places.append(netlist.place.copy())
    assert (places[0] == places[1]).all()
    assert (places[0] != places[2]).any()


def test_time_of_a_path_by_hand(part: Part) -> None:
    """Register, LUT three tiles away, LUT eight tiles on, register behind it."""

    def cell(kind: str, **pins: Any) -> dict[str, Any]:
        return {
            "type": kind,
            "parameters": {"SD": "1", "CEMUX": "1"},
            "attributes": {},
            "port_directions": {pin: "output" if pin in "QF" else "input" for pin in pins},
            "connections": {pin: [bit] for pin, bit in pins.items()},
        }

    module = {
        "cells": {
            "from": cell("TRELLIS_FF", CLK=1, Q=2),
            "one": cell("TRELLIS_COMB", A=2, F=3),
            "two": cell("TRELLIS_COMB", B=3, F=4),
            "to": cell("TRELLIS_FF", CLK=1, DI=4, Q=5),
        }
    }
    delays = {
        ("TRELLIS_FF", ""): {("CLK", "Q"): 0.5, ("", "DI"): 0.1},
        ("TRELLIS_COMB", ""): {("A", "F"): 0.2, ("B", "F"): 0.3},
    }
    netlist = read_netlist(module, delays)
    assert netlist.unit[2] == netlist.unit[3], "a register stays with the LUT before it"
    annealer = Annealer(netlist, part, period=4.0)
    netlist.xy[:] = [(10, 10), (12, 11), (20, 11), (20, 11)]
    wire = annealer.state.wire_ns
    expected = 0.5 + wire[3] + 0.2 + wire[8] + 0.3 + 0.1
    assert annealer.longest() == pytest.approx(expected)
    assert annealer.slack.tolist() == pytest.approx([4.0 - expected] * 3)


def test_legality_of_a_tile(made: Made, part: Part) -> None:
    """Two flip-flops with different resets cannot be in one tile, though both places are free."""
    netlist = made.netlist()
    flip_flops = np.nonzero(netlist.kind == FF)[0]
    one = flip_flops[0]
    (other, *_) = flip_flops[netlist.tile_key[flip_flops] != netlist.tile_key[one]]
    state = Annealer(netlist, part, period=8.0).state
    tile = 5 * part.width + 5
    state.at[FF, tile * 8] = one
    assert tile_is_legal(state, tile)
    state.at[FF, tile * 8 + 6] = other
    assert not tile_is_legal(state, tile)


def test_too_large_a_design_is_told(made: Made, part: Part) -> None:
    logic = np.zeros_like(part.logic)
    logic[2:4, 2:9] = True
    with pytest.raises(BuildError, match=r"\d+ of \d+ pieces of the design found no place"):
        place(made.netlist(), dataclasses.replace(part, logic=logic), period=8.0)
    with pytest.raises(BuildError, match="1 blocks are needed where the part has 0"):
        place(made.netlist(), dataclasses.replace(part, ram=part.ram[:0]), period=8.0)


def test_missing_numba_says_what_to_do(tmp_path, monkeypatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "numba" else found(name)
    )
    with pytest.raises(ToolMissing, match=r"numba.*pip install 'plum-hw\[boards\]'"):
        build(BOARD, preset("tiny"), tmp_path, core=Mixed)
    with pytest.raises(ToolMissing, match="tile grid of LFE5U-99F"):
        placing.tile_grid("LFE5U-99F")
