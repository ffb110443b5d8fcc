"""Scatter lists: where the emitter writes each output vector, and which zeros it writes beside.

Every lane group of every copy of a layer's output is written once for an image and filter: with
pixels by the vector that has them, with zeros by whichever vector has the shortest list.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plum_hw.config import ArrayConfig
from plum_hw.layouts import Select, scatter_layout

from .geometry import Geometry
from .layout import TensorLayout


@dataclass(frozen=True)
class Entry:
    """One write of a group.

    *Members*: the fields of `plum_hw.layouts.scatter_layout`; ``low``: source and count of the
    group that must be held for an EVEN or ODD entry.
    """

    offset: int
    source: int
    target: int
    select: Select
    count: int
    dest: int = 0
    grouped: bool = False
    low: tuple[int, int] | None = None

    @classmethod
    def hold(cls, low: tuple[int, int]) -> Entry:
        """The entry that holds a group."""
        source, count = low
        return cls(0, source, 0, Select.HOLD, count)

    def pack(self, config: ArrayConfig, *, last: bool) -> int:
        """The entry's word."""
        return scatter_layout(config).pack(
            offset=self.offset,
            source=self.source,
            target=self.target,
            select=self.select,
            count=self.count,
            dest=self.dest,
            grouped=self.grouped,
            last=last,
        )[0]


@dataclass(frozen=True)
class Scatter:
    """Where a layer's output goes.

    *Members*: ``lists``, for each row part the list of each of its vectors, of which the last part
    may have fewer; ``group_size``: an
    entry that is ``grouped`` goes to the clusters from ``dest*group_size`` on, so many (0: no entry
    is).
    """

    lists: tuple[tuple[tuple[Entry, ...], ...], ...]
    group_size: int

    def group(self, cluster: int) -> int:
        """The group that a cluster is of."""
        return cluster // self.group_size if self.group_size else 0


#: Region, row part and vector.
_Place = tuple[int, int, int]
#: An entry to all clusters of part ``dest`` of a copy, with the place that has its pixels, or None
#: for zeros.
_Write = tuple[_Place | None, Entry]


def scatter_lists(
    config: ArrayConfig,
    regions: Sequence[Geometry],
    copies: Sequence[TensorLayout],
    out_base: int,
    steps: int,
) -> list[Scatter]:
    """The lists of each region of a layer.

    regions : of the layer, with the tiling of the output as it is computed
    copies : all to be written, of one tensor
    steps : cycles that an entry takes
    """
    lists: dict[_Place, list[tuple[int, Entry]]] = {
        (geometry.region, part, vector): []
        for geometry in regions
        for part in range(geometry.parts)
        for vector in range(geometry.tiling.rows)
    }
    zeros = []
    for copy in copies:
        # Where clusters share the channels the filter's constants say which one of them it is.
        size = copy.copies // copy.shares
        for place, entry in _writes(config, regions, copy, out_base):
            if copy.shares > 1:
                entry = dataclasses.replace(entry, dest=entry.dest * copy.copies)
            item = (size, entry)
            if place is None:
                zeros.append(item)
            else:
                lists[place].append(item)
    # The last part may have fewer rows, and so fewer vectors.
    lists = {place: entries for place, entries in lists.items() if entries}
    for item in zeros:
        min(lists.values(), key=len).append(item)
    sizes = Counter(size for entries in lists.values() for size, _ in entries if size > 1)
    size = max(sizes, key=lambda each: sizes[each]) if sizes else 0
    packed = {
        place: tuple(_in_turn(config, _addressed(entries, size), steps))
        for place, entries in lists.items()
    }
    return [
        Scatter(
            tuple(
                tuple(
                    packed[geometry.region, part, vector]
                    for vector in range(geometry.tiling.rows)
                    if (geometry.region, part, vector) in packed
                )
                for part in range(geometry.parts)
            ),
            size,
        )
        for geometry in regions
    ]


def _addressed(items: list[tuple[int, Entry]], group_size: int) -> Iterator[Entry]:
    """Entries with clusters or groups in place of parts."""
    for size, entry in items:
        if size > 1 and size == group_size:
            yield dataclasses.replace(entry, grouped=True)
        else:
            for cluster in range(entry.dest * size, (entry.dest + 1) * size):
                yield dataclasses.replace(entry, dest=cluster)


def _in_turn(config: ArrayConfig, entries: Iterator[Entry], steps: int) -> list[Entry]:
    """Entries in an order in which few wait long for their buses: always the one that is written
    first, of those on the bus that has most to carry; with the entries that hold what they need.
    """
    buses, clusters = config.write_buses, config.clusters
    waiting: list[list[Entry]] = [[] for _ in range(buses)]
    for entry in entries:
        waiting[config.bus_of(entry.target)].append(entry)
    order: list[Entry] = []
    held: tuple[int, int] | None = None
    time = 0

    def ready(entry: Entry) -> int:
        """When an entry may begin, if its bus is free."""
        return time if entry.low in (None, held) else time + steps

    while any(waiting):
        choices = []
        for bus, queue in enumerate(waiting):
            if queue:
                index = min(range(len(queue)), key=lambda n: ready(queue[n]))
                earliest = ready(queue[index])
                slot = earliest + (bus * clusters // buses - earliest) % clusters
                choices.append((slot, earliest, -len(queue), bus, index))
        time, _, _, bus, index = min(choices)
        entry = waiting[bus].pop(index)
        if entry.low not in (None, held):
            held = entry.low
            order.append(Entry.hold(entry.low))
        order.append(entry)
        time += steps
    return order


def _writes(
    config: ArrayConfig, regions: Sequence[Geometry], copy: TensorLayout, out_base: int
) -> Iterator[_Write]:
    """All writes of one copy."""
    address_mask = (1 << config.act_addr_bits) - 1
    groups = copy.tiling.strip_groups(config)
    for part in range(copy.parts):
        for phase in range(copy.phases):
            for local in range(-copy.halo_top, copy.rows + copy.halo_bottom):
                offset = (copy.row_address(local, phase) - out_base) & address_mask
                for target in range(copy.strips * groups):
                    strip = part * copy.strips + target // groups
                    row = copy.first + strip * copy.rows + local
                    place = Entry(offset, 0, target, Select.STRAIGHT, 0, part)
                    yield _group(config, regions, copy, row, phase, target % groups, place)
                if copy.cleared and 0 <= local < copy.rows:
                    for target in range(copy.strips * groups, config.groups):
                        yield None, Entry(offset, 0, target, Select.STRAIGHT, 0, part)


def _group(
    config: ArrayConfig,
    regions: Sequence[Geometry],
    copy: TensorLayout,
    row: int,
    phase: int,
    group: int,
    place: Entry,
) -> _Write:
    """The write of one group of a row of a strip."""
    if not 0 <= row < copy.height:
        return None, place
    geometry = next(each for each in regions if each.first <= row < each.first + each.count)
    tiling = geometry.tiling
    strip, vector = divmod(row - geometry.first, tiling.rows)
    part, strip = divmod(strip, tiling.strips)
    first = strip * tiling.strip_groups(config)

    def count(source: int) -> int:
        """Lanes of a group of the row that hold pixels."""
        return min(max(copy.width - source * config.group_lanes, 0), config.group_lanes)

    if copy.phases == 1:
        sources, select = [group], Select.STRAIGHT
    else:
        sources, select = [2 * group, 2 * group + 1], Select.ODD if phase else Select.EVEN
    if count(sources[0]) <= phase:
        return None, place
    # Where the last group of a row has no pixels any more there may be no such group either.
    source = first + (sources[-1] if count(sources[-1]) else sources[0])
    low = (first + sources[0], count(sources[0])) if len(sources) > 1 else None
    return (geometry.region, part, vector), dataclasses.replace(
        place, source=source, select=select, count=count(sources[-1]), low=low
    )
