"""The whole accelerator with its clusters against the golden device, byte for byte.

It runs as a virtual board, so that whole networks take no time; gaps on the streams are the matter
of the blocks' own benches.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import pytest
import serial

from plum_host.bundle import Bundle
from plum_host.packets import encode
from plum_host.protocol import BROADCAST, LAYER_COUNTERS, SPACE_BYTES, Op, Space
from plum_host.steps import turns
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.golden.device import GoldenDevice
from plum_hw.ir.random import random_images, random_network
from plum_hw.virtual import VirtualBoard

#: Few lanes and little memory: quick to compile.
CONFIG = ArrayConfig(
    name="bench",
    clusters=2,
    lanes=8,
    act_depth=512,
    code_depth=1024,
    table_depth=1024,
    result_depth=16,
    layer_counters=16,
    packet_bytes=256,
)


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


def load(bundle: Bundle, part: int) -> list[bytes]:
    """Requests that write code and tables."""
    requests = []
    for space, words in ((Space.CODE, bundle.code), (Space.TABLE, bundle.table)):
        for cluster in range(CONFIG.clusters):
            requests += write(space, cluster, 0, words[part][cluster].tobytes())
    return requests


def conversation(bundle: Bundle, image: np.ndarray) -> list[bytes]:
    """Requests that run an image, part by part, and read all that came of it."""
    steps = list(bundle.steps)
    run = turns(bundle, image)
    turn = next(run)
    zeros = bytes(CONFIG.act_depth * CONFIG.groups * SPACE_BYTES[Space.ACTIVATION])
    requests = [bytes([0, Op.IDENTIFY]), *write(Space.ACTIVATION, BROADCAST, 0, zeros)]
    while steps.pop(0):
        for each in turn.writes:
            requests += write(Space.ACTIVATION, each.cluster, each.address, each.data)
        layers = bundle.parts[turn.part]
        requests += load(bundle, turn.part)
        requests.append(struct.pack("<BBHH", 3, Op.RUN, 0, layers))
        requests += read(Space.COUNTER, 0, 0, LAYER_COUNTERS + layers)
        for each in turn.reads:
            requests += read(each.space, each.cluster, each.address, each.words)
        if not steps:
            return requests
        # Only the last step reads: what networks that fit the memories do.
        assert not turn.reads
        turn = run.send(())
    raise AssertionError("a bundle without steps")


@pytest.fixture(scope="module")
def line() -> Iterator[serial.SerialBase]:
    with VirtualBoard(CONFIG) as board, serial.serial_for_url(board.url, timeout=20) as opened:
        yield opened


@pytest.mark.parametrize("seed", range(0, 600, 100))
def test_networks_run_as_on_the_golden_device(line: serial.SerialBase, seed: int) -> None:
    limits = {"max_layers": 4, "max_macs": 40_000, "max_width": 8, "max_channels": 8}
    while check_network(network := random_network(seed, **limits), CONFIG):
        seed += 1
    print("seed", seed)
    bundle = compile_network(network, CONFIG)
    golden = GoldenDevice(CONFIG)
    for request in conversation(bundle, random_images(network, 1, seed)[0]):
        expected = golden.feed(encode(request))
        line.write(encode(request))
        assert line.read(len(expected)) == expected


def test_another_weight_makes_another_conversation(line: serial.SerialBase) -> None:
    seed = 0
    while check_network(network := random_network(seed, max_macs=20_000), CONFIG):
        seed += 1
    bundle = compile_network(network, CONFIG)
    golden, equal = GoldenDevice(CONFIG), []
    # One beat less or more: a bit of the last mask word.
    code = load(bundle, 0)[: len(write(Space.CODE, 0, 0, bundle.code[0][0].tobytes()))]
    for request in conversation(bundle, random_images(network, 1, seed)[0]):
        planted = request[:-1] + bytes([request[-1] ^ 0x5A]) if request == code[-1] else request
        expected = golden.feed(encode(planted))
        line.write(encode(request))
        equal.append(line.read(len(expected)) == expected)
        line.reset_input_buffer()
    assert not all(equal)
