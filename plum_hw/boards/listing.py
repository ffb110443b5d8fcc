"""`plum boards`: what each board has, the cycles of its demo network, and what can build it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from plum_hw import console
from plum_hw.boards import Board, boards
from plum_hw.presets import preset
from plum_hw.report.build import demo_report
from plum_hw.tools import tool_path


def board_report(board: Board) -> dict[str, Any]:
    """One board, with the cycles of an image of its demo network on its array."""
    config = preset(board.array)
    return {
        "board": board.name,
        "title": board.title,
        "part": board.part,
        "family": board.family.title,
        "array": board.array,
        "soc_array": board.preset_name(soc=True),
        "clusters": config.clusters,
        "lanes": config.lanes,
        "clock_mhz": board.clock_hz / 1e6,
        "capacity": board.capacity.as_dict(),
        "units": dict(zip(board.capacity.as_dict(), board.family.units, strict=True)),
        **demo_report(board, config),
        "tools": {tool: tool_path(tool) for tool in (*board.family.tools, "openFPGALoader")},
    }


def boards_command(
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Boards that `plum build` knows: part, array, cycles of the demo network, tools found."""
    found = [board_report(item) for _, item in sorted(boards().items())]
    if as_json:
        console.print_json(found)
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("board", "LUT", "FF", "RAM", "DSP", "array", "cycles", "images/s"):
        table.add_column(heading, justify="left" if heading == "board" else "right", no_wrap=True)
    for item in found:
        cycles, rate = item["cycles"], item["frames_per_second"]
        table.add_row(
            item["board"],
            *(f"{value:,}" for value in item["capacity"].values()),
            f"{item['clusters']} x {item['lanes']}",
            "-" if cycles is None else f"{cycles:,}",
            "-" if rate is None else f"{rate:,.0f}",
        )
    console.out.print(table)
    for item in found:
        missing = [name for name, path in item["tools"].items() if path is None]
        have = "all tools found" if not missing else f"not found: {', '.join(missing)}"
        array = item["array"]
        if item["soc_array"] != array:
            array += f" (with --soc {item['soc_array']})"
        console.say(
            f"{item['board']:<16} {item['title']}, {item['part']}: array {array} at "
            f"{item['clock_mhz']:g} MHz, network {item['network']}; {have}"
        )
    console.say(
        "Array: clusters x lanes. Cycles of an image in the array are predicted, images a second "
        "follow from the clock that is asked for."
    )
