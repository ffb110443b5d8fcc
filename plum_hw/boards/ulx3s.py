"""Radiona ULX3S: 25 MHz oscillator, FT231X serial link; with an LFE5U-85F or -25F."""

from dataclasses import replace

from plum_hw.boards.board import ECP5, Board, Capacity

ULX3S_85F = Board(
    name="ulx3s-85f",
    title="Radiona ULX3S 85F",
    part="LFE5U-85F-6BG381C",
    family=ECP5,
    platform="amaranth_boards.ulx3s:ULX3S_85F_Platform",
    array="ulx3s-85f",
    soc_array="ulx3s-85f-soc",
    oscillator_hz=25_000_000,
    clock_hz=112_500_000,
    soc_clock_hz=40_000_000,
    baud=1_000_000,
    # Ref: Lattice FPGA-DS-02012, family table.
    capacity=Capacity(lut=83_640, ff=83_640, ram=208, dsp=156),
    reset=("button_pwr", 0),
    # nextpnr's placers pull many clusters apart (docs/timing.md).
    anneals=True,
    place_options=("--router", "router1"),
    loader="ulx3s",
)

ULX3S_25F = replace(
    ULX3S_85F,
    name="ulx3s-25f",
    title="Radiona ULX3S 25F",
    part="LFE5U-25F-6BG381C",
    platform="amaranth_boards.ulx3s:ULX3S_25F_Platform",
    array="ecp5-25f",
    soc_array="",
    clock_hz=75_000_000,
    # Ref: as above. 28 blocks of two 18 x 18 multipliers.
    capacity=Capacity(lut=24_288, ff=24_288, ram=56, dsp=28),
    anneals=False,
    place_options=(),
)
