"""Predicted cycles against an example counted by hand and a device stated cycle by cycle."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from plum_hw import timing
from plum_hw.compiler import compile_network, cycles
from plum_hw.compiler.cycles import emission_cycles, lane_use, layer_cycles, lower_bound, pass_beats
from plum_hw.compiler.decode import LayerCode, decode_layer
from plum_hw.config import ArrayConfig
from plum_hw.layouts import DrainOp, layer_layout
from plum_hw.presets import preset
from plum_hw.zoo import build
from tests.golden.programs import (
    HALF,
    SMALL,
    Program,
    Work,
    constants,
    draw_activation,
    draw_config,
    draw_program,
    entry,
    pack,
    segment,
)
from tests.golden.slow import run_layer

FRAME = timing.LOAD(SMALL) + timing.SETTLE(SMALL)


def decoded(program: Program, index: int = 0) -> list[LayerCode]:
    """What each cluster has of a layer."""
    config = program.config
    activation = np.zeros((config.clusters, config.act_depth, config.lanes), np.uint8)
    machine = program.machine(activation)
    address = index * layer_layout(config).words
    return [
        decode_layer(config, machine.code[cluster], machine.table[cluster], address)
        for cluster in range(config.clusters)
    ]


def work(masks: list[int], passes: int = 1, **fields: int) -> Work:
    """A layer of single-segment filters with two entries, on 16 lanes."""
    return Work(
        fields={"passes": passes, "out_base": HALF, **fields},
        segments=[segment(words=len(masks) // passes, drain=1, op=DrainOp.SET, emit=1)],
        masks=masks,
        filters=[constants(channel=n) for n in range(passes)],
        lists=[[entry(), entry(target=1)]],
    )


def predict(config: ArrayConfig, works: list[Work]) -> Any:
    return layer_cycles(config, decoded(pack(config, [works])))


# ---- counted by hand -------------------------------------------------------------------------


def test_one_filter():
    """Words of 3, 0 and 2 bits take 3 + 1 + 2 beats; the emission's two steps follow the last."""
    result = predict(SMALL, [work([7, 0, 3])])
    start = 5 + timing.EMIT_LATENCY(SMALL)
    assert result.cycles == FRAME + start + timing.FIRST_STEP + 2
    assert (result.beats, result.drain_stalls, result.emit_stalls) == (6, 0, 0)
    assert result.clusters[0].empty_beats == 1


def test_drains_are_a_drain_apart():
    """Four drains of one beat each, in banks 0, 1, 0, 1: the first two are two groups apart, the
    third waits for the first emission, the last for the second.
    """
    result = predict(SMALL, [work([1, 1, 1, 1], passes=4)])
    first = timing.EMIT_LATENCY(SMALL) + timing.FIRST_STEP + 1  # finish of the first emission
    second = max(2 + timing.EMIT_LATENCY(SMALL), first + timing.NEXT_EMISSION)
    second += timing.FIRST_STEP + 1
    third = first + timing.BANK_FREE
    fourth = second + timing.BANK_FREE
    assert fourth > third + 2
    finish = max(third + timing.EMIT_LATENCY(SMALL), second + timing.NEXT_EMISSION)
    finish += timing.FIRST_STEP + 1
    finish = max(fourth + timing.EMIT_LATENCY(SMALL), finish + timing.NEXT_EMISSION)
    finish += timing.FIRST_STEP + 1
    assert result.cycles == FRAME + finish + 1
    assert (result.beats, result.drain_stalls) == (4, 1 + 1 + 1)
    assert result.beats + result.drain_stalls + result.emit_stalls == fourth + 1


def test_entries_wait_for_the_slots_of_their_buses():
    """Four clusters and two buses: slots are four cycles apart, bus 1's two after bus 0's."""
    config = replace(SMALL, clusters=4, write_buses=2)
    result = predict(config, [work([1]) for _ in range(4)])
    possible = timing.EMIT_LATENCY(config) + timing.FIRST_STEP
    for cluster, figures in enumerate(result.clusters):
        step = possible
        while (step + timing.SLOT_ZERO(config) - cluster) % 4:
            step += 1
        assert figures.span == step + 2 + 1
    assert sorted(figures.span for figures in result.clusters) == [
        possible + 3 + i for i in range(4)
    ]
    assert result.cycles == FRAME + possible + 3 + 3
    assert result.beats == 4


def test_reductions_finish_after_a_fixed_time():
    config = replace(SMALL, clusters=2)
    works = [work([1], reduce=1, wide=1, out_base=0) for _ in range(2)]
    for item in works:
        item.lists = []
    result = predict(config, works)
    possible = timing.EMIT_LATENCY(config) + timing.FIRST_STEP
    first = [possible + (c - timing.SLOT_ZERO(config) - possible) % 2 for c in range(2)]
    reduce = timing.REDUCE_CYCLES(config, 1)
    assert [figures.span for figures in result.clusters] == [t + reduce + 1 for t in first]


def test_a_cluster_with_nothing_to_do_takes_no_time():
    config = replace(SMALL, clusters=2)
    idle = Work(fields={"scatter_ptr": 77})
    result = predict(config, [idle, work([3])])
    assert result.clusters[0] == cycles.ClusterCycles()
    assert result.cycles == FRAME + result.clusters[1].span
    assert predict(config, [idle, idle]).cycles == FRAME


# ---- stated cycle by cycle -------------------------------------------------------------------


def agree(program: Program) -> None:
    """Predicted and counted cycles of every layer."""
    config = program.config
    machine = program.machine(draw_activation(np.random.default_rng(0), config))
    for index in range(program.layers):
        predicted = layer_cycles(config, decoded(program, index))
        address = index * layer_layout(config).words
        counted = run_layer(config, machine.code, machine.table, machine.activation, {}, address)
        assert {key: getattr(predicted, key) for key in counted} == counted
        for cluster in predicted.clusters:
            issued = cluster.beats + cluster.drain_stalls + cluster.emit_stalls
            assert issued <= cluster.span
            assert cluster.empty_beats <= cluster.beats


@pytest.mark.parametrize("seed", range(60))
def test_whatever_the_latencies_are(seed, monkeypatch):
    """The model takes them from `plum_hw.timing` and means what that says."""
    rng = np.random.default_rng(seed)
    config = draw_config(rng)
    for name, low, high in (
        ("BANK_FREE", 1, 7),
        ("NEXT_EMISSION", -3, 6),
        ("FIRST_STEP", 4, 10),
    ):
        value = int(rng.integers(low, high))
        monkeypatch.setattr(timing, name, value)
        monkeypatch.setattr(cycles, name, value)
    latency, reduce, zero = (int(rng.integers(*bounds)) for bounds in ((10, 25), (1, 30), (0, 20)))
    for module in (timing, cycles):
        monkeypatch.setattr(module, "SLOT_ZERO", lambda config: zero)
        monkeypatch.setattr(module, "EMIT_LATENCY", lambda config: latency)
        monkeypatch.setattr(module, "REDUCE_CYCLES", lambda config, terms: reduce * terms)
    agree(draw_program(rng, config))


def test_a_planted_fault_is_seen():
    program = pack(SMALL, [[work([7, 0, 3])]])
    agree(program)
    code = decoded(program)[0]
    program.code[0][-1] = 7
    machine = program.machine(np.zeros((1, SMALL.act_depth, SMALL.lanes), np.uint8))
    counted = run_layer(SMALL, machine.code, machine.table, machine.activation, {}, 0)
    assert layer_cycles(SMALL, [code]).cycles == counted["cycles"] - 1


# ---- what the figures say --------------------------------------------------------------------


def test_what_bounds_a_layer_is_named():
    config = replace(SMALL, clusters=4)
    idle = Work()

    def bound(item: Work) -> str:
        item.lists *= 40
        return predict(config, [idle, item, idle, idle]).bound_by

    assert bound(work([0xFFFFFFFF] * 4)) == "lanes"
    assert bound(work([0] * 40)) == "weights"
    assert bound(work([1])) == "write-back"
    drains = work([1] * 40)
    drains.segments = [
        segment(drain=1, op=DrainOp.ADD if n else DrainOp.SET, emit=n == 39) for n in range(40)
    ]
    assert bound(drains) == "drain"
    assert predict(config, [idle, work([1]), idle, idle]).bound_by == "latency"


def test_lane_use_counts_set_bits_of_all_clusters():
    config = replace(SMALL, clusters=2)
    item = work([3, 0x80, 7, 0], passes=2)
    item.segments.insert(0, segment(drain=1, op=DrainOp.SET, residual=1))
    item.segments[1]["words"] = 1
    item.fields["residual"] = 1
    codes = decoded(pack(config, [[item, work([15])]]))
    # Words 0 and 2 are addresses of residuals; 10 cycles of 2 * 16 lanes.
    assert lane_use(config, codes, 10, [6, 5]) == pytest.approx((1 * 6 + 4 * 5) / 320)
    assert lane_use(config, codes, 10, 4) == pytest.approx((1 + 4) * 4 / 320)


def test_estimates_are_lower_bounds_of_the_prediction():
    masks = np.array([[7, 0, 0x80000001], [0, 0, 0]], np.uint32)
    assert pass_beats(masks).tolist() == [6, 3]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        buses = int(rng.choice([1, 2]))
        config = replace(SMALL, clusters=int(rng.integers(1, 13)), write_buses=buses)
        beats = rng.integers(1, 30, 6)
        item = work([(1 << int(n)) - 1 for n in beats], passes=6)
        item.lists *= 9
        result = predict(config, [item] + [Work()] * (config.clusters - 1))
        writing = 6 * emission_cycles(config, [0, 1], 1)
        # The first emission has no other before it.
        estimate = lower_bound(config, beats[:, None], 9, writing) - emission_cycles(
            config, [0, 1], 1
        )
        assert estimate <= result.cycles, f"seed {seed}"
        assert lower_bound(config, beats[:, None], 9) <= result.cycles, f"seed {seed}"


def test_networks_are_predicted_quickly():
    """ResNet-20 on twelve clusters: a vector is walked only until its state repeats."""
    config = replace(preset("arty-a7-100t"), code_depth=8192)
    bundle = compile_network(build("resnet20"), config)
    begin = time.process_time()
    step = layer_layout(config).words
    for part, layers in enumerate(bundle.parts):
        code = np.zeros((config.clusters, 1 << config.code_addr_bits), np.uint32)
        table = np.zeros((config.clusters, 1 << config.table_addr_bits), np.uint32)
        for cluster in range(config.clusters):
            code[cluster, : len(bundle.code[part][cluster])] = bundle.code[part][cluster]
            table[cluster, : len(bundle.table[part][cluster])] = bundle.table[part][cluster]
        for index in range(layers):
            codes = [decode_layer(config, code[c], table[c], index * step) for c in range(12)]
            layer_cycles(config, codes)
    assert time.process_time() - begin < 5
