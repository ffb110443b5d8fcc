"""Layers with quantized weights and the units that the array executes as one operation.

`ConvUnit` is convolution + batch norm + residual + activation: exactly what one `conv` of the
network file computes, so the folding of its constants (`fold`) lives beside its float forward.
`PoolUnit` is an `avgpool`, `PReluUnit` a PReLU made of two operations that the array has.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plum_models.activations import ActivationQuantizer
from plum_models.quantizers import SymmetricQuantizer, WeightCodes, WeightQuantizer


class QuantConv2d(nn.Conv2d):
    """Convolution without bias whose weight passes a quantizer (None: full precision).

    *Parameters*: ``kernel`` and ``padding`` (rows, columns), the latter 'same' by default;
    ``depthwise``: each channel has a filter of its own.
    """

    def __init__(
        self,
        inputs: int,
        filters: int,
        kernel: int | tuple[int, int],
        quantizer: WeightQuantizer | None,
        *,
        stride: int = 1,
        padding: tuple[int, int] | None = None,
        depthwise: bool = False,
    ) -> None:
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        super().__init__(
            inputs,
            filters,
            (rows, columns),
            stride=stride,
            padding=padding or ((rows - 1) // 2, (columns - 1) // 2),
            groups=inputs if depthwise else 1,
            bias=False,
        )
        nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="relu")
        self.quantizer = quantizer
        self.calibrate()

    def calibrate(self) -> None:
        """Set the quantizer's learned parameters from the present weight."""
        if self.quantizer is not None:
            self.quantizer.calibrate(self.weight)

    def effective_weight(self) -> Tensor:
        """The weight that the convolution computes with, float [K, C, R, S]."""
        return self.weight if self.quantizer is None else self.quantizer(self.weight)

    def codes(self) -> WeightCodes:
        """The integers of the weight; an error for a full-precision layer."""
        if self.quantizer is None:
            raise ValueError("a full-precision layer has no integer weights")
        return self.quantizer.codes(self.weight)

    def forward(self, x: Tensor, border: float = 0.0) -> Tensor:
        """The convolution; pixels outside the map have the value `border`."""
        stride, padding = self.stride[0], self.padding
        if border and any(padding):
            rows, columns = int(padding[0]), int(padding[1])
            x, padding = F.pad(x, (columns, columns, rows, rows), value=border), (0, 0)
        if self.kernel_size == (1, 1) and stride > 1 and self.in_channels < 8:
            # The backward of PyTorch 2.13's own strided 1x1 convolution writes beyond its memory
            # here (oneDNN on AVX2, fewer than 8 input channels): take the pixels first.
            x, stride = x[:, :, ::stride, ::stride], 1
        return F.conv2d(x, self.effective_weight(), None, stride, padding, 1, self.groups)


class QuantLinear(nn.Linear):
    """Dense layer with n-bit weights of one common scale, so that logits compare as integers."""

    def __init__(self, inputs: int, outputs: int, *, bits: int | None = 8) -> None:
        super().__init__(inputs, outputs)
        self.quantizer = (
            None if bits is None else SymmetricQuantizer(outputs, bits=bits, per_filter=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.quantizer is None else self.quantizer(self.weight)
        return F.linear(x, weight, self.bias)


class Classifier(QuantLinear):
    """Global average pooling and the dense layer behind it: logits."""

    def forward(self, x: Tensor) -> Tensor:
        # In float32: no requantization lies between the two on the array.
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float().mean((2, 3)))


@dataclass(frozen=True, kw_only=True)
class AffineConstants:
    """Requantization as real numbers, one value per filter, float64 [K], in output steps.

        level[k, p] = acc * scale[k] + sum(x) * window[k] + res * residual[k] + bias[k]

    where acc, sum(x), res are the integers of the network file. `residual` is None without one.
    """

    scale: Tensor
    window: Tensor
    residual: Tensor | None
    bias: Tensor


class ConvUnit(nn.Module):
    """act(batch_norm(conv(x)) + residual); `quantize_activations` False gives a plain ReLU.

    A unit with `signed_output` has no ReLU, and its quantized output is stored unsigned, in 8 bits,
    with a zero point in the middle of the range (a shortcut, or what a PReLU follows).
    """

    def __init__(
        self,
        conv: QuantConv2d,
        *,
        bits: int = 8,
        quantize_activations: bool = True,
        signed_output: bool = False,
        power_of_two: bool = False,
    ) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(conv.out_channels)
        self.signed_output = signed_output
        self.act: ActivationQuantizer | None = None
        if quantize_activations:
            self.act = ActivationQuantizer(
                8 if signed_output else bits,
                zero_point=128 if signed_output else 0,
                power_of_two=power_of_two,
            )

    def forward(self, x: Tensor, residual: Tensor | None = None, border: float = 0.0) -> Tensor:
        # A convolution of one input channel gives planes; all that follows is faster by pixels.
        y = self.norm(self.conv(x, border).contiguous(memory_format=torch.channels_last))
        if residual is not None:
            y = y + residual
        if self.act is not None:
            return self.act(y)
        return y if self.signed_output else F.relu(y)

    @torch.no_grad()
    def fold(
        self,
        input_step: float,
        residual: ActivationQuantizer | None = None,
        *,
        input_zero: int = 0,
    ) -> AffineConstants:
        """Batch norm, weight scale and offset, activation steps and zero points as four constants.

        input_step, input_zero: real value of one input level, and the level that stands for 0;
        residual: the quantizer that made the residual.
        """
        if self.act is None:
            raise ValueError("only a unit with quantized activations folds into integers")
        codes, norm = self.conv.codes(), self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        step = float(self.act.step())
        gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        scale = gain * codes.scale * input_step / step
        bias = (norm.bias.double() - gain * norm.running_mean.double()) / step
        bias = bias + self.act.zero_point
        if input_zero:
            real = codes.codes.double().flatten(1)
            total = real.sum(1) - codes.offset * real.shape[1]
            bias = bias - scale * input_zero * total
        term = None
        if residual is not None:
            ratio = float(residual.step()) / step
            term = torch.full_like(bias, ratio)
            bias = bias - ratio * residual.zero_point
        return AffineConstants(scale=scale, window=-scale * codes.offset, residual=term, bias=bias)


class PoolUnit(nn.Module):
    """Average over 2x2 pixels, stride 2; requantized with the zero point of its input."""

    def __init__(self, act: ActivationQuantizer | None) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        y = F.avg_pool2d(x, 2)
        return y if self.act is None else self.act(y)

    @torch.no_grad()
    def fold(self, channels: int, source: ActivationQuantizer) -> AffineConstants:
        """Constants of an `avgpool`, whose accumulator is the sum of the four levels."""
        assert self.act is not None
        ratio = float(source.step()) / float(self.act.step())
        scale = torch.full((channels,), ratio / 4, dtype=torch.float64)
        bias = torch.full_like(scale, self.act.zero_point - ratio * source.zero_point)
        return AffineConstants(
            scale=scale, window=torch.zeros_like(scale), residual=None, bias=bias
        )


class PReluUnit(nn.Module):
    """PReLU with a slope per channel and a learned bias behind it, as in PLUM's block.

    Its input is signed (zero point 128), and so is its output, with the zero point at a quarter of
    the range, for the negative side is the smaller one. On the array it is two operations:

        positive = clamp(x - 128, 0, 255)             a depthwise 1x1 convolution of weight 1
        y = slope * x + (1 - slope) * positive + b    an addition with constants per channel
    """

    def __init__(self, channels: int, act: ActivationQuantizer | None) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        y = F.prelu(x, self.slope.to(x.dtype)) + self.bias.to(x.dtype).view(1, -1, 1, 1)
        return y if self.act is None else self.act(y)

    @torch.no_grad()
    def fold(self, source: ActivationQuantizer) -> AffineConstants:
        """Constants of the `add`: `scale` of x, `residual` of the positive part."""
        assert self.act is not None
        step = float(self.act.step())
        ratio = float(source.step()) / step
        slope = self.slope.double()
        bias = self.bias.double() / step + self.act.zero_point
        return AffineConstants(
            scale=ratio * slope,
            window=torch.zeros_like(slope),
            residual=ratio * (1 - slope),
            bias=bias - ratio * slope * source.zero_point,
        )
