"""The shipped network evaluated again: file, checkpoint and samples belong together."""

import json
from functools import cache
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
from plum_models.data import Images
from plum_models.datasets import open_data
from plum_models.errors import ModelError
from plum_models.evaluate import float_top1, integer_top1, load_samples
from plum_models.export import integer_network, labels_for
from plum_models.fashion import USUAL_PLACE, load_fashion
from plum_models.integers import integer_forward, integer_logits

FOLDER = Path(__file__).parents[1] / "plum_models" / "checkpoints"
RESULT = json.loads((FOLDER / "fashion.json").read_text())
#: Where data sets may lie that several checkouts use.
BESIDE = Path(__file__).parents[3] / "shared" / "data"
#: All shipped networks.
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.qnet")))
def test_network_file_is_the_export_of_the_checkpoint(name: str, tmp_path: Path) -> None:
    found = load_checkpoint(FOLDER / f"{name}.safetensors")
    labels = labels_for(found.network, str(found.training.get("data", "fashion")), None)
    integer_network(found.build(), labels=labels).save(tmp_path / "again.qnet")
    assert (tmp_path / "again.qnet").read_bytes() == (FOLDER / f"{name}.qnet").read_bytes()


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.qnet")))
def test_integers_equal_golden_layer_by_layer(name: str) -> None:
    network = load_network(FOLDER / f"{name}.qnet")
    images = load_samples(FOLDER / "fashion-test-500.npz").images[:32]
    if network.input.shape != images.shape[1:]:
        generator = torch.Generator().manual_seed(1)
        shape = (8, *network.input.shape)
        images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
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


@pytest.mark.parametrize("name", NAMES)
def test_density(name: str) -> None:
    result = json.loads((FOLDER / f"{name}.json").read_text())
    net = load_checkpoint(FOLDER / f"{name}.safetensors").build()
    assert (net.config.family, net.config.label) == (result["network"], result["scheme"])
    assert round(net.density(), 4) == result["density"]
    assert {k: round(v, 4) for k, v in net.densities().items()} == result["densities"]
    if net.config.scheme == "signed_binary":
        assert result["density"] <= 0.45


@cache
def images_of(kind: str, title: str) -> Images:
    """Test images of the data set of that title: in its usual place, or in a folder of data sets
    beside the checkout.
    """
    missing = []
    for place in (None, BESIDE / "cifar10_jpeg_q75.npz"):
        try:
            data = open_data(kind, place)
        except ModelError as error:
            missing.append(str(error))
            continue
        if data.title == title:
            return data.split(train=False)
        missing.append(f"there is {data.title}")
    pytest.skip(f"{title} is not here: {'; '.join(missing)}")


@pytest.mark.parametrize("name", NAMES)
def test_published_figures(name: str) -> None:
    """Float and integer top-1 of the README, on all test images."""
    result = json.loads((FOLDER / f"{name}.json").read_text())
    found = load_checkpoint(FOLDER / f"{name}.safetensors")
    net, split = (
        found.build(),
        images_of(str(found.training.get("data", "fashion")), result["data"]),
    )
    assert len(split) == result["images"]
    # float32 sums depend on the machine in the last bit: a few images may tip over
    real = float_top1(net, split)
    assert abs(real - result["float_top1"]) <= 0.05
    if "integer_top1" in result:
        whole = integer_top1(net, split)
        assert round(whole, 2) == result["integer_top1"]
        assert abs(real - whole) <= 0.3


@pytest.mark.skipif(not USUAL_PLACE.is_dir(), reason="Debian's dataset-fashion-mnist is not here")
def test_samples_are_the_first_test_images() -> None:
    split = load_fashion(train=False)
    samples = load_samples(FOLDER / "fashion-test-500.npz")
    assert torch.equal(split.images[:500], samples.images)
    assert torch.equal(split.labels[:500], samples.labels)
    assert RESULT["integer_top1"] >= 91.5
