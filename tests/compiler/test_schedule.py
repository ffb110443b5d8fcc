"""Steps and parts: they fit, they keep every filter once and in order, and pairs save cycles."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from plum_hw.compiler import check_network, compile_network
from plum_hw.compiler.assemble import Step, assemble
from plum_hw.compiler.cycles import layer_cycles
from plum_hw.compiler.plan import Plan, plan_network
from plum_hw.compiler.schedule import decode_image, schedule
from plum_hw.config import ArrayConfig
from plum_hw.golden.diverge import machine_divergence
from plum_hw.golden.machine import Machine
from plum_hw.ir import Network
from plum_hw.ir.random import random_images
from tests.compiler.nets import Builder, array, residual_network


def scheduled(
    network: Network, config: ArrayConfig, group: int | None
) -> tuple[Plan, list[list[Step]]]:
    plan, problems = plan_network(network, config)
    assert plan is not None, problems
    parts, problems = schedule(config, plan.layers, group)
    assert problems == []
    return plan, parts


def total_cycles(config: ArrayConfig, parts: list[list[Step]]) -> int:
    """From the words of the parts' memories."""
    return sum(
        layer_cycles(config, codes).cycles
        for part in parts
        for codes in decode_image(config, assemble(config, part), len(part))
    )


def check_steps(config: ArrayConfig, plan: Plan, parts: list[list[Step]]) -> None:
    """Memories large enough; steps in the order of the plan's layers; filters once."""
    assert all(parts)
    for part in parts:
        image = assemble(config, part)
        assert len(image.code) == len(image.table) == config.clusters
        assert max(map(len, image.code)) <= config.code_depth
        assert max(map(len, image.table)) <= config.table_depth
    steps = [step for part in parts for step in part]
    order = [plan.layers.index(step.plan) for step in steps]
    assert order == sorted(order)
    assert set(order) == set(range(len(plan.layers)))
    names = [step.name for step in steps]
    assert len(set(names)) == len(names)
    for index, layer in enumerate(plan.layers):
        own = [step for step, at in zip(steps, order, strict=True) if at == index]
        assert [(step.number, step.count) for step in own] == [
            (i, len(own)) for i in range(len(own))
        ]
        # Each row part's clusters together have every channel once.
        channels = Counter(
            channel
            for step in own
            for masks in step.masks
            for channel in masks.filters
            if channel is not None
        )
        assert channels == Counter(range(layer.geometry.out_shape[0]))
        share: list[list[int]] = [[] for _ in layer.filters]
        for step in own:
            for part_channels, masks in zip(share, step.masks, strict=True):
                part_channels += [c for c in masks.filters if c is not None]
        assert [sorted(each) for each in share] == [list(each) for each in layer.filters]
    done = [step.plan.layer.name for step in steps if step.last]
    assert done == list(dict.fromkeys(layer.layer.name for layer in plan.layers))


SMALL = ((1, 256, 160), (3, 200, 100), (5, 160, 100))


@pytest.mark.parametrize("group", [1, 2, None])
@pytest.mark.parametrize(("clusters", "code", "table"), SMALL)
def test_parts_fit_and_keep_every_filter(clusters, code, table, group):
    network = residual_network(channels=6)
    config = array(clusters=clusters, lanes=16, code_depth=code, table_depth=table)
    plan, parts = scheduled(network, config, group)
    assert len(parts) > 1
    assert any(step.count > 1 for part in parts for step in part)
    check_steps(config, plan, parts)
    # With room for everything there is one part, and the same filters in it.
    roomy = array(clusters=clusters, lanes=16)
    plan, parts = scheduled(network, roomy, group)
    assert len(parts) == 1
    check_steps(roomy, plan, parts)


@pytest.mark.parametrize(("clusters", "channels", "late"), [(1, 40, False), (6, 8, True)])
def test_residuals_beside_window_sums_stand_last_where_that_helps(clusters, channels, late):
    """Where writes take longest each filter waits for the bank of residuals."""
    net = Builder((channels, 16, 16))
    first = net.conv(channels)
    net.conv(channels, residual=first, window=True)
    network = net.network()
    config = array(clusters=clusters, lanes=32)
    plan, parts = scheduled(network, config, None)
    early = next(layer.single for layer in plan.layers if layer.residual is not None)
    found = next(s.masks for part in parts for s in part if s.plan.residual is not None)
    assert [masks.segments[-1].residual for masks in found] == [late] * len(found)
    assert all(masks.segments[-1].emit for masks in found)
    assert all(sum(s.emit for s in masks.segments) == 1 for masks in found)
    for masks, before in zip(found, early, strict=True):
        assert masks.beats().tolist() == before.beats().tolist()
    bundle, machine = compile_network(network, config), Machine(config)
    machine.load(bundle)
    for image in random_images(network, 3, 0):
        assert machine_divergence(network, bundle, image, machine) is None
        assert machine.run_image(bundle, image) == bundle.manifest["predicted_cycles"]


def test_descriptors_lie_in_the_head():
    network = residual_network(channels=6)
    config = array(clusters=3, lanes=16)
    _, (whole,) = scheduled(network, config, None)
    most = max(assemble(config, whole).heads)
    alone = max(max(assemble(config, [step]).heads) for step in whole)
    assert most > 64 >= alone
    config = replace(config, head_depth=64)
    plan, parts = scheduled(network, config, None)
    assert len(parts) > 1
    check_steps(config, plan, parts)
    for part in parts:
        image = assemble(config, part)
        assert image.fits(config)
        assert 0 < min(image.heads) <= max(image.heads) <= 64
        for codes in decode_image(config, image, len(part)):
            for layer, head in zip(codes, image.heads, strict=True):
                assert layer.fields["segment_ptr"] + layer.fields["segments"] <= head


def test_a_layer_whose_descriptors_are_too_many_is_named():
    net = Builder((4, 8, 8))
    net.conv(4, 3, scheme="int")
    config = array(lanes=16, head_depth=16)
    problems = check_network(net.network(), config)
    assert [problem.layer for problem in problems] == ["conv0"]
    assert "head_depth is 16" in problems[0].text


def test_planted_faults_are_seen():
    config = array(clusters=3, lanes=16, code_depth=200, table_depth=100)
    plan, parts = scheduled(residual_network(channels=6), config, 1)
    check_steps(config, plan, parts)
    joined = [[*parts[0], *parts[1]], *parts[2:]]
    swapped = [parts[1], parts[0], *parts[2:]]
    missing = [parts[0][:-1], *parts[1:]] if len(parts[0]) > 1 else parts[1:]
    for fault in (joined, swapped, missing):
        with pytest.raises(AssertionError):
            check_steps(config, plan, fault)


@pytest.mark.parametrize("clusters", [1, 4])
@pytest.mark.parametrize("depth", [8192, 700])
def test_pairs_are_chosen_where_they_save_cycles(clusters, depth):
    network = residual_network(channels=12, side=16)
    config = array(clusters=clusters, lanes=32, code_depth=depth)
    cycles = {}
    for group in (1, 2, None):
        plan, parts = scheduled(network, config, group)
        cycles[group] = total_cycles(config, parts)
        pairs = {
            step.plan.layer.name
            for part in parts
            for step in part
            if any(m.pair for m in step.masks)
        }
        possible = {layer.layer.name for layer in plan.layers if layer.can_pair}
        if group == 2:
            assert pairs == possible
        else:
            assert pairs <= (possible if group is None else set())
    assert cycles[None] <= min(cycles[1], cycles[2]) if depth > 8000 else cycles[None] <= cycles[1]


def test_pairs_save_what_they_should():
    """At density d a pair takes 1 - (1-d)^2 beats an input instead of 2d."""
    net = Builder((32, 8, 8))
    net.conv(32, density=0.5)
    config = array(clusters=1, lanes=64)
    one, two = (
        compile_network(net.network(), config, group).manifest["layers"][0] for group in (1, 2)
    )
    assert (one["group"], two["group"]) == (1, 2)
    assert two["beats"] == pytest.approx(0.75 * one["beats"], rel=0.05)
    chosen = compile_network(net.network(), config).manifest["layers"][0]
    assert chosen == two


def test_a_network_in_one_part_stays_there():
    """Pairs cost mask words: a memory that just holds the network alone keeps it in one part."""
    net = Builder((16, 8, 8))
    for _ in range(3):
        net.conv(16, density=0.5)
    network = net.network()
    config = array(clusters=2, lanes=64)

    def words(group: int | None) -> int:
        _, parts = scheduled(network, config, group)
        (part,) = parts
        return max(map(len, assemble(config, part).code))

    alone, paired = words(1), words(2)
    assert paired > 1.2 * alone
    # What a step needs by itself is counted, shared blocks twice: a little more than its words.
    for depth in np.linspace(1.05 * alone, paired, 5).astype(int).tolist():
        tight = replace(config, code_depth=depth)
        plan, parts = scheduled(network, tight, 1)
        assert len(parts) == 1
        plan, chosen = scheduled(network, tight, None)
        assert len(chosen) == 1
        check_steps(tight, plan, chosen)
        assert total_cycles(tight, chosen) <= total_cycles(tight, parts)
        assert len(scheduled(network, replace(config, code_depth=alone // 2), None)[1]) > 1


def test_a_pair_that_fits_no_memory_is_no_pair():
    """A single filter fits, two together do not."""
    net = Builder((48, 8, 8))
    net.conv(2, 5, density=0.6)
    network = net.network()
    config = array(lanes=64, mask_bits=8)
    plan, _ = plan_network(network, config)
    assert plan is not None
    sizes = []
    for masks in (plan.layers[0].single, plan.layers[0].paired):
        step = Step(plan=plan.layers[0], masks=masks)
        last = step.cut(2)[-1] if not masks[0].pair else step
        sizes.append(max(map(len, assemble(config, [last]).code)))
    assert sizes[0] < sizes[1]
    for group in (2, None):
        _, parts = scheduled(network, replace(config, code_depth=sizes[0]), group)
        assert not any(masks.pair for part in parts for step in part for masks in step.masks)
        _, parts = scheduled(network, replace(config, code_depth=sizes[1]), group)
        assert all(masks.pair for part in parts for step in part for masks in step.masks)


def test_a_layer_beyond_any_memory_is_cut_before_it_is_measured():
    """513 filters of 4,608 weights in words of 32 are more than 16 address bits reach."""
    net = Builder((512, 4, 4))
    net.conv(513, density=0.5)
    config = array(lanes=64)
    plan, parts = scheduled(net.network(), config, 1)
    check_steps(config, plan, parts)
    assert [step.count for part in parts for step in part] == [2, 2]
