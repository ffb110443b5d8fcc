"""Quantizers against slow, independent statements of their formulas."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from plum_models.activations import ActivationQuantizer
from plum_models.quantizers import (
    BinaryQuantizer,
    SignedBinaryQuantizer,
    SymmetricQuantizer,
    TernaryQuantizer,
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
        quantizer = ActivationQuantizer(bits)
        quantizer.calibrate(x)
        assert (quantizer(x) - x.relu()).square().mean().sqrt() < error


def test_power_of_two_steps() -> None:
    """The step is 2 to the nearest whole number (ties up), and learns as if nothing was rounded."""
    x = draw(8, 1000)
    for log2, rounded in ((-3.4, -3), (-3.5, -3), (-3.6, -4), (0.2, 0)):
        free, whole = ActivationQuantizer(4), ActivationQuantizer(4, power_of_two=True)
        with torch.no_grad():
            free.log2_step.fill_(rounded)
            whole.log2_step.fill_(log2)
        assert whole.step().item() == 2.0**rounded
        for quantizer in (free, whole):
            quantizer(x).square().sum().backward()
        assert free.log2_step.grad is not None
        assert whole.log2_step.grad is not None
        assert torch.equal(free.log2_step.grad, whole.log2_step.grad)


def test_activations_that_are_not_quantized_yet() -> None:
    x = draw(9, 100)
    for zero, want in ((0, x.relu()), (128, x)):
        quantizer = ActivationQuantizer(8, zero_point=zero)
        quantizer.enabled = False
        assert torch.equal(quantizer(x), want)


@pytest.mark.parametrize("scheme", ["binary", "ternary"])
def test_binary_and_ternary(scheme: str) -> None:
    """Values, gradient and codes, one weight at a time."""
    weight = draw(11, 5, 4, 3, 3, scale=0.8)
    weight[0, 0, 0] = 0.0
    upstream = draw(12, 5, 4, 3, 3, scale=2.0)
    quantizer = BinaryQuantizer() if scheme == "binary" else TernaryQuantizer(threshold=0.05)
    latent = weight.clone().requires_grad_()
    out = quantizer(latent)
    out.backward(upstream)
    assert latent.grad is not None
    for index, w in np.ndenumerate(weight.numpy()):
        delta = np.float32(0.05) * np.abs(weight[index[0]].numpy()).max()
        if scheme == "binary":
            want = 1 if w >= 0 else -1
        else:
            want = 1 if w >= delta else -1 if w <= -delta else 0
        assert float(out.detach()[index]) == want
        g = min(max(float(upstream[index]), -1.0), 1.0) if abs(w) <= 1 else 0.0
        assert float(latent.grad[index]) == pytest.approx(g)
    codes = quantizer.codes(weight)
    assert torch.equal(codes.dequantize().float(), out.detach())
    assert codes.scheme == scheme
    assert codes.codes.unique().tolist() == ([-1, 1] if scheme == "binary" else [-1, 0, 1])


def test_ternary_filter_of_zeros() -> None:
    assert TernaryQuantizer()(torch.zeros(2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_regions(share: float) -> None:
    """Each block of two channels of a filter has one sign; every filter has the wanted share."""
    weight = draw(13, 6, 8, 3, 3)
    quantizer = SignedBinaryQuantizer(6, inputs=8, region=2, positive_share=share)
    codes = quantizer.codes(weight)
    assert codes.scheme == "ternary"
    peak = weight.abs().flatten(1).amax(1)
    for k in range(6):
        positive = 0
        for block in range(4):
            # Filter k begins k blocks further on: of four blocks the first share is positive.
            sign = 1 if (block - k) % 4 < 4 * share else -1
            positive += sign > 0
            for c in (2 * block, 2 * block + 1):
                want = (weight[k, c] * sign >= 0.05 * peak[k]) * sign
                assert torch.equal(codes.codes[k, c].long(), want.long())
        assert positive == 4 * share
    with pytest.raises(ValueError, match="divide the 8 input channels"):
        SignedBinaryQuantizer(6, inputs=8, region=3)


def test_regions_with_offset_sum_to_zero() -> None:
    weight = draw(14, 4, 4, 3, 3)
    quantizer = SignedBinaryQuantizer(4, inputs=4, region=1, offset=True)
    quantizer.calibrate(weight)
    out = quantizer(weight)
    assert out.flatten(1).mean(1).abs().max() <= 0.5 / 256 + 1e-6
    assert torch.equal(out.double(), quantizer.codes(weight).dequantize())


def test_target_density() -> None:
    """The wanted share of each filter is effectual: the weights that lie furthest on its side."""
    weight = draw(15, 8, 4, 3, 3)
    codes = SignedBinaryQuantizer(8, density=0.25).codes(weight).codes
    for k in range(8):
        side = (weight[k] if k < 4 else -weight[k]).flatten()
        chosen = codes[k].flatten() != 0
        assert int(chosen.sum()) == 9
        assert side[chosen].min() > side[~chosen].max()
    regions = SignedBinaryQuantizer(8, inputs=4, region=2, density=0.25).codes(weight).codes
    counts = (regions != 0).reshape(8, 2, 18).sum(2)
    assert counts.unique().tolist() == [4]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SignedBinaryQuantizer(4, threshold=1.5), "1.5"),
        (lambda: SignedBinaryQuantizer(4, positive_share=-1), "-1"),
        (lambda: SymmetricQuantizer(4, bits=9), "9"),
        (lambda: TernaryQuantizer(threshold=0.0), "got 0.0"),
        (lambda: SignedBinaryQuantizer(4, density=1.5), "1.5"),
        (lambda: ActivationQuantizer(0), "0"),
        (lambda: ActivationQuantizer(4, zero_point=16), "16"),
    ],
)
def test_wrong_values_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
