"""ActivationMemory: a vector read and a group written in every cycle."""

from __future__ import annotations

import os

import cocotb
import numpy as np

from rtl_tests.cluster.blocks import BlockBench


@cocotb.test()
async def reads_and_writes_in_every_cycle(dut) -> None:
    bench = BlockBench(dut, "activation_memory")
    config, size = bench.config, bench.config.group_lanes
    rng = np.random.default_rng(int(os.environ["SEED"]))
    top = 1 << config.act_bits
    bench.set(write__enable=0, address=0)
    await bench.reset()
    memory = np.zeros((config.act_depth, config.groups, size), np.int64)

    async def cycle(address: int, write: int, group: int, enable: int, values: np.ndarray) -> None:
        bench.set(address=address, write__address=write, write__group=group)
        bench.set(write__enable=enable, write__data=values)
        await bench.cycle()

    for vector in range(config.act_depth):
        for group in range(config.groups):
            values = rng.integers(0, top, size)
            await cycle(0, vector, group, 255, values)
            memory[vector, group] = values
    memory[3, 0, 1] ^= bench.fault
    addressed = None
    for number in range(config.act_depth + 600):
        near = rng.integers(4, size=2)  # often the vector just written
        address, write = rng.integers(config.act_depth, size=2) if number % 2 else near
        if number >= 600:
            address = number - 600
        group, enable = int(rng.integers(config.groups)), int(rng.choice([0, 255, 15, 240, 90]))
        values = rng.integers(0, top, size)
        if address == write:
            enable = 0  # what such a read gives is not said
        await cycle(int(address), int(write), group, enable, values)
        if addressed is not None:
            got = bench.get("vector")
            assert got == addressed, f"cycle {number}: {got}, expected {addressed}"
        addressed = memory[address].reshape(-1).tolist()
        lanes = [lane for lane in range(size) if enable >> lane & 1]
        memory[write, group, lanes] = values[lanes]
