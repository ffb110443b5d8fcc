"""The files of a board's project: design, constraints, build script."""

from __future__ import annotations

from typing import Any

from plum_hw.boards.board import Board
from plum_hw.boards.top import BoardTop
from plum_hw.config import ArrayConfig


def make_project(
    board: Board,
    config: ArrayConfig,
    name: str,
    top: Any = None,
    *,
    debug: bool = False,
) -> dict[str, str]:
    """Texts by file name.

    top : instead of the accelerator's; an Elaboratable that requests pins
    debug : with NAME.debug.v, the whole design as Verilog, for every family
    """
    platform = board.make_platform()
    plan = platform.build(
        top or BoardTop(board, config), name=name, do_build=False, debug_verilog=debug
    )
    return {
        file: text.decode() if isinstance(text, bytes) else text
        for file, text in plan.files.items()
        # Windows scripts, which run other tools than ours, and a second text of the design.
        if not file.endswith(".bat") and (debug or not file.endswith(".debug.v"))
    }


def design_verilog(board: Board, config: ArrayConfig, name: str) -> str:
    """The whole design as Verilog, for every family."""
    files = make_project(board, config, name, debug=True)
    top = files.get(f"{name}.v") or files[f"{name}.debug.v"]
    others = [text for file, text in files.items() if file.endswith(".v")]
    return "\n".join([top, *(text for text in others if text not in _tops(files, name))])


def _tops(files: dict[str, str], name: str) -> list[str]:
    return [files[file] for file in (f"{name}.v", f"{name}.debug.v") if file in files]
