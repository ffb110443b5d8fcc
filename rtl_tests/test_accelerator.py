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
from plum_host.protocol import (
    BROADCAST,
    LAYER_COUNTERS,
    PROTOCOL_VERSION,
    SPACE_BYTES,
    Op,
    Reason,
    Space,
)
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.golden.device import GoldenDevice
from plum_hw.golden.machine import Machine
from plum_hw.ir.random import random_images, random_network
from plum_hw.virtual import VirtualBoard
from tests.compiler.nets import Builder

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
    queue_bytes=512,
    requant_lanes=4,
)


Request = tuple[int, bytes]  # opcode, and what follows it


def place(space: Space, cluster: int, address: int, count: int) -> bytes:
    return struct.pack("<BBHH", space, cluster, address, count)


def write(space: Space, cluster: int, address: int, data: bytes) -> list[Request]:
    """WRITE requests."""
    size = SPACE_BYTES[space]
    step = (CONFIG.packet_bytes - 8) // size * size
    parts = [(start // size, data[start : start + step]) for start in range(0, len(data), step)]
    return [
        (Op.WRITE, place(space, cluster, address + start, len(part) // size) + part)
        for start, part in parts
    ]


def read(space: Space, cluster: int, address: int, count: int) -> list[Request]:
    """READ requests, and the first as a CHECK."""
    step = (CONFIG.packet_bytes - 2) // SPACE_BYTES[space]
    places = [
        place(space, cluster, address + start, min(step, count - start))
        for start in range(0, count, step)
    ]
    return [(Op.READ, each) for each in places] + [(Op.CHECK, each) for each in places[:1]]


def load(bundle: Bundle, part: int) -> list[Request]:
    """Requests that write code and tables."""
    requests = []
    for space, words in ((Space.CODE, bundle.code), (Space.TABLE, bundle.table)):
        for cluster in range(CONFIG.clusters):
            requests += write(space, cluster, 0, words[part][cluster].tobytes())
    return requests


def conversation(bundle: Bundle, image: np.ndarray) -> list[Request]:
    """Requests that run an image, part by part, and read all that came of it."""
    zeros = bytes(CONFIG.act_depth * CONFIG.groups * SPACE_BYTES[Space.ACTIVATION])
    requests = [
        (Op.READ, place(Space.IDENTITY, 0, 0, 8)),
        *write(Space.ACTIVATION, BROADCAST, 0, zeros),
    ]
    # What is read may be written again: the machine says what it is.
    machine = Machine(CONFIG)
    for number, turn in enumerate(machine.turns(bundle, image)):
        results_at = 1 + number % 2
        for each in turn.writes:
            requests += write(Space.ACTIVATION, each.cluster, each.address, each.data)
        layers = bundle.parts[turn.part]
        requests += load(bundle, turn.part)
        arguments = struct.pack("<HHHH", 0, layers, 1, results_at)
        requests.append((Op.RUN, place(Space.RESULT, 0, results_at - 1, 1) + arguments))
        requests += read(Space.COUNTER, 0, 0, LAYER_COUNTERS + layers)
        for each in turn.reads:
            at = results_at if each.space == Space.RESULT else 0
            requests += read(each.space, each.cluster, at + each.address, each.words)
        machine.load(bundle, turn.part)
        machine.run(0, layers)
    return requests


class Line:
    """A virtual board, and a golden device that is told the same."""

    def __init__(self, opened: serial.SerialBase) -> None:
        self.opened = opened
        self.session = 0

    def begin(self) -> None:
        """A session, with memories of a golden device as they are after power-up."""
        self.golden, self.session, self.number = GoldenDevice(CONFIG), self.session + 1, 1
        reset = encode(struct.pack("<BBH", 0, Op.RESET, self.session))
        self.golden.feed(reset)
        self.opened.write(reset)
        self.opened.read_until(encode(bytes([1, Reason.RESET, 0, 0, 0, 0, PROTOCOL_VERSION])))

    def exchange(self, request: Request, planted: bytes | None = None) -> bool:
        """Whether both answer alike; `planted`: what the golden device is told instead."""
        op, rest = request
        head = bytes([self.number, op])
        self.number = self.number + 1 & 255
        expected = self.golden.feed(encode(head + (planted or rest)))
        self.opened.write(encode(head + rest))
        return self.opened.read(len(expected)) == expected


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    with VirtualBoard(CONFIG) as board, serial.serial_for_url(board.url, timeout=20) as opened:
        yield Line(opened)


@pytest.mark.parametrize("seed", range(0, 600, 100))
def test_networks_run_as_on_the_golden_device(line: Line, seed: int) -> None:
    limits = {"max_layers": 4, "max_macs": 40_000, "max_width": 8, "max_channels": 8}
    while check_network(network := random_network(seed, **limits), CONFIG):
        seed += 1
    print("seed", seed)
    bundle = compile_network(network, CONFIG)
    line.begin()
    for request in conversation(bundle, random_images(network, 1, seed)[0]):
        assert line.exchange(request)


def test_pieces_run_as_on_the_golden_device(line: Line) -> None:
    """A layer in sums over ranges of channels, in tiles, with a window sum and a residual."""
    net = Builder((3, 5, 8))
    wide = net.conv(180, 1, density=0.9)
    net.conv(180, scheme="ternary", window=True, residual=wide, density=0.1)
    net.dense(5)
    bundle = compile_network(net.network(), CONFIG)
    names = [entry["name"] for entry in bundle.manifest["layers"]]
    assert any(name.startswith("conv1.c0-") for name in names)
    assert any(name.startswith("conv1.sum.f") for name in names)
    line.begin()
    for request in conversation(bundle, random_images(net.network(), 3, 1)[2]):
        assert line.exchange(request)


def test_a_small_vgg_runs_as_on_the_golden_device(line: Line) -> None:
    """Rows wider than the lanes, maps larger than the memories, pools, and sums over channels."""
    net = Builder((3, 12, 16))
    net.conv(12, scheme="int", bits=4)
    net.conv(24)
    net.pool("maxpool")
    net.conv(180, density=0.1)
    net.pool("maxpool")
    net.conv(10, density=0.1)
    net.dense(5)
    network = net.network()
    bundle = compile_network(network, CONFIG)
    names = [entry["name"] for entry in bundle.manifest["layers"]]
    for piece in ("conv0.tile", "conv1.tile", "maxpool4.tile", "conv5.c0-", "conv5.sum.f"):
        assert any(name.startswith(piece) for name in names), piece
    line.begin()
    for request in conversation(bundle, random_images(network, 3, 2)[2]):
        assert line.exchange(request)


def test_sums_of_three_bytes_wrap_as_on_the_golden_device(line: Line) -> None:
    """A batch of inputs of more channels than vectors, with weights of eight bits."""
    net = Builder((560, 1, 1))
    net.dense(4, logits=False)
    net.dense(6, logits=False, scheme="signed_binary")
    bundle = compile_network(net.network(), CONFIG, batch=8)
    names = [entry["name"] for entry in bundle.manifest["layers"]]
    assert any(name.startswith("dense0.sum.f") for name in names)
    (batch,) = bundle.pack(random_images(net.network(), 8, 3))
    machine = Machine(CONFIG)
    machine.run_image(bundle, batch)
    assert {knob for _, knob in machine.overflows} == {"sum_bits"}
    line.begin()
    for request in conversation(bundle, batch):
        assert line.exchange(request)


def test_another_weight_makes_another_conversation(line: Line) -> None:
    seed = 0
    while check_network(network := random_network(seed, max_macs=20_000), CONFIG):
        seed += 1
    bundle = compile_network(network, CONFIG)
    equal = []
    line.begin()
    # One beat less or more: a bit of the last mask word.
    code = load(bundle, 0)[: len(write(Space.CODE, 0, 0, bundle.code[0][0].tobytes()))]
    for request in conversation(bundle, random_images(network, 1, seed)[0]):
        rest = request[1]
        planted = rest[:-1] + bytes([rest[-1] ^ 0x5A]) if request == code[-1] else None
        equal.append(line.exchange(request, planted))
        line.opened.reset_input_buffer()
    assert not all(equal)
