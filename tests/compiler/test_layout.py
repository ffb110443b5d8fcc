"""Where elements lie, and that every window finds them there."""

from dataclasses import replace

import numpy as np
import pytest

from plum_hw.compiler.geometry import Geometry, layer_choices
from plum_hw.compiler.layout import NO_PIXEL, TensorLayout, choose_tiling
from plum_hw.config import ArrayConfig
from tests.compiler.nets import Builder, array


@pytest.mark.parametrize(
    ("lanes", "height", "width", "expected"),
    [
        (64, 28, 28, (2, 32, 14)),
        (64, 32, 32, (2, 32, 16)),
        (64, 16, 16, (4, 16, 4)),
        (64, 14, 14, (4, 16, 4)),
        (64, 8, 8, (8, 8, 1)),
        (64, 7, 7, (7, 8, 1)),
        (64, 56, 56, (1, 56, 56)),
        (64, 64, 64, (1, 64, 64)),
        (16, 12, 9, (1, 16, 12)),
        (8, 3, 1, (1, 8, 3)),
    ],
)
def test_fewest_vectors_then_fewest_strips(lanes, height, width, expected):
    tiling = choose_tiling(array(lanes=lanes), height, width)
    assert tiling is not None
    assert (tiling.strips, tiling.strip_lanes, tiling.rows) == expected


def test_a_row_wider_than_a_vector_has_no_tiling():
    assert choose_tiling(array(lanes=16), 4, 17) is None


def test_edges_lie_where_strips_begin_and_behind_the_last():
    tiling = choose_tiling(array(lanes=64), 3, 16)
    assert tiling is not None
    assert tiling.strips == 3
    assert tiling.left_edge(array(lanes=64)) == 0b01010101


def stated(layout: TensorLayout, lanes: int, part: int) -> list[list[int]]:
    """What docs/architecture.md says of every lane of a part, place by place."""
    total = [[NO_PIXEL] * lanes for _ in range(layout.vectors)]
    local_rows = layout.halo_top + layout.rows + layout.halo_bottom
    pitch = local_rows * layout.channels
    for phase in range(layout.phases):
        for i in range(-layout.halo_top, layout.rows + layout.halo_bottom):
            for c in range(layout.channels):
                vector = phase * pitch + (layout.halo_top + i) * layout.channels + c
                for strip in range(layout.strips):
                    y = layout.first + (part * layout.strips + strip) * layout.rows + i
                    for lane in range(layout.strip_lanes):
                        x = layout.column_step * lane + layout.column_first + phase
                        if 0 <= y < layout.height and 0 <= x < layout.width:
                            index = (c * layout.height + y) * layout.width + x
                            total[vector][strip * layout.strip_lanes + lane] = index
    return total


def draw_layout(rng: np.random.Generator) -> TensorLayout:
    gathered = rng.random() < 0.3
    phases = int(rng.integers(1, 4)) if gathered else int(rng.integers(1, 3))
    return TensorLayout(
        base=int(rng.integers(0, 50)),
        channels=int(rng.integers(1, 4)),
        height=int(rng.integers(1, 14)),
        width=int(rng.integers(1, 16)),
        phases=phases,
        strips=int(rng.integers(1, 4)),
        strip_lanes=8 * int(rng.integers(1, 3)),
        rows=int(rng.integers(1, 5)),
        halo_top=int(rng.integers(0, 3)),
        halo_bottom=int(rng.integers(0, 3)),
        parts=int(rng.integers(1, 4)),
        first=int(rng.integers(0, 5)),
        column_step=int(rng.integers(1, 3)) if gathered else phases,
        column_first=-int(rng.integers(0, 3)) if gathered else 0,
    )


@pytest.mark.parametrize("seed", range(60))
def test_pixel_map_is_what_the_documentation_states(seed):
    layout = draw_layout(np.random.default_rng(seed))
    for part in range(layout.parts):
        expected = stated(layout, 56, part)
        assert layout.pixel_map(56, part).tolist() == expected, (seed, part)
    # A halo row less, or columns from another one on, would be seen.
    fault = replace(layout, column_first=layout.column_first - layout.column_step)
    if (layout.pixel_map(56) != NO_PIXEL).any():
        assert fault.pixel_map(56).tolist() != stated(layout, 56, 0)


def test_parts_hold_every_row_once_and_their_neighbours_in_halos():
    layout = TensorLayout(
        base=0,
        channels=2,
        height=9,
        width=11,
        phases=1,
        strips=2,
        strip_lanes=16,
        rows=3,
        halo_top=1,
        halo_bottom=2,
        parts=2,
        copies=3,
    )
    assert (layout.part_rows, layout.vectors) == (6, 12)
    held = np.zeros(9, int)
    halos = np.zeros(9, int)
    for part in range(2):
        pixels = layout.pixel_map(32, part).reshape(6, 2, 2, 16)  # row, channel, strip, lane
        own = pixels[1:4]
        held += [int((own == 11 * row).sum()) for row in range(9)]
        halos += [int((pixels == 11 * row).sum()) for row in range(9)]
    assert held.tolist() == [1] * 9
    # Rows 3, 6 and 9 begin strips: the row before and two from there on are halos of neighbours.
    assert halos.tolist() == [1, 1, 2, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("stride", [1, 2])
def test_gathered_columns_all_have_the_lane_of_the_output(stride):
    """Lane l of phase s holds the column that kernel column s multiplies for output column l."""
    net = Builder((2, 9, 13))
    net.conv(3, 3, stride=stride)
    network = net.network()
    choices = layer_choices(array(lanes=64, clusters=2), network, network.layers[0])
    gathered = [each for choice in choices for each in choice if each.gathered]
    assert gathered
    for geometry in gathered:
        source = geometry.source_layout()
        out_width = geometry.out_shape[2]
        pixels = source.pixel_map(64).reshape(3, -1, 2, 64)
        for column in range(3):
            assert geometry.column(column) == (column, 0)
            for lane in range(out_width):
                x = stride * lane + column - 1
                expected = x if 0 <= x < 13 else NO_PIXEL
                row = source.halo_top  # the first own row, channel 0, strip 0
                got = pixels[column, row, 0, lane]
                assert got == (NO_PIXEL if expected < 0 else geometry.first * stride * 13 + x)


@pytest.mark.parametrize("seed", range(16))
def test_every_window_finds_its_inputs(seed):
    """Address and lane of every weight of every output, in the layout that a layer demands."""
    rng = np.random.default_rng(seed)
    kernel = int(rng.integers(1, 6))
    stride = int(rng.integers(1, 3))
    padding = int(rng.integers(0, (kernel + 1) // 2, endpoint=True)) if kernel > 1 else 0
    height, width = (int(rng.integers(kernel, 16)) for _ in range(2))
    net = Builder((2, height, width))
    net.conv(1, kernel, stride=stride, padding=(padding, padding))
    network = net.network()
    config = array(lanes=int(rng.choice([16, 32, 64])), clusters=int(rng.integers(1, 6)), reach=5)
    for choice in layer_choices(config, network, network.layers[0]):
        rows = [row for each in choice for row in range(each.first, each.first + each.count)]
        assert rows == list(range(network.shape_of(network.output)[1]))
        for geometry in choice:
            check_windows(geometry, config, stride, kernel, padding)


def check_windows(
    geometry: Geometry, config: ArrayConfig, stride: int, kernel: int, padding: int
) -> None:
    source, tiling = geometry.source_layout(), geometry.tiling
    channels, height, width = geometry.in_shape
    assert geometry.parts * geometry.copies <= config.clusters
    for y in range(geometry.first, geometry.first + geometry.count):
        strip, vector = divmod(y - geometry.first, tiling.rows)
        part, strip = divmod(strip, tiling.strips)
        assert part < geometry.parts
        pixels = source.pixel_map(config.lanes, part)
        window = source.row_address(-padding) + vector * geometry.row_step * channels
        for s in range(kernel):
            phase, shift = geometry.column(s)
            assert abs(shift) <= config.reach
            for r in range(kernel):
                at = window + phase * source.phase_pitch + r * channels + 1  # channel 1
                for x in range(geometry.out_shape[2]):
                    row, column = stride * y + r - padding, stride * x + s - padding
                    expected = NO_PIXEL
                    if 0 <= row < height and 0 <= column < width:
                        expected = (height + row) * width + column
                    lane = x + shift
                    got = NO_PIXEL
                    if 0 <= lane < tiling.strip_lanes:
                        got = int(pixels[at, strip * tiling.strip_lanes + lane])
                    assert got == expected, (y, x, r, s)
