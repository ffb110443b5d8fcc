"""A layer's weights as the array walks them: kernel columns of runs of consecutive addresses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plum_hw.ir import Add, AvgPool, Conv, Dense, Layer, MaxPool, WeightLayer

from .geometry import Geometry
from .layout import TensorLayout
from .patch import Patch


@dataclass(frozen=True)
class Run:
    """Weights of consecutive addresses.

    *Members*: ``offset`` of the first address from the window; ``weights`` int64 [filters, length].
    """

    offset: int
    weights: NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """What is drained together. *Members*: lane offset ``shift``; ``runs``."""

    shift: int
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Weights:
    """All weights of a layer as sums of unsigned groups.

    *Members*: ``filters``; ``columns``, each run with the weights of them all (of one if they are
    ``shared``); ``maximum``: columns are compared, not added; ``window_columns``, what the window
    sum counts, where it is wanted too; ``wraps``, see `Patch`.
    """

    filters: int
    columns: tuple[Column, ...]
    shared: bool
    maximum: bool
    window_columns: tuple[Column, ...] = ()
    wraps: bool = False

    @property
    def window(self) -> bool:
        """Whether there is a window sum."""
        return bool(self.window_columns)


def flipped_filters(layer: Layer, filters: int) -> NDArray[np.bool_]:
    """Filters without positive weights, bool [filters]: they are stored negated, and so must their
    scale be. So filters of one sign each need one sign group, whatever their scheme is called.
    """
    if not isinstance(layer, WeightLayer):
        return np.zeros(filters, bool)
    flat = layer.weight.reshape(filters, -1)
    flipped: NDArray[np.bool_] = (flat.max(axis=1) <= 0) & (flat.min(axis=1) < 0)
    return flipped


def layer_weights(geometry: Geometry, source: TensorLayout) -> Weights:
    """The weights of a layer whose input has the layout ``source``."""
    layer = geometry.layer
    filters = geometry.out_shape[0]
    if not isinstance(layer, WeightLayer):
        assert isinstance(layer, AvgPool | MaxPool | Add)
        maximum = isinstance(layer, MaxPool)
        ones = np.ones((1, 1, *geometry.kernel), np.int64)
        columns = _window_columns(geometry, source, ones)
        if maximum:
            columns = tuple(
                Column(column.shift, (run,)) for column in columns for run in column.runs
            )
        return Weights(filters, columns, shared=True, maximum=maximum)

    weight = layer.weight.astype(np.int64)
    weight[flipped_filters(layer, filters)] *= -1
    if geometry.reduce:
        columns = _dense_columns(source, weight)
    else:
        assert isinstance(layer, Conv | Dense)
        columns = _window_columns(
            geometry, source, weight.reshape(*weight.shape[:2], *geometry.kernel)
        )
    window: tuple[Column, ...] = ()
    if layer.requant.window is not None and isinstance(layer, Patch):
        assert layer.window_weight is not None
        counts = np.zeros((1, *layer.weight.shape[1:]), np.int64)
        counts[0, :, 0, layer.padding[1]] = layer.window_weight
        window = _window_columns(geometry, source, counts)
    elif layer.requant.window is not None:
        window = all_ones(columns)
    return Weights(
        filters,
        columns,
        shared=False,
        maximum=False,
        window_columns=window,
        wraps=isinstance(layer, Patch) and layer.wraps,
    )


def all_ones(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The filter that counts every input once."""
    return tuple(
        Column(
            column.shift,
            tuple(Run(run.offset, np.ones_like(run.weights[:1])) for run in column.runs),
        )
        for column in columns
    )


def _window_columns(
    geometry: Geometry, source: TensorLayout, weight: NDArray[np.int64]
) -> tuple[Column, ...]:
    """Kernel columns of ``weight`` [filters, channels, rows, columns].

    All channels of all rows follow one another in memory; a single channel has a run per row.
    """
    columns = []
    for index in range(weight.shape[3]):
        phase, shift = geometry.column(index)
        start = phase * source.phase_pitch
        part = weight[:, :, :, index].transpose(0, 2, 1)  # [filters, rows, channels]
        if geometry.per_filter:
            runs = tuple(
                Run(start + row * source.held, part[:, row]) for row in range(part.shape[1])
            )
        else:
            runs = (Run(start, part.reshape(len(part), -1)),)
        columns.append(Column(shift, runs))
    if geometry.gathered:
        return (Column(0, tuple(run for column in columns for run in column.runs)),)
    return tuple(columns)


def _dense_columns(source: TensorLayout, weight: NDArray[np.int64]) -> tuple[Column, ...]:
    """One column with a run of all channels for each row of the strips: the same weights each."""
    runs = tuple(
        Run(phase * source.phase_pitch + row * source.held, weight)
        for phase in range(source.phases)
        for row in range(source.rows)
    )
    return (Column(0, runs),)
