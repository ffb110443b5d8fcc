"""What is packed: the same every time, nothing twice, and what the manifest says of it."""

from dataclasses import replace

import numpy as np
import pytest

from plum_hw.compiler import compile_network
from plum_hw.compiler.assemble import assemble
from plum_hw.compiler.compile import decode_image
from plum_hw.compiler.layout import TensorLayout
from plum_hw.compiler.plan import plan_network
from plum_hw.config import preset
from plum_hw.layouts import layer_layout, requant_layout, scatter_layout, segment_layout
from tests.compiler.nets import Builder, array, residual_network


def test_compilation_is_deterministic():
    first = compile_network(residual_network(), preset("tiny")).to_bytes()
    assert compile_network(residual_network(), preset("tiny")).to_bytes() == first
    assert compile_network(residual_network(seed=1), preset("tiny")).to_bytes() != first


def test_what_is_packed_decodes_to_the_plan():
    config = array(lanes=32)
    plan, _ = plan_network(residual_network(), config)
    assert plan is not None
    image, _ = assemble(config, plan)
    assert image is not None
    layout = layer_layout(config)
    codes = decode_image(config, image, len(plan.layers))
    for index, (layer, code) in enumerate(zip(plan.layers, codes, strict=True)):
        words = image.program[index * layout.words : (index + 1) * layout.words].tolist()
        assert layout.unpack(words) == code.fields
        fields = code.fields
        for number, segment in enumerate(layer.masks.segments):
            word = int(image.program[fields["segment_ptr"] + number])
            unpacked = segment_layout(config).unpack([word])
            assert unpacked == {key: value[number] for key, value in code.segments.items()}
            assert unpacked["words"] == segment.words
            assert unpacked["offset"] == segment.offset
        assert (code.masks == layer.masks.words).all()
        for name in ("scale", "bias", "window", "residual"):
            assert (code.constants[name] == getattr(layer.constants, name)).all()
        if layer.geometry.logits:
            assert not len(code.entries["offset"])
            continue
        flat = [entry for entries in layer.lists for entry in entries]
        for number, entry in enumerate(flat):
            word = int(image.table[fields["scatter_ptr"] + number])
            unpacked = scatter_layout(config).unpack([word])
            for name in ("offset", "source", "target", "select", "upper", "count"):
                assert unpacked[name] == getattr(entry, name) == code.entries[name][number]
        ends = np.cumsum([len(entries) for entries in layer.lists]) - 1
        assert np.flatnonzero(code.entries["last"]).tolist() == ends.tolist()


def test_layers_share_lists_masks_and_segments():
    config = array(lanes=64)
    net = Builder((8, 16, 16))
    for _ in range(3):
        net.conv(8)
        net.pool("maxpool", (3, 3), 1, (1, 1))
    plan, _ = plan_network(net.network(), config)
    assert plan is not None
    image, _ = assemble(config, plan)
    assert image is not None
    codes = decode_image(config, image, 6)
    # The last layer's output has no halos.
    assert len({code.fields["scatter_ptr"] for code in codes[:5]}) == 1
    pools = codes[1::2]
    for name in ("weight_ptr", "segment_ptr", "table_ptr"):
        assert len({code.fields[name] for code in pools}) == 1
    entries = sum(len(items) for items in plan.layers[0].lists)
    last = sum(len(items) for items in plan.layers[5].lists)
    constants = requant_layout(config).words * 8 * (3 + 1)
    assert len(image.table) <= entries + last + constants


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
def test_the_manifest_says_where_outputs_are_and_what_layers_cost(lanes):
    network = residual_network()
    bundle = compile_network(network, array(lanes=lanes))
    layers = bundle.manifest["layers"]
    assert [layer["name"] for layer in layers] == [layer.name for layer in network.layers]
    for entry, layer in zip(layers, network.layers, strict=True):
        assert entry["op"] == layer.op
        assert entry["macs"] == network.macs(layer)
        assert 0 < entry["lane_use"] <= 1
        assert entry["group"] == 1
        if entry["layout"] is None:
            assert layer.name == network.output
            continue
        layout = TensorLayout(**entry["layout"])
        assert (layout.channels, layout.height, layout.width) == network.shape_of(layer.name)
    assert layers[-2]["density"] is None  # an addition
    pixels = bundle.input_map[bundle.input_map >= 0]
    assert set(pixels) == set(range(12 * 12))


def test_lane_use_counts_pixels_only():
    """A dense-weight layer whose strips fill the vectors: nearly all lane cycles are useful."""
    net = Builder((64, 16, 16))
    net.conv(16, 3, density=1.0)
    (layer,) = compile_network(net.network(), array(lanes=64)).manifest["layers"]
    assert 0.97 < layer["lane_use"] < 1
    assert layer["lane_use"] == pytest.approx(layer["macs"] / (layer["cycles"] * 64), abs=1e-6)
    net = Builder((64, 12, 12))
    net.conv(16, 3, density=1.0)
    (layer,) = compile_network(net.network(), array(lanes=64)).manifest["layers"]
    assert 0.97 * 0.75 < layer["lane_use"] <= 0.75
