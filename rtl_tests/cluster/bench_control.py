"""All clusters, stopped, misprogrammed and filled with garbage, and then they work."""

from __future__ import annotations

import json
import os
import random

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, First, Timer

from plum_hw.compiler import compile_network
from plum_hw.config import ArrayConfig
from plum_hw.gateware.link.host_port import read_cycles, read_latency
from plum_hw.golden.machine import Machine
from plum_hw.ir.random import random_images
from plum_hw.layouts import (
    LAYER_COUNTERS,
    READ_ONLY_SPACES,
    SPACE_BYTES,
    WRITE_ONLY_SPACES,
    DrainOp,
    Space,
    layer_layout,
    segment_layout,
    space_words,
)
from rtl_tests.cluster.cluster_bench import Bench, draw


class Good:
    """A compiled network and what the machine makes of it: the device must do the same."""

    def __init__(self, bench: Bench, seed: int) -> None:
        config = bench.config
        limits = json.loads(os.environ["PLUM_BENCH_LIMITS"])
        self.bench = bench
        while True:
            self.seed, network = draw(config, seed, limits)
            self.bundle = compile_network(network, config)
            if len(self.bundle.parts) == 1:
                break
            seed = self.seed + 1
        (self.layers,) = self.bundle.parts
        self.machine = Machine(config)
        self.machine.load(self.bundle)
        self.machine.write_image(self.bundle, random_images(network, 1, self.seed)[0])
        # Zeros beside the maps count as input, as after power-up.
        self.before = self.machine.activation[:, : config.act_depth].copy()
        self.machine.run(0, self.layers)
        self.changed = (self.before != self.machine.activation[:, : config.act_depth]).any(axis=2)

    async def load(self) -> None:
        await self.bench.load(self.bundle)
        for cluster, content in enumerate(self.before):
            await self.bench.write(Space.ACTIVATION, 0, content.tobytes(), cluster)

    async def check(self, where: str) -> None:
        """Load and run everything, and compare with the machine."""
        await self.load()
        await self.bench.run(0, self.layers)
        dut, machine = self.bench.dut, self.machine
        assert int(dut.cycles.value) == self.bundle.manifest["predicted_cycles"], where
        assert int(dut.results.value) == machine.result_count, where
        results = await self.bench.read(Space.RESULT, 0, machine.result_count)
        assert results == machine.results[: machine.result_count].tobytes(), where
        await self.bench.check_activations(machine, self.changed, where)


async def prepare(dut) -> tuple[Bench, random.Random]:
    seed = int(os.environ["SEED"])
    dut._log.info("seed %d", seed)
    bench = Bench(dut, ArrayConfig.from_dict(json.loads(os.environ["PLUM_BENCH_CONFIG"])))
    await bench.reset()
    return bench, random.Random(seed)


async def abort(bench: Bench) -> None:
    dut = bench.dut
    dut.abort.value = 1
    await FallingEdge(dut.clk)
    dut.abort.value = 0
    await ClockCycles(dut.clk, 2)
    await FallingEdge(dut.clk)
    assert not int(dut.busy.value), "busy after an abort"


async def ends(bench: Bench, cycles: int) -> bool:
    """Whether a run ends within so many cycles."""
    await First(FallingEdge(bench.dut.busy), ClockCycles(bench.dut.clk, cycles))
    await FallingEdge(bench.dut.clk)
    return not int(bench.dut.busy.value)


@cocotb.test()
async def host_access_to_all_spaces(dut) -> None:
    """Every word that can be written is there afterwards, whatever is written elsewhere."""
    bench, rng = await prepare(dut)
    config = bench.config
    model: dict[tuple[int, Space, int], bytes] = {}
    spaces = [space for space in Space if space not in READ_ONLY_SPACES | WRITE_ONLY_SPACES]
    for space in spaces:
        depth, size = space_words(config)[space], SPACE_BYTES[space]
        places = {0, depth - 1, *(1 << i for i in range((depth - 1).bit_length()))}
        for place in sorted(places | {rng.randrange(depth) for _ in range(60)}):
            for cluster in rng.choice([[None], range(config.clusters)]):
                lanes = bytes(rng.randrange(1 << config.act_bits) for _ in range(size))
                word = lanes if space == Space.ACTIVATION else rng.randbytes(size)
                await bench.write(space, place, word, cluster)
                for number in range(config.clusters) if cluster is None else [cluster]:
                    model[number, space, place] = word
    if os.environ.get("FAULT"):
        model[0, Space.TABLE, 0] = b"\xff" * 4
    for (cluster, space, place), want in model.items():
        got = await bench.read(space, place, 1, cluster)
        where = f"cluster {cluster} {space!r} {place}"
        assert got == want, f"{where} is {got.hex()}, expected {want.hex()}"


@cocotb.test()
async def a_write_a_cycle_and_a_waiting_response(dut) -> None:
    bench, rng = await prepare(dut)
    # A request is taken in every cycle.
    words = [rng.getrandbits(32) for _ in range(50)]
    dut.targets.value = 1
    for number, word in enumerate(words):
        request = int(Space.TABLE) | 1 << 3 | number << 4 | word << 20
        dut.host__request__payload.value = request
        dut.host__request__valid.value = 1
        await Timer(1, "ns")
        assert int(dut.host__request__ready.value)
        await FallingEdge(dut.clk)
    dut.host__request__valid.value = 0
    data = await bench.read(Space.TABLE, 0, len(words))
    assert data == b"".join(word.to_bytes(4, "little") for word in words)
    # A response stays until it is taken, and no request is taken before. With a slow clock the
    # request stays until its last byte is there.
    slow = bench.config.slow_clock
    dut.host__request__payload.value = int(Space.TABLE) | 7 << 4
    dut.host__request__valid.value = 1
    await FallingEdge(dut.clk)
    if not slow:
        dut.host__request__payload.value = int(Space.TABLE) | 8 << 4
    cycles = read_cycles(bench.config) + 8 + read_latency(bench.config)
    for wait in range(cycles + 10):
        assert int(dut.host__request__ready.value) == (slow and wait == cycles)
        assert int(dut.host__response__valid.value) == (wait > cycles), f"after {wait} cycles"
        await FallingEdge(dut.clk)
        if wait == cycles:
            dut.host__request__payload.value = int(Space.TABLE) | 8 << 4
    assert int(dut.host__response__payload.value) & 0xFFFFFFFF == words[7]
    dut.host__response__ready.value = 1
    await FallingEdge(dut.clk)
    dut.host__response__ready.value = 0
    assert int(dut.host__request__ready.value) or slow
    dut.host__request__valid.value = 0


@cocotb.test()
async def aborted_anywhere_then_run_again(dut) -> None:
    bench, rng = await prepare(dut)
    good = Good(bench, 100)
    total = good.bundle.manifest["predicted_cycles"]
    await good.check("before any abort")
    places = [1, 12, 15, 16, 18, 25, *(rng.randrange(total) for _ in range(6))]
    for place in places:
        await good.load()
        await bench.start(0, good.layers)
        await ClockCycles(dut.clk, place)
        await FallingEdge(dut.clk)
        await abort(bench)
        # What the aborted run has left must not reach into the next one.
        await good.check(f"after an abort at cycle {place} of {total}")


@cocotb.test()
async def an_emission_that_meets_another_is_noticed(dut) -> None:
    """Each drain of a filter begins an emission, and none opens a bank: nothing waits for those
    that read the same one.
    """
    bench, _ = await prepare(dut)
    layout, segment = layer_layout(bench.config), segment_layout(bench.config)
    found = 0
    for seed in range(100, 106):
        good = Good(bench, seed)
        await good.check(f"seed {seed}")
        code = [int(word) for word in good.bundle.code[0][0]]
        for number, layer in enumerate(good.bundle.manifest["layers"]):
            fields = layout.unpack(code[number * layout.words :][: layout.words])
            for offset in range(fields["window_segments"] + fields["segments"]):
                place = fields["segment_ptr"] + offset
                values = segment.unpack([code[place]])
                if values["drain"]:
                    word = segment.pack(**(values | {"op": DrainOp.ADD, "emit": 1}))[0]
                    await bench.write(Space.CODE, place, word.to_bytes(4, "little"), 0)
            await bench.start(number * layout.words, 1)
            # What was lost may be waited for.
            if not await ends(bench, 20_000):
                await abort(bench)
            found += int(dut.error.value)
            await good.check(f"seed {seed}, after an error in {layer['name']}")
    assert found >= 2, f"{found} layers went wrong"


async def fill(bench: Bench, rng: random.Random) -> None:
    for space in (Space.CODE, Space.TABLE, Space.ACTIVATION):
        size = space_words(bench.config)[space] * SPACE_BYTES[space]
        for cluster in range(bench.config.clusters):
            await bench.write(space, 0, rng.randbytes(size), cluster)


@cocotb.test()
async def garbage_ends_or_can_be_aborted(dut) -> None:
    bench, rng = await prepare(dut)
    config = bench.config
    good = Good(bench, 101)
    depth = space_words(config)[Space.CODE]
    layout, segment = layer_layout(config), segment_layout(config)
    await fill(bench, rng)
    aborted = 0
    for _ in range(25):
        await bench.start(rng.randrange(1 << 16), rng.randrange(1 << 16))
        if not await ends(bench, rng.randrange(4000)):
            await abort(bench)
            aborted += 1
    assert aborted
    await good.check("after garbage")

    # Small counts, or none where there must be one, and anything in all other fields: it ends.
    await fill(bench, rng)
    for number in range(25):
        fields = {field.name: rng.randint(field.low, field.high) for field in layout.fields}
        fields.update(vectors=rng.randrange(1, 3), passes=rng.randrange(1, 3))
        fields.update(segments=rng.randrange(1, 3), window_segments=rng.randrange(2))
        fields["segment_ptr"] = rng.randrange(depth - 3)
        words = layout.pack(**fields)
        for index in range(3):
            values = {field.name: rng.randint(field.low, field.high) for field in segment.fields}
            values["words"] = rng.randrange(3)
            word = segment.pack(**values)[0].to_bytes(4, "little")
            await bench.write(Space.CODE, fields["segment_ptr"] + index, word)
        place = (fields["segment_ptr"] + depth // 2) % (depth - len(words))
        data = b"".join(word.to_bytes(4, "little") for word in words)
        await bench.write(Space.CODE, place, data)
        await bench.start(place, 1)
        assert await ends(bench, 400_000), f"{number}: {fields} does not end"
    await good.check("after small garbage")


@cocotb.test()
async def more_layers_than_there_are_counters(dut) -> None:
    """What does not fit is lost, and nothing else is."""
    bench, _ = await prepare(dut)
    config = bench.config
    good = Good(bench, 100)
    await good.load()
    layout = layer_layout(config)
    words = layout.words
    count = config.layer_counters + 3
    for cluster, code in enumerate(good.bundle.code[0]):
        fields = layout.unpack([int(word) for word in code[:words]])
        segments = fields["window_segments"] + fields["segments"]
        taken = code[fields["segment_ptr"] :][:segments]
        masks = code[fields["weight_ptr"] :]
        fields["segment_ptr"] = count * words
        fields["weight_ptr"] = count * words + segments
        content = np.array([*layout.pack(**fields) * count, *taken, *masks], np.uint32)
        await bench.write(Space.CODE, 0, content[: config.code_depth].tobytes(), cluster)
    await bench.run(0, count)
    cycles = good.bundle.manifest["layers"][0]["cycles"]
    for number in (0, config.layer_counters - 1) if config.layer_counters else ():
        assert await bench.counter(LAYER_COUNTERS + number) == cycles
    assert int(dut.cycles.value) == count * cycles
    await good.check("after a long run")
