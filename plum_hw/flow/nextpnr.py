"""The open flow: Yosys, nextpnr and the packer of a family, each stage cached.

The key of a stage is the hash of all its inputs: texts, options, and the versions of the tools. A
cluster is mapped once and flattened afterwards, so an array of twelve takes no longer than one in
synthesis.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plum_hw.boards.board import ECP5, GOWIN, Board, Family
from plum_hw.errors import BuildError
from plum_hw.flow import carry, registers, slices
from plum_hw.flow.anneal import place as annealing
from plum_hw.flow.families import PlaceWords, place_words, synthesis_words
from plum_hw.flow.process import run_tool
from plum_hw.flow.timing import PlacedReport, read_report
from plum_hw.report.resources import CLUSTER
from plum_hw.tools import cache_dir, tool_command, tool_version

#: Stages may take this long, in seconds, unless the user says otherwise.
SYNTHESIS_SECONDS = 3600
PLACE_SECONDS = 4 * 3600
PACK_SECONDS = 600

#: Beginnings of nextpnr's lines, and what they mean.
MILESTONES = {
    "Info: Packing": "packing cells",
    "Info: Creating initial analytic placement": "placing",
    "Info: Running Static placer": "placing",
    "Info: Running simulated annealing": "refining the placement",
    "Info: Running SA placement": "refining the placement",
    "Info: Routing..": "routing",
    "Info: Running router2": "routing",
}

#: What is done to a netlist of a family after Yosys, one after the other: the work's version, what
#: does it, and what the number that it returns is of.
FITTING: dict[Family, tuple[tuple[int, Callable[[dict[str, Any]], int], str], ...]] = {
    ECP5: (
        (carry.VERSION, carry.absorb_luts, "LUTs taken into carry chains"),
        (registers.VERSION, registers.absorb_registers, "flip-flops taken into blocks"),
    ),
    GOWIN: ((slices.VERSION, slices.give_luts, "LUTs put in front of flip-flops"),),
}

#: Files between nextpnr's runs and our placer.
_PACKED, _DELAYS, _PLACED = "packed.json", "packed.sdf", "placed.json"
#: How much faster than asked for our placer aims, so that the router has something to spare.
_HEADROOM = 1.15

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Design:
    """What goes into the flow.

    sources : texts by file name; Verilog (.v) and RTLIL (.il), the latter last
    constraints : pins and clocks in the family's language
    """

    name: str
    sources: Mapping[str, str]
    constraints: str

    @classmethod
    def of_project(cls, name: str, files: Mapping[str, str], board: Board) -> Design:
        """Of the files of a board's project."""
        sources = {
            file: text
            for file, text in sorted(files.items(), reverse=True)  # .v before .il
            if file.endswith((".v", ".il"))
        }
        suffix = place_words(board, name).constraints
        return cls(name=name, sources=sources, constraints=files[f"{name}{suffix}"])


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A design that went through the flow.

    bitstream : its bytes
    cells : of the synthesised netlist, by type
    """

    report: PlacedReport
    bitstream: bytes
    cells: dict[str, int]
    log: str


def place(
    board: Board,
    design: Design,
    *,
    seed: int | None = None,
    options: tuple[str, ...] = (),
    seconds: float = PLACE_SECONDS,
    keep: Path | None = None,
    progress: Progress = lambda text: None,
) -> Placed:
    """Synthesise, place, route and pack; whether timing is met is in the report.

    seed, options : of nextpnr; the board's unless given
    seconds : that place and route may take
    keep : folder for the logs and the tools' own files

    Raises
    ------
    BuildError : a tool failed or took too long; or a clock has no constraint of ours
    """
    words = place_words(board, design.name)
    for tool in board.family.tools:  # before minutes of synthesis, not after
        tool_command(tool, needed_by=f"a bitstream for {board.name}")
    part = "-".join(board.part.split("-")[:2])
    if board.anneals:
        annealing.require(part)
    versions = {name: tool_version(name) for name in board.family.tools}
    netlist, synthesis_log, netlist_key = _synthesise(board, design, versions, keep, progress)
    cells = _cells(netlist, design.name)
    name = design.name
    chosen = board.seed if seed is None else seed
    runs = nextpnr_runs(board, words, name, chosen, options)
    packer = words.pack
    further = annealing.VERSION if board.anneals else 0
    key = _key(netlist_key, design.constraints, runs, packer, versions, further)
    store = cache_dir() / "placed" / key
    if not store.is_dir():
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="place-") as scratch:
            folder = Path(scratch)
            (folder / f"{name}.json").write_text(netlist)
            (folder / f"{name}{words.constraints}").write_text(design.constraints)
            placer, pack = board.family.tools[1:]

            def run(tool: str, run_words: Sequence[str], log: str, limit: float) -> None:
                run_tool(
                    [*tool_command(tool, needed_by=f"a bitstream for {board.name}"), *run_words],
                    folder,
                    name=tool,
                    log=log,
                    kept=keep,
                    seconds=limit,
                    milestones=MILESTONES,
                    progress=lambda text: progress(f"seed {chosen}, {tool}: {text}"),
                )

            try:
                for number, (log, router) in enumerate(runs):
                    if number:
                        told = annealing.place_packed(
                            folder / _PACKED,
                            folder / _DELAYS,
                            folder / _PLACED,
                            part=part,
                            mhz=board.clock_hz / 1e6 * _HEADROOM,
                            seed=chosen,
                            seconds=seconds,
                            progress=lambda text: progress(f"seed {chosen}, {text}"),
                        )
                        progress(f"seed {chosen}, {told}")
                    run(placer, router, log, seconds)
                progress(f"{pack}: bitstream")
                run(pack, packer, "bitstream.log", PACK_SECONDS)
            except BuildError:
                _keep(folder, keep)
                raise
            made = folder / "made"
            made.mkdir()
            for file in ("report.json", "place.log", f"{name}{board.family.suffix}"):
                shutil.copy(folder / file, made / file)
            _store(made, store)
    log = (store / "place.log").read_text()
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / "synthesis.log").write_text(synthesis_log)
        (keep / "place.log").write_text(log)
    report = read_report(json.loads((store / "report.json").read_text()))
    _check_clocks(board, report)
    return Placed(
        report=report,
        bitstream=(store / f"{name}{board.family.suffix}").read_bytes(),
        cells=cells,
        log=log,
    )


def nextpnr_runs(
    board: Board, words: PlaceWords, name: str, seed: int, options: tuple[str, ...]
) -> list[tuple[str, list[str]]]:
    """Log and words of each run of nextpnr: one, or one before and one after our own placer."""
    common = [
        *words.part,
        *words.inputs,
        *("--seed", str(seed), "--freq", f"{board.clock_hz / 1e6:g}"),
        *board.place_options,
        *options,
    ]
    result = [*words.outputs, "--report", "report.json", "--timing-allow-fail"]
    if not board.anneals:
        return [("place.log", [*common, "--json", f"{name}.json", *result])]
    # The options of packing are kept in its file, and hold for routing.
    pack = ["--json", f"{name}.json", "--pack-only", "--write", _PACKED, "--sdf", _DELAYS]
    route = ["--json", _PLACED, "--no-pack", "--no-place"]
    return [("pack.log", [*common, *pack]), ("place.log", [*common, *route, *result])]


def _check_clocks(board: Board, report: PlacedReport) -> None:
    """Every clock has the constraint that its design means, so that none is left untimed."""
    asked = {board.clock_hz / 1e6, board.oscillator_hz / 1e6}
    wrong = [
        f"{name} has {timing.asked_mhz:.2f} MHz"
        for name, timing in report.clocks.items()
        if not any(abs(timing.asked_mhz - mhz) < 0.002 * mhz for mhz in asked)
    ]
    if wrong or not report.clocks:
        raise BuildError(
            f"the clocks are not constrained as they should be: {'; '.join(wrong) or 'none is'}"
        )


def _synthesise(
    board: Board,
    design: Design,
    versions: Mapping[str, str | None],
    keep: Path | None,
    progress: Progress,
) -> tuple[str, str, str]:
    """The netlist as JSON, Yosys's log, and the key of both."""
    script = synthesis_script(board, design)
    fitting = FITTING.get(board.family, ())
    further = [version for version, *_ in fitting]
    key = _key(script, *sorted(design.sources.items()), versions["yosys"], further)
    store = cache_dir() / "netlists" / key
    if not store.is_dir():
        progress("Yosys: synthesis")
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="netlist-") as scratch:
            folder = Path(scratch)
            for name, text in design.sources.items():
                (folder / name).write_text(text)
            for names in ("kept", "hidden"):
                text = script if names == "kept" else synthesis_script(board, design, hidden=True)
                (folder / "synthesis.ys").write_text(text)
                try:
                    run_tool(
                        [*tool_command("yosys", needed_by="synthesis"), "synthesis.ys"],
                        folder,
                        name="yosys",
                        log="synthesis.log",
                        kept=keep,
                        seconds=SYNTHESIS_SECONDS,
                    )
                    break
                except BuildError:
                    _keep(folder, keep)
                    if names == "hidden" or not _ended_in_abc(folder / "synthesis.log"):
                        raise
                    progress("Yosys: synthesis again, without the names of wires")
            made = folder / "made"
            made.mkdir()
            text = (folder / f"{design.name}.json").read_text()
            log = (folder / "synthesis.log").read_text()
            netlist = json.loads(text)
            for _, work, counted in fitting:
                number = work(netlist["modules"][design.name])
                log += f"\nplum: {number} {counted}\n"
            if fitting:
                text = json.dumps(netlist)
            with gzip.open(made / "netlist.json.gz", "wt", compresslevel=1) as file:
                file.write(text)
            (made / "synthesis.log").write_text(log)
            _store(made, store)
    with gzip.open(store / "netlist.json.gz", "rt") as file:
        return file.read(), (store / "synthesis.log").read_text(), key


def _ended_in_abc(log: Path) -> bool:
    """Whether Yosys failed in ABC9, which stops at wires whose names it would give itself."""
    return "ABC" in "".join(log.read_text().splitlines()[-4:])


def synthesis_script(board: Board, design: Design, *, hidden: bool = False) -> str:
    """Yosys commands from the sources to the netlist.

    hidden : without the names of wires, which a report of paths then lacks too
    """
    command = " ".join(synthesis_words(board))
    reads = [
        f"read_verilog -sv {name}" if name.endswith(".v") else f"read_rtlil {name}"
        for name in design.sources
    ]
    lines = [
        *reads,
        f"hierarchy -top {design.name}",
        f"setattr -mod -set keep_hierarchy 1 {CLUSTER}",
        *(["rename -hide w:*"] if hidden else []),
        f"{command} -top {design.name}",
        f"setattr -mod -unset keep_hierarchy {CLUSTER}",
        "flatten",
        "opt_clean",
        "stat",
        f"write_json {design.name}.json",
    ]
    return "\n".join(lines) + "\n"


def _cells(netlist: str, top: str) -> dict[str, int]:
    cells: dict[str, int] = {}
    for cell in json.loads(netlist)["modules"][top]["cells"].values():
        cells[cell["type"]] = cells.get(cell["type"], 0) + 1
    return cells


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _store(made: Path, store: Path) -> None:
    """Move a folder into the cache; another process may have been quicker."""
    store.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(made, store)
    except OSError:
        if not store.is_dir():
            raise


def _keep(folder: Path, keep: Path | None) -> None:
    """Save the logs of a failed run."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        for log in folder.glob("*.log"):
            shutil.copy(log, keep / log.name)
