"""ROM and RAM of the controller."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.gateware.soc.bus import BusPort

#: A memory that gives the word of an address in the next cycle.
RomPort = wiring.Signature({"address": Out(14), "data": In(32)})


class RomReader(wiring.Component):
    """Puts a ROM on the bus; a word takes two cycles.

    Members
    -------
    bus : accesses; writes do nothing
    rom : the memory
    """

    def __init__(self) -> None:
        super().__init__({"bus": In(BusPort), "rom": Out(RomPort)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        m.d.sync += bus.ready.eq(bus.valid & ~bus.ready)
        m.d.comb += self.rom.address.eq(bus.address[2:])
        with m.If(bus.ready):
            m.d.comb += bus.read.eq(self.rom.data)
        return m


def rom_words(firmware: bytes, size: int) -> list[int]:
    """The words of a ROM of `size` bytes. Raises `ValueError` where the firmware does not fit."""
    if len(firmware) > size:
        raise ValueError(f"firmware of {len(firmware)} bytes does not fit {size}")
    whole = firmware.ljust(size, b"\0")
    return [int.from_bytes(whole[i : i + 4], "little") for i in range(0, size, 4)]


class Rom(wiring.Component):
    """Firmware in block RAM.

    Parameters
    ----------
    firmware : from address 0 on
    size : bytes of the memory

    Members
    -------
    rom : read port
    """

    def __init__(self, firmware: bytes, size: int) -> None:
        words = rom_words(firmware, size)
        self.memory_data = memory.MemoryData(shape=32, depth=size // 4, init=words)
        super().__init__({"rom": In(RomPort)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = rom = memory.Memory(self.memory_data)
        port = rom.read_port()
        m.d.comb += [port.addr.eq(self.rom.address), self.rom.data.eq(port.data)]
        return m


class Ram(wiring.Component):
    """RAM on the bus; an access takes two cycles. Addresses wrap.

    Parameters
    ----------
    size : bytes; a power of two

    Members
    -------
    bus : accesses
    """

    def __init__(self, size: int) -> None:
        self.memory_data = memory.MemoryData(shape=32, depth=size // 4, init=[])
        super().__init__({"bus": In(BusPort)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = ram = memory.Memory(self.memory_data)
        write, read = ram.write_port(granularity=8), ram.read_port()
        bus = self.bus
        m.d.sync += bus.ready.eq(bus.valid & ~bus.ready)
        m.d.comb += [
            read.addr.eq(bus.address[2:]),
            write.addr.eq(bus.address[2:]),
            write.data.eq(bus.data),
        ]
        with m.If(bus.valid & ~bus.ready):
            m.d.comb += write.en.eq(bus.strobes)
        with m.If(bus.ready):
            m.d.comb += bus.read.eq(read.data)
        return m
