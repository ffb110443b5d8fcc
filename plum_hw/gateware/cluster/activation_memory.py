"""Activation memory: one block RAM for every eight lanes, read as a whole vector."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory, MemoryData
from amaranth.lib.wiring import In, Out

from plum_hw.config import ArrayConfig
from plum_hw.gateware.cluster.jobs import write_port


class ActivationMemory(wiring.Component):
    """`act_depth` vectors of `lanes` activations; one vector read and one group written a cycle.

    Latency: the vector addressed in one cycle is there in the next.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    address : vector to read
    vector : what was addressed in the cycle before
    write : one group, with an enable for each lane
    """

    def __init__(self, config: ArrayConfig) -> None:
        self._config = config
        width = config.group_lanes * config.act_bits
        self.memories = [
            MemoryData(shape=unsigned(width), depth=config.act_depth, init=[])
            for _ in range(config.groups)
        ]
        super().__init__(
            {
                "address": In(config.act_addr_bits),
                "vector": Out(data.ArrayLayout(unsigned(config.act_bits), config.lanes)),
                "write": In(write_port(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self._config
        m = Module()
        width = config.group_lanes * config.act_bits
        for number, memory_data in enumerate(self.memories):
            m.submodules[f"group_{number}"] = memory = Memory(memory_data)
            read = memory.read_port(transparent_for=())
            write = memory.write_port(granularity=config.act_bits)
            m.d.comb += [
                read.addr.eq(self.address),
                self.vector.as_value()[number * width :][:width].eq(read.data),
                write.addr.eq(self.write.address),
                write.data.eq(self.write.data),
            ]
            with m.If(self.write.group == number):
                m.d.comb += write.en.eq(self.write.enable)
        return m
