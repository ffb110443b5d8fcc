"""The files of a board's project: design, constraints, build script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plum_hw.boards.board import XC7, Board
from plum_hw.boards.soc_top import SocTop
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
    top = top or BoardTop(board, config)
    plan = platform.build(top, name=name, do_build=False, debug_verilog=debug)
    files = {
        file: text.decode() if isinstance(text, bytes) else text
        for file, text in plan.files.items()
        # Windows scripts, which run other tools than ours, and a second text of the design.
        if not file.endswith(".bat") and (debug or not file.endswith(".debug.v"))
    }
    if board.family is XC7 and isinstance(top, BoardTop | SocTop):
        files[f"{name}.xdc"] += false_paths(*top.asynchronous_ports())
    if board.family is XC7 and isinstance(top, SocTop):
        files[f"{name}.xdc"] += longest_delays(*top.delayed_ports())
    if board.family is XC7 and isinstance(top, BoardTop):
        files[f"{name}.xdc"] += top.constraints()
    return files


def false_paths(inputs: list[str], outputs: list[str]) -> str:
    """XDC for ports that have no timing to any clock, so that no path is left unconstrained."""
    lines = [f"set_false_path -from [get_ports {{{port}}}]" for port in inputs]
    lines += [f"set_false_path -to [get_ports {{{port}}}]" for port in outputs]
    return "\n".join(["", *lines, ""])


def longest_delays(inputs: dict[str, float], outputs: dict[str, float]) -> str:
    """XDC for ports whose timing the protocol on them gives: nanoseconds between port and register.

    Clocks are left out of the sum: a port's registers all have the same.
    """
    bound = "set_max_delay -datapath_only"
    lines = [f"{bound} -from [get_ports {{{port}}}] {ns:g}" for port, ns in inputs.items()]
    lines += [
        f"{bound} -from [all_clocks] -to [get_ports {{{port}}}] {ns:g}"
        for port, ns in outputs.items()
    ]
    return "\n".join([*lines, ""])


def design_verilog(files: Mapping[str, str], name: str) -> str:
    """The whole design as Verilog, of a project's files: for a family whose tools do not read
    Verilog, those with ``debug``.
    """
    tops = [files[file] for file in (f"{name}.v", f"{name}.debug.v") if file in files]
    others = [text for file, text in files.items() if file.endswith(".v") and text not in tops]
    return "\n".join([tops[0], *others])
