"""Layers whose window over all input channels fits no memory: sums over ranges of channels.

For every range the array gives each filter's sum as bytes: filters with the same weights, whose
additions a pair shares, one with the lowest byte of the sum, one with the next. A last layer adds
the bytes of all ranges up, with weights 1 and 256, and requantizes; for a window sum there is one
more filter, of ones. All of it is exact.

Where two bytes hold no sensible range of channels there are three, those of the sum in two's
complement. Then the last layer's sums are right modulo 2**24, and so is what the drain accumulators
keep of them: they wrap on the way, and end where the layer's own sum would be.
Ref: docs/architecture.md, "Pieces".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from plum_host.steps import Place
from plum_hw.config import SHIFTS, ArrayConfig
from plum_hw.ir import Conv, Dense, InputSpec, Layer, Network, Requant, WeightLayer

from .patch import Patch
from .pieces import (
    INPUT,
    RESIDUAL,
    Array,
    Cut,
    Piece,
    Range,
    Run,
    Span,
    counts,
    cut_columns,
    grid,
    is_thin,
    pixels,
    ranges,
    sliced_requant,
    window_of,
)
from .problems import Refusal
from .tiling import fit

_BYTE = 8
#: What two bytes hold.
_LIMIT = (1 << 2 * _BYTE) - 1
#: Indices into `SHIFTS` by the number of bytes: scales bring each byte to where a shift leaves it.
_SHIFT = {2: 0, 3: 1}
#: Of the input, the bytes of the sums, the residual and the output.
Places = tuple[Place, Place, Place | None, Place]


@dataclass(frozen=True)
class Split:
    """How a layer is split.

    *Members*: ``channels``, ranges of input channels; ``weight`` int64 [filters, C, R, S], with the
    filter of ones last if there is a window sum; ``offsets`` int64 [ranges, filters], what is added
    to each sum of two bytes so that none is negative; ``sums``, how the layers that add up a range
    are cut; ``total``, how the last layer is; ``bytes`` of a sum.
    """

    channels: tuple[Range, ...]
    weight: Array
    offsets: Array
    sums: Cut
    total: Cut
    bytes: int = 2


def _weights(count: int) -> tuple[int, ...]:
    """Weights that put the bytes of a sum together again."""
    return tuple(1 << _BYTE * number for number in range(count))


def can_split(layer: Layer) -> bool:
    """Whether a layer adds up channels and gives activations."""
    if isinstance(layer, Dense):
        return not layer.requant.is_logits
    return isinstance(layer, Conv) and not layer.depthwise


def choose_split(config: ArrayConfig, network: Network, layer: WeightLayer) -> Split:
    """The split with the fewest ranges that fits. Raises `Refusal` if there is none."""
    weight = layer.weight.astype(np.int64)
    if weight.ndim == 2:
        weight = weight[:, :, None, None]
    if layer.requant.window is not None:
        weight = np.concatenate([weight, np.ones_like(weight[:1])])
    peak = (1 << network.bits_of(layer.source)) - 1
    positive = peak * np.maximum(weight, 0).sum(axis=(2, 3))
    negative = peak * np.maximum(-weight, 0).sum(axis=(2, 3))
    tries = ((each, count) for each in _SHIFT for count in range(2, weight.shape[1] + 1))
    for each, count in tries:
        if config.act_bits < _BYTE or each * count >= config.act_depth:
            continue
        split = ranges(weight.shape[1], count)
        if not _bytes_hold(config, split, each, positive, negative):
            continue
        sums = _sums_cut(config, network, layer, split, weight, each)
        last_cut = None if sums is None else _total_cut(config, network, layer, count, each)
        if sums is not None and last_cut is not None:
            low = [negative[:, first:last].sum(axis=1) * (each == 2) for first, last in split]
            return Split(split, weight, np.stack(low), sums, last_cut, each)
    window = weight.shape[1] * weight.shape[2]
    raise Refusal(
        layer.name,
        f"one window needs {window} vectors of activation memory, which has {config.act_depth}, "
        "and sums over fewer channels, of two or three bytes each, do not fit either",
        f"use an array with act_depth of more than {window}, as a power of two",
    )


def _bytes_hold(
    config: ArrayConfig, split: tuple[Range, ...], count: int, positive: Array, negative: Array
) -> bool:
    """Whether so many bytes hold the sums of all ranges, which reach from -negative to positive,
    int64 [filters, channels].
    """
    if count == 2:
        both = positive + negative
        return all(both[:, first:last].sum(axis=1).max() <= _LIMIT for first, last in split)
    # What wraps must have come back in the end.
    limit = 1 << (min(config.sum_bits, _BYTE * count) - 1)
    return bool(max(positive.sum(axis=1).max(), negative.sum(axis=1).max()) < limit)


# ---- how it is cut -------------------------------------------------------------------------------


def _sums_cut(
    config: ArrayConfig,
    network: Network,
    layer: WeightLayer,
    split: tuple[Range, ...],
    weight: Array,
    each: int,
) -> Cut | None:
    """Ranges of filters, the window's with them, and rows; single kernel rows come as channels."""
    in_columns = network.shape_of(layer.source)[2]
    _, out_rows, out_columns = network.shape_of(layer.name)
    columns = cut_columns(layer, in_columns, out_columns, config.lanes)
    if columns is None:
        return None
    channels = max(last - first for first, last in split) * weight.shape[2]
    probe = _sum_layer(layer, "sums", np.zeros((1, channels, 1, weight.shape[3]), np.int64), each)
    bits = network.bits_of(layer.source)

    def fits(rows: Span, filters: int) -> bool:
        spec = InputSpec(name=INPUT, shape=(channels, rows.size, columns.inputs), bits=bits)
        return _fits(config, network, probe, [spec], each * filters)

    kernel, padding, stride = window_of(layer, 0)
    found = _fewest(out_rows, len(weight), fits)
    if found is None:
        return None
    rows, filters = found
    # Every row of the kernel is looked up by itself, from `before` rows above the map on.
    rows = Span(rows.size, rows.count, kernel, 0, 0, padding, stride, out_rows)
    return Cut(rows, columns, filters, split)


def _total_cut(
    config: ArrayConfig, network: Network, layer: WeightLayer, split: int, each: int
) -> Cut | None:
    """Ranges of filters and rows of the layer that adds up bytes, which are its channels."""
    filters, out_rows, out_columns = network.shape_of(layer.name)
    window = layer.requant.window is not None
    columns = pixels(out_columns, config.lanes)
    residual = layer.residual_source

    def fits(rows: Span, count: int) -> bool:
        channels = each * split * (count + window)
        if channels >= config.act_depth:
            return False
        shape = (rows.size, columns.size)
        specs = [InputSpec(name=INPUT, shape=(channels, *shape), bits=_BYTE)]
        if residual is not None:
            bits = network.bits_of(residual)
            specs.append(InputSpec(name=RESIDUAL, shape=(count, *shape), bits=bits))
        probe = _total_layer(layer, "total", (0, 1), np.zeros((1, 1), np.int64), each)
        return _fits(config, network, probe, specs, count)

    found = _fewest(out_rows, filters, fits)
    return None if found is None else Cut(found[0], columns, found[1], ())


def _fits(
    config: ArrayConfig, network: Network, probe: Patch, specs: list[InputSpec], filters: int
) -> bool:
    shape = (filters, *probe.output_shape((probe.weight.shape[1], *specs[0].shape[1:]))[1:])
    return fit(config, network, probe, specs, shape) is not None


def _fewest(
    out_rows: int, filters: int, fits: Callable[[Span, int], bool]
) -> tuple[Span, tuple[Range, ...]] | None:
    """Rows and filters of the fewest pieces that fit."""
    best: tuple[int, Span, tuple[Range, ...]] | None = None
    for count in counts(filters):
        split = ranges(filters, count)
        most = max(last - first for first, last in split)
        for size in range(out_rows, 0, -1):
            rows = pixels(out_rows, size)
            if rows.size == size and fits(rows, most):
                if best is None or count * rows.count < best[0]:
                    best = (count * rows.count, rows, split)
                break
    return None if best is None else best[1:]


# ---- the pieces ----------------------------------------------------------------------------------


def _sum_layer(
    layer: WeightLayer, name: str, weight: Array, count: int, offsets: Array | None = None
) -> Patch:
    """The ``count`` bytes of sums: ``weight`` [filters, channels, 1, columns]."""
    filters, _, _, width = weight.shape
    offsets = np.zeros(filters, np.int64) if offsets is None else offsets
    stride, padding = 1, 0
    if isinstance(layer, Conv):
        stride, padding = 1 if is_thin(layer) else layer.stride, layer.padding[1]
    shift = SHIFTS[_SHIFT[count]]
    half = 1 << (shift - 1)
    scales = [1 << (shift - _BYTE * number) for number in range(count)]
    scale = np.tile(np.array(scales, np.int32), filters)
    return Patch(
        name=name,
        inputs=(INPUT,),
        weight=np.repeat(weight, count, axis=0).astype(np.int32),
        scheme="int",
        weight_bits=8,
        stride=stride,
        padding=(0, min(padding, width - 1)),
        low_bits=True,
        requant=Requant(
            scale=scale,
            # The requantizer rounds by adding a half: here nothing is to be rounded.
            bias=np.repeat(offsets, count) * scale - half,
            shift=shift,
            out_bits=_BYTE,
        ),
    )


def _total_layer(layer: WeightLayer, name: str, filters: Range, offsets: Array, each: int) -> Patch:
    """The layer itself, of sums of ``each`` bytes: ``offsets`` [ranges, filters of the split]."""
    first, last = filters
    count, split = last - first, len(offsets)
    requant = sliced_requant(layer.requant, first, last)
    window = requant.window
    channels = each * split * (count + (window is not None))
    # Channel (range, filter, byte), the filter of ones last.
    weight = np.zeros((count, split, count + (window is not None), each), np.int32)
    weight[np.arange(count), :, np.arange(count)] = _weights(each)
    bias = requant.bias - requant.scale.astype(np.int64) * offsets[:, first:last].sum(axis=0)
    window_weight = None
    if window is not None:
        counted = np.zeros((split, count + 1, each), np.int32)
        counted[:, -1] = _weights(each)
        window_weight = counted.reshape(channels)
    return Patch(
        name=name,
        inputs=(INPUT, RESIDUAL)[: len(layer.inputs)],
        weight=weight.reshape(count, channels, 1, 1),
        scheme="int",
        weight_bits=8,
        window_weight=window_weight,
        wraps=each > 2,
        requant=Requant(
            scale=requant.scale,
            bias=bias,
            window=window,
            residual=requant.residual,
            shift=requant.shift,
            out_bits=requant.out_bits,
        ),
    )


def split_pieces(
    network: Network, layer: WeightLayer, split: Split, places: Places
) -> Iterator[tuple[Piece, int]]:
    """The pieces of a layer in their order, each with its multiply-accumulates.

    places : of the input, the bytes of the sums, the residual (or None) and the output
    """
    source, sums, residual, output = places
    for number, channels in enumerate(split.channels):
        for filters in split.sums.filters:
            yield _sums_piece(network, layer, split, number, channels, filters, source, sums)
    for filters in split.total.filters:
        yield _total_piece(network, layer, split, filters, sums, residual, output), 0


def sums_shape(network: Network, layer: WeightLayer, split: Split) -> tuple[int, int, int]:
    """Shape of the bytes of all sums in host memory: channel (range, filter, byte)."""
    filters = split.weight.shape[0]
    return (split.bytes * len(split.channels) * filters, *network.shape_of(layer.name)[1:])


def _sums_piece(
    network: Network,
    layer: WeightLayer,
    split: Split,
    number: int,
    channels: Range,
    filters: Range,
    source: Place,
    sums: Place,
) -> tuple[Piece, int]:
    rows, columns = split.sums.rows, split.sums.columns
    weight = split.weight[filters[0] : filters[1], channels[0] : channels[1]]
    count, depth, kernel, width = weight.shape
    # Channel (row of the kernel, channel).
    flat = weight.transpose(0, 2, 1, 3).reshape(count, kernel * depth, 1, width)
    name = f"{layer.name[:36]}.c{channels[0]}-{channels[1]}.f{filters[0]}-{filters[1]}"
    offsets = split.offsets[number, filters[0] : filters[1]]
    one = _sum_layer(layer, name, flat, split.bytes, offsets)
    shape = (kernel * depth, rows.size, columns.inputs)
    spec = InputSpec(name=INPUT, shape=shape, bits=network.bits_of(layer.source))
    piece = Network(name="piece", input=spec, layers=(one,), output=name)
    plane, pitch = source.pitch
    looked_up = np.concatenate(
        [
            grid(
                (depth, rows.size, columns.inputs),
                (plane, rows.step * pitch, columns.spacing),
                row * pitch,
            )
            for row in range(kernel)
        ]
    )
    made = piece.shape_of(name)
    kept = np.full(made, -1, np.int64)
    plane_out, pitch_out = sums.pitch
    box = (split.bytes * count, rows.size, columns.size)
    kept[:, :, columns.skip : columns.skip + columns.size] = grid(box, (plane_out, pitch_out, 1))
    first = split.bytes * (number * len(split.weight) + filters[0])
    runs = tuple(
        Run(
            {INPUT: source.index(channels[0], rows.step * y - rows.before, x_in)},
            sums.index(first, y, x),
        )
        for y in rows.starts
        for x, x_in in columns.places
    )
    real = min(filters[1], layer.filters) - filters[0]
    _, height, out_width = network.shape_of(layer.name)
    macs = real * depth * kernel * width * height * out_width
    return Piece(network=piece, sources={INPUT: looked_up}, output=kept, runs=runs), macs


def _total_piece(
    network: Network,
    layer: WeightLayer,
    split: Split,
    filters: Range,
    sums: Place,
    residual: Place | None,
    output: Place,
) -> Piece:
    rows, columns = split.total.rows, split.total.columns
    first, last = filters
    count, parts, stored = last - first, len(split.channels), len(split.weight)
    name = f"{layer.name[:36]}.sum.f{first}-{last}"
    one = _total_layer(layer, name, filters, split.offsets, split.bytes)
    # The filters' own bytes, and those of the filter of ones.
    wanted = [*range(first, last), *range(layer.filters, stored)]
    numbers = [
        split.bytes * (part * stored + number) + byte
        for part in range(parts)
        for number in wanted
        for byte in range(split.bytes)
    ]
    plane, pitch = sums.pitch
    box = (rows.size, columns.size)
    looked_up = grid((1, *box), (0, pitch, 1)) + plane * np.array(numbers)[:, None, None]
    sources = {INPUT: looked_up}
    specs = [InputSpec(name=INPUT, shape=(len(numbers), *box), bits=_BYTE)]
    if residual is not None and layer.residual_source is not None:
        plane_in, pitch_in = residual.pitch
        sources[RESIDUAL] = grid((count, *box), (plane_in, pitch_in, 1))
        bits = network.bits_of(layer.residual_source)
        specs.append(InputSpec(name=RESIDUAL, shape=(count, *box), bits=bits))
    piece = Network(
        name="piece", input=specs[0], extra_inputs=tuple(specs[1:]), layers=(one,), output=name
    )
    plane_out, pitch_out = output.pitch
    runs = []
    for y in rows.starts:
        for x in columns.starts:
            inputs = {INPUT: sums.index(0, y, x)}
            if residual is not None:
                inputs[RESIDUAL] = residual.index(first, y, x)
            runs.append(Run(inputs, output.index(first, y, x)))
    kept = grid((count, *box), (plane_out, pitch_out, 1))
    return Piece(network=piece, sources=sources, output=kept, runs=tuple(runs))
