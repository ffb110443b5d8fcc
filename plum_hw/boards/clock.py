"""The clock tree of a board: oscillator, PLL where the array has another frequency, reset."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from plum_hw.boards.board import Board
from plum_hw.boards.pll import Ecp5Dividers, GowinDividers, Ice40Dividers, find_dividers


class ClockTree(Elaboratable):
    """Clocks domain `sync`, which the top defines, at the board's `clock_hz` from its oscillator.

    The domain is in reset while the board's button is held and until the PLL has locked; its end
    is synchronous to the clock.

    Parameters
    ----------
    board : Board
    """

    def __init__(self, board: Board) -> None:
        self._board = board

    def elaborate(self, platform: Any) -> Module:
        board = self._board
        m = Module()
        pin = platform.request(platform.default_clk, dir="-")
        clock: Any = Signal()
        locked: Any = Signal()
        if board.clock_hz != board.oscillator_hz and board.family.name == "ice40":
            # The oscillator's pin is the PLL's own.
            m.submodules.pll = _ice40(board, pin.io, clock, locked)
        else:
            m.submodules.oscillator = oscillator = io.Buffer("i", pin)
            if board.clock_hz == board.oscillator_hz:
                clock, locked = oscillator.i, Const(1, 1)
            else:
                m.submodules.pll = _PLLS[board.family.name](board, oscillator.i, clock, locked)
        held: Any = ~locked
        if board.reset is not None:
            pin = platform.request(*board.reset, dir="-")
            m.submodules.button = button = io.Buffer("i", pin)
            held = ~locked | button.i
        m.d.comb += ClockSignal("sync").eq(clock)
        m.submodules.reset = ResetSynchronizer(held, domain="sync")
        return m


def _ecp5(board: Board, reference: Any, clock: Signal, locked: Signal) -> Instance:
    """Ref: Lattice FPGA-TN-02200; the loop filter's attributes are those of Clarity Designer."""
    dividers = find_dividers(Ecp5Dividers, board.oscillator_hz, board.clock_hz)
    feedback = Signal()
    return Instance(
        "EHXPLLL",
        a_FREQUENCY_PIN_CLKI=f"{board.oscillator_hz / 1e6:g}",
        a_FREQUENCY_PIN_CLKOS=f"{board.clock_hz / 1e6:g}",
        a_ICP_CURRENT="12",
        a_LPF_RESISTOR="8",
        p_PLLRST_ENA="DISABLED",
        p_INTFB_WAKE="DISABLED",
        p_STDBY_ENABLE="DISABLED",
        p_DPHASE_SOURCE="DISABLED",
        p_FEEDBK_PATH="CLKOP",
        p_CLKI_DIV=dividers.clki,
        p_CLKFB_DIV=dividers.clkfb,
        p_CLKOP_ENABLE="ENABLED",
        p_CLKOP_DIV=dividers.clkop,
        p_CLKOP_CPHASE=dividers.clkop - 1,
        p_CLKOP_FPHASE=0,
        p_CLKOS_ENABLE="ENABLED",
        p_CLKOS_DIV=dividers.clkos,
        p_CLKOS_CPHASE=dividers.clkos - 1,
        p_CLKOS_FPHASE=0,
        p_OUTDIVIDER_MUXA="DIVA",
        p_OUTDIVIDER_MUXB="DIVB",
        i_CLKI=reference,
        i_CLKFB=feedback,
        i_RST=Const(0, 1),
        i_STDBY=Const(0, 1),
        i_PHASESEL0=Const(0, 1),
        i_PHASESEL1=Const(0, 1),
        i_PHASEDIR=Const(0, 1),
        i_PHASESTEP=Const(0, 1),
        i_PHASELOADREG=Const(0, 1),
        i_PLLWAKESYNC=Const(0, 1),
        i_ENCLKOP=Const(0, 1),
        i_ENCLKOS=Const(0, 1),
        o_CLKOP=feedback,
        o_CLKOS=clock,
        o_LOCK=locked,
    )


def _ice40(board: Board, reference: Any, clock: Signal, locked: Signal) -> Instance:
    """The PLL that has a pin of its own. Ref: Lattice FPGA-TN-02052."""
    dividers = find_dividers(Ice40Dividers, board.oscillator_hz, board.clock_hz)
    return Instance(
        "SB_PLL40_PAD",
        p_FEEDBACK_PATH="SIMPLE",
        p_PLLOUT_SELECT="GENCLK",
        p_DIVR=Const(dividers.divr, 4),
        p_DIVF=Const(dividers.divf, 7),
        p_DIVQ=Const(dividers.divq, 3),
        p_FILTER_RANGE=Const(dividers.filter_range(board.oscillator_hz), 3),
        i_PACKAGEPIN=reference,
        i_RESETB=Const(1, 1),
        i_BYPASS=Const(0, 1),
        o_PLLOUTGLOBAL=clock,
        o_LOCK=locked,
    )


def _gowin(board: Board, reference: Any, clock: Signal, locked: Signal) -> Instance:
    """Ref: Gowin UG286. SEL values are one less than the divider; DEVICE names the die."""
    dividers = find_dividers(GowinDividers, board.oscillator_hz, board.clock_hz)
    return Instance(
        "rPLL",
        p_DEVICE=board.device,
        p_FCLKIN=f"{board.oscillator_hz / 1e6:g}",
        p_IDIV_SEL=dividers.idiv - 1,
        p_FBDIV_SEL=dividers.fbdiv - 1,
        p_ODIV_SEL=dividers.odiv,
        p_DYN_IDIV_SEL="false",
        p_DYN_FBDIV_SEL="false",
        p_DYN_ODIV_SEL="false",
        p_PSDA_SEL="0000",
        p_DUTYDA_SEL="1000",
        p_DYN_DA_EN="false",
        p_CLKOUT_FT_DIR=Const(1, 1),
        p_CLKOUTP_FT_DIR=Const(1, 1),
        p_CLKOUT_DLY_STEP=0,
        p_CLKOUTP_DLY_STEP=0,
        p_CLKFB_SEL="internal",
        p_CLKOUT_BYPASS="false",
        p_CLKOUTP_BYPASS="false",
        p_CLKOUTD_BYPASS="false",
        p_CLKOUTD_SRC="CLKOUT",
        p_CLKOUTD3_SRC="CLKOUT",
        p_DYN_SDIV_SEL=2,
        i_CLKIN=reference,
        i_CLKFB=Const(0, 1),
        i_RESET=Const(0, 1),
        i_RESET_P=Const(0, 1),
        i_FBDSEL=Const(0, 6),
        i_IDSEL=Const(0, 6),
        i_ODSEL=Const(0, 6),
        i_PSDA=Const(0, 4),
        i_DUTYDA=Const(0, 4),
        i_FDLY=Const(0, 4),
        o_CLKOUT=clock,
        o_LOCK=locked,
    )


_PLLS = {"ecp5": _ecp5, "gowin": _gowin}
