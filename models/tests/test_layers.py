"""Batch-norm folding and the integer export, against float arithmetic and the golden reference."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plum_hw.golden.reference import Reference
from plum_hw.ir import load_network
from plum_models.activations import ActivationQuantizer
from plum_models.data import synthetic, to_float
from plum_models.errors import ModelError
from plum_models.export import integer_network
from plum_models.fashion import LABELS
from plum_models.integers import integer_forward
from plum_models.layers import ConvUnit, QuantConv2d
from plum_models.networks import NetworkConfig, PlumNet
from plum_models.quantizers import SignedBinaryQuantizer, SymmetricQuantizer


def randomize(net: torch.nn.Module, seed: int) -> None:
    """Random batch norms and offsets, as after some training."""
    print(f"seed {seed}")
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(-1.0, 2.0, generator=generator)
            module.bias.data.normal_(0, 0.5, generator=generator)


@pytest.mark.parametrize("scheme", ["int", "signed_binary", "offset"])
@pytest.mark.parametrize("shortcut", [False, True])
def test_folding(scheme: str, shortcut: bool) -> None:
    """Level = scale * acc + window * S + residual * res + bias, against the float unit."""
    torch.manual_seed(11)
    if scheme == "int":
        conv = QuantConv2d(6, 8, 3, SymmetricQuantizer(8))
    else:
        conv = QuantConv2d(6, 8, 3, SignedBinaryQuantizer(8, offset=scheme == "offset"))
    unit = ConvUnit(conv, signed_output=shortcut)
    randomize(unit, 12)
    unit.norm.running_mean.normal_()
    unit.norm.running_var.uniform_(0.5, 2.0)
    unit.eval()
    assert unit.act is not None
    unit.act.log2_step.data.fill_(-2.0 if scheme == "signed_binary" else -6.5)
    other = ActivationQuantizer(8, zero_point=0 if shortcut else 100)
    other.log2_step.data.fill_(-5.0)
    step = 0.013
    levels = torch.randint(0, 256, (2, 6, 5, 5))
    res = torch.randint(0, 256, (2, 8, 5, 5))
    real_res = (res - other.zero_point) * other.step()
    with torch.no_grad():
        out = unit(levels.float() * step, real_res) / unit.act.step() + unit.act.zero_point

    codes = conv.codes().codes.double()
    x = levels.double()
    acc = torch.nn.functional.conv2d(x, codes, padding=1)
    window = torch.nn.functional.conv2d(x, torch.ones(1, 6, 3, 3).double(), padding=1)
    c = unit.fold(step, other)
    assert c.residual is not None
    column = (1, -1, 1, 1)
    t = acc * c.scale.view(column) + window * c.window.view(column)
    t = t + res * c.residual.view(column) + c.bias.view(column)
    want = torch.floor(t + 0.5).clamp(0, 255)
    # float32 against float64 may differ where t + 1/2 is almost an integer, nowhere else
    near = (t + 0.5 - torch.round(t + 0.5)).abs() < 1e-3
    assert ((out.double() - want).abs()[~near] < 1e-3).all()
    assert near.double().mean() < 0.02
    assert want.unique().numel() > 20, "the test must not sit in saturation"


CONFIGS: dict[str, dict[str, Any]] = {
    "offset": {"offset": True},
    "published": {"offset": False},
    "four_bits": {"activation_bits": 4, "offset": True},
    "two_bits": {"activation_bits": 2, "weight_bits": 4, "positive_share": 0.25},
    "first_stage_stride_1": {"widths": (4, 8), "blocks": (1, 1), "strides": (1, 2), "stem": 4},
}


def make_net(seed: int, **options: Any) -> PlumNet:
    torch.manual_seed(seed)
    base: dict[str, Any] = {"stem": 4, "widths": (8, 12), "blocks": (1, 2), "strides": (2, 2)}
    net = PlumNet(NetworkConfig.from_json({**base, **options}))
    randomize(net, seed)
    images = to_float(synthetic(64, seed).images)
    net.calibrate(images)
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(images)
    return net.eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_integers_equal_golden_and_float(name: str, tmp_path: Path) -> None:
    """PyTorch's integers = golden reference, layer by layer, after a trip through the file."""
    net = make_net(21, **CONFIGS[name])
    path = tmp_path / "net.qnet"
    integer_network(net, labels=LABELS).save(path)
    network = load_network(path)
    images = synthetic(12, 22).images
    ours = integer_forward(network, images)
    golden = Reference(network).layers(images.numpy())
    assert set(golden) == {layer.name for layer in network.layers}
    for layer in network.layers:
        want = golden[layer.name]
        assert np.array_equal(ours[layer.name].numpy().reshape(want.shape), want), layer.name
        assert len(np.unique(want)) > 1, f"{layer.name} is constant: the test would show nothing"
    with torch.no_grad():
        real = net(to_float(images))
    logits = ours["fc"].flatten(1).double()
    correlation = torch.corrcoef(torch.stack([real.double().flatten(), logits.flatten()]))[0, 1]
    assert correlation > 0.999


def test_a_changed_weight_is_noticed() -> None:
    """The comparison above can fail: one flipped kernel position changes the layer's integers."""
    net = make_net(21)
    images = synthetic(4, 23).images
    before = integer_forward(integer_network(net), images)["s1b1.conv1"]
    conv = net.unit("s1b1.conv1").conv
    live = int(before.double().std((0, 2, 3)).argmax())
    with torch.no_grad():
        conv.weight[live, :, 1, 1] *= -1
    after = integer_forward(integer_network(net), images)["s1b1.conv1"]
    assert not torch.equal(before, after)


def test_constants_that_do_not_fit_are_named() -> None:
    net = make_net(21)
    net.stem.norm.weight.data.fill_(1e9)
    with pytest.raises(ModelError, match="layer stem"):
        integer_network(net)


def test_full_precision_has_no_integers() -> None:
    with pytest.raises(ModelError, match="full-precision"):
        integer_network(make_net(1, scheme="full"))
