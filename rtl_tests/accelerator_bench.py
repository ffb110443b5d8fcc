"""cocotb side of `test_accelerator`: the whole device against the golden one, byte for byte."""

from __future__ import annotations

import dataclasses
import struct

import cocotb
import numpy as np

from plum_host.bundle import Bundle
from plum_host.packets import encode
from plum_host.protocol import BROADCAST, Op, Space
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import preset
from plum_hw.golden.device import GoldenDevice
from plum_hw.ir.random import random_images, random_network
from rtl_tests.streams import Bench, planted

#: Two clusters that do the same: the compiler makes programs for one, and what is tested here is
#: the way to each of them.
CONFIG = dataclasses.replace(preset("tiny"), name="bench", clusters=2, packet_bytes=256)
ONE = dataclasses.replace(CONFIG, clusters=1)


def write(space: Space, address: int, data: bytes, size: int) -> list[bytes]:
    """WRITE requests to all clusters."""
    step = (CONFIG.packet_bytes - 8) // size * size
    return [
        struct.pack("<BBBBI", 1, Op.WRITE, space, BROADCAST, address + start // size)
        + data[start : start + step]
        for start in range(0, len(data), step)
    ]


def conversation(bundle: Bundle, images: np.ndarray) -> list[bytes]:
    """All requests that it takes to run the images, and a look at each cluster's results."""
    manifest = bundle.manifest
    requests = [bytes([0, Op.IDENTIFY])]
    for space, words in (
        (Space.PROGRAM, bundle.program),
        (Space.TABLE, bundle.table),
        (Space.WEIGHT, bundle.weight),
    ):
        requests += write(space, 0, words[0].tobytes(), 4)
    place, address, count = bundle.output_range
    for image in bundle.pack_images(images):
        requests += write(Space.ACTIVATION, manifest["input"]["address"], image.tobytes(), 8)
        requests.append(
            struct.pack("<BBHH", 2, Op.RUN, manifest["program_address"], len(manifest["layers"]))
        )
        for cluster in range(CONFIG.clusters):
            for space, first, words in ((place, address, count), (Space.COUNTER, 0, 16 + 8)):
                requests += [
                    struct.pack("<BBBBIH", 3, Op.READ, space, cluster, first + start, 1)
                    for start in range(words)
                ]
    return requests


@cocotb.test()
@cocotb.parametrize(seed=[1, 40], gap=[0.0, 0.3])
async def networks_run_as_on_the_golden_device(dut, seed: int, gap: float) -> None:
    bench = Bench(dut, gap)
    rx, tx = bench.source("rx"), bench.sink("tx")
    await bench.reset()
    limits = {"max_layers": 3, "max_macs": 20_000}
    while check_network(network := random_network(seed, **limits), ONE):
        seed += 1
    cocotb.log.info("network %d", seed)
    bundle = compile_network(network, ONE)
    golden = GoldenDevice(CONFIG)
    for request in conversation(bundle, random_images(network, 2, seed)):
        line = encode(request)
        answer = golden.feed(line)
        tx.received.clear()
        rx.send(line)
        cycles = bundle.manifest["predicted_cycles"] if request[1] == Op.RUN else 0
        await bench.until(tx, len(answer), cycles + 20 * (len(line) + len(answer)) + 1000)
        assert tx.received == (planted(list(answer)) if request[1] == Op.RUN else list(answer))
    assert not int(dut.busy.value)
    assert not int(dut.error.value)
