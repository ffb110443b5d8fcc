"""Registers of the accelerator and of the controller beside it: the one description of them.

The gateware decodes what stands here, and `plum_hw.soc.export` writes the C header, the Python
accessors and the documentation's table from it. Offsets are in bytes; every register is a 32-bit
word.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from plum_hw.layouts import Space

#: Of the register map: raised with every change that a driver must know of.
MAP_VERSION = 1
#: What `ACCELERATOR.ID` holds: "PLUM" in ASCII, little endian.
ID = int.from_bytes(b"PLUM", "little")


class Access(enum.Enum):
    """Who changes a register, and what an access does."""

    READ = "r"  # hardware gives the value
    READ_TAKES = "r!"  # and moves on when it was read
    WRITE = "w"  # a write is a strobe; reads as 0
    BOTH = "rw"  # software's own; reads as written, 0 after reset
    CLEAR = "rc"  # hardware sets bits, software clears those that it writes as 1


@dataclass(frozen=True)
class Field:
    """Bits of a register, from `low` upwards."""

    name: str
    low: int
    bits: int
    text: str

    @property
    def mask(self) -> int:
        return ((1 << self.bits) - 1) << self.low


@dataclass(frozen=True)
class Register:
    """One 32-bit word, at `offset` of its block."""

    name: str
    offset: int
    access: Access
    text: str
    fields: tuple[Field, ...] = ()
    bits: int = 32

    def field(self, name: str) -> Field:
        """The field of that name."""
        return next(field for field in self.fields if field.name == name)


@dataclass(frozen=True)
class Block:
    """Registers that stand together, from address `base` on of the controller's bus."""

    name: str
    base: int
    text: str
    registers: tuple[Register, ...]

    def register(self, name: str) -> Register:
        """The register of that name."""
        return next(register for register in self.registers if register.name == name)


@dataclass(frozen=True)
class Window:
    """A memory on the controller's bus."""

    name: str
    base: int
    bytes: int
    text: str


# ---- accelerator: what a driver on any processor needs -------------------------------------------

ACCELERATOR = Block(
    "ACCELERATOR",
    0x4000_0000,
    "The array. Its memories follow at `MEMORIES`.",
    (
        Register("ID", 0x00, Access.READ, 'The letters "PLUM".'),
        Register(
            "VERSION",
            0x04,
            Access.READ,
            "What this is.",
            (
                Field("MAP", 0, 8, "version of this register map"),
                Field("CLUSTERS", 8, 8, "clusters of the array"),
            ),
        ),
        Register(
            "STATUS",
            0x08,
            Access.CLEAR,
            "How it goes. Bits that were written as 1 are cleared, but for BUSY and ERROR.",
            (
                Field("BUSY", 0, 1, "a run is in progress"),
                Field("DONE", 1, 1, "a run has ended, also by ABORT; START clears it"),
                Field("ERROR", 2, 1, "an emission met another: the program is wrong; until START"),
                Field("DENIED", 3, 1, "something was asked for during a run, or START of no layer"),
            ),
            bits=4,
        ),
        Register(
            "CONTROL",
            0x0C,
            Access.WRITE,
            "Commands.",
            (
                Field("START", 0, 1, "run LAYERS layers from PROGRAM on"),
                Field("ABORT", 1, 1, "stop at once; memories stay as they are"),
            ),
            bits=2,
        ),
        Register("PROGRAM", 0x10, Access.BOTH, "Word of code memory: the first layer.", bits=16),
        Register("LAYERS", 0x14, Access.BOTH, "Layers of a run, at least one.", bits=16),
        Register(
            "TARGETS",
            0x18,
            Access.BOTH,
            "Bit c: accesses to memories are for cluster c. Writes may be for many, reads for one.",
            bits=16,
        ),
        Register("INTERRUPT", 0x1C, Access.BOTH, "1: interrupt while STATUS.DONE is set.", bits=1),
        Register("CYCLES", 0x20, Access.READ, "Clock cycles of the present or last run."),
        Register("RESULTS", 0x24, Access.READ, "Results of the present or last run.", bits=16),
        Register("CODE_WORDS", 0x30, Access.READ, "Words of a code memory."),
        Register("TABLE_WORDS", 0x34, Access.READ, "Words of a table memory."),
        Register("ACTIVATION_WORDS", 0x38, Access.READ, "8-byte words of an activation memory."),
        Register("RESULT_WORDS", 0x3C, Access.READ, "Words of the result memory."),
        Register("COUNTER_WORDS", 0x40, Access.READ, "Words of the counters."),
        Register("LAYER_WORDS", 0x44, Access.READ, "Words of a layer's descriptor."),
    ),
)

#: Memories begin here in the accelerator's block; each `Space` has `WINDOW_BYTES` bytes.
MEMORIES = 0x0040_0000
WINDOW_BYTES = 0x0008_0000
#: Memories whose number of words is a register, NAME_WORDS.
SIZED_SPACES = (Space.CODE, Space.TABLE, Space.ACTIVATION, Space.RESULT, Space.COUNTER)
#: Bytes of the whole block, registers and memories.
ACCELERATOR_BYTES = 0x0080_0000


def memory_offset(space: Space) -> int:
    """Where a space begins in the accelerator's block.

    Words of ACTIVATION and IDENTITY have 8 bytes, the low half first: a write takes effect with the
    high half, which must follow; a read of the low half keeps the high one for the read that
    follows. IDENTITY can be read during a run too.
    """
    return MEMORIES + int(space) * WINDOW_BYTES


# ---- controller ----------------------------------------------------------------------------------

SYSTEM = Block(
    "SYSTEM",
    0x2000_0000,
    "What this controller is, its lights and buttons.",
    (
        Register("CLOCK", 0x00, Access.READ, "Clock cycles a second."),
        Register("FLASH_BASE", 0x04, Access.READ, "Byte of the flash where the slots begin."),
        Register("SLOT_BYTES", 0x08, Access.READ, "Bytes of each of the two slots."),
        Register("LEDS", 0x0C, Access.BOTH, "Bit n: LED n is lit.", bits=8),
        Register("BUTTONS", 0x10, Access.READ, "Bit n: button n is pressed.", bits=8),
        Register(
            "INTERRUPTS",
            0x14,
            Access.BOTH,
            "What ends `waitirq`.",
            (
                Field("DONE", 0, 1, "the accelerator's interrupt"),
                Field("ALARM", 1, 1, "TIMER.ALARM has rung"),
                Field("RECEIVED", 2, 1, "the serial port has a byte"),
                Field("BUTTON", 3, 1, "a button is pressed"),
            ),
            bits=4,
        ),
        Register(
            "FAULT",
            0x18,
            Access.CLEAR,
            "Accesses that went wrong.",
            (Field("UNMAPPED", 0, 1, "an address where nothing is was read (0) or written"),),
            bits=1,
        ),
        Register("RAM_BYTES", 0x1C, Access.READ, "Bytes of the RAM."),
    ),
)

SERIAL = Block(
    "SERIAL",
    0x2000_0100,
    "Serial port, 8N1, with a queue each way.",
    (
        Register(
            "STATUS",
            0x00,
            Access.CLEAR,
            "Both queues. LOST is cleared by writing 1.",
            (
                Field("READABLE", 0, 1, "DATA has a byte"),
                Field("WRITABLE", 1, 1, "DATA takes a byte"),
                Field("LOST", 2, 1, "bytes came and the queue was full"),
                Field("IDLE", 3, 1, "everything was sent"),
            ),
            bits=4,
        ),
        Register("DATA", 0x04, Access.READ_TAKES, "Next byte received; a write sends.", bits=8),
    ),
)

TIMER = Block(
    "TIMER",
    0x2000_0200,
    "Counts clock cycles.",
    (
        Register("LOW", 0x00, Access.READ_TAKES, "Cycles since reset; a read keeps HIGH."),
        Register("HIGH", 0x04, Access.READ, "Upper half, as of the last read of LOW."),
        Register(
            "ALARM",
            0x08,
            Access.WRITE,
            "Ring in so many cycles; 0: never. A write ends the ringing.",
        ),
        Register(
            "STATUS", 0x0C, Access.READ, "The alarm.", (Field("RINGS", 0, 1, "it rings"),), bits=1
        ),
    ),
)

SPI = Block(
    "SPI",
    0x2000_0300,
    "The flash, byte by byte: for all but reading, which the window does.",
    (
        Register(
            "CONTROL",
            0x00,
            Access.BOTH,
            "Manual access.",
            (Field("SELECT", 0, 1, "chip select is low; the window reads as 0 meanwhile"),),
            bits=1,
        ),
        Register(
            "STATUS",
            0x04,
            Access.READ,
            "Transfer.",
            (Field("BUSY", 0, 1, "a byte is on its way"),),
            bits=1,
        ),
        Register("DATA", 0x08, Access.READ_TAKES, "Byte that came; a write sends one.", bits=8),
    ),
)

CHECKSUM = Block(
    "CHECKSUM",
    0x2000_0400,
    "CRC-32 (IEEE 802.3, as zlib's) of words, low byte first.",
    (
        Register("VALUE", 0x00, Access.READ, "CRC-32 of all words since RESTART."),
        Register("DATA", 0x04, Access.WRITE, "The next word."),
        Register("RESTART", 0x08, Access.WRITE, "Begin anew.", bits=1),
    ),
)

#: Every block of the controller's bus.
BLOCKS = (ACCELERATOR, SYSTEM, SERIAL, TIMER, SPI, CHECKSUM)

ROM = Window("ROM", 0x0000_0000, 0x0001_0000, "Firmware; the processor starts at 0.")
RAM = Window("RAM", 0x1000_0000, 0x0001_0000, "As much as `SYSTEM.RAM_BYTES`.")
FLASH = Window("FLASH", 0x3000_0000, 0x0100_0000, "The flash's first 16 MiB, read only.")
WINDOWS = (ROM, RAM, FLASH)

#: Bit of the processor's interrupt inputs for the first of `SYSTEM.INTERRUPTS`; those below are
#: the processor's own. Ref: PicoRV32's README, "Custom Instructions for IRQ Handling".
FIRST_INTERRUPT = 3
