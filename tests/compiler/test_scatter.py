"""Every lane that a reader relies on is written once for each image, with the right pixel."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from plum_hw.compiler.layout import NO_PIXEL, TensorLayout
from plum_hw.compiler.plan import LayerPlan, Plan, plan_network
from plum_hw.compiler.scatter import Entry, _in_turn
from plum_hw.config import ArrayConfig
from plum_hw.ir.random import random_network
from plum_hw.layouts import Select
from tests.compiler.nets import (
    DEPTHWISE_VECTORS,
    Builder,
    array,
    depthwise_network,
    draw_array,
    residual_network,
)

UNWRITTEN = -2


def lanes_of(entries: Sequence[Entry]) -> list[tuple[Entry, list[tuple[int, int]]]]:
    """The entries of a list that write, each with the source and target lane of each byte; source
    -1 for a zero.
    """

    def sources(entry: Entry) -> list[int]:
        return [8 * entry.source + i if i < entry.count else -1 for i in range(8)]

    found, held = [], None
    for entry in entries:
        if entry.select == Select.HOLD:
            held = sources(entry)
            continue
        lanes = sources(entry)
        if entry.select != Select.STRAIGHT:
            assert held is not None, "nothing is held"
            lanes = (held + lanes)[entry.select == Select.ODD :: 2]
        found.append((entry, [(lane, 8 * entry.target + i) for i, lane in enumerate(lanes)]))
    return found


def layers_of(plan: Plan) -> list[list[LayerPlan]]:
    """The regions of each layer."""
    names = dict.fromkeys(layer.layer.name for layer in plan.layers)
    return [[layer for layer in plan.layers if layer.layer.name == name] for name in names]


def written(config: ArrayConfig, regions: list[LayerPlan]) -> np.ndarray:
    """What the lists of a layer write for one filter: pixel of channel 0 or NO_PIXEL, [clusters,
    vectors, lanes]. Each row part of each region walks its lists once; for a filter of each share
    where clusters share the channels.
    """
    shares = {copy.shares for copy in regions[0].outputs}
    assert len(shares) == 1 or shares == {1}
    memory = np.full((config.clusters, 1 << config.act_addr_bits, config.lanes), UNWRITTEN)
    for layer in regions:
        geometry = layer.geometry
        height, width = geometry.first + geometry.count, geometry.out_shape[2]
        tiling = geometry.tiling
        assert len(layer.scatter.lists) == geometry.parts
        for part, lists in enumerate(layer.scatter.lists):
            for vector, entries in enumerate(lists):
                assert entries
                for share, (entry, lanes) in product(range(min(shares)), lanes_of(entries)):
                    address = (layer.out_base + entry.offset) % memory.shape[1]
                    held = [
                        cluster
                        for cluster in range(config.clusters)
                        if (layer.scatter.group(cluster) if entry.grouped else cluster)
                        == entry.dest + share
                    ]
                    assert held
                    for source, target in lanes:
                        pixel = NO_PIXEL
                        if source >= 0:
                            strip, column = divmod(source, tiling.strip_lanes)
                            strip += part * tiling.strips
                            row = geometry.first + strip * tiling.rows + vector
                            assert row < height
                            assert column < width
                            pixel = row * width + column
                        for cluster in held:
                            assert memory[cluster, address, target] == UNWRITTEN, "written twice"
                            memory[cluster, address, target] = pixel
    return memory


def check_coverage(config: ArrayConfig, regions: list[LayerPlan]) -> None:
    memory = written(config, regions)
    for copy in regions[0].outputs:
        one = TensorLayout(**{**copy.as_dict(), "channels": 1, "shares": 1, "base": 0})
        used = copy.strips * copy.strip_lanes
        for cluster in range(copy.parts * copy.copies):
            rows = one.pixel_map(config.lanes, cluster // copy.copies)
            addresses = copy.base + copy.held * np.arange(len(rows))
            assert (memory[cluster, addresses, :used] == rows[:, :used]).all(), "wrong or missing"
            if copy.cleared:
                height = one.halo_top + one.rows + one.halo_bottom
                row = np.arange(len(rows)) % height - one.halo_top
                inside = (row >= 0) & (row < one.rows)
                assert (memory[cluster, addresses[inside], used:] == NO_PIXEL).all()
            memory[cluster, addresses] = UNWRITTEN
    assert (memory == UNWRITTEN).all(), "writes outside all copies"


def test_lists_of_random_networks_cover_their_copies():
    found: Counter[str] = Counter()
    for seed in range(36):
        rng = np.random.default_rng(seed)
        config = draw_array(rng, roomy=seed % 2 == 0, reach=7, acc_bits=20, sum_bits=25)
        network = random_network(seed, max_width=min(config.lanes, 40), max_macs=200_000)
        plan, problems = plan_network(network, config)
        if plan is None:
            assert "activation memory needs" in problems[0].what
            continue
        for regions in layers_of(plan):
            if regions[0].geometry.reduce:
                continue
            print(f"seed {seed}, {regions[0].layer.name}")
            check_coverage(config, regions)
            found["layers"] += 1
            found["regions"] += len(regions) > 1
            entries = [e for part in regions[0].scatter.lists for each in part for e in each]
            found["halves"] += any(entry.select == Select.ODD for entry in entries)
            found["grouped"] += any(entry.grouped for entry in entries)
            sizes = {copy.copies for copy in regions[0].outputs}
            found["sizes"] += len(sizes) > 1 and any(not entry.grouped for entry in entries)
            found["parts"] += any(copy.parts > 1 for copy in regions[0].outputs)
    assert found["layers"] > 80
    assert min(found.values()) > 3, found


@pytest.mark.parametrize("clusters", sorted(DEPTHWISE_VECTORS))
def test_lists_cover_copies_whose_channels_are_shared(clusters):
    network, config = depthwise_network(clusters)
    plan, _ = plan_network(network, config)
    assert plan is not None
    maps = [regions for regions in layers_of(plan) if regions[0].outputs]
    assert sum(regions[0].outputs[0].shares > 1 for regions in maps) == 2
    for regions in maps:
        check_coverage(config, regions)


@pytest.mark.parametrize("clusters", [1, 3])
def test_a_missing_or_wrong_entry_is_seen(clusters):
    config = array(lanes=32, clusters=clusters)
    plan, _ = plan_network(residual_network(), config)
    assert plan is not None
    layer = plan.layers[0]
    check_coverage(config, [layer])
    lists = layer.scatter.lists
    first = lists[0][0][0]
    faults = {
        "missing": lists[0][0][1:],
        "twice": (*lists[0][0], first),
        "count": (replace(first, count=first.count - 1 if first.count else 1), *lists[0][0][1:]),
        "source": (replace(first, source=first.source + 1), *lists[0][0][1:]),
    }
    if clusters > 1:
        faults["dest"] = (
            replace(first, dest=first.dest + (-1 if first.dest else 1)),
            *lists[0][0][1:],
        )
    for name, entries in faults.items():
        fault = replace(layer.scatter, lists=((entries, *lists[0][1:]), *lists[1:]))
        print(name)
        with pytest.raises(AssertionError):
            check_coverage(config, [replace(layer, scatter=fault)])


def test_zeros_go_to_the_shortest_lists():
    net = Builder((1, 28, 28))
    net.conv(4)
    net.conv(4)
    plan, _ = plan_network(net.network(), array(lanes=64))
    assert plan is not None
    (part,) = plan.layers[0].scatter.lists
    lengths = [len(entries) for entries in part]
    # 14 vectors of 8 groups; rows 13 and 14 are halos as well, two halo rows are zero.
    assert sum(lengths) == 14 * 8 + 8 + 8
    assert lengths[0] == lengths[-1] == 12
    assert max(lengths[1:-1]) - min(lengths[1:-1]) <= 1


def waited(config: ArrayConfig, entries: Sequence[Entry], terms: int) -> int:
    """Cycles that a list takes cluster 0 from cycle 0 on, by the rule of the documentation."""
    time = 0
    for entry in entries:
        bus = config.bus_of(entry.target)
        while (
            entry.select != Select.HOLD
            and (time - 0 - bus * config.clusters // config.write_buses) % config.clusters
        ):
            time += 1
        time += terms
    return time


@pytest.mark.parametrize("seed", range(20))
def test_buses_in_turn_keep_the_entries_and_seldom_wait(seed):
    rng = np.random.default_rng(seed)
    config = draw_array(rng, lanes=64)
    entries = [
        Entry(int(rng.integers(0, 99)), 0, int(rng.integers(0, 8)), Select.STRAIGHT, 8)
        for _ in range(int(rng.integers(1, 40)))
    ]
    terms = int(rng.integers(1, 4))
    order = _in_turn(config, iter(entries), terms)
    assert Counter(order) == Counter(entries)
    assert waited(config, order, terms) <= waited(config, entries, terms) + config.clusters
    buses = Counter(config.bus_of(entry.target) for entry in entries)
    # A bus is free for a cluster once in as many cycles as there are clusters.
    turn = -(-terms // config.clusters) * config.clusters
    most = max(count * turn for count in buses.values())
    assert waited(config, order, terms) <= most + sum(buses.values()) * terms + config.clusters


@pytest.mark.parametrize("seed", range(20))
def test_halves_find_their_group_held(seed):
    rng = np.random.default_rng(seed)
    config = draw_array(rng, lanes=64)
    entries = []
    for number in range(int(rng.integers(1, 12))):
        target, low = int(rng.integers(0, 8)), (int(rng.integers(0, 4)), int(rng.integers(1, 9)))
        entries += [
            Entry(number, low[0] + 1, target, select, 8, low=low)
            for select in (Select.EVEN, Select.ODD)
        ]
        entries.append(Entry(number, 0, target, Select.STRAIGHT, 8))
    held = None
    order = _in_turn(config, iter(entries), int(rng.integers(1, 4)))
    for entry in order:
        if entry.select == Select.HOLD:
            assert held != (entry.source, entry.count), "held twice"
            held = (entry.source, entry.count)
        assert entry.low in (None, held)
    assert Counter(entry for entry in order if entry.select != Select.HOLD) == Counter(entries)


def test_a_group_is_held_once_where_buses_do_not_wait():
    config = array(lanes=64)
    entries = [
        Entry(number, 1, 0, select, 8, low=(number, 8))
        for select in (Select.EVEN, Select.ODD)
        for number in range(4)
    ]
    assert len(_in_turn(config, iter(entries), 1)) == 12


def test_buses_take_turns():
    config = array(lanes=64, clusters=4, write_buses=4)
    entries = [Entry(0, 0, target, Select.STRAIGHT, 8) for target in range(8)]
    assert waited(config, entries[::-1], 1) > 8
    order = _in_turn(config, iter(entries[::-1]), 1)
    assert waited(config, order, 1) == 8
