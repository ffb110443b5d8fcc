"""Sequencer: descriptors in order, each started once, with the cycles of each."""

from __future__ import annotations

import cocotb

from plum_hw.layouts import layer_layout
from rtl_tests.cluster.blocks import BlockBench, ReadOnlyMemory


async def watch_layer(bench: BlockBench, words: list[int], index: int, length: int) -> int:
    """One layer of `length` cycles from its strobe; returns its cycles.

    The cycle in which it is taken up has just been sampled.
    """
    layout = layer_layout(bench.config)
    expected = layout.unpack(words)
    taken = bench.cycles
    while not bench.get("layer_start"):
        assert bench.cycles - taken < layout.words + 3
        assert bench.get("busy")
        await bench.cycle()
    assert bench.cycles - taken == layout.words + 1
    got = bench.get("layer")
    expected["vectors"] ^= bench.fault
    assert got == expected, f"layer {index} is {got}, expected {expected}"
    bench.set(quiet=0)
    for _ in range(length):
        await bench.cycle()
        assert bench.get("layer") == expected
        assert not bench.get("layer_start")
        assert not bench.get("layer_done")
    bench.set(quiet=1)
    await bench.cycle()
    await bench.cycle()
    assert bench.get("layer_done")
    assert bench.get("layer_index") == index
    cycles = bench.cycles - taken + 1
    assert bench.get("layer_cycles") + 1 == cycles
    await bench.cycle()
    return cycles


@cocotb.test()
async def layers_in_order(dut) -> None:
    bench = BlockBench(dut, "sequencer")
    config, rng = bench.config, bench.rng
    step = layer_layout(config).words
    program = [rng.getrandbits(32) for _ in range(1 << config.program_addr_bits)]
    ReadOnlyMemory(bench, "address", "word", program, latency=1)
    bench.set(start=0, quiet=1)
    await bench.reset()
    await bench.settle(5)
    for layers in (1, 2, 5):
        assert not bench.get("busy")
        # The last descriptor of a run may reach around the end of the memory.
        first = rng.choice([0, rng.randrange(len(program)), len(program) - step * layers + 2])
        bench.set(start=1, program=first, layers=layers)
        await bench.cycle()
        bench.set(start=0)
        await bench.cycle()
        total = 0
        for index in range(layers):
            words = [program[(first + index * step + i) % len(program)] for i in range(step)]
            total += await watch_layer(bench, words, index, rng.randint(1, 40))
        assert not bench.get("busy")
        assert bench.get("cycles") == total
        await bench.settle(10)
        assert not bench.get("busy")
