"""Sipeed Tang Nano 9K and Tang Primer 20K: 27 MHz oscillator, BL702 serial link."""

from plum_hw.boards.board import GOWIN, Board, Capacity

TANG_NANO_9K = Board(
    name="tang-nano-9k",
    title="Sipeed Tang Nano 9K",
    part="GW1NR-LV9QN88PC6/I5",
    device="GW1N-9C",
    family=GOWIN,
    platform="amaranth_boards.tang_nano_9k:TangNano9kPlatform",
    array="tang-nano-9k",
    network="fashion-small",
    oscillator_hz=27_000_000,
    clock_hz=72_000_000,
    baud=1_000_000,
    # Ref: Gowin DS117, product resources of the GW1NR-9.
    capacity=Capacity(lut=8_640, ff=6_480, ram=26, dsp=20),
    reset=("button", 0),
    # LUTs wider than four inputs would be made of multiplexers and more LUTs.
    synthesis_options=("-nowidelut",),
    pack_options=("--sspi_as_gpio", "--mspi_as_gpio"),
    loader="tangnano9k",
)

TANG_PRIMER_20K = Board(
    name="tang-primer-20k",
    title="Sipeed Tang Primer 20K (dock)",
    part="GW2A-LV18PG256C8/I7",
    device="GW2A-18C",
    family=GOWIN,
    platform="amaranth_boards.tang_primer_20k:TangPrimer20kDockPlatform",
    array="tang-primer-20k",
    oscillator_hz=27_000_000,
    clock_hz=72_000_000,
    baud=1_000_000,
    # Ref: Gowin DS102, product resources of the GW2A-18.
    capacity=Capacity(lut=20_736, ff=15_552, ram=46, dsp=48),
    reset=("button", 0),
    synthesis_options=("-nowidelut",),
    pack_options=("--mspi_as_gpio", "--sspi_as_gpio", "--ready_as_gpio", "--done_as_gpio"),
    loader="tangprimer20k",
)
