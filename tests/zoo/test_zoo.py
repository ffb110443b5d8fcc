"""Networks of the zoo: shapes, published sizes, schemes, densities, and results on the machine."""

import numpy as np
import pytest

from plum_hw.compiler import check_network, compile_network
from plum_hw.errors import ConfigError
from plum_hw.golden.machine import Machine
from plum_hw.golden.reference import Reference
from plum_hw.ir import Conv, Dense, Network, RequantLayer, WeightLayer
from plum_hw.ir.random import random_images
from plum_hw.presets import preset
from plum_hw.zoo import NAMES, SCHEMES, Options, build

#: Million multiply-accumulates as published (ResNet-20 with its 1x1 shortcuts).
PUBLISHED = {
    "resnet20": 40.8,
    "resnet8": 12.5,
    "resnet18": 1814,
    "dscnn": 2.66,
    "mobilenet025": 7.49,
    "autoencoder": 0.264,
    "layer-l": 0.589824,
}
OUTPUTS = {
    "resnet20": 10,
    "resnet8": 10,
    "resnet18": 1000,
    "dscnn": 12,
    "mobilenet025": 2,
    "autoencoder": 640,
    "fashion": 10,
}
#: Those that are quick enough to draw in every scheme.
SMALL = ("layer-l", "fashion", "dscnn", "autoencoder")


def middle(network: Network) -> list[WeightLayer]:
    """Layers that take the scheme."""
    layers = [layer for layer in network.layers if isinstance(layer, WeightLayer)]
    return [layer for layer in layers if layer.scheme != "int"]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_sizes_are_the_published_ones(name):
    network = build(name)
    assert network.macs() / 1e6 == pytest.approx(PUBLISHED[name], rel=0.005)
    if name in OUTPUTS:
        assert network.shape_of(network.output) == (OUTPUTS[name], 1, 1)


def test_shapes_of_resnet20():
    network = build("resnet20")
    assert network.input.shape == (3, 32, 32)
    assert [network.shape_of(f"s{stage}b3.conv2") for stage in (1, 2, 3)] == [
        (16, 32, 32),
        (32, 16, 16),
        (64, 8, 8),
    ]
    assert len([layer for layer in middle(network) if isinstance(layer, Conv)]) == 18
    for name in ("stem", "s2b1.shortcut", "s3b1.shortcut", "fc"):
        layer = network.layer(name)
        assert isinstance(layer, Conv | Dense)
        assert (layer.scheme, layer.weight_bits) == ("int", 8)


def test_the_same_options_give_the_same_network():
    assert build("fashion") == build("fashion", Options())
    assert build("fashion") != build("fashion", Options(seed=1))
    assert build("fashion") != build("fashion", Options(density=0.3))


@pytest.mark.parametrize("scheme", ["signed-binary", "ternary"])
@pytest.mark.parametrize("density", [0.05, 0.25, 1 / 3, 0.35, 1.0])
def test_density_is_exact(scheme, density):
    for layer in middle(build("fashion", Options(scheme=scheme, density=density))):
        count = np.count_nonzero(layer.weight.reshape(layer.filters, -1), axis=1)
        size = layer.weight[0].size
        assert abs(count - density * size).max() < 1
        assert 0 <= density * layer.weight.size - count.sum() < 1 + 1e-6


def test_values_of_the_schemes():
    def values(scheme: str) -> set[int]:
        layers = middle(build("fashion", Options(scheme=scheme)))
        return {int(v) for layer in layers for v in np.unique(layer.weight)}

    assert values("signed-binary") == {-1, 0, 1}
    assert values("ternary") == {-1, 0, 1}
    assert values("binary") == {-1, 1}
    assert values("binary-offset") == {0, 1}
    for layer in middle(build("fashion")):
        flat = layer.weight.reshape(layer.filters, -1)
        assert ((flat.min(axis=1) < 0) == (np.arange(layer.filters) >= layer.filters // 2)).all()
        assert ((flat.min(axis=1) < 0) != (flat.max(axis=1) > 0)).all()
    assert not middle(build("fashion", Options(scheme="int8")))


def test_both_ways_to_store_binary_weights_are_one_function():
    plain = build("fashion", Options(scheme="binary"))
    offset = build("fashion", Options(scheme="binary-offset"))
    images = random_images(plain, 5, 0)
    first, second = Reference(plain).layers(images), Reference(offset).layers(images)
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    requant = [layer.requant for layer in middle(offset)]
    assert all(q.window is not None and (q.scale == -2 * q.window).all() for q in requant)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_activations_are_neither_zero_nor_saturated(name, scheme):
    network = build(name, Options(scheme=scheme, act_bits=6))
    images = random_images(network, 6, 1)[2:]
    for layer_name, values in Reference(network).layers(images).items():
        layer = network.layer(layer_name)
        if network.bits_of(layer_name) > 8:
            assert len(np.unique(values)) > 8
        elif isinstance(layer, RequantLayer):
            assert network.bits_of(layer_name) == 6
            assert (values == 0).mean() < 0.6
            assert (values == 63).mean() < 0.3
            assert len(np.unique(values)) > 16


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("name", "array"), [("layer-l", "tiny"), ("fashion", "arty-a7-35t-deep")])
def test_the_machine_equals_the_reference(name, array, scheme):
    network, config = build(name, Options(scheme=scheme, density=0.4)), preset(array)
    bundle = compile_network(network, config)
    machine = Machine(config)
    machine.load(bundle)
    for image in random_images(network, 3, 0):
        machine.run_image(bundle, image)
        expected = Reference(network).run(image[None])[0]
        np.testing.assert_array_equal(machine.tensor(bundle, network.output), expected)
    assert not machine.overflows


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("autoencoder", "cluster", "use an array with sum_bits 23"),
    ],
)
def test_what_an_array_cannot_hold_is_named(name, array, reason):
    problems = check_network(build(name), preset(array))
    assert any(reason in problem.text for problem in problems)


def test_dscnn_is_the_convolution_of_the_plain_image():
    """Rows and columns in twos as channels: the 5x2 kernel is the 10x4 kernel with stride 2."""
    rng = np.random.default_rng(0)
    image = np.zeros((50, 12), np.int64)
    image[:49, 1:11] = rng.integers(0, 256, (49, 10))  # TensorFlow's 'same': 1 column on each side
    kernel = rng.integers(-127, 128, (10, 4))
    padded = np.pad(image, ((4, 4), (0, 0)))
    plain = [
        [(padded[2 * y : 2 * y + 10, 2 * x : 2 * x + 4] * kernel).sum() for x in range(5)]
        for y in range(25)
    ]
    folded = image.reshape(25, 2, 6, 2).transpose(1, 3, 0, 2).reshape(4, 25, 6)
    weight = kernel.reshape(5, 2, 2, 2).transpose(1, 3, 0, 2).reshape(4, 5, 2)
    network = build("dscnn")
    stem = network.layer("stem")
    assert isinstance(stem, Conv)
    assert network.input.shape == folded.shape
    assert stem.weight.shape[1:] == weight.shape
    assert stem.padding == (2, 0)
    rows = np.pad(folded, ((0, 0), (2, 2), (0, 0)))
    ours = [[(rows[:, y : y + 5, x : x + 2] * weight).sum() for x in range(5)] for y in range(25)]
    assert ours == plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "quaternary"}, "no scheme 'quaternary'; schemes are signed-binary, "),
        ({"density": 0.0}, "density is 0; it must be above 0 and at most 1"),
        ({"density": 1.01}, "density is 1.01"),
        ({"density": float("nan")}, "density is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"act_bits": 9}, "act_bits is 9; it must be 2 to 8"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        Options(**options)


def test_unknown_networks_are_named():
    with pytest.raises(ConfigError, match="no network 'lenet'; networks are resnet20, "):
        build("lenet")
    assert "vgg-small" in NAMES
