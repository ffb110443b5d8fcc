"""Networks larger than the memories, in pieces that the host puts together: exact to the bit, on
the golden machine, against the reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from plum_host.bundle import Bundle
from plum_host.steps import turns
from plum_hw.compiler import compile_network
from plum_hw.compiler.pieces import cut_columns, cut_rows
from plum_hw.config import ArrayConfig
from plum_hw.errors import UnsupportedError
from plum_hw.golden.diverge import machine_divergence
from plum_hw.golden.machine import Machine
from plum_hw.golden.reference import Reference
from plum_hw.ir import Network
from plum_hw.ir.random import random_images
from tests.compiler.nets import Builder, array, residual_network

#: Three clusters whose memories hold next to nothing.
SMALL: dict[str, Any] = {"lanes": 16, "clusters": 3, "write_buses": 2, "act_depth": 64}


def check(
    network: Network, config: ArrayConfig, group: int | None = None, *, wraps: bool = False
) -> Bundle:
    """Compile into pieces and compare a few images. wraps: the sums of three bytes may."""
    bundle = compile_network(network, config, group)
    assert len(bundle.steps) > 1
    images = random_images(network, 4, 7)
    machine = Machine(config)
    assert (machine.outputs(bundle, images) == Reference(network).run(images)).all()
    assert machine.run_image(bundle, images[3]) == bundle.manifest["predicted_cycles"]
    entries = bundle.manifest["layers"]
    assert {entries[index]["name"].split(".")[1] for index, _ in machine.overflows} == (
        {"sum"} if wraps else set()
    )
    assert {knob for _, knob in machine.overflows} <= {"sum_bits"}
    assert machine_divergence(network, bundle, images[2], machine) is None
    assert sum(entry["macs"] for entry in entries) == pytest.approx(network.macs(), rel=0.02)
    return bundle


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("scheme", ["signed_binary", "binary", "ternary"])
def test_sums_over_channels(scheme: str, group: int) -> None:
    """A window of 40 channels is 120 vectors; with a window sum, a residual, and stride 2."""
    net = Builder((4, 8, 8))
    first = net.conv(40, 1, density=0.9)
    net.conv(40, scheme=scheme, window=True)
    net.conv(40, scheme=scheme, residual=first)
    net.conv(10, scheme=scheme, stride=2)
    bundle = check(net.network(), array(**SMALL), group)
    names = [entry["name"] for entry in bundle.manifest["layers"]]
    for layer in ("conv1", "conv2", "conv3"):
        assert any(name.startswith(f"{layer}.c0-") for name in names)
        assert any(name.startswith(f"{layer}.sum.f") for name in names)


def test_sums_of_few_channels_with_many_bits() -> None:
    """Two bytes hold only a few weights of four bits."""
    net = Builder((40, 4, 4))
    net.conv(4, scheme="int", bits=4)
    check(net.network(), array(**SMALL, sum_bits=25))


@pytest.mark.parametrize("window", [False, True])
def test_sums_of_three_bytes(window: bool) -> None:
    """Sums of both signs beyond 16 bits; on the way to them the accumulators wrap."""
    net = Builder((100, 2, 7))
    net.conv(9, 1, scheme="int", density=0.9, window=window)
    net.conv(4, 1)
    bundle = check(net.network(), array(**SMALL, sum_bits=23), wraps=True)
    names = [entry["name"] for entry in bundle.manifest["layers"]]
    assert any(name.startswith("conv0.c0-") for name in names)


def test_sums_that_three_bytes_do_not_hold_are_refused() -> None:
    net = Builder((100, 2, 7))
    net.conv(9, 1, scheme="int", density=0.9)
    with pytest.raises(UnsupportedError, match="sum_bits 21 or more"):
        compile_network(net.network(), array(**SMALL, sum_bits=20))


@pytest.mark.parametrize("clusters", [1, 3])
def test_rows_and_columns(clusters: int) -> None:
    """Rows wider than the vectors and kernels that reach further than the drain; what pads a map is
    read as zeros.
    """
    config = array(lanes=16, clusters=clusters, act_depth=128, reach=1)
    for kernel, stride, padding in ((3, 1, 1), (7, 2, 3), (3, 2, 0), (1, 2, 0), (5, 1, 2)):
        net = Builder((3, 19, 41))
        net.conv(5, kernel, stride=stride, padding=(padding, padding), scheme="int", bits=3)
        net.pool("maxpool", (3, 3), 2, (1, 1))
        check(net.network(), config)


def test_layers_that_see_one_channel_each() -> None:
    net = Builder((24, 20, 20))
    first = net.conv(24, depthwise=True, scheme="int")
    second = net.conv(24, 5, depthwise=True)
    net.add(first, second)
    net.pool("avgpool", (3, 3), 2)
    net.conv(24, stride=2, depthwise=True)
    check(net.network(), array(**SMALL))


def test_logits_of_some_filters_and_of_some_channels_are_put_together() -> None:
    """More results than the array holds, sums wider than its accumulators."""
    net = Builder((40, 4, 4))
    net.dense(40, window=True)
    config = array(**SMALL, result_depth=16, sum_bits=20)
    bundle = check(net.network(), config)
    offsets = [offset for step in bundle.steps for _, offset in step.results]
    assert len(set(offsets)) >= 3
    assert len(offsets) > len(set(offsets)), "summands"


def test_layers_that_fit_stay_together() -> None:
    """A residual block after a wide one: its tensors do not leave the device."""
    net = Builder((2, 12, 40))
    net.conv(8, stride=2)
    net.pool("maxpool")
    block = net.conv(8)
    net.conv(8)
    net.conv(8, residual=block)
    net.dense(5)
    bundle = check(net.network(), array(lanes=16, clusters=2, act_depth=100))
    names = [entry["name"] for entry in bundle.manifest["layers"]]
    assert {"conv3", "conv4", "dense5"} <= set(names)
    assert "conv3" not in bundle.held_places


@pytest.mark.parametrize("seed", range(4))
def test_a_network_of_all_kinds(seed: int) -> None:
    network = residual_network(seed, channels=16, side=16)
    check(network, array(**SMALL), (1, 2, None)[seed % 3])


def test_what_the_device_still_holds_is_not_written_again() -> None:
    """Ranges of filters of one map read the same input."""
    net = Builder((20, 2, 4))
    net.conv(60, density=0.6)
    bundle = check(net.network(), array(lanes=16, act_depth=96))
    steps = [step for step in bundle.steps if step.reads]
    assert len(steps) > 1
    assert sum(bool(step.writes) for step in bundle.steps) < len(steps)


def test_another_byte_in_host_memory_makes_another_output() -> None:
    """The check can fail: a byte of a sum, changed between two steps."""
    net = Builder((4, 8, 8))
    net.conv(40, 1, density=0.9)
    net.conv(40)
    network, config = net.network(), array(**SMALL)
    bundle = compile_network(network, config)
    image = random_images(network, 3, 1)[2]
    expected = Reference(network).run(image[None])[0]
    machine = Machine(config)
    run = turns(bundle, image)
    turn = next(run)
    planted = False
    while True:
        machine._take(turn.writes)
        machine.load(bundle, turn.part)
        machine.run(0, bundle.parts[turn.part])
        answers = [
            machine.read(each.space, each.address, each.words, each.cluster) for each in turn.reads
        ]
        name = bundle.manifest["layers"][sum(bundle.parts[: turn.part])]["name"]
        if answers and name.startswith("conv1.c") and not planted:
            answers = [bytes(byte ^ 0x40 for byte in data) for data in answers]
            planted = True
        try:
            turn = run.send(answers)
        except StopIteration as end:
            output = end.value
            break
    assert planted
    assert not np.array_equal(output, expected)


def test_spans() -> None:
    net = Builder((1, 30, 100))
    net.conv(1, 7, stride=2, padding=(3, 3))
    layer = net.layers[0]
    rows = cut_rows(layer, 15, 4)
    assert (rows.size, rows.count, rows.inputs) == (4, 4, 13)
    assert rows.places == [(0, -3), (4, 5), (8, 13), (11, 19)]
    assert rows.margins(30) == (3, 2)
    columns = cut_columns(layer, 100, 50, 32)
    assert columns is not None
    # Two outputs at the left see padding in place of the map.
    assert (columns.size, columns.count, columns.skip, columns.before) == (25, 2, 2, 4)
    assert columns.places == [(0, -4), (25, 46)]
    assert columns.inputs == 2 * (25 - 1 + 2) - 3 + 7
