"""The whole accelerator with its clusters against the golden device, byte for byte.

It runs as a virtual board, so that whole networks take no time; gaps on the streams are the matter
of the blocks' own benches.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import serial

from plum_host.protocol import Space
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.golden.machine import Machine
from plum_hw.ir.random import random_images, random_network
from plum_hw.virtual import VirtualBoard
from rtl_tests.conversation import Golden, Request, conversation, load, write
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


class Line:
    """A virtual board, and a golden device that is told the same."""

    def __init__(self, opened: serial.SerialBase) -> None:
        self.opened = opened
        self.session = 0

    def begin(self) -> None:
        """A session, with memories of a golden device as they are after power-up."""
        self.session += 1
        self.golden = Golden(CONFIG, self.session)
        self.opened.write(self.golden.reset)
        self.opened.read_until(self.golden.answer)

    def exchange(self, request: Request, planted: bytes | None = None) -> bool:
        """Whether both answer alike; `planted`: what the golden device is told instead."""
        line, expected = self.golden.serve(request, planted)
        self.opened.write(line)
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
    for request in conversation(CONFIG, bundle, random_images(network, 1, seed)[0]):
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
    for request in conversation(CONFIG, bundle, random_images(net.network(), 3, 1)[2]):
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
    for request in conversation(CONFIG, bundle, random_images(network, 3, 2)[2]):
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
    for request in conversation(CONFIG, bundle, batch):
        assert line.exchange(request)


def test_another_weight_makes_another_conversation(line: Line) -> None:
    seed = 0
    while check_network(network := random_network(seed, max_macs=20_000), CONFIG):
        seed += 1
    bundle = compile_network(network, CONFIG)
    equal = []
    line.begin()
    # One beat less or more: a bit of the last mask word.
    code = load(CONFIG, bundle, 0)[
        : len(write(CONFIG, Space.CODE, 0, 0, bundle.code[0][0].tobytes()))
    ]
    for request in conversation(CONFIG, bundle, random_images(network, 1, seed)[0]):
        rest = request[1]
        planted = rest[:-1] + bytes([rest[-1] ^ 0x5A]) if request == code[-1] else None
        equal.append(line.exchange(request, planted))
        line.opened.reset_input_buffer()
    assert not all(equal)
