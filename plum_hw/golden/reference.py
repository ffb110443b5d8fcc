"""Golden reference: evaluates a quantized network in exact integer arithmetic.

Convolutions are matrix products. They run in float32 or float64 where the network's own bounds show
that every sum stays below 2**24 or 2**53, so that no rounding can occur, and in int64 otherwise.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plum_hw.errors import ImageError, NetworkError
from plum_hw.ir import (
    Add,
    AvgPool,
    Bounds,
    Conv,
    Dense,
    InputSpec,
    Layer,
    MaxPool,
    Network,
    Requant,
    RequantLayer,
)

Array = NDArray[Any]

_WORK_BYTES = 4 << 20
"""Size that the columns of one matrix product aim at: what a second-level cache holds."""
_MAX_BATCH = 256


@cache
def _blas() -> Any:
    """The controller of BLAS threads, or None where threadpoolctl is not installed."""
    try:
        return import_module("threadpoolctl").ThreadpoolController()
    except ImportError:
        return None


def _one_blas_thread() -> AbstractContextManager[Any]:
    """Keep BLAS to one thread: products here take microseconds, and on a busy machine a BLAS that
    waits for its other threads at the end of each was measured ten times slower.
    """
    controller = _blas()
    return nullcontext() if controller is None else controller.limit(limits=1, user_api="blas")


def exact_dtype(bound: int) -> type:
    """Fastest type in which sums of integers, none larger than ``bound``, are exact."""
    if bound < 1 << 24:
        return np.float32
    return np.float64 if bound < 1 << 53 else np.int64


def check_images(spec: InputSpec, images: Any) -> NDArray[np.uint8]:
    """Return ``images`` if they are uint8 [N, C, H, W] of the input's shape and width.

    Raises `ImageError` naming the wrong type, shape or value.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise ImageError(f"images are {kind}, must be an array of uint8")
    if images.ndim != 4 or images.shape[1:] != spec.shape:
        want = ", ".join(str(n) for n in spec.shape)
        raise ImageError(f"images have shape {images.shape}, must be (N, {want})")
    peak = int(images.max(initial=0))
    if peak >= 1 << spec.bits:
        raise ImageError(
            f"images hold the value {peak}, must be at most {(1 << spec.bits) - 1} "
            f"({spec.bits} bits)"
        )
    return images


def _column(values: Array, ndim: int) -> Array:
    """Constants of one value per channel, shaped to broadcast over arrays [K, ...]."""
    return values.reshape(-1, *([1] * (ndim - 1)))


class _Requantizer:
    """Constants of one layer, prepared. Works on arrays [K, ...]."""

    def __init__(self, requant: Requant, bounds: Bounds) -> None:
        self.peak = (1 << requant.out_bits) - 1
        self.logits = requant.is_logits
        # Scaled by a power of two, integers below 2**53 and their sums stay exact in float64.
        self.exact = bounds.t_abs < 1 << 53
        self.shift = requant.shift
        unit = 2.0**-requant.shift

        def prepare(values: Array | None) -> Array | None:
            if values is None:
                return None
            return values.astype(np.float64) * unit if self.exact else values.astype(np.int64)

        self.scale = prepare(requant.scale)
        self.bias = prepare(requant.bias + requant.half)
        self.window = prepare(requant.window)
        self.residual = prepare(requant.residual)

    def __call__(self, acc: Array, window: Array | None, residual: Array | None) -> Array:
        """``acc`` and ``residual`` [K, ...], ``window`` [1, ...] -> uint8, or int32 logits."""
        dtype = np.float64 if self.exact else np.int64
        assert self.scale is not None
        assert self.bias is not None
        if not self.exact:
            acc = acc.astype(np.int64)
        t: Array = np.multiply(acc, _column(self.scale, acc.ndim), dtype=dtype)
        if self.window is not None and window is not None:
            t += window.astype(dtype) * _column(self.window, acc.ndim)
        if self.residual is not None and residual is not None:
            t += np.multiply(residual, _column(self.residual, acc.ndim), dtype=dtype)
        t += _column(self.bias, acc.ndim)
        if self.logits:
            return t.astype(np.int32)
        if not self.exact:
            t >>= self.shift
        np.clip(t, 0, self.peak, out=t)
        return t.astype(np.uint8)  # of values >= 0: the floor


class _Step:
    """One layer, prepared. Tensors are [C, N, H, W] here, so that products need no transposing."""

    def __init__(self, layer: Layer, network: Network) -> None:
        self.layer = layer
        self.shape = network.shape_of(layer.source)
        self.out_shape = network.shape_of(layer.name)

    @property
    def work_bytes(self) -> int:
        """Bytes of working memory an image."""
        return 8 * int(np.prod(self.shape)) + 8 * int(np.prod(self.out_shape))

    def __call__(self, x: Array, residual: Array | None) -> Array:
        raise NotImplementedError


class _RequantStep(_Step):
    def __init__(self, layer: RequantLayer, network: Network) -> None:
        super().__init__(layer, network)
        self.bounds = network.bounds(layer)
        self.requantize = _Requantizer(layer.requant, self.bounds)
        self.dtype = exact_dtype(max(self.bounds.acc_abs, self.bounds.window_max))


class _ConvStep(_RequantStep):
    """Columns of the input's windows, then one matrix product."""

    def __init__(self, layer: Conv, network: Network) -> None:
        super().__init__(layer, network)
        self.conv = layer
        matrix: Array = layer.weight.reshape(layer.filters, -1).astype(self.dtype)
        if layer.requant.window is not None:
            matrix = np.concatenate([matrix, np.ones((1, matrix.shape[1]), self.dtype)])
        self.matrix = matrix
        (rows, columns), (pad_y, pad_x) = layer.kernel, layer.padding
        self.padded = (self.shape[1] + 2 * pad_y, self.shape[2] + 2 * pad_x)
        # Stride 1 takes whole padded rows: the windows are then long runs of memory.
        self.row = self.padded[1] if layer.stride == 1 else self.out_shape[2]
        self.row_bytes = (
            self.matrix.shape[1] * self.row * np.dtype(self.dtype).itemsize if rows * columns else 0
        )

    @property
    def work_bytes(self) -> int:
        return self.row_bytes * self.out_shape[1]

    def _columns(self, flat: Array, count: int, first: int, last: int) -> Array:
        """Windows of output rows ``first`` to ``last`` as [C*R*S, positions]."""
        (rows, columns), stride = self.conv.kernel, self.conv.stride
        channels, (height, width) = self.shape[0], self.padded
        if stride == 1:
            length = (last - first) * width if count == 1 else count * height * width
            result = np.empty((channels, rows, columns, length), flat.dtype)
            for r in range(rows):
                for s in range(columns):
                    start = (first + r) * width + s
                    result[:, r, s] = flat[:, start : start + length]
        else:
            image = flat[:, : count * height * width].reshape(channels, count, height, width)
            high, wide = last - first, self.out_shape[2]
            result = np.empty((channels, rows, columns, count, high, wide), flat.dtype)
            for r in range(rows):
                top = first * stride + r
                for s in range(columns):
                    result[:, r, s] = image[
                        :, :, top : top + stride * high : stride, s : s + stride * wide : stride
                    ]
        return result.reshape(self.matrix.shape[1], -1)

    def __call__(self, x: Array, residual: Array | None) -> Array:
        channels, count, high, wide = x.shape
        height, width = self.padded
        pad_y, pad_x = self.conv.padding
        slack = (self.conv.kernel[0] - 1) * width + self.conv.kernel[1] - 1
        flat = np.zeros((channels, count * height * width + slack), self.dtype)
        image = flat[:, : count * height * width].reshape(channels, count, height, width)
        image[:, :, pad_y : pad_y + high, pad_x : pad_x + wide] = x
        filters, out_high, out_wide = self.out_shape
        out = np.empty((filters, count, out_high, out_wide), np.uint8)
        step = out_high if count > 1 else max(1, _WORK_BYTES // max(1, self.row_bytes))
        for first in range(0, out_high, step):
            last = min(first + step, out_high)
            acc = self.matrix @ self._columns(flat, count, first, last)
            acc = acc.reshape(acc.shape[0], count, -1, self.row)[:, :, : last - first, :out_wide]
            window = acc[filters:] if acc.shape[0] > filters else None
            part = None if residual is None else residual[:, :, first:last]
            out[:, :, first:last] = self.requantize(acc[:filters], window, part)
        return out


def _pad(x: Array, padding: tuple[int, int]) -> Array:
    if padding == (0, 0):
        return x
    pad_y, pad_x = padding
    shape = (*x.shape[:2], x.shape[2] + 2 * pad_y, x.shape[3] + 2 * pad_x)
    result = np.zeros(shape, x.dtype)
    result[:, :, pad_y : pad_y + x.shape[2], pad_x : pad_x + x.shape[3]] = x
    return result


def _taps(
    x: Array, kernel: tuple[int, int], stride: int, size: tuple[int, ...]
) -> Iterator[tuple[int, int, Array]]:
    """For each kernel position, the view of ``x`` (padded) that it reads for all outputs."""
    high, wide = stride * size[0], stride * size[1]
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            yield (
                r,
                s,
                x[:, :, r : r + high : stride, s : s + wide : stride][:, :, : size[0], : size[1]],
            )


class _DepthwiseStep(_RequantStep):
    def __init__(self, layer: Conv, network: Network) -> None:
        super().__init__(layer, network)
        self.conv = layer
        self.weight: Array = layer.weight.astype(self.dtype)

    def __call__(self, x: Array, residual: Array | None) -> Array:
        conv = self.conv
        acc: Array = np.zeros((self.out_shape[0], x.shape[1], *self.out_shape[1:]), self.dtype)
        padded = _pad(x, conv.padding)
        for r, s, view in _taps(padded, conv.kernel, conv.stride, self.out_shape[1:]):
            acc += np.multiply(view, _column(self.weight[:, 0, r, s], 4), dtype=self.dtype)
        return self.requantize(acc, None, residual)


class _DenseStep(_RequantStep):
    def __init__(self, layer: Dense, network: Network) -> None:
        super().__init__(layer, network)
        self.dense = layer
        self.weight: Array = layer.weight.astype(self.dtype)

    def __call__(self, x: Array, residual: Array | None) -> Array:
        pooled = x.sum(axis=(2, 3), dtype=np.int64)
        acc = self.weight @ pooled.astype(self.dtype)
        window = (
            pooled.sum(axis=0, keepdims=True) if self.dense.requant.window is not None else None
        )
        return self.requantize(acc, window, None)[:, :, None, None]


class _AvgPoolStep(_RequantStep):
    def __init__(self, layer: AvgPool, network: Network) -> None:
        super().__init__(layer, network)
        self.pool = layer

    def __call__(self, x: Array, residual: Array | None) -> Array:
        pool = self.pool
        acc: Array = np.zeros((self.out_shape[0], x.shape[1], *self.out_shape[1:]), self.dtype)
        padded = _pad(x, pool.padding)
        for _, _, view in _taps(padded, pool.kernel, pool.stride, self.out_shape[1:]):
            acc += view
        return self.requantize(acc, None, None)


class _AddStep(_RequantStep):
    def __call__(self, x: Array, residual: Array | None) -> Array:
        return self.requantize(x, None, residual)


class _MaxPoolStep(_Step):
    def __init__(self, layer: MaxPool, network: Network) -> None:
        super().__init__(layer, network)
        self.pool = layer

    def __call__(self, x: Array, residual: Array | None) -> Array:
        pool = self.pool
        out = np.zeros((self.out_shape[0], x.shape[1], *self.out_shape[1:]), np.uint8)
        padded = _pad(x, pool.padding)
        for _, _, view in _taps(padded, pool.kernel, pool.stride, self.out_shape[1:]):
            np.maximum(out, view, out=out)
        return out


def _step(layer: Layer, network: Network) -> _Step:
    if isinstance(layer, Conv):
        return _DepthwiseStep(layer, network) if layer.depthwise else _ConvStep(layer, network)
    if isinstance(layer, Dense):
        return _DenseStep(layer, network)
    if isinstance(layer, AvgPool):
        return _AvgPoolStep(layer, network)
    if isinstance(layer, MaxPool):
        return _MaxPoolStep(layer, network)
    if isinstance(layer, Add):
        return _AddStep(layer, network)
    raise NetworkError(f"layer {layer.name}: op {layer.op} is not known to the reference")


class Reference:
    """Evaluates ``network``, prepared once.

    Images are uint8 [N, C, H, W] of the input's shape, no value wider than the input's bits; others
    raise `ImageError`. Memory beyond images and results does not grow with N.

    *Members*: ``network``.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._steps = [_step(layer, network) for layer in network.layers]
        work = max(step.work_bytes for step in self._steps)
        self._batch = min(_MAX_BATCH, max(1, _WORK_BYTES // max(1, work)))
        self._last_use: dict[str, int] = {}
        for index, layer in enumerate(network.layers):
            self._last_use |= dict.fromkeys(layer.inputs, index)

    def _evaluate(self, images: Array, keep: dict[str, Array]) -> None:
        """Evaluate all images in batches, filling the arrays of ``keep`` (layer name -> result)."""
        with _one_blas_thread():
            self._evaluate_batches(images, keep)

    def _evaluate_batches(self, images: Array, keep: dict[str, Array]) -> None:
        for start in range(0, len(images), self._batch):
            part = slice(start, start + self._batch)
            tensors = {self.network.input.name: np.ascontiguousarray(images[part].swapaxes(0, 1))}
            for index, step in enumerate(self._steps):
                layer = step.layer
                other = layer.residual_source
                residual = None if other is None else tensors[other]
                result = step(tensors[layer.source], residual)
                if layer.name in keep:
                    target = keep[layer.name]
                    swapped = result.swapaxes(0, 1)
                    target[part] = swapped[:, :, 0, 0] if target.ndim == 2 else swapped
                tensors[layer.name] = result
                for name in layer.inputs:
                    if self._last_use[name] == index:
                        tensors.pop(name, None)

    def _empty(self, name: str, count: int) -> Array:
        shape = self.network.shape_of(name)
        if self.network.bits_of(name) > 8:
            return np.empty((count, shape[0]), np.int32)
        return np.empty((count, *shape), np.uint8)

    def run(self, images: NDArray[np.uint8]) -> Array:
        """Give the output for each image: int32 logits [N, K], or a uint8 map [N, C, H, W]."""
        images = check_images(self.network.input, images)
        output = self.network.output
        keep = {output: self._empty(output, len(images))}
        self._evaluate(images, keep)
        return keep[output]

    def layers(self, images: NDArray[np.uint8]) -> dict[str, Array]:
        """Give every layer's output by name, as `run` gives the last; the input is not included."""
        images = check_images(self.network.input, images)
        keep = {layer.name: self._empty(layer.name, len(images)) for layer in self.network.layers}
        self._evaluate(images, keep)
        return keep

    def top1(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Give the class of each image, int64 [N]: the largest output, the first of equal ones.

        Raises `NetworkError` when the output is a map of more than one pixel.
        """
        name = self.network.output
        shape = self.network.shape_of(name)
        if shape[1:] != (1, 1):
            raise NetworkError(
                f"output {name} has shape {shape}, must be (K, 1, 1) to name a class"
            )
        outputs = self.run(images)
        return outputs.reshape(len(outputs), shape[0]).argmax(axis=1)
