"""The shipped network evaluated again: file, checkpoint and samples belong together."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from plum_hw.golden.reference import Reference
from plum_hw.ir import load_network
from plum_models import evaluate
from plum_models.checkpoint import load_checkpoint
from plum_models.evaluate import float_top1, integer_top1, load_samples
from plum_models.export import integer_network
from plum_models.fashion import LABELS, USUAL_PLACE, load_fashion
from plum_models.integers import integer_forward, integer_logits
from plum_models.networks import PlumNet

FOLDER = Path(__file__).parents[1] / "plum_models" / "checkpoints"
RESULT = json.loads((FOLDER / "fashion.json").read_text())


@pytest.fixture(scope="module")
def net() -> PlumNet:
    """The shipped checkpoint."""
    return load_checkpoint(FOLDER / "fashion.safetensors").build()


def test_network_file_is_the_export_of_the_checkpoint(net: PlumNet, tmp_path: Path) -> None:
    integer_network(net, labels=LABELS).save(tmp_path / "again.qnet")
    assert (tmp_path / "again.qnet").read_bytes() == (FOLDER / "fashion.qnet").read_bytes()


def test_integers_equal_golden_layer_by_layer() -> None:
    network = load_network(FOLDER / "fashion.qnet")
    images = load_samples(FOLDER / "fashion-test-500.npz").images[:32]
    ours = integer_forward(network, images)
    for name, want in Reference(network).layers(images.numpy()).items():
        assert np.array_equal(ours[name].numpy().reshape(want.shape), want), name


def test_samples() -> None:
    split = load_samples(FOLDER / "fashion-test-500.npz")
    network = load_network(FOLDER / "fashion.qnet")
    right = int((integer_logits(network, split.images).argmax(1) == split.labels).sum())
    assert right == RESULT["samples_right"]
    assert np.array_equal(
        Reference(network).top1(split.images.numpy()) == split.labels.numpy(),
        (integer_logits(network, split.images).argmax(1) == split.labels).numpy(),
    )


def run_evaluate(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(evaluate.main)
    return CliRunner().invoke(app, list(arguments))


def test_evaluated_by_name() -> None:
    samples = str(FOLDER / "fashion-test-500.npz")
    result = run_evaluate("--network", "fashion", "--integer", "--images", samples, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["top1"] == 100 * RESULT["samples_right"] / 500
    assert report["images"] == 500
    assert report["density"] == RESULT["density"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "either --checkpoint FILE or --network NAME"),
        (("--network", "fashion", "--checkpoint", "x"), "either --checkpoint FILE or"),
        (("--network", "fashion", "--scheme", "octal"), "fashion in signed-binary"),
        (("--network", "vgg"), "no trained network 'vgg'"),
    ],
)
def test_wrong_names_are_one_line(arguments: tuple[str, ...], words: str) -> None:
    result = run_evaluate(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_density(net: PlumNet) -> None:
    assert round(net.density(), 4) == RESULT["density"]
    assert RESULT["density"] <= 0.45
    assert {k: round(v, 4) for k, v in net.densities().items()} == RESULT["densities"]


@pytest.mark.skipif(not USUAL_PLACE.is_dir(), reason="Debian's dataset-fashion-mnist is not here")
def test_published_figures(net: PlumNet) -> None:
    """Float and integer top-1 of the README, on all 10,000 test images."""
    split = load_fashion(train=False)
    samples = load_samples(FOLDER / "fashion-test-500.npz")
    assert torch.equal(split.images[:500], samples.images)
    assert torch.equal(split.labels[:500], samples.labels)
    whole = integer_top1(net, split)
    assert round(whole, 2) == RESULT["integer_top1"]
    assert whole >= 90
    # float32 sums depend on the machine in the last bit: a few images may tip over
    real = float_top1(net, split)
    assert abs(real - RESULT["float_top1"]) <= 0.05
    assert abs(real - whole) <= 0.3
