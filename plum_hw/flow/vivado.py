"""Runs the Vivado project of a board, where Vivado is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from plum_hw.boards.board import Board
from plum_hw.errors import BuildError

#: Vivado may take this long before it is stopped.
VIVADO_SECONDS = 4 * 3600


def run_vivado(
    board: Board, folder: Path, design: str, *, seconds: float = VIVADO_SECONDS
) -> tuple[Path, float]:
    """Run the project's build script; (bitstream, MHz that the timing report allows).

    Raises
    ------
    BuildError : it failed, took too long, or missed timing
    """
    try:
        run = subprocess.run(
            ["sh", f"build_{design}.sh"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"Vivado took more than {seconds:g} s and was stopped") from None
    made = folder / f"{design}.bit"
    if run.returncode or not made.exists():
        raise BuildError(f"Vivado failed with code {run.returncode}; read {folder}/{design}.log")
    slack = worst_slack_ns((folder / f"{design}_timing.rpt").read_text())
    fmax = 1000 / (1e9 / board.clock_hz - slack)
    if slack < 0:
        made.rename(made.with_suffix(".missed-timing.bit"))
        raise BuildError(
            f"timing missed at {board.clock_hz / 1e6:g} MHz: worst slack {slack} ns "
            f"({fmax:.1f} MHz); read {folder}/{design}_timing.rpt"
        )
    return made, fmax


def worst_slack_ns(report: str) -> float:
    """Worst negative slack of a Vivado timing summary. Ref: AMD UG906, Report Timing Summary."""
    match = re.search(r"WNS\(ns\).*\n[\s-]+\n\s*(-?\d+\.\d+)", report)
    if match is None:
        raise BuildError("the timing report has no worst slack (WNS): some paths are unconstrained")
    return float(match.group(1))
