"""Virtual board: the gateware, compiled by Verilator, behind a socket in place of a line."""

from plum_hw.virtual.board import VirtualBoard
from plum_hw.virtual.build import build_board, emit_verilog
from plum_hw.virtual.transport import open_virtual

__all__ = ["VirtualBoard", "build_board", "emit_verilog", "open_virtual"]
