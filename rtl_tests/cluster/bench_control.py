"""A whole cluster that is stopped, misprogrammed and filled with garbage, and then works."""

from __future__ import annotations

import json
import os
import random

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, First

from plum_hw.compiler import compile_network
from plum_hw.config import ArrayConfig
from plum_hw.golden.machine import Machine
from plum_hw.ir.random import random_images
from plum_hw.layouts import (
    LAYER_COUNTERS,
    READ_ONLY_SPACES,
    SPACE_BYTES,
    Counter,
    Space,
    layer_layout,
    segment_layout,
    space_words,
)
from rtl_tests.cluster.cluster_bench import Bench, draw


class Good:
    """A compiled network and what the machine makes of it: the cluster must do the same."""

    def __init__(self, bench: Bench, seed: int) -> None:
        config = bench.config
        limits = json.loads(os.environ["PLUM_BENCH_LIMITS"])
        self.bench = bench
        self.seed, network = draw(config, seed, limits)
        self.bundle = compile_network(network, config)
        self.layers = len(self.bundle.manifest["layers"])
        self.program = self.bundle.manifest["program_address"]
        self.image = self.bundle.pack_image(random_images(network, 1, self.seed)[0])
        self.machine = Machine(config)
        self.machine.load(self.bundle)
        self.address = self.bundle.manifest["input"]["address"]
        self.machine.write(Space.ACTIVATION, self.address, self.image)
        before = self.machine.activation.copy()
        self.machine.run(self.program, self.layers)
        self.changed = (before != self.machine.activation).any(axis=1).nonzero()[0]
        # Zeros beside the maps count as input, as after power-up.
        self.before = before.reshape(-1, config.group_lanes)[: config.act_depth * config.groups]

    async def load(self) -> None:
        await self.bench.load(self.bundle)
        await self.bench.write(Space.ACTIVATION, 0, self.before.tobytes())

    async def check(self, where: str) -> None:
        """Load and run everything, and compare with the machine."""
        await self.load()
        await self.bench.run(self.program, self.layers)
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
    bits = {Space.WEIGHT: config.mask_bits}
    model: dict[Space, dict[int, bytes]] = {}
    spaces = [space for space in Space if space not in READ_ONLY_SPACES]
    for space in spaces:
        depth, size = space_words(config)[space], SPACE_BYTES[space]
        places = {0, depth - 1, *(1 << i for i in range((depth - 1).bit_length()))}
        model[space] = {}
        for place in sorted(places | {rng.randrange(depth) for _ in range(60)}):
            lanes = bytes(rng.randrange(1 << config.act_bits) for _ in range(size))
            word = rng.getrandbits(bits.get(space, 8 * size)).to_bytes(size, "little")
            model[space][place] = lanes if space == Space.ACTIVATION else word
            await bench.write(space, place, model[space][place])
    if os.environ.get("FAULT"):
        model[Space.TABLE][0] = b"\xff" * 4
    for space in spaces:
        for place, want in model[space].items():
            got = await bench.read(space, place, 1)
            assert got == want, f"{space!r} {place} is {got.hex()}, expected {want.hex()}"


@cocotb.test()
async def a_write_a_cycle_and_a_waiting_response(dut) -> None:
    bench, rng = await prepare(dut)
    # A request is taken in every cycle.
    words = [rng.getrandbits(32) for _ in range(50)]
    for number, word in enumerate(words):
        request = int(Space.TABLE) | 1 << 3 | number << 4 | word << 20
        dut.host__request__payload.value = request
        dut.host__request__valid.value = 1
        assert int(dut.host__request__ready.value)
        await FallingEdge(dut.clk)
    dut.host__request__valid.value = 0
    data = await bench.read(Space.TABLE, 0, len(words))
    assert data == b"".join(word.to_bytes(4, "little") for word in words)
    # A response stays until it is taken, and no request is taken before.
    dut.host__request__payload.value = int(Space.TABLE) | 7 << 4
    dut.host__request__valid.value = 1
    await FallingEdge(dut.clk)
    dut.host__request__payload.value = int(Space.TABLE) | 8 << 4
    for wait in range(20):
        assert not int(dut.host__request__ready.value)
        assert int(dut.host__response__valid.value) == (wait >= 4), f"after {wait} cycles"
        await FallingEdge(dut.clk)
    assert int(dut.host__response__payload.value) & 0xFFFFFFFF == words[7]
    dut.host__response__ready.value = 1
    await FallingEdge(dut.clk)
    dut.host__response__ready.value = 0
    assert int(dut.host__request__ready.value)
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
        await bench.start(good.program, good.layers)
        await ClockCycles(dut.clk, place)
        await FallingEdge(dut.clk)
        await abort(bench)
        # What the aborted run has left must not reach into the next one.
        await good.check(f"after an abort at cycle {place} of {total}")


@cocotb.test()
async def an_emission_too_early_is_noticed(dut) -> None:
    """`emit_gap` one too small, in layers where the emitter is what stalls the lanes."""
    bench, _ = await prepare(dut)
    layout, found = layer_layout(bench.config), 0
    for seed in range(100, 108):
        good = Good(bench, seed)
        await good.check(f"seed {seed}")
        stalls = Machine(bench.config)
        stalls.load(good.bundle)
        program = [int(word) for word in good.bundle.program[0]]
        for number, layer in enumerate(good.bundle.manifest["layers"]):
            place = good.program + number * layout.words
            fields = layout.unpack(program[place : place + layout.words])
            stalls.run(place, 1)
            # With a residual the gap keeps the residual register safe, which nobody watches.
            if not stalls.counters[Counter.EMIT_STALLS] or fields["residual"]:
                continue
            fields["emit_gap"] -= 1
            for offset, word in enumerate(layout.pack(**fields)):
                await bench.write(Space.PROGRAM, place + offset, word.to_bytes(4, "little"))
            await bench.start(place, 1)
            assert await ends(bench, 100_000)
            assert int(dut.overrun.value), f"seed {seed}, layer {layer['name']}: no overrun"
            found += 1
            await good.check(f"seed {seed}, after an overrun")
    assert found >= 3, f"{found} layers were bound by the emitter"


async def fill(bench: Bench, rng: random.Random) -> None:
    for space in (Space.PROGRAM, Space.TABLE, Space.WEIGHT, Space.ACTIVATION):
        await bench.write(
            space, 0, rng.randbytes(space_words(bench.config)[space] * SPACE_BYTES[space])
        )


@cocotb.test()
async def garbage_ends_or_can_be_aborted(dut) -> None:
    bench, rng = await prepare(dut)
    config = bench.config
    good = Good(bench, 101)
    depth = space_words(config)[Space.PROGRAM]
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
        fields.update({name: rng.randrange(3) for name in ("vectors", "filters", "segments")})
        fields["segment_ptr"] = rng.randrange(depth - 2)
        words = layout.pack(**fields)
        for index in range(2):
            values = {field.name: rng.randint(field.low, field.high) for field in segment.fields}
            values["words"] = rng.randrange(3)
            word = segment.pack(**values)[0].to_bytes(4, "little")
            await bench.write(Space.PROGRAM, fields["segment_ptr"] + index, word)
        place = (fields["segment_ptr"] + depth // 2) % (depth - len(words))
        data = b"".join(word.to_bytes(4, "little") for word in words)
        await bench.write(Space.PROGRAM, place, data)
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
    words = layer_layout(config).words
    first = good.bundle.program[0][good.program :][:words]
    fields = layer_layout(config).unpack([int(word) for word in first])
    count = config.layer_counters + 3
    segments = good.bundle.program[0][fields["segment_ptr"] :][: fields["segments"]]
    fields["segment_ptr"] = count * words
    layer = layer_layout(config).pack(**fields)
    content = np.array([*layer * count, *segments], np.uint32)
    await bench.write(Space.PROGRAM, 0, content.tobytes())
    await bench.run(0, count)
    cycles = good.bundle.manifest["layers"][0]["cycles"]
    for number in (0, config.layer_counters - 1):
        assert await bench.counter(LAYER_COUNTERS + number) == cycles
    assert int(dut.cycles.value) == count * cycles
    await good.check("after a long run")
