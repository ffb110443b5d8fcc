"""`plum flash`: a bitstream into a board, by openFPGALoader."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from plum_hw import console
from plum_hw.boards import Board
from plum_hw.boards import board as find_board
from plum_hw.errors import BuildError
from plum_hw.tools import tool_command

#: Writing the flash memory of a large part takes minutes.
FLASH_SECONDS = 900


def flash(board: Board, bitstream: Path, *, persist: bool = False) -> None:
    """Load a bitstream into the board that is plugged in; with `persist` into its flash memory, so
    that it is there after power-up.

    Raises
    ------
    BuildError : there is no such file, no board, or the loader failed
    ToolMissing : openFPGALoader is not installed
    """
    if not bitstream.is_file():
        raise BuildError(
            f"there is no bitstream {bitstream}; make one with  plum build --board {board.name}  "
            "or name one with --file"
        )
    command = tool_command("openFPGALoader", needed_by="plum flash")
    try:
        run = subprocess.run(
            [*command, "-b", board.loader, *(["-f"] if persist else []), str(bitstream)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=FLASH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(
            f"openFPGALoader took more than {FLASH_SECONDS} s and was stopped"
        ) from None
    if run.returncode:
        raise BuildError(
            f"openFPGALoader could not load {board.title}: {_reason(run.stdout)}; is it plugged "
            "in, and may this user open its USB port?"
        )


def _reason(output: str) -> str:
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    wrong = [line for line in lines if any(word in line.lower() for word in ("error", "fail"))]
    return (wrong or lines or ["it says nothing"])[-1]


def flash_command(
    board: Annotated[str, typer.Option(help="Board to load: see `plum boards`.")],
    file: Annotated[
        Path | None, typer.Option(help="Bitstream.", show_default="build/BOARD/plum.*")
    ] = None,
    persist: Annotated[
        bool, typer.Option("--persist", help="Into the flash memory: it stays after power-off.")
    ] = False,
) -> None:
    """Load a bitstream into a board over USB."""
    target = find_board(board)
    bitstream = file or Path("build") / target.name / f"plum{target.family.suffix}"
    with console.Activity() as activity:
        activity.step(f"{target.name}: loading {bitstream}")
        flash(target, bitstream, persist=persist)
    console.say(f"{target.title} runs {bitstream}.")
