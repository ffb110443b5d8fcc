"""Golden machine == golden reference, layer by layer, for every op and many arrays."""

import re
from dataclasses import replace

import numpy as np
import pytest

from plum_host.bundle import Bundle
from plum_hw.compiler import check_network, compile_network
from plum_hw.compiler.layout import TensorLayout
from plum_hw.config import ArrayConfig
from plum_hw.golden.diverge import compare, machine_divergence
from plum_hw.golden.machine import AddressError, Machine, MachineError
from plum_hw.golden.reference import Reference
from plum_hw.ir import Network
from plum_hw.ir.random import random_images, random_network
from plum_hw.layouts import LAYER_COUNTERS, Counter, Space, layer_layout, segment_layout
from tests.compiler.nets import Builder, array, draw_array, residual_network


def loaded(config: ArrayConfig, bundle: Bundle, seed: int = 0) -> Machine:
    """A machine with a bundle, and noise where nothing was written: what a run leaves behind."""
    machine = Machine(config)
    rng = np.random.default_rng(seed)
    machine.activation[:] = rng.integers(0, 1 << config.act_bits, machine.activation.shape)
    machine.load(bundle)
    return machine


def check(network: Network, config: ArrayConfig, seed: int = 0, images: int = 3) -> Bundle:
    """Compile, and compare every layer of some images."""
    bundle = compile_network(network, config)
    machine = loaded(config, bundle, seed)
    for image in random_images(network, images, seed):
        found = machine_divergence(network, bundle, image, machine)
        assert found is None, f"seed {seed}, {config}: {found}"
    cycles = machine.run_image(bundle, image)
    assert not machine.overflows
    assert cycles == bundle.manifest["predicted_cycles"]
    return bundle


def clustered(rng: np.random.Generator, config: ArrayConfig) -> ArrayConfig:
    """The same array with some clusters, and sometimes with too little memory for one part."""
    buses = int(rng.choice([b for b in (1, 2, 4, 8) if b <= config.groups]))
    if rng.random() < 0.3:
        config = replace(config, code_depth=600, head_depth=256, table_depth=400)
    return replace(config, clusters=int(rng.integers(1, 7)), write_buses=buses)


def varied(network: Network, seed: int = 0) -> None:
    """Outputs must not be all zero or all saturated, or equality shows little."""
    for name, values in Reference(network).layers(random_images(network, 4, seed)).items():
        assert len(np.unique(values[2:])) > 2, name


@pytest.mark.parametrize("seed", range(160))
def test_random_networks_on_random_arrays(seed):
    rng = np.random.default_rng(seed)
    for attempt in range(seed, seed + 10_000, 1000):
        config = clustered(rng, draw_array(rng))
        network = random_network(
            attempt,
            max_width=min(config.lanes, 32),
            max_kernel=min(7, 2 * config.reach + 1),
            max_macs=150_000,
        )
        if not check_network(network, config):
            check(network, config, attempt, images=2)
            return
    pytest.fail("no array could run any of ten networks")


@pytest.mark.parametrize("lanes", [8, 16, 64])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("scheme", ["signed_binary", "binary", "ternary", "int"])
@pytest.mark.parametrize("depthwise", [False, True])
def test_convolutions_of_every_scheme(scheme, stride, depthwise, lanes):
    net = Builder((3, 9, 8), seed=lanes)
    net.conv(8, 1, density=0.8, scheme="int", bits=3)
    net.conv(8, stride=stride, scheme=scheme, depthwise=depthwise, window=not depthwise)
    varied(net.network())
    check(net.network(), array(lanes=lanes, clusters=max(1, 48 // lanes)))


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (3, 1), (4, 4), (5, 5), (7, 7), (1, 7)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pad", ["none", "same", "most"])
def test_kernels_strides_and_paddings(kernel, stride, pad):
    padding = {
        "none": (0, 0),
        "same": (kernel[0] // 2, kernel[1] // 2),
        "most": (kernel[0] - 1, kernel[1] - 1),
    }[pad]
    net = Builder((2, 13, 11), seed=7)
    net.conv(4, 1, density=1.0)
    net.conv(5, kernel, stride=stride, padding=padding)
    net.conv(3, 1, density=1.0)
    check(net.network(), array(lanes=64, reach=7))
    check(net.network(), array(lanes=32, reach=7, clusters=5))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("acc_bits", [10, 13, 16])
def test_weights_of_every_width(bits, acc_bits):
    net = Builder((4, 6, 6), seed=bits)
    net.conv(6, scheme="int", bits=bits, density=1.0)
    net.dense(5, bits=bits, window=True)
    check(net.network(), array(acc_bits=acc_bits, sum_bits=25))


@pytest.mark.parametrize("op", ["maxpool", "avgpool"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((2, 2), 2, (0, 0)), ((3, 3), 2, (1, 1)), ((3, 2), 1, (2, 0)), ((9, 5), 4, (0, 0))],
)
def test_pools(op, kernel, stride, padding):
    net = Builder((3, 9, 8), seed=1)
    net.conv(4)
    if stride < 3:
        net.pool(op, kernel, stride, padding)
    net.pool(op, (net.shape(net.last)[1], net.shape(net.last)[2]), 8)
    check(net.network(), array(lanes=32, reach=4))
    check(net.network(), array(lanes=16, reach=4, clusters=3))


@pytest.mark.parametrize("lanes", [8, 16, 32, 64])
def test_additions_and_residuals(lanes):
    net = Builder((2, 8, 8), seed=2)
    first = net.conv(6, 1, density=1.0)
    net.conv(6)
    block = net.conv(6, residual=first, window=True)
    net.conv(6, depthwise=True, residual=block, scheme="ternary")
    net.add(net.last, first)
    net.add(net.last, net.last)
    varied(net.network())
    for clusters in (1, 4):
        check(net.network(), array(lanes=lanes, clusters=clusters))


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("side", [1, 5])
def test_dense_layers_in_a_row(side, logits):
    net = Builder((5, side, side), seed=3)
    net.dense(9, logits=False)
    net.dense(7, logits=False, scheme="ternary", window=True)
    net.dense(4, logits=logits)
    for clusters in (1, 4):
        check(net.network(), array(lanes=32, clusters=clusters))


def test_a_dense_layer_on_a_map_feeds_any_reader():
    """Its sum is one lane: what needs zeros around it, or copies, gets them from a layer after."""
    net = Builder((5, 4, 4), seed=3)
    hidden = net.dense(6, logits=False)
    wide = net.conv(6, 3, padding=(2, 2))
    net.conv(6, 3, source=hidden, padding=(2, 2), residual=wide)
    net.dense(4)
    bundle = check(net.network(), array(lanes=32))
    names = [layer["name"] for layer in bundle.manifest["layers"]]
    assert names == ["dense0", "dense0.copy", "conv1", "conv2", "dense3"]
    net = Builder((5, 4, 4), seed=3)
    net.dense(6, logits=False)
    net.dense(4)
    check(net.network(), array(lanes=32))


def test_extreme_weights():
    for density in (0.0, 1.0):
        net = Builder((2, 6, 6))
        net.conv(4, density=density, window=True)
        net.conv(4, density=density, scheme="ternary")
        net.conv(4, density=density, scheme="int")
        net.dense(3)
        check(net.network(), array(lanes=16))


@pytest.mark.parametrize("clusters", [1, 3])
def test_maps_and_narrow_activations(clusters):
    net = Builder((2, 10, 10), bits=3)
    net.conv(4, out_bits=1)
    net.conv(4, stride=2, out_bits=5)
    config = array(lanes=32, act_bits=5, clusters=clusters)
    bundle = check(net.network(), config)
    machine = loaded(config, bundle)
    images = random_images(net.network(), 3, 1)
    assert (machine.outputs(bundle, images) == Reference(net.network()).run(images)).all()


def test_depths_that_are_no_powers_of_two():
    network = residual_network()
    check(network, array(lanes=32, act_depth=700, table_depth=3000, code_depth=3000))
    check(network, array(lanes=16, clusters=3, act_depth=700, table_depth=300, code_depth=700))


def test_networks_in_parts():
    """What does not fit is loaded part after part, for every image."""
    network = residual_network()
    config = array(lanes=16, clusters=3, write_buses=2, table_depth=300, code_depth=200)
    bundle = check(network, config)
    assert len(bundle.parts) > 2
    machine = Machine(config)
    images = random_images(network, 3, 0)
    assert (machine.outputs(bundle, images) == Reference(network).run(images)).all()
    last = bundle.manifest["layers"][-bundle.parts[-1] :]
    assert machine.counters[Counter.CYCLES] == sum(layer["cycles"] for layer in last)


def test_a_run_of_the_first_layers_stops_there():
    network = residual_network()
    for config in (array(lanes=32), array(lanes=16, clusters=3, code_depth=200)):
        bundle = compile_network(network, config)
        machine = loaded(config, bundle)
        image = random_images(network, 1, 0)[0]
        expected = Reference(network).layers(image[None])
        for number, layer in enumerate(bundle.manifest["layers"]):
            cycles = machine.run_image(bundle, image, number + 1)
            if layer["name"] in expected:  # a step that completes a layer
                assert (machine.tensor(bundle, layer["name"]) == expected[layer["name"]][0]).all()
            layers = bundle.manifest["layers"][: number + 1]
            assert cycles == sum(layer["cycles"] for layer in layers)


# ---- what the machine keeps ------------------------------------------------------------------


def test_counters_and_results_of_a_run():
    network, config = residual_network(), array(lanes=32, clusters=2, layer_counters=16)
    bundle = compile_network(network, config)
    machine = loaded(config, bundle)
    image = random_images(network, 1, 5)[0]
    machine.run_image(bundle, image)
    layers = bundle.manifest["layers"]
    counters = np.frombuffer(machine.read(Space.COUNTER, 0, LAYER_COUNTERS + 16), "<u4")
    for counter, key in (
        (Counter.CYCLES, "cycles"),
        (Counter.BEATS, "beats"),
        (Counter.DRAIN_STALLS, "drain_stalls"),
        (Counter.EMIT_STALLS, "emit_stalls"),
    ):
        assert counters[counter] == sum(layer[key] for layer in layers)
    assert counters[LAYER_COUNTERS:].tolist()[: len(layers)] == [item["cycles"] for item in layers]
    assert machine.result_count == 10
    expected = Reference(network).run(image[None])
    assert (machine.outputs(bundle, image[None]) == expected).all()


def test_a_second_run_gives_the_same():
    network, config = residual_network(), array(lanes=32)
    bundle = compile_network(network, config)
    machine = loaded(config, bundle)
    images = random_images(network, 5, 5)
    expected = Reference(network).run(images)
    for number in (0, 1, 2, 0, 3, 4, 2):
        machine.run_image(bundle, images[number])
        assert (machine.tensor(bundle, network.output) == expected[number]).all()


def test_memories_read_what_was_written_in_their_width():
    config = array(lanes=16, clusters=2, act_bits=4, act_depth=100)
    machine = Machine(config)
    words = np.array([0xFFFFFFFF, 0x12345678], np.uint32)
    for space in (Space.CODE, Space.TABLE):
        machine.write(space, 3, words)
        machine.write(space, 4, words, 1)
        assert np.frombuffer(machine.read(space, 3, 2), "<u4").tolist() == words.tolist()
        assert np.frombuffer(machine.read(space, 4, 2, 1), "<u4").tolist() == words.tolist()
    machine.write(Space.ACTIVATION, 5, bytes(range(16)), 1)
    assert machine.read(Space.ACTIVATION, 5, 2, 1) == bytes(x & 15 for x in range(16))
    assert machine.activation[1, 2].tolist() == [0] * 8 + list(range(8))
    assert not machine.activation[0].any()


@pytest.mark.parametrize(
    ("space", "address", "count", "cluster", "message"),
    [
        (Space.ACTIVATION, 199, 2, 0, "words 199 to 200 of ACTIVATION; it has 200"),
        (Space.CODE, -1, 1, 0, "words -1 to -1 of CODE"),
        (9, 0, 1, 0, "space is 9; it must be 0 to 4"),
        (Space.TABLE, 0, 1, 2, "cluster is 2; it must be 0 to 1"),
        (Space.COUNTER, 0, 1, -1, "cluster is -1"),
    ],
)
def test_accesses_outside_are_refused(space, address, count, cluster, message):
    machine = Machine(array(lanes=16, clusters=2, act_depth=100))
    with pytest.raises(AddressError, match=message):
        machine.read(space, address, count, cluster)
    with pytest.raises(AddressError):
        machine.write(space, address, bytes(8 * count), cluster)


def test_writes_of_half_words_or_to_results_are_refused():
    machine = Machine(array())
    with pytest.raises(AddressError, match="5 bytes; words of TABLE have 4"):
        machine.write(Space.TABLE, 0, bytes(5))
    with pytest.raises(AddressError, match="RESULT is read only"):
        machine.write(Space.RESULT, 0, bytes(4))


# ---- planted faults --------------------------------------------------------------------------


def fault_network() -> Network:
    net = Builder((2, 8, 8), seed=4)
    net.conv(4)
    net.conv(4)
    net.dense(3)
    return net.network()


@pytest.mark.parametrize("clusters", [1, 3])
def test_a_flipped_weight_is_found_in_its_layer(clusters):
    network, config = fault_network(), array(lanes=16, clusters=clusters)
    bundle = compile_network(network, config, 1)
    machine = loaded(config, bundle)
    image = random_images(network, 3, 0)[2]
    assert machine_divergence(network, bundle, image, machine) is None
    cluster = clusters - 1
    code = bundle.code[0][cluster]
    pointer = fields_of(bundle, config, cluster)["weight_ptr"]
    machine.write(Space.CODE, pointer, np.array([code[pointer] ^ 0b110], np.uint32), cluster)
    found = machine_divergence(network, bundle, image, machine)
    assert found is not None
    assert found.layer == "conv1"
    assert re.match("layer conv1: channel ., row ", str(found))


def test_clusters_that_should_hold_the_same_are_compared():
    network, config = fault_network(), array(lanes=16, clusters=3)
    bundle = compile_network(network, config)
    machine = loaded(config, bundle)
    image = random_images(network, 3, 0)[2]
    machine.run_image(bundle, image, 1)
    (layout,) = [TensorLayout(**item) for item in bundle.manifest["layers"][0]["layout"]]
    held = layout.pixel_map(config.lanes, layout.parts - 1)
    # A pixel that another cluster, or a halo, holds too.
    elsewhere = [layout.pixel_map(config.lanes, part) for part in range(layout.parts - 1)]
    assert layout.copies > 1 or elsewhere
    shared = held >= 0 if layout.copies > 1 else (held >= 0) & np.isin(held, elsewhere)
    vector, lane = np.argwhere(shared)[0]
    machine.activation[layout.parts * layout.copies - 1, layout.base + vector, lane] ^= 1
    with pytest.raises(MachineError, match=r"layer conv0: cluster . holds .*; another place holds"):
        machine.tensor(bundle, "conv0")


def test_compare_names_the_first_element():
    expected = np.zeros((2, 3, 4), np.uint8)
    got = expected.copy()
    assert compare("x", expected, got) is None
    got[1, 2, 0], got[1, 2, 3] = 7, 9
    found = compare("x", expected, got)
    assert (
        str(found) == "layer x: channel 1, row 2, column 0 is 7, expected 0 (2 wrong in this layer)"
    )
    found = compare("x", np.array([-5, 2]), np.array([-5, 3]))
    assert found is not None
    assert (found.channel, found.row, found.expected, found.got) == (1, 0, 2, 3)


def test_overflows_wrap_and_are_reported():
    """A program for wide registers, run with narrow ones."""
    net = Builder((32, 4, 4), seed=5)
    net.conv(2, 1, density=1.0, scheme="int")
    network = net.network()
    wide = array(acc_bits=20, sum_bits=25)
    bundle = compile_network(network, wide)
    image = np.full((32, 4, 4), 255, np.uint8)
    for knob, narrow in (
        ("acc_bits", replace(wide, acc_bits=12)),
        ("sum_bits", replace(wide, sum_bits=16)),
    ):
        machine = Machine(narrow)
        machine.load(bundle)
        machine.run_image(bundle, image)
        assert (0, knob) in machine.overflows
        assert machine_divergence(network, bundle, image, machine) is not None


def fields_of(bundle: Bundle, config: ArrayConfig, cluster: int = 0) -> dict[str, int]:
    """The second layer's descriptor."""
    layout = layer_layout(config)
    return layout.unpack(bundle.code[0][cluster][layout.words : 2 * layout.words].tolist())


def rewritten(bundle: Bundle, config: ArrayConfig, **fields: int) -> Machine:
    """A machine with fields of the second layer's descriptor changed."""
    machine = loaded(config, bundle)
    layout = layer_layout(config)
    words = np.array(layout.pack(**{**fields_of(bundle, config), **fields}), np.uint32)
    machine.write(Space.CODE, layout.words, words, 0)
    return machine


def test_programs_that_depend_on_the_pipeline_are_refused():
    """Others in `tests.golden.test_programs`."""
    network, config = fault_network(), array(lanes=16)
    bundle = compile_network(network, config)
    image = random_images(network, 1, 0)[0]
    values = fields_of(bundle, config)
    machine = rewritten(bundle, config, out_base=values["in_base"])
    with pytest.raises(MachineError, match="reads activations that the layer has written"):
        machine.run_image(bundle, image)
    machine = loaded(config, bundle)
    segment = segment_layout(config)
    first = segment.unpack([int(bundle.code[0][0][values["segment_ptr"]])])
    word = np.array(segment.pack(**{**first, "start": 2}), np.uint32)
    machine.write(Space.CODE, values["segment_ptr"], word)
    with pytest.raises(MachineError, match="adds to what the last filter"):
        machine.run_image(bundle, image)
    machine = rewritten(bundle, config, scatter_ptr=0)
    machine.write(Space.TABLE, 0, np.zeros(config.table_depth, np.uint32))
    with pytest.raises(MachineError, match="no last entry"):
        machine.run_image(bundle, image)
