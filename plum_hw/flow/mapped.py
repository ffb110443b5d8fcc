"""A mapped design as Verilog for simulation: what place and route, or a vendor's tool, is given.

Each cell does what Yosys's model of the vendor's primitive says; what has none there (block RAM,
and multipliers of ECP5), what `block_ram.v` and `ecp5_blocks.v` say.
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
from plum_hw.flow import carry, registers
from plum_hw.flow.nextpnr import FITTING
from plum_hw.flow.process import run_tool
from plum_hw.tools import cache_dir, tool_command, tool_version

#: Primitives at a board's pins.
MODELS = Path(boards.__file__).with_name("models.v")
_HERE = Path(__file__).parent
#: What else Yosys has no model of, and its kinds of cells; simulators read it as it is.
_BLOCKS: dict[Family, tuple[Path, str]] = {
    XC7: (_HERE / "block_ram.v", "RAMB18E1 RAMB36E1"),
    ECP5: (_HERE / "ecp5_blocks.v", "DP16KD MULT18X18D"),
}
_SECONDS = 900
_SYNTHESIS = {
    XC7: "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf",
    ECP5: "synth_ecp5",
}
#: Files of models, of which a later one replaces what an earlier one has too.
_CELLS: dict[Family, tuple[str, ...]] = {
    XC7: (MODELS.name, "+/xilinx/cells_sim.v"),
    # Its included files are otherwise read twice, which is an error.
    ECP5: ("-D NO_INCLUDES +/ecp5/cells_sim.v",),
}


def mapped_verilog(verilog: str, top: str, family: Family) -> tuple[str, dict[str, int]]:
    """The design as the flow maps it, made of the cells' models, with the same ports; and the cells
    by type. Both are cached by all that they are made from.

    Raises
    ------
    BuildError : Yosys failed, or a block RAM does not begin with zeros
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
    ours = (Path(file) for file in (__file__, carry.__file__, registers.__file__))
    blocks = (file for file, _ in _BLOCKS.values())
    return [file.read_text() for file in (MODELS, *blocks, *ours)]


def _map(verilog: str, top: str, family: Family) -> tuple[str, dict[str, int]]:
    blocks, kinds = _BLOCKS[family]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in (MODELS, blocks):
            (folder / file.name).write_text(file.read_text())
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
        for _, work, _ in FITTING.get(family, ()):
            work(module)
        cells: dict[str, int] = {}
        for cell in module["cells"].values():
            cells[cell["type"]] = cells.get(cell["type"], 0) + 1
            _without_content(cell)
        (folder / "mapped.json").write_text(json.dumps({"modules": {top: module}}))
        _yosys(
            folder,
            "read_json mapped.json",
            *(f"read_verilog -overwrite {file}" for file in _CELLS[family]),
            f"read_verilog -overwrite {blocks.name}",
            f"blackbox {kinds}",
            f"hierarchy -top {top}",
            "proc",
            "flatten",
            "delete t:$check t:$print t:$scopeinfo",
            "opt_clean",
            "write_verilog -noattr models.v",
        )
        text = (folder / "models.v").read_text()
        return text + blocks.read_text(), cells


def _without_content(cell: dict[str, Any]) -> None:
    """Take from a block RAM the zeros that its words begin with: its model has no parameters for
    them. Where it does not matter what an output begins with, it is 0.
    """
    if not cell["type"].startswith(("RAMB", "DP16KD")):
        return
    values = cell["parameters"]
    for name in list(values):
        if name[:-2] in ("INIT_", "INITP_", "INITVAL_"):
            if "1" in values.pop(name):
                raise BuildError(f"the model of {cell['type']} has no content to begin with")
        elif name.startswith(("INIT_", "SRVAL_")):
            values[name] = values[name].replace("x", "0")


def _yosys(folder: Path, *commands: str) -> None:
    (folder / "script.ys").write_text("\n".join(commands) + "\n")
    command = [*tool_command("yosys", needed_by="a mapped design"), "script.ys"]
    run_tool(command, folder, name="yosys", log="yosys.log", seconds=_SECONDS)
