"""Which pieces a layer is computed in: those that cost least of all that fit the memories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plum_hw.config import ArrayConfig
from plum_hw.ir import Conv, Dense, InputSpec, Layer, Network, Shape, WeightLayer

from .copies import Copy, plan_copies
from .geometry import Geometry, layer_choices
from .layout import TensorLayout
from .memory import allocate
from .pieces import (
    Cut,
    Range,
    Span,
    counts,
    cut_columns,
    cut_rows,
    input_specs,
    ranges,
    shape_probe,
    tile_shapes,
    window_of,
)
from .problems import Refusal

#: Numbers of tiles beyond the fewest that fit which are tried as well.
_MORE = 4
#: What a run costs beside its work, about, in cycles.
_RUN_CYCLES = 100


@dataclass(frozen=True)
class Fit:
    """What a piece of some shape costs.

    *Members*: ``passes``, vectors times filters of the cluster that has most; ``moved``, bytes that
    the host writes and reads for a run; ``parts``, how many clusters get masks of their own.
    """

    passes: int
    moved: int
    parts: int


def fit(
    config: ArrayConfig,
    network: Network,
    layer: Layer,
    specs: Sequence[InputSpec],
    output: Shape,
    columns: Span | None = None,
) -> Fit | None:
    """The cheapest way to place a piece of a layer, or the whole (without ``columns``); None if
    there is none.
    """
    probe, one = shape_probe(network, layer, specs, output, columns)
    try:
        choices = layer_choices(config, probe, one)
    except Refusal:
        return None
    best: Fit | None = None
    for choice in choices:
        copies = plan_copies(config, probe, [choice])
        if allocate(config, probe, [choice], copies).refusal is not None:
            continue
        if not _lists_fit(config, choice, copies[layer.name], output[0]):
            continue
        passes = sum(geometry.tiling.rows * -(-output[0] // geometry.copies) for geometry in choice)
        moved = sum(_moved(config, copy.layout) for each in copies.values() for copy in each)
        found = Fit(passes, moved, choice[0].parts)
        if best is None or (found.passes, found.moved) < (best.passes, best.moved):
            best = found
    return best


def _lists_fit(
    config: ArrayConfig, choice: Sequence[Geometry], copies: Sequence[Copy], filters: int
) -> bool:
    """Whether scatter lists leave room for the constants of a filter."""
    del filters
    entries = sum(
        copy.layout.phases
        * (copy.layout.halo_top + copy.layout.rows + copy.layout.halo_bottom)
        * copy.layout.strips
        * copy.layout.tiling.strip_groups(config)
        for copy in copies
    )
    return len(choice) * entries + 16 <= config.table_depth


def _moved(config: ArrayConfig, layout: TensorLayout) -> int:
    """Bytes on the link for a copy."""
    each = layout.vectors * config.lanes
    if layout.parts == 1 and layout.shares == 1:
        return each  # to all clusters at once
    return each * layout.parts * layout.copies


def choose_cut(config: ArrayConfig, network: Network, layer: Layer) -> Iterator[Cut]:
    """Ways to cut a layer so that each piece fits, the best first."""
    if isinstance(layer, Dense) and network.shape_of(layer.source)[1:] != (1, 1):
        yield from _dense_cuts(config, network, layer)
        return
    out = network.shape_of(layer.name)
    in_columns = network.shape_of(layer.source)[2]
    found: list[tuple[float, int, Cut]] = []
    for columns in _column_cuts(config, layer, in_columns, out[2]):
        for count in counts(out[0]):
            filters = ranges(out[0], count)
            first = _fewest_rows(config, network, layer, columns, filters)
            if first is None:
                continue
            tried = set()
            for number in range(first, min(first + _MORE, out[1]) + 1):
                rows = cut_rows(layer, out[1], number)
                if rows.size in tried:
                    continue
                tried.add(rows.size)
                cut = Cut(rows, columns, filters, ((0, network.shape_of(layer.source)[0]),))
                cost = _cost(config, network, layer, cut)
                if cost is not None:
                    found.append((cost, len(found), cut))
    for _, _, cut in sorted(found, key=lambda each: each[:2]):
        yield cut


def _column_cuts(
    config: ArrayConfig, layer: Layer, in_columns: int, out_columns: int
) -> Iterator[Span]:
    """All columns if they fit the lanes, else as few tiles as possible."""
    span = cut_columns(layer, in_columns, out_columns, config.lanes)
    if span is not None:
        yield span


def _largest(filters: Sequence[Range]) -> Range:
    return max(filters, key=lambda each: each[1] - each[0])


def _fit_of(config: ArrayConfig, network: Network, layer: Layer, cut: Cut) -> Fit | None:
    *inputs, output = tile_shapes(network, layer, cut, _largest(cut.filters))
    specs = input_specs(network, layer, inputs)
    return fit(config, network, layer, specs, output, cut.columns)


def _fewest_rows(
    config: ArrayConfig, network: Network, layer: Layer, columns: Span, filters: tuple[Range, ...]
) -> int | None:
    """Fewest tiles of rows that fit."""
    out_rows = network.shape_of(layer.name)[1]

    def fits(count: int) -> bool:
        rows = cut_rows(layer, out_rows, count)
        return _fit_of(config, network, layer, Cut(rows, columns, filters, ())) is not None

    if not fits(out_rows):
        return None
    low, high = 1, out_rows
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _cost(config: ArrayConfig, network: Network, layer: Layer, cut: Cut) -> float | None:
    """About the cycles of all pieces, and a cycle for every byte on the link."""
    found = _fit_of(config, network, layer, cut)
    if found is None:
        return None
    channels = network.shape_of(layer.source)[0]
    kernel = window_of(layer, 0)[0] * window_of(layer, 1)[0]
    taps = kernel if not isinstance(layer, Conv) or layer.depthwise else kernel * channels
    density = layer.density if isinstance(layer, WeightLayer) else 1.0
    beats = max(taps * (density or 1.0), config.drain_cycles * window_of(layer, 1)[0])
    first, last = _largest(cut.filters)
    code = (last - first) * taps / 8 * found.parts
    tiles = cut.rows.count * cut.columns.count
    loads = tiles if code > 4 * config.code_depth * found.parts else 1
    runs = len(cut.filters) * tiles
    return runs * (found.passes * beats + found.moved + _RUN_CYCLES) + (
        len(cut.filters) * loads * code
    )


def _dense_cuts(config: ArrayConfig, network: Network, layer: Layer) -> Iterator[Cut]:
    """A dense layer sums whole maps: its filters can be cut, and logits added up by the host over
    ranges of channels.
    """
    one = Span(1, 1, 1, 0, 0, 0, 1, 1)
    total, depth = network.shape_of(layer.name)[0], network.shape_of(layer.source)[0]
    logits = network.gives_logits and layer.name == network.output
    for parts in counts(depth) if logits else (1,):
        for count in counts(total):
            cut = Cut(one, one, ranges(total, count), ranges(depth, parts))
            most = max(last - first for first, last in cut.filters)
            if logits and most >= config.result_depth:
                continue
            if _fit_of(config, network, layer, cut) is not None:
                yield cut
                break
