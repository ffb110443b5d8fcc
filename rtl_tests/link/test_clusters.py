"""ClusterRouter, Conductor and Records, in Amaranth's simulator."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from plum_hw.config import ArrayConfig
from plum_hw.gateware.conductor import Conductor
from plum_hw.gateware.link.cluster_router import ClusterRouter
from plum_hw.gateware.link.host_port import read_cycles, read_latency
from plum_hw.gateware.records import Records
from plum_hw.layouts import (
    IDENTITY_BYTES,
    LAYER_COUNTERS,
    SPACE_BYTES,
    Counter,
    Space,
    identity,
    layer_layout,
)
from plum_hw.timing import QUIET_CYCLES

CONFIG = ArrayConfig(clusters=3, write_buses=2, lanes=16, result_depth=20, layer_counters=16)
GROUPS = CONFIG.groups
EVENTS = ("beat", "drain_stall", "emit_stall")  # in the order of their counters


class Memories:
    """Notes what the router writes, and answers reads `read_cycles` after their address."""

    def __init__(self, router: ClusterRouter) -> None:
        self._router = router
        self.words: dict[tuple[int, int, int], int] = {}  # by cluster, space, address
        self.fetches = 0

    async def serve(self, context) -> None:
        router = self._router
        addressed = [(0, 0)] * read_cycles(CONFIG)
        parts = [0] * read_latency(CONFIG)
        while True:
            port = router.memories[0]
            addressed.append((context.get(port.space), context.get(port.address)))
            parts.append(context.get(port.part))
            self.fetches += context.get(port.fetch)
            for cluster, memory in enumerate(router.memories):
                address, data = context.get(memory.address), context.get(memory.data)
                if context.get(memory.write_code):
                    self.words[cluster, Space.CODE, address] = data
                if context.get(memory.write_table):
                    self.words[cluster, Space.TABLE, address] = data
                place = addressed[-read_cycles(CONFIG)]
                word = self.words.get((cluster, *place), 0)
                context.set(memory.read, word >> 8 * parts[-1 - read_latency(CONFIG)] & 255)
            for number, bus in enumerate(router.buses):
                if context.get(bus.enable):
                    assert CONFIG.bus_of(context.get(bus.group)) == number
                    assert not context.get(bus.grouped)
                    assert not context.get(bus.result)
                    place = context.get(bus.address) * GROUPS + context.get(bus.group)
                    lanes = context.get(bus.as_value()) >> bus.shape()["data"].offset
                    key = context.get(bus.dest), int(Space.ACTIVATION), place
                    self.words[key] = lanes & ((1 << 64) - 1)
                else:
                    assert not context.get(bus.as_value()), "what is silent is zero"
            await context.tick()


@pytest.mark.parametrize("seed", range(4))
def test_router_carries_each_access_to_the_clusters_meant(seed: int) -> None:
    rng = random.Random(seed)
    print("seed", seed)
    router = ClusterRouter(CONFIG)
    memories = Memories(router)
    request, response = router.host.request, router.host.response
    model: dict[tuple[int, int, int], int] = {}

    async def ask(context, space: int, targets: int, address: int, data: int, write: int) -> None:
        context.set(router.targets, targets)
        context.set(
            request.payload, {"space": space, "address": address, "data": data, "write": write}
        )
        context.set(request.valid, 1)
        await context.tick().until(request.ready)
        context.set(request.valid, 0)
        context.set(router.targets, rng.randrange(8))
        for _ in range(rng.choice([0, 0, 1, 7])):
            await context.tick()

    async def host(context) -> None:
        context.set(router.result, 0x12345678)
        context.set(router.counter, 0x9ABCDEF0)
        for _ in range(150):
            space = rng.choice([Space.CODE, Space.TABLE, Space.ACTIVATION])
            targets, address = rng.randrange(1, 8), rng.randrange(64)
            data = rng.getrandbits(64 if space == Space.ACTIVATION else 32)
            await ask(context, space, targets, address, data, 1)
            for cluster in range(CONFIG.clusters):
                if targets >> cluster & 1:
                    model[cluster, space, address] = data
        for _ in range(20):
            await context.tick()
        assert memories.words == model
        places = rng.sample(sorted(model), 40)
        others = [(2, int(Space.RESULT), 3), (0, int(Space.COUNTER), 1)]
        fetches = 0
        for cluster, space, address in [*places, *others]:
            await ask(context, space, 1 << cluster, address, 0, 0)
            fetches += space == Space.ACTIVATION
            context.set(response.ready, 1)
            (got,) = await context.tick().sample(response.payload).until(response.valid)
            context.set(response.ready, 0)
            fixed = {Space.RESULT: 0x12345678, Space.COUNTER: 0x9ABCDEF0}
            assert memories.fetches == fetches
            # Words of four bytes stand in the lower half.
            got &= (1 << 8 * SPACE_BYTES[Space(space)]) - 1
            assert got == fixed.get(Space(space), model.get((cluster, space, address)))
        known = b""
        context.set(response.ready, 1)
        for address in range(IDENTITY_BYTES // 8):
            await ask(context, Space.IDENTITY, rng.randrange(8), address, 0, 0)
            (got,) = await context.tick().sample(response.payload).until(response.valid)
            known += got.to_bytes(8, "little")
        assert known == identity(CONFIG)

    simulator = Simulator(router)
    simulator.add_clock(1e-8)
    simulator.add_testbench(memories.serve, background=True)
    simulator.add_testbench(host)
    simulator.run()


@pytest.mark.parametrize("seed", range(3))
def test_conductor_loads_starts_and_waits(seed: int) -> None:
    """Descriptors are asked for one after the other; a layer ends a fixed time after quiet."""
    rng = random.Random(seed)
    print("seed", seed)
    conductor = Conductor(CONFIG)
    words = layer_layout(CONFIG).words
    control = conductor.control

    async def layer(context, first: int, index: int, length: int) -> int:
        """One layer that is quiet again `length` cycles after its start; returns its cycles."""
        for cycle in range(words + 1):
            assert context.get(control.busy)
            assert context.get(control.clear) == (cycle == 0)
            assert context.get(control.load) == (cycle > 0), "a word arrives a cycle later"
            if cycle < words:
                assert context.get(conductor.address) == first + index * words + cycle
            assert not context.get(control.start)
            await context.tick()
        assert context.get(control.start)
        for cycle in range(length):
            # It may take three cycles until it shows that something has begun.
            context.set(conductor.quiet, cycle < min(3, length - 1))
            await context.tick()
            assert not context.get(conductor.layer_done)
        context.set(conductor.quiet, 1)
        for _ in range(QUIET_CYCLES(CONFIG)):
            assert not context.get(conductor.layer_done)
            await context.tick()
        assert context.get(conductor.layer_done)
        cycles = words + 1 + length + QUIET_CYCLES(CONFIG) + 1
        assert context.get(conductor.layer_index) == index
        assert context.get(conductor.layer_cycles) == cycles
        await context.tick()
        return cycles

    async def check(context) -> None:
        context.set(conductor.quiet, 1)
        for layers in (1, 2, 5):
            first = rng.randrange(100)
            context.set(conductor.program, first)
            context.set(conductor.layers, layers)
            context.set(conductor.start, 1)
            await context.tick()
            context.set(conductor.start, 0)
            total = 0
            for index in range(layers):
                total += await layer(context, first, index, rng.choice([1, 4, 30]))
            assert not context.get(conductor.busy)
            assert context.get(conductor.cycles) == total
            await context.tick()
            assert not context.get(conductor.busy)

    simulator = Simulator(conductor)
    simulator.add_clock(1e-8)
    simulator.add_testbench(check)
    simulator.run()


@pytest.mark.parametrize("seed", range(3))
def test_records_hold_results_and_counters(seed: int) -> None:
    rng = random.Random(seed)
    print("seed", seed)
    records = Records(CONFIG)

    async def read(context, address: int) -> tuple[int, int]:
        context.set(records.address, address)
        for _ in range(read_cycles(CONFIG)):
            await context.tick()
        return context.get(records.result), context.get(records.counter)

    async def check(context) -> None:
        counts, layers = [0, 0, 0], {}
        context.set(records.start, 1)
        await context.tick()
        context.set(records.start, 0)
        results: dict[int, int] = {}
        taken = 0
        for _ in range(300):
            for event in records.events:
                bits = [rng.randrange(2) for _ in counts]
                context.set(event, dict(zip(EVENTS, bits, strict=True)))
                counts = [count + bit for count, bit in zip(counts, bits, strict=True)]
            address, word = rng.randrange(24), rng.getrandbits(32)
            lanes = [word >> 8 * lane & 255 for lane in range(4)] + [rng.randrange(256)] * 4
            base = rng.choice([0, 0, 1, 7, 19])
            context.set(records.results_at, base)
            entry = {"enable": 1, "address": address, "data": lanes, "result": rng.randrange(2)}
            context.set(records.bus, entry)
            if entry["result"] and base + address < CONFIG.result_depth:
                results[base + address], taken = word, taken + 1
            index, cycles = rng.randrange(20), rng.getrandbits(32)
            done = rng.randrange(2)
            context.set(records.layer_index, index)
            context.set(records.layer_cycles, cycles)
            context.set(records.layer_done, done)
            if done and index < CONFIG.layer_counters:
                layers[index] = cycles
            await context.tick()
        context.set(records.layer_done, 0)
        context.set(records.bus, {"enable": 0})
        for event in records.events:
            context.set(event, {})
        context.set(records.cycles, 77)
        context.set(records.results_at, 5)
        context.set(records.finish, 1)
        results[4] = 77
        await context.tick()
        context.set(records.finish, 0)
        await context.tick()
        assert context.get(records.results) == taken % (1 << len(records.results))
        for address, word in results.items():
            assert (await read(context, address))[0] == word
        assert (await read(context, Counter.CYCLES))[1] == 77
        for counter, count in zip(list(Counter)[1:], counts, strict=True):
            assert (await read(context, counter))[1] == count
        for index, cycles in layers.items():
            assert (await read(context, LAYER_COUNTERS + index))[1] == cycles
        for unused in set(range(LAYER_COUNTERS)) - set(Counter):
            assert (await read(context, unused))[1] == 0

    simulator = Simulator(records)
    simulator.add_clock(1e-8)
    simulator.add_testbench(check)
    simulator.run()
