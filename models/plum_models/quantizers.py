"""Weight and activation quantizers: exact forward, straight-through backward.

A weight quantizer is a module with two views of the same float ("latent") weight:

- `forward(weight)`: the float weight that the layer computes with, differentiable;
- `codes(weight)`: the integers behind it, as `WeightCodes`, for the export.

Both must agree: `forward(w) == codes(w).dequantize()`. Tests hold them to that.

# Ref: PLUM (Kuhar, Jain, Tumanov, TMLR 2024, arXiv 2312.01581): signed binary, thresholds.
# Ref: IR-Net (Qin et al., CVPR 2020, arXiv 1909.10788): Error Decay Estimator (EDE).
# Ref: LSQ (Esser et al., ICLR 2020, arXiv 1902.08153): learned step of the activations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

OFFSET_GRID = 256
"""Offsets are multiples of 1/256, so that {0,1} - a is exact in bfloat16 and no training noise."""


@dataclass(frozen=True, kw_only=True)
class WeightCodes:
    """Integer weights of one layer: real weight = scale[k] * (codes[k] - offset[k]).

    codes: int8 [K, ...]; scale, offset: float64 [K]; scheme, bits: as in the network file.
    """

    codes: Tensor
    scale: Tensor
    offset: Tensor
    scheme: str
    bits: int

    def dequantize(self) -> Tensor:
        """The real weights, float64, shape of `codes`."""
        shape = (-1,) + (1,) * (self.codes.dim() - 1)
        return self.scale.view(shape) * (self.codes.double() - self.offset.view(shape))

    @property
    def density(self) -> float:
        """Share of the codes that are not zero (each costs the array one cycle per vector)."""
        return float((self.codes != 0).double().mean())


def filter_signs(filters: int, positive_share: float = 0.5) -> Tensor:
    """Sign of each filter, float [K]: +1 for k < K * positive_share, else -1 (fixed for ever)."""
    positive = math.ceil(filters * positive_share - 1e-9)
    signs = -torch.ones(filters)
    signs[:positive] = 1.0
    return signs


def ede_factors(epoch: float, epochs: float) -> tuple[float, float]:
    """EDE's (t, k) for epoch e of E: t = 0.1 * 10^((e/E) * log10(10/0.1)), k = max(1/t, 1)."""
    t = 0.1 * 10 ** ((epoch / epochs) * math.log10(10 / 0.1))
    return t, max(1 / t, 1.0)


class _SignedBinary(torch.autograd.Function):
    """{0, sign} by threshold; gradient clamped to [-1, 1], zero for |W| > 1, times EDE's factor."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, signs: Tensor, delta: Tensor, ede: tuple | None
    ) -> Tensor:
        ctx.save_for_backward(weight, signs, delta)
        ctx.ede = ede
        return torch.where(weight * signs >= delta, signs, 0.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, signs, delta = ctx.saved_tensors
        out = torch.where(weight.abs() <= 1.0, grad.clamp(-1.0, 1.0), 0.0)
        if ctx.ede is not None:
            t, k = ctx.ede
            out = out * (k * t * (1 - torch.tanh(t * (weight - signs * delta)) ** 2))
        return out, None, None, None


class _RoundToGrid(torch.autograd.Function):
    """Round to a multiple of 1/grid; the gradient passes."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, grid: int) -> Tensor:
        return torch.floor(value * grid + 0.5) / grid

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, None


class WeightQuantizer(nn.Module):
    """Interface of all weight quantizers; `calibrate` is called once with the initial weight."""

    def calibrate(self, weight: Tensor) -> None:
        """Set learned parameters from the latent weight; nothing to do by default."""

    def set_progress(self, epoch: float, epochs: float) -> None:
        """Told at each epoch how far training is (EDE needs it); nothing to do by default."""

    def codes(self, weight: Tensor) -> WeightCodes:
        """The integers that `forward` stands for."""
        raise NotImplementedError


class SignedBinaryQuantizer(WeightQuantizer):
    """Each filter one of {0, +1} or {0, -1}, as PLUM, with an optional learned offset per filter.

    delta_k = threshold * max|W[k]|; filters k < K * positive_share are positive:

        positive: Wq = +1 if W >= +delta_k else 0
        negative: Wq = -1 if W <= -delta_k else 0

    With `offset` the layer computes with Wq - sign * a_k, a_k learned and rounded to 1/256. On the
    array that is one window sum shared by all filters (the `window` term of the network file).
    There is no scale per filter: the batch norm behind the layer absorbs it.

    Parameters: filters K; positive_share 0..1; threshold factor 0..1; offset, ede: on or off.
    """

    def __init__(
        self,
        filters: int,
        *,
        positive_share: float = 0.5,
        threshold: float = 0.05,
        offset: bool = False,
        ede: bool = False,
    ) -> None:
        super().__init__()
        if not 0.0 <= positive_share <= 1.0:
            raise ValueError(f"positive_share must lie in 0..1, got {positive_share}")
        if not 0.0 <= threshold < 1.0:
            raise ValueError(f"threshold must lie in 0..1 (1 excluded), got {threshold}")
        self.threshold = threshold
        self.ede = ede
        self.ede_state: tuple[float, float] | None = ede_factors(0, 1) if ede else None
        self.register_buffer("signs", filter_signs(filters, positive_share), persistent=False)
        self.offset = nn.Parameter(torch.full((filters,), 0.5)) if offset else None

    def set_progress(self, epoch: float, epochs: float) -> None:
        if self.ede:
            self.ede_state = ede_factors(epoch, epochs)

    @torch.no_grad()
    def calibrate(self, weight: Tensor) -> None:
        """Start each offset at the filter's density: the filter's weights then sum to zero."""
        if self.offset is not None:
            self.offset.copy_(self.values(weight).abs().flatten(1).mean(1))

    def _column(self, vector: Tensor, weight: Tensor) -> Tensor:
        return vector.view((-1,) + (1,) * (weight.dim() - 1))

    def values(self, weight: Tensor) -> Tensor:
        """Wq alone, float, shape of the weight."""
        delta = self.threshold * weight.detach().flatten(1).abs().amax(1)
        signs, delta = self._column(self.signs, weight), self._column(delta, weight)
        return _SignedBinary.apply(weight, signs, delta, self.ede_state)

    def rounded_offset(self) -> Tensor:
        """a_k on its grid, float [K]; zeros when there is no learned offset."""
        if self.offset is None:
            return torch.zeros_like(self.signs)
        return _RoundToGrid.apply(self.offset, OFFSET_GRID)

    def forward(self, weight: Tensor) -> Tensor:
        out = self.values(weight)
        if self.offset is not None:
            out = out - self._column(self.signs * self.rounded_offset(), weight)
        return out

    @torch.no_grad()
    def codes(self, weight: Tensor) -> WeightCodes:
        return WeightCodes(
            codes=self.values(weight).to(torch.int8),
            scale=torch.ones(weight.shape[0], dtype=torch.float64),
            offset=(self.signs * self.rounded_offset()).double(),
            scheme="signed_binary",
            bits=1,
        )


class _Symmetric(torch.autograd.Function):
    """Round to scale * integer; the gradient passes (nothing clips at a scale from the maximum)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor) -> Tensor:
        return torch.floor(weight / scale + 0.5) * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, None


class SymmetricQuantizer(WeightQuantizer):
    """n-bit weights, symmetric: scale = max|W| / (2^(n-1) - 1), per filter or for a whole layer."""

    def __init__(self, filters: int, *, bits: int = 8, per_filter: bool = True) -> None:
        super().__init__()
        if not 2 <= bits <= 8:
            raise ValueError(f"weight bits must be 2 to 8, got {bits}")
        self.filters, self.bits, self.per_filter = filters, bits, per_filter

    def scale(self, weight: Tensor) -> Tensor:
        """Step of the weights, shape [K, 1, ...]."""
        peak = weight.detach().abs().flatten(1).amax(1)
        if not self.per_filter:
            peak = peak.amax().expand(self.filters)
        peak = peak.clamp_min(torch.finfo(torch.float32).tiny * 2**self.bits)
        return (peak / (2 ** (self.bits - 1) - 1)).view((-1,) + (1,) * (weight.dim() - 1))

    def forward(self, weight: Tensor) -> Tensor:
        return _Symmetric.apply(weight, self.scale(weight))

    @torch.no_grad()
    def codes(self, weight: Tensor) -> WeightCodes:
        scale = self.scale(weight)
        return WeightCodes(
            codes=torch.floor(weight / scale + 0.5).to(torch.int8),
            scale=scale.flatten().double(),
            offset=torch.zeros(self.filters, dtype=torch.float64),
            scheme="int",
            bits=self.bits,
        )


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


class ActivationQuantizer(nn.Module):
    """Unsigned activations of `bits` bits with a learned step; at zero point 0 it is the ReLU too.

    With `zero_point` z > 0 (a shortcut, whose values may be negative) level z stands for 0.0 and
    the range is step * (-z .. 2^bits - 1 - z). The step starts at the least squared error over the
    first batch seen in training. The parameter is its base-2 logarithm, so that it stays positive
    and one learning rate fits layers of any scale.
    """

    def __init__(self, bits: int = 8, *, zero_point: int = 0) -> None:
        super().__init__()
        if not 1 <= bits <= 8:
            raise ValueError(f"activation bits must be 1 to 8, got {bits}")
        if not 0 <= zero_point < 2**bits:
            raise ValueError(f"zero point must lie in 0..{2**bits - 1}, got {zero_point}")
        self.bits, self.zero_point = bits, zero_point
        self.log2_step = nn.Parameter(torch.tensor(0.0))
        self.register_buffer("calibrated", torch.tensor(False))

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
        self.calibrated.fill_(True)

    def step(self) -> Tensor:
        """Real value of one level, float []."""
        return torch.exp2(self.log2_step)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.calibrated:
            self.calibrate(x)
        return _Activation.apply(x, self.step(), self.bits, self.zero_point)
