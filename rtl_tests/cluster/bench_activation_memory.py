"""ActivationMemory: a vector read and a group written over each bus, in every cycle."""

from __future__ import annotations

import os
from collections import deque
from typing import Any

import cocotb
import numpy as np

from rtl_tests.cluster.blocks import BlockBench


@cocotb.test()
async def reads_and_writes_in_every_cycle(dut) -> None:
    bench = BlockBench(dut, "activation_memory")
    config, size = bench.config, bench.config.group_lanes
    late = bench.block.WRITE_LATENCY
    buses = config.write_buses
    rng = np.random.default_rng(int(os.environ["SEED"]))
    top = 1 << config.act_bits
    idle = {"enable": 0}
    bench.set(address=0, hit=0, **{f"buses__{bus}": idle for bus in range(buses)})
    await bench.reset()
    memory = np.zeros((config.act_depth, config.groups, size), np.int64)
    under_way: deque[list[dict[str, Any]]] = deque([[]] * late)  # entries to write, by cycle

    async def cycle(address: int, entries: list[dict[str, Any]], hits: list[int]) -> None:
        bench.set(address=address, hit=sum(hit << bus for bus, hit in enumerate(hits)))
        bench.set(**{f"buses__{bus}": entry for bus, entry in enumerate(entries)})
        await bench.cycle()
        meant = zip(entries, hits, strict=True)
        under_way.append([entry for entry, hit in meant if hit and entry["enable"]])
        for entry in under_way.popleft():
            memory[entry["address"], entry["group"]] = entry["data"]

    def entry(bus: int, address: int, group: int, enable: int) -> dict[str, Any]:
        """What a bus carries, with a group that is its own."""
        return {
            "enable": enable,
            "address": address,
            "group": next(g for g in range(group // buses * buses, 99) if config.bus_of(g) == bus),
            "data": rng.integers(0, top, size),
            "dest": int(rng.integers(config.clusters)),
            "grouped": int(rng.integers(2)),
        }

    for vector in range(config.act_depth):
        for group in range(0, config.groups, buses):
            await cycle(0, [entry(bus, vector, group, 1) for bus in range(buses)], [1] * buses)
    for _ in range(late):
        await cycle(0, [idle] * buses, [0] * buses)
    memory[3, 0, 1] ^= bench.fault
    addressed = None
    reads = [3]  # a planted fault is read before anything is written over it
    reads += [int(rng.integers(config.act_depth if number % 2 else 4)) for number in range(600)]
    reads += [*range(config.act_depth), *[0] * late]
    for number in range(len(reads) - late):
        address = reads[number]
        entries, hits = [], []
        for bus in range(buses):
            # Often the vector just written; what a read of one that is being written gives is not
            # said.
            place = int(rng.integers(config.act_depth) if number % 2 else rng.integers(4))
            group, enable = int(rng.integers(config.groups)), int(rng.integers(2))
            entries.append(entry(bus, place, group, enable))
            hits.append(int(place != reads[number + late] and rng.random() < 0.7))
        want = memory[address].reshape(-1).tolist()
        await cycle(address, entries, hits)
        if addressed is not None:
            got = bench.get("vector")
            assert got == addressed, f"cycle {number}: {got}, expected {addressed}"
        addressed = want
