"""Weight quantizers behind one interface: exact forward, straight-through backward.

A weight quantizer is a module with two views of the same float ("latent") weight:

- `forward(weight)`: the float weight that the layer computes with, differentiable;
- `codes(weight)`: the integers behind it, as `WeightCodes`, for the export.

Both must agree: `forward(w) == codes(w).dequantize()`. Tests hold them to that.

# Ref: PLUM (Kuhar, Jain, Tumanov, TMLR 2024, arXiv 2312.01581): signed binary, thresholds.
# Ref: IR-Net (Qin et al., CVPR 2020, arXiv 1909.10788): Error Decay Estimator (EDE).
# Ref: XNOR-Net (Rastegari et al., ECCV 2016, arXiv 1603.05279): binary weights.
# Ref: TTQ (Zhu et al., ICLR 2017, arXiv 1612.01064): ternary thresholds as a share of the maximum.
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


def region_signs(filters: int, inputs: int, region: int, positive_share: float) -> Tensor:
    """Sign of each input channel of each filter, float [K, C], constant over blocks of `region`."""
    blocks = inputs // region
    row = filter_signs(blocks, positive_share)
    rows = torch.stack([row.roll(k) for k in range(filters)])
    return rows.repeat_interleave(region, 1)


def ede_factors(epoch: float, epochs: float) -> tuple[float, float]:
    """EDE's (t, k) for epoch e of E: t = 0.1 * 10^((e/E) * log10(10/0.1)), k = max(1/t, 1)."""
    t = 0.1 * 10 ** ((epoch / epochs) * math.log10(10 / 0.1))
    return t, max(1 / t, 1.0)


def straight_through(weight: Tensor, grad: Tensor) -> Tensor:
    """PLUM's gradient of a latent weight: clamped to [-1, 1], zero where |W| > 1."""
    return torch.where(weight.abs() <= 1.0, grad.clamp(-1.0, 1.0), 0.0)


class _SignedBinary(torch.autograd.Function):
    """{0, sign} by threshold; `straight_through`, times EDE's factor around the threshold."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, signs: Tensor, delta: Tensor, ede: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(weight, signs, delta, ede)
        return torch.where(weight * signs >= delta, signs, 0.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, signs, delta, ede = ctx.saved_tensors
        out = straight_through(weight, grad)
        if ede is not None:
            t, k = ede
            out = out * (k * t * (1 - torch.tanh(t * (weight - signs * delta)) ** 2))
        return out, None, None, None


class _Levels(torch.autograd.Function):
    """-1 at W <= -delta, +1 at W >= delta (0 counts as positive), else 0; `straight_through`."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, delta: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return (weight >= delta).to(weight.dtype) - ((weight <= -delta) & (weight < delta)).to(
            weight.dtype
        )

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        return straight_through(weight, grad), None


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


def _column(vector: Tensor, weight: Tensor) -> Tensor:
    """One value per filter, shaped to spread over the weight."""
    return vector.view((-1,) + (1,) * (weight.dim() - 1))


class SignedBinaryQuantizer(WeightQuantizer):
    """Each filter one of {0, +1} or {0, -1}, as PLUM, with an optional learned offset per filter.

    delta_k = threshold * max|W[k]|; filters k < K * positive_share are positive:

        positive: Wq = +1 if W >= +delta_k else 0
        negative: Wq = -1 if W <= -delta_k else 0

    With `region` C' > 0 a sign belongs to C' input channels of a filter, not to the whole filter:
    of the blocks of all filters, counted filter after filter, every filter has the wanted share,
    starting one block further on from filter to filter. Such filters have both signs: the array
    runs them as ternary ones.

    With `offset` the layer computes with Wq - sign * a_k, a_k learned and rounded to 1/256 (sign
    is that of the filter, + with regions). On the array that is one window sum shared by all
    filters (the `window` term of the network file). With `density` above 0 delta_k is not a share
    of the maximum but what leaves that share of each region's weights effectual.
    There is no scale per filter: the batch norm behind the layer absorbs it.

    *Parameters*: ``filters`` K; ``inputs`` C, needed for regions; ``positive_share`` 0..1;
    ``threshold`` factor 0..1; ``region`` channels of a block, 0 for the filter; ``offset``,
    ``ede``: on or off; ``density`` 0 (by threshold) to 1.
    """

    def __init__(
        self,
        filters: int,
        *,
        inputs: int = 0,
        positive_share: float = 0.5,
        threshold: float = 0.05,
        region: int = 0,
        offset: bool = False,
        ede: bool = False,
        density: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0.0 <= positive_share <= 1.0:
            raise ValueError(f"positive_share must lie in 0..1, got {positive_share}")
        if not 0.0 <= threshold < 1.0:
            raise ValueError(f"threshold must lie in 0..1 (1 excluded), got {threshold}")
        if not 0.0 <= density < 1.0:
            raise ValueError(f"target_density must lie in 0..1 (1 excluded), got {density}")
        if region < 0 or (region and inputs % region):
            raise ValueError(f"region must be 0 or divide the {inputs} input channels: {region}")
        self.threshold, self.region, self.target = threshold, region, density
        self.ede = ede
        self.register_buffer(
            "ede_state", torch.tensor(ede_factors(0, 1)) if ede else None, persistent=False
        )
        if region:
            signs = region_signs(filters, inputs, region, positive_share)
        else:
            signs = filter_signs(filters, positive_share).view(filters, 1)
        self.register_buffer("signs", signs, persistent=False)
        self.offset = nn.Parameter(torch.full((filters,), 0.5)) if offset else None

    def set_progress(self, epoch: float, epochs: float) -> None:
        if self.ede:
            self.ede_state.copy_(torch.tensor(ede_factors(epoch, epochs)))

    @torch.no_grad()
    def calibrate(self, weight: Tensor) -> None:
        """Start each offset at the filter's mean: the filter's weights then sum to zero."""
        if self.offset is not None:
            mean = self.values(weight).flatten(1).mean(1)
            self.offset.copy_(mean if self.region else mean.abs())

    def _signs(self, weight: Tensor) -> Tensor:
        return self.signs.view(*self.signs.shape, *(1,) * (weight.dim() - 2))

    @torch.no_grad()
    def delta(self, weight: Tensor) -> Tensor:
        """The threshold of each filter (with a density: of each region), to spread over it."""
        if not self.target:
            return _column(self.threshold * weight.flatten(1).abs().amax(1), weight)
        blocks = self.signs.shape[1] // self.region if self.region else 1
        aligned = (weight * self._signs(weight)).reshape(len(weight), blocks, -1)
        rank = max(1, round(self.target * aligned.shape[2]))
        delta = aligned.topk(rank, dim=2).values[..., -1].clamp_min(torch.finfo(weight.dtype).tiny)
        if blocks > 1:
            delta = delta.repeat_interleave(self.region, 1)
        return delta.view(*delta.shape, *(1,) * (weight.dim() - 2))

    def values(self, weight: Tensor) -> Tensor:
        """Wq alone, float, shape of the weight."""
        return _SignedBinary.apply(
            weight, self._signs(weight), self.delta(weight.detach()), self.ede_state
        )

    def signed_offset(self) -> Tensor:
        """What is taken from each filter's codes, float [K], on its grid; 0 without an offset."""
        if self.offset is None:
            return torch.zeros_like(self.signs[:, 0])
        rounded = _RoundToGrid.apply(self.offset, OFFSET_GRID)
        return rounded if self.region else self.signs[:, 0] * rounded

    def forward(self, weight: Tensor) -> Tensor:
        out = self.values(weight)
        if self.offset is not None:
            out = out - _column(self.signed_offset(), weight)
        return out

    @torch.no_grad()
    def codes(self, weight: Tensor) -> WeightCodes:
        return WeightCodes(
            codes=self.values(weight).to(torch.int8),
            scale=torch.ones(weight.shape[0], dtype=torch.float64),
            offset=self.signed_offset().double(),
            scheme="ternary" if self.region else "signed_binary",
            bits=2 if self.region else 1,
        )


class _PlainQuantizer(WeightQuantizer):
    """Values -1, 0, +1 by a threshold, scale 1 (the batch norm behind the layer absorbs it)."""

    scheme: str
    bits: int

    def delta(self, weight: Tensor) -> Tensor:
        """The threshold, to spread over the weight."""
        raise NotImplementedError

    def forward(self, weight: Tensor) -> Tensor:
        return _Levels.apply(weight, self.delta(weight.detach()))

    @torch.no_grad()
    def codes(self, weight: Tensor) -> WeightCodes:
        zeros = torch.zeros(weight.shape[0], dtype=torch.float64)
        return WeightCodes(
            codes=self.forward(weight).to(torch.int8),
            scale=torch.ones_like(zeros),
            offset=zeros,
            scheme=self.scheme,
            bits=self.bits,
        )


class BinaryQuantizer(_PlainQuantizer):
    """Wq = +1 if W >= 0 else -1."""

    scheme, bits = "binary", 1

    def delta(self, weight: Tensor) -> Tensor:
        return torch.zeros((), dtype=weight.dtype, device=weight.device)


class TernaryQuantizer(_PlainQuantizer):
    """Wq = +1 if W >= delta_k, -1 if W <= -delta_k, else 0; delta_k = threshold * max|W[k]|."""

    scheme, bits = "ternary", 2

    def __init__(self, *, threshold: float = 0.05) -> None:
        super().__init__()
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"the threshold of ternary weights lies in 0..1, got {threshold}")
        self.threshold = threshold

    def delta(self, weight: Tensor) -> Tensor:
        delta = _column(self.threshold * weight.flatten(1).abs().amax(1), weight)
        return delta.clamp_min(torch.finfo(weight.dtype).tiny)  # a filter of zeros stays zero


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
