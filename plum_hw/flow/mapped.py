"""A mapped design as Verilog for simulation: what place and route, or a vendor's tool, is given.

Each cell does what Yosys's model of the vendor's primitive says; block RAMs of the 7 series, which
have none there, what `block_ram.v` says. Some cells have no model (block RAM and multipliers of
ECP5); a design that has them is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from plum_hw import boards
from plum_hw.boards.board import ECP5, XC7, Family
from plum_hw.errors import BuildError
from plum_hw.flow import carry
from plum_hw.flow.nextpnr import FITTING
from plum_hw.flow.process import run_tool
from plum_hw.tools import cache_dir, tool_command, tool_version

#: What Yosys has no model of: primitives at a board's pins, and block RAMs.
MODELS = Path(boards.__file__).with_name("models.v")
BLOCK_RAM = Path(__file__).with_name("block_ram.v")
_SECONDS = 900
_SYNTHESIS = {
    XC7: "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf",
    ECP5: "synth_ecp5",
}
#: Files of models, of which a later one replaces what an earlier one has too; and the beginnings of
#: the names of cells that have none.
_CELLS: dict[Family, tuple[tuple[str, ...], tuple[str, ...]]] = {
    XC7: ((MODELS.name, "+/xilinx/cells_sim.v"), ()),
    # Its included files are otherwise read twice, which is an error.
    ECP5: (("-D NO_INCLUDES +/ecp5/cells_sim.v",), ("DP16KD", "PDPW16KD", "MULT18X18D")),
}


def mapped_verilog(verilog: str, top: str, family: Family) -> tuple[str, dict[str, int]]:
    """The design as the flow maps it, made of the cells' models, with the same ports; and the cells
    by type. Both are cached by all that they are made from.

    Raises
    ------
    BuildError : Yosys failed, or a cell has no model
    """
    if family not in _CELLS:
        known = " and ".join(each.title for each in _CELLS)
        raise BuildError(f"netlists are simulated of {known}, not of {family.title}")
    parts = [verilog, top, family.name, *_sources(), tool_version("yosys")]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    cached = cache_dir() / "mapped" / f"{key}.json"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        scratch = cached.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(json.dumps(_map(verilog, top, family)))
        scratch.replace(cached)
    text, cells = json.loads(cached.read_text())
    return text, cells


def _sources() -> list[str]:
    """What the result is made from beside the design."""
    files = (MODELS, BLOCK_RAM, Path(__file__), Path(carry.__file__))
    return [file.read_text() for file in files]


def _map(verilog: str, top: str, family: Family) -> tuple[str, dict[str, int]]:
    files, without = _CELLS[family]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / MODELS.name).write_text(MODELS.read_text())
        (folder / "design.v").write_text(verilog)
        _yosys(
            folder,
            "read_verilog -sv design.v",
            # Amaranth names a clock buffer's simulation device; Yosys's cell has no such parameter.
            "setparam -unset SIM_DEVICE t:BUFGCTRL",
            f"hierarchy -top {top}",
            # ABC9 stops at wires whose names it would give itself.
            "rename -hide w:*",
            f"{_SYNTHESIS[family]} -top {top}",
            "write_json mapped.json",
        )
        module = json.loads((folder / "mapped.json").read_text())["modules"][top]
        if fitting := FITTING.get(family):
            fitting[1](module)
        cells: dict[str, int] = {}
        for cell in module["cells"].values():
            cells[cell["type"]] = cells.get(cell["type"], 0) + 1
            _without_content(cell)
        if lacking := [kind for kind in cells if kind.startswith(without)]:
            raise BuildError(f"{top} is mapped to cells without a model: {', '.join(lacking)}")
        (folder / "mapped.json").write_text(json.dumps({"modules": {top: module}}))
        _yosys(
            folder,
            "read_json mapped.json",
            *(f"read_verilog -overwrite {file}" for file in files),
            "blackbox RAMB*",
            f"hierarchy -top {top}",
            "proc",
            "flatten",
            "delete t:$check t:$print t:$scopeinfo",
            "opt_clean",
            "write_verilog -noattr models.v",
        )
        text = (folder / "models.v").read_text()
        return text + (BLOCK_RAM.read_text() if family is XC7 else ""), cells


def _without_content(cell: dict[str, Any]) -> None:
    """Take from a block RAM the zeros that its words begin with: its model has no parameters for
    them. Where it does not matter what an output begins with, it is 0.
    """
    if not cell["type"].startswith("RAMB"):
        return
    values = cell["parameters"]
    for name in list(values):
        if name[:-2] in ("INIT_", "INITP_"):
            if "1" in values.pop(name):
                raise BuildError(f"the model of {cell['type']} has no content to begin with")
        elif name.startswith(("INIT_", "SRVAL_")):
            values[name] = values[name].replace("x", "0")


def _yosys(folder: Path, *commands: str) -> None:
    (folder / "script.ys").write_text("\n".join(commands) + "\n")
    command = [*tool_command("yosys", needed_by="a mapped design"), "script.ys"]
    run_tool(command, folder, name="yosys", log="yosys.log", seconds=_SECONDS)
