"""`plum boards`: what each board has, the cycles of the demo's network, and what can build it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from plum_hw import console
from plum_hw.boards import Board, boards
from plum_hw.compiler import compile_network
from plum_hw.config import preset
from plum_hw.demo import NETWORK, shipped
from plum_hw.ir import Network, load_network
from plum_hw.tools import tool_path


def board_report(board: Board, network: Network) -> dict[str, Any]:
    """One board, with the cycles of an image of a network on its array."""
    config = preset(board.array)
    return {
        "board": board.name,
        "title": board.title,
        "part": board.part,
        "array": board.array,
        "clusters": config.clusters,
        "lanes": config.lanes,
        "clock_mhz": board.clock_hz / 1e6,
        "capacity": board.capacity.as_dict(),
        "network": network.name,
        "predicted_cycles": compile_network(network, config).manifest["predicted_cycles"],
        "tools": {tool: tool_path(tool) for tool in board.family.tools},
    }


def boards_command(
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Boards that `plum build` knows: part, array, cycles of the demo's network, tools found."""
    network = load_network(shipped(NETWORK))
    found = [board_report(item, network) for _, item in sorted(boards().items())]
    if as_json:
        console.print_json(found)
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("board", "part", "LUT", "RAM", "array", "cycles", "tools", style="bold")
    for item in found:
        capacity = item["capacity"]
        tools = [name if path else f"no {name}" for name, path in item["tools"].items()]
        table.add_row(
            item["board"],
            item["part"],
            *(f"{capacity[kind]:,}" for kind in ("lut", "ram")),
            item["array"],
            f"{item['predicted_cycles']:,}",
            ", ".join(tools),
        )
    console.out.print(table)
    for item in found:
        console.say(
            f"{item['title']}: {item['clusters']} clusters of {item['lanes']} lanes, "
            f"{item['clock_mhz']:g} MHz asked for"
        )
    console.say(f"cycles: of an image of the network {network.name}, predicted")
