"""Write bus: everybody's entries in their order, and two at once."""

from __future__ import annotations

from typing import Any

import cocotb

from plum_hw.gateware.cluster.jobs import bus_layout
from rtl_tests.cluster.blocks import BlockBench, Codec


def random_entry(bench: BlockBench) -> dict[str, Any]:
    """Any entry that writes something."""
    layout = bus_layout(bench.config)
    bits = bench.rng.getrandbits(layout.size)
    return {**Codec(layout).unpack(bits), "enable": 1}


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.7], collisions=[0.0, 0.3])
async def entries(dut, gap: float, collisions: float) -> None:
    bench = BlockBench(dut, "write_bus", gap)
    sources = len(bench.block.sources)
    silent = Codec(bus_layout(bench.config)).unpack(0)
    bench.set(**{f"sources__{number}": {} for number in range(sources)})
    await bench.reset()
    await bench.cycle()
    coming = [(silent, 0)] * bench.block.LATENCY
    for _ in range(300):
        entry, senders = silent, []
        if not bench.chance(bench.gap):
            entry = random_entry(bench)
            count = bench.rng.randint(2, sources) if bench.chance(collisions) else 1
            senders = bench.rng.sample(range(sources), count)
        for number in range(sources):
            bench.set(**{f"sources__{number}": entry if number in senders else {}})
        await bench.cycle()
        coming.append((entry, int(len(senders) > 1)))
        expected, collision = coming.pop(0)
        if bench.fault:
            expected = {**expected, "address": expected["address"] ^ 1}
        got = bench.get("bus")
        assert got == expected, f"cycle {bench.cycles}: {got}, expected {expected}"
        assert bench.get("collision") == collision
