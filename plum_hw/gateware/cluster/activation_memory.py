"""Activation memory: one block RAM for every eight lanes, read as a whole vector."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory, MemoryData
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import bus_layout
from plum_hw.timing import WRITE_STAGES

#: Of memories in which no word that matters is read as it is written. Yosys adds logic to some
#: families' block RAMs otherwise, so that such a read finds what was there before.
NEVER_AT_ONCE = {"no_rw_check": 1}
#: Of such memories with one port, which may be in a large memory whose content nobody knows before
#: it is written (SPRAM of the iCE40 UltraPlus; `plum_hw.flow` leaves its zeros out there).
ONE_PORT = {**NEVER_AT_ONCE, "ram_style": "huge"}


class ActivationMemory(wiring.Component):
    """`act_depth` vectors of `lanes` activations; one vector read a cycle, one group written a bus.

    Latency: the vector addressed in one cycle is there in the next. What the bus carries is written
    `WRITE_LATENCY` cycles later, past registers where wires are slow: memories lie far apart.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    address : vector to read
    vector : what was addressed in the cycle before
    buses : groups to write; each serves the groups of its own (`ArrayConfig.bus_of`)
    hit : what the bus carries is meant for this memory, a bit for each bus
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        #: Cycles from a write on the bus to the memories' own.
        self.WRITE_LATENCY = WRITE_STAGES(config)
        width = config.group_lanes * config.act_bits
        self.memories = [
            MemoryData(shape=unsigned(width), depth=config.act_depth, init=[])
            for _ in range(config.groups)
        ]
        super().__init__(
            {
                "address": In(config.act_addr_bits),
                "vector": Out(data.ArrayLayout(unsigned(config.act_bits), config.lanes)),
                "buses": In(bus_layout(config)).array(config.write_buses),
                "hit": In(config.write_buses),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        width = config.group_lanes * config.act_bits
        skip = (config.write_buses - 1).bit_length()  # bits of a group that its bus tells
        arrive = m.d["sync" if self.WRITE_LATENCY else "comb"]
        buses = [Signal.like(bus, name=f"bus_{number}") for number, bus in enumerate(self.buses)]
        for here, bus in zip(buses, self.buses, strict=True):
            arrive += [here.address.eq(bus.address), here.data.eq(bus.data)]
        for number, memory_data in enumerate(self.memories):
            m.submodules[f"group_{number}"] = memory = Memory(memory_data, attrs=NEVER_AT_ONCE)
            read = memory.read_port(transparent_for=())
            write = memory.write_port()
            bus, enable = self.buses[config.bus_of(number)], Signal(name=f"enable_{number}")
            arrive += enable.eq(
                bus.enable & self.hit[config.bus_of(number)] & (bus.group[skip:] == number >> skip)
            )
            here = buses[config.bus_of(number)]
            m.d.comb += [
                read.addr.eq(self.address),
                self.vector.as_value()[number * width :][:width].eq(read.data),
                write.addr.eq(here.address),
                write.data.eq(here.data),
                write.en.eq(enable),
            ]
        return m
