"""Places in activation memory: nothing that is still wanted is overwritten."""

from collections import Counter

import numpy as np
import pytest

from plum_hw.compiler.plan import Plan, plan_network
from plum_hw.config import ArrayConfig
from plum_hw.ir.random import random_network
from tests.compiler.nets import Builder, array, draw_array, residual_network


def check_allocation(plan: Plan) -> None:
    """No two copies that are in use at one time overlap, but for an output in its residual.

    Brute force: the copy that each vector of the memory holds, from layer to layer.
    """
    names = list(dict.fromkeys(layer.layer.name for layer in plan.layers))
    order = {name: index for index, name in enumerate(names)}
    copies = [copy for each in plan.copies.values() for copy in each]
    regions = Counter(layer.layer.name for layer in plan.layers)
    owner: dict[int, int] = {}
    for step in range(-1, len(names) + 1):
        for index, copy in enumerate(copies):
            if order.get(copy.tensor, -1) != step:
                continue
            for vector in range(copy.layout.base, copy.layout.base + copy.layout.vectors):
                assert 0 <= vector < plan.vectors
                if vector in owner and owner[vector] != index:
                    old = copies[owner[vector]]
                    last = max(order.get(reader[0], len(names)) for reader in old.readers)
                    if last >= step:
                        # Read right before it is overwritten, by the same layer and region.
                        assert last == step, f"{old.tensor} meets {copy.tensor}"
                        here = [r for r in old.readers if r[0] == copy.tensor]
                        assert {slot for _, slot, _ in here} == {1}, f"{old.tensor} meets itself"
                        assert old.layout == copy.layout
                        assert len(here) == 1 <= regions[copy.tensor]
                owner[vector] = index
        for index, copy in enumerate(copies):
            for name, slot, _ in copy.readers:
                if order.get(name, len(names)) != step or copy.tensor == name:
                    continue
                layout = copy.layout
                for vector in range(layout.base, layout.base + layout.vectors):
                    held = owner[vector]
                    own = held == index or (slot == 1 and copies[held].layout == layout)
                    assert own, f"{copies[held].tensor} meets {copy.tensor}"


def draw_plan(seed: int) -> tuple[Plan | None, ArrayConfig]:
    rng = np.random.default_rng(seed)
    config = draw_array(rng, roomy=seed % 2 == 0, reach=7, acc_bits=20, sum_bits=25)
    network = random_network(seed, max_width=min(config.lanes, 40), max_macs=200_000, max_layers=12)
    plan, problems = plan_network(network, config)
    # The smallest memories do not hold every network, and say so.
    assert plan is not None or "activation memory needs" in problems[0].what, problems
    return plan, config


def test_live_tensors_never_overlap():
    found: Counter[str] = Counter()
    for seed in range(30):
        plan, config = draw_plan(seed)
        if plan is None:
            found["refused"] += 1
            continue
        assert plan.vectors <= config.act_depth
        check_allocation(plan)
        found["placed"] += 1
        found["regions"] += any(layer.geometry.region for layer in plan.layers)
        layouts = [(c.tensor, c.layout) for copies in plan.copies.values() for c in copies]
        found["in place"] += any(a == b and one != two for one, a in layouts for two, b in layouts)
    assert found["placed"] > 20
    assert min(found["regions"], found["in place"], found["refused"]) > 0, found


def test_a_planted_overlap_is_seen():
    plan, _ = plan_network(residual_network(), array(lanes=32))
    assert plan is not None
    check_allocation(plan)
    copy = plan.copies["conv1"][0]
    copy.layout = copy.layout.at(plan.copies["conv0"][0].layout.base)
    with pytest.raises(AssertionError, match="meets"):
        check_allocation(plan)


def test_a_block_writes_its_output_over_its_residual():
    net = Builder((1, 16, 16))
    first = net.conv(8)
    net.conv(8)
    block = net.conv(8, residual=first)
    net.conv(8)
    net.conv(8, residual=block)
    net.conv(8)
    plan, _ = plan_network(net.network(), array(lanes=64))
    assert plan is not None
    places = {name: [c.layout.base for c in copies] for name, copies in plan.copies.items()}
    assert places["conv2"] == places["conv0"]
    # Two buffers of (1 + 4 + 1) rows and 8 channels are all that a chain of blocks needs.
    assert plan.vectors == 2 * 6 * 8


def test_a_tensor_that_is_also_the_input_is_not_overwritten():
    net = Builder((2, 8, 8))
    first = net.conv(4)
    net.conv(4, 1, residual=first)
    net.conv(4)
    plan, _ = plan_network(net.network(), array(lanes=64))
    assert plan is not None
    check_allocation(plan)


def test_too_small_a_memory_names_what_is_needed_and_where():
    network = residual_network(channels=16, side=16)
    _, problems = plan_network(network, array(lanes=16, act_depth=256))
    (problem,) = problems
    assert problem.layer in ("conv1", "conv2")
    assert "activation memory needs" in problem.what
    assert "and has 256" in problem.what
    assert "conv0 288" in problem.what
    assert "act_depth" in problem.remedy
