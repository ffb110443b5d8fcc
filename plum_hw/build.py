"""`python -m plum_hw.build --board NAME`: project, resource report, bitstream where a tool is.

For parts that the open tools place and route, the build ends in a bitstream that meets timing, or
fails. For Artix-7 boards the project is complete (Verilog, XDC, Tcl, build script); Vivado runs
when it is on PATH, resources come from open synthesis, and no frequency is given that no tool
measured.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from plum_hw import console
from plum_hw.boards import Board
from plum_hw.boards import board as find_board
from plum_hw.boards.board import XC7
from plum_hw.boards.pll import check_clock
from plum_hw.config import ArrayConfig
from plum_hw.errors import BuildError, ConfigError
from plum_hw.flow.families import Resources, placed_resources
from plum_hw.flow.nextpnr import PLACE_SECONDS, Design, Placed, place
from plum_hw.flow.vivado import run_vivado
from plum_hw.network import Link, NetworkConfig
from plum_hw.presets import preset
from plum_hw.report.build import BuildReport, print_report
from plum_hw.report.resources import CLUSTER, synthesise, synthesise_whole
from plum_hw.soc.firmware import App, Firmware, build_firmware
from plum_hw.tools import ToolMissing, tool_path, tool_version

#: Name of the design: of its files, and of the bitstream.
DESIGN = "plum"
#: Ending of the file that is not of the project, but only counted.
_DEBUG = ".debug.v"
#: Modules that a report names: of the array, of the link or of the controller, of a cluster.
_BLOCK = re.compile(
    r"line|plum_ethernet|accelerator\.(link|device\.\w+)|device\.\w+|accelerator|processor|rom|ram|"
    rf"flash|serial|timer|checksum|system|{CLUSTER}(\.\w+)?"
)


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """How place and route is to be done.

    Parameters
    ----------
    seed : the first seed; None for the board's
    tries : seeds that are tried, one after the other, until timing is met
    seconds : that one run may take
    words : further words for nextpnr
    """

    seed: int | None = None
    tries: int = 1
    seconds: float = PLACE_SECONDS
    words: tuple[str, ...] = ()


def build(
    board: Board,
    config: ArrayConfig,
    folder: Path,
    *,
    bitstream: bool = False,
    project_only: bool = False,
    blocks: bool | None = None,
    options: PlaceOptions | None = None,
    soc: App | None = None,
    core: Callable[..., Any] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> BuildReport:
    """Make the project in `folder`, count resources, and make a bitstream where a tool can.

    bitstream : fail when no bitstream can be made
    project_only : run no place and route
    blocks : count the resources of each block too; None: where nothing is placed and routed
    options : of place and route by the open tools
    soc : firmware of the controller that is built beside the array; None: no controller
    core : makes what is behind the board's pins, see `BoardTop`; the accelerator unless given

    Raises
    ------
    ConfigError : the board cannot have that clock
    BuildError : a tool is missing or failed, the design does not fit, or timing was missed
    """
    check_clock(board.family.name, board.oscillator_hz, board.clock_hz)
    vivado = tool_path("vivado") if board.family is XC7 else None
    if bitstream and board.family is XC7 and vivado is None:
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
    for old in folder.glob(f"{DESIGN}*{board.family.suffix}"):
        old.unlink()  # what fails must leave no bitstream
    firmware = None
    if soc is not None:
        progress("firmware")
        firmware = build_firmware(soc)
    progress("gateware to Verilog (Amaranth)")
    placing = board.family is not XC7 and not project_only
    counting = not placing or bool(blocks)
    files = _write_project(board, config, folder, firmware, core, verilog=counting)
    report = BuildReport(
        board=board,
        config=config,
        folder=folder,
        resources=Resources(),
        blocks={},
        fmax_mhz=None,
        bitstream=None,
        placed=None,
        seed=None,
        versions={name: tool_version(name) for name in ("yosys",)},
        firmware=firmware,
    )
    if counting:
        from plum_hw.boards.project import design_verilog

        verilog = design_verilog(files, DESIGN)
        modules: dict[str, Resources] = {}
        if blocks is False:
            progress("synthesis (Yosys)")
            resources = synthesise_whole(board, verilog, DESIGN)
        else:
            progress("synthesis, whole and block by block (Yosys)")
            resources, modules = synthesise(board, verilog, DESIGN)
        _check_fit(board, resources, soc=soc is not None)
        report = dataclasses.replace(report, resources=resources, blocks=_blocks(modules))
    if placing:
        project = {name: text for name, text in files.items() if not name.endswith(_DEBUG)}
        report = _place(report, project, options or PlaceOptions(), progress)
    elif vivado is not None and not project_only:
        progress("Vivado: synthesis, placement, routing")
        made, fmax = run_vivado(board, folder, DESIGN)
        report = dataclasses.replace(report, bitstream=made, fmax_mhz=fmax)
    _save(report)
    return report


def _save(report: BuildReport) -> None:
    text = json.dumps(report.as_dict(), indent=2)
    (report.folder / "report.json").write_text(text + "\n")


def _write_project(
    board: Board,
    config: ArrayConfig,
    folder: Path,
    firmware: Firmware | None,
    core: Callable[..., Any] | None,
    *,
    verilog: bool,
) -> dict[str, str]:
    """Write the project of the family's tools; returns its files, with ``verilog`` and the design
    in Verilog where those tools read something else.
    """
    try:
        # Amaranth takes a second to import: only commands that build pay for it.
        from plum_hw.boards.project import make_project

        top = _top(board, config, firmware, core)
        files = make_project(board, config, DESIGN, top, debug=verilog and board.family is not XC7)
    except ModuleNotFoundError as error:
        extras = "hw" if board.ethernet is None else "hw,ethernet"
        raise ToolMissing(
            f"the Python package {error.name}",
            needed_by="plum build",
            remedy=f"pip install 'plum-hw[{extras}]'",
        ) from None
    try:
        for name, text in files.items():
            if not name.endswith(_DEBUG):
                (folder / name).write_text(text)
    except OSError as error:
        raise BuildError(f"cannot write the project to {folder}: {error.strerror}") from None
    return files


def _top(
    board: Board,
    config: ArrayConfig,
    firmware: Firmware | None,
    core: Callable[..., Any] | None,
) -> Any:
    """What is behind the pins; None: the accelerator with the board's link."""
    from plum_hw.boards.soc_top import SocTop, controller_for
    from plum_hw.boards.top import BoardTop

    if firmware is not None:
        return SocTop(board, config, controller_for(board), firmware.image)
    return None if core is None else BoardTop(board, config, core)


def _check_fit(board: Board, resources: Resources, *, soc: bool) -> None:
    have = board.capacity.as_dict()
    units = dict(zip(have, board.family.units, strict=True))
    over = [
        f"{value:g} of {have[kind]} {units[kind]}"
        for kind, value in resources.as_dict().items()
        if value > have[kind]
    ]
    if over:
        raise BuildError(
            f"the design does not fit {board.part}: {', '.join(over)}; choose a smaller --array "
            f"({board.preset_name(soc=soc)} is meant for {board.name}{' --soc' * soc})"
        )


def _blocks(modules: dict[str, Resources]) -> dict[str, Resources]:
    """The blocks that a reader knows: the parts of the accelerator, and those of a cluster."""
    blocks = {}
    for module, cost in modules.items():
        # Where a signal has the name of a block already, Amaranth adds a number.
        name = re.sub(r"\$\d+$", "", module).removeprefix(f"{DESIGN}.")
        # With --soc the array is a part of the controller's core.
        name = re.sub(r"^soc\.(core\.)?", "", name)
        # A cluster is a module around the component that gives it a domain without reset.
        name = name.replace(f"{CLUSTER}.body.", f"{CLUSTER}.")
        if re.fullmatch(_BLOCK, name) and name != f"{CLUSTER}.body":
            name = name.removeprefix("accelerator.").removeprefix("device.")
            blocks[name.replace(CLUSTER, "cluster")] = cost
    return dict(sorted(blocks.items()))


def _place(
    report: BuildReport,
    files: dict[str, str],
    options: PlaceOptions,
    progress: Callable[[str], None],
) -> BuildReport:
    """Place and route until timing is met; the bitstream is written only then."""
    board, folder = report.board, report.folder
    design = Design.of_project(DESIGN, files, board)
    first = board.seed if options.seed is None else options.seed
    best: tuple[float, int, Placed] | None = None
    for seed in range(first, first + options.tries):
        placed = place(
            board,
            design,
            seed=seed,
            options=options.words,
            seconds=options.seconds,
            keep=folder,
            progress=progress,
        )
        slowest = placed.report.slowest
        assert slowest is not None
        reached = slowest.fmax_mhz / slowest.asked_mhz
        if best is None or reached > best[0]:
            best = reached, seed, placed
        if slowest.met:
            break
    assert best is not None
    _, seed, placed = best
    slowest = placed.report.slowest
    assert slowest is not None
    report = dataclasses.replace(
        report,
        resources=placed_resources(board.family.name, placed.report.used, placed.cells),
        placed=placed.report,
        fmax_mhz=round(slowest.fmax_mhz, 2),
        seed=seed,
        versions={name: tool_version(name) for name in board.family.tools},
    )
    suffix = board.family.suffix
    if not slowest.met:
        (folder / f"{DESIGN}.missed-timing{suffix}").write_bytes(placed.bitstream)
        _save(report)
        critical = placed.report.critical
        raise BuildError(
            f"timing missed on {board.name}: {slowest.fmax_mhz:.1f} MHz of "
            f"{slowest.asked_mhz:.1f} (best of {options.tries} "
            f"seed{'s' * (options.tries > 1)}: {seed}); "
            f"critical path {critical.text if critical else 'not reported'}; "
            f"read {folder}/report.json, or ask for less with --clock or more seeds with --tries"
        )
    made = folder / f"{DESIGN}{suffix}"
    made.write_bytes(placed.bitstream)
    return dataclasses.replace(report, bitstream=made)


def _clock_of(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 400:
        raise ConfigError(f"--clock {text!r} is not a frequency; give MHz from 1 to 400")
    return value


def build_command(
    board: Annotated[str, typer.Option(help="Board to build for: see `plum boards`.")],
    array: Annotated[
        str | None,
        typer.Option(help="Array preset; the board's own unless given, with --soc that for --soc."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the project.", show_default="build/BOARD")
    ] = None,
    bitstream: Annotated[
        bool, typer.Option("--bitstream", help="Fail when no bitstream can be made.")
    ] = False,
    project_only: Annotated[
        bool, typer.Option("--project-only", help="Synthesis only: no place and route.")
    ] = False,
    blocks: Annotated[
        bool, typer.Option("--blocks", help="Count the resources of each block too.")
    ] = False,
    clock: Annotated[
        float | None,
        typer.Option(parser=_clock_of, metavar="MHZ", help="The array's clock, not the board's."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of place and route.")] = None,
    tries: Annotated[
        int, typer.Option(min=1, help="Seeds that are tried until timing is met.")
    ] = 1,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that place and route may take.")
    ] = PLACE_SECONDS,
    place_option: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="A further word for nextpnr, such as --router=router2."),
    ] = None,
    soc: Annotated[
        bool,
        typer.Option("--soc", help="With a controller beside the array: the board works alone."),
    ] = False,
    app_name: Annotated[App, typer.Option("--app", help="Firmware of --soc.")] = App.STANDALONE,
    link: Annotated[
        Link, typer.Option(help="Serial port, or the Ethernet port with UDP (Arty boards).")
    ] = Link.UART,
    ip: Annotated[
        str, typer.Option(metavar="ADDRESS", help="IPv4 address of --link ethernet.")
    ] = NetworkConfig.ip,
    mac: Annotated[
        str, typer.Option(metavar="ADDRESS", help="MAC address of --link ethernet.")
    ] = NetworkConfig.mac,
    udp_port: Annotated[
        int, typer.Option(metavar="PORT", help="UDP port of --link ethernet.")
    ] = NetworkConfig.port,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Build for a board: project, resource report, and a bitstream that meets timing."""
    target = find_board(board)
    if link is Link.ETHERNET:
        if soc:
            raise ConfigError("--soc answers over the serial port: build without --link ethernet")
        network = NetworkConfig(ip=ip, mac=mac, port=udp_port)
        target = dataclasses.replace(target, ethernet=network)
    elif (ip, mac, udp_port) != (NetworkConfig.ip, NetworkConfig.mac, NetworkConfig.port):
        raise ConfigError("--ip, --mac and --udp-port are those of --link ethernet: give that too")
    clock_hz = target.clock_of(soc=soc) if clock is None else round(clock * 1e6)
    target = dataclasses.replace(target, clock_hz=clock_hz)
    config = preset(array or target.preset_name(soc=soc))
    folder = out or Path("build") / target.name
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; name a folder")
    with console.Activity() as activity:
        report = build(
            target,
            config,
            folder,
            bitstream=bitstream,
            project_only=project_only,
            blocks=blocks or None,
            options=PlaceOptions(
                seed=seed, tries=tries, seconds=timeout, words=tuple(place_option or ())
            ),
            soc=app_name if soc else None,
            progress=lambda text: activity.step(f"{target.name}: {text}"),
        )
    if as_json:
        console.print_json(report.as_dict())
    else:
        print_report(report.as_dict())


def main() -> None:
    """Entry point of `python -m plum_hw.build`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(build_command)
    console.run(app, "plum build")


if __name__ == "__main__":
    main()
