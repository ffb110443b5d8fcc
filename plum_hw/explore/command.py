"""`plum explore`: a table, JSON and a plot of the arrays that a board could hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from plum_hw import console
from plum_hw.boards import Board
from plum_hw.boards import board as find_board
from plum_hw.demo import shipped
from plum_hw.errors import ConfigError, PlumError
from plum_hw.explore.engine import executor, explore
from plum_hw.explore.plot import plot
from plum_hw.explore.space import Point, space
from plum_hw.ir import Network, load_network
from plum_hw.presets import preset
from plum_hw.zoo import NAMES
from plum_hw.zoo import build as build_network


def _numbers(text: str) -> list[int]:
    """`1,2,4` or `1-6`."""
    found: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            found += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError:
        raise ConfigError(f"{text!r} is no list of integers; write 1,2,4 or 1-6") from None
    if not 0 < len(found) <= 64:
        raise ConfigError(f"{text!r} are {len(found)} values; give 1 to 64")
    return sorted(set(found))


def find_network(name: str) -> Network:
    """A network file, a shipped network, or one of the zoo's shapes."""
    if name.endswith(".qnet"):
        return load_network(Path(name))
    try:
        return load_network(shipped(f"{name}.qnet"))
    except PlumError:
        if name in NAMES:
            return build_network(name)
    raise ConfigError(
        f"no network {name!r}; give a .qnet file, the name of a shipped network, or a shape: "
        f"{', '.join(NAMES)}"
    )


def explore_command(
    board: Annotated[str, typer.Option(help="Board: see `plum boards`.")],
    net: Annotated[
        str, typer.Option(help="Network file (.qnet), shipped network, or shape of `plum bench`.")
    ],
    clusters: Annotated[
        str, typer.Option(metavar="LIST", help="Numbers of clusters, as 1-6 or 1,2,4.")
    ] = "1-6",
    lanes: Annotated[str, typer.Option(metavar="LIST", help="Lanes of a cluster.")] = "32,64",
    act_bits: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Bits of an activation.", show_default="the board's"),
    ] = None,
    act_depth: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Vectors of memory.", show_default="the board's"),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Syntheses at a time.", show_default="one a core")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler that runs them instead.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Synthesise the best points whole.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for explore.json and explore.svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")] = False,
) -> None:
    """Sweep arrays for a board and a network: cycles, resources, best points."""
    target = find_board(board)
    network = find_network(net)
    base = preset(target.array)
    configs = space(
        base,
        clusters=_numbers(clusters),
        lanes=_numbers(lanes),
        act_bits=_numbers(act_bits or str(base.act_bits)),
        act_depth=_numbers(act_depth or str(base.act_depth)),
    )
    with console.Activity() as activity, executor(jobs, dask) as pool:
        activity.step(f"{target.name}: measuring", total=len(configs))
        points = explore(
            target,
            network,
            configs,
            pool,
            exact=exact,
            progress=activity.done,
        )
    report = {
        "board": target.name,
        "part": target.part,
        "network": network.name,
        "clock_mhz": target.clock_hz / 1e6,
        "base": base.name,
        "points": [point.as_dict(target.clock_hz) for point in points],
    }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "explore.json").write_text(json.dumps(report, indent=2) + "\n")
        title = f"{network.name} on {target.title} at {target.clock_hz / 1e6:g} MHz"
        (out / "explore.svg").write_text(plot(points, target.clock_hz, title))
    if as_json:
        console.print_json(report)
        return
    _print(target, network, points)
    if out is not None:
        console.say(f"Wrote {out / 'explore.json'} and {out / 'explore.svg'}.")


def _print(board: Board, network: Network, points: list[Point]) -> None:
    table = Table(
        title=f"{network.name} on {board.title} ({board.part})", box=box.SIMPLE_HEAD, padding=(0, 1)
    )
    heads = ("array", "bits", "depth", "cycles", "images/s", *board.family.units, "full")
    for heading in heads:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    runs = [point for point in points if point.cycles is not None and point.resources is not None]
    for point in sorted(runs, key=lambda point: (point.cycles, point.share)):
        config = point.config
        assert point.cycles is not None
        assert point.resources is not None
        costs: dict[str, Any] = point.resources.as_dict()
        table.add_row(
            f"{config.clusters} x {config.lanes}",
            f"{config.act_bits}",
            f"{config.act_depth}",
            f"{point.cycles:,}",
            f"{board.clock_hz / point.cycles:,.0f}",
            *(f"{value:,g}" for value in costs.values()),
            f"{100 * (point.share or 0):.0f} %",
            "best" if point.best else "" if point.fits else "too big",
            style="bold" if point.best else None if point.fits else "dim",
        )
    console.out.print(table)
    for point in points:
        if point.why:
            config = point.config
            console.say(
                f"{config.clusters} x {config.lanes}, {config.act_bits} bits, depth "
                f"{config.act_depth} does not run: {point.why.partition(';')[0]}"
            )
    console.say(
        f"At {board.clock_hz / 1e6:g} MHz, which is asked for and not measured here; resources by "
        "open synthesis. best: none that fits is both quicker and smaller."
    )
