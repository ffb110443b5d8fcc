"""`python -m plum_hw.virtual`: keep a virtual board running."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from plum_hw import console
from plum_hw.boards import board as find_board
from plum_hw.errors import ConfigError
from plum_hw.network import Link, NetworkConfig
from plum_hw.presets import preset
from plum_hw.virtual.board import VirtualBoard

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def serve(
    array: Annotated[
        str | None, typer.Option(help="Array preset.", show_default="tiny, or the board's")
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(help="Simulate this board's top, bit by bit at its pins; slower."),
    ] = None,
    link: Annotated[
        Link, typer.Option(help="With --board: of its pins, the serial port's or the MII's.")
    ] = Link.UART,
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0: any.")] = 0,
    trace: Annotated[Path | None, typer.Option(help="File for waves (FST).")] = None,
) -> None:
    """Run a virtual board until Ctrl-C; the URL that is printed is a device for every command."""
    pins = None if board is None else find_board(board)
    if link is Link.ETHERNET:
        if pins is None:
            raise ConfigError("--link ethernet is of a board's pins: give --board arty too")
        pins = dataclasses.replace(pins, ethernet=NetworkConfig())
    name = array or ("tiny" if pins is None else pins.array)
    with VirtualBoard(
        preset(name),
        pins=pins,
        port=port,
        trace=trace,
        progress=lambda line: console.err.print(line),
    ) as virtual:
        console.out.print(virtual.url if link is Link.UART else virtual.udp_url)
        virtual.wait()


if __name__ == "__main__":
    console.run(app, "plum_hw.virtual")
