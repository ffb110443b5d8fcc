"""Layers with quantized weights and the unit that the array executes as one operation.

`ConvUnit` is convolution + batch norm + residual + activation: exactly what one `conv` of the
network file computes, so the folding of its constants (`fold`) lives beside its float forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plum_models.quantizers import (
    ActivationQuantizer,
    SignedBinaryQuantizer,
    SymmetricQuantizer,
    WeightCodes,
    WeightQuantizer,
)


class QuantConv2d(nn.Conv2d):
    """Convolution without bias whose weight passes a quantizer (None: full precision)."""

    def __init__(
        self,
        inputs: int,
        filters: int,
        kernel: int,
        quantizer: WeightQuantizer | None,
        *,
        stride: int = 1,
    ) -> None:
        super().__init__(inputs, filters, kernel, stride=stride, padding=kernel // 2, bias=False)
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

    def forward(self, x: Tensor) -> Tensor:
        stride = self.stride[0]
        if self.kernel_size == (1, 1) and stride > 1 and self.in_channels < 8:
            # The backward of PyTorch 2.13's own strided 1x1 convolution writes beyond its memory
            # here (oneDNN on AVX2, fewer than 8 input channels): take the pixels first.
            x, stride = x[:, :, ::stride, ::stride], 1
        return F.conv2d(x, self.effective_weight(), None, stride, self.padding)


class SignedBinaryConv2d(QuantConv2d):
    """Convolution with signed-binary filters; keywords as in `SignedBinaryQuantizer`."""

    def __init__(
        self, inputs: int, filters: int, kernel: int, *, stride: int = 1, **options: object
    ) -> None:
        quantizer = SignedBinaryQuantizer(filters, **options)  # type: ignore[arg-type]
        super().__init__(inputs, filters, kernel, quantizer, stride=stride)


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

    A unit with `signed_output` is a shortcut: it has no ReLU, and its quantized output is stored
    unsigned with a zero point in the middle of the range.
    """

    def __init__(
        self,
        conv: QuantConv2d,
        *,
        bits: int = 8,
        quantize_activations: bool = True,
        signed_output: bool = False,
    ) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(conv.out_channels)
        self.signed_output = signed_output
        self.act: ActivationQuantizer | None = None
        if quantize_activations:
            zero = 2 ** (bits - 1) if signed_output else 0
            self.act = ActivationQuantizer(bits, zero_point=zero)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        # A convolution of one input channel gives planes; all that follows is faster by pixels.
        y = self.norm(self.conv(x).contiguous(memory_format=torch.channels_last))
        if residual is not None:
            y = y + residual
        if self.act is not None:
            return self.act(y)
        return y if self.signed_output else F.relu(y)

    @torch.no_grad()
    def fold(
        self, input_step: float, residual: ActivationQuantizer | None = None
    ) -> AffineConstants:
        """Batch norm, weight scale and offset, activation steps and zero points as four constants.

        input_step: real value of one input level; residual: the quantizer that made the residual.
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
        term = None
        if residual is not None:
            ratio = float(residual.step()) / step
            term = torch.full_like(bias, ratio)
            bias = bias - ratio * residual.zero_point
        return AffineConstants(scale=scale, window=-scale * codes.offset, residual=term, bias=bias)
