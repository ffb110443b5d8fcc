"""Knobs of the controller: the processor beside the array that lets a board work on its own."""

from __future__ import annotations

from dataclasses import dataclass

from plum_hw.errors import ConfigError
from plum_hw.registers import FLASH, RAM, ROM


@dataclass(frozen=True, kw_only=True)
class ControllerConfig:
    """One controller.

    Parameters
    ----------
    clock_hz : of the clock
    baud : of the serial port
    flash_base : byte of the flash where the first slot begins: behind the bitstream
    slot_bytes : bytes of each of the two slots; a multiple of 64 KiB, which flashes erase at once
    ram_bytes : bytes of the RAM; a power of two
    rom_bytes : bytes of the ROM; a multiple of 4. The firmware must fit
    leds, buttons : how many there are
    flash_half_period : clock cycles of half a period of the flash's clock
    queue : bytes of each of the serial port's queues

    Raises
    ------
    ConfigError : a knob out of range, with the value and the range
    """

    clock_hz: int = 100_000_000
    baud: int = 1_000_000
    flash_base: int = 0x40_0000
    slot_bytes: int = 0x40_0000
    ram_bytes: int = 8192
    rom_bytes: int = 16384
    leds: int = 4
    buttons: int = 4
    flash_half_period: int = 1
    queue: int = 64

    def __post_init__(self) -> None:
        for name, low, high in (
            ("clock_hz", 1_000_000, 400_000_000),
            ("flash_base", 0, FLASH.bytes),
            ("slot_bytes", 1 << 16, FLASH.bytes),
            ("ram_bytes", 2048, RAM.bytes),
            ("rom_bytes", 1024, ROM.bytes),
            ("leds", 0, 8),
            ("buttons", 0, 8),
            ("flash_half_period", 1, 16),
            ("queue", 2, 4096),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"controller: {name} is {value}; it must be {low} to {high}")
        if self.divisor < 8:
            raise ConfigError(
                f"controller: {self.baud} baud at {self.clock_hz} Hz are {self.divisor} cycles a "
                "bit; it must be at least 8"
            )
        if self.ram_bytes & (self.ram_bytes - 1):
            raise ConfigError(
                f"controller: ram_bytes is {self.ram_bytes}; it must be a power of two"
            )
        if self.rom_bytes % 4:
            raise ConfigError(f"controller: rom_bytes is {self.rom_bytes}; it must be whole words")
        if self.slot_bytes % (1 << 16) or self.flash_base % (1 << 16):
            raise ConfigError(
                f"controller: slots of {self.slot_bytes} bytes from {self.flash_base} on; both "
                "must be multiples of 65536"
            )
        if self.flash_base + 2 * self.slot_bytes > FLASH.bytes:
            raise ConfigError(
                f"controller: two slots of {self.slot_bytes} bytes from {self.flash_base} on end "
                f"behind the {FLASH.bytes} bytes of the flash that are mapped"
            )

    @property
    def divisor(self) -> int:
        """Clock cycles of a bit on the serial line."""
        return self.clock_hz // self.baud
