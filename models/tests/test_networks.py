"""Every network and scheme: PyTorch's integers = golden reference = golden machine."""

from typing import Any

import numpy as np
import pytest
import torch

from plum_hw.compiler import compile_network
from plum_hw.config import ArrayConfig
from plum_hw.golden.machine import Machine
from plum_hw.golden.reference import Reference
from plum_models.data import to_float
from plum_models.export import integer_network
from plum_models.integers import integer_forward
from plum_models.layers import PReluUnit
from plum_models.networks import NETWORKS, NetworkConfig, PlumNet

#: Holds what the networks need; no board has so much.
ARRAY = ArrayConfig(
    act_depth=4096, code_depth=65536, table_depth=8192, acc_bits=20, sum_bits=25, layer_counters=256
)

#: Shapes at which the golden machine takes a second; those of the others are their real ones.
SMALL: dict[str, dict[str, Any]] = {
    "residual": {"widths": (8, 12), "blocks": (1, 1), "strides": (2, 2), "stem": 4, "size": 12},
    "resnet8": {"width": 0.5},
    "resnet20": {"width": 0.25, "size": 16},
    "resnet32": {"width": 0.25, "size": 8},
    "resnet44": {"width": 0.25, "size": 8},
    "resnet56": {"width": 0.25, "size": 8},
    "resnet110": {"width": 0.25, "size": 8},
    "resnet18": {"width": 0.125, "size": 64},
    "resnet34": {"width": 0.125, "size": 64},
    "resnet18-prelu": {"width": 0.125, "size": 64},
    "resnet34-prelu": {"width": 0.125, "size": 64},
    "dscnn": {"width": 0.25, "classes": 12},
    "mobilenet025": {"size": 48, "classes": 2},
    "vgg-small": {"width": 0.125, "size": 16},
}


def make(seed: int, **options: Any) -> tuple[PlumNet, torch.Tensor]:
    """A network as after some training, and images for it."""
    print(f"seed {seed}")
    torch.manual_seed(seed)
    net = PlumNet(NetworkConfig(**options))
    images = torch.randint(0, 256, (8, *net.config.image), dtype=torch.uint8)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0.3, 0.3)
        if isinstance(module, PReluUnit):
            module.slope.data.uniform_(-0.1, 0.5)
            module.bias.data.normal_(0, 0.1)
    net.calibrate(to_float(images))
    net.train()
    with torch.no_grad():
        for _ in range(4):
            net(to_float(images))
    return net.eval(), images


def check_float(net: PlumNet, images: torch.Tensor, levels: dict[str, torch.Tensor]) -> None:
    """Each float unit, fed with the integers of its input, gives the integers of its output.

    But for single levels, where a value lies between two of them: a whole random network of many
    layers would blow these up.
    """

    def real(name: str) -> torch.Tensor:
        act = net.quantizer_of(name)
        if act is None:
            return to_float(images)
        return ((levels[name].double() - act.zero_point) * act.step().double()).float()

    for node in net.nodes:
        unit, act = net.unit(node.name), net.quantizer_of(node.source)
        inputs: list[Any] = [real(node.source)]
        if node.kind == "conv":
            border = -act.zero_point * float(act.step().detach()) if act else 0.0
            inputs += [None if node.residual is None else real(node.residual), border]
        with torch.no_grad():
            out = unit(*inputs).double()
        got = levels[node.name].double()
        if node.kind == "logits":
            one = out.std() / got.std()
            assert (out - got[..., 0, 0] * one).abs().max() < 0.01 * out.std(), node.name
            continue
        made = net.quantizer_of(node.name)
        assert made is not None
        difference = (out / float(made.step().detach()) + made.zero_point - got).abs()
        assert difference.max() < 1.01, node.name
        assert difference.mean() < 0.2, node.name  # constants are rounded, one shift a layer


def check(net: PlumNet, images: torch.Tensor) -> None:
    """Integers of PyTorch against the golden models, layer by layer, and against its float."""
    network = integer_network(net)
    ours = integer_forward(network, images)
    golden = Reference(network).layers(images.numpy())
    for layer in network.layers:
        want = golden[layer.name]
        assert np.array_equal(ours[layer.name].numpy().reshape(want.shape), want), layer.name
        assert len(np.unique(want)) > 1, f"{layer.name} is constant: the test would show nothing"
    check_float(net, images, ours)
    bundle = compile_network(network, ARRAY)
    machine = Machine(ARRAY)
    if len(bundle.parts) == 1:
        machine.load(bundle)
    cycles = machine.run_image(bundle, images[0].numpy())
    assert cycles == bundle.manifest["predicted_cycles"]
    assert not machine.overflows
    count = machine.result_count
    assert np.array_equal(machine.results[:count].view(np.int32), golden[network.output][0])


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(name: str) -> None:
    net, images = make(31, network=name, threshold=0.1, **SMALL[name])
    check(net, images)


@pytest.mark.parametrize(
    "options",
    [
        {"scheme": "signed_binary", "offset": False},
        {"scheme": "signed_binary", "region": 2, "offset": True},
        {"scheme": "binary"},
        {"scheme": "ternary"},
        {"scheme": "int", "body_bits": 4},
        {"scheme": "int", "body_bits": 2, "weight_bits": 4},
        *({"activation_bits": bits} for bits in range(2, 8)),
        {"power_of_two": True, "activation_bits": 4},
    ],
    ids=lambda options: "-".join(f"{key}={value}" for key, value in options.items()),
)
def test_every_scheme(options: dict[str, Any]) -> None:
    small: dict[str, Any] = {"widths": (8, 8), "blocks": (1, 1), "strides": (1, 2), "size": 12}
    net, images = make(32, **small, **options)
    check(net, images)


def test_power_of_two_steps_are_shifts() -> None:
    """The residual of a block is then scaled by a power of two."""
    net, _ = make(33, network="resnet8", width=0.25, size=16, power_of_two=True)
    layer = integer_network(net).layer("s1b1.conv2")
    constants = layer.requant.residual
    assert constants is not None
    assert all(value & (value - 1) == 0 for value in constants.tolist())


def test_a_wrong_border_is_noticed() -> None:
    """Zeros that the array pads with are not 0.0 behind a PReLU, and the float network does the
    same; with plain zeros the comparison above fails.
    """
    net, images = make(34, network="resnet18-prelu", width=0.125, size=64)
    levels = integer_forward(integer_network(net), images)
    check_float(net, images, levels)
    conv = net.unit("s1b1.conv2").conv
    whole = conv.forward
    conv.forward = lambda x, border=0.0: whole(x)
    with pytest.raises(AssertionError, match=r"s1b1\.conv2"):
        check_float(net, images, levels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "resnet21"}, "resnet21"),
        ({"scheme": "octal"}, "octal"),
        ({"activation_bits": 1}, "got 1"),
        ({"width": 0.0}, "got 0.0"),
        ({"widths": (8, 8, 8, 8)}, "one length"),
    ],
)
def test_wrong_values_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**options)
