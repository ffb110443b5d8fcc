"""Training: resume to the last bit, and every error as one line with exit code 2."""

import gzip
import json
import math
import os
import re
import socket
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from plum_hw.cli import app as plum
from plum_models import evaluate, export
from plum_models import train as train_command
from plum_models.checkpoint import load_checkpoint, save_checkpoint
from plum_models.config import TrainConfig, read_config
from plum_models.data import synthetic
from plum_models.errors import ModelError
from plum_models.fashion import load_fashion, read_idx
from plum_models.networks import NetworkConfig, PlumNet
from plum_models.schedule import learning_rate, loss_of
from plum_models.train import in_order, make_run
from plum_models.trainer import Run, Trainer, train

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


def test_resume_where_the_recipe_changes(tmp_path: Path) -> None:
    """Parts of images in the first epoch, quantized activations from the third: resumed in each,
    and just where activations are quantized for the first time.
    """
    config = replace(
        TRAINING,
        small_size=12,
        small_epochs=1,
        activations_from=2,
        optimizer="sgd",
        schedule="linear",
        lr=0.1,
        clip_norm=1.0,
        clip_latent=0.3,
        jitter=0.2,
    )
    whole = train(run(tmp_path / "whole", training=config))
    for stop in (3, 10, 12):
        out = tmp_path / f"stop{stop}"
        train(run(out, training=config, stop_after=stop))
        state = load_checkpoint(out / "tiny.state.safetensors")
        again = train(run(out, training=config, resume=state))
        a, b = (load_file(folder / "tiny.safetensors") for folder in (tmp_path / "whole", out))
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert whole["loss"] == again["loss"]
    weights = [value for key, value in a.items() if key.endswith("conv1.conv.weight")]
    assert max(float(weight.abs().max()) for weight in weights) == pytest.approx(0.3), "clipped"
    steps = [float(value) for key, value in a.items() if key.endswith("log2_step")]
    assert 0.0 not in steps, "each was calibrated"


def test_resume_without_momentum(tmp_path: Path) -> None:
    """An optimizer that keeps nothing between steps resumes as well."""
    config = replace(TRAINING, epochs=1, optimizer="sgd", momentum=0.0)
    whole = train(run(tmp_path / "whole", training=config))
    train(run(tmp_path / "b", training=config, stop_after=2))
    state = load_checkpoint(tmp_path / "b" / "tiny.state.safetensors")
    assert train(run(tmp_path / "b", training=config, resume=state))["loss"] == whole["loss"]


def test_schedules() -> None:
    def at(epoch: float, **options: Any) -> float:
        values = {"epochs": 11, "lr": 1.0, "warmup": 1.0, "last_lr": 0.1, **options}
        return learning_rate(TrainConfig(**values), round(epoch * 100), 100)

    assert at(0) == pytest.approx(0.01)
    assert at(0.5) == pytest.approx(0.51)
    assert [at(e, schedule="linear") for e in (1, 6, 11)] == pytest.approx([1.0, 0.55, 0.1])
    assert [at(e) for e in (1, 6, 11)] == pytest.approx([1.0, 0.55, 0.1])
    assert at(3.5) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert [at(e, schedule="constant", warmup=0.0) for e in (0, 5, 11)] == [1.0, 1.0, 1.0]


def test_distillation() -> None:
    """KL divergence from the teacher at temperature T, times T^2, mixed with the cross entropy."""
    generator = np.random.default_rng(4)
    logits, taught = generator.normal(size=(2, 6, 5))
    labels = generator.integers(0, 5, 6)

    def softmax(x: np.ndarray) -> np.ndarray:
        return np.exp(x) / np.exp(x).sum(1, keepdims=True)

    cross = -np.log(softmax(logits)[np.arange(6), labels]).mean()
    p, q = softmax(taught / 2), softmax(logits / 2)
    divergence = (p * np.log(p / q)).sum(1).mean()
    ours, classes, theirs = (torch.from_numpy(array) for array in (logits, labels, taught))
    config = TrainConfig(distill=0.3, temperature=2.0)
    assert float(loss_of(config, ours, classes, theirs)) == pytest.approx(
        0.7 * cross + 0.3 * 4 * divergence
    )
    assert float(loss_of(config, ours, classes, None)) == pytest.approx(cross)


class Writer:
    """In the place of TensorBoard's."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[int, float]]] = {}

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.seen.setdefault(name, []).append((step, value))


def test_curves(tmp_path: Path) -> None:
    writer = Writer()
    report = train(run(tmp_path, writer=writer))
    assert writer.seen["epoch/loss"][-1] == (3, report["loss"])
    assert [step for step, _ in writer.seen["density/s1b1.conv1"]] == [1, 2, 3]


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


def test_order_of_trainings() -> None:
    recipes = [
        (replace(NETWORK, name=name), TrainConfig(teacher=teacher, start=start))
        for name, teacher, start in (("c", "b", "a"), ("b", "", "a"), ("a", "", ""), ("d", "x", ""))
    ]
    assert [network.name for network, _ in in_order(recipes)] == ["a", "d", "b", "c"]
    with pytest.raises(ModelError, match="waits for itself"):
        in_order([(replace(NETWORK, name="a"), TrainConfig(teacher="a"))])


def test_configurations() -> None:
    """Each is named after its file, builds, and finds its teacher among the others."""
    folder = Path(__file__).parents[1] / "configs"
    recipes = {path.stem: read_config(path, []) for path in sorted(folder.glob("*.toml"))}
    assert len(recipes) >= 17
    for name, (network, training) in recipes.items():
        assert network.name == name
        assert {training.teacher, training.start} <= {"", *recipes}
        with torch.device("meta"):
            net = PlumNet(network)
        assert list(net.convolutions(body=True))
        if training.start:
            assert recipes[training.start][0].scheme == "full"
    ordered = in_order(list(recipes.values()))
    assert ordered[0][0].scheme == "full"


def test_several_trainings_and_resume(folder: Path, tmp_path: Path) -> None:
    """A teacher and its pupil by one command, whatever their order; then nothing is left to do."""
    pupil, tutor = tmp_path / "pupil.toml", tmp_path / "tutor.toml"
    pupil.write_text(CONFIG + 'teacher = "tutor"\nstart = "tutor"\ndistill = 0.5\n')
    tutor.write_text(CONFIG.replace('"tiny"', '"tutor"\nscheme = "full"'))
    arguments = (pupil, tutor, "--out", tmp_path / "o", "--data", folder, "--resume", "--json")
    code, out, err = command(train_command, *arguments)
    assert code == 0, err
    assert [report["name"] for report in json.loads(out)] == ["tutor", "tiny"]
    assert "effectual weights at the start" in err
    stamp = (tmp_path / "o" / "tiny.safetensors").stat().st_mtime_ns
    code, again, err = command(train_command, *arguments)
    assert code == 0, err
    assert [r["loss"] for r in json.loads(again)] == [r["loss"] for r in json.loads(out)]
    assert (tmp_path / "o" / "tiny.safetensors").stat().st_mtime_ns == stamp


def test_two_processes(folder: Path, tmp_path: Path) -> None:
    """Torchrun with two processes, stopped and resumed, against gradients averaged by hand."""
    config = tmp_path / "tiny.toml"
    plain = "epochs = 2\nshift = 0\nflip = false"
    config.write_text(CONFIG.replace("epochs = 1", plain))
    launch: list[object] = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launch += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    launch += ["-m", "plum_models.train", config, "--data", folder, "--device", "cpu", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    for extra in (["--stop-after", "3"], ["--resume"]):
        result = subprocess.run(
            [str(part) for part in (*launch, "--out", tmp_path / "two", *extra)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=600,
        )
        assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["steps"] == 4

    network, training = read_config(config, [])
    trainer = Trainer(make_run(network, training, out=tmp_path / "one", data=folder))
    trainer.net.train()
    losses = []
    for epoch in range(2):
        loss_sum = 0.0
        for images, labels in trainer._batches(epoch, 0):
            for group in trainer.optimizer.param_groups:
                group["lr"] = learning_rate(training, trainer.done, trainer.per_epoch)
            trainer.optimizer.zero_grad()
            for half in (slice(0, 16), slice(16, 32)):
                loss = loss_of(training, trainer.net(images[half]), labels[half], None) / 2
                loss.backward()
                loss_sum += loss.item()
            trainer.optimizer.step()
            trainer.done += 1
        losses.append(loss_sum / 2)
    assert report["loss"] == pytest.approx(losses[-1], rel=1e-4)
    two = load_checkpoint(tmp_path / "two" / "tiny.safetensors").build()
    for (name, one), other in zip(trainer.net.named_parameters(), two.parameters(), strict=True):
        assert torch.allclose(one, other, atol=2e-4), name
    assert len((tmp_path / "two" / "tiny.log.jsonl").read_text().splitlines()) == 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


def test_plum_train(folder: Path, tmp_path: Path) -> None:
    """The same command under the name `plum`."""
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    arguments = ["train", config, "--data", folder, "--out", tmp_path, "--stop-after", 1, "--json"]
    result = CliRunner().invoke(plum, [str(part) for part in arguments])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["steps"] == 1
    result = CliRunner().invoke(plum, ["train", "none.toml"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: cannot read the configuration none.toml")
    assert "--resume" in CliRunner().invoke(plum, ["train", "--help"]).stdout


def test_each_mistake_is_one_line(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing of the kind")
    (tmp_path / "o").mkdir()
    save_checkpoint(tmp_path / "o" / "tiny.safetensors", PlumNet(NETWORK))
    full = tmp_path / "full.safetensors"
    save_checkpoint(full, PlumNet(replace(NETWORK, scheme="full")))
    colour = np.zeros((2, 3, 28, 28), np.uint8)
    np.savez(tmp_path / "colour.npz", images=colour, labels=np.zeros(2, np.uint8))
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
        (train_command, (*base, "--set", "data=mnist"), "'mnist'"),
        (train_command, (*base, "--set", "optimizer=lion"), "'lion'"),
        (train_command, (*base, "--set", "network=resnet8"), "images of (1, 28, 28)"),
        (train_command, (*base, "--set", "small_size=29"), "small_size is 29"),
        (train_command, (*base, "--set", "classes=3"), "10 classes, the network 3"),
        (train_command, (*base, "--set", "teacher=tutor"), "no tutor.safetensors"),
        (train_command, (*base, config), "two configurations have the name 'tiny'"),
        (train_command, (*base, "--device", "tpu"), "'tpu'"),
        (train_command, (*base, "--resume", "--out", tmp_path / "o"), "another configuration"),
        (train_command, (*base, "--start", wide), "does not fit"),
        (evaluate, ("--checkpoint", other), "not a checkpoint"),
        (evaluate, ("--checkpoint", broken), "cannot read"),
        (evaluate, ("--checkpoint", tmp_path / "no.safetensors"), "cannot read"),
        (evaluate, ("--checkpoint", full, "--integer", "--data", folder), "full-precision"),
        (evaluate, ("--checkpoint", full, "--images", tmp_path / "colour.npz"), "made for images"),
        (export, ("--checkpoint", full, "-o", tmp_path / "x.qnet"), "full-precision"),
    ):
        code, out, err = command(module, *arguments)
        assert code == 2, (arguments, out, err)
        assert message in err, (arguments, err)
        assert err.startswith("error: "), err
        assert len(err.strip().splitlines()) == 1, err


def test_checkpoint_of_the_first_format(tmp_path: Path) -> None:
    net = PlumNet(NETWORK)
    save_checkpoint(tmp_path / "new.safetensors", net)
    tensors = {}
    for name, tensor in load_file(tmp_path / "new.safetensors").items():
        tensors[re.sub(r"^model\.(s\d)", r"model.blocks.\1", name)] = tensor
        if name.endswith("act.log2_step"):
            mark = name.replace("log2_step", "calibrated")
            tensors[re.sub(r"^model\.(s\d)", r"model.blocks.\1", mark)] = torch.tensor(True)
    old = {"stem": 4, "widths": [4, 8], "blocks": [1, 1], "strides": [2, 2], "name": "tiny"}
    meta = {"format": "plum-checkpoint-1", "network": old, "progress": {}, "training": {}}
    save_file(tensors, tmp_path / "old.safetensors", {"plum_checkpoint": json.dumps(meta)})
    images = torch.rand(2, 1, 28, 28)
    again = load_checkpoint(tmp_path / "old.safetensors").build()
    assert torch.equal(again(images), net.eval()(images))


def test_checkpoint_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, PlumNet(NETWORK))
    with pytest.raises(ModelError, match="needs"):
        load_checkpoint(path).restore(PlumNet(replace(NETWORK, stem=10)))
