"""Bundles of several clusters and parts: what is written where, and how often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from plum_host.bundle import Bundle
from plum_host.errors import PlumHostError, VerifyError
from plum_host.faults import Faults, FaultyTransport
from plum_host.manifest import config_digest
from plum_host.protocol import Op, Space
from plum_host.session import Session
from plum_host.transports import InProcessTransport

from .memory_device import MemoryDevice, Write
from .test_bundle import CONFIG, LAYER

CLUSTERS = 3
#: Image bytes that each cluster holds; the last has none.
EACH = [[0, 1], [1, 2], []]
#: First code word of each cluster, in each part: what a run adds to the activations.
ADDED = [[5, 6, 7], [11, 11, 11], [13, 13, 14]]
#: Layers of each part.
PARTS = [2, 1, 3]
#: Of each part; the second cluster has none, and in part 1 no cluster has.
TABLES: list[list[list[int]]] = [[[1, 2], [], [3, 4]], [[], [], []], [[5, 6], [], [7, 8]]]


def make(
    parts: int,
    *,
    outputs: str = "logits",
    equal_inputs: bool = False,
    order: list[int] | None = None,
    **knobs: int,
) -> Bundle:
    config = {**CONFIG, "clusters": CLUSTERS, **knobs}
    maps = [np.full((CLUSTERS, 16), -1, np.int32)]
    for row, pixels in zip(maps[0], [[0, 1]] * CLUSTERS if equal_inputs else EACH, strict=True):
        row[: len(pixels)] = pixels
    places = [{"address": 0, "words": 2}]
    output: dict[str, Any] = {"kind": "logits", "shape": [2, 1, 1]}
    steps: list[dict[str, Any]] = [
        {"part": part, "writes": [[0, 0]] * (not part), "reads": [], "results": []}
        for part in (range(parts) if order is None else order)
    ]
    steps[-1]["results"] = [[2, 4]]
    if outputs == "map":
        output = {"kind": "map", "shape": [1, 1, 3], "bits": 8}
        maps.append(np.full((CLUSTERS, 16), -1, np.int32))
        maps[1][[0, 0, 2], [0, 1, 0]] = range(3)
        places.append({"address": 1, "words": 2})
        steps[-1] |= {"reads": [[1, 4]], "results": []}
    layers = sum(PARTS[:parts])
    return Bundle.build(
        {
            "config": config,
            "digest": config_digest(config),
            "network": {"name": "net", "digest": "0" * 64},
            "host_bytes": 16,
            "input": {"shape": [1, 1, 3], "bits": 8, "at": 0, "margins": [0, 0, 0, 0]},
            "output": {**output, "at": 4, "margins": [0, 0, 0, 0]},
            "maps": places,
            "steps": steps,
            "tensors": [],
            "labels": None,
            "layers": [LAYER] * layers,
            "parts": [{"layers": count} for count in PARTS[:parts]],
            "predicted_cycles": 0,
        },
        code=[[[value, 1, 2, 3] for value in row] for row in ADDED[:parts]],
        table=TABLES[:parts],
        maps=maps,
    )


def device_for(bundle: Bundle) -> MemoryDevice:
    return MemoryDevice(bundle.manifest["digest"], CLUSTERS)


def connect(device: Any) -> Session:
    return Session(InProcessTransport("memories", device), timeout=0.02)


IMAGE = np.array([[[[20, 40, 60]]]], np.uint8)


def test_each_cluster_gets_its_own_words_and_equal_ones_go_to_all_at_once() -> None:
    bundle = make(3)
    device = device_for(bundle)
    with connect(device) as session:
        session.load(bundle)
        assert device.writes == [
            *(Write(Space.CODE, cluster, 0, 4) for cluster in range(CLUSTERS)),
            Write(Space.TABLE, 0, 0, 2),
            Write(Space.TABLE, 2, 0, 2),
        ]
        device.writes.clear()
        session.run(IMAGE)
        assert device.writes == [
            Write(Space.ACTIVATION, 0, 0, 2),
            Write(Space.ACTIVATION, 1, 0, 2),
            Write(Space.CODE, None, 0, 4),
            *(Write(Space.CODE, cluster, 0, 4) for cluster in range(CLUSTERS)),
            Write(Space.TABLE, 0, 0, 2),
            Write(Space.TABLE, 2, 0, 2),
        ]
        for cluster, memory in enumerate(device.memories):
            assert memory[Space.CODE].view("<u4")[:4].tolist() == [ADDED[2][cluster], 1, 2, 3]


def test_an_image_that_all_clusters_hold_alike_is_sent_once() -> None:
    bundle = make(1, equal_inputs=True)
    device = device_for(bundle)
    with connect(device) as session:
        session.load(bundle)
        device.writes.clear()
        session.run(IMAGE)
    assert device.writes == [Write(Space.ACTIVATION, None, 0, 2)]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_parts_run_one_after_another_for_each_image(parts: int) -> None:
    bundle = make(parts)
    device = device_for(bundle)
    images = np.concatenate([IMAGE, IMAGE + 1])
    with connect(device) as session:
        session.load(bundle)
        for _ in range(2):
            device.memories[2][Space.ACTIVATION][:] = 0  # the cluster that no image is written to
            result = session.run(images[:1])
            total = sum(value for row in ADDED[:parts] for value in row)
            assert result.outputs.tolist() == [[20 + 40 + total, 40 + 60 + total]]
        device.runs.clear()
        result = session.run(images)
        assert device.runs == 2 * PARTS[:parts]
        layers = [
            row[0] + index
            for row, count in zip(ADDED[:parts], PARTS, strict=False)
            for index in range(count)
        ]
        assert session.layer_cycles() == layers
        assert result.cycles.tolist() == [sum(layers)] * 2
        assert session.counters() == {
            "cycles": sum(layers),
            "beats": sum(layers) - len(layers),
            "drain_stalls": 0,
            "emit_stalls": 0,
        }


def test_a_part_may_run_several_times() -> None:
    """It is loaded where another one ran before, and counted for all its runs."""
    bundle = make(2, order=[0, 1, 1, 0])
    device = device_for(bundle)
    with connect(device) as session:
        session.load(bundle)
        device.writes.clear()
        result = session.run(IMAGE)
        assert device.runs == [2, 1, 1, 2]
        assert [write.cluster for write in device.writes if write.space == Space.CODE] == [
            None,
            *range(CLUSTERS),
        ]
        assert session.layer_cycles() == [10, 12, 22]
        assert result.cycles.tolist() == [44]
        assert session.counters()["beats"] == 44 - 6


@pytest.mark.parametrize(("parts", "expected"), [(1, 0), (2, 2 * (3 + 1))])
def test_a_single_part_is_written_once_and_several_for_every_image(
    parts: int, expected: int
) -> None:
    bundle = make(parts)
    device = device_for(bundle)
    with connect(device) as session:
        session.load(bundle)
        session.run(IMAGE)
        device.writes.clear()
        session.run(np.concatenate([IMAGE] * 2))
    # Part 0 in three clusters, then part 1 in all at once.
    assert sum(write.space == Space.CODE for write in device.writes) == expected


def test_each_part_is_compared_the_first_time() -> None:
    bundle = make(3)
    device = device_for(bundle)

    def checks() -> int:
        count = device.served.count(Op.CHECK)
        device.served.clear()
        return count

    with connect(device) as session:
        session.load(bundle)
        assert checks() == 3 + 2
        session.run(IMAGE)
        # Code of two parts, tables of the last.
        assert checks() == 3 + 3 + 2
        session.run(IMAGE)
        assert checks() == 0
        session.load(bundle)
        assert checks() == 3 + 2


@pytest.mark.parametrize("space", [Space.CODE, Space.TABLE])
def test_memory_that_forgets_is_found_in_any_part(space: Space) -> None:
    bundle = make(3)
    device = device_for(bundle)
    with connect(device) as session:
        device.machine.forgets = space
        with pytest.raises(VerifyError, match=f"{space.name} memory of cluster 0 holds"):
            session.load(bundle)
        with pytest.raises(PlumHostError, match="no bundle is loaded"):
            session.run(IMAGE)
        device.machine.forgets = None
        session.load(bundle)
        device.machine.forgets = space
        with pytest.raises(VerifyError, match=f"{space.name} memory of cluster 0 holds"):
            session.run(IMAGE)
        device.machine.forgets = None
        device.memories[2][Space.ACTIVATION][:] = 0
        assert session.run(IMAGE).outputs[0, 0] == 60 + sum(map(sum, ADDED))


@pytest.mark.parametrize("seed", range(5))
def test_parts_run_once_each_over_a_bad_line(seed: int) -> None:
    bundle = make(3)
    device = device_for(bundle)
    faults = Faults(drop=0.05, corrupt=0.05, repeat=0.05, reorder=0.05, seed=seed)
    line = FaultyTransport(InProcessTransport("memories", device), faults)
    with Session(line) as session:
        session.load(bundle)
        result = session.run(IMAGE)
        assert device.runs == [2, 1, 3]
        # The third cluster's activations are nobody's: a run too much would leave its mark there.
        total = sum(map(sum, ADDED))
        assert result.outputs.tolist() == [[60 + total, 100 + total]]
    assert line.out.faults + line.back.faults


def test_a_map_is_read_from_the_clusters_that_hold_it() -> None:
    bundle = make(2, outputs="map")
    device = device_for(bundle)
    with connect(device) as session:
        session.load(bundle)
        for cluster, memory in enumerate(device.memories):
            memory[Space.ACTIVATION][:] = 100 * cluster + np.arange(2048) % 32
        result = session.run(IMAGE)
    # Bytes 0 and 1 of word 1 in cluster 0, byte 0 in cluster 2; cluster 0's were the image's zeros.
    assert result.outputs.tolist() == [[[[16, 16, 208 + 18]]]]


def test_layers_that_are_not_counted_apart() -> None:
    bundle = make(3, layer_counters=2)
    device = device_for(bundle)
    with connect(device) as session:
        session.load(bundle)
        with pytest.raises(PlumHostError, match="nothing was counted yet"):
            session.counters()
        session.run(IMAGE)
        with pytest.raises(PlumHostError, match="cycles of 2 layers apart and the network has 3"):
            session.layer_cycles()
        assert session.counters()["cycles"] == 5 + 6 + 11 + 13 + 14 + 15
