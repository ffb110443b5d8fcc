from dataclasses import replace

import numpy as np
import pytest

from plum_hw.compiler.problems import Refusal
from plum_hw.compiler.requant import Constants, layer_constants
from plum_hw.config import SHIFTS
from plum_hw.ir import Conv, InputSpec, Network, Requant
from plum_hw.layouts import requant_layout
from tests.compiler.nets import Builder, array


def one_layer(**changes: object) -> Network:
    requant = Requant(
        scale=np.array([100, -3], np.int32),
        bias=np.array([-5000, 7], np.int64),
        window=np.array([2, -2], np.int32),
        shift=16,
        out_bits=8,
    )
    layer = Conv(
        name="c",
        inputs=("image",),
        weight=np.array([[[[1]]], [[[-1]]]], np.int8),
        scheme="signed_binary",
        weight_bits=1,
        requant=replace(requant, **changes),  # type: ignore[arg-type]
    )
    spec = InputSpec(name="image", shape=(1, 4, 4), bits=8)
    return Network(name="n", input=spec, layers=(layer,), output="c")


def constants(network: Network, flipped: tuple[bool, bool] = (False, False)) -> Constants:
    return layer_constants(array(), network, network.layers[0], np.array(flipped))


def test_bias_takes_the_rounding_and_flipped_filters_negate_their_scale():
    made = constants(one_layer(), (False, True))
    assert made.scale.tolist() == [100, 3]
    assert made.bias.tolist() == [-5000 + 32768, 7 + 32768]
    assert made.window.tolist() == [2, -2]
    assert SHIFTS[made.shift] == 16
    layout = requant_layout(array())
    words = made.pack(array(), [1, None, 0])
    assert layout.unpack(words[:4]) == {
        "scale": 3,
        "bias": 32775,
        "window": -2,
        "residual": 0,
        "channel": 1,
        "dest": 0,
    }
    assert not any(words[4:8])
    assert layout.unpack(words[8:])["bias"] == 27768
    assert layout.unpack(words[8:])["channel"] == 0


@pytest.mark.parametrize(("shift", "raised"), [(3, 12), (11, 12), (13, 16), (17, 20), (21, 24)])
def test_a_shift_is_raised_to_the_next(shift, raised):
    made = constants(one_layer(shift=shift))
    assert SHIFTS[made.shift] == raised
    factor = 1 << (raised - shift)
    assert made.scale.tolist() == [100 * factor, -3 * factor]
    assert made.bias[1] == (7 + (1 << (shift - 1))) * factor


def test_what_does_not_fit_is_refused_with_its_filter():
    with pytest.raises(
        Refusal, match=r"^layer c: shift is 25; export it with a shift of at most 24"
    ):
        constants(one_layer(shift=25))
    scale = np.array([1, -131072], np.int32)
    with pytest.raises(
        Refusal, match=r"scale of filter 1 is -131072 and the requantizer .* 131071"
    ):
        constants(one_layer(scale=scale))
    scale = np.array([1, 9000], np.int32)
    constants(one_layer(scale=scale, shift=17))
    scale = np.array([1, 17000], np.int32)
    with pytest.raises(Refusal, match=r"is 17000 \(times 8, as the shift is raised by 3\)"):
        constants(one_layer(scale=scale, shift=17))
    bias = np.array([0, 1 << 43], np.int64)
    with pytest.raises(Refusal, match=r"sums before the shift can reach 87\d+ .* 8796093022207"):
        constants(one_layer(bias=bias))


def test_logits_keep_their_bias_and_pools_pass_on():
    net = Builder((3, 4, 4))
    pool = net.pool("maxpool")
    net.dense(5)
    network = net.network()
    made = layer_constants(array(), network, network.layer("dense1"), np.zeros(5, bool))
    assert made.bias.tolist() == network.layer("dense1").requant.bias.tolist()  # type: ignore[attr-defined]
    made = layer_constants(array(), network, network.layer(pool), np.zeros(3, bool))
    assert made.scale.tolist() == [1 << SHIFTS[made.shift]] * 3
    assert not made.bias.any()
