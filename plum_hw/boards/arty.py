"""Digilent Arty A7-35T: 100 MHz oscillator, FT2232H serial link."""

from plum_hw.boards.board import Board, Capacity

ARTY = Board(
    name="arty",
    title="Digilent Arty A7-35T",
    part="xc7a35ticsg324-1L",
    platform="amaranth_boards.arty_a7:ArtyA7_35Platform",
    array="arty-a7-35t",
    clock_hz=100_000_000,
    baud=1_000_000,
    # Ref: AMD DS180, table for XC7A35T.
    capacity=Capacity(lut=20_800, ff=41_600, ram=50, dsp=90),
)
