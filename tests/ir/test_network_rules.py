"""Every rule of a valid network, with the line that its breach gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from plum_hw.errors import NetworkError
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
)

INPUT = InputSpec(name="image", shape=(2, 8, 6), bits=8)


def requant(channels: int = 4, **changes: Any) -> Requant:
    values: dict[str, Any] = {
        "scale": np.ones(channels, np.int32),
        "bias": np.zeros(channels, np.int64),
        "shift": 12,
        "out_bits": 8,
    }
    return Requant(**(values | changes))


def conv(**changes: Any) -> Conv:
    values: dict[str, Any] = {
        "name": "c1",
        "inputs": ("image",),
        "weight": np.ones((4, 2, 3, 3), np.int8),
        "scheme": "signed_binary",
        "weight_bits": 1,
        "padding": (1, 1),
        "requant": requant(),
    }
    return Conv(**(values | changes))


def dense(**changes: Any) -> Dense:
    values: dict[str, Any] = {
        "name": "fc",
        "inputs": ("image",),
        "weight": np.full((3, 2), 5, np.int8),
        "scheme": "int",
        "weight_bits": 8,
        "requant": requant(3, shift=0, out_bits=32),
    }
    return Dense(**(values | changes))


def avgpool(**changes: Any) -> AvgPool:
    values: dict[str, Any] = {
        "name": "ap",
        "inputs": ("image",),
        "kernel": (2, 2),
        "stride": 2,
        "requant": requant(2),
    }
    return AvgPool(**(values | changes))


def maxpool(**changes: Any) -> MaxPool:
    values: dict[str, Any] = {"name": "mp", "inputs": ("image",), "kernel": (2, 2), "stride": 2}
    return MaxPool(**(values | changes))


def add(**changes: Any) -> Add:
    values: dict[str, Any] = {
        "name": "sum",
        "inputs": ("image", "image"),
        "requant": requant(2, residual=np.ones(2, np.int32)),
    }
    return Add(**(values | changes))


def network(*layers: Layer, **changes: Any) -> Network:
    values: dict[str, Any] = {
        "name": "net",
        "input": INPUT,
        "layers": layers,
        "output": layers[-1].name if layers else "",
    }
    return Network(**(values | changes))


LARGEST = (2**31 - 1) // (5 * 2 * 255 * 48)
"""Scale of the dense layer above over 48 pixels: one more does not fit in 32 bits."""


def scaled(scale: int) -> Dense:
    return dense(requant=requant(3, out_bits=32, shift=0, scale=np.full(3, scale, np.int32)))


def weight(at: tuple[int, ...], value: int, fill: int = 1) -> np.ndarray:
    array = np.full((4, 2, 3, 3), fill, np.int8)
    array[at] = value
    return array


def test_valid_ones_pass() -> None:
    for layer in (conv(), dense(), avgpool(), maxpool(), add()):
        net = network(layer)
        assert net.shape_of(layer.name) == layer.output_shape(INPUT.shape)


RULES: dict[str, tuple[Callable[[], object], str]] = {
    # names
    "layer name": (lambda: conv(name="a b"), "layer name 'a b' is not a name"),
    "empty name": (lambda: conv(name=""), "1 to 64 characters"),
    "long name": (lambda: conv(name="x" * 65), "1 to 64 characters"),
    "newline": (lambda: conv(name="x\n"), "layer name 'x\\n' is not a name"),
    "type of name": (lambda: conv(name=3), "layer name 3 is not a name"),
    "network name": (lambda: network(conv(), name="ä"), "network name '\\xe4' is not a name"),
    "input name": (lambda: InputSpec(name="/", shape=(1, 1, 1), bits=8), "input name '/'"),
    # input
    "input bits": (
        lambda: InputSpec(name="x", shape=(1, 1, 1), bits=9),
        "input x: bits is 9, must be an integer from 1 to 8",
    ),
    "bool bits": (lambda: InputSpec(name="x", shape=(1, 1, 1), bits=True), "bits is True"),
    "input shape": (
        lambda: InputSpec(name="x", shape=(1, 0, 1), bits=8),
        "input x: shape: height is 0, must be an integer from 1 to 4096",
    ),
    "input rank": (
        lambda: InputSpec(name="x", shape=(1, 1), bits=8),  # type: ignore[arg-type]
        "shape is (1, 1), must be three integers [C, H, W]",
    ),
    "input size": (
        lambda: InputSpec(name="x", shape=(1 << 16, 4096, 4096), bits=8),
        "1099511627776 elements, more than 67108864",
    ),
    # weights
    "both signs": (
        lambda: conv(weight=weight((2, 1, 0, 0), -1)),
        "layer c1: filter 2: signed_binary weights hold both +1 and -1, a filter must be",
    ),
    "signed binary 2": (
        lambda: conv(weight=weight((3, 0, 1, 2), 2)),
        "layer c1: filter 3: signed_binary weight at [0, 1, 2] is 2, must be -1, 0 or +1",
    ),
    "binary zero": (
        lambda: conv(scheme="binary", weight=weight((1, 0, 0, 1), 0)),
        "layer c1: filter 1: binary weight at [0, 0, 1] is 0, must be -1 or +1",
    ),
    "ternary": (
        lambda: conv(scheme="ternary", weight_bits=2, weight=weight((0, 0, 0, 0), -128)),
        "filter 0: ternary weight at [0, 0, 0] is -128, must be -1, 0 or +1",
    ),
    "int high": (
        lambda: conv(scheme="int", weight_bits=4, weight=weight((0, 1, 2, 2), 8)),
        "filter 0: int weight at [1, 2, 2] is 8, must be -8 to 7 (4 bits)",
    ),
    "int low": (
        lambda: conv(scheme="int", weight_bits=2, weight=weight((0, 1, 2, 2), -3)),
        "is -3, must be -2 to 1 (2 bits)",
    ),
    "scheme": (lambda: conv(scheme="float"), "scheme is 'float', must be one of signed_binary"),
    "weight bits": (
        lambda: conv(weight_bits=2),
        "layer c1: weight_bits of signed_binary is 2, must be an integer from 1 to 1",
    ),
    "int bits": (lambda: conv(scheme="int", weight_bits=9), "weight_bits of int is 9"),
    "weight type": (
        lambda: conv(weight=np.ones((4, 2, 3, 3))),
        "layer c1: weight is float64, must be an array of int8",
    ),
    "weight list": (lambda: conv(weight=[1]), "layer c1: weight is list"),
    "weight object": (lambda: conv(weight=np.array([None])), "layer c1: weight is object"),
    "weight rank": (lambda: conv(weight=np.ones((4, 2), np.int8)), "weight has shape (4, 2)"),
    "no filter": (lambda: dense(weight=np.ones((0, 2), np.int8)), "weight has shape (0, 2)"),
    # convolutions
    "kernel": (
        lambda: conv(weight=np.ones((4, 2, 8, 1), np.int8)),
        "layer c1: kernel is 8x1, must be at most 7x7",
    ),
    "stride": (lambda: conv(stride=3), "layer c1: stride is 3, must be an integer from 1 to 2"),
    "padding": (
        lambda: conv(padding=(1, 3)),
        "layer c1: padding[1] is 3, must be an integer from 0 to 2",
    ),
    "one padding": (lambda: conv(padding=1), "layer c1: padding is 1, must be two integers"),
    "groups": (lambda: conv(groups=2), "layer c1: groups is 2 with weight of shape (4, 2, 3, 3)"),
    "channels": (
        lambda: network(conv(weight=np.ones((4, 3, 3, 3), np.int8))),
        "layer c1: input image has 2 channels, weight of shape (4, 3, 3, 3) with groups 1 needs 3",
    ),
    "depthwise window": (
        lambda: conv(
            weight=np.ones((4, 1, 3, 3), np.int8),
            groups=4,
            requant=requant(window=np.ones(4, np.int32)),
        ),
        "layer c1: has a window term, only dense and conv with groups 1",
    ),
    "large kernel": (
        lambda: network(conv(weight=np.ones((4, 2, 3, 7), np.int8), padding=(0, 0))),
        "layer c1: kernel width 7 is larger than the padded input's 6",
    ),
    "dense channels": (
        lambda: network(dense(weight=np.ones((3, 4), np.int8))),
        "layer fc: input image has 2 channels, weight of shape (3, 4) needs 4",
    ),
    # pools
    "pool kernel": (lambda: maxpool(kernel=(0, 2)), "layer mp: kernel[0] is 0"),
    "pool stride": (lambda: avgpool(stride=9), "layer ap: stride is 9"),
    "pool padding": (lambda: maxpool(padding=(2, 0)), "layer mp: padding[0] is 2"),
    "pool window": (
        lambda: avgpool(requant=requant(2, window=np.ones(2, np.int32))),
        "layer ap: has a window term",
    ),
    "pool channels": (
        lambda: network(avgpool(requant=requant(3))),
        "layer ap: scale has shape (3,), must be (2,)",
    ),
    "pool size": (
        lambda: network(maxpool(kernel=(9, 2))),
        "layer mp: kernel height 9 is larger than the padded input's 8",
    ),
    # requantization
    "scale type": (
        lambda: conv(requant=requant(scale=np.ones(4, np.int64))),
        "layer c1: scale is int64, must be an array of int32",
    ),
    "bias length": (
        lambda: conv(requant=requant(bias=np.zeros(5, np.int64))),
        "layer c1: bias has shape (5,), must be (4,)",
    ),
    "window type": (
        lambda: conv(requant=requant(window=np.zeros(4, np.uint32))),
        "layer c1: window is uint32",
    ),
    "shift": (
        lambda: conv(requant=requant(shift=0)),
        "layer c1: shift is 0, must be an integer from 1 to 48",
    ),
    "out bits": (
        lambda: conv(requant=requant(out_bits=9)),
        "layer c1: out_bits is 9, must be an integer from 1 to 8",
    ),
    "float shift": (lambda: conv(requant=requant(shift=12.0)), "layer c1: shift is 12.0"),
    "no requant": (lambda: conv(requant=None), "layer c1: requant is NoneType"),
    "logits of conv": (
        lambda: conv(requant=requant(out_bits=32, shift=0)),
        "layer c1: out_bits is 32 (logits), only a dense layer",
    ),
    "logits shift": (
        lambda: dense(requant=requant(3, out_bits=32, shift=1)),
        "layer fc: shift of logits is 1, must be an integer from 0 to 0",
    ),
    "residual constants": (
        lambda: conv(requant=requant(residual=np.ones(4, np.int32))),
        "layer c1: has residual constants and needs a second input",
    ),
    "residual input": (
        lambda: conv(inputs=("image", "image")),
        "layer c1: has a residual input and needs residual constants",
    ),
    # sums
    "logits overflow": (
        lambda: network(scaled(LARGEST + 1)),
        "must fit in 32 bits (-2147483648 to 2147483647)",
    ),
    "negative overflow": (
        lambda: network(scaled(-LARGEST - 1)),
        "layer fc: logits can reach -2147508000 to 0",
    ),
    "int64": (
        lambda: network(conv(requant=requant(bias=np.full(4, 2**63 - 4000, np.int64)))),
        "layer c1: sums before the shift can reach 9223372036854778446, must be less than 2**63",
    ),
    # topology
    "no layers": (lambda: network(), "layers: 0, must be 1 to 1024"),
    "no input": (lambda: conv(inputs=()), "layer c1: inputs is (), must be a list of 1 or 2 names"),
    "three inputs": (lambda: add(inputs=("a", "b", "c")), "must be a list of 2 names"),
    "unknown input": (
        lambda: network(conv(inputs=("other",))),
        "layer c1: input other is not defined before it",
    ),
    "own output": (lambda: network(conv(inputs=("c1",))), "layer c1: input c1 is not defined"),
    "same name": (lambda: network(maxpool(name="image")), "layer image: name is used twice"),
    "unused": (
        lambda: network(maxpool(name="a"), maxpool(name="b")),
        "a is used by no layer and is not the output",
    ),
    "output": (lambda: network(conv(), output="x"), "output is 'x', must be the name of a layer"),
    "input as output": (lambda: network(conv(), output="image"), "output is 'image'"),
    "residual shape": (
        lambda: network(
            conv(
                inputs=("image", "image"),
                requant=requant(residual=np.ones(4, np.int32)),
            )
        ),
        "layer c1: residual image has shape (2, 8, 6), must be the output's (4, 8, 6)",
    ),
    "logits inside": (
        lambda: network(dense(), maxpool(inputs=("fc",), kernel=(1, 1), stride=1)),
        "layer mp: input fc is logits (32 bits)",
    ),
    # labels
    "labels": (
        lambda: network(dense(), labels=("a", "b")),
        "labels is ('a', 'b'), must be 3 strings, one for each channel of output fc",
    ),
    "control label": (lambda: network(dense(), labels=("a", "b", "\x1b[0m")), "label '\\x1b[0m'"),
    "empty label": (lambda: network(dense(), labels=("a", "", "c")), "label '' must be 1 to 128"),
    "surrogate": (lambda: network(dense(), labels=("a", "\ud800", "c")), "label '\\ud800'"),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str) -> None:
    breach, message = RULES[rule]
    with pytest.raises(NetworkError) as caught:
        breach()
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert text.isascii()


def test_largest_logits_pass() -> None:
    for scale in (LARGEST, -LARGEST):
        network(scaled(scale))


def test_bounds_are_reached() -> None:
    """The window term lowers the bound of a filter: each input's terms go together."""
    weights = np.array([[3, -2], [0, 7], [-8, -8]], np.int8)
    q = requant(
        3,
        out_bits=32,
        shift=0,
        scale=np.array([2, -3, 1], np.int32),
        bias=np.array([10, -20, 5], np.int64),
        window=np.array([-1, 4, 2], np.int32),
    )
    net = network(dense(weight=weights, requant=q))
    bounds = net.bounds("fc")
    peak = 255 * 48
    terms = [[2 * 3 - 1, 2 * -2 - 1], [4, -3 * 7 + 4], [-6, -6]]
    biases = [10, -20, 5]
    assert bounds.t_max == max(
        b + peak * sum(v for v in t if v > 0) for t, b in zip(terms, biases, strict=True)
    )
    assert bounds.t_min == min(
        b + peak * sum(v for v in t if v < 0) for t, b in zip(terms, biases, strict=True)
    )
    assert (bounds.acc_min, bounds.acc_max) == (-16 * peak, 7 * peak)
    assert bounds.window_max == 2 * peak


def test_queries() -> None:
    net = network(
        conv(),
        maxpool(inputs=("c1",)),
        conv(
            name="dw",
            inputs=("mp", "mp"),
            weight=np.zeros((4, 1, 3, 3), np.int8),
            groups=4,
            requant=requant(residual=np.ones(4, np.int32), out_bits=5),
        ),
        dense(inputs=("dw",), weight=np.ones((3, 4), np.int8)),
        labels=("a", "b", "c"),
    )
    assert net.shape_of("image") == (2, 8, 6)
    assert net.shape_of("mp") == (4, 4, 3)
    assert net.shape_of("fc") == (3, 1, 1)
    assert [net.bits_of(n) for n in ("image", "c1", "mp", "dw", "fc")] == [8, 8, 8, 5, 32]
    assert [layer.name for layer in net.consumers("mp")] == ["dw"]
    assert [layer.name for layer in net.consumers("fc")] == []
    assert net.macs("c1") == 4 * 2 * 9 * 48
    assert net.macs(net.layer("dw")) == 4 * 9 * 12
    assert net.macs() == 4 * 2 * 9 * 48 + 4 * 9 * 12 + 12
    assert net.layer("c1").density == 1.0
    assert net.layer("dw").density == 0.0
    assert net.layer("mp").density is None
    assert net.density == (72 + 12) / (72 + 36 + 12)
    assert net.gives_logits
    dw = net.layer("dw")
    assert (dw.source, dw.residual_source) == ("mp", "mp")
    for call in (net.shape_of, net.bits_of, net.layer, net.consumers):
        with pytest.raises(NetworkError, match="'nope'"):
            call("nope")


def test_arrays_are_copied_and_read_only() -> None:
    weights = np.asfortranarray(np.ones((4, 2, 3, 3), np.int8))
    scale = np.ones(8, np.int32)[::2]
    layer = conv(weight=weights, requant=requant(scale=scale))
    weights[:] = 0
    scale[:] = 7
    assert layer.weight.all()
    assert layer.weight.flags.c_contiguous
    assert layer.requant.scale.tolist() == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[0] = 0


def test_int8_extremes_pass() -> None:
    layer = conv(scheme="int", weight_bits=8, weight=weight((0, 0, 0, 0), -128, 127))
    assert network(layer).bounds("c1").acc_max == 127 * 18 * 255
