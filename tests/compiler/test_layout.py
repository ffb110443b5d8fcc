import numpy as np
import pytest

from plum_hw.compiler.layout import NO_PIXEL, TensorLayout, choose_tiling
from tests.compiler.nets import array


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


@pytest.mark.parametrize("phases", [1, 2])
def test_pixel_map_agrees_with_place_and_holds_halos(phases):
    layout = TensorLayout(
        base=5,
        channels=3,
        height=9,
        width=11,
        phases=phases,
        strips=2,
        strip_lanes=16,
        rows=6,
        halo_top=1,
        halo_bottom=2,
    )
    pixels = layout.pixel_map(40)
    assert pixels.shape == (layout.vectors, 40)
    for channel in range(3):
        for row in range(9):
            for column in range(11):
                vector, lane = layout.place(channel, row, column)
                index = (channel * 9 + row) * 11 + column
                assert pixels[vector - layout.base, lane] == index
                # Row 6 begins strip 1, rows 6 and 7 are strip 0's halo, row 5 is strip 1's.
                copies = 1 + (row in (5, 6, 7))
                assert (pixels == index).sum() == copies
    assert (pixels[:, 32:] == NO_PIXEL).all()
    assert set(np.unique(pixels)) == {NO_PIXEL, *range(3 * 9 * 11)}
