"""Dense networks on batches of inputs: exact to the bit, against the reference of single inputs."""

from __future__ import annotations

import numpy as np
import pytest

from plum_host.bundle import Bundle
from plum_host.errors import BundleError, ImageError
from plum_hw.compiler import check_network, compile_network
from plum_hw.config import ArrayConfig
from plum_hw.errors import ConfigError, UnsupportedError
from plum_hw.golden.reference import Reference
from plum_hw.inference import run_images
from plum_hw.ir import Network
from plum_hw.ir.random import random_images
from tests.compiler.nets import Builder, array

SMALL = array(lanes=16, clusters=3, write_buses=2, act_depth=64)


def dense_network(*, inputs: int = 20, logits: bool = False) -> Network:
    """Layers of several schemes with one pixel, a residual among them."""
    net = Builder((inputs, 1, 1))
    first = net.dense(12, logits=False, bits=6)
    net.dense(12, logits=False, scheme="signed_binary", window=True)
    net.conv(12, 1, residual=first, density=0.6)
    net.dense(30, logits=logits, scheme="ternary")
    return net.network()


def changed(bundle: Bundle, **changes: object) -> Bundle:
    kept = {key: value for key, value in bundle.manifest.items() if key not in ("sha256", "format")}
    del kept["version"]
    return Bundle.build(kept | changes, code=bundle.code, table=bundle.table, maps=bundle.maps)


@pytest.mark.parametrize("clusters", [1, 3])
@pytest.mark.parametrize(("batch", "count"), [(5, 12), (16, 16), (48, 50)])
def test_batches_equal_single_inputs(batch: int, count: int, clusters: int) -> None:
    config = array(lanes=16, clusters=clusters, act_depth=256)
    network = dense_network()
    bundle = compile_network(network, config, batch=batch)
    inputs = random_images(network, count, batch)
    expected = Reference(network).run(inputs)
    result = run_images(bundle, inputs, None, device="golden")
    assert (result.outputs == expected).all()
    assert result.equal_to_golden
    assert result.cycles_as_predicted
    assert len(result.cycles) == -(-count // batch)
    # The check can fail: the inputs are all different.
    assert len(np.unique(expected.reshape(count, -1), axis=0)) > count // 2
    turned = run_images(bundle, inputs[::-1], None, device="golden")
    assert (turned.outputs == expected[::-1]).all()
    assert (turned.outputs != expected).any()


def test_a_batch_takes_the_cycles_of_one_and_fills_the_lanes() -> None:
    network, config = dense_network(), array(lanes=16)
    one, batch = (compile_network(network, config, batch=count).manifest for count in (1, 16))
    assert batch["predicted_cycles"] < 1.2 * one["predicted_cycles"]
    for single, several in zip(one["layers"], batch["layers"], strict=True):
        assert several["lane_use"] > 10 * single["lane_use"]
        assert several["macs"] == 16 * single["macs"]
    assert "batch" not in one


def test_a_layer_in_pieces() -> None:
    """More channels than vectors: sums of three bytes, and results that the host puts together."""
    network = dense_network(inputs=90)
    bundle = compile_network(network, SMALL, batch=16)
    names = [entry["name"] for entry in bundle.manifest["layers"]]
    assert any(name.startswith("dense0.sum.f") for name in names)
    inputs = random_images(network, 20, 4)
    result = run_images(bundle, inputs, None, device="golden")
    assert (result.outputs == Reference(network).run(inputs)).all()


@pytest.mark.parametrize("batch", [0, -1, 17, 24, 1 << 13])
def test_wrong_numbers_are_named(batch: int) -> None:
    with pytest.raises(ConfigError, match=rf"--batch {batch}: it must be 1 to 16"):
        compile_network(dense_network(), SMALL, batch=batch)


def test_what_is_no_batch_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"dense3: gives logits"):
        compile_network(dense_network(logits=True), SMALL, batch=4)
    net = Builder((3, 6, 6))
    net.conv(4)
    (problem,) = check_network(net.network(), SMALL, 4)
    assert "6x6 pixels" in problem.what
    net = Builder((3, 1, 1))
    net.conv(4)
    with pytest.raises(UnsupportedError, match=r"conv0: conv sees more than one pixel"):
        compile_network(net.network(), SMALL, batch=4)


def test_inputs_of_a_wrong_shape_are_named() -> None:
    bundle = compile_network(dense_network(), SMALL, batch=4)
    with pytest.raises(ImageError, match=r"\(20, 1, 4\).*batches of \(20, 1, 1\)"):
        bundle.pack(np.zeros((2, 20, 1, 4), np.uint8))
    with pytest.raises(ImageError, match="int64"):
        bundle.pack(np.zeros((2, 20, 1, 1), np.int64))
    assert bundle.pack(np.zeros((0, 20, 1, 1), np.uint8)).shape == (0, 20, 1, 4)


@pytest.mark.parametrize("batch", [1, 3, 8, "4", None])
def test_a_manifest_with_another_batch_is_refused(batch: object) -> None:
    bundle = compile_network(dense_network(), SMALL, batch=4)
    assert changed(bundle, batch=4) == bundle
    with pytest.raises(BundleError, match="batch is"):
        changed(bundle, batch=batch)


def test_a_bundle_keeps_its_batch() -> None:
    config: ArrayConfig = SMALL
    bundle = compile_network(dense_network(), config, batch=16)
    assert Bundle.from_bytes(bundle.to_bytes()).batch == 16
    assert compile_network(dense_network(), config).batch == 1
