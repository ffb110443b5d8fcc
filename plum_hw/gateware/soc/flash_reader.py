"""The SPI flash on the bus."""

from typing import Any

from amaranth.hdl import C, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.gateware.soc.bus import BusPort
from plum_hw.gateware.soc.register_block import RegisterBlock, field_bits
from plum_hw.registers import FLASH, SPI

SpiPins = wiring.Signature({"clk": Out(1), "cs_n": Out(1, init=1), "copi": Out(1), "cipo": In(1)})

#: Fast read: three bytes of address, one byte of waiting, then data for as long as one likes.
#: Ref: JEDEC JESD216; Winbond W25Q128JV data sheet, "Fast Read (0Bh)".
FAST_READ = 0x0B
_COMMAND_BITS = 8 + 24 + 8
#: Chip select stays high for as long between two commands: more than flashes ask for.
_GAP_NANOSECONDS = 100


class FlashReader(wiring.Component):
    """Reads the flash as memory, and lets software talk to it byte by byte.

    A read that follows the one before by a word goes on with the same command; the flash is read a
    word ahead of the bus, so that a word takes 64 half periods or the time until it is asked for,
    whichever is longer. The same word again takes two cycles. Any other read takes 80 half periods
    for its command before.

    SPI mode 0; what the flash sends is taken when the clock falls, which gives it a whole period.

    Parameters
    ----------
    clock_hz : of the clock
    half_period : clock cycles of half a period of the flash's clock

    Members
    -------
    window : reads of the flash
    bus : registers for access by software
    pins : of the flash
    """

    def __init__(self, clock_hz: int, half_period: int = 1) -> None:
        self._half_period = half_period
        self._gap = clock_hz * _GAP_NANOSECONDS // 1_000_000_000 + 1
        super().__init__({"window": In(BusPort), "bus": In(BusPort), "pins": Out(SpiPins)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.registers = registers = RegisterBlock(SPI)
        connect(m, flipped(self.bus), registers.bus)
        window, pins = self.window, self.pins

        # One bit after the other, high bit first.
        sending = Signal(_COMMAND_BITS)
        received = Signal(32)
        left = Signal(range(_COMMAND_BITS + 1))
        tick = Signal(range(self._half_period))
        m.d.comb += pins.copi.eq(sending[-1])
        with m.If(left != 0):
            with m.If(tick != 0):
                m.d.sync += tick.eq(tick - 1)
            with m.Else():
                m.d.sync += [tick.eq(self._half_period - 1), pins.clk.eq(~pins.clk)]
                with m.If(pins.clk):
                    m.d.sync += [
                        received.eq(Cat(pins.cipo, received)),
                        sending.eq(sending << 1),
                        left.eq(left - 1),
                    ]

        place = Signal((FLASH.bytes - 1).bit_length() - 2)  # of the word that comes next
        wanted = window.address[2 : 2 + len(place)]
        asked = window.valid & ~window.ready & ~window.strobes.any()
        gap = Signal(range(self._gap + 1))
        manual = registers.control[SPI.register("CONTROL").field("SELECT").low]
        word = Cat(received.word_select(3 - i, 8) for i in range(4))

        # The word that was read last serves reads of its other bytes.
        last = Signal(32)
        last_place = Signal.like(place)
        last_valid = Signal()
        again = last_valid & (wanted == last_place)
        m.d.sync += [window.ready.eq(0), window.read.eq(0)]
        # Writes do nothing, and reads of a flash that software has are 0.
        with m.If(window.valid & ~window.ready & (window.strobes.any() | manual)):
            m.d.sync += window.ready.eq(1)
        with m.Elif(asked & again):
            m.d.sync += [window.ready.eq(1), window.read.eq(last)]
        with m.If(manual):
            m.d.sync += last_valid.eq(0)

        # A byte of software's waits until the chip is selected.
        byte = Signal(8)
        waiting = Signal()
        with m.If(registers.data_written):
            m.d.sync += [byte.eq(registers.written), waiting.eq(manual)]
        m.d.comb += [
            registers.data.eq(received[:8]),
            registers.status.eq(field_bits(SPI.register("STATUS"), busy=waiting | (left != 0))),
        ]

        with m.FSM():
            with m.State("CLOSED"):
                m.d.sync += [pins.cs_n.eq(1), pins.clk.eq(0), left.eq(0)]
                with m.If(gap != 0):
                    m.d.sync += gap.eq(gap - 1)
                with m.Elif(manual):
                    m.d.sync += pins.cs_n.eq(0)
                    m.next = "MANUAL"
                with m.Elif(asked & ~again):
                    m.d.sync += [
                        pins.cs_n.eq(0),
                        place.eq(wanted),
                        sending.eq(Cat(C(0, 8), C(0, 2), wanted, C(FAST_READ, 8))),
                        left.eq(_COMMAND_BITS),
                        tick.eq(self._half_period - 1),
                    ]
                    m.next = "COMMAND"

            with m.State("COMMAND"), m.If(left == 0):
                m.d.sync += left.eq(32)
                m.next = "DATA"

            with m.State("DATA"):
                m.d.sync += gap.eq(self._gap)
                with m.If(manual | (asked & ~again & (wanted != place))):
                    m.next = "CLOSED"
                with m.Elif(asked & ~again & (left == 0)):
                    m.d.sync += [
                        window.ready.eq(1),
                        window.read.eq(word),
                        last.eq(word),
                        last_place.eq(place),
                        last_valid.eq(1),
                        place.eq(place + 1),
                        left.eq(32),
                    ]

            with m.State("MANUAL"):
                m.d.sync += gap.eq(self._gap)
                with m.If(~manual):
                    m.next = "CLOSED"
                with m.Elif(waiting & (left == 0)):
                    m.d.sync += [
                        waiting.eq(0),
                        sending.eq(Cat(C(0, _COMMAND_BITS - 8), byte)),
                        left.eq(8),
                        tick.eq(self._half_period - 1),
                    ]
        return m
