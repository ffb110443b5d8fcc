"""The report of a build: what it says, and how people read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from plum_hw import console
from plum_hw.boards import Board
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.demo import shipped
from plum_hw.flow.families import Resources
from plum_hw.flow.timing import PlacedReport
from plum_hw.ir import load_network
from plum_hw.soc.firmware import Firmware

_KINDS = ("lut", "ff", "ram", "dsp")


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build made and measured.

    resources : of the placed design, else by open synthesis
    blocks : of the modules by themselves, by open synthesis; empty where they were not asked for
    placed : what place and route says; None where there was none
    seed : of place and route
    versions : of the tools that made it
    firmware : of the controller; None where there is none
    """

    board: Board
    config: ArrayConfig
    folder: Path
    resources: Resources
    blocks: dict[str, Resources]
    fmax_mhz: float | None
    bitstream: Path | None
    placed: PlacedReport | None
    seed: int | None
    versions: dict[str, str | None]
    firmware: Firmware | None = None

    @property
    def fullest(self) -> tuple[str, float]:
        """The kind of resource that is nearest to its end, and the share that is used."""
        have, used = self.board.capacity.as_dict(), self.resources.as_dict()
        kind = max(used, key=lambda name: used[name] / have[name])
        return kind, used[kind] / have[kind]

    def as_dict(self) -> dict[str, Any]:
        kind, share = self.fullest
        units = dict(zip(("lut", "ff", "ram", "dsp"), self.board.family.units, strict=True))
        critical = None if self.placed is None else self.placed.critical
        return {
            "board": self.board.name,
            "title": self.board.title,
            "part": self.board.part,
            "array": self.config.name,
            "digest": self.config.digest,
            "clusters": self.config.clusters,
            "lanes": self.config.lanes,
            "clock_mhz": self.board.clock_hz / 1e6,
            "fmax_mhz": self.fmax_mhz,
            "resources": self.resources.as_dict(),
            "capacity": self.board.capacity.as_dict(),
            "units": units,
            "blocks": {name: cost.as_dict() for name, cost in self.blocks.items()},
            "resources_from": (
                "open synthesis (Yosys), not placed and routed"
                if self.placed is None
                else "placed and routed design (nextpnr)"
            ),
            "bound": {
                "resource": kind,
                "share": round(share, 3),
                "critical_path": None if critical is None else critical.text,
            },
            "placed": None if self.placed is None else self.placed.as_dict(),
            "seed": self.seed,
            "tools": self.versions,
            "demo": demo_report(self.board, self.config),
            "bitstream": None if self.bitstream is None else str(self.bitstream),
            "project": str(self.folder),
            "ethernet": None if self.board.ethernet is None else asdict(self.board.ethernet),
            "soc": None
            if self.firmware is None
            else {
                "app": self.firmware.app,
                "text": self.firmware.text,
                "bss": self.firmware.bss,
            },
        }


def demo_report(board: Board, config: ArrayConfig) -> dict[str, Any]:
    """Cycles and frames a second of the board's demo network on an array; None where it does not
    run there.

    The frames are those of the array at the board's clock, without the link.
    """
    network = load_network(shipped(f"{board.network}.qnet"))
    cycles = None
    if not check_network(network, config):
        cycles = compile_network(network, config).manifest["predicted_cycles"]
    return {
        "network": network.name,
        "cycles": cycles,
        "frames_per_second": None if cycles is None else round(board.clock_hz / cycles, 1),
    }


def print_report(report: dict[str, Any]) -> None:
    """The report (`BuildReport.as_dict`) as tables, the last line saying what there is and what to
    do next.
    """
    used, have = report["resources"], report["capacity"]
    title = f"{report['title']} ({report['part']}), array {report['array']}"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("block")
    for kind in _KINDS:
        table.add_column(report["units"][kind], justify="right")
    for name, cost in report["blocks"].items():
        label = "  " * name.count(".") + name.rpartition(".")[2]
        if name == "cluster":
            label = f"each of {report['clusters']} clusters"
        table.add_row(label, *(f"{cost[kind]:,g}" for kind in _KINDS))
    if report["blocks"]:
        table.add_section()
    table.add_row("whole design", *(f"{used[kind]:,g}" for kind in _KINDS), style="bold")
    table.add_row("part", *(f"{have[kind]:,}" for kind in _KINDS))
    table.add_row("used", *(f"{100 * used[kind] / have[kind]:.0f} %" for kind in _KINDS))
    console.out.print(table)
    if report["blocks"]:
        console.say(
            "Blocks by open synthesis with the hierarchy kept. Logic is mapped for the board's "
            "clock, without wires."
        )
    network = report["ethernet"]
    if network is not None:
        console.say(
            f"Link: Ethernet, 100 Mbit/s; --device udp://{network['ip']}:{network['port']} "
            f"(MAC {network['mac']})."
        )
    if report["soc"] is not None:
        console.say(
            f"With a controller; firmware {report['soc']['app']}, {report['soc']['text']:,} bytes."
        )
    demo = report["demo"]
    if demo["cycles"] is not None:
        console.say(
            f"Network {demo['network']}: {demo['cycles']:,} cycles an image, "
            f"{demo['frames_per_second']:,.0f} images a second in the array at "
            f"{report['clock_mhz']:g} MHz."
        )
    placed = report["placed"]
    if placed is not None:
        for name, clock in placed["clocks"].items():
            console.say(
                f"Clock {name.removeprefix('$glbnet$')}: {clock['fmax_mhz']:.1f} MHz reached, "
                f"{clock['asked_mhz']:.1f} MHz asked for (placed and routed, seed "
                f"{report['seed']})."
            )
        console.say(f"Critical path {report['bound']['critical_path']}.")
    elif report["fmax_mhz"] is not None:
        console.say(f"Vivado: timing met, {report['fmax_mhz']:.1f} MHz.")
    else:
        console.say("Not placed and routed, so no frequency.")
    _say_what_is_next(report)


def _say_what_is_next(report: dict[str, Any]) -> None:
    if report["bitstream"] is not None:
        console.say(f"Bitstream: {report['bitstream']}")
    elif report["units"]["ram"] == "RAMB36":
        console.say(
            "No bitstream was made: Vivado is not on PATH. The project is complete; with Vivado:  "
            f"cd {report['project']} && sh build_plum.sh"
        )
    else:
        console.say("No bitstream was made: leave out --project-only to place and route.")
