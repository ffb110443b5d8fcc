"""Clusters, conductor and buses against the golden machine: bits, cycles, stalls, by layer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from plum_hw.compiler.plan import plan_network
from plum_hw.config import ArrayConfig
from plum_hw.demo import shipped
from plum_hw.ir.random import random_images
from plum_hw.presets import preset
from rtl_tests.bench import BenchFailure
from tests.compiler.nets import Builder

BENCH = "rtl_tests.cluster.cluster_bench"
CONTROL = "rtl_tests.cluster.bench_control"

ARRAYS = {
    "three-clusters": preset("tiny-3"),
    "two-groups": ArrayConfig(
        name="two-groups",
        lanes=16,
        act_depth=512,
        reach=3,
        block_sums=1,
        lut_inputs=4,
        requant_lanes=4,
    ),
    "one-group": ArrayConfig(
        name="one-group",
        clusters=2,
        lanes=8,
        act_depth=1024,
        mask_bits=8,
        reach=7,
        act_bits=5,
        requant_lanes=1,
        drain_lanes=1,
        block_sums=1,
        layer_counters=0,
        one_port_code=1,
        slow_clock=1,
    ),
    "serial": ArrayConfig(
        name="serial",
        lanes=16,
        act_depth=512,
        block_sums=1,
        requant_lanes=1,
        drain_lanes=1,
    ),
    "eight-groups": ArrayConfig(
        name="eight-groups",
        clusters=3,
        write_buses=2,
        lanes=64,
        act_depth=256,
        head_depth=256,
        mask_bits=16,
        lut_inputs=4,
        requant_lanes=2,
    ),
}
SEEDS = {
    "three-clusters": range(400, 420),
    "two-groups": range(100, 112),
    "one-group": range(200, 208),
    "serial": range(500, 508),
    "eight-groups": range(300, 308),
}
LIMITS = {
    "three-clusters": {"max_width": 16, "max_macs": 200_000, "max_channels": 12},
    "two-groups": {"max_width": 16, "max_macs": 200_000, "max_channels": 12},
    "one-group": {
        "max_width": 16,
        "max_macs": 60_000,
        "max_channels": 8,
        "in_bits": (1, 5),
        "out_bits": (1, 5),
    },
    "serial": {"max_width": 16, "max_macs": 120_000, "max_channels": 12},
    "eight-groups": {"max_width": 40, "max_macs": 600_000, "max_channels": 16},
}


def environment(name: str, seeds) -> dict[str, str]:
    return {
        "PLUM_BENCH_CONFIG": json.dumps(ARRAYS[name].as_dict()),
        "PLUM_BENCH_LIMITS": json.dumps(LIMITS[name]),
        "PLUM_BENCH_SEEDS": json.dumps(list(seeds)),
    }


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_random_networks(device, name):
    device(ARRAYS[name]).run(BENCH, environment(name, SEEDS[name]))


def test_channels_of_a_depthwise_layer_in_different_clusters(device, tmp_path):
    """All its channels in every cluster would be more than the memory holds."""
    config = ARRAYS["three-clusters"]
    net = Builder((2, 8, 8))
    net.conv(56, 1, density=0.8)
    net.conv(56, depthwise=True, density=0.8)
    net.conv(8, 1)
    net.dense(5)
    network = net.network()
    plan, _ = plan_network(network, config)
    assert plan is not None
    assert plan.layers[1].geometry.local
    network.save(tmp_path / "net.qnet")
    np.savez(tmp_path / "images.npz", images=random_images(network, 3, 1)[2:])
    device(config).run(
        BENCH,
        {
            "PLUM_BENCH_CONFIG": json.dumps(config.as_dict()),
            "PLUM_BENCH_LIMITS": "{}",
            "PLUM_BENCH_NETWORK": str(tmp_path / "net.qnet"),
            "PLUM_BENCH_IMAGES": str(tmp_path / "images.npz"),
            "PLUM_BENCH_COUNT": "1",
        },
    )


@pytest.mark.parametrize("array", ["single", "arty-a7-35t"])
def test_shipped_network(device, array):
    """The trained network on test images, on the array of the demo and on a board's."""
    config = preset(array)
    device(config).run(
        BENCH,
        {
            "PLUM_BENCH_CONFIG": json.dumps(config.as_dict()),
            "PLUM_BENCH_LIMITS": "{}",
            "PLUM_BENCH_NETWORK": str(shipped("fashion.qnet")),
            "PLUM_BENCH_IMAGES": str(shipped("fashion-test-500.npz")),
            "PLUM_BENCH_COUNT": "2" if config.clusters == 1 else "1",
        },
    )


def test_planted_fault_is_found(device):
    """The machine's memory is changed by one bit after the first layer."""
    with pytest.raises(BenchFailure, match="cluster 0 vector 3 lane 1"):
        device(ARRAYS["two-groups"]).run(
            BENCH, {**environment("two-groups", [100]), "PLUM_BENCH_FAULT": "1"}
        )


@pytest.mark.parametrize("name", ["two-groups", "one-group"])
def test_stopped_and_misprogrammed(device, name):
    device(ARRAYS[name]).run(CONTROL, {**environment(name, []), "SEED": "20260802"})


def test_planted_fault_in_host_access_is_found(device):
    with pytest.raises(BenchFailure, match="expected ffffffff"):
        device(ARRAYS["two-groups"]).run(
            CONTROL,
            {
                **environment("two-groups", []),
                "SEED": "20260802",
                "FAULT": "1",
                "COCOTB_TEST_FILTER": "host_access",
            },
        )
