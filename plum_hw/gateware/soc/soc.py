"""The array with a controller beside it: a board that works on its own."""

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.config import ArrayConfig
from plum_hw.controller import ControllerConfig
from plum_hw.gateware.device import Device
from plum_hw.gateware.soc.accelerator_port import AcceleratorPort
from plum_hw.gateware.soc.bus import Interconnect
from plum_hw.gateware.soc.flash_reader import FlashReader, SpiPins
from plum_hw.gateware.soc.memories import Ram, Rom, RomPort, RomReader
from plum_hw.gateware.soc.peripherals import Checksum, SerialPort, Timer
from plum_hw.gateware.soc.processor import Processor
from plum_hw.gateware.soc.register_block import RegisterBlock
from plum_hw.registers import (
    ACCELERATOR,
    ACCELERATOR_BYTES,
    CHECKSUM,
    FLASH,
    RAM,
    ROM,
    SERIAL,
    SPI,
    SYSTEM,
    TIMER,
)

_BLOCK_BYTES = 0x100


def soc_ports(controller: ControllerConfig) -> dict[str, Any]:
    """What leaves the chip."""
    return {
        "rx": In(1, init=1),
        "tx": Out(1, init=1),
        "flash": Out(SpiPins),
        "leds": Out(controller.leds),
        "buttons": In(controller.buttons),
        "busy": Out(1),
        "error": Out(1),
    }


class SocCore(wiring.Component):
    """Array and controller; the ROM with the firmware is outside.

    Parameters
    ----------
    config : of the array
    controller : of what is beside it

    Members
    -------
    rom : the firmware
    rx, tx : serial line
    flash : pins of the SPI flash
    leds, buttons : high is lit, high is pressed; buttons in any clock domain
    busy : a run is in progress
    error : the processor has stopped for good
    """

    def __init__(self, config: ArrayConfig, controller: ControllerConfig) -> None:
        self.config = config
        self.controller = controller
        super().__init__({"rom": Out(RomPort), **soc_ports(controller)})

    def elaborate(self, platform: Any) -> Module:
        controller = self.controller
        m = Module()
        m.submodules.processor = processor = Processor()
        m.submodules.rom = rom = RomReader()
        m.submodules.ram = ram = Ram(controller.ram_bytes)
        m.submodules.system = system = RegisterBlock(SYSTEM)
        m.submodules.serial = serial = SerialPort(controller.divisor, controller.queue)
        m.submodules.timer = timer = Timer()
        m.submodules.checksum = checksum = Checksum()
        m.submodules.flash = flash = FlashReader(controller.clock_hz, controller.flash_half_period)
        m.submodules.accelerator = accelerator = AcceleratorPort(self.config)
        m.submodules.device = device = Device(self.config, controller.clock_hz)

        parts = [
            (ROM.base, ROM.bytes, rom.bus),
            (RAM.base, RAM.bytes, ram.bus),
            (FLASH.base, FLASH.bytes, flash.window),
            (ACCELERATOR.base, ACCELERATOR_BYTES, accelerator.bus),
            (SYSTEM.base, _BLOCK_BYTES, system.bus),
            (SERIAL.base, _BLOCK_BYTES, serial.bus),
            (TIMER.base, _BLOCK_BYTES, timer.bus),
            (SPI.base, _BLOCK_BYTES, flash.bus),
            (CHECKSUM.base, _BLOCK_BYTES, checksum.bus),
        ]
        m.submodules.interconnect = interconnect = Interconnect(
            [(base, size) for base, size, _ in parts]
        )
        connect(m, processor.bus, interconnect.bus)
        for port, (_, _, bus) in zip(interconnect.parts, parts, strict=True):
            connect(m, port, bus)

        connect(m, rom.rom, flipped(self.rom))
        connect(m, flash.pins, flipped(self.flash))
        connect(m, accelerator.host, device.host)
        m.d.comb += [
            serial.rx.eq(self.rx),
            self.tx.eq(serial.tx),
            device.targets.eq(accelerator.targets),
            device.start.eq(accelerator.start),
            device.program.eq(accelerator.program),
            device.layers.eq(accelerator.layers),
            device.abort.eq(accelerator.abort),
            accelerator.busy.eq(device.busy),
            accelerator.cycles.eq(device.cycles),
            accelerator.results.eq(device.results),
            accelerator.error.eq(device.error),
            self.busy.eq(device.busy),
            self.error.eq(processor.trapped),
        ]
        pressed = self._system(m, system, interconnect.unmapped)
        events = Cat(accelerator.interrupt, timer.rings, serial.received, pressed)
        m.d.comb += processor.interrupts.eq(events & system.interrupts)
        return m

    def _system(self, m: Module, system: RegisterBlock, unmapped: Any) -> Any:
        """Constants, lights and buttons; whether one is pressed."""
        controller = self.controller
        m.submodules += FFSynchronizer(self.buttons, system.buttons)
        with m.If(unmapped):
            m.d.sync += system.fault.eq(1)
        with m.Elif(system.fault_written & system.written[0]):
            m.d.sync += system.fault.eq(0)
        m.d.comb += [
            system.clock.eq(controller.clock_hz),
            system.flash_base.eq(controller.flash_base),
            system.slot_bytes.eq(controller.slot_bytes),
            system.ram_bytes.eq(controller.ram_bytes),
            self.leds.eq(system.leds),
        ]
        return system.buttons.any()


class Soc(wiring.Component):
    """`SocCore` with its firmware.

    Parameters
    ----------
    config : of the array
    controller : of what is beside it
    firmware : the image that `firmware/Makefile` makes

    Members
    -------
    rx, tx, flash, leds, buttons, busy, error : of `SocCore`
    """

    def __init__(self, config: ArrayConfig, controller: ControllerConfig, firmware: bytes) -> None:
        self.config = config
        self.controller = controller
        self.firmware = firmware
        super().__init__(soc_ports(controller))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.core = core = SocCore(self.config, self.controller)
        m.submodules.rom = rom = Rom(self.firmware, self.controller.rom_bytes)
        connect(m, core.rom, rom.rom)
        connect(m, core.flash, flipped(self.flash))
        m.d.comb += [
            core.rx.eq(self.rx),
            self.tx.eq(core.tx),
            self.leds.eq(core.leds),
            core.buttons.eq(self.buttons),
            self.busy.eq(core.busy),
            self.error.eq(core.error),
        ]
        return m
