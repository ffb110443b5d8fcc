"""The files of a board's project: design, constraints, build script."""

from __future__ import annotations

from typing import Any

from plum_hw.boards.board import Board
from plum_hw.boards.top import BoardTop
from plum_hw.config import ArrayConfig


def make_project(board: Board, config: ArrayConfig, name: str, top: Any = None) -> dict[str, str]:
    """Texts by file name.

    top : instead of the accelerator's; an Elaboratable that requests pins
    """
    platform = board.make_platform()
    plan = platform.build(top or BoardTop(board, config), name=name, do_build=False)
    return {
        file: text.decode() if isinstance(text, bytes) else text
        for file, text in plan.files.items()
        # Windows scripts, which run other tools than ours, and a second text of the design.
        if not file.endswith((".bat", ".debug.v"))
    }
