"""The generator of random networks: repeatable, within its limits, varied enough to test with."""

from collections import Counter

import numpy as np
import pytest

from plum_hw.errors import ConfigError
from plum_hw.golden.reference import Reference
from plum_hw.ir import SCHEMES, Conv, Dense, Network, RequantLayer, WeightLayer
from plum_hw.ir.random import OPS, SHIFTS, random_images, random_network

NETWORKS = [random_network(seed) for seed in range(150)]


def features(network: Network) -> set[str]:
    found: set[str] = set()
    for layer in network.layers:
        op = "depthwise" if isinstance(layer, Conv) and layer.depthwise else layer.op
        found.add(op)
        if isinstance(layer, Conv):
            found.add(f"{op} stride {layer.stride}")
            found |= {f"kernel {k}" for k in layer.kernel}
            if layer.kernel[0] != layer.kernel[1]:
                found.add("oblong kernel")
            if layer.residual_source:
                found.add("residual")
        if isinstance(layer, WeightLayer):
            found.add(layer.scheme)
            flat = np.abs(layer.weight.reshape(layer.filters, -1))
            if (flat == 0).all(axis=1).any():
                found.add("filter all zero")
            if (flat == 1).all(axis=1).any():
                found.add("filter all one")
            if layer.scheme == "int":
                found.add(f"int {layer.weight_bits}")
        if isinstance(layer, RequantLayer):
            found.add(f"out {layer.requant.out_bits}")
            found.add(f"shift {layer.requant.shift}")
            if layer.requant.window is not None:
                found.add("window")
    _, height, width = network.input.shape
    if height != width:
        found.add("oblong input")
    found.add("logits" if network.gives_logits else "map")
    return found


def test_everything_occurs() -> None:
    seen = Counter(feature for network in NETWORKS for feature in features(network))
    wanted = {"conv", "depthwise", "residual", "add", "avgpool", "maxpool", "dense", *SCHEMES}
    wanted |= {"conv stride 1", "conv stride 2", "depthwise stride 2", "window", "logits", "map"}
    wanted |= {"oblong kernel", "oblong input", "filter all zero", "filter all one"}
    wanted |= {f"kernel {k}" for k in range(1, 8)} | {f"int {b}" for b in range(2, 9)}
    wanted |= {f"out {b}" for b in range(1, 9)} | {f"shift {s}" for s in SHIFTS}
    assert not wanted - set(seen)


def test_the_same_seed_gives_the_same() -> None:
    for seed in (0, 17):
        assert random_network(seed).to_bytes() == random_network(seed).to_bytes()
        images = random_images(NETWORKS[seed], 7, 3)
        np.testing.assert_array_equal(images, random_images(NETWORKS[seed], 7, 3))
    assert random_network(0) != random_network(0, max_channels=5)


def test_constants_stay_within_what_every_array_has() -> None:
    for network in NETWORKS:
        for layer in network.layers:
            if not isinstance(layer, RequantLayer):
                continue
            q = layer.requant
            for factor in (q.scale, q.window, q.residual):
                assert factor is None or np.abs(factor.astype(np.int64)).max() < 1 << 17
            assert np.abs(q.bias).max() < 1 << 43
            assert q.shift in SHIFTS or (q.is_logits and q.shift == 0)


def test_outputs_vary() -> None:
    """Hardly a layer is constant, and few values are saturated."""
    constant = total = 0
    shares = []
    for seed, network in enumerate(NETWORKS[:80]):
        for name, values in Reference(network).layers(random_images(network, 6, seed)).items():
            total += 1
            constant += len(np.unique(values)) == 1
            if network.bits_of(name) == 8:
                shares.append(((values == 0).mean(), (values == 255).mean()))
    low, high = np.mean(shares, axis=0)
    print(f"constant {constant} of {total}, zero {low:.2f}, saturated {high:.2f}")
    assert constant < 0.05 * total
    assert low < 0.5
    assert high < 0.3


@pytest.mark.parametrize("seed", range(20))
def test_limits(seed: int) -> None:
    network = random_network(
        seed,
        max_layers=3,
        max_macs=5000,
        max_kernel=3,
        max_width=9,
        max_channels=6,
        schemes=["signed_binary", "int"],
        out_bits=(2, 5),
        in_bits=(4, 4),
        weight_bits=(3, 4),
        window=False,
        logits=False,
    )
    assert len(network.layers) <= 3
    assert network.macs() <= 5000 + 6 * 12 * 2
    assert network.input.bits == 4
    assert not network.gives_logits
    for layer in network.layers:
        channels, height, width = network.shape_of(layer.name)
        assert max(height, width) <= 9
        assert channels <= 6
        assert max(getattr(layer, "kernel", (1, 1))) <= 3
        if isinstance(layer, WeightLayer):
            assert layer.scheme in ("signed_binary", "int")
            assert layer.scheme != "int" or layer.weight_bits in (3, 4)
        if isinstance(layer, RequantLayer):
            assert layer.requant.window is None
            assert 2 <= layer.requant.out_bits <= 5


@pytest.mark.parametrize("op", OPS)
def test_one_op_alone(op: str) -> None:
    for seed in range(10):
        network = random_network(seed, ops=[op], max_layers=4)
        for layer in network.layers:
            if op == "depthwise":
                assert isinstance(layer, Conv)
                # one channel has one group
                assert layer.depthwise or layer.weight.shape[:2] == (1, 1)
            elif op == "residual":
                assert isinstance(layer, Conv)
                assert layer.residual_source
            elif op == "dense":
                assert isinstance(layer, Dense)
            else:
                assert layer.op == op


def test_one_layer_alone() -> None:
    assert all(len(random_network(s, max_layers=1).layers) == 1 for s in range(20))


def test_images() -> None:
    network = NETWORKS[0]
    peak = (1 << network.input.bits) - 1
    images = random_images(network, 8, 0)
    assert images.shape == (8, *network.input.shape)
    assert images.dtype == np.uint8
    assert not images[0].any()
    assert (images[1] == peak).all()
    assert images.max() == peak
    assert len(random_images(network, 1, 0)) == 1


def test_wrong_limits() -> None:
    with pytest.raises(ConfigError, match="ops holds 'lstm', must be of conv"):
        random_network(0, ops=["lstm"])
    with pytest.raises(ConfigError, match="schemes is empty"):
        random_network(0, schemes=[])
    with pytest.raises(ConfigError, match="max_kernel 0"):
        random_network(0, max_kernel=0)
    with pytest.raises(ConfigError, match="logits need a dense layer"):
        random_network(0, ops=["conv"], logits=True)
    with pytest.raises(ConfigError, match="no layer of conv fits into max_macs 0"):
        random_network(0, ops=["conv"], max_macs=0)
