"""How one layer's window moves over its input, and so how its output must be tiled and split."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from plum_hw.config import ArrayConfig
from plum_hw.ir import Add, AvgPool, Conv, Dense, Layer, MaxPool, Network, Shape

from .layout import TensorLayout, Tiling, choose_tiling
from .patch import Patch
from .problems import Refusal

MAX_PHASES = 2


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The window of one layer.

    *Parameters*: ``layer``; ``in_shape``, ``out_shape`` (C, H, W); ``kernel`` and ``padding``
    (vertical, horizontal); ``row_step``, input rows from one output row to the next; ``phases`` of
    columns that the input must be stored in; ``per_filter``: filter k sees channel k alone;
    ``gathered``: the input, which the host writes, is stored once for each kernel column, so that
    they all have the same lane and one drain; ``apart``: the residual is a copy of its own, which
    is smaller than one that a window reads as well; ``local`` (with ``per_filter``): each cluster
    holds only the channels of its own filters; ``reduce``: all lanes are summed (dense
    layers); ``tiling`` of each part of the output as it is computed; ``parts`` of its rows, each
    computed by ``copies`` clusters; ``first`` row and ``count`` of rows: a layer may be computed in
    several regions of rows; ``region``, its number.
    """

    layer: Layer
    in_shape: Shape
    out_shape: Shape
    kernel: tuple[int, int]
    padding: tuple[int, int]
    row_step: int
    phases: int
    per_filter: bool
    reduce: bool
    tiling: Tiling
    parts: int
    copies: int
    first: int
    count: int
    region: int = 0
    gathered: bool = False
    apart: bool = False
    local: bool = False

    @property
    def logits(self) -> bool:
        """Whether the layer pushes 32-bit results instead of writing activations."""
        return isinstance(self.layer, Dense) and self.layer.requant.is_logits

    @property
    def column_stride(self) -> int:
        """Input columns from one output column to the next."""
        return self.layer.stride if isinstance(self.layer, Conv | AvgPool | MaxPool) else 1

    def column(self, column: int) -> tuple[int, int]:
        """Phase and lane offset of a kernel column."""
        if self.gathered:
            return column, 0
        shift, phase = divmod(column - self.padding[1], self.phases)
        return phase, shift

    def source_layout(self) -> TensorLayout:
        """What the window demands of its input's layout (the base is left open)."""
        channels, height, width = self.in_shape
        tiling = self.tiling
        strips = self.parts * tiling.strips
        split = strips > 1 or self.count < self.out_shape[1]
        first = self.row_step * self.first
        rows = self.row_step * tiling.rows if split else height
        below = self.row_step * (tiling.rows - 1) + self.kernel[0] - self.padding[0] - rows
        if self.first + self.count == self.out_shape[1]:
            # Every row is stored somewhere, even one that no window reads, so that each output
            # vector of the producer has something to write.
            below = max(below, height - first - strips * rows)
        return TensorLayout(
            base=0,
            channels=channels,
            height=height,
            width=width,
            phases=self.phases,
            strips=tiling.strips,
            strip_lanes=tiling.strip_lanes,
            rows=rows,
            halo_top=self.padding[0],
            halo_bottom=max(0, below),
            parts=self.parts,
            copies=self.copies,
            shares=self.copies if self.local else 1,
            first=first,
            column_step=self.column_stride if self.gathered else self.phases,
            column_first=-self.padding[1] if self.gathered else 0,
        )

    def residual_layout(self) -> TensorLayout:
        """What the emitter demands of a residual's layout: that of the output as computed."""
        channels, height, width = self.out_shape
        return TensorLayout(
            base=0,
            channels=channels,
            height=height,
            width=width,
            phases=1,
            strips=self.tiling.strips,
            strip_lanes=self.tiling.strip_lanes,
            rows=self.tiling.rows,
            halo_top=0,
            halo_bottom=0,
            parts=self.parts,
            copies=self.copies,
            first=self.first,
        )


def plain_layout(config: ArrayConfig, shape: Shape, layer: str | None) -> TensorLayout:
    """The smallest layout of a tensor that no window reads (dense layers and the host do): whole
    in every cluster.
    """
    channels, height, width = shape
    tiling = choose_tiling(config, height, width)
    if tiling is None:
        raise _too_wide(layer, width, config)
    return TensorLayout(
        base=0,
        channels=channels,
        height=height,
        width=width,
        phases=1,
        strips=tiling.strips,
        strip_lanes=tiling.strip_lanes,
        rows=tiling.rows,
        halo_top=0,
        halo_bottom=0,
        copies=config.clusters,
    )


def _too_wide(layer: str | None, lanes: int, config: ArrayConfig) -> Refusal:
    return Refusal(
        layer,
        f"a row needs {lanes} lanes and the array has {config.lanes}",
        f"use an array of at least {-(-lanes // config.group_lanes) * config.group_lanes} lanes "
        "or a smaller image",
        size=True,
    )


def layer_choices(
    config: ArrayConfig, network: Network, layer: Layer
) -> list[tuple[Geometry, ...]]:
    """The ways to split a layer: into any number of row parts; or into as many parts as there are
    clusters, with the same whole vectors in each, and a second region with the rows that are left,
    which all clusters share by filters. Each of these also with a gathered input if that is the
    network's, or with a residual apart; and where filters see a channel each, with only these
    channels in each cluster.

    Raises `Refusal` if the array cannot hold its rows or reach its columns.
    """
    result: dict[int, tuple[Geometry, ...]] = {}
    for parts in range(1, config.clusters + 1):
        geometry = layer_geometry(config, network, layer, parts)
        result.setdefault(geometry.parts, (geometry,))
    choices = list(result.values())
    whole = result[1][0]
    height, tiling = whole.count, whole.tiling
    vectors = -(-height // tiling.strips)
    if not whole.reduce and vectors > config.clusters and vectors % config.clusters:
        rows = vectors // config.clusters * config.clusters * tiling.strips
        if rows < height:
            first = layer_geometry(config, network, layer, config.clusters, 0, rows)
            rest = layer_geometry(config, network, layer, 1, rows, height - rows)
            choices.append((first, dataclasses.replace(rest, region=1)))
    if whole.per_filter and _only_reader(network, layer):
        choices += [
            (dataclasses.replace(geometry, local=True),)
            for (geometry,) in result.values()
            if geometry.copies > 1
        ]
    if not whole.gathered and _may_gather(network, layer, whole.kernel[1]):
        choices += [tuple(_gathered(geometry) for geometry in choice) for choice in choices]
    if layer.residual_source is not None:
        choices += [
            tuple(dataclasses.replace(geometry, apart=True) for geometry in choice)
            for choice in choices
        ]
    return choices


def _only_reader(network: Network, layer: Layer) -> bool:
    """Whether a layer alone reads its input, and nothing else."""
    source = layer.source
    others = [other for other in network.layers if source in other.inputs]
    made_by = [other for other in network.layers if other.name == source]
    return (
        others == [layer]
        and len(layer.inputs) == 1
        and source != network.output
        and not any(isinstance(other, Dense) for other in made_by)
    )


def _may_gather(network: Network, layer: Layer, columns: int) -> bool:
    """Whether the host can write a layer's input once for each kernel column."""
    return (
        network.is_input(layer.source)
        and columns > 1
        and isinstance(layer, Conv)
        and not layer.depthwise
    )


def _gathered(geometry: Geometry) -> Geometry:
    return dataclasses.replace(geometry, gathered=True, phases=geometry.kernel[1])


def layer_geometry(
    config: ArrayConfig,
    network: Network,
    layer: Layer,
    parts: int = 1,
    first: int = 0,
    count: int | None = None,
) -> Geometry:
    """Geometry of one layer; `Refusal` if the array cannot hold its rows or reach its columns.

    parts : row parts to split it into; fewer where that many would leave some without a row
    first, count : rows of the output, if not all
    """
    in_shape, out_shape = network.shape_of(layer.source), network.shape_of(layer.name)
    if isinstance(layer, Dense):
        # On a map of one pixel a dense layer is a convolution and needs no sum over the lanes.
        # Logits leave the array through that sum only.
        reduce = layer.requant.is_logits or in_shape[1:] != (1, 1)
        plain_layout(config, in_shape, layer.name)  # refuses rows that are too wide
        one = Tiling(strips=1, strip_lanes=config.group_lanes, rows=1)
        return Geometry(
            layer=layer,
            in_shape=in_shape,
            out_shape=out_shape,
            kernel=(1, 1),
            padding=(0, 0),
            row_step=1,
            phases=1,
            per_filter=False,
            reduce=reduce,
            tiling=one,
            parts=1,
            copies=config.clusters,
            first=0,
            count=1,
        )
    kernel, padding, stride = (1, 1), (0, 0), 1
    if isinstance(layer, Conv | AvgPool | MaxPool):
        kernel, padding, stride = layer.kernel, layer.padding, layer.stride
    gathered = False
    try:
        phases = _choose_phases(config, layer, kernel[1], padding[1], stride, out_shape[2])
        lanes = max(out_shape[2], -(-in_shape[2] // phases))
    except Refusal:
        # Gathered columns need no reach.
        if not _may_gather(network, layer, kernel[1]):
            raise
        phases, lanes, gathered = kernel[1], out_shape[2], True
    count = out_shape[1] if count is None else count
    tiling = choose_tiling(config, -(-count // parts), lanes)
    if tiling is None:
        raise _too_wide(layer.name, lanes, config)
    parts = -(-count // (tiling.strips * tiling.rows))
    return Geometry(
        layer=layer,
        in_shape=in_shape,
        out_shape=out_shape,
        kernel=kernel,
        padding=padding,
        row_step=layer.row_stride if isinstance(layer, Patch) else stride,
        phases=phases,
        per_filter=isinstance(layer, AvgPool | MaxPool | Add)
        or (isinstance(layer, Conv) and layer.depthwise),
        reduce=False,
        tiling=tiling,
        parts=parts,
        copies=config.clusters // parts,
        first=first,
        count=count,
        gathered=gathered,
    )


def _choose_phases(
    config: ArrayConfig, layer: Layer, columns: int, padding: int, stride: int, width: int
) -> int:
    """Column phases of the input: the stride, or what reaches furthest for a single column."""
    choices = (stride,) if width > 1 else (1, MAX_PHASES)
    if choices[0] > MAX_PHASES:
        raise Refusal(
            layer.name,
            f"stride is {stride}",
            f"strides up to {MAX_PHASES} are supported where the output is wider than one pixel",
        )
    for phases in choices:
        reach = max(-(-padding // phases), (columns - 1 - padding) // phases)
        if reach <= config.reach:
            return phases
    raise Refusal(
        layer.name,
        f"its kernel columns reach {reach} lanes and the array's drain reaches {config.reach}",
        f"use a narrower kernel or an array with reach {reach}"
        if reach <= 7
        else "use a narrower kernel, or a dense layer, which sums whole maps",
        size=isinstance(layer, Conv) and not layer.depthwise,
    )
