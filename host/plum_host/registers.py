"""Registers by name, over what reads and writes words: `/dev/mem`, a debugger, a bench.

Written by python -m plum_hw.soc.export from plum_hw/registers.py; do not edit.
"""

from __future__ import annotations

from typing import Protocol

MAP_VERSION = 1
ID = 0x4D554C50
#: Memories, by their offset from the accelerator's base.
MEMORY = {
    "CODE": 0x400000,
    "TABLE": 0x480000,
    "ACTIVATION": 0x500000,
    "RESULT": 0x580000,
    "COUNTER": 0x600000,
    "IDENTITY": 0x780000,
}


class Bus(Protocol):
    """Access to 32-bit words."""

    def read(self, address: int) -> int:
        """The word at a byte address."""

    def write(self, address: int, value: int) -> None:
        """Write the word at a byte address."""


class Accelerator:
    """The array. Its memories follow at `MEMORIES`.

    *Parameters*: ``bus``, what reads and writes; ``base``, the block's address on it.
    """

    def __init__(self, bus: Bus, base: int = 0x40000000) -> None:
        self._bus = bus
        self._base = base

    @property
    def id(self) -> int:
        """The letters "PLUM"."""
        return self._bus.read(self._base + 0x00)

    @property
    def version(self) -> int:
        """What this is."""
        return self._bus.read(self._base + 0x04)

    @property
    def version_map(self) -> int:
        """Version of this register map."""
        return self.version >> 0 & 0xFF

    @property
    def version_clusters(self) -> int:
        """Clusters of the array."""
        return self.version >> 8 & 0xFF

    @property
    def status(self) -> int:
        """How it goes. Bits that were written as 1 are cleared, but for BUSY and ERROR."""
        return self._bus.read(self._base + 0x08)

    @status.setter
    def status(self, value: int) -> None:
        self._bus.write(self._base + 0x08, value)

    @property
    def status_busy(self) -> int:
        """A run is in progress."""
        return self.status >> 0 & 0x1

    @property
    def status_done(self) -> int:
        """A run has ended, also by ABORT; START clears it."""
        return self.status >> 1 & 0x1

    @property
    def status_error(self) -> int:
        """An emission met another: the program is wrong; until START."""
        return self.status >> 2 & 0x1

    @property
    def status_denied(self) -> int:
        """Something was asked for during a run, or START of no layer."""
        return self.status >> 3 & 0x1

    def set_control(self, value: int) -> None:
        """Commands."""
        self._bus.write(self._base + 0x0C, value)

    @property
    def program(self) -> int:
        """Word of code memory: the first layer."""
        return self._bus.read(self._base + 0x10)

    @program.setter
    def program(self, value: int) -> None:
        self._bus.write(self._base + 0x10, value)

    @property
    def layers(self) -> int:
        """Layers of a run, at least one."""
        return self._bus.read(self._base + 0x14)

    @layers.setter
    def layers(self, value: int) -> None:
        self._bus.write(self._base + 0x14, value)

    @property
    def targets(self) -> int:
        """Bit c: accesses to memories are for cluster c. Writes may be for many, reads for one."""
        return self._bus.read(self._base + 0x18)

    @targets.setter
    def targets(self, value: int) -> None:
        self._bus.write(self._base + 0x18, value)

    @property
    def interrupt(self) -> int:
        """1: interrupt while STATUS.DONE is set."""
        return self._bus.read(self._base + 0x1C)

    @interrupt.setter
    def interrupt(self, value: int) -> None:
        self._bus.write(self._base + 0x1C, value)

    @property
    def cycles(self) -> int:
        """Clock cycles of the present or last run."""
        return self._bus.read(self._base + 0x20)

    @property
    def results(self) -> int:
        """Results of the present or last run."""
        return self._bus.read(self._base + 0x24)

    @property
    def code_words(self) -> int:
        """Words of a code memory."""
        return self._bus.read(self._base + 0x30)

    @property
    def table_words(self) -> int:
        """Words of a table memory."""
        return self._bus.read(self._base + 0x34)

    @property
    def activation_words(self) -> int:
        """8-byte words of an activation memory."""
        return self._bus.read(self._base + 0x38)

    @property
    def result_words(self) -> int:
        """Words of the result memory."""
        return self._bus.read(self._base + 0x3C)

    @property
    def counter_words(self) -> int:
        """Words of the counters."""
        return self._bus.read(self._base + 0x40)

    @property
    def layer_words(self) -> int:
        """Words of a layer's descriptor."""
        return self._bus.read(self._base + 0x44)


class System:
    """What this controller is, its lights and buttons.

    *Parameters*: ``bus``, what reads and writes; ``base``, the block's address on it.
    """

    def __init__(self, bus: Bus, base: int = 0x20000000) -> None:
        self._bus = bus
        self._base = base

    @property
    def clock(self) -> int:
        """Clock cycles a second."""
        return self._bus.read(self._base + 0x00)

    @property
    def flash_base(self) -> int:
        """Byte of the flash where the slots begin."""
        return self._bus.read(self._base + 0x04)

    @property
    def slot_bytes(self) -> int:
        """Bytes of each of the two slots."""
        return self._bus.read(self._base + 0x08)

    @property
    def leds(self) -> int:
        """Bit n: LED n is lit."""
        return self._bus.read(self._base + 0x0C)

    @leds.setter
    def leds(self, value: int) -> None:
        self._bus.write(self._base + 0x0C, value)

    @property
    def buttons(self) -> int:
        """Bit n: button n is pressed."""
        return self._bus.read(self._base + 0x10)

    @property
    def interrupts(self) -> int:
        """What ends `waitirq`."""
        return self._bus.read(self._base + 0x14)

    @interrupts.setter
    def interrupts(self, value: int) -> None:
        self._bus.write(self._base + 0x14, value)

    @property
    def interrupts_done(self) -> int:
        """The accelerator's interrupt."""
        return self.interrupts >> 0 & 0x1

    @property
    def interrupts_alarm(self) -> int:
        """TIMER.ALARM has rung."""
        return self.interrupts >> 1 & 0x1

    @property
    def interrupts_received(self) -> int:
        """The serial port has a byte."""
        return self.interrupts >> 2 & 0x1

    @property
    def interrupts_button(self) -> int:
        """A button is pressed."""
        return self.interrupts >> 3 & 0x1

    @property
    def fault(self) -> int:
        """Accesses that went wrong."""
        return self._bus.read(self._base + 0x18)

    @fault.setter
    def fault(self, value: int) -> None:
        self._bus.write(self._base + 0x18, value)

    @property
    def fault_unmapped(self) -> int:
        """An address where nothing is was read (0) or written."""
        return self.fault >> 0 & 0x1

    @property
    def ram_bytes(self) -> int:
        """Bytes of the RAM."""
        return self._bus.read(self._base + 0x1C)


class Serial:
    """Serial port, 8N1, with a queue each way.

    *Parameters*: ``bus``, what reads and writes; ``base``, the block's address on it.
    """

    def __init__(self, bus: Bus, base: int = 0x20000100) -> None:
        self._bus = bus
        self._base = base

    @property
    def status(self) -> int:
        """Both queues. LOST is cleared by writing 1."""
        return self._bus.read(self._base + 0x00)

    @status.setter
    def status(self, value: int) -> None:
        self._bus.write(self._base + 0x00, value)

    @property
    def status_readable(self) -> int:
        """DATA has a byte."""
        return self.status >> 0 & 0x1

    @property
    def status_writable(self) -> int:
        """DATA takes a byte."""
        return self.status >> 1 & 0x1

    @property
    def status_lost(self) -> int:
        """Bytes came and the queue was full."""
        return self.status >> 2 & 0x1

    @property
    def status_idle(self) -> int:
        """Everything was sent."""
        return self.status >> 3 & 0x1

    @property
    def data(self) -> int:
        """Next byte received; a write sends."""
        return self._bus.read(self._base + 0x04)

    @data.setter
    def data(self, value: int) -> None:
        self._bus.write(self._base + 0x04, value)


class Timer:
    """Counts clock cycles.

    *Parameters*: ``bus``, what reads and writes; ``base``, the block's address on it.
    """

    def __init__(self, bus: Bus, base: int = 0x20000200) -> None:
        self._bus = bus
        self._base = base

    @property
    def low(self) -> int:
        """Cycles since reset; a read keeps HIGH."""
        return self._bus.read(self._base + 0x00)

    @low.setter
    def low(self, value: int) -> None:
        self._bus.write(self._base + 0x00, value)

    @property
    def high(self) -> int:
        """Upper half, as of the last read of LOW."""
        return self._bus.read(self._base + 0x04)

    def set_alarm(self, value: int) -> None:
        """Ring in so many cycles; 0: never. A write ends the ringing."""
        self._bus.write(self._base + 0x08, value)

    @property
    def status(self) -> int:
        """The alarm."""
        return self._bus.read(self._base + 0x0C)

    @property
    def status_rings(self) -> int:
        """It rings."""
        return self.status >> 0 & 0x1


class Spi:
    """The flash, byte by byte: for all but reading, which the window does.

    *Parameters*: ``bus``, what reads and writes; ``base``, the block's address on it.
    """

    def __init__(self, bus: Bus, base: int = 0x20000300) -> None:
        self._bus = bus
        self._base = base

    @property
    def control(self) -> int:
        """Manual access."""
        return self._bus.read(self._base + 0x00)

    @control.setter
    def control(self, value: int) -> None:
        self._bus.write(self._base + 0x00, value)

    @property
    def control_select(self) -> int:
        """Chip select is low; the window reads as 0 meanwhile."""
        return self.control >> 0 & 0x1

    @property
    def status(self) -> int:
        """Transfer."""
        return self._bus.read(self._base + 0x04)

    @property
    def status_busy(self) -> int:
        """A byte is on its way."""
        return self.status >> 0 & 0x1

    @property
    def data(self) -> int:
        """Byte that came; a write sends one."""
        return self._bus.read(self._base + 0x08)

    @data.setter
    def data(self, value: int) -> None:
        self._bus.write(self._base + 0x08, value)


class Checksum:
    """CRC-32 (IEEE 802.3, as zlib's) of words, low byte first.

    *Parameters*: ``bus``, what reads and writes; ``base``, the block's address on it.
    """

    def __init__(self, bus: Bus, base: int = 0x20000400) -> None:
        self._bus = bus
        self._base = base

    @property
    def value(self) -> int:
        """CRC-32 of all words since RESTART."""
        return self._bus.read(self._base + 0x00)

    def set_data(self, value: int) -> None:
        """The next word."""
        self._bus.write(self._base + 0x04, value)

    def set_restart(self, value: int) -> None:
        """Begin anew."""
        self._bus.write(self._base + 0x08, value)
