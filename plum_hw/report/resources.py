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
import re
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plum_hw.errors import BuildError
from plum_hw.tools import cache_dir, tool_versions, yosys_command

#: The module that is mapped once: `plum_hw.gateware.device.CLUSTER_MODULE`.
CLUSTER = "plum_cluster"
#: Yosys may take this long for one synthesis run before it is stopped.
SYNTHESIS_SECONDS = 1800


@dataclass(frozen=True)
class Resources:
    """LUTs (LUT RAM included), flip-flops, RAMs (36 kbit, halves are 0.5) and DSP blocks."""

    lut: int = 0
    ff: int = 0
    ram: float = 0
    dsp: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.lut + other.lut, self.ff + other.ff, self.ram + other.ram, self.dsp + other.dsp
        )

    def times(self, count: int) -> Resources:
        """The resources of `count` instances."""
        return Resources(self.lut * count, self.ff * count, self.ram * count, self.dsp * count)

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


#: Cost of each 7-series cell, by pattern of its name. LUT RAM and shift registers take LUT sites.
#: Ref: AMD UG474, UG473, UG479.
XC7_CELLS: tuple[tuple[re.Pattern[str], Resources], ...] = tuple(
    (re.compile(pattern), cost)
    for pattern, cost in (
        (r"LUT[1-6]|INV", Resources(lut=1)),
        (r"RAM(32|64)X1S(_1)?|SRL16E|SRLC16E|SRLC32E", Resources(lut=1)),
        (r"RAM(32|64)X1D(_1)?|RAM128X1S", Resources(lut=2)),
        (r"RAM(32|64)M|RAM128X1D|RAM256X1S", Resources(lut=4)),
        (r"FD[RSCP]E(_1)?|LD[CP]E", Resources(ff=1)),
        (r"RAMB36E1", Resources(ram=1)),
        (r"RAMB18E1", Resources(ram=0.5)),
        (r"DSP48E1", Resources(dsp=1)),
        # Carry chains and wide multiplexers sit beside the LUTs; pads and clock buffers are free.
        (
            r"CARRY4|MUXF[78]|[IO]BUF|BUFG(CTRL)?|OBUFT|IOBUF|VCC|GND|STARTUPE2|\$scopeinfo",
            Resources(),
        ),
    )
)


def cell_cost(cell: str) -> Resources:
    """Resources of one 7-series cell; an unknown cell is a BuildError, never silently free."""
    for pattern, cost in XC7_CELLS:
        if pattern.fullmatch(cell):
            return cost
    raise BuildError(f"synthesis left a cell {cell!r} whose resources are not known")


def _module_totals(stat: Mapping[str, Any]) -> dict[str, Resources]:
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
                one = total(cell) if cell in modules else cell_cost(cell)
                result += one.times(int(count))
            totals[name] = result
        return totals[name]

    for name in modules:
        total(name)
    return totals


def _synthesise(verilog: str, top: str, options: str, period_ns: float) -> dict[str, Resources]:
    """One run of Yosys; each module that is left, with everything below it."""
    script = (
        # Amaranth names a clock buffer's simulation device; Yosys's cell has no such parameter.
        "read_verilog -sv design.v; setparam -unset SIM_DEVICE t:BUFGCTRL; "
        # ABC9 stops at wires whose names it would give itself.
        f"hierarchy -top {top}; setattr -mod -set keep_hierarchy 1 {CLUSTER}; rename -hide w:*; "
        # Logic that is quick enough may be small.
        f"scratchpad -set abc9.D {1000 * period_ns:.0f}; "
        f"synth_xilinx -family xc7 -top {top} {options}; tee -o stat.json stat -tech xilinx -json"
    )
    version = str(tool_versions()["yosys"])
    key = hashlib.sha256("\n".join((version, script, verilog)).encode()).hexdigest()
    cached = cache_dir() / "synthesis" / f"{key}.json"
    if not cached.exists():
        _run_yosys(script, verilog, cached)
    return _module_totals(json.loads(cached.read_text()))


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


def synthesise(verilog: str, top: str, period_ns: float) -> tuple[Resources, dict[str, Resources]]:
    """Resources of `verilog` on 7-series parts: (whole design, by block).

    period_ns : of the clock that logic is mapped for, as far as delays without wires tell

    The blocks are the modules of the hierarchy, by dotted path (`top.accelerator.link`); a cluster
    as it is in the whole.
    """
    with ThreadPoolExecutor(2) as pool:
        whole = pool.submit(_synthesise, verilog, top, "-flatten", period_ns)
        blocks = pool.submit(_synthesise, verilog, top, "", period_ns)
        clusters = {name: cost for name, cost in whole.result().items() if name == CLUSTER}
        return whole.result()[top], blocks.result() | clusters
