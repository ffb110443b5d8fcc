"""Compiled networks on the golden machine give the reference's outputs, layer by layer, in the
cycles that were predicted: on arrays so small that layers are split, cut and loaded in parts.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from plum_hw.compiler import check_network, compile_network
from plum_hw.compiler.decode import decode_layer
from plum_hw.compiler.plan import plan_network
from plum_hw.config import ArrayConfig
from plum_hw.golden.diverge import machine_divergence
from plum_hw.golden.machine import Machine, MachineError
from plum_hw.golden.reference import Reference
from plum_hw.ir import Network
from plum_hw.ir.random import random_images, random_network
from plum_hw.layouts import Counter as DeviceCounter
from plum_hw.layouts import Space, requant_layout, scatter_layout
from tests.compiler.nets import (
    DEPTHWISE_VECTORS,
    Builder,
    array,
    depthwise_network,
    draw_array,
    residual_network,
)


def check_exact(
    network: Network, config: ArrayConfig, group: int | None, seed: int
) -> dict[str, Any]:
    """Compile, run layer by layer, compare; returns the manifest."""
    bundle = compile_network(network, config, group)
    image = random_images(network, 5, seed)[2 + seed % 3]  # the first two are flat
    expected = Reference(network).layers(image[None])
    machine = Machine(config)
    machine.load(bundle)
    layers = bundle.manifest["layers"]
    runs = [step.part for step in bundle.steps]
    times = [runs.count(part) for part, count in enumerate(bundle.parts) for _ in range(count)]
    for number in machine.step_image(bundle, image):
        entry = layers[number]
        cycles = int(machine.counters[DeviceCounter.CYCLES]) * times[number]
        assert cycles == entry["cycles"], entry["name"]
        assert not machine.overflows, entry["name"]
        name = entry["name"]
        if entry["layout"] is None and name != network.output:
            continue
        if name not in expected:
            continue  # a copy, or a piece of a layer
        got = machine.tensor(bundle, name)
        assert (got == expected[name][0]).all(), f"{name}: {np.argwhere(got != expected[name][0])}"
    whole = Machine(config)
    whole.load(bundle)
    assert whole.run_image(bundle, image) == bundle.manifest["predicted_cycles"]
    assert (whole.outputs(bundle, image[None]) == expected[network.output]).all()
    assert machine_divergence(network, bundle, image, whole) is None
    return bundle.manifest


def check_drawn(seeds: range, found: Counter[str]) -> None:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        knobs = {"reach": 7, "acc_bits": int(rng.integers(12, 21)), "sum_bits": 25}
        config = draw_array(rng, roomy=False, **knobs)
        network = random_network(
            seed, max_width=min(config.lanes, 32), max_macs=100_000, max_layers=7
        )
        assert not check_network(network, config), "what does not fit goes through the host"
        print(f"seed {seed}, {config}")
        manifest = check_exact(network, config, (1, 2, None)[seed % 3], seed)
        names = [layer["name"] for layer in manifest["layers"]]
        found["exact"] += 1
        found["parts"] += len(manifest["parts"]) > 1
        found["regions"] += any(re.search(r"\.rows-\d+$", name) for name in names)
        found["cut"] += any("-of-" in name for name in names)
        found["pairs"] += any(layer["group"] == 2 for layer in manifest["layers"])
        found["row parts"] += any(layer["split"][0] > 1 for layer in manifest["layers"])
        found["filter parts"] += any(layer["split"][1] > 1 for layer in manifest["layers"])


def test_drawn_networks_on_drawn_arrays():
    found: Counter[str] = Counter()
    check_drawn(range(36), found)
    print(found)
    assert found["exact"] == 36
    assert len(found) == 7
    assert min(found.values()) >= 2, found


@pytest.mark.parametrize("group", [1, 2, None])
@pytest.mark.parametrize("clusters", [1, 3, 12])
def test_a_residual_network(clusters, group):
    config = array(clusters=clusters, lanes=16, write_buses=2, act_depth=1024, code_depth=8192)
    manifest = check_exact(residual_network(), config, group, clusters)
    assert len(manifest["parts"]) == 1
    rows = {layer["split"][0] for layer in manifest["layers"]}
    assert min(rows) == 1
    assert (max(rows) > 1) == (clusters > 1)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_gathered_input_and_regions(stride):
    """The first layer is the slowest by far, so it is worth all that there is."""
    net = Builder((1, 32 * stride, 32), seed=stride)
    net.conv(16, density=0.9, scheme="ternary", stride=stride)
    net.pool("maxpool", (2, 2), 2)
    net.conv(12, window=True)
    net.dense(10)
    config = array(clusters=5, write_buses=2, lanes=64 // stride)
    manifest = check_exact(net.network(), config, None, 0)
    plan, _ = plan_network(net.network(), config)
    assert plan is not None
    assert plan.layers[0].geometry.gathered
    regions = [layer for layer in plan.layers if layer.geometry.region]
    assert len(manifest["layers"]) == len(net.layers) + len(regions)
    assert regions
    # A gathered layer is drained once.
    drains = sum(segment.drain for segment in plan.layers[0].masks.segments)
    assert drains == 2  # the two signs


@pytest.mark.parametrize("clusters", sorted(DEPTHWISE_VECTORS))
def test_channels_of_a_depthwise_layer_stay_with_their_filters(clusters):
    """Where the memory holds no map with all channels in every cluster."""
    network, config = depthwise_network(clusters)
    plan, problems = plan_network(network, config)
    assert plan is not None, problems
    local = [layer for layer in plan.layers if layer.geometry.local]
    assert local
    for layer in local:
        layout = plan.copies[layer.layer.source][0].layout
        assert layout.held < layout.channels
        channels = [channel for part in layer.filters for channel in part]
        assert channels == list(range(layout.channels))
    for group in (1, None):
        check_exact(network, config, group, clusters)


@pytest.mark.parametrize("fault", ["mask", "channel", "dest", "offset"])
def test_a_planted_fault_is_seen(fault):
    """One bit of a bundle: the machine's output is no longer the reference's."""
    network = residual_network(channels=4)
    config = array(clusters=3, lanes=32)
    bundle = compile_network(network, config, 1)
    image = random_images(network, 3, 0)[2]
    expected = Reference(network).layers(image[None])[network.output][0]
    machine = Machine(config)
    machine.load(bundle)
    code, table = bundle.code[0][0].copy(), bundle.table[0][0].copy()
    decoded = decode_layer(config, machine.code[0], machine.table[0], 0)
    fields = decoded.fields
    entry = scatter_layout(config)
    low = {"offset": 0, "dest": entry.bits - 2 - config.cluster_bits}
    if fault == "mask":
        code[fields["weight_ptr"] + decoded.window_masks.size] ^= 1
    elif fault == "channel":
        place = requant_layout(config).bits - config.cluster_bits - 12
        table[fields["table_ptr"] + 3] ^= 1 << place % 32
    else:
        table[fields["scatter_ptr"]] ^= 1 << low[fault]

    def exact() -> bool:
        try:
            machine.run_image(bundle, image)
        except MachineError as error:  # two clusters write one place
            print(error)
            return False
        return bool((machine.tensor(bundle, network.output) == expected).all())

    assert exact()
    machine.write(Space.CODE, 0, code, 0)
    machine.write(Space.TABLE, 0, table, 0)
    assert not exact()
