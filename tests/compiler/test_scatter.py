"""Every lane that a reader relies on is written once for each image, with the right pixel."""

import numpy as np
import pytest

from plum_hw.compiler.layout import NO_PIXEL, TensorLayout
from plum_hw.compiler.plan import LayerPlan, plan_network
from plum_hw.compiler.scatter import Entry
from plum_hw.config import ArrayConfig
from plum_hw.ir.random import random_network
from plum_hw.layouts import Select
from tests.compiler.nets import Builder, array, draw_array, residual_network

UNWRITTEN = -2


def lanes_of(entry: Entry) -> list[tuple[int, int]]:
    """Source and target lane of each byte of an entry; source -1 for a zero."""
    if entry.select == Select.STRAIGHT:
        pairs = [(lane, lane) for lane in range(8)]
    else:
        odd = int(entry.select == Select.ODD)
        pairs = [(2 * i + odd, 4 * entry.upper + i) for i in range(4)]
    return [
        (8 * entry.source + source if source < entry.count else -1, 8 * entry.target + target)
        for source, target in pairs
    ]


def written(config: ArrayConfig, layer: LayerPlan) -> np.ndarray:
    """What the lists of a layer write: pixel of channel 0 or NO_PIXEL, [vectors, lanes]."""
    memory = np.full((1 << config.act_addr_bits, config.lanes), UNWRITTEN)
    _, height, width = layer.geometry.out_shape
    tiling = layer.geometry.tiling
    for vector, entries in enumerate(layer.lists):
        assert entries
        for entry in entries:
            address = (layer.out_base + entry.offset) % len(memory)
            for source, target in lanes_of(entry):
                assert memory[address, target] == UNWRITTEN, "written twice"
                pixel = NO_PIXEL
                if source >= 0:
                    strip, column = divmod(source, tiling.strip_lanes)
                    row = strip * tiling.rows + vector
                    assert row < height
                    assert column < width
                    pixel = row * width + column
                memory[address, target] = pixel
    return memory


def check_coverage(config: ArrayConfig, layer: LayerPlan) -> None:
    memory = written(config, layer)
    for copy in layer.outputs:
        one = TensorLayout(**{**copy.as_dict(), "channels": 1, "base": 0})
        rows = one.pixel_map(config.lanes)
        addresses = copy.base + copy.channels * np.arange(len(rows))
        used = copy.strips * copy.strip_lanes
        assert (memory[addresses, :used] == rows[:, :used]).all()
        if copy.cleared:
            height = one.halo_top + one.rows + one.halo_bottom
            row = np.arange(len(rows)) % height - one.halo_top
            inside = (row >= 0) & (row < one.rows)
            assert (memory[addresses[inside], used:] == NO_PIXEL).all()
        memory[addresses] = UNWRITTEN
    assert (memory == UNWRITTEN).all(), "writes outside all copies"


@pytest.mark.parametrize("seed", range(30))
def test_lists_of_random_networks_cover_their_copies(seed):
    rng = np.random.default_rng(seed)
    config = draw_array(rng, reach=7, acc_bits=20, sum_bits=25)
    network = random_network(seed, max_width=min(config.lanes, 40), max_macs=200_000)
    plan, problems = plan_network(network, config)
    if plan is None:
        pytest.skip(problems[0].text)
    for layer in plan.layers:
        if not layer.geometry.reduce:
            check_coverage(config, layer)


def test_a_missing_or_wrong_entry_is_seen():
    config = array(lanes=32)
    plan, _ = plan_network(residual_network(), config)
    assert plan is not None
    layer = plan.layers[0]
    check_coverage(config, layer)
    for fault in (layer.lists[0][1:], (*layer.lists[0], layer.lists[0][0])):
        object.__setattr__(layer, "lists", (fault, *layer.lists[1:]))
        with pytest.raises(AssertionError):
            check_coverage(config, layer)


def test_zeros_go_to_the_shortest_lists():
    net = Builder((1, 28, 28))
    net.conv(4)
    net.conv(4)
    plan, _ = plan_network(net.network(), array(lanes=64))
    assert plan is not None
    lengths = [len(entries) for entries in plan.layers[0].lists]
    # 14 vectors of 8 groups; rows 13 and 14 are halos as well, two halo rows are zero.
    assert sum(lengths) == 14 * 8 + 8 + 8
    assert lengths[0] == lengths[-1] == 12
    assert max(lengths[1:-1]) - min(lengths[1:-1]) <= 1
