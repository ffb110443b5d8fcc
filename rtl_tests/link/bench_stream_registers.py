"""StreamRegister, SpareRegister and LongRegister: what goes in comes out, and when."""

from __future__ import annotations

import cocotb
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from plum_hw.gateware.link.stream_register import LongRegister, SpareRegister, StreamRegister
from rtl_tests.streams import Bench, planted

#: Each kind, and the cycles that an item takes through it.
REGISTERS = {"forward": (StreamRegister, 1), "spare": (SpareRegister, 0), "long": (LongRegister, 1)}


class Registers(wiring.Component):
    """One of each, side by side."""

    def __init__(self) -> None:
        ways = {"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))}
        members = {f"{name}__{way}": member for name in REGISTERS for way, member in ways.items()}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, (kind, _) in REGISTERS.items():
            m.submodules[name] = register = kind(8)
            connect(m, flipped(getattr(self, f"{name}__i")), register.i)
            connect(m, register.o, flipped(getattr(self, f"{name}__o")))
        return m


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.3, 0.8])
async def all_in_order(dut, gap: float) -> None:
    bench = Bench(dut, gap)
    sources = {name: bench.source(f"{name}__i") for name in REGISTERS}
    sinks = {name: bench.sink(f"{name}__o") for name in sources}
    await bench.reset()
    items = {name: [bench.rng.randrange(256) for _ in range(500)] for name in sources}
    for name, source in sources.items():
        source.send(items[name])
    for name, sink in sinks.items():
        await bench.until(sink, 500, 20_000)
        assert sink.received == planted(items[name])
        if not gap:
            first, last = sink.times[0], sink.times[-1]
            assert first == sources[name].offered[0] + REGISTERS[name][1]
            assert last - first == 499, "an item a cycle"
