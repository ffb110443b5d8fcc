"""1BitSquared iCEBreaker: 12 MHz oscillator, PLL, FTDI serial link."""

from plum_hw.boards.board import ICE40, Board, Capacity

ICEBREAKER = Board(
    name="icebreaker",
    title="1BitSquared iCEBreaker",
    part="iCE40UP5K-SG48",
    family=ICE40,
    platform="amaranth_boards.icebreaker:ICEBreakerPlatform",
    array="icebreaker",
    network="fashion-small",
    oscillator_hz=12_000_000,
    clock_hz=21_000_000,
    # A divisor of the clock, which the FTDI chip makes exactly.
    baud=1_000_000,
    # Ref: Lattice FPGA-DS-02008, product family features.
    capacity=Capacity(lut=5_280, ff=5_280, ram=30, dsp=8),
    reset=("button", 0),
    leds=(("led_g", 0), ("led_r", 0)),
    loader="ice40_generic",
)
