"""Digilent Arty A7-100T: the larger part on the same board."""

from plum_hw.boards.board import XC7, Board, Capacity, MiiPort

ARTY_A7_100 = Board(
    name="arty-a7-100",
    title="Digilent Arty A7-100T",
    part="xc7a100ticsg324-1L",
    family=XC7,
    platform="amaranth_boards.arty_a7:ArtyA7_100Platform",
    array="arty-a7-100t",
    soc_array="arty-a7-100t-soc",
    oscillator_hz=100_000_000,
    clock_hz=100_000_000,
    baud=1_000_000,
    # Ref: AMD DS180, table for XC7A100T.
    capacity=Capacity(lut=63_400, ff=126_800, ram=135, dsp=240),
    reset=("rst", 0),
    mii=MiiPort(pins="eth_mii", clock="eth_clk25"),
    loader="arty_a7_100t",
)
