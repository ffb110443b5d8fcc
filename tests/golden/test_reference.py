"""The golden reference against an oracle in plain Python integers, and its view of images."""

from typing import Any

import numpy as np
import pytest

from plum_hw.errors import ImageError, NetworkError, PlumError
from plum_hw.golden import reference
from plum_hw.golden.reference import Reference, exact_dtype
from plum_hw.ir import (
    Add,
    AvgPool,
    Conv,
    Dense,
    InputSpec,
    Layer,
    MaxPool,
    Network,
    Requant,
    RequantLayer,
)
from plum_hw.ir.random import OPS, random_images, random_network

Map = list[list[list[int]]]


def window(x: Map, layer: Any, c: int, i: int, j: int) -> list[int]:
    """Values of channel ``c`` under the kernel at output (i, j), zeros in the padding."""
    high, wide = len(x[c]), len(x[c][0])
    values = []
    for r in range(layer.kernel[0]):
        for s in range(layer.kernel[1]):
            y = i * layer.stride + r - layer.padding[0]
            z = j * layer.stride + s - layer.padding[1]
            values.append(x[c][y][z] if 0 <= y < high and 0 <= z < wide else 0)
    return values


def oracle(layer: Layer, x: Map, residual: Map | None) -> Map:
    """One layer on one image: no NumPy, no shared code, every integer exact."""
    channels, high, wide = len(x), len(x[0]), len(x[0][0])
    weight = layer.weight.tolist() if isinstance(layer, Conv | Dense) else []
    if isinstance(layer, Dense):
        sides = (1, 1)
    elif isinstance(layer, Add):
        sides = (high, wide)
    else:
        assert isinstance(layer, Conv | AvgPool | MaxPool)
        sides = (
            (high + 2 * layer.padding[0] - layer.kernel[0]) // layer.stride + 1,
            (wide + 2 * layer.padding[1] - layer.kernel[1]) // layer.stride + 1,
        )
    out: Map = []
    for k in range(len(weight) or channels):
        rows = []
        for i in range(sides[0]):
            row = []
            for j in range(sides[1]):
                total = 0
                if isinstance(layer, MaxPool):
                    row.append(max(window(x, layer, k, i, j)))
                    continue
                if isinstance(layer, AvgPool):
                    acc = sum(window(x, layer, k, i, j))
                elif isinstance(layer, Add):
                    acc = x[k][i][j]
                elif isinstance(layer, Dense):
                    pooled = [sum(map(sum, plane)) for plane in x]
                    acc = sum(w * p for w, p in zip(weight[k], pooled, strict=True))
                    total = sum(pooled)
                else:
                    assert isinstance(layer, Conv)
                    acc = 0
                    for c in range(len(weight[k])):
                        taps = window(x, layer, k if layer.groups > 1 else c, i, j)
                        flat = [w for line in weight[k][c] for w in line]
                        acc += sum(w * v for w, v in zip(flat, taps, strict=True))
                        total += sum(taps)
                assert isinstance(layer, RequantLayer)
                q = layer.requant
                t = int(q.scale[k]) * acc + int(q.bias[k])
                t += 0 if q.window is None else int(q.window[k]) * total
                if q.residual is not None:
                    assert residual is not None
                    t += int(q.residual[k]) * residual[k][i][j]
                if q.out_bits == 32:
                    row.append(t)
                else:
                    rounded = (2 * t + 2**q.shift) // 2 ** (q.shift + 1)
                    row.append(min(max(rounded, 0), 2**q.out_bits - 1))
            rows.append(row)
        out.append(rows)
    return out


def compare(network: Network, images: np.ndarray) -> None:
    """Every tensor of every image against the oracle."""
    got = Reference(network).layers(images)
    for index, image in enumerate(images):
        tensors = {network.input.name: image.tolist()}
        for layer in network.layers:
            other = layer.residual_source
            want = oracle(layer, tensors[layer.source], None if other is None else tensors[other])
            tensors[layer.name] = want
            shape = network.shape_of(layer.name)
            result = got[layer.name][index].reshape(shape).tolist()
            assert result == want, f"{network.name}: image {index}, layer {layer.name}"


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed: int) -> None:
    network = random_network(seed, max_macs=15_000, max_width=18, max_channels=10)
    print(f"seed {seed}: {[layer.op for layer in network.layers]}")
    compare(network, random_images(network, 4, seed))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("seed", range(4))
def test_each_op(op: str, seed: int) -> None:
    network = random_network(
        1000 + seed, ops=[op], max_layers=3, max_macs=15_000, max_width=12, max_channels=8
    )
    print(f"seed {1000 + seed}: {[layer.op for layer in network.layers]}")
    compare(network, random_images(network, 4, seed))


def conv_network(
    weight: np.ndarray, scale: Any, bias: Any, *, shift: int = 12, shape: tuple[int, int] = (6, 5)
) -> Network:
    """One convolution with padding over an 8-bit input."""
    count = weight.shape[0]
    layer = Conv(
        name="c",
        inputs=("x",),
        weight=weight.astype(np.int8),
        scheme="int",
        weight_bits=8,
        padding=(weight.shape[2] // 2, weight.shape[3] // 2),
        requant=Requant(
            scale=np.broadcast_to(np.asarray(scale, np.int32), count),
            bias=np.broadcast_to(np.asarray(bias, np.int64), count),
            shift=shift,
            out_bits=8,
        ),
    )
    spec = InputSpec(name="x", shape=(weight.shape[1], *shape), bits=8)
    return Network(name="n", input=spec, layers=(layer,), output="c")


@pytest.mark.parametrize(
    ("channels", "scale", "bias", "exact"),
    [
        (3, 1 << 16, -(1 << 30), True),
        (3, (1 << 31) - 1, -(1 << 60), False),  # t needs int64
        (60, 1 << 10, 1 << 40, True),  # the accumulator needs float64
    ],
)
def test_wide_sums(channels: int, scale: int, bias: int, exact: bool) -> None:
    """Sums that float32, or float64, cannot hold."""
    rng = np.random.default_rng(channels)
    side = 7 if channels == 60 else 3
    weight = rng.choice([-128, 127, 3], (4, channels, side, side))
    shift = 40 if not exact else 24
    network = conv_network(weight, scale, bias, shift=shift, shape=(4, 3))
    bounds = network.bounds("c")
    assert (bounds.t_abs < 1 << 53) == exact
    assert (exact_dtype(bounds.acc_abs) is np.float64) == (channels == 60)
    compare(network, random_images(network, 4, 1))


def test_exact_dtype() -> None:
    assert exact_dtype((1 << 24) - 1) is np.float32
    assert exact_dtype(1 << 24) is np.float64
    assert exact_dtype((1 << 53) - 1) is np.float64
    assert exact_dtype(1 << 53) is np.int64


def test_rounding_is_half_up() -> None:
    """Sums of -1.5, -0.5, 0.5, 1.5, 2.5 in units of the shift."""
    weight = np.ones((5, 1, 1, 1))
    half = 1 << 11
    network = conv_network(weight, 0, [-3 * half, -half, half, 3 * half, 5 * half])
    out = Reference(network).run(np.zeros((1, 1, 6, 5), np.uint8))
    assert out[0, :, 0, 0].tolist() == [0, 0, 1, 2, 3]


def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image at a time, rows in pieces, and all at once give the same."""
    for seed in range(12):
        network = random_network(seed, max_macs=200_000)
        images = random_images(network, 9, seed)
        want = Reference(network).layers(images)
        for size in (1, 20_000, 1 << 24):
            monkeypatch.setattr(reference, "_WORK_BYTES", size)
            got = Reference(network).layers(images)
            for name, value in want.items():
                np.testing.assert_array_equal(got[name], value, err_msg=f"seed {seed}, {name}")
        monkeypatch.undo()


def test_without_blas_control(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(4, max_macs=50_000)
    images = random_images(network, 3, 4)
    want = Reference(network).run(images)
    monkeypatch.setattr(reference, "_blas", lambda: None)
    np.testing.assert_array_equal(Reference(network).run(images), want)


def test_memory_layout_of_images_does_not_matter() -> None:
    network = random_network(7, max_macs=100_000)
    images = random_images(network, 6, 7)
    model = Reference(network)
    want = model.run(images)
    np.testing.assert_array_equal(model.run(np.asfortranarray(images)), want)
    np.testing.assert_array_equal(model.run(np.repeat(images, 2, axis=0)[::2]), want)
    np.testing.assert_array_equal(model.run(images[::-1])[::-1], want)
    readonly = images.copy()
    readonly.setflags(write=False)
    np.testing.assert_array_equal(model.run(readonly), want)


def test_outputs_and_top1() -> None:
    network = random_network(3, logits=True, max_macs=100_000)
    images = random_images(network, 5, 3)
    model = Reference(network)
    logits = model.run(images)
    assert logits.dtype == np.int32
    assert logits.shape == (5, network.shape_of(network.output)[0])
    np.testing.assert_array_equal(model.top1(images), logits.argmax(axis=1))
    np.testing.assert_array_equal(model.layers(images)[network.output], logits)
    assert set(model.layers(images)) == {layer.name for layer in network.layers}
    empty = model.run(images[:0])
    assert empty.shape == (0, logits.shape[1])


def test_a_map_has_no_class() -> None:
    network = conv_network(np.ones((2, 1, 3, 3)), 1, 0)
    model = Reference(network)
    images = random_images(network, 2, 0)
    assert model.run(images).shape == (2, 2, 6, 5)
    assert model.run(images).dtype == np.uint8
    with pytest.raises(NetworkError, match=r"output c has shape \(2, 6, 5\), must be \(K, 1, 1\)"):
        model.top1(images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[1]], "images are list, must be an array of uint8"),
        (np.zeros((1, 1, 6, 5)), "images are float64, must be an array of uint8"),
        (np.zeros((1, 1, 6, 5), np.int8), "images are int8, must be an array of uint8"),
        (np.zeros((1, 6, 5), np.uint8), "shape (1, 6, 5), must be (N, 1, 6, 5)"),
        (np.zeros((1, 1, 5, 6), np.uint8), "shape (1, 1, 5, 6), must be (N, 1, 6, 5)"),
        (np.full((1, 1, 6, 5), 16, np.uint8), "value 16, must be at most 15 (4 bits)"),
    ],
)
def test_wrong_images(images: Any, message: str) -> None:
    layer = MaxPool(name="p", inputs=("x",), kernel=(2, 2), stride=1)
    spec = InputSpec(name="x", shape=(1, 6, 5), bits=4)
    model = Reference(Network(name="n", input=spec, layers=(layer,), output="p"))
    for method in (model.run, model.layers):
        with pytest.raises(ImageError) as caught:
            method(images)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, PlumError)
    good = np.full((1, 1, 6, 5), 15, np.uint8)
    assert model.run(good).max() == 15


def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: rounding down instead of half up."""
    monkeypatch.setattr(Requant, "half", property(lambda self: 0))
    failures = 0
    for seed in range(8):
        network = random_network(seed, max_macs=15_000, max_width=12, max_channels=8)
        try:
            compare(network, random_images(network, 3, seed))
        except AssertionError:
            failures += 1
    assert failures
