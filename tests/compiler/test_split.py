"""The search for splits: what it finds fits, and no single change would be better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from plum_hw.compiler.copies import HOST, plan_copies
from plum_hw.compiler.geometry import Geometry, layer_choices
from plum_hw.compiler.layout import TensorLayout
from plum_hw.compiler.memory import allocate
from plum_hw.compiler.problems import Refusal
from plum_hw.compiler.split import Choice, Placement, place_network
from plum_hw.config import ArrayConfig
from plum_hw.ir import Network
from tests.compiler.nets import Builder, array, residual_network


def cost(regions: Sequence[Geometry], outputs: Sequence[TensorLayout]) -> int:
    """A model of its own: vectors times filters of the slowest cluster, and what is written."""
    work = sum(each.tiling.rows * -(-each.out_shape[0] // each.copies) for each in regions)
    return 100 * work + 30 * len(regions) + sum(each.vectors for each in outputs)


def choices_of(network: Network, config: ArrayConfig) -> list[list[Choice]]:
    return [layer_choices(config, network, layer) for layer in network.layers]


def evaluate(network: Network, config: ArrayConfig, layers: Sequence[Choice]) -> tuple[int, bool]:
    """Cost of a choice for every layer, and whether it fits, from the beginning."""
    copies = plan_copies(config, network, layers)
    total = sum(cost(each, [copy.layout for copy in copies[each[0].layer.name]]) for each in layers)
    return total, allocate(config, network, layers, copies).refusal is None


def placed(network: Network, config: ArrayConfig) -> tuple[Placement, int]:
    placement = place_network(config, network, choices_of(network, config), cost)
    total, fits = evaluate(network, config, placement.layers)
    assert fits
    assert placement.vectors <= config.act_depth
    for tensor, copies in placement.copies.items():
        for copy in copies:
            assert copy.layout.base + copy.layout.vectors <= config.act_depth, tensor
    return placement, total


@pytest.mark.parametrize(("clusters", "depth"), [(1, 400), (3, 150), (5, 110)])
def test_no_single_change_that_fits_is_better(clusters, depth):
    network = residual_network(channels=4)
    config = array(clusters=clusters, lanes=16, act_depth=depth)
    placement, total = placed(network, config)
    tried = 0
    for index, choices in enumerate(choices_of(network, config)):
        for choice in choices:
            layers = [*placement.layers[:index], choice, *placement.layers[index + 1 :]]
            other, fits = evaluate(network, config, layers)
            tried += 1
            assert not fits or other >= total, (index, choice[0].parts)
    assert tried > len(network.layers)


def test_every_cluster_helps_and_every_vector_of_memory_may():
    network = residual_network(channels=4)
    totals = [
        placed(network, array(clusters=clusters, lanes=16, act_depth=1024))[1]
        for clusters in (1, 2, 4, 6)
    ]
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] < totals[0] / 3
    few = placed(network, array(clusters=4, lanes=16, act_depth=110))[1]
    assert few > totals[2]


def test_what_does_not_fit_is_refused_with_the_last_attempt():
    network = residual_network(channels=16, side=16)
    config = array(clusters=2, lanes=16, act_depth=64)
    with pytest.raises(Refusal, match=r"needs \d+ vectors and has 64; during this layer") as caught:
        placed(network, config)
    assert "act_depth" in caught.value.problem.remedy
    assert caught.value.problem.layer in {layer.name for layer in network.layers}


def test_regions_share_the_rows_that_are_left():
    """16 vectors on 5 clusters: three in each, and the last one's filters on all."""
    net = Builder((4, 32, 32))
    net.conv(11)
    network = net.network()
    config = array(clusters=5, lanes=64, act_depth=1024)
    placement, _ = placed(network, config)
    ((first, rest),) = placement.layers
    assert (first.parts, first.copies, first.tiling.rows) == (5, 1, 3)
    assert (rest.parts, rest.copies, rest.tiling.rows) == (1, 5, 1)
    assert (first.first, first.count, rest.first, rest.count) == (0, 30, 30, 2)


def test_copies_serve_every_reader_and_merge_halos():
    net = Builder((2, 12, 12))
    stem = net.conv(4)
    net.conv(4, 1, source=stem)
    net.conv(4, 5, source=stem)
    net.add("conv1", "conv2")
    net.conv(4, residual=stem)
    network = net.network()
    config = array(lanes=64, clusters=1)
    layers = [choices[0] for choices in choices_of(network, config)]
    copies = plan_copies(config, network, layers)
    (copy,) = copies[stem]
    assert copy.readers == [("conv1", 0, 0), ("conv2", 0, 0), ("conv4", 1, 0)]
    assert (copy.layout.halo_top, copy.layout.halo_bottom) == (2, 2)
    (last,) = copies["conv4"]
    assert last.readers == [HOST]
    apart = [tuple(replace(each, apart=True) for each in choice) for choice in layers]
    readers = [copy.readers for copy in plan_copies(config, network, apart)[stem]]
    assert readers == [[("conv1", 0, 0), ("conv2", 0, 0)], [("conv4", 1, 0)]]
