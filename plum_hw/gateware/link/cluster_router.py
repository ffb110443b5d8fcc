"""The host's way into the memories of all clusters, and of the device."""

from functools import reduce
from operator import or_

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import bus_layout, bus_number
from plum_hw.gateware.cluster.mux_tree import mux_tree
from plum_hw.gateware.link.host_port import (
    HostPort,
    MemoryPort,
    read_cycles,
    read_latency,
)
from plum_hw.layouts import RATE_BITS, Space, identity


class ClusterRouter(wiring.Component):
    """Carries each access to the clusters meant, and brings back the answers.

    Words for code and table memories are taken one a cycle; one for activation memories takes a
    cycle more for each cluster of the array, for they are reached over the write buses. Words that
    are read are gathered byte by byte, so that clusters share narrow multiplexers.

    Parameters
    ----------
    config : ArrayConfig
    clock_hz : of the clock, for the host to know; 0 where nobody said

    Members
    -------
    host, targets : accesses, and a bit for each cluster that they are for; a read is for one
    memories : of the clusters
    buses : what goes over each write bus, the one of its group; all zero where there is nothing
    result, counter : of the device, by the address of the memories' ports
    rate, set_rate : of a serial line, strobe: LINE word 0 is written
    """

    def __init__(self, config: ArrayConfig, clock_hz: int = 0) -> None:
        self._config = config
        self._clock_hz = clock_hz
        super().__init__(
            {
                "host": In(HostPort),
                "targets": In(config.clusters),
                "memories": Out(MemoryPort).array(config.clusters),
                "buses": Out(bus_layout(config)).array(config.write_buses),
                "result": In(32),
                "counter": In(32),
                "rate": Out(RATE_BITS),
                "set_rate": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        request, response = self.host.request, self.host.response
        held = Signal.like(request.payload)
        targets = Signal(config.clusters)
        if config.slow_clock:
            # The request stays until it is done, and so do the clusters that it is for.
            held, targets = request.payload, self.targets
        dest = Signal(config.cluster_bits)
        cycles = read_cycles(config)
        wait = Signal(range(cycles + 1))
        # Bytes are asked for one after another, and come later.
        latency = read_latency(config)
        part, place = Signal(3), Signal(range(8 + latency))
        reading = Signal()
        write = Signal()  # of the held word to code or table memories
        if not config.slow_clock:
            m.d.sync += write.eq(0)

        for number, memory in enumerate(self.memories):
            meant = write & targets[number]
            m.d.comb += [
                memory.space.eq(held.space),
                memory.address.eq(held.address),
                memory.data.eq(held.data),
                memory.part.eq(part),
                memory.fetch.eq(reading & (wait == cycles) & (held.space == Space.ACTIVATION)),
                memory.write_code.eq(meant & (held.space == Space.CODE)),
                memory.write_table.eq(meant & (held.space == Space.TABLE)),
            ]
        sending = Signal()
        self._send(m, held, dest, sending & targets.bit_select(dest, 1))
        m.d.comb += [
            self.rate.eq(held.data),
            self.set_rate.eq(write & (held.space == Space.LINE)),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [dest.eq(0), wait.eq(cycles)]
                if not config.slow_clock:
                    m.d.comb += request.ready.eq(1)
                with m.If(request.valid):
                    if not config.slow_clock:
                        m.d.sync += [held.eq(request.payload), targets.eq(self.targets)]
                    with m.If(~request.payload.write):
                        m.next = "READ"
                    with m.Elif(request.payload.space == Space.ACTIVATION):
                        m.next = "SEND"
                    with m.Else():
                        m.d["comb" if config.slow_clock else "sync"] += write.eq(1)
                        if config.slow_clock:
                            m.d.comb += request.ready.eq(1)
            with m.State("SEND"):
                m.d.comb += sending.eq(1)
                m.d.sync += dest.eq(dest + 1)
                with m.If(dest == config.clusters - 1):
                    m.next = "LAST"
            with m.State("LAST"):
                # The word is still on its way to the bus.
                if config.slow_clock:
                    m.d.comb += request.ready.eq(1)
                m.next = "IDLE"
            with m.State("READ"):
                m.d.comb += reading.eq(1)
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.next = "GATHER"
            with m.State("GATHER"):
                # Of the bytes that are taken in only the last eight stay.
                byte = self._read(held, targets, (place - latency)[:3])
                m.d.sync += [
                    part.eq(part + 1),
                    place.eq(place + 1),
                    response.payload.eq(Cat(response.payload[8:], byte)),
                ]
                with m.If(place == 7 + latency):
                    if config.slow_clock:
                        m.d.comb += request.ready.eq(1)
                    m.d.sync += [part.eq(0), place.eq(0)]
                    m.next = "RESPOND"
            with m.State("RESPOND"):
                m.d.comb += response.valid.eq(1)
                with m.If(response.ready):
                    m.next = "IDLE"
        return m

    def _send(self, m: Module, held: data.View, dest: Signal, enable: Value) -> None:
        """The held word on the bus of its group, two cycles after `enable`. What is silent is held
        in reset, by a register alone, which costs no LUT; so it adds nothing to what the clusters
        send. With a slow clock it is on the bus at once.
        """
        groups = (self._config.groups - 1).bit_length()
        group = Signal(self._config.group_bits)
        to = Signal.like(dest)
        m.d.comb += group.eq(held.address[:groups])
        slow = bool(self._config.slow_clock)
        m.d["comb" if slow else "sync"] += to.eq(dest)
        for number, port in enumerate(self.buses):
            silent = Signal(init=1, name=f"silent_{number}")
            bus = Signal(bus_layout(self._config), name=f"bus_{number}", reset_less=True)
            domain = "comb" if slow else "sync"
            m.d[domain] += silent.eq(~enable | (bus_number(self._config, group) != number))
            m.d.comb += port.eq(bus)
            m.d[domain] += [
                bus.enable.eq(1),
                bus.group.eq(group),
                bus.address.eq(held.address >> groups),
                bus.dest.eq(to),
            ]
            for lane in range(self._config.group_lanes):
                m.d[domain] += bus.data[lane].eq(held.data.word_select(lane, 8))
            with m.If(silent):
                m.d[domain] += bus.eq(0)

    def _read(self, held: data.View, targets: Signal, part: Value) -> Value:
        """A byte of the word that a read is answered with."""
        space = held.space
        known = identity(self._config, self._clock_hz)
        place = Cat(part, held.address)[: (len(known) - 1).bit_length()]
        device = {
            Space.RESULT: self.result.word_select(part[:2], 8),
            Space.COUNTER: self.counter.word_select(part[:2], 8),
            Space.IDENTITY: mux_tree(place, [C(byte, 8) for byte in known]),
        }
        bytes_ = [Mux(space == number, byte, 0) for number, byte in device.items()]
        own = ~Cat(space == number for number in device).any()
        for number, memory in enumerate(self.memories):
            bytes_.append(Mux(own & targets[number], memory.read, 0))
        return reduce(or_, bytes_)
