"""Resources of a design by open synthesis (Yosys), whole and block by block.

The whole design is flattened but for its clusters: each is mapped by itself, and all are equal, so
that it is done once. A vendor tool flattens these too and may need a little less. The share of each
block is counted in a second run that keeps the hierarchy, where nothing is optimized across
borders, so the blocks' sum is more than the whole. Neither is placed and routed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from plum_hw.boards.board import Board
from plum_hw.errors import BuildError
from plum_hw.flow.families import Resources, cell_cost, synthesis_words
from plum_hw.tools import cache_dir, tool_versions, yosys_command

#: The module that is mapped once: `plum_hw.gateware.device.CLUSTER_MODULE`.
CLUSTER = "plum_cluster"
#: Yosys may take this long for one synthesis run before it is stopped.
SYNTHESIS_SECONDS = 1800


def _module_totals(stat: Mapping[str, Any], family: str) -> dict[str, Resources]:
    """Resources of each module of `stat -json`, with everything below it."""
    modules = {
        name.lstrip("\\"): data["num_cells_by_type"] for name, data in stat["modules"].items()
    }
    totals: dict[str, Resources] = {}

    def total(name: str) -> Resources:
        if name not in totals:
            result = Resources()
            for cell, count in modules[name].items():
                cell = cell.lstrip("\\")
                one = total(cell) if cell in modules else cell_cost(cell, family)
                result += one.times(int(count))
            totals[name] = result
        return totals[name]

    for name in modules:
        total(name)
    return totals


def _synthesise(board: Board, verilog: str, top: str, options: str) -> dict[str, Resources]:
    """One run of Yosys; each module that is left, with everything below it."""
    family = board.family.name
    statistics = "stat -tech xilinx -json" if family == "xc7" else "stat -json"
    script = (
        # Amaranth names a clock buffer's simulation device; Yosys's cell has no such parameter.
        "read_verilog -sv design.v; setparam -unset SIM_DEVICE t:BUFGCTRL; "
        # ABC9 stops at wires whose names it would give itself.
        f"hierarchy -top {top}; setattr -mod -set keep_hierarchy 1 {CLUSTER}; rename -hide w:*; "
        # Logic that is quick enough may be small.
        f"scratchpad -set abc9.D {1e12 / board.clock_hz:.0f}; "
        f"{' '.join(synthesis_words(board))} -top {top} {options}; tee -o stat.json {statistics}"
    )
    version = str(tool_versions()["yosys"])
    key = hashlib.sha256("\n".join((version, script, verilog)).encode()).hexdigest()
    cached = cache_dir() / "synthesis" / f"{key}.json"
    if not cached.exists():
        _run_yosys(script, verilog, cached)
    return _module_totals(json.loads(cached.read_text()), family)


def _run_yosys(script: str, verilog: str, target: Path) -> None:
    """Run a script on design.v that writes stat.json, which then is `target`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "design.v").write_text(verilog)
        try:
            run = subprocess.run(
                [*yosys_command(), "-p", script],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SYNTHESIS_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BuildError(
                f"synthesis took more than {SYNTHESIS_SECONDS} s and was stopped"
            ) from None
        if run.returncode:
            said = [line for line in run.stdout.splitlines() if line.startswith("ERROR")]
            reason = said[-1] if said else f"Yosys ended with code {run.returncode}"
            raise BuildError(f"synthesis failed: {reason}")
        stat = (folder / "stat.json").read_text()
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text(stat)
    scratch.replace(target)


def synthesise(board: Board, verilog: str, top: str) -> tuple[Resources, dict[str, Resources]]:
    """Resources of `verilog` on the board's part: (whole design, by block).

    Logic is mapped for the board's clock, as far as delays without wires tell. The blocks are the
    modules of the hierarchy, by dotted path (`top.accelerator.link`); a cluster as it is in the
    whole.
    """
    flat, kept = ("-flatten", "") if board.family.name == "xc7" else ("", "-noflatten")
    with ThreadPoolExecutor(2) as pool:
        whole = pool.submit(_synthesise, board, verilog, top, flat)
        blocks = pool.submit(_synthesise, board, verilog, top, kept)
        clusters = {name: cost for name, cost in whole.result().items() if name == CLUSTER}
        return whole.result()[top], blocks.result() | clusters


def synthesise_whole(board: Board, verilog: str, top: str) -> Resources:
    """Resources of the whole design alone, which takes half the time."""
    flat = "-flatten" if board.family.name == "xc7" else ""
    return _synthesise(board, verilog, top, flat)[top]
