"""What is packed: the same every time, nothing twice, and what the manifest says of it."""

from dataclasses import replace

import numpy as np
import pytest

from plum_hw.compiler import compile_network
from plum_hw.compiler.assemble import Image, Step, _Memory, assemble
from plum_hw.compiler.decode import LayerCode
from plum_hw.compiler.layout import TensorLayout
from plum_hw.compiler.plan import LayerPlan, plan_network
from plum_hw.compiler.schedule import decode_image, schedule
from plum_hw.compiler.segments import Masks
from plum_hw.config import ArrayConfig
from plum_hw.errors import PlumError
from plum_hw.ir import Network
from plum_hw.layouts import layer_layout, scatter_layout, segment_layout
from plum_hw.presets import preset
from tests.compiler.nets import Builder, array, residual_network


def test_compilation_is_deterministic():
    first = compile_network(residual_network(), preset("tiny")).to_bytes()
    assert compile_network(residual_network(), preset("tiny")).to_bytes() == first
    assert compile_network(residual_network(seed=1), preset("tiny")).to_bytes() != first


def image_of(
    network: Network, config: ArrayConfig, group: int
) -> tuple[list[Step], Image, list[list[LayerCode]]]:
    """Steps of the only part, its memories, and what is decoded from these."""
    plan, problems = plan_network(network, config)
    assert plan is not None, problems
    (steps,), problems = schedule(config, plan.layers, group)
    assert not problems
    image = assemble(config, steps)
    return steps, image, decode_image(config, image, len(steps))


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("clusters", [1, 3])
def test_what_is_packed_decodes_to_the_plan(clusters, group):
    config = array(lanes=32, clusters=clusters, write_buses=2)
    steps, image, codes = image_of(residual_network(), config, group)
    layout = layer_layout(config)
    for index, (step, each) in enumerate(zip(steps, codes, strict=True)):
        plan = step.plan
        for cluster, code in enumerate(each):
            words = image.code[cluster][index * layout.words : (index + 1) * layout.words]
            fields = layout.unpack(words.tolist())
            assert fields["group"] == plan.scatter.group(cluster)
            part, share = divmod(cluster, plan.geometry.copies)
            if part >= plan.geometry.parts or not step.masks[share].filters:
                assert fields["passes"] == 0
                continue
            masks = step.masks[share]
            # The descriptor counts the window sum's pass.
            assert fields["passes"] == code.fields["passes"] + bool(masks.window_segments)
            check_cluster(config, image, cluster, code, plan, masks, part)


def check_cluster(
    config: ArrayConfig,
    image: Image,
    cluster: int,
    code: LayerCode,
    plan: LayerPlan,
    masks: Masks,
    part: int,
) -> None:
    fields = code.fields
    segments = [*masks.window_segments, *masks.segments]
    for number, segment in enumerate(segments):
        word = int(image.code[cluster][fields["segment_ptr"] + number])
        unpacked = segment_layout(config).unpack([word])
        for name in ("offset", "words", "start", "drain", "residual", "bank", "emit"):
            assert unpacked[name] == getattr(segment, name), name
    assert (code.masks == masks.words).all()
    assert (code.window_masks.ravel() == masks.window_words).all()
    channels = [0 if channel is None else channel for channel in masks.filters]
    given = np.array([channel is not None for channel in masks.filters])
    for name in ("scale", "bias", "window", "residual"):
        assert (code.constants[name] == given * getattr(plan.constants, name)[channels]).all()
    assert code.constants["channel"].tolist() == channels
    if plan.geometry.logits:
        assert not len(code.entries["offset"])
        return
    lists = plan.scatter.lists[part]
    for number, entry in enumerate(entry for entries in lists for entry in entries):
        word = int(image.table[cluster][fields["scatter_ptr"] + number])
        unpacked = scatter_layout(config).unpack([word])
        for name in ("offset", "source", "target", "select", "count", "dest", "grouped"):
            assert unpacked[name] == getattr(entry, name) == code.entries[name][number]
    ends = np.cumsum([len(entries) for entries in lists]) - 1
    assert np.flatnonzero(code.entries["last"]).tolist() == ends.tolist()


@pytest.mark.parametrize("clusters", [1, 2])
def test_layers_share_lists_masks_and_segments(clusters):
    config = array(lanes=64, clusters=clusters)
    net = Builder((8, 16, 16))
    for _ in range(3):
        net.conv(8)
        net.pool("maxpool", (3, 3), 1, (1, 1))
    _, image, codes = image_of(net.network(), config, 1)
    for cluster in range(clusters):
        mine = [each[cluster] for each in codes]
        # Layers of one split write the same places, but for the last, whose output has no halos.
        assert len({code.fields["scatter_ptr"] for code in mine}) < 6
        pools = mine[1::2]
        for name in ("segment_ptr", "table_ptr"):
            assert len({code.fields[name] for code in pools[:-1]}) == 1
        entries = sum(len(code.entries["offset"]) for code in mine)
        constants = sum(4 * len(code.constants["scale"]) for code in mine)
        assert len(image.table[cluster]) < entries + constants


def test_blocks_are_found_at_words_only():
    """A block whose bytes occur across words is not that block."""
    memory = _Memory(2)
    first = memory.place([0x01020304, 0x05060708])
    assert first == 2
    assert memory.place([0x05060708]) == 3
    assert memory.place([0x08010203]) == 4  # bytes 1 to 4 of the first block, not its words
    assert memory.place([0]) == 5  # the reserved words are no block
    memory.put(0, [7, 9])
    assert memory.words.tolist() == [7, 9, 0x01020304, 0x05060708, 0x08010203, 0]


def test_filters_of_one_sign_need_one_group_whatever_their_scheme():
    net = Builder((8, 8, 8))
    net.conv(8)
    signed = net.layers[0]
    ternary = replace(signed, scheme="ternary", weight_bits=2)  # type: ignore[call-arg]
    entries = []
    for layer in (signed, ternary):
        net.layers[0] = layer
        entries += compile_network(net.network(), array()).manifest["layers"]
        plan, _ = plan_network(net.network(), array())
        assert plan is not None
        assert len(plan.layers[0].masks.segments) == 3
        assert not any(segment.negate for segment in plan.layers[0].masks.segments)
    assert entries[0] == entries[1]


@pytest.mark.parametrize("lanes", [16, 64])
@pytest.mark.parametrize("clusters", [1, 5])
def test_the_manifest_says_where_outputs_are_and_what_layers_cost(lanes, clusters):
    network = residual_network()
    config = array(lanes=lanes, clusters=clusters)
    bundle = compile_network(network, config)
    layers = bundle.manifest["layers"]
    done = [layer["name"] for layer in layers if ".rows-" not in layer["name"]]
    assert done == [layer.name for layer in network.layers]
    for layer in network.layers:
        steps = [e for e in layers if e["name"].split(".rows-")[0] == layer.name]
        assert {entry["op"] for entry in steps} == {layer.op}
        assert sum(entry["macs"] for entry in steps) == network.macs(layer)
        for entry in steps:
            assert 0 < entry["lane_use"] <= 1
            assert entry["group"] in (1, 2)
            rows, copies = entry["split"]
            assert 1 <= rows * copies <= clusters
        assert all(entry["layout"] is None for entry in steps[:-1])
        if steps[-1]["layout"] is None:
            assert layer.name == network.output
            continue
        channels, height, width = network.shape_of(layer.name)
        held = set()
        for values in steps[-1]["layout"]:
            layout = TensorLayout(**values)
            for part in range(layout.parts):
                for share in range(layout.shares):
                    held |= set(layout.pixel_map(lanes, part, share).ravel().tolist())
        assert held >= set(range(channels * height * width))
    assert bundle.manifest["predicted_cycles"] == sum(entry["cycles"] for entry in layers)
    assert [entry["density"] for entry in layers if entry["op"] == "add"] == [None]
    (first, *_), image = bundle.steps, bundle.maps[0]
    assert first.writes == ((0, 0),)
    assert set(image[image >= 0]) == set(range(12 * 12))
    assert image.shape == (clusters, 8 * bundle.manifest["maps"][0]["words"])


@pytest.mark.parametrize("clusters", [1, 4])
def test_lane_use_counts_pixels_only(clusters):
    """A dense-weight layer whose strips fill the vectors: nearly all lane cycles are useful."""
    config = array(lanes=64, clusters=clusters, write_buses=4)
    for side, share in ((16, 1), (12, 0.75)):
        net = Builder((64, side, side))
        net.conv(16, 3, density=1.0)
        (layer,) = compile_network(net.network(), config, 1).manifest["layers"]
        assert 0.93 * share < layer["lane_use"] < share
        useful = layer["macs"] / (layer["cycles"] * 64 * clusters)
        assert layer["lane_use"] == pytest.approx(useful, abs=1e-6)


@pytest.mark.parametrize("clusters", [1, 3])
def test_map_outputs_are_looked_up_in_what_the_host_reads(clusters):
    net = Builder((1, 12, 12))
    net.conv(5, 3, stride=2)
    config = array(lanes=16, clusters=clusters)
    bundle = compile_network(net.network(), config)
    ((number, offset),) = bundle.steps[-1].reads
    assert offset == bundle.output_place.at
    entry, places = bundle.manifest["maps"][number], bundle.maps[number]
    kept = np.argwhere(places >= 0).tolist()
    assert sorted(places[places >= 0].tolist()) == list(range(5 * 6 * 6))
    layouts = [TensorLayout(**each) for each in bundle.manifest["layers"][-1]["layout"]]
    (layout,) = layouts
    assert entry["address"] == layout.base * config.groups
    for cluster, byte in kept:
        vector, lane = divmod(byte, config.lanes)
        part = cluster // layout.copies
        held = layout.pixel_map(config.lanes, part, layout.share(cluster))
        assert held[vector, lane] == places[cluster, byte]


def test_groups_are_checked():
    with pytest.raises(PlumError, match="group is 3; it must be 1, 2 or None"):
        compile_network(residual_network(), array(), 3)
