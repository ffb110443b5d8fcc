"""The array on the controller's bus: registers and memories."""

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.config import ArrayConfig
from plum_hw.gateware.link.host_port import HostPort
from plum_hw.gateware.soc.bus import BusPort, Interconnect
from plum_hw.gateware.soc.register_block import RegisterBlock, field_bits
from plum_hw.layouts import Space, layer_layout, space_words
from plum_hw.registers import (
    ACCELERATOR,
    ID,
    MAP_VERSION,
    MEMORIES,
    SIZED_SPACES,
    WINDOW_BYTES,
)

_STATUS = ACCELERATOR.register("STATUS")
_CONTROL = ACCELERATOR.register("CONTROL")


class AcceleratorPort(wiring.Component):
    """Registers and memories of the array, as `plum_hw.registers` describes them.

    A write to a memory takes 2 cycles and more, as `ClusterRouter` can take it; a read of one as
    long as the array needs to find it. During a run neither reaches the array: both are answered at
    once, with 0, and STATUS.DENIED is set.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    bus : accesses, within the accelerator's block
    interrupt : a run has ended, and INTERRUPT is set
    host, targets, start, program, layers, abort, busy, cycles, results, error : of `Device`
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        super().__init__(
            {
                "bus": In(BusPort),
                "interrupt": Out(1),
                "host": Out(HostPort),
                "targets": Out(config.clusters),
                "start": Out(1),
                "program": Out(16),
                "layers": Out(16),
                "abort": Out(1),
                "busy": In(1),
                "cycles": In(32),
                "results": In(16),
                "error": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.registers = registers = RegisterBlock(ACCELERATOR)
        m.submodules.interconnect = interconnect = Interconnect(
            [(0, MEMORIES), (MEMORIES, MEMORIES)]
        )
        connect(m, flipped(self.bus), interconnect.bus)
        connect(m, interconnect.parts[0], registers.bus)
        denied = Signal()  # strobe
        self._memories(m, interconnect.parts[1], denied)
        self._constants(m, registers)

        # `busy` answers `start` in the next cycle only.
        running = Signal()
        m.d.comb += running.eq(self.busy | self.start)
        written = registers.written
        command = registers.control_written
        start = command & written[_CONTROL.field("START").low]
        abort = command & written[_CONTROL.field("ABORT").low]
        able = ~running & (registers.layers != 0)
        m.d.sync += [self.start.eq(start & able & ~abort), self.abort.eq(abort & running)]

        ran = Signal()
        done = Signal()
        refused = Signal()
        m.d.sync += ran.eq(self.busy)
        with m.If(start & able):
            m.d.sync += done.eq(0)
        with m.Elif(ran & ~self.busy):
            m.d.sync += done.eq(1)
        with m.Elif(registers.status_written & written[_STATUS.field("DONE").low]):
            m.d.sync += done.eq(0)
        with m.If(denied | (start & ~able)):
            m.d.sync += refused.eq(1)
        with m.Elif(registers.status_written & written[_STATUS.field("DENIED").low]):
            m.d.sync += refused.eq(0)

        m.d.comb += [
            self.interrupt.eq(done & registers.interrupt),
            self.targets.eq(registers.targets),
            self.program.eq(registers.program),
            self.layers.eq(registers.layers),
            registers.cycles.eq(self.cycles),
            registers.results.eq(self.results),
            registers.status.eq(
                field_bits(_STATUS, busy=running, done=done, error=self.error, denied=refused)
            ),
        ]
        return m

    def _constants(self, m: Module, registers: RegisterBlock) -> None:
        config = self._config
        words = space_words(config)
        version = field_bits(
            ACCELERATOR.register("VERSION"),
            map=C(MAP_VERSION, 8),
            clusters=C(config.clusters, 8),
        )
        m.d.comb += [
            registers.id.eq(ID),
            registers.version.eq(version),
            registers.layer_words.eq(layer_layout(config).words),
            *(
                getattr(registers, f"{space.name.lower()}_words").eq(words[space])
                for space in SIZED_SPACES
            ),
        ]

    def _memories(self, m: Module, bus: Any, denied: Signal) -> None:
        """Accesses to memories; `denied` is a strobe."""
        request, response = self.host.request, self.host.response
        word_bits = len(request.payload.address)
        space = bus.address[(WINDOW_BYTES - 1).bit_length() :][: len(request.payload.space)]
        wide = (space == Space.ACTIVATION) | (space == Space.IDENTITY)
        upper = wide & bus.address[2]
        write = bus.strobes.any()
        kept = Signal(32)  # the low half of what is written, the high half of what was read
        asked = Signal()  # a word was asked for and has not come
        away = Signal()  # the array is not the host's
        first = bus.valid & ~bus.ready
        m.d.comb += [
            away.eq((self.busy | self.start) & (space != Space.IDENTITY)),
            request.payload.space.eq(space),
            request.payload.write.eq(write),
            request.payload.address.eq(
                Mux(wide, bus.address[3 : 3 + word_bits], bus.address[2 : 2 + word_bits])
            ),
            request.payload.data.eq(Mux(wide, Cat(kept, bus.data), bus.data)),
            response.ready.eq(1),
        ]
        m.d.sync += [bus.ready.eq(0), bus.read.eq(0)]
        with m.If(first & away & ~asked):
            m.d.comb += denied.eq(1)
            m.d.sync += bus.ready.eq(1)
        with m.Elif(first & write):
            with m.If(wide & ~upper):
                m.d.sync += [kept.eq(bus.data), bus.ready.eq(1)]
            with m.Else():
                m.d.comb += request.valid.eq(1)
                m.d.sync += bus.ready.eq(request.ready)
        with m.Elif(first & upper):
            m.d.sync += [bus.read.eq(kept), bus.ready.eq(1)]
        with m.Elif(first):
            m.d.comb += request.valid.eq(~asked)
            with m.If(request.ready):
                m.d.sync += asked.eq(1)
            with m.If(response.valid):
                m.d.sync += [
                    asked.eq(0),
                    bus.read.eq(response.payload[:32]),
                    kept.eq(response.payload[32:]),
                    bus.ready.eq(1),
                ]
