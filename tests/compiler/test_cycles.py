"""Predicted cycles against a simulation of the rules, beat by beat, that shares no code."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from plum_hw.compiler.assemble import ClusterImage, assemble
from plum_hw.compiler.compile import check_network, decode_image
from plum_hw.compiler.cycles import layer_cycles
from plum_hw.compiler.plan import plan_network
from plum_hw.config import ArrayConfig
from plum_hw.ir.random import random_network
from plum_hw.layouts import layer_layout, scatter_layout, segment_layout
from plum_hw.timing import flush_cycles, load_cycles
from tests.compiler.nets import Builder, array, draw_array, residual_network


def beats(config: ArrayConfig, image: ClusterImage, layer: dict[str, int]) -> Iterator[str]:
    """The beats of a layer, each a string of what it is: d(rain), e(mit), r(esidual)."""
    for _ in range(layer["vectors"]):
        pointer = layer["weight_ptr"]
        for number in range(layer["filters"]):
            if layer["shared_masks"]:
                pointer = layer["weight_ptr"]
            emits = number >= layer["window"]
            for index in range(layer["segments"]):
                word = int(image.program[layer["segment_ptr"] + index])
                segment = segment_layout(config).unpack([word])
                for part in range(segment["words"]):
                    count = max(1, bin(int(image.weight[pointer])).count("1"))
                    pointer += 1
                    yield from [""] * (count - 1)
                    last = part == segment["words"] - 1
                    kind = "d" if last and segment["drain"] else ""
                    if last and index == layer["segments"] - 1 and emits and not layer["residual"]:
                        kind += "e"
                    yield kind
            if emits and layer["residual"]:
                yield "re"


def simulate(config: ArrayConfig, image: ClusterImage, index: int) -> dict[str, int]:
    """Cycles of one layer, counted one by one."""
    layout = layer_layout(config)
    layer = layout.unpack(image.program[index * layout.words :][: layout.words].tolist())
    counts = {"cycles": 0, "beats": 0, "residual_beats": 0, "drain_stalls": 0, "emit_stalls": 0}
    now, drained, emitted = 0, -10_000, -10_000
    for kind in beats(config, image, layer):
        now += 1
        while True:
            if "d" in kind and now - drained < config.groups:
                counts["drain_stalls"] += 1
            elif "e" in kind and now - emitted < layer["emit_gap"]:
                counts["emit_stalls"] += 1
            else:
                break
            now += 1
        drained = now if "d" in kind else drained
        emitted = now if "e" in kind else emitted
        counts["residual_beats" if "r" in kind else "beats"] += 1
    entries, pointer = 1, layer["scatter_ptr"]
    for vector in range(1 if layer["wide"] or layer["reduce"] else layer["vectors"]):
        entries = 1
        while not scatter_layout(config).unpack([int(image.table[pointer])])["last"]:
            entries, pointer = entries + 1, pointer + 1
            assert vector < layer["vectors"]
        pointer += 1
    terms = 1 + layer["window"] + layer["residual"]
    reduce = bool(layer["reduce"])
    flush = flush_cycles(config, entries=entries, terms=terms, reduce=reduce)
    counts["cycles"] = load_cycles(config) + now + flush
    return counts


def check(config: ArrayConfig, image: ClusterImage, layers: int) -> None:
    for index, code in enumerate(decode_image(config, image, layers)):
        predicted = layer_cycles(config, code)
        expected = simulate(config, image, index)
        assert {key: getattr(predicted, key) for key in expected} == expected
        assert predicted.cycles == (
            predicted.overhead
            + predicted.beats
            + predicted.residual_beats
            + predicted.drain_stalls
            + predicted.emit_stalls
        )


@pytest.mark.parametrize("seed", range(40))
def test_prediction_is_exact(seed):
    rng = np.random.default_rng(seed)
    config = draw_array(rng, reach=7, acc_bits=16, sum_bits=25)
    network = random_network(
        seed, max_width=min(config.lanes, 20), max_macs=60_000, max_channels=12, max_kernel=5
    )
    plan, problems = plan_network(network, config)
    if plan is None:
        pytest.skip(problems[0].text)
    image, _ = assemble(config, plan)
    assert image is not None
    check(config, image, len(plan.layers))


def test_a_planted_fault_is_seen():
    config = array(lanes=32)
    plan, _ = plan_network(residual_network(), config)
    assert plan is not None
    image, _ = assemble(config, plan)
    assert image is not None
    weight = image.weight.copy()
    weight[0] = 0 if weight[0] else 3
    changed = replace(image, weight=weight)
    code = decode_image(config, image, 1)[0]
    assert layer_cycles(config, code).cycles != simulate(config, changed, 0)["cycles"]


def bound(net: Builder, config: ArrayConfig) -> str:
    plan, problems = plan_network(net.network(), config)
    assert plan is not None, problems
    image, _ = assemble(config, plan)
    assert image is not None
    return layer_cycles(config, decode_image(config, image, 1)[0]).bound_by


def test_what_bounds_a_layer_is_named():
    config = array(lanes=64)
    lanes = Builder((32, 16, 16))
    lanes.conv(16)
    assert bound(lanes, config) == "lanes"
    drain = Builder((1, 16, 16))
    drain.conv(16, 5, scheme="ternary")
    assert bound(drain, config) == "drain"
    emitter = Builder((4, 16, 16))
    emitter.conv(16, 1, density=0.2)
    assert bound(emitter, config) == "emitter"
    latency = Builder((1, 1, 1))
    latency.conv(1, 1)
    assert bound(latency, config) == "latency"


def test_wide_networks_are_predicted_quickly():
    """50,000 mask words an image: the pattern of a vector is walked only until it repeats."""
    import time

    net = Builder((64, 16, 16), seed=3)
    for _ in range(2):
        net.conv(64, scheme="int")
    config = array(lanes=64)
    assert not check_network(net.network(), config)
    plan, _ = plan_network(net.network(), config)
    assert plan is not None
    image, _ = assemble(config, plan)
    assert image is not None
    codes = decode_image(config, image, 2)
    assert sum(code.fields["vectors"] * code.masks.size for code in codes) > 50_000
    begin = time.process_time()
    for code in codes:
        layer_cycles(config, code)
    assert time.process_time() - begin < 2
