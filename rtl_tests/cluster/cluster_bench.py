"""cocotb side of `test_cluster`: compiled networks on all clusters, layer by layer."""

from __future__ import annotations

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer, with_timeout

from plum_host.bundle import Bundle
from plum_host.steps import Turn, turns
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.golden.machine import Machine
from plum_hw.golden.reference import Reference
from plum_hw.ir import load_network
from plum_hw.ir.random import random_images, random_network
from plum_hw.layouts import BROADCAST, LAYER_COUNTERS, SPACE_BYTES, Counter, Space, layer_layout

#: Cycles after which a layer counts as hung.
PATIENCE = 3_000_000
#: Vectors read after a layer beside those that it has changed.
SAMPLE = 12


class Bench:
    """Drives a device through its host port; signals change at falling edges."""

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

    async def _request(
        self, space: Space, targets: int, address: int, data: int, write: bool
    ) -> None:
        dut = self.dut
        dut.targets.value = targets
        dut.host__request__payload.value = int(space) | write << 3 | address << 4 | data << 20
        dut.host__request__valid.value = 1
        # `ready` may depend on the request, and is stable before the rising edge that takes it.
        await Timer(1, "ns")
        while not int(dut.host__request__ready.value):
            await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
        dut.host__request__valid.value = 0

    async def write(
        self, space: Space, address: int, data: bytes, cluster: int | None = None
    ) -> None:
        """Write whole words, to all clusters unless one is given."""
        size = SPACE_BYTES[space]
        targets = (1 << self.config.clusters) - 1 if cluster is None else 1 << cluster
        for number in range(len(data) // size):
            word = int.from_bytes(data[number * size :][:size], "little")
            await self._request(space, targets, address + number, word, True)

    async def read(self, space: Space, address: int, count: int, cluster: int = 0) -> bytes:
        dut = self.dut
        size = SPACE_BYTES[space]
        words = []
        dut.host__response__ready.value = 1
        for number in range(count):
            await self._request(space, 1 << cluster, address + number, 0, False)
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
        assert not int(dut.error.value), f"error in program {program}"

    async def load(self, bundle: Bundle, part: int = 0) -> None:
        """Write code and tables of a part."""
        for cluster in range(self.config.clusters):
            for space, words in ((Space.CODE, bundle.code), (Space.TABLE, bundle.table)):
                await self.write(space, 0, words[part][cluster].tobytes(), cluster)

    async def write_image(self, bundle: Bundle, image: np.ndarray) -> None:
        """Write what the first step needs of an image."""
        await self.take(next(turns(bundle, image)))

    async def take(self, turn: Turn) -> None:
        """Write what a step needs."""
        for each in turn.writes:
            every = range(self.config.clusters)
            for cluster in every if each.cluster == BROADCAST else (each.cluster,):
                await self.write(Space.ACTIVATION, each.address, each.data, cluster)

    async def check_activations(self, machine: Machine, chosen: np.ndarray, where: str) -> None:
        """Compare vectors of activation memories with the machine's.

        chosen : bool [clusters, vectors]
        """
        groups = self.config.groups
        for cluster, vector in np.argwhere(chosen).tolist():
            words = await self.read(Space.ACTIVATION, vector * groups, groups, cluster)
            got, want = np.frombuffer(words, np.uint8), machine.activation[cluster, vector]
            wrong = np.flatnonzero(got != want)
            assert not len(wrong), (
                f"{where}: cluster {cluster} vector {vector} lane {wrong[0]} is {got[wrong[0]]}, "
                f"expected {want[wrong[0]]}, {len(wrong)} differ"
            )

    async def check_records(self, machine: Machine, where: str) -> None:
        """Compare counters and results of a run of one layer with the machine's."""
        layers = [LAYER_COUNTERS] if self.config.layer_counters else []
        for counter in (*Counter, *layers):
            want, got = int(machine.counters[counter]), await self.counter(counter)
            assert got == want, f"{where}: counter {counter!r} is {got}, predicted {want}"
        assert int(self.dut.results.value) == machine.result_count, where
        results = await self.read(Space.RESULT, 0, machine.result_count)
        assert results == machine.results[: machine.result_count].tobytes(), where


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


class Comparison:
    """One network on the device and on the machine."""

    def __init__(self, bench: Bench, machine: Machine, bundle: Bundle, seed: int) -> None:
        self.bench, self.machine, self.bundle = bench, machine, bundle
        self.seed = seed
        self._rng = np.random.default_rng(seed)
        self._entries = bundle.manifest["layers"]
        self._names = [entry["name"] for entry in self._entries]
        self.fault = os.environ.get("PLUM_BENCH_FAULT") == "1"

    async def layer_by_layer(self, image: np.ndarray, reference: dict[str, np.ndarray]) -> None:
        """Activation memories, counters and results after every layer."""
        bench, machine, bundle = self.bench, self.machine, self.bundle
        words = layer_layout(bench.config).words
        for turn in machine.turns(bundle, image):
            await bench.take(turn)
            machine.load(bundle, turn.part)
            await bench.load(bundle, turn.part)
            done = sum(bundle.parts[: turn.part])
            for index in range(bundle.parts[turn.part]):
                name = self._names[done]
                where = f"seed {self.seed}, layer {name}"
                done += 1
                before = machine.activation.copy()
                machine.run(index * words, 1)
                # A layer may take several steps, and the last completes its tensor.
                if name in reference and name not in self._names[done:]:
                    assert np.array_equal(machine.tensor(bundle, name), reference[name]), where
                if self.fault:
                    machine.activation[0, 3, 1] ^= 1
                await bench.run(index * words, 1)
                await bench.check_records(machine, where)
                changed = (before != machine.activation).any(axis=2)[:, : bench.config.act_depth]
                shape = changed.shape
                changed.reshape(-1)[self._rng.integers(changed.size, size=SAMPLE)] = True
                await bench.check_activations(machine, changed.reshape(shape), where)

    async def part_by_part(self, image: np.ndarray) -> None:
        """The same programs in one run each: cycles add up, nothing is left between layers."""
        bench, machine, bundle = self.bench, self.machine, self.bundle
        cycles = 0
        counted = [0] * len(self._entries)
        for turn in machine.turns(bundle, image):
            await bench.take(turn)
            machine.load(bundle, turn.part)
            await bench.load(bundle, turn.part)
            count = bundle.parts[turn.part]
            machine.run(0, count)
            await bench.run(0, count)
            done = sum(bundle.parts[: turn.part])
            for number in range(min(count, bench.config.layer_counters)):
                counted[done + number] += await bench.counter(LAYER_COUNTERS + number)
            cycles += int(bench.dut.cycles.value)
        assert cycles == bundle.manifest["predicted_cycles"], f"seed {self.seed}"
        if max(bundle.parts) <= bench.config.layer_counters:
            assert counted == [entry["cycles"] for entry in self._entries], self._names


@cocotb.test()
async def networks_layer_by_layer(dut):
    """Activation memories after every layer, its cycles, stalls and results equal the machine's,
    whose tensors equal the reference's.

    After a layer the vectors that it has changed and a few others are compared, after a network all
    memories.
    """
    config = ArrayConfig.from_dict(json.loads(os.environ["PLUM_BENCH_CONFIG"]))
    limits = json.loads(os.environ["PLUM_BENCH_LIMITS"])
    bench = Bench(dut, config)
    machine = Machine(config)
    await bench.reset()
    everything = np.ones((config.clusters, config.act_depth), bool)
    for seed, network, images in cases(config, limits):
        reference = Reference(network).layers(images)
        bundle = compile_network(network, config)
        layers = [(entry["name"], entry["split"]) for entry in bundle.manifest["layers"]]
        dut._log.info("seed %d: %s", seed, layers)
        comparison = Comparison(bench, machine, bundle, seed)
        for index, image in enumerate(images):
            outputs = {name: values[index] for name, values in reference.items()}
            await comparison.layer_by_layer(image, outputs)
            await comparison.part_by_part(image)
        await bench.check_activations(machine, everything, f"seed {seed}, at the end")
