"""Quantizers against slow, independent statements of their formulas."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from plum_models.activations import ActivationQuantizer
from plum_models.quantizers import (
    SignedBinaryQuantizer,
    SymmetricQuantizer,
    ede_factors,
    filter_signs,
)


def draw(seed: int, *shape: int, scale: float = 1.0) -> torch.Tensor:
    print(f"seed {seed}")
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def slow_signed_binary(weight: np.ndarray, threshold: float, positives: int) -> np.ndarray:
    """PLUM's formula, one weight at a time."""
    out = np.zeros_like(weight)
    for k in range(weight.shape[0]):
        delta = np.float32(threshold) * max(abs(w) for w in weight[k].ravel())
        for index, w in np.ndenumerate(weight[k]):
            if k < positives and w >= delta:
                out[(k, *index)] = 1
            if k >= positives and w <= -delta:
                out[(k, *index)] = -1
    return out


@pytest.mark.parametrize(
    ("filters", "share", "positives"),
    [(8, 0.5, 4), (7, 0.5, 4), (6, 0.0, 0), (6, 1.0, 6), (8, 0.25, 2)],
)
@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3])
def test_signed_binary_forward(
    filters: int, share: float, positives: int, threshold: float
) -> None:
    weight = draw(filters, filters, 5, 3, 3)
    weight[0, 0] = 0.0
    quantizer = SignedBinaryQuantizer(filters, positive_share=share, threshold=threshold)
    want = slow_signed_binary(weight.numpy(), threshold, positives)
    assert np.array_equal(quantizer(weight).numpy(), want)
    assert np.array_equal(quantizer.codes(weight).codes.numpy(), want)


def test_the_threshold_itself_is_effectual() -> None:
    weight = torch.tensor([[1.0, 0.0625, 0.0624, -1.0], [-1.0, -0.0625, -0.0624, 1.0]])
    quantizer = SignedBinaryQuantizer(2, threshold=0.0625)
    assert quantizer(weight).tolist() == [[1, 1, 0, 0], [-1, -1, 0, 0]]


def test_all_zero_filter_follows_the_formula() -> None:
    """Max|W| = 0 makes delta 0: then W >= delta holds everywhere, as the formula says."""
    assert SignedBinaryQuantizer(2)(torch.zeros(2, 3)).tolist() == [[1, 1, 1], [-1, -1, -1]]


def test_positive_filters_are_k_below_half() -> None:
    assert filter_signs(5).tolist() == [1, 1, 1, -1, -1]
    assert filter_signs(4).tolist() == [1, 1, -1, -1]


@pytest.mark.parametrize("ede", [False, True])
def test_signed_binary_gradient(ede: bool) -> None:
    weight = draw(3, 6, 4, 3, 3, scale=0.8).requires_grad_()
    upstream = draw(4, 6, 4, 3, 3, scale=2.0)
    quantizer = SignedBinaryQuantizer(6, ede=ede)
    quantizer.set_progress(30, 120)
    quantizer(weight).backward(upstream)
    t = 0.1 * 10 ** ((30 / 120) * math.log10(10 / 0.1))
    factor = max(1 / t, 1)
    assert weight.grad is not None
    seen = set()
    for index, w in np.ndenumerate(weight.detach().double().numpy()):
        delta = 0.05 * float(weight.detach()[index[0]].abs().max())
        g = min(max(float(upstream[index]), -1.0), 1.0)
        if abs(w) > 1:
            g = 0.0
            seen.add("outside")
        if abs(float(upstream[index])) > 1:
            seen.add("clamped")
        if ede:
            centre = delta if index[0] < 3 else -delta
            g *= factor * t * (1 - math.tanh(t * (w - centre)) ** 2)
        assert float(weight.grad[index]) == pytest.approx(g, abs=1e-6)
    assert seen == {"outside", "clamped"}


def test_ede_schedule() -> None:
    for epoch, t, k in ((0, 0.1, 10.0), (5, 1.0, 1.0), (10, 10.0, 1.0)):
        assert ede_factors(epoch, 10) == pytest.approx((t, k))


def test_learned_offset() -> None:
    weight = draw(5, 4, 3, 3, 3)
    quantizer = SignedBinaryQuantizer(4, offset=True)
    quantizer.calibrate(weight)
    effective = quantizer(weight)
    # calibrated: each filter sums to zero but for the grid of 1/256
    assert effective.flatten(1).mean(1).abs().max() <= 0.5 / 256 + 1e-6
    assert torch.equal(effective.double(), quantizer.codes(weight).dequantize())
    assert torch.equal(effective.bfloat16().float(), effective), "exact in bfloat16"
    effective.sum().backward()
    assert quantizer.offset is not None
    assert quantizer.offset.grad is not None
    assert quantizer.offset.grad.tolist() == [-27, -27, 27, 27]


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("per_filter", [True, False])
def test_symmetric_weights(bits: int, per_filter: bool) -> None:
    weight = draw(bits, 5, 3, 3, 3).requires_grad_()
    quantizer = SymmetricQuantizer(5, bits=bits, per_filter=per_filter)
    codes = quantizer.codes(weight)
    top = 2 ** (bits - 1) - 1
    flat = weight.detach().double().numpy().reshape(5, -1)
    for k in range(5):
        peak = np.abs(flat[k] if per_filter else flat).max()
        want = np.floor(flat[k] / (peak / top) + 0.5)
        assert np.array_equal(codes.codes[k].flatten().numpy(), want)
    assert int(codes.codes.abs().max()) == top
    out = quantizer(weight)
    assert torch.allclose(out.double(), codes.dequantize(), rtol=1e-6)
    out.backward(torch.full_like(out, 3.0))
    assert weight.grad is not None
    assert (weight.grad == 3.0).all()


@pytest.mark.parametrize(("bits", "zero"), [(8, 0), (8, 128), (4, 0), (2, 0), (1, 0), (4, 5)])
def test_activations(bits: int, zero: int) -> None:
    step = 2.0**-4
    x = draw(bits + zero, 4000, scale=step * 2**bits / 2)
    x[:3] = torch.tensor([0.5 * step, -0.5 * step, 1e6])  # ties go up; far outside
    x.requires_grad_()
    quantizer = ActivationQuantizer(bits, zero_point=zero).eval()
    with torch.no_grad():
        quantizer.log2_step.fill_(-4.0)
    upstream = draw(99, 4000)
    out = quantizer(x)
    out.backward(upstream)
    assert x.grad is not None
    low, high, step_grad = -zero, 2**bits - 1 - zero, 0.0
    for i, value in enumerate(x.detach().double().tolist()):
        level = min(max(math.floor(value / step + 0.5), low), high)
        assert float(out.detach()[i]) == level * step
        inside = low < value / step < high
        g = float(upstream[i])
        assert float(x.grad[i]) == (pytest.approx(g) if inside else 0.0)
        step_grad += g * (level - (value / step if inside else 0.0))
    step_grad /= math.sqrt(4000 * max(high, 1))
    assert quantizer.log2_step.grad is not None
    want = step_grad * step * math.log(2)  # chain rule through step = 2 ** log2_step
    assert float(quantizer.log2_step.grad) == pytest.approx(want, rel=1e-4, abs=1e-7)


def test_activation_step_starts_well() -> None:
    x = draw(7, 10_000)
    for bits, error in ((8, 0.01), (4, 0.1), (2, 0.3)):
        quantizer = ActivationQuantizer(bits).train()
        assert (quantizer(x) - x.relu()).square().mean().sqrt() < error
        assert bool(quantizer.calibrated)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SignedBinaryQuantizer(4, threshold=1.5), "1.5"),
        (lambda: SignedBinaryQuantizer(4, positive_share=-1), "-1"),
        (lambda: SymmetricQuantizer(4, bits=9), "9"),
        (lambda: ActivationQuantizer(0), "0"),
        (lambda: ActivationQuantizer(4, zero_point=16), "16"),
    ],
)
def test_wrong_values_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
