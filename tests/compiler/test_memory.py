import itertools

import numpy as np
import pytest

from plum_hw.compiler.copies import HOST
from plum_hw.compiler.plan import Plan, plan_network
from plum_hw.ir.random import random_network
from tests.compiler.nets import Builder, array, draw_array, residual_network


def check_allocation(plan: Plan) -> None:
    """No two copies that are in use at one time overlap, but for an output in its residual."""
    order = {layer.layer.name: index for index, layer in enumerate(plan.layers)}
    spans = []
    for tensor, copies in plan.copies.items():
        for copy in copies:
            last = max(len(order) if r == HOST else order[r[0]] for r in copy.readers)
            spans.append((copy, order.get(tensor, -1), last))
    for (a, a_first, a_last), (b, b_first, b_last) in itertools.combinations(spans, 2):
        if a_first > b_last or b_first > a_last:
            continue
        one, two = a.layout, b.layout
        if one.base >= two.base + two.vectors or two.base >= one.base + one.vectors:
            continue
        old, new = (a, b) if a_first < b_first else (b, a)
        assert min(a_last, b_last) == max(a_first, b_first), f"{a.tensor} meets {b.tensor}"
        assert (new.tensor, 1) in old.readers
        assert (new.tensor, 0) not in old.readers
        assert one == two
    assert all(copy.layout.base + copy.layout.vectors <= plan.vectors for copy, _, _ in spans)


@pytest.mark.parametrize("seed", range(40))
def test_live_tensors_never_overlap(seed):
    rng = np.random.default_rng(seed)
    config = draw_array(rng, reach=7, acc_bits=20, sum_bits=25)
    network = random_network(seed, max_width=min(config.lanes, 40), max_macs=200_000, max_layers=12)
    plan, problems = plan_network(network, config)
    if plan is None:
        pytest.skip(problems[0].text)
    check_allocation(plan)


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
