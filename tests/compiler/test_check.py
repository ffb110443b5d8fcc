"""What an array cannot do is named, all at once, with layer, value and remedy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.errors import UnsupportedError
from plum_hw.ir import Network
from plum_hw.presets import preset
from tests.compiler.nets import Builder, array, residual_network


def problem(network: Network, config: ArrayConfig) -> tuple[str | None, str, str]:
    problems = check_network(network, config)
    assert len(problems) == 1, problems
    with pytest.raises(UnsupportedError) as caught:
        compile_network(network, config)
    assert str(caught.value) == problems[0].text
    assert "\n" not in problems[0].text
    assert caught.value.layer == problems[0].layer
    return problems[0].layer, problems[0].what, problems[0].remedy


def test_a_network_that_fits_has_no_problem():
    for name in ("arty-a7-35t", "arty-a7-100t", "cluster", "tiny", "tiny-3"):
        assert check_network(residual_network(), preset(name)) == []


def test_kernels_beyond_the_reach():
    net = Builder((1, 20, 20))
    net.pool("avgpool", (20, 20), 1)
    _, what, remedy = problem(net.network(), array(reach=7))
    assert "reach 9 lanes" in what
    assert "dense layer" in remedy


def test_strides():
    net = Builder((1, 12, 12))
    net.pool("maxpool", (3, 3), 3)
    assert problem(net.network(), array())[:2] == ("maxpool0", "stride is 3")


def test_accumulators():
    net = Builder((128, 4, 4))
    net.conv(2, 1, density=1.0, scheme="int")
    layer, what, remedy = problem(net.network(), array(sum_bits=16))
    assert layer == "conv0"
    assert "holds 32767" in what
    assert "sum_bits" in remedy


def test_constants():
    net = Builder((1, 4, 4))
    net.conv(2, shift=26)
    assert problem(net.network(), array())[:2] == ("conv0", "shift is 26")


def test_bits():
    net = Builder((1, 4, 4), bits=8)
    net.conv(2, out_bits=7)
    problems = check_network(net.network(), array(act_bits=6))
    assert [(item.layer, item.what) for item in problems] == [
        (None, "values of image have 8 bits and the array stores 6"),
        ("conv0", "values of conv0 have 7 bits and the array stores 6"),
    ]


@pytest.mark.parametrize("clusters", [1, 3])
def test_code_memory_must_hold_a_single_filter(clusters):
    memory = "code"
    net = Builder((24, 32, 16))
    net.conv(6, 5, density=0.6)
    net.conv(6, 5)
    net.add("conv1", "conv0")
    network, knob = net.network(), f"{memory}_depth"
    # Few mask bits and long strips of two groups make long programs and lists.
    knobs: dict[str, Any] = {"lanes": 16, "mask_bits": 8, "clusters": clusters}
    config = array(**knobs, **{knob: 64})
    problems = check_network(network, config)
    assert problems
    for item in problems:
        what = item.what
        assert what.startswith("a single filter needs ")
        assert what.endswith(f" words of {memory} memory, which has 64")
        needed = int(what.split()[4])
        assert needed > 64
        assert item.remedy == f"use an array with {knob} {needed} or more"
    enough = max(int(item.what.split()[4]) for item in problems)
    assert check_network(network, array(**knobs, **{knob: enough})) == []
    assert len(compile_network(network, array(**knobs, **{knob: enough})).parts) > 1
    short = check_network(network, array(**knobs, **{knob: enough - 1}))
    assert short
    assert f"needs {enough} words" in short[0].what


def test_activation_memory():
    """Sums over fewer channels take two bytes, which narrower activations do not have."""
    net = Builder((64, 4, 4), bits=6)
    net.conv(2, out_bits=6)
    layer, what, remedy = problem(net.network(), array(act_depth=64, act_bits=6))
    assert layer == "conv0"
    assert what.startswith("one window needs 192 vectors of activation memory, which has 64")
    assert "act_depth of more than 192" in remedy


def test_descriptor_fields():
    net = Builder((1, 1100, 8), bits=2)
    net.dense(2, scheme="binary")
    knobs = {"lanes": 8, "act_depth": 2048}
    layer, what, _ = problem(net.network(), array(**knobs))
    assert layer == "dense0"
    assert what.startswith("segments is ")
    assert what.endswith(" and a descriptor holds 1023")


def test_everything_is_named_at_once():
    net = Builder((1, 24, 30))
    net.conv(4, 7, shift=26)
    net.pool("maxpool", (5, 5), 4)
    net.dense(20)
    network = net.network()
    problems = check_network(network, array(lanes=32, clusters=2, result_depth=16, reach=2))
    found = [(item.layer, item.what.split(" and ")[0]) for item in problems]
    assert found == [
        ("conv0", "shift is 26"),
        ("maxpool1", "stride is 4"),
        ("dense2", "it gives 20 results"),
    ]


def test_logits_of_many_results_are_counted_against_the_array():
    net = Builder((2, 3, 3))
    net.dense(15)
    assert check_network(net.network(), array(result_depth=16)) == []


def test_labels_and_names_survive():
    network = replace(residual_network(), labels=tuple("abcdefghij"))
    bundle = compile_network(network, preset("tiny"))
    assert bundle.manifest["labels"] == list("abcdefghij")
    assert bundle.manifest["network"] == {"name": "test", "digest": network.digest()}
    assert np.isclose(
        bundle.manifest["predicted_cycles"],
        sum(layer["cycles"] for layer in bundle.manifest["layers"]),
    )
