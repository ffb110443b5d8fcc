"""Digilent Arty A7-35T: 100 MHz oscillator, FT2232H serial link."""

from plum_hw.boards.board import XC7, Board, Capacity, MiiPort

ARTY = Board(
    name="arty",
    title="Digilent Arty A7-35T",
    part="xc7a35ticsg324-1L",
    family=XC7,
    platform="amaranth_boards.arty_a7:ArtyA7_35Platform",
    array="arty-a7-35t",
    soc_array="arty-a7-35t-soc",
    oscillator_hz=100_000_000,
    clock_hz=100_000_000,
    baud=1_000_000,
    # Ref: AMD DS180, table for XC7A35T.
    capacity=Capacity(lut=20_800, ff=41_600, ram=50, dsp=90),
    reset=("rst", 0),
    mii=MiiPort(pins="eth_mii", clock="eth_clk25"),
    loader="arty_a7_35t",
)
