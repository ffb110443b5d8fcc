"""Icepi Zero 1.3: 50 MHz oscillator, FT231X serial link, LFE5U-25F."""

from plum_hw.boards.board import ECP5, Board
from plum_hw.boards.ulx3s import ULX3S_25F

ICEPI_ZERO = Board(
    name="icepi-zero",
    title="Icepi Zero",
    part="LFE5U-25F-6BG256C",
    family=ECP5,
    platform="amaranth_boards.icepi_zero:IcepiZero1_3Platform",
    array="ecp5-25f",
    oscillator_hz=50_000_000,
    clock_hz=75_000_000,
    soc_clock_hz=40_000_000,
    baud=1_000_000,
    capacity=ULX3S_25F.capacity,
    reset=("button", 0),
    loader="icepi-zero",
)
