"""Training: resume to the last bit, and every error as one line with exit code 2."""

import gzip
import json
import struct
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from plum_models import evaluate, export
from plum_models import train as train_command
from plum_models.checkpoint import load_checkpoint, save_checkpoint
from plum_models.config import TrainConfig
from plum_models.data import synthetic
from plum_models.errors import ModelError
from plum_models.fashion import load_fashion, read_idx
from plum_models.networks import NetworkConfig, PlumNet
from plum_models.trainer import Run, train

NETWORK = NetworkConfig(name="tiny", stem=4, widths=(4, 8), blocks=(1, 1), strides=(2, 2), ede=True)
TRAINING = TrainConfig(epochs=3, batch=32, distill=0.5, threads=1, seed=5)


def run(out: Path, **options: object) -> Run:
    torch.manual_seed(9)
    teacher = PlumNet(replace(NETWORK, scheme="full")).eval()
    values: dict = {
        "network": NETWORK,
        "training": TRAINING,
        "train": synthetic(160, 1),
        "test": synthetic(40, 2),
        "out": out,
        "teacher": teacher,
        "start_from": teacher,
    }
    return Run(**{**values, **options})


def test_resume_is_bit_exact(tmp_path: Path) -> None:
    """Stopped in the middle of an epoch and at the end of one, then resumed: the same bits."""
    whole = train(run(tmp_path / "whole"))
    for stop in (7, 10):  # 5 steps an epoch
        out = tmp_path / f"stop{stop}"
        train(run(out, stop_after=stop))
        torch.manual_seed(stop)  # whatever ran in between must not matter
        torch.rand(stop)
        state = load_checkpoint(out / "tiny.state.safetensors")
        assert state.progress["step"] == stop
        again = train(run(out, resume=state))
        for name in ("tiny.safetensors", "tiny.state.safetensors"):
            a, b = load_file(tmp_path / "whole" / name), load_file(out / name)
            assert set(a) == set(b)
            assert all(torch.equal(a[key], b[key]) for key in a), name
        assert {**whole, "seconds": 0} == {**again, "seconds": 0}
        logs = [
            [{**json.loads(line), "seconds": 0} for line in (folder / "tiny.log.jsonl").open()]
            for folder in (tmp_path / "whole", out)
        ]
        assert logs[0] == logs[1]
        assert len(logs[0]) == 3


def test_training_learns_and_another_seed_differs(tmp_path: Path) -> None:
    easy = {"train": synthetic(640, 1), "test": synthetic(200, 2), "teacher": None}
    config = replace(TRAINING, epochs=4, lr=1e-2, shift=0, flip=False, distill=0.0)
    first = train(run(tmp_path / "a", training=config, **easy))
    other = train(run(tmp_path / "b", training=replace(config, seed=6), **easy))
    assert first["loss"] != other["loss"]
    assert first["test_top1"] > 50, "ten classes of synthetic images: chance is 10"


def test_nan_is_one_error(tmp_path: Path) -> None:
    bad = run(tmp_path)
    assert bad.start_from is not None
    bad.start_from.fc.bias.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="loss is nan"):
        train(bad)


def test_resume_with_another_configuration(tmp_path: Path) -> None:
    train(run(tmp_path, stop_after=2))
    state = load_checkpoint(tmp_path / "tiny.state.safetensors")
    with pytest.raises(ModelError, match="another configuration"):
        train(run(tmp_path, resume=state, training=replace(TRAINING, lr=1.0)))


def write_idx(folder: Path, images: np.ndarray, labels: np.ndarray, prefix: str) -> None:
    folder.mkdir(exist_ok=True)
    for kind, array in (("images", images), ("labels", labels)):
        name = f"{prefix}-{kind}-idx{array.ndim}-ubyte"
        header = struct.pack(f">{array.ndim + 1}I", 0x0800 | array.ndim, *array.shape)
        (folder / name).write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a tiny data set in idx files."""
    for prefix, seed in (("train", 1), ("t10k", 2)):
        split = synthetic(64, seed)
        write_idx(tmp_path / "data", split.images[:, 0].numpy(), split.labels.numpy(), prefix)
    return tmp_path / "data"


def test_idx_plain_and_gzip(folder: Path) -> None:
    plain = load_fashion(folder, train=True)
    assert torch.equal(plain.images, synthetic(64, 1).images)
    for path in list(folder.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    packed = load_fashion(folder, train=True)
    assert torch.equal(plain.images, packed.images)
    assert torch.equal(plain.labels, packed.labels)


def test_damaged_idx(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for damaged, message in (
        (whole[:-1], "its header says"),
        (b"\x01" + whole[1:], "magic"),
        (whole[:5], "too few"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=message):
            read_idx(path, 3)
    packed = folder / "x.gz"
    packed.write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(ModelError, match="cannot read"):
        read_idx(packed, 3)


CONFIG = """
[network]
name = "tiny"
stem = 4
widths = [4, 8]
blocks = [1, 1]
strides = [2, 2]
[training]
epochs = 1
batch = 32
threads = 1
"""


def command(module: ModuleType, *arguments: object) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command()(module.main)
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_commands(folder: Path, tmp_path: Path) -> None:
    """Train, evaluate both ways and export, as a user would."""
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    code, out, err = command(train_command, config, "--out", tmp_path, "--data", folder, "--json")
    assert code == 0, err
    assert json.loads(out)["steps"] == 2
    checkpoint = tmp_path / "tiny.safetensors"
    for flag in ((), ("--integer",)):
        code, out, _ = command(
            evaluate, "--checkpoint", checkpoint, "--data", folder, "--json", *flag
        )
        assert code == 0
        report = json.loads(out)
        assert report["images"] == 64
        assert 0 <= report["density"] <= 1
        assert {layer["name"] for layer in report["layers"]} >= {"s1b1.conv1", "s2b1.conv2"}
    code, _, _ = command(
        export,
        "--checkpoint",
        checkpoint,
        "-o",
        tmp_path / "tiny.qnet",
        "--samples",
        tmp_path / "s.npz",
        "--count",
        5,
        "--data",
        folder,
    )
    assert code == 0
    with np.load(tmp_path / "s.npz") as file:
        assert file["images"].shape == (5, 1, 28, 28)


def test_each_mistake_is_one_line(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing of the kind")
    full = tmp_path / "full.safetensors"
    save_checkpoint(full, PlumNet(replace(NETWORK, scheme="full")))
    wide = tmp_path / "wide.safetensors"
    save_checkpoint(wide, PlumNet(replace(NETWORK, scheme="full", stem=10)))
    base = (config, "--out", tmp_path / "out", "--data", folder)
    missing = (config, "--data", tmp_path / "none")
    for module, arguments, message in (
        (train_command, missing, "dataset-fashion-mnist"),
        (train_command, (tmp_path / "no.toml",), "no.toml"),
        (train_command, (*base, "--set", "epoch=3"), "'epoch'"),
        (train_command, (*base, "--set", "epochs=0"), "got 0"),
        (train_command, (*base, "--set", "epochs=abc"), "abc"),
        (train_command, (*base, "--set", "scheme=octal"), "octal"),
        (train_command, (*base, "--set", "threshold=3.0"), "3.0"),
        (train_command, (*base, "--set", "widths=[8, 0]"), "[8, 0]"),
        (train_command, (*base, "--set", "strides=[2, 3]"), "got 3"),
        (train_command, (*base, "--set", "distill=0.5"), "--teacher"),
        (train_command, (*base, "--resume"), "tiny.state.safetensors"),
        (train_command, (*base, "--start", wide), "does not fit"),
        (evaluate, ("--checkpoint", other), "not a checkpoint"),
        (evaluate, ("--checkpoint", broken), "cannot read"),
        (evaluate, ("--checkpoint", tmp_path / "no.safetensors"), "cannot read"),
        (evaluate, ("--checkpoint", full, "--integer", "--data", folder), "full-precision"),
        (export, ("--checkpoint", full, "-o", tmp_path / "x.qnet"), "full-precision"),
    ):
        code, out, err = command(module, *arguments)
        assert code == 2, (arguments, out, err)
        assert message in err, (arguments, err)
        assert err.startswith("error: "), err
        assert len(err.strip().splitlines()) == 1, err


def test_checkpoint_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, PlumNet(NETWORK))
    with pytest.raises(ModelError, match="needs"):
        load_checkpoint(path).restore(PlumNet(replace(NETWORK, stem=10)))
