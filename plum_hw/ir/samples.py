"""What layers give for sample images, while their requantization constants are still to be found.

`plum_hw.ir.random` and `plum_hw.zoo` draw constants from it, so that outputs are neither all zero
nor all saturated. Plain and slow; the exact evaluation is `plum_hw.golden.reference`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layers import AvgPool, Conv, Dense, InputSpec, Layer, MaxPool, RequantLayer

#: Shifts that every array has. Ref: docs/network-file.md, "Requantization"
SHIFTS = (12, 16, 20, 24)
#: Largest |m|, |n|, |r|, and largest |b|, that every array takes.
MAX_FACTOR = (1 << 17) - 1
MAX_BIAS = (1 << 43) - 1


def _taps(
    x: NDArray[Any], kernel: tuple[int, int], stride: int, padding: tuple[int, int]
) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """For each kernel position, what it reads for all outputs."""
    sides = ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)
    padded = np.pad(x.astype(np.float64), sides)
    high = padded.shape[2] - kernel[0] + 1
    wide = padded.shape[3] - kernel[1] + 1
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            yield r, s, padded[:, :, r : r + high : stride, s : s + wide : stride]


def accumulate(
    layer: Layer, x: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accumulators [K, N, H, W] and window sums [1, N, H, W] for ``x`` [C, N, H, W].

    Exact: the sums of networks drawn here stay far below 2**53.
    """
    if isinstance(layer, Dense):
        pooled = x.sum(axis=(2, 3), dtype=np.float64)[:, :, None, None]
        acc = np.tensordot(layer.weight.astype(np.float64), pooled, axes=1)
        return acc, pooled.sum(axis=0, keepdims=True)
    if isinstance(layer, Conv):
        acc = total = np.zeros(1)
        for r, s, view in _taps(x, layer.kernel, layer.stride, layer.padding):
            weight = layer.weight[:, :, r, s].astype(np.float64)
            if layer.depthwise:
                acc = acc + weight[:, :, None, None] * view
            else:
                acc = acc + np.tensordot(weight, view, axes=1)
            total = total + view.sum(axis=0, keepdims=True)
        return acc, total
    if isinstance(layer, AvgPool):
        views = [v for _, _, v in _taps(x, layer.kernel, layer.stride, layer.padding)]
        return np.sum(views, axis=0), np.zeros(1)
    return x.astype(np.float64), np.zeros(1)


def evaluate(
    layer: Layer, x: NDArray[np.uint8], residual: NDArray[np.uint8] | None
) -> NDArray[Any]:
    """Output [K, N, H, W] of one layer."""
    if isinstance(layer, MaxPool):
        views = [v for _, _, v in _taps(x, layer.kernel, layer.stride, layer.padding)]
        return np.max(views, axis=0).astype(np.uint8)
    assert isinstance(layer, RequantLayer)
    q = layer.requant
    acc, total = accumulate(layer, x)

    def column(values: NDArray[Any]) -> NDArray[np.int64]:
        return values.astype(np.int64).reshape(-1, 1, 1, 1)

    t = column(q.scale) * acc.astype(np.int64) + column(q.bias)
    if q.window is not None:
        t += column(q.window) * total.astype(np.int64)
    if q.residual is not None and residual is not None:
        t += column(q.residual) * residual.astype(np.int64)
    if q.is_logits:
        return t
    return np.clip((t + q.half) >> q.shift, 0, (1 << q.out_bits) - 1).astype(np.uint8)


def draw_images(spec: InputSpec, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Images uint8 [count, C, H, W]: all zero, all at the largest value, then uniform noise, noise
    of the two extremes, and smooth ones.
    """
    peak = (1 << spec.bits) - 1
    images = np.zeros((count, *spec.shape), np.uint8)
    for index in range(count):
        kind = index if index < 4 else int(rng.integers(2, 5))
        if kind == 1:
            images[index] = peak
        elif kind == 2:
            images[index] = rng.integers(0, peak, spec.shape, endpoint=True)
        elif kind == 3:
            images[index] = np.where(rng.random(spec.shape) < rng.uniform(0.1, 0.9), peak, 0)
        elif kind == 4:  # smooth, as photographs are
            _, height, width = spec.shape
            y = np.linspace(0, rng.uniform(1, 4), height)[:, None]
            x = np.linspace(0, rng.uniform(1, 4), width)[None, :]
            phase = rng.uniform(0, 6, (spec.shape[0], 1, 1))
            images[index] = np.rint((np.sin(y + x + phase) + 1) / 2 * peak).astype(np.uint8)
    return images
