"""The whole accelerator with two clusters against the golden device, byte for byte.

It runs as a virtual board, so that whole networks take no time; gaps on the streams are the matter
of the blocks' own benches.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

import numpy as np
import pytest
import serial

from plum_host.bundle import Bundle
from plum_host.packets import encode
from plum_host.protocol import BROADCAST, SPACE_BYTES, Op, Space
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.golden.device import GoldenDevice
from plum_hw.ir.random import random_images, random_network
from plum_hw.virtual import VirtualBoard

#: One lane group, and little memory: quick to compile.
CONFIG = ArrayConfig(
    name="bench",
    clusters=2,
    lanes=8,
    act_depth=512,
    weight_depth=512,
    program_depth=256,
    table_depth=1024,
    result_depth=16,
    layer_counters=16,
    packet_bytes=256,
)
#: The compiler makes programs for one cluster; here both run the same, on images of their own.
ONE = dataclasses.replace(CONFIG, clusters=1)


def write(space: Space, cluster: int, address: int, data: bytes) -> list[bytes]:
    """WRITE requests."""
    size = SPACE_BYTES[space]
    step = (CONFIG.packet_bytes - 8) // size * size
    return [
        struct.pack("<BBBBI", 1, Op.WRITE, space, cluster, address + start // size)
        + data[start : start + step]
        for start in range(0, len(data), step)
    ]


def read(space: Space, cluster: int, address: int, count: int) -> list[bytes]:
    """READ requests."""
    step = (CONFIG.packet_bytes - 2) // SPACE_BYTES[space]
    return [
        struct.pack(
            "<BBBBIH", 2, Op.READ, space, cluster, address + start, min(step, count - start)
        )
        for start in range(0, count, step)
    ]


def conversation(bundle: Bundle, images: np.ndarray) -> list[bytes]:
    """Requests that load a bundle, run an image on each cluster, and read all that came of it."""
    manifest = bundle.manifest
    requests = [bytes([0, Op.IDENTIFY])]
    for space, words in (
        (Space.PROGRAM, bundle.program),
        (Space.TABLE, bundle.table),
        (Space.WEIGHT, bundle.weight),
    ):
        requests += write(space, BROADCAST, 0, words[0].tobytes())
    for cluster, image in enumerate(bundle.pack_images(images)):
        address = manifest["input"]["address"]
        requests += write(Space.ACTIVATION, cluster, address, image.tobytes())
    run = manifest["program_address"], len(manifest["layers"])
    requests.append(struct.pack("<BBHH", 3, Op.RUN, *run))
    for cluster in range(CONFIG.clusters):
        place, address, count = bundle.output_range
        requests += read(place, cluster, address, count)
        requests += read(Space.COUNTER, cluster, 0, 16 + len(manifest["layers"]))
    return requests


@pytest.fixture(scope="module")
def line() -> Iterator[serial.SerialBase]:
    with VirtualBoard(CONFIG) as board, serial.serial_for_url(board.url, timeout=20) as opened:
        yield opened


@pytest.mark.parametrize("seed", range(0, 600, 100))
def test_networks_run_as_on_the_golden_device(line: serial.SerialBase, seed: int) -> None:
    limits = {"max_layers": 4, "max_macs": 40_000, "max_width": 8, "max_channels": 8}
    while check_network(network := random_network(seed, **limits), ONE):
        seed += 1
    print("seed", seed)
    bundle = compile_network(network, ONE)
    golden = GoldenDevice(CONFIG)
    for request in conversation(bundle, random_images(network, CONFIG.clusters, seed)):
        expected = golden.feed(encode(request))
        line.write(encode(request))
        assert line.read(len(expected)) == expected


def test_another_weight_makes_another_conversation(line: serial.SerialBase) -> None:
    seed = 0
    while check_network(network := random_network(seed, max_macs=20_000), ONE):
        seed += 1
    bundle = compile_network(network, ONE)
    golden, equal = GoldenDevice(CONFIG), []
    weights = write(Space.WEIGHT, BROADCAST, 0, bundle.weight[0].tobytes())
    for request in conversation(bundle, random_images(network, CONFIG.clusters, seed)):
        planted = request[:-1] + bytes([request[-1] ^ 0x5A]) if request in weights else request
        expected = golden.feed(encode(planted))
        line.write(encode(request))
        equal.append(line.read(len(expected)) == expected)
        line.reset_input_buffer()
    assert not all(equal)
