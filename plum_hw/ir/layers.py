"""Layers of a quantized network, by kind.

What they have in common, and what becomes of wrong values, is in `plum_hw.ir.base`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from . import limits
from .base import (
    LOGIT_BITS,
    SCHEMES,
    InputSpec,
    Layer,
    Requant,
    RequantLayer,
    Shape,
    WeightLayer,
)
from .limits import check_int, check_pair

__all__ = [
    "LOGIT_BITS",
    "SCHEMES",
    "Add",
    "AvgPool",
    "Conv",
    "Dense",
    "InputSpec",
    "Layer",
    "MaxPool",
    "Requant",
    "RequantLayer",
    "Shape",
    "WeightLayer",
]


def _output_side(layer: Layer, size: int, kernel: int, stride: int, pad: int, axis: str) -> int:
    if size + 2 * pad < kernel:
        layer.fail(f"kernel {axis} {kernel} is larger than the padded input's {size + 2 * pad}")
    return (size + 2 * pad - kernel) // stride + 1


def _output_map(
    layer: Layer,
    channels: int,
    shape: Shape,
    kernel: tuple[int, int],
    stride: int,
    padding: tuple[int, int],
) -> Shape:
    height = _output_side(layer, shape[1], kernel[0], stride, padding[0], "height")
    width = _output_side(layer, shape[2], kernel[1], stride, padding[1], "width")
    return limits.check_shape((channels, height, width), f"layer {layer.name}: output shape")


def _check_padding(layer: Layer, padding: Any, kernel: tuple[int, int]) -> tuple[int, int]:
    what = f"layer {layer.name}: padding"
    if not isinstance(padding, tuple | list) or len(padding) != 2:
        check_pair(padding, 0, 0, what)
    return (
        check_int(padding[0], 0, kernel[0] - 1, f"{what}[0]"),
        check_int(padding[1], 0, kernel[1] - 1, f"{what}[1]"),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(WeightLayer):
    """2-D convolution, zero padding, then requantization.

    *Parameters*: ``weight`` [K, C/groups, R, S], R and S up to 7; ``stride`` 1 or 2; ``padding``
    (vertical, horizontal), less than the kernel; ``groups`` 1, or C for depthwise (K = C). A second
    input is the residual, of the output's shape.
    """

    op: ClassVar[str] = "conv"
    arity: ClassVar[tuple[int, int]] = (1, 2)
    weight_dims: ClassVar[int] = 4

    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_weight()
        _, per_group, rows, columns = self.weight.shape
        if max(rows, columns) > limits.MAX_CONV_KERNEL:
            self.fail(
                f"kernel is {rows}x{columns}, must be at most "
                f"{limits.MAX_CONV_KERNEL}x{limits.MAX_CONV_KERNEL}"
            )
        check_int(self.stride, 1, 2, f"layer {self.name}: stride")
        object.__setattr__(self, "padding", _check_padding(self, self.padding, self.kernel))
        check_int(self.groups, 1, limits.MAX_CHANNELS, f"layer {self.name}: groups")
        if self.groups != 1 and (self.groups != self.filters or per_group != 1):
            self.fail(
                f"groups is {self.groups} with weight of shape {self.weight.shape}, must be 1, "
                "or the number of channels with weight [C, 1, R, S] (depthwise)"
            )
        self._check_requant(self.filters)

    @property
    def may_window(self) -> bool:  # type: ignore[override]
        """Whether a window term is allowed."""
        return self.groups == 1

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel height and width."""
        return (int(self.weight.shape[2]), int(self.weight.shape[3]))

    @property
    def depthwise(self) -> bool:
        """Whether every channel has a filter of its own (``groups`` > 1)."""
        return self.groups > 1

    def output_shape(self, shape: Shape) -> Shape:
        """See `Layer.output_shape`."""
        channels = int(self.weight.shape[1]) * self.groups
        if shape[0] != channels:
            self.fail(
                f"input {self.source} has {shape[0]} channels, weight of shape "
                f"{self.weight.shape} with groups {self.groups} needs {channels}"
            )
        return _output_map(self, self.filters, shape, self.kernel, self.stride, self.padding)

    def macs(self, shape: Shape) -> int:
        """See `Layer.macs`."""
        _, height, width = self.output_shape(shape)
        return int(self.weight.size) * height * width


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(WeightLayer):
    """Global sum pool, then a matrix: ``acc[k] = sum_c w[k, c] * (sum of x[c] over all pixels)``.

    *Parameters*: ``weight`` [K, C]. Output shape (K, 1, 1). The only layer that may give logits.
    """

    op: ClassVar[str] = "dense"
    weight_dims: ClassVar[int] = 2
    may_window: ClassVar[bool] = True
    may_logits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_weight()
        self._check_requant(self.filters)

    def output_shape(self, shape: Shape) -> Shape:
        """See `Layer.output_shape`."""
        if shape[0] != self.weight.shape[1]:
            self.fail(
                f"input {self.source} has {shape[0]} channels, weight of shape "
                f"{self.weight.shape} needs {self.weight.shape[1]}"
            )
        return limits.check_shape((self.filters, 1, 1), f"layer {self.name}: output shape")

    def macs(self, shape: Shape) -> int:
        """See `Layer.macs`."""
        return int(self.weight.size)


def _check_pool(layer: "AvgPool | MaxPool") -> None:
    what = f"layer {layer.name}"
    kernel = check_pair(layer.kernel, 1, limits.MAX_POOL_KERNEL, f"{what}: kernel")
    object.__setattr__(layer, "kernel", kernel)
    check_int(layer.stride, 1, limits.MAX_POOL_STRIDE, f"{what}: stride")
    object.__setattr__(layer, "padding", _check_padding(layer, layer.padding, kernel))


@dataclass(frozen=True, kw_only=True, eq=False)
class AvgPool(RequantLayer):
    """Sum over a window, then requantization (the division is in the scale).

    *Parameters*: ``kernel`` (height, width) up to 64; ``stride`` 1 to 8; ``padding`` with zeros
    (vertical, horizontal), less than the kernel.
    """

    op: ClassVar[str] = "avgpool"

    kernel: tuple[int, int]
    stride: int
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_pool(self)
        self._check_requant(None)

    def output_shape(self, shape: Shape) -> Shape:
        """See `Layer.output_shape`."""
        self._check_channels(shape[0])
        return _output_map(self, shape[0], shape, self.kernel, self.stride, self.padding)


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Layer):
    """Maximum over a window, passed on as it is.

    *Parameters*: ``kernel`` (height, width) up to 64; ``stride`` 1 to 8; ``padding`` with zeros
    (vertical, horizontal), less than the kernel.
    """

    op: ClassVar[str] = "maxpool"

    kernel: tuple[int, int]
    stride: int
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_pool(self)

    def output_shape(self, shape: Shape) -> Shape:
        """See `Layer.output_shape`."""
        return _output_map(self, shape[0], shape, self.kernel, self.stride, self.padding)

    def output_bits(self, bits: int) -> int:
        """See `Layer.output_bits`."""
        return bits


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(RequantLayer):
    """``t = scale*x + residual*res + bias`` of two inputs of one shape, then requantization."""

    op: ClassVar[str] = "add"
    arity: ClassVar[tuple[int, int]] = (2, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_requant(None)

    def output_shape(self, shape: Shape) -> Shape:
        """See `Layer.output_shape`."""
        self._check_channels(shape[0])
        return shape
