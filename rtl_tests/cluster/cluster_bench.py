"""cocotb side of `test_cluster`: compiled networks on a whole cluster, layer by layer."""

from __future__ import annotations

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout

from plum_host.bundle import Bundle
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.golden.machine import Machine
from plum_hw.golden.reference import Reference
from plum_hw.ir import load_network
from plum_hw.ir.random import random_images, random_network
from plum_hw.layouts import LAYER_COUNTERS, SPACE_BYTES, Counter, Space, layer_layout

#: Cycles after which a layer counts as hung.
PATIENCE = 3_000_000
#: Vectors read after a layer beside those that it has changed.
SAMPLE = 12


class Bench:
    """Drives one cluster through its host port; signals change at falling edges."""

    def __init__(self, dut, config: ArrayConfig) -> None:
        self.dut = dut
        self.config = config

    async def reset(self) -> None:
        for name in ("start", "abort", "host__request__valid", "host__response__ready"):
            getattr(self.dut, name).value = 0
        self.dut.rst.value = 1
        Clock(self.dut.clk, 10, unit="ns").start()
        for _ in range(4):
            await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0
        await FallingEdge(self.dut.clk)

    async def _request(self, space: Space, address: int, data: int, write: bool) -> None:
        dut = self.dut
        dut.host__request__payload.value = int(space) | write << 3 | address << 4 | data << 20
        dut.host__request__valid.value = 1
        # `ready` is stable at the falling edge before the rising edge that takes the request.
        while not int(dut.host__request__ready.value):
            await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
        dut.host__request__valid.value = 0

    async def write(self, space: Space, address: int, data: bytes) -> None:
        size = SPACE_BYTES[space]
        for number in range(len(data) // size):
            word = int.from_bytes(data[number * size :][:size], "little")
            await self._request(space, address + number, word, True)

    async def read(self, space: Space, address: int, count: int) -> bytes:
        dut = self.dut
        size = SPACE_BYTES[space]
        words = []
        dut.host__response__ready.value = 1
        for number in range(count):
            await self._request(space, address + number, 0, False)
            if not int(dut.host__response__valid.value):
                await RisingEdge(dut.host__response__valid)
                await FallingEdge(dut.clk)
            words.append(int(dut.host__response__payload.value).to_bytes(8, "little")[:size])
            await FallingEdge(dut.clk)
        dut.host__response__ready.value = 0
        return b"".join(words)

    async def counter(self, number: int) -> int:
        return int.from_bytes(await self.read(Space.COUNTER, number, 1), "little")

    async def start(self, program: int, layers: int) -> None:
        dut = self.dut
        dut.program.value = program
        dut.layers.value = layers
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        assert int(dut.busy.value), f"program {program} did not start"

    async def run(self, program: int, layers: int) -> None:
        dut = self.dut
        await self.start(program, layers)
        await with_timeout(FallingEdge(dut.busy), 10 * PATIENCE, "ns")
        await FallingEdge(dut.clk)
        assert not int(dut.overrun.value), f"overrun in program {program}"

    async def load(self, bundle: Bundle) -> None:
        for space, content in (
            (Space.PROGRAM, bundle.program[0]),
            (Space.TABLE, bundle.table[0]),
            (Space.WEIGHT, bundle.weight[0]),
        ):
            await self.write(space, 0, content.tobytes())

    async def check_activations(self, machine: Machine, vectors: np.ndarray, where: str) -> None:
        """Compare vectors of activation memory with the machine's."""
        groups = self.config.groups
        for vector in vectors:
            words = await self.read(Space.ACTIVATION, int(vector) * groups, groups)
            got, want = np.frombuffer(words, np.uint8), machine.activation[vector]
            wrong = np.flatnonzero(got != want)
            assert not len(wrong), (
                f"{where}: vector {vector} lane {wrong[0]} is {got[wrong[0]]}, "
                f"expected {want[wrong[0]]}, {len(wrong)} differ"
            )


def draw(config: ArrayConfig, seed: int, limits: dict):
    """The first network from `seed` on that the array can run."""
    while True:
        network = random_network(seed, **limits)
        if not check_network(network, config):
            return seed, network
        seed += 1_000_000


def cases(config: ArrayConfig, limits: dict):
    """Seed, network and images of each case: the network of a file, or drawn ones."""
    if path := os.environ.get("PLUM_BENCH_NETWORK"):
        images = np.load(os.environ["PLUM_BENCH_IMAGES"])["images"]
        yield 0, load_network(path), images[: int(os.environ["PLUM_BENCH_COUNT"])]
        return
    for first in json.loads(os.environ["PLUM_BENCH_SEEDS"]):
        seed, network = draw(config, first, limits)
        yield seed, network, random_images(network, 2, seed)


@cocotb.test()
async def networks_layer_by_layer(dut):
    """Activation memory after every layer, its cycles, stalls and results equal the machine's,
    whose tensors equal the reference's.

    After a layer the vectors that it has changed and a few others are compared, after a network the
    whole memory.
    """
    config = ArrayConfig.from_dict(json.loads(os.environ["PLUM_BENCH_CONFIG"]))
    limits = json.loads(os.environ["PLUM_BENCH_LIMITS"])
    fault = os.environ.get("PLUM_BENCH_FAULT") == "1"
    bench = Bench(dut, config)
    machine = Machine(config)
    await bench.reset()
    words = layer_layout(config).words
    everything = np.arange(config.act_depth)
    for seed, network, images in cases(config, limits):
        rng = np.random.default_rng(seed)
        reference = Reference(network).layers(images)
        bundle = compile_network(network, config)
        names = [layer["name"] for layer in bundle.manifest["layers"]]
        dut._log.info("seed %d: %s", seed, ", ".join(names))
        machine.load(bundle)
        await bench.load(bundle)
        program = bundle.manifest["program_address"]
        address = bundle.manifest["input"]["address"]
        for index, image in enumerate(images):
            packed = bundle.pack_image(image)
            machine.write(Space.ACTIVATION, address, packed)
            await bench.write(Space.ACTIVATION, address, packed.tobytes())
            for number, name in enumerate(names):
                where = f"seed {seed}, layer {name}"
                before = machine.activation.copy()
                machine.run(program + number * words, 1)
                if name in reference:
                    tensor = machine.tensor(bundle, name)
                    assert np.array_equal(tensor, reference[name][index]), where
                if fault:
                    machine.activation[3, 1] ^= 1
                await bench.run(program + number * words, 1)
                changed = (before != machine.activation).any(axis=1)[: config.act_depth]
                changed[rng.integers(config.act_depth, size=SAMPLE)] = True
                await bench.check_activations(machine, np.flatnonzero(changed), where)
                for counter in (*Counter, LAYER_COUNTERS):
                    want_count = int(machine.counters[counter])
                    got_count = await bench.counter(counter)
                    assert got_count == want_count, (
                        f"{where}: counter {counter!r} is {got_count}, predicted {want_count}"
                    )
                assert int(dut.results.value) == machine.result_count, where
                results = await bench.read(Space.RESULT, 0, machine.result_count)
                assert results == machine.results[: machine.result_count].tobytes(), where
            # The same program in one run: cycles add up, nothing is left over between layers.
            machine.write(Space.ACTIVATION, address, packed)
            await bench.write(Space.ACTIVATION, address, packed.tobytes())
            machine.run(program, len(names))
            await bench.run(program, len(names))
            assert int(dut.cycles.value) == bundle.manifest["predicted_cycles"], f"seed {seed}"
            for number in range(len(names)):
                got_count = await bench.counter(LAYER_COUNTERS + number)
                assert got_count == bundle.manifest["layers"][number]["cycles"], names[number]
        await bench.check_activations(machine, everything, f"seed {seed}, at the end")
