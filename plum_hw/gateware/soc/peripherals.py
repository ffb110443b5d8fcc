"""Serial port, timer and checksum of the controller."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.crc import catalog
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.gateware.link.uart import Uart
from plum_hw.gateware.soc.bus import BusPort
from plum_hw.gateware.soc.register_block import RegisterBlock, field_bits
from plum_hw.registers import CHECKSUM, SERIAL, TIMER


class SerialPort(wiring.Component):
    """A serial port with queues.

    Parameters
    ----------
    divisor : clock cycles of a bit
    queue : bytes of each queue

    Members
    -------
    bus : its registers
    rx, tx : the lines
    received : a byte waits to be read
    """

    def __init__(self, divisor: int, queue: int) -> None:
        self._divisor = divisor
        self._queue = queue
        super().__init__(
            {"bus": In(BusPort), "rx": In(1, init=1), "tx": Out(1, init=1), "received": Out(1)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.registers = registers = RegisterBlock(SERIAL)
        m.submodules.uart = uart = Uart(self._divisor)
        m.submodules.incoming = incoming = SyncFIFO(width=8, depth=self._queue)
        m.submodules.outgoing = outgoing = SyncFIFO(width=8, depth=self._queue)
        connect(m, flipped(self.bus), registers.bus)
        lost = Signal()
        m.d.comb += [
            uart.rx.eq(self.rx),
            self.tx.eq(uart.tx),
            uart.o.ready.eq(1),
            incoming.w_data.eq(uart.o.payload),
            incoming.w_en.eq(uart.o.valid),
            incoming.r_en.eq(registers.data_taken),
            registers.data.eq(incoming.r_data),
            outgoing.w_data.eq(registers.written[:8]),
            outgoing.w_en.eq(registers.data_written),
            uart.i.payload.eq(outgoing.r_data),
            uart.i.valid.eq(outgoing.r_rdy),
            outgoing.r_en.eq(uart.i.ready),
            self.received.eq(incoming.r_rdy),
            registers.status.eq(
                field_bits(
                    SERIAL.register("STATUS"),
                    readable=incoming.r_rdy,
                    writable=outgoing.w_rdy,
                    lost=lost,
                    idle=~outgoing.r_rdy & uart.i.ready,
                )
            ),
        ]
        bit = SERIAL.register("STATUS").field("LOST").low
        with m.If(uart.o.valid & ~incoming.w_rdy):
            m.d.sync += lost.eq(1)
        with m.Elif(registers.status_written & registers.written[bit]):
            m.d.sync += lost.eq(0)
        return m


class Timer(wiring.Component):
    """Counts cycles, and rings.

    Members
    -------
    bus : its registers
    rings : the alarm has come; until ALARM is written
    """

    def __init__(self) -> None:
        super().__init__({"bus": In(BusPort), "rings": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.registers = registers = RegisterBlock(TIMER)
        connect(m, flipped(self.bus), registers.bus)
        now = Signal(64)
        high = Signal(32)
        left = Signal(32)
        m.d.sync += now.eq(now + 1)
        with m.If(registers.low_taken):
            m.d.sync += high.eq(now[32:])
        with m.If(registers.alarm_written):
            m.d.sync += [left.eq(registers.written), self.rings.eq(0)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 1):
                m.d.sync += self.rings.eq(1)
        m.d.comb += [
            registers.low.eq(now[:32]),
            registers.high.eq(high),
            registers.status.eq(field_bits(TIMER.register("STATUS"), rings=self.rings)),
        ]
        return m


class Checksum(wiring.Component):
    """CRC-32 of words, four cycles each; the processor is slower than that.

    Members
    -------
    bus : its registers
    """

    def __init__(self) -> None:
        super().__init__({"bus": In(BusPort)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.registers = registers = RegisterBlock(CHECKSUM)
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(data_width=8).create()
        connect(m, flipped(self.bus), registers.bus)
        word = Signal(32)
        left = Signal(range(5))
        m.d.comb += [
            crc.start.eq(registers.restart_written),
            crc.data.eq(word[:8]),
            crc.valid.eq(left != 0),
            registers.value.eq(crc.crc),
        ]
        with m.If(registers.data_written):
            m.d.sync += [word.eq(registers.written), left.eq(4)]
        with m.Elif(left != 0):
            m.d.sync += [word.eq(word >> 8), left.eq(left - 1)]
        return m
