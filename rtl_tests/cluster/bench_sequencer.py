"""Sequencer: descriptors as they are loaded, each started once if there is anything to do."""

from __future__ import annotations

import cocotb

from plum_hw.layouts import layer_layout
from rtl_tests.cluster.blocks import BlockBench


@cocotb.test()
async def layers_in_order(dut) -> None:
    bench = BlockBench(dut, "sequencer")
    rng, layout = bench.rng, layer_layout(bench.config)
    bench.set(load=0, start=0)
    await bench.reset()
    for number in range(40):
        fields = {field.name: rng.randint(field.low, field.high) for field in layout.fields}
        fields["passes"] = rng.choice([0, 1, fields["passes"]])
        words = layout.pack(**fields)
        fields["vectors"] ^= bench.fault
        for word in words:
            bench.set(load=1, word=word)
            await bench.cycle()
            assert not bench.get("layer_start")
            bench.set(load=0, word=rng.getrandbits(32))
            if bench.chance(0.3):
                await bench.cycle()
        for cycle in range(rng.randint(3, 20)):
            bench.set(start=int(cycle == 1), load=0, word=rng.getrandbits(32))
            await bench.cycle()
            got = bench.get("layer")
            assert got == fields, f"layer {number} is {got}, expected {fields}"
            assert bench.get("layer_start") == (cycle == 1 and fields["passes"] > 0)
