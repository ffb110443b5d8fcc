"""Scatter lists: where the emitter writes each output vector, and which zeros it writes beside.

Every lane group of every copy of a layer's output is written once for an image and filter: with
pixels by the vector that has them, with zeros by whichever vector has the shortest list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plum_hw.config import ArrayConfig
from plum_hw.layouts import Select, scatter_layout

from .layout import TensorLayout, Tiling


@dataclass(frozen=True)
class Entry:
    """One write of a group. *Members*: the fields of `plum_hw.layouts.scatter_layout`."""

    offset: int
    source: int
    target: int
    select: Select
    upper: int
    count: int

    def pack(self, config: ArrayConfig, *, last: bool) -> int:
        """The entry's word."""
        return scatter_layout(config).pack(
            offset=self.offset,
            source=self.source,
            target=self.target,
            select=self.select,
            upper=self.upper,
            count=self.count,
            last=last,
        )[0]


#: An entry with the vector that has its pixels, or None for zeros.
_Write = tuple[int | None, Entry]


def scatter_lists(
    config: ArrayConfig, tiling: Tiling, copies: Sequence[TensorLayout], out_base: int
) -> list[list[Entry]]:
    """The list of each output vector.

    tiling : of the output as it is computed
    copies : all to be written, of one tensor
    """
    lists: list[list[Entry]] = [[] for _ in range(tiling.rows)]
    zeros = []
    for copy in copies:
        for vector, entry in _writes(config, tiling, copy, out_base):
            if vector is None:
                zeros.append(entry)
            else:
                lists[vector].append(entry)
    for entry in zeros:
        min(lists, key=len).append(entry)
    return lists


def _writes(
    config: ArrayConfig, tiling: Tiling, copy: TensorLayout, out_base: int
) -> Iterator[_Write]:
    """All writes of one copy."""
    address_mask = (1 << config.act_addr_bits) - 1
    groups = copy.tiling.strip_groups(config)
    for phase in range(copy.phases):
        for local in range(-copy.halo_top, copy.rows + copy.halo_bottom):
            offset = (copy.row_address(local, phase) - out_base) & address_mask
            for strip in range(copy.strips):
                row = strip * copy.rows + local
                for group in range(groups):
                    target = strip * groups + group
                    yield from _group(config, tiling, copy, row, phase, group, target, offset)
            if copy.cleared and 0 <= local < copy.rows:
                for target in range(copy.strips * groups, config.groups):
                    yield None, Entry(offset, 0, target, Select.STRAIGHT, 0, 0)


def _group(
    config: ArrayConfig,
    tiling: Tiling,
    copy: TensorLayout,
    row: int,
    phase: int,
    group: int,
    target: int,
    offset: int,
) -> Iterator[_Write]:
    """The writes of one group of a row of a strip: one, or one for each half."""
    zero = Entry(offset, 0, target, Select.STRAIGHT, 0, 0)
    if not 0 <= row < copy.height:
        yield None, zero
        return
    strip, vector = divmod(row, tiling.rows)
    first = strip * tiling.strip_groups(config)

    def count(source: int) -> int:
        """Lanes of a group of the row that hold pixels."""
        return min(max(copy.width - source * config.group_lanes, 0), config.group_lanes)

    if copy.phases == 1:
        if count(group):
            yield vector, Entry(offset, first + group, target, Select.STRAIGHT, 0, count(group))
        else:
            yield None, zero
        return
    halves = [(upper, 2 * group + upper) for upper in range(2)]
    if all(count(source) <= phase for _, source in halves):
        yield None, zero
        return
    select = Select.ODD if phase else Select.EVEN
    for upper, source in halves:
        if count(source) > phase:
            yield vector, Entry(offset, first + source, target, select, upper, count(source))
        else:
            yield None, Entry(offset, 0, target, select, upper, 0)
