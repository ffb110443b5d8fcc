"""Pieces of a layer as networks of their own, which the host puts together.

A layer that the memories cannot hold is computed in tiles of output rows (and columns) and ranges
of filters: each is a network of one layer, whose input the host cuts from its maps with the rows
and columns around it. All tiles of a layer have one shape, so that they share program and maps; the
last of them reach back. Ref: docs/architecture.md, "Pieces".
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_host.steps import Place
from plum_hw.ir import (
    Add,
    AvgPool,
    Conv,
    Dense,
    InputSpec,
    Layer,
    MaxPool,
    Network,
    Requant,
    RequantLayer,
    Shape,
    WeightLayer,
)

Array = NDArray[np.int64]
Range = tuple[int, int]

#: Names of a piece's inputs.
INPUT, RESIDUAL = "input", "residual"


@dataclass(frozen=True)
class Span:
    """How the output rows, or columns, of a layer are cut.

    *Members*: ``size`` of a tile; ``count`` of tiles; ``inputs``, input rows that a tile reads;
    ``padding`` that the tile's own layer has; ``skip``, outputs at the beginning of a tile that are
    not kept; ``before``, input rows that the first tile reads ahead of the map; ``step``, input
    rows from one output row to the next; ``total`` of outputs; ``spacing`` of the input rows that
    a tile reads: the host leaves out what a strided layer of single pixels does not see.
    """

    size: int
    count: int
    inputs: int
    padding: int
    skip: int
    before: int
    step: int
    total: int
    spacing: int = 1

    @property
    def starts(self) -> list[int]:
        """First output of each tile."""
        return [min(number * self.size, self.total - self.size) for number in range(self.count)]

    @property
    def places(self) -> list[tuple[int, int]]:
        """First output of each tile, and the first input that it reads."""
        return [(start, self.step * start - self.before) for start in self.starts]

    def margins(self, length: int) -> tuple[int, int]:
        """Zeros that the host keeps before and after a map of so many rows."""
        end = self.step * self.starts[-1] - self.before + self.spacing * (self.inputs - 1) + 1
        return self.before, max(0, end - length)


def cut_rows(layer: Layer, out_rows: int, count: int) -> Span:
    """Rows in ``count`` tiles or fewer. Kernel rows are offsets of addresses, so a tile holds all
    rows that it reads and needs no padding.
    """
    kernel, padding, stride = window_of(layer, 0)
    size = -(-out_rows // count)
    if is_thin(layer):
        return dataclasses.replace(pixels(out_rows, size), step=stride, spacing=stride)
    inputs = stride * (size - 1) + kernel
    return Span(size, -(-out_rows // size), inputs, 0, 0, padding, stride, out_rows)


def cut_columns(layer: Layer, in_columns: int, out_columns: int, lanes: int) -> Span | None:
    """All columns, or as few tiles of them as the lanes allow; None if not even one fits.

    Kernel columns are lanes: a tile has the layer's padding, and the outputs that see it in place
    of the map are not kept.
    """
    kernel, padding, stride = window_of(layer, 1)
    if is_thin(layer):
        return dataclasses.replace(pixels(out_columns, lanes), step=stride, spacing=stride)
    if max(out_columns, -(-in_columns // min(stride, 2))) <= lanes:
        return Span(out_columns, 1, in_columns, padding, 0, 0, stride, out_columns)
    skip = -(-padding // stride)
    for count in range(1, out_columns + 1):
        size = -(-out_columns // count)
        inputs = stride * (size - 1 + skip) - padding + kernel
        made = (inputs + 2 * padding - kernel) // stride + 1
        if max(made, -(-inputs // min(stride, 2))) <= lanes:
            count = -(-out_columns // size)
            return Span(size, count, inputs, padding, skip, stride * skip, stride, out_columns)
    return None


def is_thin(layer: Layer) -> bool:
    """Whether a layer sees single pixels, and not all of them."""
    return (
        isinstance(layer, Conv | AvgPool | MaxPool) and layer.kernel == (1, 1) and layer.stride > 1
    )


def window_of(layer: Layer, axis: int) -> tuple[int, int, int]:
    """Kernel, padding and stride, vertical (0) or horizontal (1)."""
    if isinstance(layer, Conv | AvgPool | MaxPool):
        return layer.kernel[axis], layer.padding[axis], layer.stride
    return 1, 0, 1


@dataclass(frozen=True)
class Cut:
    """How a layer is cut. *Members*: ``rows``, ``columns``; ``filters``, ranges of them;
    ``channels``, ranges of input channels that are added up apart (one: all together).
    """

    rows: Span
    columns: Span
    filters: tuple[Range, ...]
    channels: tuple[Range, ...]


@dataclass(frozen=True)
class Run:
    """Where one tile lies in host memory: what is added to the places of its piece.
    *Members*: ``inputs``, by their names; ``output``.
    """

    inputs: dict[str, int]
    output: int


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One network that the array runs for one or more tiles.

    *Members*: ``network``; ``sources``, for each input the place in host memory of each element,
    int64 (C, H, W), -1 for zeros; ``output``, those of the outputs, -1 for those that are not kept;
    ``runs``.
    """

    network: Network
    sources: dict[str, Array]
    output: Array
    runs: tuple[Run, ...]


def ranges(total: int, count: int) -> tuple[Range, ...]:
    """Ranges of as equal length as can be."""
    edges = [total * number // count for number in range(count + 1)]
    return tuple(pairwise(edges))


def counts(total: int) -> list[int]:
    """Numbers of ranges to try: 1, 2, 3, 4, 6, 8, 12, ... and as many as there are."""
    found = [1]
    step = 1
    while found[-1] < total:
        found += [2 * step, 3 * step]
        step *= 2
    return sorted({min(count, total) for count in found})


def pixels(total: int, size: int) -> Span:
    """Rows, or columns, of a layer that sees pixel by pixel, at most ``size`` in a tile."""
    count = -(-total // size)
    size = -(-total // count)
    return Span(size, -(-total // size), size, 0, 0, 0, 1, total)


def per_channel(layer: Layer) -> bool:
    """Whether an output channel depends on the input channel of its number alone."""
    return isinstance(layer, AvgPool | MaxPool | Add) or (
        isinstance(layer, Conv) and layer.depthwise
    )


def grid(shape: Shape, pitch: tuple[int, int, int], first: int = 0) -> Array:
    """Places of the elements of a box: ``first + c*pitch[0] + y*pitch[1] + x*pitch[2]``."""
    parts = [np.arange(size) * step for size, step in zip(shape, pitch, strict=True)]
    return np.asarray(
        first + parts[0][:, None, None] + parts[1][:, None] + parts[2], dtype=np.int64
    )


def sliced_requant(requant: Requant, first: int, last: int) -> Requant:
    """Constants of some filters."""

    def some(values: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if values is None else values[first:last]

    return dataclasses.replace(
        requant,
        scale=requant.scale[first:last],
        bias=requant.bias[first:last],
        window=some(requant.window),
        residual=some(requant.residual),
    )


def sliced_layer(
    layer: Layer, name: str, filters: Range, columns: Span, channels: Range | None
) -> Layer:
    """The layer of a tile, for some filters (and of logits for some channels: the first ones bring
    the bias along).
    """
    first, last = filters
    inputs = (INPUT, RESIDUAL)[: len(layer.inputs)]
    changes: dict[str, Any] = {"name": name, "inputs": inputs}
    if isinstance(layer, RequantLayer):
        changes["requant"] = sliced_requant(layer.requant, first, last)
    if isinstance(layer, WeightLayer):
        changes["weight"] = layer.weight[first:last]
    if isinstance(layer, Dense) and channels is not None:
        changes["weight"] = changes["weight"][:, channels[0] : channels[1]]
        if channels[0]:
            nothing = np.zeros_like(changes["requant"].bias)
            changes["requant"] = dataclasses.replace(changes["requant"], bias=nothing)
    if isinstance(layer, Conv | AvgPool | MaxPool):
        changes["padding"] = (0, columns.padding)
        changes["stride"] = 1 if is_thin(layer) else layer.stride
    if isinstance(layer, Conv) and layer.depthwise:
        changes["groups"] = last - first
    return dataclasses.replace(layer, **changes)


def input_specs(network: Network, layer: Layer, shapes: Sequence[Shape]) -> list[InputSpec]:
    """Inputs of a piece of a layer."""
    return [
        InputSpec(name=name, shape=shape, bits=network.bits_of(tensor))
        for name, shape, tensor in zip((INPUT, RESIDUAL), shapes, layer.inputs, strict=False)
    ]


def tile_shapes(network: Network, layer: Layer, cut: Cut, filters: Range) -> list[Shape]:
    """Shapes of the inputs of a tile, and of its output last."""
    channels = network.shape_of(layer.source)[0]
    count = filters[1] - filters[0]
    kernel, padding, stride = window_of(layer, 1)
    stride = 1 if is_thin(layer) else stride
    made = (cut.columns.inputs + 2 * padding - kernel) // stride + 1
    if isinstance(layer, Dense) and network.shape_of(layer.source)[1:] != (1, 1):
        depth = max(last - first for first, last in cut.channels)
        return [(depth, *network.shape_of(layer.source)[1:]), (count, 1, 1)]
    shapes = [(count if per_channel(layer) else channels, cut.rows.inputs, cut.columns.inputs)]
    if layer.residual_source is not None:
        shapes.append((count, cut.rows.size, made))
    return [*shapes, (count, cut.rows.size, made)]


def shape_probe(
    network: Network,
    layer: Layer,
    specs: Sequence[InputSpec],
    output: Shape,
    columns: Span | None = None,
) -> tuple[Network, Layer]:
    """A network of one layer that has shapes and no values: all that placement asks for, and made
    in no time. ``columns``: of a tile; None for the layer as it is.
    """
    one = copy.copy(layer)
    object.__setattr__(one, "inputs", tuple(spec.name for spec in specs))
    if columns is not None and isinstance(layer, Conv | AvgPool | MaxPool):
        object.__setattr__(one, "padding", (0, columns.padding))
        object.__setattr__(one, "stride", 1 if is_thin(layer) else layer.stride)
    if isinstance(layer, WeightLayer):
        weight = layer.weight
        shape = (output[0], *weight.shape[1:])
        if isinstance(layer, Conv) and not layer.depthwise:
            shape = (output[0], specs[0].shape[0], *weight.shape[2:])
        object.__setattr__(one, "weight", np.broadcast_to(weight.ravel()[:1], shape).reshape(shape))
    probe = copy.copy(network)
    for attribute, value in {
        "input": specs[0],
        "extra_inputs": tuple(specs[1:]),
        "layers": (one,),
        "output": layer.name,
        "_shapes": {spec.name: spec.shape for spec in specs} | {layer.name: output},
        "_bits": {spec.name: spec.bits for spec in specs}
        | {layer.name: layer.output_bits(specs[0].bits)},
    }.items():
        object.__setattr__(probe, attribute, value)
    return probe, one


def tile_piece(
    network: Network,
    layer: Layer,
    cut: Cut,
    filters: Range,
    source: Place,
    residual: Place | None,
    output: Place,
    channels: Range | None = None,
) -> Piece:
    """The tiles of some filters of a layer. ``output`` of logits is of no use and not looked at;
    they may be of some ``channels``.
    """
    first, last = filters
    *inputs, made = tile_shapes(network, layer, cut, filters)
    whole = last - first == network.shape_of(layer.name)[0]
    name = layer.name[:36] + (".tile" if whole else f".f{first}-{last}")
    if channels is not None:
        name += f".c{channels[0]}-{channels[1]}"
        inputs[0] = (channels[1] - channels[0], *inputs[0][1:])
    specs = input_specs(network, layer, inputs)
    one = sliced_layer(layer, name, filters, cut.columns, channels)
    piece = Network(
        name="piece", input=specs[0], extra_inputs=tuple(specs[1:]), layers=(one,), output=name
    )
    rows, columns = cut.rows, cut.columns
    plane, pitch = source.pitch
    sources = {INPUT: grid(inputs[0], (plane, rows.spacing * pitch, columns.spacing))}
    kept = np.full(made, -1, np.int64)
    box = slice(columns.skip, columns.skip + columns.size)
    kept[:, :, box] = grid((made[0], made[1], columns.size), (*output.pitch, 1))
    if residual is not None:
        held = np.full(inputs[1], -1, np.int64)
        held[:, :, box] = grid((*inputs[1][:2], columns.size), (*residual.pitch, 1))
        sources[RESIDUAL] = held
    channel = first if per_channel(layer) else 0 if channels is None else channels[0]
    runs = []
    for y, y_in in rows.places:
        for x, x_in in columns.places:
            places = {INPUT: source.index(channel, y_in, x_in)}
            if residual is not None:
                places[RESIDUAL] = residual.index(first, y, x)
            runs.append(Run(places, output.index(first, y, x)))
    return Piece(network=piece, sources=sources, output=kept, runs=tuple(runs))
