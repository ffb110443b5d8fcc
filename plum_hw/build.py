"""`python -m plum_hw.build --board NAME`: project, resource report, bitstream where a tool is.

For Artix-7 boards the project is complete (Verilog, XDC, Tcl, build script); Vivado runs when it is
on PATH. Resources come from open synthesis in every case, and no frequency is given that no tool
measured.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from plum_hw import console
from plum_hw.boards import Board
from plum_hw.boards import board as find_board
from plum_hw.config import ArrayConfig, preset
from plum_hw.errors import BuildError, ConfigError
from plum_hw.report.resources import CLUSTER, Resources, synthesise
from plum_hw.tools import ToolMissing

#: Name of the design: of its files, and of the bitstream.
DESIGN = "plum"
#: Vivado may take this long before it is stopped.
VIVADO_SECONDS = 4 * 3600


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build made and measured."""

    board: Board
    config: ArrayConfig
    folder: Path
    resources: Resources
    blocks: dict[str, Resources]
    fmax_mhz: float | None
    bitstream: Path | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "board": self.board.name,
            "part": self.board.part,
            "array": self.config.name,
            "digest": self.config.digest,
            "clusters": self.config.clusters,
            "clock_mhz": self.board.clock_hz / 1e6,
            "resources": self.resources.as_dict(),
            "capacity": self.board.capacity.as_dict(),
            "blocks": {name: cost.as_dict() for name, cost in self.blocks.items()},
            "resources_from": "open synthesis (Yosys synth_xilinx), not placed and routed",
            "fmax_mhz": self.fmax_mhz,
            "bitstream": None if self.bitstream is None else str(self.bitstream),
            "project": str(self.folder),
        }


def build(
    board: Board,
    config: ArrayConfig,
    folder: Path,
    *,
    bitstream: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> BuildReport:
    """Make the project in `folder`, count resources, and run the vendor tool if it is there.

    bitstream : fail when no bitstream can be made

    Raises
    ------
    BuildError : a tool is missing or failed, the design does not fit, or timing was missed
    """
    vivado = shutil.which("vivado")
    if bitstream and vivado is None:
        raise BuildError(
            f"no bitstream for {board.name}: vivado is not on PATH; install Vivado, or leave out "
            "--bitstream to get the project"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(
            f"cannot make the folder {folder}: {error.strerror}; name another with --out"
        ) from None
    progress("gateware to Verilog (Amaranth)")
    verilog = _write_project(board, config, folder)
    progress("synthesis, whole and block by block (Yosys)")
    resources, modules = synthesise(verilog, DESIGN, 1e9 / board.clock_hz)
    _check_fit(board, resources)
    made, fmax = None, None
    if vivado is not None:
        progress("Vivado: synthesis, placement, routing")
        made, fmax = _run_vivado(board, folder)
    report = BuildReport(
        board=board,
        config=config,
        folder=folder,
        resources=resources,
        blocks=_blocks(modules),
        fmax_mhz=fmax,
        bitstream=made,
    )
    (folder / "report.json").write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    return report


def _write_project(board: Board, config: ArrayConfig, folder: Path) -> str:
    """Write the vendor project; returns the design's Verilog."""
    try:
        # Amaranth takes a second to import: only commands that build pay for it.
        from plum_hw.boards.top import BoardTop

        platform = board.make_platform()
    except ModuleNotFoundError as error:
        raise ToolMissing(
            f"the Python package {error.name}",
            needed_by="plum build",
            remedy="pip install 'plum-hw[hw]'",
        ) from None
    plan = platform.build(BoardTop(board, config), name=DESIGN, do_build=False)
    try:
        plan.extract(folder)
    except OSError as error:
        raise BuildError(f"cannot write the project to {folder}: {error.strerror}") from None
    texts = [text for name, text in plan.files.items() if name.endswith(".v")]
    return "\n".join(text.decode() if isinstance(text, bytes) else text for text in texts)


def _check_fit(board: Board, resources: Resources) -> None:
    have = board.capacity.as_dict()
    over = [
        f"{value:g} of {have[kind]} {kind.upper()}"
        for kind, value in resources.as_dict().items()
        if value > have[kind]
    ]
    if over:
        raise BuildError(
            f"the design does not fit {board.part}: {', '.join(over)}; choose a smaller --array"
        )


def _blocks(modules: dict[str, Resources]) -> dict[str, Resources]:
    """The blocks that a reader knows: the parts of the accelerator, and those of a cluster."""
    blocks = {}
    for module, cost in modules.items():
        # Where a signal has the name of a block already, Amaranth adds a number.
        name = re.sub(r"\$\d+$", "", module).removeprefix(f"{DESIGN}.")
        if re.fullmatch(rf"uart|accelerator\.(link|device\.\w+)|{CLUSTER}(\.\w+)?", name):
            name = name.removeprefix("accelerator.").removeprefix("device.")
            blocks[name.replace(CLUSTER, "cluster")] = cost
    return dict(sorted(blocks.items()))


def _run_vivado(board: Board, folder: Path) -> tuple[Path, float]:
    """Run the project's build script; (bitstream, MHz that the timing report allows)."""
    try:
        run = subprocess.run(
            ["sh", f"build_{DESIGN}.sh"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=VIVADO_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"Vivado took more than {VIVADO_SECONDS} s and was stopped") from None
    made = folder / f"{DESIGN}.bit"
    if run.returncode or not made.exists():
        raise BuildError(f"Vivado failed with code {run.returncode}; read {folder}/{DESIGN}.log")
    slack = worst_slack_ns((folder / f"{DESIGN}_timing.rpt").read_text())
    fmax = 1000 / (1e9 / board.clock_hz - slack)
    if slack < 0:
        made.rename(made.with_suffix(".missed-timing.bit"))
        raise BuildError(
            f"timing missed at {board.clock_hz / 1e6:g} MHz: worst slack {slack} ns "
            f"({fmax:.1f} MHz); read {folder}/{DESIGN}_timing.rpt"
        )
    return made, fmax


def worst_slack_ns(report: str) -> float:
    """Worst negative slack of a Vivado timing summary. Ref: AMD UG906, Report Timing Summary."""
    match = re.search(r"WNS\(ns\).*\n[\s-]+\n\s*(-?\d+\.\d+)", report)
    if match is None:
        raise BuildError("the timing report has no worst slack (WNS): some paths are unconstrained")
    return float(match.group(1))


def print_report(report: BuildReport) -> None:
    """The report as tables, the last line saying what there is and what to do next."""
    have = report.board.capacity.as_dict()
    title = f"{report.board.title} ({report.board.part}), array {report.config.name}"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for heading in ("block", "LUT", "FF", "RAMB36", "DSP48"):
        table.add_column(heading, justify="left" if heading == "block" else "right")
    for name, cost in report.blocks.items():
        label = "  " * name.count(".") + name.rpartition(".")[2]
        if name == "cluster":
            label = f"each of {report.config.clusters} clusters"
        table.add_row(label, *(f"{value:,g}" for value in cost.as_dict().values()))
    table.add_section()
    used = report.resources.as_dict()
    table.add_row("whole design", *(f"{value:,g}" for value in used.values()), style="bold")
    table.add_row("part", *(f"{have[kind]:,}" for kind in used))
    table.add_row("used", *(f"{100 * value / have[kind]:.0f} %" for kind, value in used.items()))
    console.out.print(table)
    console.say(
        "Open synthesis, blocks with the hierarchy kept; not placed and routed, so no frequency. "
        "Logic is mapped for the board's clock, without wires."
        if report.fmax_mhz is None
        else f"Vivado: timing met, {report.fmax_mhz:.1f} MHz."
    )
    if report.bitstream is None:
        console.say(
            "No bitstream was made: Vivado is not on PATH. The project is complete; with Vivado:  "
            f"cd {report.folder} && sh build_{DESIGN}.sh"
        )
    else:
        console.say(f"Bitstream: {report.bitstream}")


def build_command(
    board: Annotated[str, typer.Option(help="Board to build for: see `plum boards`.")],
    array: Annotated[
        str | None, typer.Option(help="Array preset; the board's own unless given.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the project.", show_default="build/BOARD")
    ] = None,
    bitstream: Annotated[
        bool, typer.Option("--bitstream", help="Fail when no bitstream can be made.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Make a board's project: Verilog, constraints, build script, resource report."""
    target = find_board(board)
    config = preset(array or target.array)
    folder = out or Path("build") / target.name
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; name a folder")
    with console.Activity() as activity:
        report = build(
            target,
            config,
            folder,
            bitstream=bitstream,
            progress=lambda text: activity.step(f"{target.name}: {text}"),
        )
    if as_json:
        console.print_json(report.as_dict())
    else:
        print_report(report)


def main() -> None:
    """Entry point of `python -m plum_hw.build`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(build_command)
    console.run(app, "plum build")


if __name__ == "__main__":
    main()
