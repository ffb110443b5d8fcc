"""`python -m plum_host.infer`: what it reports, and one clear line for everything that is wrong."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from plum_host import infer

from .work import Work, logits_work


@pytest.fixture
def logits() -> Work:
    return logits_work()


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["infer", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            infer.main()
        captured = capsys.readouterr()
        code = stop.value.code
        return Outcome(
            code if isinstance(code, int) else int(bool(code)), captured.out, captured.err
        )

    return call


@dataclass(frozen=True)
class Files:
    bundle: Path
    images: Path


@pytest.fixture
def files(tmp_path: Path, logits: Work) -> Files:
    logits.bundle.save(tmp_path / "network.plum")
    labels = logits.outputs.argmax(axis=1)
    labels[0] = (labels[0] + 1) % logits.outputs.shape[1]
    np.savez(tmp_path / "images.npz", images=logits.images, labels=labels)
    return Files(tmp_path / "network.plum", tmp_path / "images.npz")


def test_json_has_the_keys_that_scripts_rely_on(run: Run, files: Files, logits: Work) -> None:
    outcome = run(files.bundle, "--images", files.images, "--device", "golden", "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert report.pop("seconds") >= 0
    predicted = logits.bundle.manifest["predicted_cycles"]
    assert report == {
        "images": 3,
        "top1": pytest.approx(200 / 3),
        "batch": 1,
        "predicted_cycles": predicted,
        "simulated_cycles": predicted,
        "outputs": hashlib.sha256(logits.outputs.tobytes()).hexdigest(),
    }


def test_people_are_told_the_same(run: Run, files: Files) -> None:
    outcome = run(files.bundle, "--images", files.images, "--device", "golden", "--limit", 2)
    assert outcome.code == 0, outcome.err
    assert "2 images on golden" in outcome.out
    assert "50.00 %" in outcome.out


def test_labels_may_come_from_another_file(
    run: Run, files: Files, logits: Work, tmp_path: Path
) -> None:
    np.save(tmp_path / "labels.npy", logits.outputs.argmax(axis=1))
    arguments = (files.bundle, "--images", files.images, "--device", "golden", "--json")
    outcome = run(*arguments, "--labels", tmp_path / "labels.npy")
    assert json.loads(outcome.out)["top1"] == 100


def test_without_labels_there_is_no_accuracy(
    run: Run, files: Files, logits: Work, tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", logits.images)
    arguments = (files.bundle, "--images", tmp_path / "images.npy", "--device", "golden")
    assert json.loads(run(*arguments, "--json").out)["top1"] is None
    assert "accuracy" not in run(*arguments).out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f, _: {"bundle": f.bundle.with_name("gone.plum")}, "gone.plum.*No such file"),
        (lambda f, _: {"images": f.images.with_name("gone.npz")}, "gone.npz: No such file"),
        (lambda f, _: {"device": "/dev/no-such-port"}, "cannot open /dev/no-such-port: no such"),
        (lambda f, _: {"device": "socket://127.0.0.1:1"}, "connection refused"),
        (lambda f, _: {"device": "fpga"}, "no device 'fpga'"),
        (lambda f, _: {"bundle": cut(f.bundle, 100)}, "network.plum"),
        (lambda f, _: {"bundle": flipped(f.bundle)}, "network.plum"),
        (lambda f, _: {"bundle": f.images}, "images.npz"),
        (lambda f, _: {"images": f.bundle}, "unknown kind of file"),
        (lambda f, w: {"images": stored(f, w.images.astype(float))}, "float64; they must be uint8"),
        (lambda f, w: {"images": stored(f, w.images[..., :-1])}, "shape"),
        (lambda f, w: {"images": stored(f, w.images[0, 0])}, r"must be \(N, H, W\)"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(
    change: Callable[[Files, Work], dict[str, object]],
    reason: str,
    run: Run,
    files: Files,
    logits: Work,
) -> None:
    given: dict[str, object] = {
        "bundle": files.bundle,
        "images": files.images,
        "device": "golden",
        **change(files, logits),
    }
    outcome = run(given["bundle"], "--images", given["images"], "--device", given["device"])
    assert outcome.code == 2
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("plum_host.infer: error: ")
    assert outcome.out == ""
    assert re.search(reason, lines[0]), lines[0]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "Missing argument 'bundle'"),
        (["x.plum", "--nope"], "No such option: --nope"),
        (["x.plum", "--images", "x.npz", "--limit", "0"], "Invalid value for '--limit'"),
    ],
)
def test_wrong_usage_is_one_line_too(arguments: list[str], reason: str, run: Run) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 1
    assert reason in outcome.err


def cut(path: Path, count: int) -> Path:
    path.write_bytes(path.read_bytes()[:-count])
    return path


def flipped(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def stored(files: Files, array: np.ndarray) -> Path:
    path = files.images.with_name("wrong.npy")
    np.save(path, array)
    return path


def test_it_runs_as_a_module(files: Files) -> None:
    command = [sys.executable, "-m", "plum_host.infer", str(files.bundle)]
    result = subprocess.run(
        [*command, "--images", str(files.images), "--device", "nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "no device 'nowhere'" in result.stderr
