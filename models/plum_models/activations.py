"""Activation quantizer: unsigned levels with a learned step, exact forward, LSQ's gradients.

# Ref: LSQ (Esser et al., ICLR 2020, arXiv 1902.08153).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class _Activation(torch.autograd.Function):
    """step * (clamp(floor(x / step + 1/2) + zero, 0, 2^bits - 1) - zero), with LSQ's gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, bits: int, zero: int) -> Tensor:
        low, high = float(-zero), float(2**bits - 1 - zero)
        scaled = x * (1 / step.to(x.dtype))
        level = scaled.add(0.5).floor_().clamp_(low, high)
        ctx.save_for_backward(scaled, level)
        ctx.low, ctx.high, ctx.step_dtype = low, high, step.dtype
        return level * step.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scaled, level = ctx.saved_tensors
        # One fused pass: the gradient where low < x/step < high, else 0.
        grad_x = torch.ops.aten.hardtanh_backward(grad, scaled, ctx.low, ctx.high)
        # d/dstep: level - x/step inside the range, the saturated level outside it.
        terms = torch.mul(grad, level).addcmul_(grad_x, scaled, value=-1.0)
        grad_step = terms.sum(dtype=torch.float32) / math.sqrt(grad.numel() * max(ctx.high, 1.0))
        return grad_x, grad_step.to(ctx.step_dtype).view(()), None, None


class _RoundThrough(torch.autograd.Function):
    """Round to the nearest integer, ties up; the gradient passes."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return torch.floor(value + 0.5)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class ActivationQuantizer(nn.Module):
    """Unsigned activations of `bits` bits with a learned step; at zero point 0 it is the ReLU too.

    With `zero_point` z > 0 (a shortcut, whose values may be negative) level z stands for 0.0 and
    the range is step * (-z .. 2^bits - 1 - z). The step starts at the least squared error over one
    batch (`PlumNet.calibrate`). The parameter is its base-2 logarithm, so that it stays positive
    and one learning rate fits layers of any scale; with `power_of_two` the step is 2 to the rounded
    parameter, and the ratio of two steps a shift. With `enabled` False nothing is rounded.
    """

    def __init__(self, bits: int = 8, *, zero_point: int = 0, power_of_two: bool = False) -> None:
        super().__init__()
        if not 1 <= bits <= 8:
            raise ValueError(f"activation bits must be 1 to 8, got {bits}")
        if not 0 <= zero_point < 2**bits:
            raise ValueError(f"zero point must lie in 0..{2**bits - 1}, got {zero_point}")
        self.bits, self.zero_point, self.power_of_two = bits, zero_point, power_of_two
        self.log2_step = nn.Parameter(torch.tensor(0.0))
        self.enabled, self.calibrating = True, False

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Choose the step with the least squared error among fractions of the largest value."""
        x = x.float()
        ceiling = 2**self.bits - 1 - self.zero_point
        target = x if self.zero_point else x.relu()
        peak = max(float(target.abs().max()), 1e-6) / max(ceiling, 1)
        errors = []
        for sixteenths in range(1, 17):
            step = torch.tensor(peak * sixteenths / 16, device=x.device)
            out = _Activation.apply(x, step, self.bits, self.zero_point)
            errors.append((float((out - target).square().mean()), float(step)))
        self.log2_step.fill_(math.log2(min(errors)[1]))

    def step(self) -> Tensor:
        """Real value of one level, float []."""
        log2 = _RoundThrough.apply(self.log2_step) if self.power_of_two else self.log2_step
        return torch.exp2(log2)

    def forward(self, x: Tensor) -> Tensor:
        if self.calibrating:
            self.calibrate(x)
        if not self.enabled:
            return x if self.zero_point else x.relu()
        return _Activation.apply(x, self.step(), self.bits, self.zero_point)
