"""The report of a build, for people."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from plum_hw import console

_KINDS = ("lut", "ff", "ram", "dsp")


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
