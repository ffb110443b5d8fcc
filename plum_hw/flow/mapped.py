"""A mapped design as Verilog for simulation: what place and route, or a vendor's tool, is given.

Each cell does what Yosys's model of the vendor's primitive says. Some have no model there (block
RAM; multipliers of ECP5); a design that has them is refused.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from plum_hw.boards.board import ECP5, XC7, Family
from plum_hw.errors import BuildError
from plum_hw.flow.carry import absorb_luts
from plum_hw.flow.process import run_tool
from plum_hw.tools import tool_command

_SECONDS = 900
_SYNTHESIS = {
    XC7: "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf",
    ECP5: "synth_ecp5",
}
#: The models and the beginnings of the names of cells that have none.
_MODELS = {
    XC7: ("+/xilinx/cells_sim.v", ("RAMB",)),
    # Its included files are otherwise read twice, which is an error.
    ECP5: ("-D NO_INCLUDES +/ecp5/cells_sim.v", ("DP16KD", "PDPW16KD", "MULT18X18D")),
}


def mapped_verilog(verilog: str, top: str, family: Family) -> tuple[str, dict[str, int]]:
    """The design as the flow maps it, made of the cells' models, with the same ports; and the cells
    by type.

    Raises
    ------
    BuildError : Yosys failed, or a cell has no model
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "design.v").write_text(verilog)
        synthesis = f"{_SYNTHESIS[family]} -top {top}"
        _yosys(folder, f"read_verilog -sv design.v; {synthesis}; write_json mapped.json")
        module = json.loads((folder / "mapped.json").read_text())["modules"][top]
        if family is ECP5:
            absorb_luts(module)
        cells: dict[str, int] = {}
        for cell in module["cells"].values():
            cells[cell["type"]] = cells.get(cell["type"], 0) + 1
        models, without = _MODELS[family]
        if lacking := [kind for kind in cells if kind.startswith(without)]:
            raise BuildError(f"{top} is mapped to cells without a model: {', '.join(lacking)}")
        (folder / "mapped.json").write_text(json.dumps({"modules": {top: module}}))
        _yosys(
            folder,
            f"read_json mapped.json; read_verilog {models}; hierarchy -top {top}; proc; flatten; "
            "delete t:$check t:$print t:$scopeinfo; opt_clean; write_verilog -noattr models.v",
        )
        return (folder / "models.v").read_text(), cells


def _yosys(folder: Path, script: str) -> None:
    (folder / "script.ys").write_text(script.replace("; ", "\n"))
    command = [*tool_command("yosys", needed_by="a mapped design"), "script.ys"]
    run_tool(command, folder, name="yosys", log="yosys.log", seconds=_SECONDS)
